"""`--check`: what a start would do, or why there would be none, without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CONFIG = """
slots = 3
listen = ["tcp:2142:interface=127.0.0.1"]
[users.alice]
key = "sesame"
[tasks.hello]
command = ["echo", "hello"]
"""

WAYS = {
    "twistd -n": ["twistd", "-n", "--pidfile="],
    "twistd": ["twistd", "--pidfile=pid"],
    "twist": ["twist"],
}


@pytest.fixture(params=WAYS)
def way(request: Any) -> list[str]:
    program, *options = WAYS[request.param]
    return [str(Path(sys.executable).with_name(program)), *options, "aptask"]


def check(way: list[str], folder: Path, config: str, *options: str) -> Any:
    (folder / "aptask.toml").write_text(config)
    arguments = ["--config", "aptask.toml", "--data", str(folder / "data"), *options]
    return subprocess.run(
        [*way, *arguments, "--check"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_says_what_a_start_would_do_and_makes_nothing(way: list[str], tmp_path: Path) -> None:
    checked = check(way, tmp_path, CONFIG)
    assert (checked.returncode, checked.stderr) == (0, "")
    lines = checked.stdout.splitlines()
    for said in (
        f"configuration: {tmp_path}/aptask.toml",
        f"data: {tmp_path}/data",
        "listens: tcp:2142:interface=127.0.0.1",
        "keys: alice (user)",
        "slots: 3",
    ):
        assert said in lines
    (tasks,) = [line for line in lines if line.startswith("tasks: ")]
    assert {"hello", "primes", "copy"} <= set(tasks.removeprefix("tasks: ").split(", "))
    assert "sesame" not in checked.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["aptask.toml"]


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        ("slots = 'x'\ncolour = 1", (), ["slots", "colour"]),
        ("[tasks.t]\npython = 'nosuchmodule:f'", (), ["nosuchmodule"]),
        ("", ("--listen", "tcp:0"), ["TLS"]),
        ("", ("--data", "/dev/null/no"), ["/dev/null/no"]),
        ("", ("--data", "/dev/null"), ["/dev/null"]),
    ],
)
def test_what_is_wrong_is_said_as_at_a_start(
    way: list[str], tmp_path: Path, config: str, options: tuple[str, ...], said: list[str]
) -> None:
    checked = check(way, tmp_path, config, *options)
    assert checked.returncode == 1
    assert checked.stdout == ""
    lines = checked.stderr.splitlines()
    assert len(lines) == len(said)
    for line, word in zip(lines, said, strict=True):
        assert line.startswith("aptask: ")
        assert word in line
    assert [path.name for path in tmp_path.iterdir()] == ["aptask.toml"]


def test_a_daemon_that_runs_is_not_in_the_way(daemon: Any, tmp_path: Path) -> None:
    twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "aptask"]
    listening = f"listen = ['unix:{daemon.data}/aptask.sock']"
    checked = check(twistd, tmp_path, listening, "--data", str(daemon.data))
    assert checked.returncode == 0, checked.stderr
    assert daemon.ask("ping")["status"] == "ok"


def test_a_task_that_could_not_be_used_is_no_reason_not_to_start_and_is_said(
    tmp_path: Path,
) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "broken.py").write_text("def")
    twistd = [str(Path(sys.executable).with_name("twistd")), "-n", "--pidfile=", "aptask"]
    checked = check(twistd, tmp_path, "task_folders = ['tasks']")
    assert checked.returncode == 0
    assert f"cannot be used: {tmp_path}/tasks/broken.py" in checked.stdout
