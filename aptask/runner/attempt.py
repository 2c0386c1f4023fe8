"""One attempt of a job: its process or child, and what becomes of it.

Rules:

- Whatever happens, there is exactly one `Ended`.
- It is told when none of the job's family lives any more; how they are brought to that is in
  `ending`, what they wrote in `reading`.
- The first reason to stop counts, over whatever the process itself came to.
- No secret of the job is in a message: whoever said it, it is taken out here.
- While it is paused, nothing of it runs: a process that comes is suspended as it comes. Its pause
  is over when it is told to stop, or when what was suspended has ended.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import msgspec

from aptask.errors import AptaskError
from aptask.model.description import Kind
from aptask.model.hiding import hider
from aptask.model.job import Status
from aptask.model.orders import (
    NOTHING_RETURNED,
    Call,
    Ended,
    Paused,
    Progressed,
    Resumed,
    Spawn,
    Start,
    Started,
)
from aptask.model.progress import MESSAGE_LENGTH, clean
from aptask.parsers import make_parser
from aptask.runner import ending, family, pausing
from aptask.runner.allowance import Allowance
from aptask.runner.children import Child, Employer
from aptask.runner.ending import Ending
from aptask.runner.errands import Answer, Errand, What
from aptask.runner.output import Writer
from aptask.runner.pausing import Pausing
from aptask.runner.process import (
    REPORT_DESCRIPTOR,
    CannotSpawn,
    Program,
    not_executed,
    signal_name,
)
from aptask.runner.reading import Reading
from aptask.runner.sessions import Sessions


class Nursery(Protocol):
    """See `aptask.runner.employing.Nursery`."""

    def employ(self, errand: Errand, employer: Employer, *, fresh: bool) -> Child:
        """Have an errand done."""

    def withdraw(self, child: Child) -> bool:
        """Take an errand back, if it is not begun."""

    def give_back(self, child: Child) -> None:
        """Keep a child for others."""


class Family(ending.Family, pausing.Family, Protocol):
    """See `aptask.runner.family.Family`."""


class Host(Protocol):
    """What an attempt needs of the runner."""

    reactor: Any
    instance: str
    home: str
    sessions: Sessions
    programs: set[int]
    """the processes that the runner started for attempts and that have not ended"""

    @property
    def nursery(self) -> Nursery:
        """Has errands done."""

    def environment(self) -> dict[str, str]:
        """The clean environment, and `APTASK_DATA`."""

    def writer(self, order: Start) -> Writer:
        """Keeps the attempt's output."""

    def family(self, marked: str) -> Family:
        """Finds the attempt's family by its mark."""

    def check(self, folder: str) -> None:
        """Raise `CannotSpawn` where a program may not begin in a folder."""

    def size_of(self, path: str) -> int | None:
        """The size of a file in bytes."""

    def started(self, attempt: Attempt, event: Callable[[int], Started]) -> None:
        """Tell of a process; `event` makes the event with its number."""

    def tell(self, event: Paused | Resumed) -> None:
        """Tell what is so, to whoever is there to hear it."""

    def progressed(self, attempt: Attempt) -> None:
        """Tell, when there is room on the link, how far the attempt is."""

    def ended(self, attempt: Attempt, event: Callable[[int], Ended]) -> None:
        """Tell of the end."""

    def has_orphans(self, family: ending.Family) -> bool:
        """Whether processes of a family may be left whose parents have ended."""

    def end_strays(self) -> None:
        """Kill what is left of children of the nursery that have ended."""

    def now(self) -> float:
        """Seconds since the epoch."""


class Attempt:
    """Runs one attempt.

    Args:
        order: what to run.
        host: the runner.

    Attributes:
        paused: what was told of its pause, while it is paused.
    """

    def __init__(self, order: Start, host: Host) -> None:
        self.order = order
        self._host = host
        marked = family.mark(host.instance, order.job, order.attempt)
        self._environment = {
            "APTASK_TASKID": str(order.job),
            "APTASK_TASK": order.task,
            "APTASK_OWNER": order.owner,
            "APTASK_ATTEMPT": str(order.attempt),
            "APTASK_REPORT_FD": str(REPORT_DESCRIPTOR),
            family.MARK: marked,
        }
        members = host.family(marked)
        self._ending = Ending(host.reactor, members)
        self._pausing = Pausing(host.reactor, members)
        self.paused: Paused | None = None
        self._allowance = Allowance(host.reactor, order.timeout, self._timed_out)
        self._reading = Reading(host.reactor, order.job, host.writer(order), self._progressed)
        self._reading.hide = hider(order.work.secrets)
        self._plan: Spawn | None = None
        self._program: Program | None = None
        self._child: Child | None = None
        self._what = What.PERFORM
        self._code = 0
        self._asked: Status | None = None
        self._why: str | None = None
        self._over = False

    # Beginning

    def begin(self) -> None:
        """Start the process, or have a child start."""
        work = self.order.work
        if isinstance(work, Spawn):
            self._spawn(work)
        else:
            is_driver = work.target.kind is Kind.PROGRAM
            self._send(What.LAUNCH if is_driver else What.PERFORM)

    def fail(self, message: str) -> None:
        """End it as an error, whatever of it has begun: that is killed."""
        if not self._over:
            self._be_over()
            if self._child is not None and self._host.nursery.withdraw(self._child):
                self._child = None
            finish = partial(self._finish, Status.ERROR, message, None, NOTHING_RETURNED)
            self._ending.clear(finish)

    def _spawn(self, plan: Spawn) -> None:
        host = self._host
        self._plan = plan
        self._reading.hide = hider(plan.secrets)
        try:
            host.check(self._folder(plan))
            self._reading.use(make_parser(plan.progress, plan.command, host.size_of))
            self._program = Program(
                host.reactor,
                plan,
                {**host.environment(), **plan.env, **self._environment},
                self._folder(plan),
                sessions=host.sessions,
                wrote=self._reading.wrote,
                reported=self._reading.reported,
                exited=self._exited,
            )
        except CannotSpawn as error:
            self._end(Status.ERROR, str(error))
        except AptaskError as error:
            self._end(Status.ERROR, error.message)
        else:
            host.programs.add(self._program.pid)
            self._ending.family.pipe = self._program.pipe
            self._led_by(self._program.pid)
            self._tell_start(self._program.pid)

    def _led_by(self, pid: int) -> None:
        self._ending.led_by(pid)
        self._pausing.came()
        self._allowance.begin()

    def _folder(self, plan: Spawn) -> str:
        return os.path.join(self._host.home, plan.cwd or "")

    def _send(self, what: What) -> None:
        self._what = what
        call = self._call
        errand = Errand(what, call.target, call.arguments, self._environment, self._code)
        self._child = self._host.nursery.employ(errand, self, fresh=call.isolated)

    @property
    def _call(self) -> Call:
        work = self.order.work
        assert isinstance(work, Call)
        return work

    def _tell_start(self, pid: int) -> None:
        order, time = self.order, self._host.now()
        self._host.started(
            self, lambda number: Started(number, order.job, order.attempt, pid, time)
        )

    # How far it is

    def _progressed(self) -> None:
        self._host.progressed(self)

    def progress_event(self) -> Progressed:
        """The newest progress, which then counts as told."""
        progress = self._reading.newest()
        return Progressed(self.order.job, self.order.attempt, progress.fraction, progress.message)

    # Being paused

    def pause(self) -> None:
        """Suspend the family, and tell when nobody of it runs any more.

        One that ends already, or is asked to, is not paused: that will be told.
        """
        if self._over or self._asked is not None:
            return
        if self.paused is not None:
            self._host.tell(self.paused)
            return
        self._allowance.hold()
        self._pausing.begin(self._tell_pause)

    def resume(self) -> None:
        """Have the family go on, and tell."""
        if self._over or self._asked is not None:
            return
        self._pausing.end()
        self.paused = None
        self._allowance.go_on()
        order = self.order
        self._host.tell(Resumed(order.job, order.attempt, self._host.now()))

    def _tell_pause(self) -> None:
        order = self.order
        self.paused = Paused(order.job, order.attempt, self._host.now())
        self._host.tell(self.paused)

    def _forget_pause(self) -> None:
        """It is not paused any more; whoever is still suspended is seen to otherwise."""
        self._pausing.forget()
        self.paused = None

    # Being asked to stop

    def _timed_out(self) -> None:
        message = f"timed out after {self.order.timeout:.10g} s"
        self.stop(self.order.grace, Status.TIMEOUT, message)

    def stop(self, grace: float, status: Status = Status.STOPPED, why: str | None = None) -> None:
        """Ask the family to end, and kill it after `grace` seconds.

        Asked again, the sooner end counts, and the first reason. One that has ended already, and
        whose rest is being killed, keeps its own end.
        """
        if self._asked is None:
            if self._over:
                return
            self._asked, self._why = status, why
            self._forget_pause()
            self._allowance.cancel()
        if self._child is not None and self._host.nursery.withdraw(self._child):
            self._child = None
            self._end(self._asked, None, is_alone=True)
        else:
            self._ending.ask(grace)

    def look_after(self) -> None:
        """See that what should be running is."""
        if self._program is not None:
            self._program.look_after()

    # The end of a program

    def _exited(self, code: int | None) -> None:
        plan = self._plan
        assert plan is not None
        self._host.programs.discard(self._ending.family.leader)
        if self._over:
            return
        self._forget_pause()
        self._allowance.go_on()
        if plan.judged and code is not None and self._asked is None:
            self._code = code
            self._clear(self._ask_for_judgement)
        else:
            self._conclude(code, well=code == 0)

    def _ask_for_judgement(self) -> None:
        self._close_program()
        if self._asked is None:
            self._send(What.JUDGE)
        else:
            self._end(self._asked, None, self._code)

    def _close_program(self) -> None:
        if self._program is not None:
            self._program.close()
            self._program = None
            self._reading.end()

    def _conclude(self, code: int | None, *, well: bool) -> None:
        if code is None:
            why = "its process is gone, and nobody knows how it ended"
            self._end(Status.INTERRUPTED, why)
        elif well:
            self._end(Status.DONE, None, code)
        elif code < 0:
            self._end(Status.ERROR, f"killed by {signal_name(-code)}", code)
        else:
            line, plan = self._reading.last_line(), self._plan
            assert plan is not None
            message = not_executed(plan, self._folder(plan), code, line)
            if message is None:
                message = f"exit code {code}" + (f": {line}" if line else "")
            self._end(Status.ERROR, message, code)

    # What becomes of an errand: see `aptask.runner.children.Employer`

    def wrote(self, data: bytes) -> None:
        """Output of a child."""
        self._reading.wrote(data)

    def reported(self, data: bytes) -> None:
        """Reports of a child."""
        self._reading.reported(data)

    def began(self, pid: int) -> None:
        """A child does the errand."""
        self._led_by(pid)
        if self._what is What.PERFORM:
            self._tell_start(pid)

    def answered(self, answer: Answer) -> None:
        """A child has done its errand."""
        child = self._child
        assert child is not None
        if self._asked is not None:
            # The child waits for the rest of its family, and goes with it.
            self._end(self._asked, None)
        elif answer.retire:
            self._ending.clear(lambda: self._parted(answer))
        else:
            self._pausing.release()  # it goes to others, or has to see that it is to end
            if answer.stale or self._call.isolated:
                child.close()
            else:
                self._host.nursery.give_back(child)
            self._child = None
            self._ending.left()
            self._follow(answer)

    def _parted(self, answer: Answer) -> None:
        self._close_child()
        self._follow(answer)

    def _close_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.drain()
            child.close()

    def _follow(self, answer: Answer) -> None:
        """Go on, or end, as an errand came out; nobody is at work."""
        if self._asked is not None or answer.stopped:
            self._end(self._asked or Status.STOPPED, None, is_alone=True)
        elif answer.stale:
            self._send(self._what)
        elif self._what is What.JUDGE and answer.message is None:
            self._conclude(self._code, well=answer.well)
        elif not answer.well:
            code = self._code if self._what is What.JUDGE else None
            self._end(Status.ERROR, answer.message, code, is_alone=True)
        elif answer.spawn is not None:
            self._spawn(answer.spawn)
        else:
            self._end(Status.DONE, answer.message, None, answer.result, is_alone=True)

    def died(self, status: int | None, why: str | None) -> None:
        """A child ended without an answer."""
        self._host.end_strays()
        if status is None:
            self._end(Status.INTERRUPTED, why)
        elif os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            message = f"its process was killed by {signal_name(number)}"
            if number == signal.SIGKILL:
                message += " (too much memory?)"
            self._end(Status.ERROR, message, -number)
        else:
            code = os.waitstatus_to_exitcode(status)
            self._end(Status.ERROR, f"its process exited with {code} before it was done", code)

    # The end

    def _end(
        self,
        status: Status,
        message: str | None,
        code: int | None = None,
        result: msgspec.Raw = NOTHING_RETURNED,
        *,
        is_alone: bool = False,
    ) -> None:
        """End the attempt, once what is left of its family has ended.

        Args:
            is_alone: nothing is left of it.
        """
        if self._over:
            return
        self._be_over()
        if self._asked is not None:
            status, message = self._asked, self._why
        finish = partial(self._finish, status, message, code, result)
        if is_alone:
            finish()
        else:
            self._clear(finish)

    def _be_over(self) -> None:
        self._over = True
        self._forget_pause()
        self._allowance.cancel()

    def _clear(self, then: Callable[[], object]) -> None:
        """End what is left of the family, then go on: at once where nothing is."""
        if self._asked is None and not self._host.has_orphans(self._ending.family):
            self._ending.left()
            then()
        else:
            self._ending.clear(then, spared=0 if self._child is None else self._child.pid)

    def _finish(
        self, status: Status, message: str | None, code: int | None, result: msgspec.Raw
    ) -> None:
        self._close_program()
        self._close_child()
        self._ending.close()
        self._reading.close()
        order, time = self.order, self._host.now()
        progress = self._reading.progress
        told = progress.message if message is None else clean(self._reading.hide(message))
        if self._reading.cut is not None:
            told = _with_note(told, f"its output is cut: {self._reading.cut}")
        self._host.ended(
            self,
            lambda number: Ended(
                number,
                order.job,
                order.attempt,
                status,
                time,
                message=told,
                exit=code,
                result=result,
                fraction=progress.fraction,
            ),
        )


def _with_note(message: str | None, note: str) -> str:
    """A message with something said behind it, within the length of a message."""
    if not message:
        return clean(note)
    note = f" ({clean(note)})"
    return message[: MESSAGE_LENGTH - len(note)] + note
