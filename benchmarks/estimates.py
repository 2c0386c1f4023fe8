"""How far off it is what is said to be left of a job, on the recorded histories of real runs.

    python benchmarks/estimates.py

For each run it prints the median absolute error over its second half, in percent of the whole run,
and behind it of what was left: of elapsed * (1 - f) / f, of a mean of the speed as tqdm takes it,
and of aptask, without a past and with that of the other three runs of the program. Where one of
these had the same arguments, the last column is of one that goes by it; it is marked so.
`tests/record_histories.py` records them anew.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import mean

sys.path.insert(0, str(Path(__file__).parent.parent))

from aptask.scheduling.estimate import Estimate
from tests.scheduling.histories import HISTORIES, Estimator, errors, expected, past_of


class Simple:
    """As if the rest went as all before it."""

    fraction = 0.0

    def update(self, now: float, fraction: float) -> None:
        self.fraction = fraction

    def left(self, now: float) -> float | None:
        return now * (1 - self.fraction) / self.fraction if self.fraction else None


class Moving:
    """As tqdm does: means of steps and of their times, in which the newest counts 0.3."""

    at = fraction = step = time = 0.0

    def update(self, now: float, fraction: float) -> None:
        if fraction > self.fraction:
            self.step += 0.3 * (fraction - self.fraction - self.step)
            self.time += 0.3 * (now - self.at - self.time)
            self.at, self.fraction = now, fraction

    def left(self, now: float) -> float | None:
        return (1 - self.fraction) * self.time / self.step if self.step else None


def main() -> None:
    """Prints the table."""
    columns = ["elapsed", "tqdm", "aptask", "with a past"]
    print(f"{'':22}{'seconds':>8}", *(f"{column:>15}" for column in columns))
    rows = []
    for history in HISTORIES:
        estimators: list[Estimator] = [
            Simple(),
            Moving(),
            Estimate(0.0),
            Estimate(0.0, expected(history)),
        ]
        row = [errors(history, estimator) for estimator in estimators]
        rows.append(row)
        by_name = past_of(history).expect(history.program, b"")
        mark = "" if expected(history) == by_name else " same arguments"
        cells = [f"{100 * whole:8.1f}{100 * left:7.1f}" for whole, left in row]
        print(f"{history.name:22}{history.end:8.1f}", *cells, mark)
    means = [
        [mean(errors) for errors in zip(*column, strict=True)] for column in zip(*rows, strict=True)
    ]
    print(f"{'mean':30}", *(f"{100 * whole:8.1f}{100 * left:7.1f}" for whole, left in means))


if __name__ == "__main__":
    main()
