"""Rounds: what it comes to when several lines take turns, without going through all the turns.

Each line has the round in which it begins, and a length. In every round each line that has begun
and is not through gives one, in the order of the lines: those that begin later before those that
begin earlier, since these have had their turn more lately. So the k-th of a line is given in round
`begin + k`, and how many are given before a round is a sum over the lines.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import TypeVar

T = TypeVar("T")


class _Slopes:
    """Counters that count up by one a round, each from a round of its own on."""

    def __init__(self, rounds: list[int]) -> None:
        self.rounds = sorted(rounds)
        self._sums = [0, *accumulate(self.rounds)]

    def height(self, at: int) -> int:
        """What all of them come to before the round `at`."""
        counting = bisect_left(self.rounds, at)
        return counting * at - self._sums[counting]


class Rounds:
    """Lines that take turns.

    Args:
        lines: the round in which each begins, from 0, and its length, from 1; in their order.
    """

    def __init__(self, lines: Sequence[tuple[int, int]]) -> None:
        self._begins = [begin for begin, _ in lines]
        self._ends = [begin + length for begin, length in lines]
        self._up = _Slopes(self._begins)
        self._down = _Slopes(self._ends)
        self.total = sum(length for _, length in lines)

    def _before(self, at: int) -> int:
        """How many are given before a round."""
        return self._up.height(at) - self._down.height(at)

    def places(self, line: int, offset: int, limit: int) -> list[int]:
        """How many are given before each of up to `limit` of a line, after its first `offset`."""
        begins = sorted(self._begins[:line])
        ends = sorted(self._ends[:line])
        first = self._begins[line] + offset
        return [
            self._before(at) + bisect_right(begins, at) - bisect_right(ends, at)
            for at in range(first, min(first + limit, self._ends[line]))
        ]

    def page(
        self, offset: int, limit: int, read: Callable[[int, int, int], Sequence[T]]
    ) -> list[T]:
        """Up to `limit` of them in the order in which they are given, after the first `offset`.

        Args:
            read: given a line, an offset and a limit, that part of it.
        """
        order, firsts = self._turns(offset, min(limit, self.total - offset))
        counts = dict.fromkeys(firsts, 0)
        for line in order:
            counts[line] += 1
        parts = {line: iter(read(line, firsts[line], count)) for line, count in counts.items()}
        return [next(parts[line]) for line in order]

    def _turns(self, offset: int, limit: int) -> tuple[list[int], dict[int, int]]:
        """The lines whose turns these are, and what is the first of each of them."""
        order: list[int] = []
        firsts: dict[int, int] = {}
        if limit <= 0:
            return order, firsts
        begins, ends = self._up.rounds, self._down.rounds
        at = bisect_right(range(begins[0], ends[-1]), offset, key=self._before) - 1 + begins[0]
        passed = offset - self._before(at)
        while len(order) < limit:
            giving = [
                line
                for line, (begin, end) in enumerate(zip(self._begins, self._ends, strict=True))
                if begin <= at < end
            ]
            # Until a line begins or is through, every round is the same.
            until = ends[bisect_right(ends, at)]
            if (beginning := bisect_right(begins, at)) < len(begins):
                until = min(until, begins[beginning])
            for place, line in enumerate(giving):
                firsts.setdefault(line, at - self._begins[line] + (place < passed))
            rounds = min(until - at, (limit - len(order) + passed) // max(1, len(giving)) + 1)
            order += (giving * rounds)[passed:]
            passed = 0
            at = until
        del order[limit:]
        return order, {line: firsts[line] for line in dict.fromkeys(order)}
