"""How long jobs took that ended well: what is to be expected of the next one of the same task.

Rules:

- The same task with the same arguments is expected to take what it took, give or take a third,
  until there are enough runs to know better; with arguments that were never seen, what the task
  took with others, give or take twice that. Sizes of arguments are not guessed at: a path is short
  however much is behind it.
- A mean is over logarithms, so that one run of a day among some of a minute does not count for
  1,440 of them; and no run counts as more than four times off. The last twenty count most.
- Only what ended well counts: what failed or was stopped says how long it takes to fail. Time
  during which a job was paused does not count.
- What is remembered is bounded: where there is more, what ran least lately is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from math import exp, log
from typing import TypeVar

import msgspec

K = TypeVar("K", bound=Hashable)

REMEMBERED = 10_000
"""For how many tasks, and for how many tasks with arguments, it is known how long they take."""
RUNS = 20
"""Over about how many runs a mean is taken."""
RUNS_OF_ALL = 200
"""Over about how many runs the mean of all tasks is taken."""
SPREAD_OF_SAME = 0.3
"""What runs with the same arguments differ by, as far as one knows without having seen it."""
SPREAD_OF_OTHERS = 0.7
"""What runs with other arguments differ by: a factor of two."""
ASSUMED = 3
"""How many runs that have not been seen count for."""
SURPRISE = log(4)
"""What a run differs from the mean by at most."""
SHORTEST = 0.001
"""Seconds; what is shorter counts as that."""


class Expected(msgspec.Struct, frozen=True, gc=False):
    """How long a job is expected to take.

    Attributes:
        seconds: that time, more than 0.
        spread: how much it may differ, as a part of it: the standard deviation of its logarithm.
    """

    seconds: float
    spread: float


class _Runs(msgspec.Struct, gc=False):
    """What is known of some runs: their number up to `RUNS`, and of their logarithms the rest."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def add(self, seconds: float) -> None:
        self.count = min(self.count + 1, RUNS)
        part = 1 / self.count
        off = log(max(seconds, SHORTEST)) - self.mean
        if self.count > 1:
            off = max(-SURPRISE, min(SURPRISE, off))
            self.variance = (1 - part) * (self.variance + part * off * off)
        self.mean += part * off

    def expected(self, assumed: float) -> Expected:
        variance = ASSUMED * assumed**2 + self.count * self.variance
        return Expected(exp(self.mean), (variance / (ASSUMED - 1 + self.count)) ** 0.5)


class Past:
    """How long the jobs took that ended well."""

    def __init__(self) -> None:
        self._same: OrderedDict[tuple[str, int], _Runs] = OrderedDict()
        self._others: OrderedDict[str, _Runs] = OrderedDict()
        self._count = 0
        self._mean = 0.0

    def __len__(self) -> int:
        """How many tasks, and tasks with arguments, are remembered."""
        return len(self._same) + len(self._others)

    @property
    def mean(self) -> float | None:
        """How many seconds a job takes, whatever it is; None where none has ended well."""
        return self._mean if self._count else None

    def add(self, task: str, arguments: bytes, seconds: float) -> None:
        """Take note of a job that ended well.

        Args:
            task: the name of its task.
            arguments: the JSON text of its arguments.
            seconds: how long it ran, without the time that it was paused.
        """
        # Of arguments, which may be long, only the hash is kept. If those of two are the same, the
        # one is expected to take what the other did: nothing worse.
        _recall(self._same, (task, hash(arguments))).add(seconds)
        _recall(self._others, task).add(seconds)
        self._count = min(self._count + 1, RUNS_OF_ALL)
        self._mean += (max(seconds, 0.0) - self._mean) / self._count

    def expect(self, task: str, arguments: bytes) -> Expected | None:
        """How long a job is expected to take; None where no job of its task has ended well.

        Args:
            task: the name of its task.
            arguments: the JSON text of its arguments.
        """
        same = self._same.get((task, hash(arguments)))
        if same is not None:
            return same.expected(SPREAD_OF_SAME)
        others = self._others.get(task)
        return None if others is None else others.expected(SPREAD_OF_OTHERS)


def _recall(known: OrderedDict[K, _Runs], key: K) -> _Runs:
    """What is known of some runs, which is then the last to be forgotten."""
    runs = known.get(key)
    if runs is None:
        runs = known[key] = _Runs()
        if len(known) > REMEMBERED:
            known.popitem(last=False)
    known.move_to_end(key)
    return runs
