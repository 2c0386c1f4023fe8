"""The events that the daemon may not have yet: kept here, and their ends on the disk too.

Rules:

- Events are numbered from 1, and kept until the daemon says that it has them on its own disk.
- An end is in the spool before anybody is told of it. It is synced where the daemon does not say
  within `SYNC_SECONDS` that it has it; at once where there is no daemon.
- Where the disk takes nothing, ends stay here, are told all the same, and are written as soon as it
  takes something again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.logger import Logger

from aptask.model.orders import Ended, Started
from aptask.runner.spool import Spool

SYNC_SECONDS = 0.05
"""How long an end may wait to be synced: most are forgotten before, which saves that."""
CUT_BYTES = 1 << 20
"""How large a spool grows, beside what is not forgotten, before it is cut back."""


class Ledger:
    """Numbers events and keeps them.

    Args:
        reactor: tells the time.
        spool: holds the ends on the disk.
        safe: called when the disk has taken all ends, after one of them had to wait for that.

    Attributes:
        ends: the ends that are kept, by job and attempt, in their order.
        has_daemon: whether there is one that may say that it has them.
    """

    _log = Logger()

    def __init__(self, reactor: Any, spool: Spool, safe: Callable[[], object]) -> None:
        self.ends: dict[tuple[int, int], Ended] = {}
        self.has_daemon = False
        self._reactor = reactor
        self._spool = spool
        self._safe = safe
        self._last = 0
        self._events: dict[int, Started | Ended] = {}
        self._due: deque[tuple[int, float]] = deque()
        """numbers of ends that are written and not synced, and when they should be"""
        self._syncing: Any = None
        self._limit = CUT_BYTES
        self._is_failing = False
        """whether ends are kept that could not be written or synced"""
        try:
            spool.renew(())
        except OSError as error:
            self._fail(error)

    @property
    def is_safe(self) -> bool:
        """Whether no end would be lost with this process, nor with the machine."""
        return not self.ends or not (self._is_failing or self._due)

    def add(self, make: Callable[[int], Started | Ended]) -> Started | Ended:
        """Keep an event.

        Args:
            make: makes it with its number.

        Returns:
            the event, which may be told now.
        """
        self._last += 1
        event = self._events[self._last] = make(self._last)
        if isinstance(event, Ended):
            self.ends[event.job, event.attempt] = event
            self._write(event)
        return event

    def after(self, number: int) -> list[Started | Ended]:
        """The events behind the one with this number, in their order."""
        return [event for event in self._events.values() if event.number > number]

    def forget(self, last: int) -> None:
        """Let go of the events up to this number."""
        while self._events:
            number = next(iter(self._events))
            if number > last:
                break
            event = self._events.pop(number)
            if isinstance(event, Ended):
                del self.ends[event.job, event.attempt]
        while self._due and self._due[0][0] <= last:
            self._due.popleft()
        if self._spool.size > self._limit and not self._is_failing:
            self._shrink()

    def sync(self) -> None:
        """Have the disk take all ends now; where it does not, they wait for `try_again`."""
        self._cancel()
        if self._due:
            self._due.clear()
            try:
                self._spool.sync()
            except OSError as error:
                self._fail(error)

    def try_again(self) -> None:
        """Write what could not be written: to be called every now and then."""
        if self._is_failing:
            try:
                self._spool.renew(self.ends.values())
            except OSError:
                return
            self._is_failing = False
            self._log.info("ends of jobs are written to the disk again")
            self._safe()

    def close(self) -> None:
        """End: there will be no further event."""
        self._cancel()
        if self.is_safe and not self._is_failing:
            with suppress(OSError):
                self._spool.finish()
        self._spool.close()

    def _write(self, event: Ended) -> None:
        if self._is_failing:
            return
        try:
            self._spool.add(event)
        except OSError as error:
            self._fail(error)
            return
        wait = SYNC_SECONDS if self.has_daemon else 0.0
        self._due.append((event.number, self._reactor.seconds() + wait))
        if self._syncing is None:
            self._syncing = self._reactor.callLater(wait, self._sync_due)

    def _sync_due(self) -> None:
        self._syncing = None
        if self._due:
            wait = self._due[0][1] - self._reactor.seconds()
            if wait > 0 and self.has_daemon:
                self._syncing = self._reactor.callLater(wait, self._sync_due)
                return
            self.sync()
        if self.is_safe:
            self._safe()

    def _shrink(self) -> None:
        try:
            if self.ends:
                self._spool.renew(self.ends.values())
                self._due.clear()
            else:
                self._spool.cut()
        except OSError as error:
            self._fail(error)
        self._limit = CUT_BYTES + 2 * self._spool.size

    def _fail(self, error: OSError) -> None:
        # What a failed sync has left on the disk nobody knows: all is written once more.
        self._due.clear()
        self._is_failing = True
        self._log.error("ends of jobs cannot be written to the disk: {error}", error=error)

    def _cancel(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
            self._syncing = None
