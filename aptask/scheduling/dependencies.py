"""Who waits for whose end, and who hears of an end.

Thousands may wait for one, and each of them may have thousands that wait for it. So an end is
passed on step by step, as many steps at a time as the caller wants; nothing here calls itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Dependencies:
    """The jobs that wait for others, by their numbers."""

    def __init__(self) -> None:
        self._after: dict[int, Sequence[int]] = {}
        self._missing: dict[int, int] = {}
        """how many ends each of them has not heard of"""
        self._dependants: dict[int, dict[int, None]] = {}
        """who has not heard of an end yet, by whose end that is"""
        self._ended: deque[tuple[int, bool]] = deque()
        """whose end is being passed on, and whether they ended well"""

    @property
    def told(self) -> bool:
        """Whether everybody has heard of every end."""
        return not self._ended

    def __contains__(self, number: int) -> bool:
        """Whether a job waits for the end of another."""
        return number in self._missing

    def add(self, number: int, after: Sequence[int]) -> None:
        """Have a job wait for the ends of others, at least one, each named once."""
        for other in after:
            self._dependants.setdefault(other, {})[number] = None
        self._after[number] = after
        self._missing[number] = len(after)

    def missing(self, number: int) -> list[int]:
        """Those whose ends a job waits for, as far as it has not heard of them."""
        after = self._after.get(number, ())
        return [other for other in after if number in self._dependants.get(other, ())]

    def end(self, number: int, done: bool) -> None:
        """A job has ended, well or not; those that wait for that hear of it from `pass_on`."""
        self._forget(number)
        if number in self._dependants:
            self._ended.append((number, done))

    def pass_on(self, steps: int) -> tuple[list[int], list[tuple[int, int]]]:
        """Tell of ends.

        Args:
            steps: how many are told at most, each of one end.

        Returns:
            those that wait for nobody any more; and those that wait in vain, each with the number
            of the one that did not end well. The latter count as having ended not well themselves.
        """
        ready: list[int] = []
        vain: list[tuple[int, int]] = []
        while self._ended and steps:
            number, done = self._ended[0]
            dependants = self._dependants.get(number)
            if dependants is None:  # those that waited for it have been forgotten meanwhile
                self._ended.popleft()
                continue
            steps -= 1
            dependant, _ = dependants.popitem()
            if not dependants:
                del self._dependants[number]
                self._ended.popleft()
            self._missing[dependant] -= 1
            if not done:
                vain.append((dependant, number))
                self.end(dependant, False)
            elif not self._missing[dependant]:
                ready.append(dependant)
                self._forget(dependant)
        return ready, vain

    def _forget(self, number: int) -> None:
        if self._missing.pop(number, None) is None:
            return
        for other in self._after.pop(number):
            dependants = self._dependants.get(other)
            if dependants is not None:
                dependants.pop(number, None)
                if not dependants:
                    del self._dependants[other]
