"""Live updates: who wants to know of a job, or of all jobs, hears of each change.

Rules:

- A subscriber that fails is logged and dropped; it costs the others nothing.
- Where a job has many subscribers they are told a few at a time, in the order of its changes, and
  others have their turn in between.
- A job without subscribers costs two look-ups.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import copy

from twisted.logger import Logger

from aptask.model.job import Job

TOLD_AT_ONCE = 100
"""How many subscribers are told in one go, before others have their turn."""

Subscriber = Callable[[Job], None]


def _now(call: Callable[[], None]) -> None:
    call()


class Publisher:
    """The subscribers of each job, by its number, and those of all jobs.

    Args:
        later: has something called when others have had their turn; by default there are none.
    """

    _log = Logger()

    def __init__(self, later: Callable[[Callable[[], None]], object] = _now) -> None:
        self._later = later
        self._subscribers: dict[int | None, dict[object, Subscriber]] = {}
        self._untold: deque[tuple[Job, int | None, deque[object]]] = deque()

    def subscribe(self, job: int | None, subscriber: Subscriber) -> Callable[[], None]:
        """Hear of a job's changes from now on.

        Args:
            job: its number; None: of all jobs, new ones as well.
            subscriber: called with the job after each change, its end being the last.

        Returns:
            what to call to hear no more; calling it again does nothing.
        """
        token = object()
        self._subscribers.setdefault(job, {})[token] = subscriber

        return lambda: self._drop(job, token)

    def publish(self, job: Job) -> None:
        """Tell the subscribers that a job has changed, or is new."""
        for key in (job.id, None):
            subscribers = self._subscribers.get(key)
            if subscribers is None:
                continue
            if self._untold or len(subscribers) > TOLD_AT_ONCE:
                # As it is now: by then it may be what is not in the book yet.
                self._untold.append((copy(job), key, deque(subscribers)))
                if len(self._untold) == 1:
                    self._later(self._tell_some)
            else:
                for token in tuple(subscribers):
                    self._tell(job, key, token)

    def _tell_some(self) -> None:
        left = TOLD_AT_ONCE
        while left and self._untold:
            job, key, tokens = self._untold[0]
            while left and tokens:
                self._tell(job, key, tokens.popleft())
                left -= 1
            if not tokens:
                self._untold.popleft()
        if self._untold:
            self._later(self._tell_some)

    def _tell(self, job: Job, key: int | None, token: object) -> None:
        subscriber = self._subscribers.get(key, {}).get(token)
        if subscriber is None:
            return  # it was dropped meanwhile
        try:
            subscriber(job)
        except Exception:
            self._log.failure("a subscriber of job {job} failed", job=job.id)
            self._drop(key, token)

    def _drop(self, key: int | None, token: object) -> None:
        subscribers = self._subscribers.get(key)
        if subscribers is not None:
            subscribers.pop(token, None)
            if not subscribers:
                del self._subscribers[key]
