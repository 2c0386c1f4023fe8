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
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aptask.execution import local
from aptask.execution.local import LocalExecutor
from aptask.interfaces import IExecutor, IListener
from aptask.model.job import Status
from aptask.model.orders import (
    LINK_VERSION,
    Ended,
    Forget,
    Spawn,
    Start,
    Started,
    Stop,
    Welcome,
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
        self._waiting: list[tuple[Callable[[Any], bool], Deferred[Any]]] = []

    def happened(self, event: Any) -> None:
        self._hear(event)

    def lost(self, message: str) -> None:
        self._hear(f"lost: {message}")

    def ready(self) -> None:
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


def order(job: int, *command: str) -> Start:
    return Start(job, 1, "test", "somebody", Spawn(list(command)), 4096)


def runner_of(executor: LocalExecutor) -> int:
    process: Any = executor._process
    pid: int = process.transport.pid
    return pid


def test_it_is_an_executor(executor: LocalExecutor) -> None:
    assert verifyObject(IExecutor, executor)


@pytest_twisted.ensureDeferred
async def test_what_it_runs_is_heard_of_in_its_order(executor: LocalExecutor) -> None:
    listener = Listener()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
    ended = listener.ended(1)
    executor.order(order(1, "sh", "-c", "exit 3"))
    await ended
    assert [type(what) for what in listener.heard] == [str, Started, Ended]
    assert listener.heard[-1].exit == 3
    await executor.stop(0)
    assert not family.of_instance(executor._instance)


@pytest_twisted.ensureDeferred
async def test_no_order_goes_nowhere_loudly(executor: LocalExecutor) -> None:
    executor.order(order(1, "true"))
    executor.order(Stop(1, 1, 0))
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_key_in_its_environment_does_not_reach_the_runner(executor: LocalExecutor) -> None:
    listener = Listener()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
    found = Path(f"/proc/{runner_of(executor)}/environ").read_bytes()
    assert b"APTASK_KEY" not in found
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_runner_that_dies_is_told_of_and_replaced(executor: LocalExecutor) -> None:
    listener = Listener()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
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
    ready = listener.is_ready()
    executor.start(listener)
    await ready
    os.kill(runner_of(executor), signal.SIGSTOP)
    await executor.stop(0)
    assert not family.of_instance(executor._instance)


@pytest_twisted.ensureDeferred
async def test_what_a_runner_said_last_is_heard_before_it_is_lost(executor: LocalExecutor) -> None:
    listener = Listener()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
    jobs = range(1, 21)
    for job in jobs:
        executor.order(order(job, "sleep", "1000"))
    await executor.stop(5)
    ends = [what for what in listener.heard if isinstance(what, Ended)]
    assert sorted(end.job for end in ends) == list(jobs)
    assert {end.message for end in ends} == {"the daemon was stopped"}
    assert listener.heard[-1] == "lost: the runner, which held its process, died"


def test_it_is_lost_only_when_all_that_it_said_has_been_heard(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The system may tell of a process' end before what it has written is read.
    monkeypatch.setattr(executor, "_spawn", lambda: None)
    monkeypatch.setattr(executor, "_clear_away", lambda: None)
    listener = Listener()
    executor.start(listener)
    executor._process, link = local._Process(executor), local._Link(executor)
    link.makeConnection(StringTransport())
    executor.welcomed(link, Welcome(LINK_VERSION, executor._instance, 1))
    executor.exited(executor._process, "a signal")
    assert listener.heard == ["ready"]
    link.dataReceived(encode(Ended(1, 1, 1, Status.DONE, 0.0)) + b"\n")
    link.connectionLost()
    assert [type(what) for what in listener.heard] == [str, Ended, str, str]
    assert listener.heard[-2] == "paused"
    assert listener.heard[-1] == "lost: the runner, which held its process, died"


def linked(executor: LocalExecutor, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An executor with a link on fakes, and what is killed."""
    killed: list[Any] = []
    monkeypatch.setattr(executor, "_reactor", clock)
    monkeypatch.setattr(executor, "_spawn", lambda: None)
    monkeypatch.setattr(executor, "_kill", killed.append)
    executor.start(Listener())
    executor._process, link = local._Process(executor), local._Link(executor)
    link.makeConnection(StringTransport())
    return link, killed


def test_a_runner_that_does_not_answer_any_more_is_killed(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    link, killed = linked(executor, clock, monkeypatch)
    welcome = Welcome(LINK_VERSION, executor._instance, 1)
    for _ in range(20):
        link.lineReceived(encode(welcome))
        clock.pump([1.0] * 5)
    assert killed == []
    clock.pump([1.0] * 30)
    assert killed == [executor._process]


def test_a_runner_that_is_not_the_one_that_was_started_is_killed(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, killed = linked(executor, Clock(), monkeypatch)
    link.lineReceived(encode(Welcome(LINK_VERSION, "another", 1)))
    assert killed == [executor._process]
    assert executor._link is None


def test_an_event_counts_once(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch, logged_failures: list[Any]
) -> None:
    monkeypatch.setattr(executor, "_spawn", lambda: None)
    listener = Listener()
    executor.start(listener)
    link, transport = local._Link(executor), StringTransport()
    link.makeConnection(transport)
    transport.clear()
    first, second = (encode(Started(n, n, 1, 1, 0.0)) + b"\n" for n in (1, 2))
    link.dataReceived(b"junk\n")
    link.dataReceived(first)
    link.dataReceived(first + second + first)
    assert [event.number for event in listener.heard] == [1, 2]
    assert len(logged_failures) == 1
    logged_failures.clear()
    assert transport.value() == encode(Forget(1)) + b"\n" + encode(Forget(2)) + b"\n"


@pytest_twisted.ensureDeferred
async def test_a_further_stop_shortens_the_first(executor: LocalExecutor) -> None:
    listener = Listener()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
    started = listener.started(1)
    executor.order(order(1, "sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"))
    await started
    stopped = executor.stop(1000)
    assert executor.stop(0.1) is stopped
    await stopped


@pytest_twisted.ensureDeferred
async def test_it_is_stopped_while_the_runner_is_still_starting(executor: LocalExecutor) -> None:
    listener = Listener()
    executor.start(listener)
    await executor.stop(0)
    assert "ready" not in listener.heard
    assert not family.of_instance(executor._instance)


@pytest_twisted.ensureDeferred
async def test_it_is_stopped_while_it_waits_to_start_a_runner_again(
    executor: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LONGEST_PAUSE", 1000.0)
    listener = Listener()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
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
    executor.start(listener)
    away.rename(folder)
    await ready
    await executor.stop(0)


@pytest_twisted.ensureDeferred
async def test_a_listener_that_raises_does_not_cost_the_runner(
    executor: LocalExecutor, logged_failures: list[Any]
) -> None:
    class Raising(Listener):
        def happened(self, event: Any) -> None:
            super().happened(event)
            raise ZeroDivisionError

    listener = Raising()
    ready = listener.is_ready()
    executor.start(listener)
    await ready
    for job in (1, 2):
        ended = listener.ended(job)
        executor.order(order(job, "true"))
        await ended
    await executor.stop(0)
    assert listener.heard.count("ready") == 1
    assert len(logged_failures) == 4
    logged_failures.clear()
