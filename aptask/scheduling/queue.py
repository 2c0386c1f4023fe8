"""Who waits, in what order, and who may start: pure decisions about the numbers of jobs.

First come, first served: a job's number says when it came. A `Line` is such an order; it is kept
small, since a daemon may have a million waiting: eight bytes a job.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence

_TRIMMED = 4096
"""So many taken numbers may stay at the front of a line before they are cut off."""


class Line:
    """Numbers in rising order: taken from the front, withdrawn from anywhere."""

    __slots__ = ("_head", "_numbers")

    def __init__(self) -> None:
        self._numbers = array("q")
        self._head = 0

    def __len__(self) -> int:
        return len(self._numbers) - self._head

    def add(self, number: int) -> None:
        """Put a number into its place: at the end, in the ordinary case."""
        numbers = self._numbers
        if not numbers or number > numbers[-1]:
            numbers.append(number)
        else:
            numbers.insert(bisect_left(numbers, number, self._head), number)

    def take(self) -> int:
        """The first number, which then no longer waits.

        Raises:
            IndexError: nobody waits.
        """
        number = self._numbers[self._head]
        self._head += 1
        if self._head >= _TRIMMED and self._head * 2 >= len(self._numbers):
            del self._numbers[: self._head]
            self._head = 0
        return number

    def withdraw(self, number: int) -> bool:
        """Take a number out of the line; whether it was in it."""
        place = bisect_left(self._numbers, number, self._head)
        if place == len(self._numbers) or self._numbers[place] != number:
            return False
        if place == self._head:
            self.take()
        else:
            del self._numbers[place]
        return True

    def position(self, number: int) -> int:
        """The place of a number, from 1; 0 where it does not wait."""
        place = bisect_left(self._numbers, number, self._head)
        if place == len(self._numbers) or self._numbers[place] != number:
            return 0
        return place - self._head + 1

    def slice(self, offset: int, limit: int) -> Sequence[int]:
        """Up to `limit` numbers in their order, after the first `offset`."""
        start = self._head + offset
        return self._numbers[start : start + limit]


class Queue:
    """Those who wait, and the slots in which they run.

    Args:
        slots: how many run at once.

    Attributes:
        slots: may be changed: where there are fewer than run, none is launched until that is so.
        paused: whether none is launched.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.paused = False
        self.running = 0
        self.line = Line()

    def launch(self) -> int | None:
        """The job that starts now, into a free slot; None where all are taken or nobody waits."""
        if self.paused or self.running >= self.slots or not self.line:
            return None
        self.running += 1
        return self.line.take()

    def reserve(self) -> bool:
        """Take a slot for a job that is not in the line; whether one is free and nobody waits."""
        if self.paused or self.running >= self.slots or self.line:
            return False
        self.running += 1
        return True

    def release(self) -> None:
        """A job that was launched has ended: its slot is free."""
        self.running -= 1
