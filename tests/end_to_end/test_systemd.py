"""The units that ship, and what the daemon does with what systemd hands over."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "docs" / "systemd"


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as an administrator has them, with the paths of this machine."""
    twistd = Path(sys.executable).with_name("twistd")
    for unit in UNITS.glob("aptask.*"):
        text = unit.read_text().replace("/opt/aptask/bin/twistd", str(twistd))
        (tmp_path / unit.name).write_text(text)
    return tmp_path


def analyze(program: Callable[[str], str], *arguments: str | Path) -> str:
    done = subprocess.run(
        [program("systemd-analyze"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("keeps_running", [False, True])
def test_the_units_are_what_systemd_understands(
    units: Path, program: Callable[[str], str], keeps_running: bool
) -> None:
    if keeps_running:
        (units / "aptask.service.d").mkdir()
        drop_in = (UNITS / "keep-running.conf").read_text()
        (units / "aptask.service.d" / "keep-running.conf").write_text(drop_in)
    analyze(program, "verify", units / "aptask.service")
    analyze(program, "verify", units / "aptask.socket")
    page = (ROOT / "docs" / "running.md").read_text()
    judged = analyze(program, "security", "--offline=true", "--no-pager", units / "aptask.service")
    level = re.search(r"exposure level for aptask.service: ([\d.]+)", judged)
    assert level is not None
    # What it counts differs between versions of systemd.
    assert float(level[1]) <= 2.5
    assert "systemd-analyze security" in page


def test_the_options_of_the_unit_are_ones_that_the_daemon_has(units: Path) -> None:
    (command,) = re.findall(r"^ExecStart=(.+)$", (units / "aptask.service").read_text(), re.M)
    words = [str(units / "none.toml") if word == "/etc/aptask.toml" else word
             for word in command.split()]  # fmt: skip
    (units / "none.toml").write_text("")
    subprocess.run([*words, "--data", units / "data", "--check"], check=True, timeout=60)


class Activated:
    """A daemon that is handed a socket that listens already."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.process: Any = None

    def start(self, endpoint: str = "systemd:domain=INET:index=0") -> None:
        (self.folder / "aptask.toml").write_text(f"listen = ['{endpoint}']\n")
        twistd = Path(sys.executable).with_name("twistd")
        daemon = f"{twistd} -n --pidfile= aptask --data {self.data} --config aptask.toml"
        inherited = self.listening.fileno()
        # As systemd does it: the sockets from descriptor 3 on, and whose they are.
        names = "LISTEN_FDS=1 LISTEN_FDNAMES=aptask.socket LISTEN_PID=$$"
        script = f"exec 3<&{inherited}; {names} exec {daemon}"
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                pass_fds=[inherited],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)


@pytest.fixture
def activated() -> Iterator[Activated]:
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as folder:
        one = Activated(Path(folder))
        try:
            yield one
        finally:
            one.stop()
            one.listening.close()


def ping(connection: socket.socket) -> Any:
    connection.sendall(b'{"request":"ping"}\n')
    with connection.makefile("rb") as answers:
        return json.loads(answers.readline())


def test_a_socket_of_systemds_is_served_and_clients_wait_for_a_restart(
    activated: Activated,
) -> None:
    with activated.connect() as early:  # before there is a daemon at all
        activated.start()
        assert ping(early)["status"] == "ok"
    activated.stop()
    with activated.connect() as between:
        activated.start()
        assert ping(between)["status"] == "ok"
    assert f"listening on 127.0.0.1:{activated.port}" in (activated.folder / "log").read_text()


def test_a_task_does_not_get_the_socket(activated: Activated) -> None:
    activated.start()
    with activated.connect() as connection:
        ping(connection)
        key = (activated.data / "local.key").read_text().strip()
        script = "ls -l /proc/self/fd; env"
        for fields in (
            {"request": "start", "name": "program", "arguments": [["sh", "-c", script]]},
            {"request": "wait", "taskid": "1"},
            {"request": "output", "taskid": "1"},
        ):
            connection.sendall(json.dumps({"key": key, **fields}).encode() + b"\n")
        with connection.makefile("rb") as answers:
            answers.readline()
            assert json.loads(answers.readline())["task"]["status"] == "done"
            text = json.loads(answers.readline())["text"]
    inode = os.fstat(activated.listening.fileno()).st_ino
    assert f"socket:[{inode}]" not in text
    assert "LISTEN_" not in text


def test_a_socket_that_is_not_handed_over_is_said(activated: Activated) -> None:
    activated.start("systemd:domain=INET:index=5")
    assert activated.process.wait(30) == 1
    said = (activated.folder / "log").read_text()
    assert "aptask: cannot listen on systemd:domain=INET:index=5" in said
    assert "Traceback" not in said


def test_a_restart_by_systemd_after_a_failure_finds_all_as_it_was(
    daemons: Callable[..., Any],
) -> None:
    """As `Restart=on-failure` with `KillMode=process`: the daemon is gone, the job is not."""
    daemon = daemons()
    taskid = daemon.ask("start", name="sleep", arguments=[1.5])["taskid"]
    begun = time.monotonic()
    while daemon.ask("show", taskid=taskid)["task"]["started"] is None:
        assert time.monotonic() - begun < 20
    daemon.kill()
    daemon.start()
    task = daemon.ask("wait", taskid=taskid, timeout=30)["task"]
    assert (task["status"], task["attempt"]) == ("done", 1)
