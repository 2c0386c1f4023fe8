"""The executor in this process: what its listener hears, whatever becomes of the runner."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessTerminated
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aptask.execution import local, processes
from aptask.execution.link import Link
from aptask.execution.local import LocalExecutor
from aptask.execution.processes import Spawned
from aptask.interfaces import IExecutor, IListener
from aptask.model.job import Status
from aptask.model.orders import (
    LINK_VERSION,
    Ended,
    Pause,
    Paused,
    Quit,
    Resume,
    Resumed,
    Spawn,
    Start,
    Started,
    Stop,
    Welcome,
    decode_order,
    encode,
)
from aptask.runner import family

reactor: Any = the_reactor
SECONDS = 30


@implementer(IListener)
class Listener:
    """Keeps what it hears, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.sources: list[Any] = []
        self._waiting: list[tuple[Callable[[Any], bool], Deferred[Any]]] = []

    def joined(self, instance: str) -> Deferred[None]:
        return succeed(None)

    def happened(self, event: Any, source: Any) -> Deferred[None] | None:
        if source is not None:
            self.sources.append(source)
        self._hear(event)
        return succeed(None)

    def lost(self, message: str) -> None:
        self._hear(f"lost: {message}")

    def over(self) -> None:
        self._hear("over")

    def ready(self, held: Any) -> None:
        self.held = held
        self._hear("ready")

    def paused(self) -> None:
        self._hear("paused")

    def _hear(self, what: Any) -> None:
        self.heard.append(what)
        for waiting in tuple(self._waiting):
            if waiting[0](what):
                self._waiting.remove(waiting)
                waiting[1].callback(what)

    def next(self, condition: Callable[[Any], bool]) -> Deferred[Any]:
        """A Deferred of the next for which this is true."""
        found: Deferred[Any] = Deferred()
        self._waiting.append((condition, found))
        return found.addTimeout(SECONDS, reactor)

    def ended(self, job: int) -> Deferred[Any]:
        return self.next(lambda what: isinstance(what, Ended) and what.job == job)

    def started(self, job: int) -> Deferred[Any]:
        return self.next(lambda what: isinstance(what, Started) and what.job == job)

    def is_ready(self) -> Deferred[Any]:
        return self.next(lambda what: what == "ready")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def executor(folder: Path) -> LocalExecutor:
    return LocalExecutor(reactor, folder, {**os.environ, "APTASK_KEY": "secret"})


async def begin(executor: LocalExecutor, listener: Listener, applied: Any = None) -> None:
    """Start an executor, and wait until it takes orders."""
    ready = listener.is_ready()
    executor.start(listener, applied)
    await ready
    listener.heard = [what for what in listener.heard if not str(what).startswith("lost")]


def order(job: int, *command: str) -> Start:
    return Start(job, 1, "test", "somebody", Spawn(list(command)), 4096)


def runner_of(executor: LocalExecutor) -> int:
    assert executor._process is not None
    return executor._process.pid


def test_a_runner_has_descriptors_for_as_many_jobs_as_room_is_made_for(folder: Path) -> None:
    executor = LocalExecutor(reactor, folder, os.environ, descriptors=300)
    allowed: list[tuple[int, int]] = []

    class Running:
        pid = 17

    executor._process = Running()  # type: ignore[assignment]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(processes, "allow_descriptors", lambda *given: allowed.append(given))
        executor.make_room(1)
        executor.make_room(1000)
        executor.make_room(0)
    assert allowed == [(17, 300), (17, 8200), (17, 300)]


def test_it_is_an_executor(executor: LocalExecutor) -> None:
    assert verifyObject(IExecutor, executor)


@pytest_twisted.ensureDeferred
async def test_what_it_runs_is_heard_of_in_its_order(executor: LocalExecutor) -> None:
    listener = Listener()
    await begin(executor, listener)
    ended = listener.ended(1)
    executor.order(order(1, "sh", "-c", "exit 3"))
    await ended
    assert [type(what) for what in listener.heard] == [str, Started, Ended]
    assert listener.heard[-1].exit == 3
    await executor.stop(0)
    assert not family.of_instance(executor._instance)


@pytest_twisted.ensureDeferred
async def test_what_runs_is_paused_and_resumed_and_it_is_heard_what_is_so(
    executor: LocalExecutor,
) -> None:
    listener = Listener()
    await begin(executor, listener)
    assert executor.can_pause
    started = listener.started(1)
    executor.order(order(1, "sleep", "1000"))
    pid = (await started).pid
    for kind, event in ((Pause, Paused), (Resume, Resumed)):
        heard = listener.next(lambda what, event=event: isinstance(what, event))  # type: ignore[misc]
        executor.order(kind(1, 1))
        assert (await heard).job == 1
        found = family.look_up(pid)
        assert found is not None
        assert (found.state == "T") == (kind is Pause)
    executor.order(Pause(1, 1))
    ended = listener.ended(1)
    executor.order(Stop(1, 1, 5.0))
    assert (await ended).status is Status.STOPPED
    # They have no numbers: the book is not told of them.
    assert [number for _, number in listener.sources] == [1, 2]
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_what_has_a_limit_of_time_times_out(executor: LocalExecutor) -> None:
    listener = Listener()
    await begin(executor, listener)
    ended = listener.ended(1)
    executor.order(Start(1, 1, "t", "o", Spawn(["sleep", "1000"]), 4096, timeout=0.2))
    assert (await ended).status is Status.TIMEOUT
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_no_order_goes_nowhere_loudly(executor: LocalExecutor) -> None:
    executor.order(order(1, "true"))
    executor.order(Stop(1, 1, 0))
    executor.order(Pause(1, 1))
    executor.order(Resume(1, 1))
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_key_in_its_environment_does_not_reach_the_runner(executor: LocalExecutor) -> None:
    listener = Listener()
    await begin(executor, listener)
    found = Path(f"/proc/{runner_of(executor)}/environ").read_bytes()
    assert b"APTASK_KEY" not in found
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_runner_that_dies_is_told_of_and_replaced(executor: LocalExecutor) -> None:
    listener = Listener()
    await begin(executor, listener)
    started = listener.started(1)
    executor.order(order(1, "sh", "-c", "(setsid sleep 1000 &); sleep 1000"))
    pid = (await started).pid
    instance = executor._instance
    ready = listener.is_ready()
    os.kill(runner_of(executor), signal.SIGKILL)
    await ready
    assert listener.heard[-2:] == ["lost: the runner, which held its process, died", "ready"]
    found = family.look_up(pid)
    assert found is None or not found.is_alive
    assert not family.of_instance(instance)
    ended = listener.ended(2)
    executor.order(order(2, "true"))
    assert (await ended).status is Status.DONE
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_runner_that_is_suspended_does_not_outlive_its_grace(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "END_SECONDS", 0.2)
    listener = Listener()
    await begin(executor, listener)
    os.kill(runner_of(executor), signal.SIGSTOP)
    await executor.stop(0)
    assert not family.of_instance(executor._instance)


@pytest_twisted.ensureDeferred
async def test_what_a_runner_said_last_is_heard_before_it_is_lost(executor: LocalExecutor) -> None:
    listener = Listener()
    await begin(executor, listener)
    jobs = range(1, 21)
    for job in jobs:
        executor.order(order(job, "sleep", "1000"))
    await executor.stop(5)
    ends = [what for what in listener.heard if isinstance(what, Ended)]
    assert sorted(end.job for end in ends) == list(jobs)
    assert {end.message for end in ends} == {"the daemon was stopped"}
    assert listener.heard[-1] == "over"


def test_it_is_lost_only_when_all_that_it_said_has_been_heard(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The system may tell of a process' end before what it has written is read.
    clock = Clock()
    link, process = linked(executor, clock, monkeypatch)
    listener = executor._listener
    link.dataReceived(encode(Welcome(LINK_VERSION, executor._instance, 1)) + b"\n")
    process.processExited(Failure(ProcessTerminated(signal=9)))
    assert listener.heard == ["ready"]
    link.dataReceived(encode(Ended(1, 1, 1, Status.DONE, 0.0)) + b"\n")
    link.connectionLost()
    assert [type(what) for what in listener.heard] == [str, Ended, str, str]
    assert listener.heard[-2] == "paused"
    assert listener.heard[-1] == "lost: the runner, which held its process, died"


class Process(Spawned):
    """A runner's process that only notes that it was killed."""

    pid = 1
    killed = False

    def kill(self) -> None:
        self.killed = True


def linked(executor: LocalExecutor, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A link on fakes, of an executor that has started a runner on fakes, and that runner."""
    monkeypatch.setattr(executor, "_reactor", clock)
    monkeypatch.setattr(executor, "_clear_away", lambda: None)
    listener = Listener()
    executor.start(listener, None)
    listener.heard.clear()
    executor._instance = "me"
    executor._process = process = Process(executor._serves, executor._exited)
    link = Link(executor, clock, ("me", 0), 60.0)
    link.makeConnection(StringTransport())
    return link, process


def test_a_runner_that_does_not_answer_any_more_is_killed(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    link, process = linked(executor, clock, monkeypatch)
    for _ in range(20):
        link.lineReceived(encode(Welcome(LINK_VERSION, "me", 1)))
        clock.pump([1.0] * 5)
    assert not process.killed
    clock.pump([1.0] * 30)
    assert process.killed


def sent(link: Link) -> list[Any]:
    """What was ordered over a link on fakes, since this was asked last."""
    transport: Any = link.transport
    lines = transport.value().splitlines()
    transport.clear()
    return [decode_order(line) for line in lines]


def adopted(link: Link, process: Process, version: int, *running: tuple[int, int]) -> None:
    """Have a runner say that it is there, as one that another daemon has started."""
    link.dataReceived(encode(Welcome(version, "me", process.pid, running)) + b"\n")


@pytest.mark.parametrize("version", [LINK_VERSION - 1, LINK_VERSION + 1])
def test_a_runner_of_another_version_is_ordered_to_stop_jobs_and_nothing_else(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    link, process = linked(executor, Clock(), monkeypatch)
    adopted(link, process, version, (1, 1))
    sent(link)
    assert not executor.can_pause
    stop = Stop(1, 1, 5.0)
    for each in (Pause(1, 1), stop, Resume(1, 1), order(2, "true")):
        executor.order(each)
    assert sent(link) == [stop]


def test_an_older_runner_quits_when_it_has_nothing_left_and_is_killed_where_it_does_not(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    link, process = linked(executor, clock, monkeypatch)
    adopted(link, process, LINK_VERSION - 1, (1, 1))
    sent(link)
    adopted(link, process, LINK_VERSION - 1)
    assert sent(link) == [Quit(0.0)]
    assert not process.killed
    clock.advance(local.END_SECONDS)
    assert process.killed


def test_a_newer_runner_that_has_nothing_left_is_killed(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, process = linked(executor, Clock(), monkeypatch)
    adopted(link, process, LINK_VERSION + 1, (1, 1))
    sent(link)
    adopted(link, process, LINK_VERSION + 1)
    assert sent(link) == []
    assert process.killed


@pytest.mark.parametrize(
    ("version", "orders"),
    [(LINK_VERSION - 1, [Quit(5.0)]), (LINK_VERSION + 1, [Stop(1, 1, 5.0)])],
)
def test_a_stop_of_all_is_said_so_that_the_runner_understands_it(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, version: int, orders: list[Any]
) -> None:
    link, process = linked(executor, Clock(), monkeypatch)
    adopted(link, process, version, (1, 1))
    sent(link)
    executor.stop(5.0)
    assert sent(link) == orders


def test_a_runner_that_is_not_the_one_that_was_started_is_killed(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, process = linked(executor, Clock(), monkeypatch)
    link.lineReceived(encode(Welcome(LINK_VERSION, "another", 1)))
    assert process.killed
    assert executor._link is None


@pytest_twisted.ensureDeferred
async def test_a_further_stop_shortens_the_first(executor: LocalExecutor) -> None:
    listener = Listener()
    await begin(executor, listener)
    started = listener.started(1)
    executor.order(order(1, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))
    await started
    stopped = executor.stop(1000)
    assert executor.stop(0.1) is stopped
    await stopped


@pytest_twisted.ensureDeferred
async def test_it_is_stopped_while_the_runner_is_still_starting(executor: LocalExecutor) -> None:
    listener = Listener()
    executor.start(listener, None)
    await executor.stop(0)
    assert "ready" not in listener.heard
    assert not family.of_instance(executor._instance)


@pytest_twisted.ensureDeferred
async def test_it_is_stopped_while_it_waits_to_start_a_runner_again(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LONGEST_PAUSE", 1000.0)
    listener = Listener()
    await begin(executor, listener)
    executor._pause = 500.0
    lost = listener.next(lambda what: str(what).startswith("lost"))
    os.kill(runner_of(executor), signal.SIGKILL)
    await lost
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_folder_that_is_gone_is_tried_again(
    executor: LocalExecutor, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener = Listener()
    away = folder.with_name(folder.name + "-away")
    folder.rename(away)
    ready = listener.is_ready()
    executor.start(listener, None)
    away.rename(folder)
    await ready
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_listener_that_raises_does_not_cost_the_runner(
    executor: LocalExecutor, logged_failures: list[Any]
) -> None:
    class Raising(Listener):
        def happened(self, event: Any, source: Any) -> None:
            super().happened(event, source)
            raise ZeroDivisionError

    listener = Raising()
    await begin(executor, listener)
    for job in (1, 2):
        ended = listener.ended(job)
        executor.order(order(job, "true"))
        await ended
    await executor.stop(0)
    assert listener.heard.count("ready") == 1
    assert len(logged_failures) == 4
    logged_failures.clear()


@pytest_twisted.ensureDeferred
async def test_a_long_log_of_runners_before_is_put_aside(
    executor: LocalExecutor, folder: Path
) -> None:
    (folder / "runner.log").write_bytes(b"x" * (processes.LOG_BYTES + 1))
    (folder / "runner.log.1").write_text("older")
    await begin(executor, Listener())
    await executor.stop(0)
    assert (folder / "runner.log.1").stat().st_size == processes.LOG_BYTES + 1
    assert (folder / "runner.log").stat().st_size < processes.LOG_BYTES
