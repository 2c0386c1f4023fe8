"""How often what is watched is told.

Rules:

- A feed is told at once, and then at most `TOLD_A_SECOND` times a second, with one more in between:
  with the response that a watcher begins with, no job is told of more than ten times in a second.
- Telling may take a third of the time: where there are so many watchers that it takes longer, each
  feed is told less often, but once a second; where even that is too much, it takes half the time.
"""

from __future__ import annotations

from copy import copy
from math import inf

from aptask.model.job import Job, State
from aptask.serving.feeds import Aside, Feed

TOLD_A_SECOND = 7
"""How often a feed is told."""
SELDOM_SECONDS = 0.75
"""The longest that a feed waits so that telling takes no more than a third of the time."""


class PacedFeed(Feed):
    """A feed, and when it is told and looked at.

    Attributes:
        job: of the feed of one job, the job as it was told; None: it is not to be looked at.
        aside: what of it changes by itself, as it was told.
        earliest: when it may be told again, in seconds; infinite while it is told.
        told_bytes: how much each of its watchers is given that is told now.
        looked: when its jobs were looked at last, in seconds.
        look_at: when they are looked at next.
    """

    def __init__(self, key: int | str, newest: int) -> None:
        super().__init__(key, newest)
        self.job: Job | None = None
        self.aside: Aside | None = None
        self.earliest = -inf
        self.told_bytes = 0
        self.looked = self.look_at = -inf
        self._next = -inf
        self._began = 0.0

    def keep(self, job: Job, aside: Aside) -> None:
        """Keep the job as it was told, for the next look at it."""
        self.job = None if job.state is State.ENDED else copy(job)
        self.aside = aside

    def begin_telling(self, now: float) -> None:
        """It is told now."""
        self.told_bytes = self.tell()
        self._began = now
        self._next = max(self._next, now) + 1 / TOLD_A_SECOND
        self.earliest = inf

    def end_telling(self, now: float) -> None:
        """Everybody has been woken who waited."""
        took = now - self._began
        self.earliest = max(
            self._next - 1 / TOLD_A_SECOND,
            self._began + max(min(3 * took, SELDOM_SECONDS), 2 * took),
        )
