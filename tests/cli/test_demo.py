"""The demo: it shows real work, leaves out what is not installed, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.cli import demo_daemon
from aptask.cli.demo_daemon import DemoFailed, running_daemon
from aptask.cli.demo_jobs import prepare

DEMO = [sys.executable, "-m", "aptask.cli.demo"]


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment with nothing installed that a task could use but what a shell script needs."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("sh", "seq", "sleep", "setsid", "env"):
        found = shutil.which(name)
        assert found is not None
        (programs / name).symlink_to(found)
    # Short, as the path of a socket has to be.
    with tempfile.TemporaryDirectory(prefix="demo-") as temporary:
        yield {**os.environ, "PATH": str(programs), "TMPDIR": temporary, "HOME": str(tmp_path)}


@pytest.fixture
def nothing_left(bare: dict[str, str], tools: Any) -> Iterator[None]:
    """Nothing of the demo is left, neither file nor process."""
    yield
    assert list(Path(bare["TMPDIR"]).iterdir()) == []
    mark = f"TMPDIR={bare['TMPDIR']}"
    tools.wait_until(lambda: not tools.marked(mark), "the demo's processes have ended")


@pytest.mark.usefixtures("nothing_left")
def test_the_demo_shows_its_tasks_in_a_pipe_and_says_what_is_left_out(
    bare: dict[str, str],
) -> None:
    done = subprocess.run(DEMO, env=bare, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    for program, task in (("rsync", "copy"), ("ffmpeg", "transcode"), ("git", "clone")):
        assert f"{program} is not installed: {task} is left out\n" in done.stdout
    assert "nc -N 127.0.0.1" in done.stdout
    lines = [line.split("\t") for line in done.stdout.splitlines() if "\t" in line]
    assert any(line[2] == "queued" and line[3] == "2" for line in lines)
    assert any(line[1] == "program" and line[4] == "50%" for line in lines)
    table = lines[-4:]
    assert [line[1:3] for line in table] == [
        ["primes", "done"],
        ["program", "done"],
        ["sleep", "done"],
        ["primes", "done"],
    ]
    assert table[0][4] == '{"primes":16252325,"largest":299999977}'
    assert "4 of 4 tasks done" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.usefixtures("nothing_left")
def test_a_demo_that_is_interrupted_puts_everything_away(
    bare: dict[str, str], number: signal.Signals
) -> None:
    with subprocess.Popen(DEMO, env=bare, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "\trunning\t" in line:
                process.send_signal(number)
                break
        process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_daemon_that_does_not_start_is_shown_with_what_it_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "twistd"
    program.write_text("#!/bin/sh\necho the port is taken\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(demo_daemon, "_twistd", lambda: str(program))
    with (
        pytest.raises(DemoFailed, match="ended with exit status 1:\nthe port is taken"),
        running_daemon(tmp_path, 2),
    ):
        pass


def test_what_is_installed_is_prepared_for_real(tmp_path: Path, program: Any) -> None:
    for name in ("rsync", "ffmpeg", "git"):
        program(name)
    left_out: list[str] = []
    jobs = prepare(tmp_path, left_out.append)
    names = [job.name for job in jobs]
    assert names[:2] == ["copy", "transcode"]
    assert {"primes", "program", "sleep"} <= set(names)
    assert ("clone" in names) == (not left_out)
    files = [path for path in (tmp_path / "files").rglob("*") if path.is_file()]
    assert len(files) == 2000
    assert (tmp_path / "video.avi").stat().st_size > 1_000_000
