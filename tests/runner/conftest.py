"""A real runner process, with a test in the daemon's place at the other end of the link."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aptask.model.description import Kind, Target
from aptask.model.orders import (
    LINK_VERSION,
    READY_DESCRIPTOR,
    Call,
    Ended,
    Event,
    Hello,
    Order,
    Spawn,
    Start,
    Started,
    Stop,
    Welcome,
    decode_event,
    encode,
)
from aptask.runner import family
from aptask.runner.output import Outputs

SECONDS = 30.0
CAPACITY = 1 << 16


class RunnerProcess:
    """A runner and its data folder, driven order by order."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str] | None = None,
        main: tuple[str, ...] = ("-m", "aptask.runner.main"),
    ) -> None:
        self.data = folder
        self.instance = os.urandom(4).hex()
        self.events: list[Event] = []
        self._last_job = 0
        ready, ready_end = os.pipe()
        with contextlib.ExitStack() as stack:
            stack.callback(os.close, ready)
            log = stack.enter_context((folder / "runner.log").open("ab"))
            try:
                self.process = subprocess.Popen(
                    [sys.executable, "-P", *main, folder, self.instance],
                    env={**os.environ, **(environment or {})},
                    stderr=log,
                    preexec_fn=lambda: _prepare(ready_end),
                    pass_fds=[READY_DESCRIPTOR],
                )
            finally:
                os.close(ready_end)
            assert select.select([ready], [], [], SECONDS)[0]
            assert os.read(ready, 100) == b"ready\n", self.log()
        self.connect()

    def log(self) -> str:
        return (self.data / "runner.log").read_text()

    def connect(
        self, instance: str | None = None, after: int = 0, orphan_timeout: float = 0.0
    ) -> Welcome:
        """Come as a daemon; gives the runner's answer.

        By default the runner ends its jobs as soon as this daemon has gone. One before is gone when
        the runner has noticed this one.
        """
        before = getattr(self, "link", None), getattr(self, "_lines", None)
        self.link = socket.socket(socket.AF_UNIX)
        self.link.settimeout(SECONDS)
        self.link.connect(str(self.data / "runner.sock"))
        self._lines = self.link.makefile("rb")
        self.send(Hello(LINK_VERSION, instance, after, orphan_timeout))
        welcome: Welcome = self.expect(lambda event: isinstance(event, Welcome))
        del before
        return welcome

    def send(self, *orders: Order) -> None:
        self.link.sendall(b"".join(encode(order) + b"\n" for order in orders))

    def next(self) -> Event:
        line = self._lines.readline()
        assert line, f"the link is closed:\n{self.log()}"
        event = decode_event(line)
        self.events.append(event)
        return event

    def expect(self, condition: Callable[[Any], bool]) -> Any:
        """The next event for which this is true."""
        while not condition(event := self.next()):
            pass
        return event

    def start(self, work: Spawn | Call, **fields: Any) -> int:
        """Order a job; gives its number."""
        self._last_job += 1
        order: dict[str, Any] = {
            "job": self._last_job,
            "attempt": 1,
            "task": "test",
            "owner": "somebody",
            "output_bytes": CAPACITY,
        }
        order |= fields
        self.send(Start(**order, work=work))
        job: int = order["job"]
        return job

    def started(self, job: int) -> Started:
        return self.expect(lambda event: isinstance(event, Started) and event.job == job)

    def ended(self, job: int) -> Ended:
        for event in self.events:
            if isinstance(event, Ended) and event.job == job:
                return event
        return self.expect(lambda event: isinstance(event, Ended) and event.job == job)

    def run(self, work: Spawn | Call, **fields: Any) -> Ended:
        return self.ended(self.start(work, **fields))

    def shell(self, script: str, **fields: Any) -> Ended:
        return self.run(Spawn(["sh", "-c", script], **fields))

    def stop(self, job: int, grace: float = 10.0) -> None:
        self.send(Stop(job, 1, grace))

    def output(self, job: int) -> str:
        outputs = Outputs(self.data / "output")
        text, offset = b"", 0
        while True:
            piece, offset = outputs.read(job, offset, 1 << 20)
            if not piece:
                return text.decode()
            text += piece

    def wait_for_output(self, job: int, text: str) -> None:
        deadline = time.monotonic() + SECONDS
        while text not in self.output(job):
            assert time.monotonic() < deadline, f"{text!r} does not come"
            time.sleep(0.01)

    def members(self, job: int, pid: int = 0) -> list[int]:
        """What is left of a job's family."""
        return family.Family(family.mark(self.instance, job, 1), pid).members()

    def disconnect(self) -> None:
        self._lines.close()
        self.link.close()

    def close(self) -> None:
        self.disconnect()
        self.process.wait(SECONDS)
        wait_until(lambda: not family.of_instance(self.instance))


def _prepare(ready: int) -> None:
    """Give a runner what its daemon gives it: where to say that it serves, and descriptors."""
    os.dup2(ready, READY_DESCRIPTOR)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def wait_until(condition: Callable[[], Any], seconds: float = SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return value


@pytest.fixture(scope="module")
def runner() -> Iterator[RunnerProcess]:
    """One runner for the tests of a module."""
    with tempfile.TemporaryDirectory(prefix="aptask-") as name:
        running = RunnerProcess(Path(name), {"LEAKS": "yes", "LC_TIME": "C", "TZ": "UTC"})
        yield running
        running.close()


@pytest.fixture
def own_runner() -> Iterator[RunnerProcess]:
    """A runner that a test may ruin; what is left of it is ended."""
    name = tempfile.mkdtemp(prefix="aptask-")
    running = RunnerProcess(Path(name))
    yield running
    running.disconnect()
    if running.process.poll() is None:
        running.process.send_signal(signal.SIGCONT)
        try:
            running.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            running.process.kill()
            running.process.wait()
            raise
    family.kill(lambda: family.of_instance(running.instance))
    shutil.rmtree(name, ignore_errors=True)


@pytest.fixture
def small_disk(tools: Any, tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tools.small_disk(folder, "1m"):
        yield folder


@pytest.fixture
def tasks(tmp_path: Path) -> Callable[..., Call]:
    """Gives the order to run something out of a file of Python code."""
    file = tmp_path / "authored.py"

    def write(
        source: str,
        attribute: str = "main",
        *,
        kind: Kind = Kind.CALLABLE,
        isolated: bool = False,
        **arguments: Any,
    ) -> Call:
        if not file.exists() or file.read_text() != source:
            file.write_text(source)
        target = Target(kind, "authored_" + tmp_path.name, attribute, str(file))
        return Call(target, msgspec.Raw(msgspec.json.encode(arguments)), isolated)

    return write


@pytest.fixture(scope="session")
def helpers() -> Any:
    """The functions of this module, for tests that need them by themselves."""
    return sys.modules[__name__]
