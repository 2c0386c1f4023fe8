"""The runner: carries out orders, and tells by events what became of them.

Rules:

- `Started` and `Ended` are numbered and kept until the daemon says that it has them: see `ledger`.
- An order that was had already is answered with what became of it, not carried out again.
- Nothing is told to a daemon before its first `Hello`: what it missed comes first.
- Progress is not kept: while the daemon does not read, only the newest of each job waits. Nor are
  pauses: a daemon that comes is told of those that are.
- Without its daemon it goes on, for as long as that one said, until its jobs have ended.
- It does not end while only it knows of the end of a job.
- A fault in one attempt is logged and stays with it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from aptask.model.job import Status
from aptask.model.orders import (
    LINK_VERSION,
    Ended,
    Event,
    Forget,
    Hello,
    Order,
    Pause,
    Paused,
    Quit,
    Resume,
    Resumed,
    Start,
    Started,
    Stop,
    Welcome,
)
from aptask.runner import ending, family
from aptask.runner.attempt import Attempt
from aptask.runner.employing import Nursery
from aptask.runner.environment import clean, home_of
from aptask.runner.family import Family
from aptask.runner.ledger import Ledger
from aptask.runner.output import Outputs, Writer
from aptask.runner.process import CannotSpawn
from aptask.runner.sessions import Sessions
from aptask.runner.spool import Spool

LOOK_SECONDS = 2.0
"""How often the runner sees whether what it believes to run still does."""

ABANDONED_GRACE = 5.0
"""Seconds that jobs have to end when no daemon comes, or when the runner is sent SIGTERM."""
ORPHAN_SECONDS = 3600.0
"""How long a daemon is waited for that has not said how long."""

QUIT = "the daemon was stopped"
"""Why jobs end with a runner that was ordered to quit."""
NOT_STARTED = "could not be started: {}"
"""Why a job ends that a fault of this process kept from beginning."""


class Link(Protocol):
    """The way to the daemon."""

    def send(self, event: Event) -> None:
        """Send an event."""

    def is_free(self) -> bool:
        """Whether the daemon takes what is sent."""


class Runner:
    """Holds the attempts that are under way.

    Args:
        reactor: runs them.
        folder: the data folder.
        instance: this runner's id.
        log: a descriptor for what the nursery has to say.
        environment: the account's.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        instance: str,
        log: int,
        environment: Mapping[str, str],
    ) -> None:
        self.reactor = reactor
        self.instance = instance
        self._folder = os.path.realpath(folder)
        self._outputs = folder / "output"
        self._outputs.mkdir(mode=0o700, exist_ok=True)
        self.home = home_of(environment)
        self._environment = {
            **clean(environment, self.home),
            "PYTHONUNBUFFERED": "1",
            "APTASK_DATA": str(folder),
        }
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._ledger = Ledger(reactor, Spool(folder, instance), self._end_if_over)
        self._untold: dict[Attempt, None] = {}
        self._link: Link | None = None
        self._is_greeted = False
        """whether the daemon has said `Hello`"""
        self._orphan_seconds = ORPHAN_SECONDS
        self._waiting: Any = None
        """ends the jobs when no daemon comes back"""
        self.gone: Deferred[None] = Deferred()
        """fires when nothing is left: it was told to quit, or has no jobs and no daemon any more"""
        self._quits: str | None = None
        self._adopts = family.adopt_orphans()
        self.programs: set[int] = set()
        self.sessions = Sessions()
        # The first process that is spawned: it shows whether a spawn makes sessions here.
        self.nursery = Nursery(
            reactor, self._nursery_environment(environment), self.home, log, self.sessions
        )
        self._looking = LoopingCall(self._look_after)
        self._looking.clock = reactor
        self._looking.start(LOOK_SECONDS, now=False)

    # The link

    def connected(self, link: Link) -> None:
        """A daemon is there; it takes the place of one before."""
        self._link, self._is_greeted = link, False
        self._ledger.has_daemon = True
        self._stop_waiting()

    def disconnected(self, link: Link) -> None:
        """A daemon is gone."""
        if self._link is not link:
            return
        self._link = None
        self._ledger.has_daemon = False
        self._ledger.sync()
        if self._quits is None:
            seconds = self._orphan_seconds
            why = f"no daemon came back within {seconds:g} s"
            self._waiting = self.reactor.callLater(seconds, self.quit, ABANDONED_GRACE, why)
        self._end_if_over()

    def drained(self) -> None:
        """The daemon reads again: it hears the newest progress of each job that has some."""
        untold, self._untold = self._untold, {}
        for attempt in untold:
            self.progressed(attempt)

    def order(self, order: Order) -> None:
        """Carry out an order."""
        match order:
            case Start():
                self._start(order)
            case Stop():
                self._stop(order)
            case Pause() | Resume():
                self._pause(order)
            case Forget():
                self._ledger.forget(order.number)
            case Hello():
                self._welcome(order)
            case Quit():
                self.quit(order.grace)

    def _welcome(self, hello: Hello) -> None:
        self._orphan_seconds = max(0.0, hello.orphan_timeout)
        is_first, self._is_greeted = not self._is_greeted, True
        self._tell(Welcome(LINK_VERSION, self.instance, os.getpid(), tuple(self._attempts)))
        if not is_first:
            return
        if hello.instance == self.instance:
            for event in self._ledger.after(hello.after):
                self._tell(event)
        for attempt in tuple(self._attempts.values()):
            self.progressed(attempt)
            if attempt.paused is not None:
                self._tell(attempt.paused)

    def _stop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and waiting.active():
            waiting.cancel()

    def _start(self, order: Start) -> None:
        key = order.job, order.attempt
        if key in self._ledger.ends:
            self._tell(self._ledger.ends[key])
            return
        if key in self._attempts:
            return  # its events tell
        if self._quits is not None:
            # A daemon that did not order this has to wait for the next runner, lest it send its
            # whole queue: for it these jobs are lost with this one.
            if self._quits is QUIT:
                self._end_unbegun(key, Status.INTERRUPTED, QUIT)
            return
        try:
            attempt = Attempt(order, self)
        except Exception as error:
            self._log.failure("job {job} could not be begun", job=order.job)
            self._end_unbegun(key, Status.ERROR, NOT_STARTED.format(error))
            return
        self._attempts[key] = attempt
        try:
            attempt.begin()
        except Exception as error:
            self._log.failure("job {job} could not be begun", job=order.job)
            attempt.fail(NOT_STARTED.format(error))

    def _stop(self, order: Stop) -> None:
        key = order.job, order.attempt
        if key in self._attempts:
            self._attempts[key].stop(order.grace)
        elif key in self._ledger.ends:
            self._tell(self._ledger.ends[key])
        else:
            self._end_unbegun(key, Status.STOPPED, None)

    def _pause(self, order: Pause | Resume) -> None:
        key = order.job, order.attempt
        if key in self._ledger.ends:
            self._tell(self._ledger.ends[key])
        elif key in self._attempts:
            attempt = self._attempts[key]
            if isinstance(order, Pause):
                attempt.pause()
            else:
                attempt.resume()

    def _end_unbegun(self, key: tuple[int, int], status: Status, message: str | None) -> None:
        now = self.now()
        self._keep(lambda number: Ended(number, *key, status, now, message=message))

    def quit(self, grace: float, why: str = QUIT) -> None:
        """End all jobs as interrupted, and the nursery; `gone` fires when nothing is left.

        Args:
            grace: seconds each job has, if it does not have fewer of its own. Asked again, the
                sooner end counts.
            why: for people.
        """
        self._quits = self._quits or why
        for attempt in tuple(self._attempts.values()):
            attempt.stop(min(grace, attempt.order.grace), Status.INTERRUPTED, why)
        self._end_if_over()

    def _end_if_over(self) -> None:
        """End where nothing is left to do, and nothing that only this process knows."""
        is_wanted = self._quits is None and self._waiting is None
        if is_wanted or self._attempts or self.gone.called:
            return
        if self._link is not None:
            self._ledger.sync()  # the daemon may die before it has read the last events
        elif not self._ledger.is_safe:
            return
        self._stop_waiting()
        if self._looking.running:
            self._looking.stop()
        self._ledger.close()
        self.nursery.close()
        self.end_strays()
        self.gone.callback(None)

    # What attempts need: see `aptask.runner.attempt.Host`

    def environment(self) -> dict[str, str]:
        """The clean environment."""
        return self._environment

    def writer(self, order: Start) -> Writer:
        """Keeps the output of an attempt: behind that of earlier ones, if it is not the first."""
        if order.attempt == 1:
            Outputs(self._outputs).remove(order.job)
        return Writer(self._outputs, order.job, order.output_bytes, order.attempt)

    def family(self, marked: str) -> Family:
        """Finds the family of an attempt."""
        return Family(marked)

    def check(self, folder: str) -> None:
        """Refuse to work in the data folder: it holds keys.

        Raises:
            CannotSpawn: programs may not begin in this folder.
        """
        try:
            real = os.path.realpath(folder)
        except (OSError, ValueError):
            return  # whoever enters it finds out
        if real == self._folder or real.startswith(self._folder + os.sep):
            raise CannotSpawn(f"the working folder {folder} is in aptask's data folder")

    def size_of(self, path: str) -> int | None:
        """The size of a file in bytes, or None."""
        try:
            return Path(self.home, path).stat().st_size
        except (OSError, ValueError):
            return None

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def started(self, attempt: Attempt, event: Callable[[int], Started]) -> None:
        """Tell that an attempt has a process."""
        self._keep(event)

    def tell(self, event: Paused | Resumed) -> None:
        """Tell that an attempt is paused, or is not: nobody is told later."""
        self._tell(event)

    def progressed(self, attempt: Attempt) -> None:
        """Tell how far an attempt is, or remember to."""
        if self._link is not None and self._is_greeted and self._link.is_free():
            self._link.send(attempt.progress_event())
        else:
            self._untold[attempt] = None

    def ended(self, attempt: Attempt, event: Callable[[int], Ended]) -> None:
        """Tell that an attempt has ended."""
        self._untold.pop(attempt, None)
        del self._attempts[attempt.order.job, attempt.order.attempt]
        self._keep(event)
        self._end_if_over()

    def _keep(self, make: Callable[[int], Started | Ended]) -> None:
        self._tell(self._ledger.add(make))

    def _tell(self, event: Event) -> None:
        if self._link is not None and self._is_greeted:
            self._link.send(event)

    def has_orphans(self, family: ending.Family) -> bool:
        """Whether processes of a family may be left whose parents have ended.

        Where the system makes this process the parent of orphans, they are its children that it
        did not start itself; elsewhere nobody knows, and the process table has to be searched.
        """
        orphans = self._orphans()
        if orphans is None:
            return True
        return any(family.has(pid) for pid in orphans)

    def _orphans(self) -> list[int] | None:
        """The children of this process that others began and left; None where nobody knows."""
        children = family.children() if self._adopts else None
        if children is None:
            return None
        return [
            pid
            for pid in children
            if pid not in self.programs and pid not in self.nursery.pids and not _reap(pid)
        ]

    def end_strays(self) -> None:
        """End processes whose job is over.

        A process that a Python task forked carries the nursery's mark: where it is an orphan here,
        the child that it came from has ended. One that carries no mark may be anybody's.
        """
        running = {family.mark(self.instance, *key) for key in self._attempts}
        for pid in self._orphans() or ():
            marked = family.mark_of(pid)
            if marked not in running if marked is not None else not running:
                family.kill(Family(marked or "", pid).members)

    # Looking after what runs

    def _look_after(self) -> None:
        for attempt in tuple(self._attempts.values()):
            try:
                attempt.look_after()
            except Exception:
                self._log.failure("job {job} could not be looked after", job=attempt.order.job)
        self._ledger.try_again()
        try:
            self.nursery.retire_idle()
            self.end_strays()
        except Exception:
            self._log.failure("strays could not be looked for")

    def _nursery_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        own = {**self._environment, family.MARK: family.nursery_mark(self.instance)}
        # What the nursery itself is imported from may have been found by it; jobs do not see it.
        if "PYTHONPATH" in environment:
            own["PYTHONPATH"] = environment["PYTHONPATH"]
        return own


def _reap(pid: int) -> bool:
    """Whether an orphan has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except ChildProcessError:
        return True
