"""Recorded histories of real runs, and how well an estimate of what is left does on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Protocol

from aptask.scheduling.past import Expected, Past

FOLDER = Path(__file__).parent.parent / "recordings" / "histories"
MOMENTS = 400
"""At how many moments of a run it is asked what is left."""


class Estimator(Protocol):
    """What says how many seconds are left of a run that began at 0."""

    def update(self, now: float, fraction: float) -> None: ...

    def left(self, now: float) -> float | None: ...


@dataclass(frozen=True)
class History:
    """One run: `arguments` as JSON, the second of each `(second, fraction)`, and of its end."""

    name: str
    arguments: bytes
    reports: list[tuple[float, float]]
    end: float

    @property
    def program(self) -> str:
        return self.name.split("-")[0]

    def replay(self, estimator: Estimator) -> Iterator[tuple[float, float | None]]:
        """What the estimator says is left at each moment, with the seconds that were left."""
        reports = iter([*self.reports, (self.end, 1.0)])
        report = next(reports)
        for moment in range(1, MOMENTS):
            now = self.end * moment / MOMENTS
            while report[0] <= now:
                estimator.update(*report)
                report = next(reports)
            yield self.end - now, estimator.left(now)


def read(path: Path) -> History:
    arguments, *lines = path.read_text().splitlines()
    pairs = [line.split() for line in lines]
    reports = [(float(when), float(fraction)) for when, fraction in pairs[:-1]]
    return History(path.stem, arguments.encode(), reports, float(pairs[-1][0]))


HISTORIES = [read(path) for path in sorted(FOLDER.glob("*.txt"))]


def past_of(history: History) -> Past:
    """What is known from the other runs of the same program."""
    past = Past()
    for other in HISTORIES:
        if other.program == history.program and other is not history:
            past.add(other.program, other.arguments, other.end)
    return past


def expected(history: History) -> Expected | None:
    return past_of(history).expect(history.program, history.arguments)


def errors(history: History, estimator: Estimator) -> tuple[float, float]:
    """The median absolute error over the second half of a run, where something is said.

    Returns:
        as a part of the seconds that the whole run takes, and of those that are left.
    """
    second_half = [
        (left, abs(said - left))
        for left, said in history.replay(estimator)
        if left <= history.end / 2 and said is not None
    ]
    assert len(second_half) >= MOMENTS // 2 - 1, "it said nothing"
    return (
        median(error for _, error in second_half) / history.end,
        median(error / left for left, error in second_half),
    )
