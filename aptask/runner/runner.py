"""The runner: carries out orders, and tells by events what became of them.

Rules:

- `Started` and `Ended` are numbered from 1 and kept until the daemon says that it has them.
- An order that was had already is answered with what became of it, not carried out again.
- Progress is not kept: while the daemon does not read, only the newest of each job waits.
"""

from __future__ import annotations

import os
import pwd
import time
from collections import deque
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
    Spawn,
    Start,
    Started,
    Stop,
    Welcome,
)
from aptask.runner import family
from aptask.runner.attempt import Attempt
from aptask.runner.children import Nursery
from aptask.runner.output import Writer
from aptask.runner.process import CannotSpawn

LOOK_SECONDS = 2.0
"""How often the runner sees whether what it believes to run still does."""

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
        self._folder = folder
        self._outputs = folder / "output"
        self._outputs.mkdir(mode=0o700, exist_ok=True)
        self.home = _home(environment)
        self._environment = {
            **_clean(environment, self.home),
            "PYTHONUNBUFFERED": "1",
            "APTASK_DATA": str(folder),
        }
        self._log_descriptor = log
        self._attempts: dict[tuple[int, int], Attempt] = {}
        self._kept: deque[Started | Ended] = deque()
        self._last = 0
        self._untold: dict[Attempt, None] = {}
        self._link: Link | None = None
        self.gone: Deferred[None] = Deferred()
        """fires when, having been told to quit, nothing is left"""
        self._quits = False
        self._adopts = family.adopt_orphans()
        self._nurseries: set[int] = set()
        self.nursery = self._new_nursery()
        self._looking = LoopingCall(self._look_after)
        self._looking.clock = reactor
        self._looking.start(LOOK_SECONDS, now=False)

    # The link

    def connected(self, link: Link) -> None:
        """A daemon is there; it takes the place of one before."""
        self._link = link

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
                while self._kept and self._kept[0].number <= order.number:
                    self._kept.popleft()
            case Hello():
                self._welcome(order)
            case Quit():
                self.quit(order.grace)

    def _welcome(self, hello: Hello) -> None:
        self._tell(Welcome(LINK_VERSION, self.instance, os.getpid(), tuple(self._attempts)))
        if hello.instance == self.instance:
            for event in tuple(self._kept):
                if event.number > hello.after:
                    self._tell(event)

    def _start(self, order: Start) -> None:
        key = order.job, order.attempt
        if key in self._attempts:
            return
        for event in self._kept:
            if (event.job, event.attempt) == key:
                self._tell(event)
                return
        attempt = self._attempts[key] = Attempt(order, self)
        try:
            attempt.begin()
        except Exception as error:
            self._log.failure("job {job} could not be begun", job=order.job)
            attempt.fail(f"could not be started: {error}")

    def quit(self, grace: float, why: str = "the daemon was stopped") -> None:
        """End all jobs as interrupted, and the nursery; `gone` fires when nothing is left.

        Args:
            grace: seconds each job has. Asked again, the sooner end counts.
            why: for people.
        """
        self._quits = True
        for attempt in tuple(self._attempts.values()):
            attempt.stop(grace, Status.INTERRUPTED, why)
        self._end_if_quit()

    def _end_if_quit(self) -> None:
        if self._quits and not self._attempts and not self.gone.called:
            if self._looking.running:
                self._looking.stop()
            self.nursery.close()
            self.has_orphans()
            self.gone.callback(None)

    # What attempts need: see `aptask.runner.attempt.Host`

    def environment(self) -> dict[str, str]:
        """The clean environment."""
        return self._environment

    def writer(self, order: Start) -> Writer:
        """Keeps the output of an attempt."""
        return Writer(self._outputs, order.job, order.output_bytes)

    def check(self, plan: Spawn) -> None:
        """Refuse to work in the data folder: it holds keys.

        Raises:
            CannotSpawn: the plan may not be run.
        """
        if plan.cwd is not None:
            real = Path(plan.cwd).resolve()
            if real == self._folder or self._folder in real.parents:
                raise CannotSpawn(f"the working folder {plan.cwd} is in aptask's data folder")

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
        event = make(self._last)
        self._kept.append(event)
        self._tell(event)

    def _tell(self, event: Event) -> None:
        if self._link is not None:
            self._link.send(event)

    def has_orphans(self) -> bool:
        """Whether processes may be left whose parents have ended.

        Where the system makes this process the parent of orphans, they are its children that it
        did not start itself; elsewhere nobody knows, and the process table has to be searched.
        """
        children = family.children() if self._adopts else None
        if children is None:
            return True
        known = {attempt.pid for attempt in self._attempts.values()}
        known |= self._nurseries
        unknown = False
        for pid in children:
            if pid not in known:
                reaped, _ = os.waitpid(pid, os.WNOHANG)
                unknown = unknown or reaped == 0
        return unknown

    # Looking after what runs

    def _look_after(self) -> None:
        for attempt in tuple(self._attempts.values()):
            attempt.look_after()
        self.nursery.retire_idle()
        if self.has_orphans():
            self._end_strays()

    def _end_strays(self) -> None:
        """End processes whose job is over.

        A process that a Python task forked carries the nursery's mark; once it is an orphan here,
        the child that it came from has ended.
        """
        running = {family.mark(self.instance, *key) for key in self._attempts}
        for pid in family.children() or ():
            if pid not in self._nurseries:
                marked = family.mark_of(pid)
                if marked is not None and marked not in running:
                    family.kill(family.members(pid, marked))

    def _new_nursery(self) -> Nursery:
        environment = {**self._environment, family.MARK: f"{self.instance}/nursery/0"}
        # What the nursery itself is imported from may have been found by PYTHONPATH.
        if "PYTHONPATH" in os.environ:
            environment["PYTHONPATH"] = os.environ["PYTHONPATH"]
        nursery = Nursery(
            self.reactor, environment, self.home, self._log_descriptor, self._nursery_lost
        )
        self._nurseries.add(nursery.pid)
        return nursery

    def _nursery_lost(self) -> None:
        if not self.gone.called:
            self._log.error("the nursery has died; there is a new one")
            self.nursery = self._new_nursery()


def _home(environment: Mapping[str, str]) -> str:
    home = environment.get("HOME", "")
    if not home:
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = "/"
    return home if Path(home).is_dir() else "/"


def _clean(environment: Mapping[str, str], home: str) -> dict[str, str]:
    clean = {
        name: value
        for name, value in environment.items()
        if name in INHERITED or name.startswith("LC_")
    }
    clean.setdefault("PATH", os.defpath)
    clean["HOME"] = home
    return clean
