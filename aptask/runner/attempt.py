"""One attempt of a job: its process or child, what it writes, how far it is, and its end.

Rules:

- Whatever happens, there is exactly one `Ended`.
- Progress goes out at most ten times a second, the newest only.
- Being asked to stop reaches the whole family at once; what is left of it after the grace is
  killed. The end is told when none of the family lives any more.
- A parser that raises is dropped, and the job goes on.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.logger import Logger

from aptask.errors import AptaskError
from aptask.model.description import Kind
from aptask.model.job import Status
from aptask.model.orders import NOTHING_RETURNED, Call, Ended, Progressed, Spawn, Start, Started
from aptask.model.progress import NOTHING, Progress, advance, clean
from aptask.parsers import Parser, make_parser
from aptask.runner import family
from aptask.runner.children import Child, Nursery
from aptask.runner.errands import Answer, Errand, What
from aptask.runner.output import Writer
from aptask.runner.process import REPORT_DESCRIPTOR, CannotSpawn, Program, signal_name

REPORT_SECONDS = 0.1
"""The least time between two events of progress."""
LOOK_SECONDS = 0.02
"""How often it is seen whether a family that was told to end has done so."""
KILL_SECONDS = 5.0
"""How long after SIGKILL a process is waited for: one that waits for a disk may not die."""
LAST_LINE = 200
"""Characters of the last line of output that a message of an error quotes."""


class Host(Protocol):
    """What an attempt needs of the runner."""

    reactor: Any
    instance: str
    home: str
    nursery: Nursery

    def environment(self) -> dict[str, str]:
        """The clean environment, and `APTASK_DATA`."""

    def writer(self, order: Start) -> Writer:
        """Keeps the attempt's output."""

    def check(self, plan: Spawn) -> None:
        """Raise `CannotSpawn` where the plan may not be run."""

    def size_of(self, path: str) -> int | None:
        """The size of a file in bytes."""

    def started(self, attempt: Attempt, event: Callable[[int], Started]) -> None:
        """Tell of a process; `event` makes the event with its number."""

    def progressed(self, attempt: Attempt) -> None:
        """Tell, when there is room on the link, how far the attempt is."""

    def ended(self, attempt: Attempt, event: Callable[[int], Ended]) -> None:
        """Tell of the end."""

    def has_orphans(self) -> bool:
        """Whether processes may be left whose parents have ended."""

    def now(self) -> float:
        """Seconds since the epoch."""


class Attempt:
    """Runs one attempt.

    Args:
        order: what to run.
        host: the runner.
    """

    _log = Logger()

    def __init__(self, order: Start, host: Host) -> None:
        self.order = order
        self.progress = NOTHING
        self._host = host
        self._mark = family.mark(host.instance, order.job, order.attempt)
        self._writer: Writer | None = host.writer(order)
        self._last = b""
        self._parser: Parser | None = None
        self._reports = b""
        self._values = msgspec.Raw(b"{}")
        self._plan: Spawn | None = None
        self._program: Program | None = None
        self._child: Child | None = None
        self._what = What.PERFORM
        self._code = 0
        self._told = NOTHING
        self._telling: Any = None
        self._asked: Status | None = None
        self._why: str | None = None
        self._killing: Any = None
        self._over = False
        self._is_final = False

    # Beginning

    def begin(self) -> None:
        """Start the process, or have a child start."""
        work = self.order.work
        if isinstance(work, Spawn):
            self._spawn(work)
        else:
            is_driver = work.target.kind is Kind.PROGRAM
            self._send(work, What.LAUNCH if is_driver else What.PERFORM)

    def fail(self, message: str) -> None:
        """End it as an error, whatever of it has begun."""
        self._end(Status.ERROR, message)

    def _environment(self) -> dict[str, str]:
        return {
            "APTASK_TASKID": str(self.order.job),
            "APTASK_TASK": self.order.task,
            "APTASK_OWNER": self.order.owner,
            "APTASK_ATTEMPT": str(self.order.attempt),
            "APTASK_REPORT_FD": str(REPORT_DESCRIPTOR),
            family.MARK: self._mark,
        }

    def _spawn(self, plan: Spawn) -> None:
        self._plan = plan
        try:
            self._host.check(plan)
            self._parser = make_parser(plan.progress, plan.command, self._host.size_of)
            self._program = Program(
                self._host.reactor,
                plan,
                {**self._host.environment(), **plan.env, **self._environment()},
                self._host.home,
                wrote=self.wrote,
                reported=self.reported,
                exited=self._exited,
            )
        except CannotSpawn as error:
            self._end(Status.ERROR, str(error))
        except AptaskError as error:
            self._end(Status.ERROR, error.message)
        except ValueError as error:
            self._end(Status.ERROR, f"{plan.command[0]} could not be started: {error}")
        else:
            self._tell_start(self._program.pid)

    def _send(self, work: Call, what: What, code: int = 0) -> None:
        self._what = what
        child = self._child = self._host.nursery.take(work.target, fresh=work.isolated)
        child.send(Errand(what, work.target, work.arguments, self._environment(), code), self)
        if what is What.PERFORM:
            self._tell_start(child.pid)

    def _tell_start(self, pid: int) -> None:
        order, time = self.order, self._host.now()
        self._host.started(
            self, lambda number: Started(number, order.job, order.attempt, pid, time)
        )

    # What it writes

    def wrote(self, data: bytes) -> None:
        """Output of the process."""
        self._last = data[-1024:] if len(data) >= 1024 else (self._last + data)[-1024:]
        if self._writer is not None:
            try:
                self._writer.write(data)
            except OSError as error:
                self._log.error(
                    "output of job {job} is cut: {error}", job=self.order.job, error=error
                )
                self._close_writer()
        if self._parser is not None:
            self._parse(self._parser.feed, data)

    def _parse(self, step: Callable[..., Progress | None], *data: bytes) -> None:
        try:
            report = step(*data)
        except Exception:
            self._log.failure("the parser of job {job} failed", job=self.order.job)
            self._parser = None
        else:
            if report is not None:
                self._advance(report)

    def reported(self, data: bytes) -> None:
        """Bytes that came by the report descriptor: lines of JSON."""
        *lines, self._reports = (self._reports + data).split(b"\n")
        self._reports = self._reports[-65536:]
        for line in lines[-64:]:
            try:
                report = _decode_report(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            self._advance(Progress(report.progress, report.message))

    def _advance(self, report: Progress) -> None:
        after = advance(self.progress, report)
        if after is not self.progress:
            self.progress = after
            if self._telling is None:
                self._tell_progress()

    def _tell_progress(self) -> None:
        self._telling = None
        if self.progress is not self._told and not self._is_final:
            self._telling = self._host.reactor.callLater(REPORT_SECONDS, self._tell_progress)
            self._host.progressed(self)

    def progress_event(self) -> Progressed:
        """The newest progress, which then counts as told."""
        self._told = self.progress
        return Progressed(
            self.order.job, self.order.attempt, self.progress.fraction, self.progress.message
        )

    # Being asked to stop

    @property
    def pid(self) -> int:
        """The process that leads the family, or 0."""
        if self._program is not None:
            return self._program.pid
        return self._child.pid if self._child is not None else 0

    def stop(self, grace: float, status: Status = Status.STOPPED, why: str | None = None) -> None:
        """Ask the family to end, and kill it after `grace` seconds.

        Asked again, the sooner end counts, and the first reason.
        """
        reactor = self._host.reactor
        if self._asked is None:
            self._asked, self._why = status, why
            self._ask()
        if self._is_final:
            return
        if self._killing is not None:
            if self._killing.getTime() <= reactor.seconds() + grace:
                return
            self._killing.cancel()
        self._killing = reactor.callLater(grace, self._kill)

    def _ask(self) -> None:
        if self.pid:
            family.ask_to_end(family.members(self.pid, self._mark))
        elif not self._over:  # the nursery has not told the child's pid yet
            self._host.reactor.callLater(LOOK_SECONDS, self._ask)

    def _kill(self) -> None:
        self._killing = None
        family.kill(family.members(self.pid, self._mark))
        if not self._over and not self.pid:
            self._killing = self._host.reactor.callLater(LOOK_SECONDS, self._kill)

    def look_after(self) -> None:
        """See that what should be running is."""
        if self._program is not None:
            self._program.look_after()

    # Its end

    def _exited(self, code: int | None) -> None:
        """The program has ended."""
        if self._parser is not None:
            self._parse(self._parser.end)
        judged = self._plan is not None and self._plan.judged
        if judged and code is not None and self._asked is None:
            self._code = code
            self._clear(self._ask_for_judgement)
        else:
            self._conclude(code, well=code == 0)

    def _ask_for_judgement(self) -> None:
        self._program = None
        work = self.order.work
        assert isinstance(work, Call)
        self._send(work, What.JUDGE, self._code)

    def _conclude(self, code: int | None, *, well: bool) -> None:
        if code is None:
            self._end(
                Status.INTERRUPTED, "its process is gone, and nobody knows how it ended", code
            )
        elif well:
            self._end(Status.DONE, None, code)
        elif code < 0:
            self._end(Status.ERROR, f"killed by {signal_name(-code)}", code)
        else:
            line = self._last_line()
            self._end(Status.ERROR, f"exit code {code}" + (f": {line}" if line else ""), code)

    def answered(self, answer: Answer) -> None:
        """A child has done its errand."""
        child, self._child = self._child, None
        assert child is not None
        work = self.order.work
        assert isinstance(work, Call)
        if answer.stale or answer.retire or work.isolated or self._asked is not None:
            if self._asked is not None or answer.retire:
                self._leave(child)
            child.retire()
        else:
            self._host.nursery.give_back(child)
        if answer.stale:
            self._send(work, self._what, self._code)
        elif self._asked is not None or answer.stopped:
            self._end(self._asked or Status.STOPPED, None)
        elif self._what is What.JUDGE:
            self._conclude(self._code, well=answer.well)
        elif not answer.well:
            self._end(Status.ERROR, answer.message)
        elif answer.spawn is not None:
            self._spawn(answer.spawn)
        else:
            self._end(Status.DONE, answer.message, None, answer.result)

    def _leave(self, child: Child) -> None:
        """What a child's errand left behind ends with the child."""
        family.kill(family.members(child.pid, self._mark))

    def died(self, status: int | None, why: str | None) -> None:
        """A child ended without an answer."""
        self._child = None
        if status is None:
            self._end(Status.INTERRUPTED, why)
        elif status & 0x7F:
            number = status & 0x7F
            message = f"its process was killed by {signal_name(number)}"
            if number == signal.SIGKILL:
                message += " (too much memory?)"
            self._end(Status.ERROR, message, -number)
        else:
            code = status >> 8
            self._end(Status.ERROR, f"its process exited with {code} before it was done", code)

    def _last_line(self) -> str:
        lines = self._last.decode(errors="replace").replace("\r", "\n").split("\n")
        for line in reversed(lines):
            text = clean(line)
            if text:
                return text[:LAST_LINE]
        return ""

    def _end(
        self,
        status: Status,
        message: str | None,
        code: int | None = None,
        result: msgspec.Raw = NOTHING_RETURNED,
    ) -> None:
        if self._over:
            return
        self._over = True
        if self._asked is not None:
            status, message = self._asked, self._why
        self._clear(lambda: self._finish(status, message, code, result))

    def _clear(self, then: Callable[[], object]) -> None:
        """End what is left of the family, then go on.

        Once asked to stop it has the rest of its grace; else it is killed now.
        """
        if self._asked is None and not self._host.has_orphans():
            then()
        else:
            deadline = self._host.reactor.seconds() + KILL_SECONDS
            self._wait_for_family(then, deadline, LOOK_SECONDS)

    def _wait_for_family(self, then: Callable[[], object], deadline: float, pause: float) -> None:
        left = family.members(self.pid, self._mark)
        if left and self._killing is None:
            family.kill(left)
            if self._host.reactor.seconds() > deadline:
                self._log.error("job {job} leaves {left} behind", job=self.order.job, left=left)
                left = []
        elif left:
            deadline = self._killing.getTime() + KILL_SECONDS
        if left:
            longer = min(2 * pause, 0.25)
            self._host.reactor.callLater(pause, self._wait_for_family, then, deadline, longer)
        else:
            then()

    def _finish(
        self, status: Status, message: str | None, code: int | None, result: msgspec.Raw
    ) -> None:
        self._is_final = True
        for call in (self._killing, self._telling):
            if call is not None and call.active():
                call.cancel()
        self._killing = self._telling = None
        self._close_writer()
        order, time = self.order, self._host.now()
        progress = self.progress
        told = progress.message if message is None else message
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

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()


class _Report(msgspec.Struct):
    progress: float | None = None
    message: str | None = None


_decode_report = msgspec.json.Decoder(_Report).decode
