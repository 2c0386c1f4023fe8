"""What all tests share: a real daemon, and the care that nothing is left behind."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from aptask.runner import family

START_SECONDS = 30.0
STOP_SECONDS = 30.0


class Daemon:
    """A real `twistd aptask`, with a data folder of its own.

    Attributes:
        data: the data folder.
        port: its TCP port on loopback.
        admin_key: the local key.
        process: the twistd.
    """

    def __init__(
        self,
        folder: Path,
        *options: str,
        config: str | None = None,
        environment: dict[str, str] | None = None,
        data: Path | None = None,
    ) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.log = folder / "twistd.log"
        self._arguments = ["--data", str(self.data)]
        self._environment = environment or {}
        if config is not None:
            (folder / "aptask.toml").write_text(config)
            self._arguments += ["--config", str(folder / "aptask.toml")]
        if "--listen" not in options:
            self._arguments += ["--listen", "tcp:0:interface=127.0.0.1"]
            self._arguments += ["--listen", f"unix:{self.data}/aptask.sock"]
        self._arguments += options
        self.start()

    def start(self) -> None:
        """Start it: for the first time, or again on what is in its data folder."""
        folder = self.folder
        with contextlib.ExitStack() as stack:
            ready = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            ready.bind(str(folder / "ready"))
            stack.callback((folder / "ready").unlink)
            ready.settimeout(0.2)
            self.process = subprocess.Popen(
                [*twistd(), "-n", "--pidfile=", "aptask", *self._arguments],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=stack.enter_context(self.log.open("ab")),
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": str(folder / "ready"),
                    **self._environment,
                },
            )
            self._wait_until_ready(ready)
        self.admin_key = (self.data / "local.key").read_text().strip()
        found = re.findall(r"listening on 127\.0\.0\.1:(\d+)", self.log.read_text())
        self.port = int(found[-1]) if found else 0

    def kill(self) -> None:
        """End it without a word: its runner and the jobs go on."""
        self.process.kill()
        self.process.wait()

    @property
    def runner(self) -> int:
        """The process of its runner, or of the last that it had; 0 if it never had one."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.data / "runner.lock").read_text())
        return 0

    def _wait_until_ready(self, ready: socket.socket) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                if ready.recv(100) == b"READY=1":
                    return
            except TimeoutError:
                if self.process.poll() is not None:
                    break
        raise AssertionError(f"the daemon did not start:\n{self.log.read_text()}")

    def connect(self) -> socket.socket:
        """A connection to its Unix socket."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(str(self.data / "aptask.sock"))
        return connection

    def ask(self, request: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
        """The response to one request, by default of the local key."""
        message = {"key": self.admin_key if key is None else key, "request": request, **fields}
        return self.send(json.dumps(message).encode() + b"\n")

    def send(self, data: bytes) -> dict[str, Any]:
        """The first response to bytes sent as they are."""
        with self.connect() as connection:
            connection.sendall(data)
            with connection.makefile("rb") as answers:
                response: dict[str, Any] = json.loads(answers.readline())
                return response

    def run(self, name: str, *arguments: Any, key: str | None = None, **named: Any) -> Any:
        """Start a task, wait for its end, and give it as `wait` shows it."""
        started = self.ask("start", key, name=name, arguments=list(arguments) or named)
        assert started["status"] == "ok", started
        return self.ask("wait", key, taskid=started["taskid"], timeout=60)["task"]

    def processes(self) -> list[int]:
        """The processes of its jobs and of its nursery, by what stands in their environment."""
        return marked(f"APTASK_DATA={self.data}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Have it end, and see that nothing of it is left; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(STOP_SECONDS)
        if self.runner and (family.mark_of(self.runner) or "").endswith("/runner/0"):
            os.kill(self.runner, signal.SIGTERM)  # the daemon was killed, and has left it
        wait_until(lambda: not self.processes(), "all of its processes have ended")
        return status


def twistd() -> list[str]:
    """The command of the twistd that belongs to this Python."""
    beside = Path(sys.executable).with_name("twistd")
    found = str(beside) if beside.exists() else shutil.which("twistd")
    return [found] if found else [sys.executable, "-m", "twisted"]


def marked(mark: str) -> list[int]:
    """The living processes that have an environment variable."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """What a condition gives, once it is true; fails when it does not become true in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(0.01)
    return value


def cannot(reason: str) -> NoReturn:
    """Skip a test that needs what this machine has not; where all is required, fail it."""
    if os.environ.get("APTASK_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A folder on a file system of its own that is soon full; skips where none can be mounted.

    Args:
        folder: exists, and is empty.
        size: as mount(8) has it for tmpfs: `2m`.
    """
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        cannot(f"no file system can be mounted: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="session")
def tools() -> Any:
    """The functions of this module, for tests that need them by themselves."""
    return sys.modules[__name__]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder with a path short enough for Unix sockets."""
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture(scope="module")
def daemons() -> Iterator[Callable[..., Daemon]]:
    """Starts daemons, each in a folder of its own, that end with the tests of this module."""
    running: list[Daemon] = []
    with contextlib.ExitStack() as stack:

        def start(*options: str, **settings: Any) -> Daemon:
            name = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True)
            )
            daemon = Daemon(Path(name), *options, **settings)
            running.append(daemon)
            return daemon

        yield start
        with contextlib.ExitStack() as ending:
            for daemon in running:
                ending.callback(daemon.stop)  # the last first: they may share a data folder


@pytest.fixture(scope="module")
def daemon(daemons: Callable[..., Daemon]) -> Daemon:
    """One daemon for all tests of a module."""
    return daemons()


@pytest.fixture
def program() -> Callable[[str], str]:
    """Gives the path of a program that a test needs; skips the test where it is not installed."""

    def find(name: str) -> str:
        found = shutil.which(name)
        if found is None:
            cannot(f"{name} is not installed")
        return found

    return find


@pytest.fixture
def logged_failures() -> list[LogEvent]:
    """Failures that were logged during the test; what a test takes out of it, it expected."""
    return []


@pytest.fixture(autouse=True)
def _nothing_unhandled(logged_failures: list[LogEvent]) -> Iterator[None]:
    """Fail a test of which an error went unhandled, or calls are left in the reactor."""

    def observe(event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            logged_failures.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
        gc.collect(1)  # what the test made is young
    finally:
        globalLogPublisher.removeObserver(observe)
    failures = [event["log_failure"].getTraceback() for event in logged_failures]
    assert not failures, "\n".join(failures)
    reactor = sys.modules.get("twisted.internet.reactor")
    if reactor is not None:
        left = [call for call in reactor.getDelayedCalls() if call.active()]
        for call in left:
            call.cancel()
        assert not left, f"calls are left in the reactor: {left}"
