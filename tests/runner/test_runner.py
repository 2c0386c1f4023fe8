"""The runner's own part: numbers, what waits for a daemon that does not read, and the link."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from aptask.model.orders import (
    LINK_VERSION,
    Ended,
    Forget,
    Hello,
    Progressed,
    Quit,
    Spawn,
    Start,
    Started,
    Stop,
    Welcome,
    decode_event,
    encode,
)
from aptask.runner import attempt as attempt_module
from aptask.runner import family
from aptask.runner import runner as runner_module
from aptask.runner import spool as spool_module
from aptask.runner.link import CLOSE_SECONDS, RunnerLink, RunnerLinkFactory
from aptask.runner.runner import LOOK_SECONDS, ORPHAN_SECONDS, Runner
from aptask.runner.spool import Spool, read


class FakeNursery:
    def __init__(self, *_: object) -> None:
        self.pids: set[int] = set()
        self.is_closed = False

    def withdraw(self, child: object) -> bool:
        return False

    def retire_idle(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class FakeProgram:
    """A program that ends when a test says so."""

    running: list[Any] = []
    faults = False

    pipe = "pipe:[1]"

    def __init__(self, *_: object, **calls: Any) -> None:
        self.reported: Callable[[bytes], None] = calls["reported"]
        self.exited: Callable[[int | None], None] = calls["exited"]
        self.running.append(self)
        self.pid = 100 + len(self.running)
        self.looks = 0

    def look_after(self) -> None:
        self.looks += 1
        if self.faults:
            raise ZeroDivisionError

    def close(self) -> None:
        pass


class FakeLink:
    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.free = True

    def send(self, event: Any) -> None:
        self.sent.append(event)

    def is_free(self) -> bool:
        return self.free

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.sent if isinstance(event, kind)]


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The programs that run."""
    monkeypatch.setattr(attempt_module, "Program", FakeProgram)
    monkeypatch.setattr(FakeProgram, "running", [])
    return FakeProgram.running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner(
    clock: Clock, programs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Runner:
    # This process is no runner: it must not take on, and end, what others have left.
    monkeypatch.setattr(family, "adopt_orphans", lambda: True)
    monkeypatch.setattr(family, "children", list)
    monkeypatch.setattr(runner_module, "Nursery", FakeNursery)
    return Runner(clock, tmp_path, "me", 2, {"HOME": "/", "LC_ALL": "C", "SECRET": "s"})


@pytest.fixture
def link(runner: Runner) -> FakeLink:
    return greet(runner)


def greet(runner: Runner, instance: str | None = None, after: int = 0) -> FakeLink:
    """Come as a daemon, for which the runner waits ten seconds when it has gone."""
    link = FakeLink()
    runner.connected(link)
    runner.order(Hello(LINK_VERSION, instance, after, 10.0))
    assert isinstance(link.sent.pop(0), Welcome)
    return link


def start(runner: Runner, *jobs: int) -> None:
    for job in jobs:
        runner.order(Start(job, 1, "t", "o", Spawn(["x"]), 4096))


def report(fraction: float) -> bytes:
    return b'{"progress": %r}\n' % fraction


def test_to_a_daemon_that_does_not_read_only_the_newest_of_each_job_waits(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock
) -> None:
    start(runner, 1, 2)
    link.free = False
    for n in range(1000):
        for program in programs:
            program.reported(report(n / 1000))
        clock.advance(0.05)
    assert link.of(Progressed) == []
    assert len(runner._untold) == 2
    link.free = True
    runner.drained()
    assert [(event.job, event.fraction) for event in link.of(Progressed)] == [
        (1, 0.999),
        (2, 0.999),
    ]
    assert len(runner._untold) == 0


def test_without_a_daemon_progress_waits_for_the_next_one(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1)
    runner.disconnected(link)
    programs[0].reported(report(0.5))
    other = greet(runner, "me")
    runner.disconnected(link)  # late, and about another
    assert [event.fraction for event in other.of(Progressed)] == [0.5]


def test_an_attempt_that_ended_has_nothing_untold(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1)
    link.free = False
    programs[0].reported(report(0.5))
    programs[0].exited(0)
    link.free = True
    runner.drained()
    assert link.of(Progressed) == []
    assert link.of(Ended)[0].fraction == 0.5


def test_events_are_numbered_and_kept_until_they_are_forgotten(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1, 2)
    programs[0].exited(0)
    assert [event.number for event in link.sent] == [1, 2, 3]
    assert numbers(greet(runner, "me", 1)) == [2, 3]
    runner.order(Forget(2))
    assert numbers(greet(runner, "me")) == [3]
    assert numbers(greet(runner, None)) == []
    assert numbers(greet(runner, "another")) == []
    runner.order(Forget(1000))
    assert numbers(greet(runner, "me")) == []


def numbers(link: FakeLink) -> list[int]:
    return [event.number for event in link.sent if isinstance(event, Started | Ended)]


def test_a_daemon_that_comes_hears_what_is_held_what_it_missed_and_how_far_it_is(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1, 2)
    programs[0].reported(report(0.25))
    programs[1].exited(0)
    runner.disconnected(link)
    link = FakeLink()
    runner.connected(link)
    start(runner, 3)
    programs[2].exited(0)
    programs[0].reported(report(0.5))
    assert link.sent == [], "nothing is told before it has said what it knows"
    runner.order(Hello(LINK_VERSION, "me", 1))
    welcome, *events = link.sent
    assert welcome == Welcome(LINK_VERSION, "me", os.getpid(), ((1, 1),))
    assert numbers(link) == [2, 3, 4, 5]
    assert events[4:] == [Progressed(1, 1, 0.5)]


def test_a_further_hello_is_a_heartbeat(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1)
    programs[0].reported(report(0.25))
    link.sent.clear()
    runner.order(Hello(LINK_VERSION, "me", 0))
    assert link.sent == [Welcome(LINK_VERSION, "me", os.getpid(), ((1, 1),))]


def test_a_stop_is_answered_with_the_end_whether_it_was_had_or_not(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1)
    programs[0].exited(0)
    (ended,) = link.of(Ended)
    runner.order(Stop(1, 1, 5.0))
    assert link.of(Ended) == [ended, ended]
    runner.order(Stop(2, 1, 5.0))
    stopped = link.of(Ended)[-1]
    assert (stopped.number, stopped.job, stopped.status) == (3, 2, "stopped")
    start(runner, 2)
    assert link.of(Ended)[-1] is stopped
    assert len(programs) == 1


def test_a_start_that_was_had_is_answered_and_not_carried_out(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1, 1)
    assert len(programs) == 1
    programs[0].exited(0)
    link.sent.clear()
    start(runner, 1)
    assert len(programs) == 1
    assert [event.number for event in link.of(Ended)] == [2]


def test_a_fault_in_beginning_one_costs_that_one(
    runner: Runner, link: FakeLink, monkeypatch: pytest.MonkeyPatch, logged_failures: list[Any]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runner, "check", lambda folder: 1 / 0)
        start(runner, 1)
    start(runner, 2)
    assert [event.message for event in link.of(Ended)] == ["could not be started: division by zero"]
    assert [event.job for event in link.of(Started)] == [2]
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_one_of_which_the_output_cannot_be_kept_ends_with_an_error(
    runner: Runner, link: FakeLink, monkeypatch: pytest.MonkeyPatch, logged_failures: list[Any]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runner, "writer", lambda order: 1 / 0)
        start(runner, 1)
    assert [event.message for event in link.of(Ended)] == ["could not be started: division by zero"]
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_a_fault_in_looking_after_one_does_not_end_the_looking(
    runner: Runner, programs: list[Any], clock: Clock, logged_failures: list[Any]
) -> None:
    start(runner, 1, 2)
    programs[0].faults = True
    for _ in range(3):
        clock.advance(LOOK_SECONDS)
    assert [program.looks for program in programs] == [3, 3]
    assert len(logged_failures) == 3
    logged_failures.clear()


def test_told_to_quit_it_is_gone_when_the_last_job_is(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock
) -> None:
    start(runner, 1, 2)
    gone: list[None] = []
    runner.gone.addCallback(gone.append)
    runner.order(Quit(5.0))
    start(runner, 3)
    assert link.of(Ended)[-1].job == 3
    programs[0].exited(0)
    clock.pump([0.1] * 10)
    assert not gone
    runner.order(Quit(1.0))
    programs[1].exited(0)
    clock.pump([0.1] * 10)
    assert gone == [None]
    assert runner.nursery.is_closed  # type: ignore[attr-defined]
    assert {event.status for event in link.of(Ended)} == {"interrupted"}
    assert clock.getDelayedCalls() == []


def test_quitting_unasked_it_answers_no_start(
    runner: Runner, link: FakeLink, programs: list[Any]
) -> None:
    start(runner, 1)
    runner.quit(5.0, "the runner was told to end")
    start(runner, 2)
    assert link.of(Ended) == []
    assert len(programs) == 1


def test_the_environment_of_jobs_is_the_clean_one(runner: Runner) -> None:
    environment = runner.environment()
    assert "SECRET" not in environment
    assert environment["LC_ALL"] == "C"
    assert environment["HOME"] == "/"
    assert environment["USER"] == environment["LOGNAME"] != ""
    assert environment["PATH"]


@pytest.mark.parametrize(
    ("marked", "is_killed"),
    [
        ("me/1/1", False),
        ("me/2/1", True),
        ("me/nursery/0", True),
        ("other/1/1", True),
        (None, False),
    ],
)
def test_an_orphan_whose_job_is_over_is_ended(
    runner: Runner,
    programs: list[Any],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    marked: str | None,
    is_killed: bool,
) -> None:
    start(runner, 1)
    killed: list[Callable[[], list[int]]] = []
    runner.nursery.pids.add(50)
    children = [programs[0].pid, 50, 999]
    monkeypatch.setattr(family, "children", lambda: children)
    monkeypatch.setattr(runner_module, "_reap", lambda pid: False)
    monkeypatch.setattr(family, "mark_of", {999: marked}.get)
    monkeypatch.setattr(family, "kill", killed.append)
    clock.advance(LOOK_SECONDS)
    assert len(killed) == is_killed
    programs[0].exited(0)
    children.remove(programs[0].pid)
    killed.clear()
    clock.advance(LOOK_SECONDS)
    assert len(killed) == 1, "without jobs no orphan has a right to be"


# Without a daemon


def ended_in_spool(tmp_path: Path) -> list[tuple[int, str, str | None]]:
    return [(event.job, str(event.status), event.message) for event in read(tmp_path, "me")[1]]


def test_without_a_daemon_jobs_run_on_until_the_last_has_ended(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock, tmp_path: Path
) -> None:
    start(runner, 1, 2)
    runner.disconnected(link)
    programs[0].exited(0)
    clock.advance(5)
    assert not runner.gone.called
    programs[1].exited(0)
    assert not runner.gone.called, "it is not synced"
    clock.advance(0)
    assert runner.gone.called
    assert ended_in_spool(tmp_path) == [(1, "done", None), (2, "done", None)]
    assert clock.getDelayedCalls() == []


def test_without_jobs_it_ends_with_its_daemon(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock, tmp_path: Path
) -> None:
    start(runner, 1)
    programs[0].exited(0)
    runner.disconnected(link)
    assert runner.gone.called
    assert ended_in_spool(tmp_path) == [(1, "done", None)]
    assert clock.getDelayedCalls() == []


def test_before_its_first_daemon_it_does_not_end(runner: Runner, clock: Clock) -> None:
    clock.advance(100)
    runner._end_if_over()
    assert not runner.gone.called


def test_when_no_daemon_comes_back_in_time_jobs_are_interrupted(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock, tmp_path: Path
) -> None:
    start(runner, 1)
    runner.disconnected(link)
    clock.advance(9.9)
    assert runner._quits is None
    clock.advance(0.1)
    programs[0].exited(-15)
    clock.pump([0.1] * 10)
    assert runner.gone.called
    assert ended_in_spool(tmp_path) == [(1, "interrupted", "no daemon came back within 10 s")]
    assert clock.getDelayedCalls() == []


def test_a_daemon_that_comes_back_stops_the_waiting(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock
) -> None:
    start(runner, 1)
    for _ in range(3):
        runner.disconnected(link)
        clock.advance(9)
        link = greet(runner, "me", 1)
    clock.advance(100)
    programs[0].exited(0)
    assert [event.status for event in link.of(Ended)] == ["done"]
    clock.advance(100)
    assert not runner.gone.called


def test_a_daemon_that_has_not_said_how_long_is_waited_for_an_hour(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock
) -> None:
    start(runner, 1)
    runner.disconnected(link)
    runner._orphan_seconds = ORPHAN_SECONDS
    runner.connected(link)
    runner.disconnected(link)
    clock.advance(3599)
    assert runner._quits is None
    clock.advance(1)
    assert runner._quits == "no daemon came back within 3600 s"


def test_while_the_disk_is_full_and_nobody_is_there_it_does_not_end(
    runner: Runner,
    link: FakeLink,
    programs: list[Any],
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    start(runner, 1)
    runner.disconnected(link)
    with monkeypatch.context() as patch:
        patch.setattr(spool_module, "_write_all", fail)
        programs[0].exited(0)
        clock.pump([LOOK_SECONDS] * 10)
        assert not runner.gone.called
        runner.quit(0.0)
        assert not runner.gone.called
    assert ended_in_spool(tmp_path) == []
    clock.advance(LOOK_SECONDS)
    assert runner.gone.called
    assert ended_in_spool(tmp_path) == [(1, "done", None)]


def test_with_a_daemon_a_full_disk_keeps_it_from_nothing(
    runner: Runner, link: FakeLink, programs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spool_module, "_write_all", fail)
    start(runner, 1)
    programs[0].exited(0)
    assert [event.job for event in link.of(Ended)] == [1]
    runner.quit(0.0)
    assert runner.gone.called


def test_an_end_is_in_the_spool_before_it_is_told(
    runner: Runner, link: FakeLink, programs: list[Any], tmp_path: Path
) -> None:
    seen: list[list[tuple[int, str, str | None]]] = []
    start(runner, 1)
    link.send = lambda event: seen.append(ended_in_spool(tmp_path))  # type: ignore[method-assign]
    programs[0].exited(0)
    assert seen == [[(1, "done", None)]]


def test_what_is_told_last_is_synced_before_it_ends(
    runner: Runner, link: FakeLink, programs: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(Spool, "sync", lambda _: synced.append(runner.gone.called))
    start(runner, 1)
    programs[0].exited(0)
    runner.quit(0.0)
    assert runner.gone.called
    assert synced == [False]


def test_told_to_quit_by_a_daemon_that_dies_it_leaves_what_it_told_in_the_spool(
    runner: Runner, link: FakeLink, programs: list[Any], clock: Clock, tmp_path: Path
) -> None:
    start(runner, 1)
    runner.order(Quit(5.0))
    runner.disconnected(link)
    programs[0].exited(0)
    clock.pump([0.1] * 10)
    assert runner.gone.called
    assert [job for job, *_ in ended_in_spool(tmp_path)] == [1]


# The link


@pytest.fixture
def factory(runner: Runner, clock: Clock) -> RunnerLinkFactory:
    return RunnerLinkFactory(clock, runner)


def connect(factory: RunnerLinkFactory) -> tuple[RunnerLink, StringTransport]:
    link, transport = factory.buildProtocol(None), StringTransport()
    assert link is not None
    link.makeConnection(transport)
    return link, transport


def test_orders_come_in_lines_however_they_are_cut(
    factory: RunnerLinkFactory, programs: list[Any]
) -> None:
    link, transport = connect(factory)
    lines = encode(Hello(1)) + b"\n" + encode(Start(1, 1, "t", "o", Spawn(["x"]), 4096)) + b"\n"
    for place in range(len(lines)):
        link.dataReceived(lines[place : place + 1])
    events = [decode_event(line) for line in transport.value().splitlines()]
    assert [type(event) for event in events] == [Welcome, Started]


def test_an_order_that_fails_does_not_cost_the_link(
    factory: RunnerLinkFactory,
    runner: Runner,
    monkeypatch: pytest.MonkeyPatch,
    logged_failures: list[Any],
) -> None:
    link, transport = connect(factory)
    monkeypatch.setattr(runner, "order", lambda order: 1 / 0)
    link.dataReceived(b"junk\n" + encode(Stop(1, 1, 0.0)) + b"\n")
    assert not transport.disconnecting
    assert len(logged_failures) == 2
    logged_failures.clear()


def test_a_link_that_is_full_holds_progress_back(
    factory: RunnerLinkFactory, programs: list[Any], runner: Runner
) -> None:
    link, transport = connect(factory)
    runner.order(Hello(LINK_VERSION))
    start(runner, 1)
    link.pauseProducing()
    before = transport.value()
    programs[0].reported(report(0.5))
    assert transport.value() == before
    link.resumeProducing()
    assert decode_event(transport.value()[len(before) :]) == Progressed(1, 1, 0.5)


def test_it_is_an_orphan_when_the_last_daemon_has_gone(
    factory: RunnerLinkFactory, runner: Runner
) -> None:
    assert not factory.was_linked
    first, transport = connect(factory)
    second, _ = connect(factory)
    assert transport.disconnecting
    first.connectionLost()
    assert not runner.gone.called
    second.connectionLost()
    assert runner.gone.called
    assert factory.was_linked


def test_once_it_is_closed_nobody_is_let_in(factory: RunnerLinkFactory) -> None:
    factory.close()
    assert factory.buildProtocol(None) is None


def test_closing_waits_until_the_daemon_has_read_everything(
    factory: RunnerLinkFactory, clock: Clock
) -> None:
    link, transport = connect(factory)
    closed: list[None] = []
    factory.close().addCallback(closed.append)
    assert transport.disconnecting
    assert closed == []
    link.connectionLost()
    assert closed == [None]
    clock.advance(CLOSE_SECONDS)
    assert not transport.disconnected


def test_closing_does_not_wait_for_ever(factory: RunnerLinkFactory, clock: Clock) -> None:
    _, transport = connect(factory)
    factory.close()
    clock.advance(CLOSE_SECONDS)
    assert transport.disconnected


def test_closing_without_a_daemon_is_done_at_once(factory: RunnerLinkFactory) -> None:
    closed: list[None] = []
    factory.close().addCallback(closed.append)
    assert closed == [None]
