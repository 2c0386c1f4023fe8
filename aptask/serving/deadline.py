"""One timer for all that a connection may become late for.

Most of what is waited for happens in time, so nothing is rescheduled when it does: the timer fires
at the earliest time that was ever asked for, looks what is due, and goes on to the next.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """A lazy timer.

    Args:
        clock: seconds, and calls later.
        check: deals with what is due; returns the time, in seconds of the clock, to look again.
            What it raises ends the timer.
    """

    __slots__ = ("_call", "_cancelled", "_check", "_clock", "_time")

    def __init__(self, clock: IReactorTime, check: Callable[[], float]) -> None:
        self._clock = clock
        self._check = check
        self._call: IDelayedCall | None = None
        self._time = 0.0
        self._cancelled = False

    def look_by(self, time: float) -> None:
        """Have it look at that time at the latest, in seconds of the clock."""
        if self._cancelled or (self._call is not None and self._time <= time):
            return
        if self._call is not None:
            self._call.cancel()
        self._time = time
        self._call = self._clock.callLater(max(0.0, time - self._clock.seconds()), self._look)

    def cancel(self) -> None:
        """Never look again."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self) -> None:
        self._call = None
        time = self._check()
        self.look_by(time)
