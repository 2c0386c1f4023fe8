"""The runner: carries out orders, and tells by events what became of them.

Rules:

- `Started` and `Ended` are numbered from 1 and kept until the daemon says that it has them.
- An order that was had already is answered with what became of it, not carried out again.
- Progress is not kept: while the daemon does not read, only the newest of each job waits.
- A fault in one attempt is logged and stays with it.
"""

from __future__ import annotations

import os
import pwd
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
    Quit,
    Start,
    Started,
    Stop,
    Welcome,
)
from aptask.runner import ending, family
from aptask.runner.attempt import Attempt
from aptask.runner.employing import Nursery
from aptask.runner.family import Family
from aptask.runner.output import Outputs, Writer
from aptask.runner.process import CannotSpawn
from aptask.runner.sessions import Sessions

LOOK_SECONDS = 2.0
"""How often the runner sees whether what it believes to run still does."""

QUIT = "the daemon was stopped"
"""Why jobs end with a runner that was ordered to quit."""

INHERITED = ("PATH", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")
"""What jobs have of the daemon's environment, beside HOME and LC_*."""


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
        self.home = _home(environment)
        self._environment = {
            **_clean(environment, self.home),
            "PYTHONUNBUFFERED": "1",
            "APTASK_DATA": str(folder),
        }
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._kept: dict[int, Started | Ended] = {}
        """the events that the daemon may not have yet, by their numbers, in their order"""
        self._ended: dict[tuple[int, int], Ended] = {}
        """those of them that tell of an end, by job and attempt"""
        self._last = 0
        self._untold: dict[Attempt, None] = {}
        self._link: Link | None = None
        self.gone: Deferred[None] = Deferred()
        """fires when, having been told to quit, nothing is left"""
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
        self._link = link
        self.drained()

    def disconnected(self, link: Link) -> None:
        """A daemon is gone."""
        if self._link is link:
            self._link = None

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
                attempt = self._attempts.get((order.job, order.attempt))
                if attempt is not None:
                    attempt.stop(order.grace)
            case Forget():
                self._forget(order.number)
            case Hello():
                self._welcome(order)
            case Quit():
                self.quit(order.grace)

    def _welcome(self, hello: Hello) -> None:
        self._tell(Welcome(LINK_VERSION, self.instance, os.getpid(), tuple(self._attempts)))
        if hello.instance == self.instance:
            for event in tuple(self._kept.values()):
                if event.number > hello.after:
                    self._tell(event)

    def _forget(self, last: int) -> None:
        for number in tuple(self._kept):
            if number > last:
                break
            event = self._kept.pop(number)
            if isinstance(event, Ended):
                del self._ended[event.job, event.attempt]

    def _start(self, order: Start) -> None:
        key = order.job, order.attempt
        if key in self._ended:
            self._tell(self._ended[key])
            return
        if key in self._attempts:
            return  # its events tell
        if self._quits is not None:
            # A daemon that did not order this has to wait for the next runner, lest it send its
            # whole queue: for it these jobs are lost with this one.
            if self._quits is QUIT:
                status, now = Status.INTERRUPTED, self.now()
                self._keep(lambda number: Ended(number, *key, status, now, message=QUIT))
            return
        attempt = self._attempts[key] = Attempt(order, self)
        try:
            attempt.begin()
        except Exception as error:
            self._log.failure("job {job} could not be begun", job=order.job)
            attempt.fail(f"could not be started: {error}")

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
        self._end_if_quit()

    def _end_if_quit(self) -> None:
        if self._quits is not None and not self._attempts and not self.gone.called:
            if self._looking.running:
                self._looking.stop()
            self.nursery.close()
            self.end_strays()
            self.gone.callback(None)

    # What attempts need: see `aptask.runner.attempt.Host`

    def environment(self) -> dict[str, str]:
        """The clean environment."""
        return self._environment

    def writer(self, order: Start) -> Writer:
        """Keeps the output of an attempt, in the place of whatever was there before."""
        Outputs(self._outputs, order.output_bytes).remove(order.job)
        return Writer(self._outputs, order.job, order.output_bytes)

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

    def progressed(self, attempt: Attempt) -> None:
        """Tell how far an attempt is, or remember to."""
        if self._link is not None and self._link.is_free():
            self._link.send(attempt.progress_event())
        else:
            self._untold[attempt] = None

    def ended(self, attempt: Attempt, event: Callable[[int], Ended]) -> None:
        """Tell that an attempt has ended."""
        self._untold.pop(attempt, None)
        del self._attempts[attempt.order.job, attempt.order.attempt]
        self._keep(event)
        self._end_if_quit()

    def _keep(self, make: Callable[[int], Started | Ended]) -> None:
        self._last += 1
        event = self._kept[self._last] = make(self._last)
        if isinstance(event, Ended):
            self._ended[event.job, event.attempt] = event
        self._tell(event)

    def _tell(self, event: Event) -> None:
        if self._link is not None:
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


def _home(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME") or _account(5)
    return home if Path(home).is_dir() else "/"


def _clean(environment: Mapping[str, str], home: str) -> dict[str, str]:
    clean = {
        name: value
        for name, value in environment.items()
        if name in INHERITED or name.startswith("LC_")
    }
    clean.setdefault("PATH", os.defpath)
    for name, place in (("USER", 0), ("LOGNAME", 0), ("SHELL", 6)):
        if name not in clean and _account(place):
            clean[name] = _account(place)
    clean["HOME"] = home
    return clean


def _account(place: int) -> str:
    """A field of the line that passwd(5) has of this account, or nothing."""
    try:
        return str(pwd.getpwuid(os.getuid())[place])
    except KeyError:
        return ""
