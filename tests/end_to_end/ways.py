"""The three ways in which people run the daemon, as one class each."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 30.0


class Way:
    """A daemon that was started in one of the ways, with a data folder of its own.

    Args:
        folder: for all of its files; its path is short.
        config: what the configuration file holds.

    Attributes:
        pid: of the daemon.
        log: its log.
        status: the exit status that a shell would see, once it has ended; None where nobody can
            see one.
    """

    def __init__(self, folder: Path, config: str = "") -> None:
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "log"
        self.config = folder / "aptask.toml"
        self.config.write_text(config)
        self.status: int | None = None
        self.options = [
            "aptask",
            "--data",
            str(self.data),
            "--config",
            str(self.config),
            "--listen",
            f"unix:{folder}/s",
        ]
        self.pid = 0
        self.start()

    def command(self) -> list[str]:
        """The words that start it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it serves."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self.process.pid
        self.until(lambda: "serves; stop it" in self.log.read_text(), "it serves")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {SECONDS} s: {what}\n{self.log.read_text()}")
            time.sleep(0.02)

    def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        """The response to one request of the local key."""
        key = (self.data / "local.key").read_text().strip()
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(self.data / "aptask.sock"))
            line = json.dumps({"key": key, "request": request, **fields})
            connection.sendall(line.encode() + b"\n")
            with connection.makefile("rb") as answers:
                answer: dict[str, Any] = json.loads(answers.readline())
                return answer

    def begin(self, script: str) -> str:
        """Start a shell's script as a task that says `ready`, and wait until it has."""
        taskid: str = self.ask("start", name="program", arguments=[["sh", "-c", script]])["taskid"]
        self.until(lambda: "ready" in self.ask("output", taskid=taskid)["text"], "it is ready")
        return taskid

    def signal(self, number: int) -> None:
        """Send the daemon a signal."""
        os.kill(self.pid, number)

    def ended(self, seconds: float = SECONDS) -> int | None:
        """Wait for its end; its exit status."""
        self.status = self.process.wait(seconds)
        return self.status

    def end(self) -> None:
        """Have it end in any case."""
        if self.is_alive():
            self.signal(signal.SIGKILL)
            self.ended()
        runner = self.data / "runner.lock"
        with contextlib.suppress(OSError, ValueError):
            pid = int(runner.read_text())
            if b"aptask.runner.main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGTERM)

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None


class Foreground(Way):
    """`twistd -n`."""

    def command(self) -> list[str]:
        return [_program("twistd"), "-n", "--pidfile=", *self.options]


class Background(Way):
    """`twistd`, which goes to the background: nobody is told of its exit status."""

    def command(self) -> list[str]:
        files = [f"--pidfile={self.folder}/pid", f"--logfile={self.log}"]
        return [_program("twistd"), *files, *self.options]

    def start(self) -> None:
        super().start()
        assert self.process.wait(SECONDS) == 0
        self.pid = int((self.folder / "pid").read_text())
        self._held = os.pidfd_open(self.pid)

    def is_alive(self) -> bool:
        with contextlib.suppress(OSError):
            signal.pidfd_send_signal(self._held, 0)
            state = re.search(r"^State:\s+(\w)", Path(f"/proc/{self.pid}/status").read_text(), re.M)
            return state is not None and state[1] != "Z"
        return False

    def ended(self, seconds: float = SECONDS) -> int | None:
        self.until(lambda: not self.is_alive(), "it has ended")
        assert not (self.folder / "pid").exists() or self.status == -signal.SIGKILL
        return None

    def end(self) -> None:
        if self.is_alive():
            self.signal(signal.SIGKILL)
            self.until(lambda: not self.is_alive(), "it has ended")
        super().end()
        os.close(self._held)


class Twist(Way):
    """`twist`."""

    def command(self) -> list[str]:
        return [_program("twist"), "--log-format=text", *self.options]


WAYS = (Foreground, Background, Twist)


def _program(name: str) -> str:
    return str(Path(sys.executable).with_name(name))
