"""What is left of a job that runs: from its own progress, and from how long such jobs took.

Rules:

- **Own pace.** What was done lately counts more: a step of progress counts by the time at which it
  was made, since the job began. So the pace is a mean over the whole run in which a slow start soon
  counts for nothing, and so does what was there at once (the part of a download that is resumed),
  while a burst or a stall moves it by its part of the run. The only sum that is kept is that of
  steps times their times; no window, and nothing that depends on how often is reported.
- **Silence.** As long as nothing comes for no longer than usual, what is left passes with the time.
  From then on it is a stall, and grows. Time during which the job is paused does not count.
- **Both together.** What the job's own progress says and what the past says are weighted by what
  each may be wrong by: the first by a part of itself that is less the further the job is; the
  second by the spread of the past, and by how much longer the job runs already than was expected.
- **The past alone** is the time that is expected less the time that has passed, and somewhat more
  where that comes near to nothing. At twice the time that was expected it says nothing any more.
- **No leaps.** An answer differs from the one before by what has passed, by the progress made, and
  by two fifths of it for each second between them at most. It is never negative.
- With neither a past nor any progress, nothing is known: None, rather than a number.

Times are in seconds, by any clock, which may be set back: then no time passes until it is where it
was. Nothing here costs more for a job that runs long, or that reports often.
"""

from __future__ import annotations

from math import exp, inf, log1p, sqrt

import msgspec

from aptask.scheduling.past import Expected

SETTLED = 1.0
"""Seconds after which a job's own progress says anything."""
DOUBT = 0.2
"""What a job's own progress may be wrong by at its end, as a part of what is left; at a quarter of
the way it is twice as much."""
FORGOTTEN = 0.9
"""What each report leaves of the longest silence that was usual before it."""
SWAY = 1.4
"""By what an answer may be more or less than the one before, for each second between them."""
LONGEST = 1e9
"""Seconds; what would take longer is as good as not known."""

_LONG_AGO = 60.0
"""Seconds after which the answer before is nothing to go by."""


class Estimate(msgspec.Struct, gc=False):
    """What is left of one attempt.

    Attributes:
        started: when it began, in seconds; later by the time that it was paused.
        expected: how long it was expected to take when it began, None: not known.
        fraction: how much of it is done.
        paused: since when it is paused, None: it runs.
    """

    started: float
    expected: Expected | None = None
    fraction: float = 0.0
    paused: float | None = None
    _at: float = 0.0
    """how long it had run at the last progress"""
    _moment: float = 0.0
    """the sum of all steps of progress times how long it had run in the middle of each"""
    _silence: float = 0.0
    """how long it says nothing, usually"""
    _least: float = 0.0
    _most: float = inf
    """between what the next answer is, because of the one before"""
    _since: float = 0.0
    """how long it had run when these held"""

    def update(self, now: float, fraction: float) -> None:
        """Take note of progress.

        Of a job that a daemon before this one began, its first progress is all that was made since
        it started.

        Args:
            now: seconds.
            fraction: how much is done; what is not more than before is no progress.
        """
        fraction = min(fraction, 1.0)
        if not fraction > self.fraction:
            return
        elapsed = self.elapsed(now)
        self._pass(elapsed)
        # What there is to do is less at once, by a part that may have been foreseen: no leap.
        self._least *= (1 - fraction) / (1 - self.fraction)
        self._moment += (fraction - self.fraction) * (elapsed + self._at) / 2
        self._silence = max(elapsed - self._at, FORGOTTEN * self._silence)
        self._at = elapsed
        self.fraction = fraction

    def pause(self, now: float) -> None:
        """The job runs no more until it is resumed; what is left of it stays as it is."""
        if self.paused is None:
            self.paused = now

    def resume(self, now: float) -> None:
        """The job runs again, if it was paused."""
        if self.paused is not None:
            self.started += max(0.0, now - self.paused)
            self.paused = None

    def elapsed(self, now: float) -> float:
        """How many seconds it has run, without the time that it was paused."""
        until = now if self.paused is None else self.paused
        return max(until - self.started, self._since)

    def left(self, now: float) -> float | None:
        """How many seconds are left, by what is known and by what was answered before.

        Args:
            now: seconds.

        Returns:
            seconds from 0; None where there is nothing to go by.
        """
        elapsed = self.elapsed(now)
        left = self._blend(elapsed)
        self._pass(elapsed)
        if left is not None:
            left = min(max(left, self._least), self._most)
        if left is None or left > LONGEST:
            self._least, self._most = 0.0, inf
            return None
        self._least = self._most = left
        return left

    def _pass(self, elapsed: float) -> None:
        """Let the next answer differ more from the one before, by the time that has passed."""
        passed = elapsed - self._since
        sway = SWAY ** min(passed, _LONG_AGO)
        self._least = max(0.0, self._least - passed) / sway
        self._most = self._most * sway + passed / 2
        self._since = elapsed

    def _blend(self, elapsed: float) -> float | None:
        """What is left by own progress and the past, each as far as it is known."""
        own = self._by_progress(elapsed)
        if self.expected is None:
            return own
        seconds, spread = self.expected.seconds, self.expected.seconds * self.expected.spread
        over = max(0.0, elapsed - seconds)
        if over >= seconds:
            return own
        past = _rest(seconds - elapsed, spread / 2)
        if own is None:
            return past
        by_own = own * DOUBT / sqrt(self.fraction)
        by_past = (spread + over) / (1 - over / seconds)
        weight = 1 / (1 + (by_own / by_past) ** 2)
        return weight * own + (1 - weight) * past

    def _by_progress(self, elapsed: float) -> float | None:
        """What is left by own progress alone; None where there is none that counts."""
        if elapsed < SETTLED or not self._moment:
            return None
        to_do = (1 - self.fraction) / (2 * self._moment)
        # Half of what is left passes in silence at most, so that it does not come to nothing.
        silence = min(elapsed - self._at, self._silence, to_do * self._at**2 / 2)
        left = to_do * (elapsed - silence) ** 2 - silence
        return left if left <= LONGEST else None


def _rest(seconds: float, width: float) -> float:
    """About `seconds`, but never below 0: falls more slowly within about `width` of it."""
    return max(seconds, 0.0) + width * log1p(exp(-abs(seconds) / width))
