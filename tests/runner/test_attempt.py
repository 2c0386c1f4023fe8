"""One attempt, with nothing real about it: a fake program, a fake child, a clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from twisted.internet.task import Clock

from aptask.model.description import Kind, Target
from aptask.model.job import Status
from aptask.model.orders import Call, Ended, Paused, Progressed, Resumed, Spawn, Start, Started
from aptask.runner import attempt as attempt_module
from aptask.runner.attempt import Attempt
from aptask.runner.errands import Answer, What
from aptask.runner.process import CannotSpawn
from aptask.runner.sessions import Sessions

WELL = Answer(well=True, result=msgspec.Raw(b"1"))


class FakeFamily:
    def __init__(self) -> None:
        self.leader = 0
        self.living: list[int] = []
        self.asked = 0
        self.killed = 0
        self.suspended: list[int] = []
        self.resumed: list[int] = []

    def members(self) -> list[int]:
        return list(self.living)

    def has(self, pid: int) -> bool:
        return pid in self.living

    def ask_to_end(self) -> None:
        self.asked += 1

    def suspend(self) -> list[int]:
        running = [pid for pid in self.living if pid not in self.suspended]
        self.suspended += running
        return running

    def resume(self, pids: Any) -> None:
        self.resumed += sorted(pids)
        self.suspended = [pid for pid in self.suspended if pid not in pids]

    def kill(self) -> list[int]:
        self.killed += 1
        found, self.living = self.living, []
        return found


class FakeProgram:
    """A program that does what a test says."""

    pid = 100
    pipe = "pipe:[1]"

    def __init__(
        self, reactor: Any, plan: Spawn, environment: Any, folder: str, **calls: Any
    ) -> None:
        if plan.command[0] == "cannot":
            raise CannotSpawn("it cannot")
        if plan.command[0] == "fault":
            raise ZeroDivisionError("a fault")
        self.environment = environment
        self.folder = folder
        self.wrote: Callable[[bytes], None] = calls["wrote"]
        self.exited: Callable[[int | None], None] = calls["exited"]
        self.is_closed = False
        self.looks = 0

    def look_after(self) -> None:
        self.looks += 1

    def close(self) -> None:
        self.is_closed = True


class FakeChild:
    def __init__(self, errand: Any, fresh: bool) -> None:
        self.pid = 200
        self.errand = errand
        self.fresh = fresh
        self.is_closed = False

    def drain(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


class FakeHost:
    """The runner, and the nursery in one."""

    instance = "i"
    home = "/home"
    sessions = Sessions()

    def __init__(self) -> None:
        self.reactor = Clock()
        self.programs: set[int] = set()
        self.found = FakeFamily()
        self.events: list[Started | Ended] = []
        self.told: list[Paused | Resumed] = []
        self.progress: list[Progressed] = []
        self.children: list[FakeChild] = []
        self.given_back: list[Any] = []
        self.is_unborn = False
        self.strays = 0
        self.wrote = b""
        self.is_full = False

    @property
    def nursery(self) -> Any:
        return self

    def employ(self, errand: Any, employer: Any, *, fresh: bool) -> Any:
        self.children.append(FakeChild(errand, fresh))
        return self.children[-1]

    def withdraw(self, child: Any) -> bool:
        return self.is_unborn

    def give_back(self, child: Any) -> None:
        self.given_back.append(child)

    def environment(self) -> dict[str, str]:
        return {"PATH": "/bin", "APTASK_TASKID": "not this"}

    def writer(self, order: Start) -> Any:
        return self

    def write(self, data: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.wrote += data

    def cut(self, why: str) -> None:
        self.wrote += b"cut"

    def close(self) -> None:
        pass

    def family(self, marked: str) -> Any:
        assert marked == "i/1/1"
        return self.found

    def check(self, folder: str) -> None:
        if folder.startswith("/data"):
            raise CannotSpawn("not there")

    def size_of(self, path: str) -> None:
        return None

    def started(self, attempt: Attempt, event: Callable[[int], Started]) -> None:
        self.events.append(event(len(self.events) + 1))

    def tell(self, event: Paused | Resumed) -> None:
        self.told.append(event)

    def progressed(self, attempt: Attempt) -> None:
        self.progress.append(attempt.progress_event())

    def ended(self, attempt: Attempt, event: Callable[[int], Ended]) -> None:
        self.events.append(event(len(self.events) + 1))

    def has_orphans(self, family: Any) -> bool:
        return bool(self.found.living)

    def end_strays(self) -> None:
        self.strays += 1

    def now(self) -> float:
        return 1000.0

    @property
    def end(self) -> Ended:
        """The one end."""
        ends = [event for event in self.events if isinstance(event, Ended)]
        assert len(ends) == 1, self.events
        return ends[0]

    @property
    def is_over(self) -> bool:
        return any(isinstance(event, Ended) for event in self.events)

    def pass_time(self, seconds: float) -> None:
        self.reactor.pump([0.05] * round(seconds * 20))


@pytest.fixture(autouse=True)
def _fake_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attempt_module, "Program", FakeProgram)


@pytest.fixture
def host() -> FakeHost:
    return FakeHost()


def begin(host: FakeHost, work: Spawn | Call, timeout: float | None = None) -> Any:
    attempt: Any = Attempt(Start(1, 1, "t", "o", work, 4096, 10.0, timeout), host)
    attempt.begin()
    return attempt


def call(kind: Kind = Kind.TASK, isolated: bool = False) -> Call:
    return Call(Target(kind, "m", "a"), msgspec.Raw(b"{}"), isolated)


# Programs


def test_a_program_that_exits_with_zero_is_done(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"], env={"PATH": "/mine"}, cwd="sub"))
    program = attempt._program
    assert program.folder == "/home/sub"
    assert program.environment["PATH"] == "/mine"
    assert program.environment["APTASK_TASKID"] == "1"
    assert host.programs == {100}
    program.wrote(b"10%\n")
    program.exited(0)
    assert (host.end.status, host.end.exit, host.end.number) == (Status.DONE, 0, 2)
    assert host.programs == set()
    assert program.is_closed
    assert host.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("code", "report", "message"),
    [
        (0, b"", "its output is cut: No space left on device"),
        (0, b'{"message": "half"}', "half (its output is cut: No space left on device)"),
        (3, b"", "exit code 3: x (its output is cut: No space left on device)"),
        (
            0,
            b'{"message": "' + b"x" * 1000 + b'"}',
            "x" * 955 + " (its output is cut: No space left on device)",
        ),
    ],
)
def test_an_end_says_that_the_output_is_cut(
    host: FakeHost, code: int, report: bytes, message: str
) -> None:
    attempt = begin(host, Spawn(["x"]))
    attempt._reading.reported(report + b"\n")
    host.is_full = True
    attempt._program.wrote(b"x")
    host.is_full = False
    attempt._program.wrote(b"\n")
    attempt._program.exited(code)
    assert host.end.message == message
    assert len(host.end.message) <= 1000
    assert host.wrote == b"cut"


@pytest.mark.parametrize("command", ["cannot", "x"])
def test_what_cannot_be_spawned_ends_as_an_error(host: FakeHost, command: str) -> None:
    begin(host, Spawn([command], cwd="/data" if command == "x" else None))
    assert host.end.status is Status.ERROR
    assert len(host.events) == 1


def test_an_unknown_parser_ends_it_as_an_error(host: FakeHost) -> None:
    begin(host, Spawn(["x"], progress="(unclosed"))
    assert host.end.status is Status.ERROR


def test_a_lost_process_is_interrupted(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    attempt.look_after()
    assert attempt._program.looks == 1
    attempt._program.exited(None)
    assert host.end.status is Status.INTERRUPTED
    assert host.end.exit is None


def test_what_the_program_left_is_killed_before_the_end_is_told(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    host.found.living = [101]
    attempt._program.exited(0)
    assert host.found.killed == 1
    assert not host.is_over
    host.pass_time(1)
    assert host.end.status is Status.DONE


def test_a_stop_while_the_rest_is_killed_does_not_change_the_end(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    host.found.living = [101]
    attempt._program.exited(0)
    attempt.stop(5.0)
    assert host.found.asked == 0
    host.pass_time(1)
    assert host.end.status is Status.DONE
    assert host.reactor.getDelayedCalls() == []


def test_the_first_reason_to_stop_counts(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    attempt.stop(5.0)
    attempt.stop(5.0, Status.INTERRUPTED, "the daemon was stopped")
    attempt._program.exited(0)
    assert (host.end.status, host.end.message, host.end.exit) == (Status.STOPPED, None, 0)


def test_the_pipes_stay_open_for_who_has_the_rest_of_the_grace(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    program = attempt._program
    host.found.living = [100, 101]
    attempt.stop(5.0)
    host.found.living = [101]
    program.exited(-15)
    host.pass_time(2)
    assert not program.is_closed
    assert host.found.killed == 0
    program.wrote(b"cleaned")
    host.found.living = []
    host.pass_time(1)
    assert host.end.status is Status.STOPPED
    assert program.is_closed
    assert host.wrote == b"cleaned"


def test_a_fault_ends_it_and_whatever_has_begun(host: FakeHost) -> None:
    attempt: Any = Attempt(Start(1, 1, "t", "o", Spawn(["fault"]), 4096), host)
    with pytest.raises(ZeroDivisionError):
        attempt.begin()
    attempt.fail("could not be started")
    attempt.fail("again")
    assert (host.end.status, host.end.message) == (Status.ERROR, "could not be started")


def test_a_fault_after_its_program_began_kills_it(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    program = attempt._program
    host.found.living = [100]
    attempt.fail("a fault")
    program.exited(-9)
    host.pass_time(1)
    program.exited(-9)
    assert host.end.message == "a fault"
    assert host.programs == set()


def test_a_fault_after_its_child_began_kills_that(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.began(200)
    host.found.living = [200]
    attempt.fail("a fault")
    attempt.died(9, None)
    host.pass_time(1)
    assert host.end.message == "a fault"
    assert host.children[0].is_closed


def test_the_last_progress_and_its_message_are_told_with_the_end(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    attempt._reading.reported(b'{"progress": 0.1}\n{"progress": 0.2, "message": "m"}\n')
    attempt._reading.reported(b'{"progress": 0.3, "message": "last"}\n')
    attempt._program.exited(0)
    assert [each.fraction for each in host.progress] == [0.1]
    assert (host.end.fraction, host.end.message) == (0.3, "last")
    host.pass_time(1)
    assert len(host.progress) == 1


# Tasks in children


def test_a_task_is_started_when_there_is_a_process_and_done_with_its_result(
    host: FakeHost,
) -> None:
    attempt = begin(host, call())
    assert host.events == []
    attempt.began(200)
    assert isinstance(host.events[0], Started)
    attempt.answered(WELL)
    assert (host.end.status, bytes(host.end.result)) == (Status.DONE, b"1")
    assert host.given_back == host.children
    assert host.found.leader == 0


def test_an_isolated_child_is_fresh_and_not_given_back(host: FakeHost) -> None:
    attempt = begin(host, call(isolated=True))
    attempt.began(200)
    attempt.answered(WELL)
    assert host.end.status is Status.DONE
    assert host.children[0].fresh
    assert host.children[0].is_closed
    assert host.given_back == []


def test_a_child_that_is_used_up_ends_with_what_it_left(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.began(200)
    host.found.living = [200, 201]
    attempt.answered(Answer(well=True, retire=True))
    assert host.found.killed == 1
    host.pass_time(1)
    assert host.end.status is Status.DONE
    assert host.children[0].is_closed
    assert host.given_back == []


def test_a_stale_child_is_replaced_by_another(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.began(200)
    attempt.answered(Answer(well=False, stale=True))
    assert len(host.children) == 2
    attempt.began(201)
    attempt.answered(WELL)
    assert host.end.status is Status.DONE


def test_a_stale_child_of_a_job_that_is_stopped_is_not_replaced(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.began(200)
    attempt.stop(5.0)
    attempt.answered(Answer(well=False, stale=True))
    host.pass_time(1)
    assert len(host.children) == 1
    assert host.end.status is Status.STOPPED


def test_a_child_that_was_stopped_waits_for_what_it_began(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.began(200)
    host.found.living = [200, 201]
    attempt.stop(5.0)
    attempt.answered(Answer(well=False, stopped=True, retire=True))
    host.pass_time(2)
    assert not host.is_over
    assert host.found.killed == 0
    attempt.wrote(b"cleaned")
    host.found.living = [200]
    host.pass_time(1)
    assert host.end.status is Status.STOPPED
    assert host.wrote == b"cleaned"
    assert host.children[0].is_closed


def test_a_stop_before_there_is_a_child_takes_the_errand_back(host: FakeHost) -> None:
    host.is_unborn = True
    attempt = begin(host, call())
    attempt.stop(5.0)
    assert host.end.status is Status.STOPPED
    assert host.reactor.getDelayedCalls() == []


def test_a_stop_before_the_pid_is_known_reaches_the_child(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.stop(5.0)
    assert host.found.asked == 0
    attempt.began(200)
    assert host.found.asked == 1
    attempt.died(15, None)
    host.pass_time(1)
    assert host.end.status is Status.STOPPED


@pytest.mark.parametrize(
    ("status", "why", "end", "message"),
    [
        (None, "no process could be made", Status.INTERRUPTED, "no process could be made"),
        (9, None, Status.ERROR, "its process was killed by SIGKILL (too much memory?)"),
        (0x80 | 11, None, Status.ERROR, "its process was killed by SIGSEGV"),
        (3 << 8, None, Status.ERROR, "its process exited with 3 before it was done"),
    ],
)
def test_a_child_that_died_is_told_of_clearly(
    host: FakeHost, status: int | None, why: str | None, end: Status, message: str
) -> None:
    attempt = begin(host, call())
    attempt.began(200)
    attempt.died(status, why)
    assert (host.end.status, host.end.message) == (end, message)
    assert host.strays == 1
    assert host.children[0].is_closed


# Drivers


def launch(host: FakeHost, judged: bool = True) -> Any:
    attempt = begin(host, call(Kind.PROGRAM))
    attempt.began(200)
    assert host.children[0].errand.what is What.LAUNCH
    attempt.answered(Answer(well=True, spawn=Spawn(["x"], judged=judged)))
    return attempt


def test_a_driver_is_started_with_its_program(host: FakeHost) -> None:
    attempt = launch(host, judged=False)
    assert [event.pid for event in host.events if isinstance(event, Started)] == [100]
    attempt._program.exited(0)
    assert host.end.status is Status.DONE


@pytest.mark.parametrize(("well", "status"), [(True, Status.DONE), (False, Status.ERROR)])
def test_a_driver_is_asked_what_its_exit_code_means(
    host: FakeHost, well: bool, status: Status
) -> None:
    attempt = launch(host)
    attempt._program.exited(24)
    errand = host.children[1].errand
    assert (errand.what, errand.code) == (What.JUDGE, 24)
    attempt.began(201)
    attempt.answered(Answer(well=well))
    assert (host.end.status, host.end.exit) == (status, 24)


def test_a_driver_that_is_stopped_is_not_asked(host: FakeHost) -> None:
    attempt = launch(host)
    attempt.stop(5.0)
    attempt._program.exited(0)
    assert len(host.children) == 1
    assert host.end.status is Status.STOPPED


def test_a_stop_between_a_programs_end_and_its_judgement_counts(host: FakeHost) -> None:
    attempt = launch(host)
    host.found.living = [101]
    attempt._program.exited(24)
    attempt.stop(5.0)
    host.pass_time(1)
    assert len(host.children) == 1
    assert (host.end.status, host.end.exit) == (Status.STOPPED, 24)


def test_what_a_driver_raises_is_the_message(host: FakeHost) -> None:
    attempt = begin(host, call(Kind.PROGRAM))
    attempt.began(200)
    attempt.answered(Answer(well=False, message="ValueError: no"))
    assert (host.end.status, host.end.message) == (Status.ERROR, "ValueError: no")


def test_a_judge_that_raises_is_the_message_too(host: FakeHost) -> None:
    attempt = launch(host)
    attempt._program.exited(0)
    attempt.began(201)
    attempt.answered(Answer(well=False, message="ValueError: unsure"))
    assert (host.end.status, host.end.message) == (Status.ERROR, "ValueError: unsure")


# Being paused

PAUSED = Paused(1, 1, 1000.0)
RESUMED = Resumed(1, 1, 1000.0)


def test_a_pause_is_told_when_nobody_runs_any_more_and_again_when_it_is_asked_for_again(
    host: FakeHost,
) -> None:
    attempt = begin(host, Spawn(["x"]))
    host.found.living = [100, 101]
    attempt.pause()
    assert host.found.suspended == [100, 101]
    assert host.told == []
    attempt.pause()
    host.pass_time(1)
    assert host.told == [PAUSED]
    attempt.pause()
    assert host.told == [PAUSED, PAUSED]
    attempt.resume()
    assert host.told == [PAUSED, PAUSED, RESUMED]
    assert host.found.resumed == [100, 101]
    host.found.living = []
    attempt._program.exited(0)
    assert host.end.status is Status.DONE
    assert host.reactor.getDelayedCalls() == []


def test_resuming_what_runs_is_answered_with_that(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    attempt.resume()
    assert host.told == [RESUMED]
    assert host.found.resumed == []


def test_a_process_that_comes_while_it_is_paused_is_suspended_as_it_comes(host: FakeHost) -> None:
    attempt = begin(host, call())
    attempt.pause()
    assert host.told == [PAUSED]
    host.found.living = [200]
    attempt.began(200)
    assert host.found.suspended == [200]
    host.pass_time(1)
    assert host.told == [PAUSED]
    attempt.resume()
    assert host.found.resumed == [200]


def test_a_program_that_comes_of_a_paused_driver_is_suspended_too(host: FakeHost) -> None:
    attempt = begin(host, call(Kind.PROGRAM))
    host.found.living = [200]
    attempt.began(200)
    attempt.pause()
    host.pass_time(1)
    host.found.living = [100]
    attempt.answered(Answer(well=True, spawn=Spawn(["x"])))
    assert host.found.suspended == [100]
    attempt.resume()
    host.found.living = []
    attempt._program.exited(0)
    assert host.end.status is Status.DONE


@pytest.mark.parametrize("isolated", [False, True])
def test_a_child_that_answered_before_it_was_suspended_goes_on_and_its_job_is_done(
    host: FakeHost, isolated: bool
) -> None:
    attempt = begin(host, call(isolated=isolated))
    host.found.living = [200]
    attempt.began(200)
    attempt.pause()
    attempt.answered(WELL)
    assert host.found.resumed == [200]
    assert host.found.suspended == []
    assert host.end.status is Status.DONE
    host.pass_time(1)
    assert host.told == []
    assert host.found.suspended == []


def test_a_stop_ends_its_pause(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    host.found.living = [100]
    attempt.pause()
    host.pass_time(1)
    attempt.stop(5.0)
    assert host.found.asked == 1
    assert attempt.paused is None
    attempt.pause()
    attempt.resume()
    assert host.told == [PAUSED]
    host.found.living = []
    attempt._program.exited(-15)
    host.pass_time(1)
    assert host.end.status is Status.STOPPED


def test_a_stop_while_it_is_being_suspended_leaves_it_running(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    host.found.living = [100]
    attempt.pause()
    attempt.stop(5.0)
    host.found.suspended = []
    host.pass_time(1)
    assert host.found.suspended == []
    assert host.told == []


def test_a_paused_driver_whose_program_was_killed_is_asked_what_that_means(
    host: FakeHost,
) -> None:
    attempt = launch(host)
    host.found.living = [100]
    attempt.pause()
    host.pass_time(1)
    host.found.living = []
    attempt._program.exited(-9)
    host.found.living = [201]
    attempt.began(201)
    assert 201 not in host.found.suspended
    host.found.living = []
    attempt.answered(Answer(well=False))
    assert host.end.exit == -9


def test_what_has_ended_is_not_paused(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]))
    host.found.living = [101]
    attempt._program.exited(0)
    attempt.pause()
    attempt.resume()
    host.pass_time(1)
    assert host.end.status is Status.DONE
    assert (host.told, host.found.suspended) == ([], [])


# The limit of its time


def test_when_its_time_is_over_it_is_asked_to_end_and_killed_after_its_grace(
    host: FakeHost,
) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=30.0)
    host.found.living = [100]
    host.pass_time(29.9)
    assert host.found.asked == 0
    host.pass_time(0.2)
    assert host.found.asked == 1
    host.pass_time(9.8)
    assert host.found.killed == 0
    host.pass_time(0.2)
    assert host.found.killed == 1
    attempt._program.exited(-9)
    host.pass_time(1)
    assert (host.end.status, host.end.exit) == (Status.TIMEOUT, -9)
    assert host.end.message == "timed out after 30 s"
    assert host.reactor.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.25, "0.25 s"), (2_592_000.0, "2592000 s"), (90.0, "90 s")]
)
def test_its_message_says_how_long_that_was(host: FakeHost, seconds: float, said: str) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=seconds)
    host.reactor.advance(seconds)
    attempt._program.exited(0)
    assert (host.end.status, host.end.exit) == (Status.TIMEOUT, 0)
    assert host.end.message == f"timed out after {said}"


def test_one_that_ends_in_time_is_not_timed_out(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=30.0)
    host.pass_time(29)
    host.found.living = [101]
    attempt._program.exited(0)
    host.pass_time(5)
    assert (host.end.status, host.end.message) == (Status.DONE, None)
    assert host.reactor.getDelayedCalls() == []


def test_a_stop_before_its_time_is_over_counts(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=1.0)
    host.found.living = [100]
    attempt.stop(5.0)
    host.pass_time(2)
    host.found.living = []
    attempt._program.exited(0)
    host.pass_time(1)
    assert (host.end.status, host.end.message) == (Status.STOPPED, None)


def test_a_stop_after_its_time_is_over_shortens_the_grace_only(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=1.0)
    host.found.living = [100]
    host.pass_time(1.1)
    attempt.stop(0.0)
    host.pass_time(0.1)
    assert host.found.killed == 1
    attempt._program.exited(-9)
    host.pass_time(1)
    assert host.end.status is Status.TIMEOUT


def test_the_time_in_which_it_is_paused_does_not_count(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=3.0)
    host.found.living = [100]
    for _ in range(2):
        host.pass_time(1)
        attempt.pause()
        host.pass_time(100)
        attempt.resume()
    host.pass_time(0.9)
    assert host.found.asked == 0
    host.pass_time(0.2)
    assert host.found.asked == 1


def test_its_time_begins_with_its_first_process_and_goes_on_over_a_drivers_steps(
    host: FakeHost,
) -> None:
    attempt = begin(host, call(Kind.PROGRAM), timeout=3.0)
    host.pass_time(100)
    attempt.began(200)
    host.pass_time(1)
    attempt.answered(Answer(well=True, spawn=Spawn(["x"], judged=True)))
    host.pass_time(1)
    attempt._program.exited(24)
    attempt.began(201)
    host.pass_time(0.9)
    assert not host.is_over
    host.pass_time(0.2)
    attempt.answered(Answer(well=True))
    assert (host.end.status, host.end.exit) == (Status.TIMEOUT, None)


def test_a_fault_ends_the_limit_of_its_time(host: FakeHost) -> None:
    attempt = begin(host, Spawn(["x"]), timeout=1.0)
    attempt.pause()
    attempt.fail("a fault")
    host.pass_time(2)
    assert host.end.message == "a fault"
    assert host.reactor.getDelayedCalls() == []
