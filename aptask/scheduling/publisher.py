"""Live updates: who wants to know of a job hears of each of its changes.

A subscriber that fails is logged and dropped; it costs the others nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from aptask.model.job import Job

Subscriber = Callable[[Job], None]


class Publisher:
    """The subscribers of each job, by its number."""

    _log = Logger()

    def __init__(self) -> None:
        self._subscribers: dict[int, list[Subscriber]] = {}

    def subscribe(self, job: int, subscriber: Subscriber) -> Callable[[], None]:
        """Hear of a job's changes from now on.

        Args:
            job: its number.
            subscriber: called with the job after each change, its end being the last.

        Returns:
            what to call to hear no more; calling it again does nothing.
        """
        self._subscribers.setdefault(job, []).append(subscriber)

        return lambda: self._drop(job, subscriber)

    def publish(self, job: Job) -> None:
        """Tell a job's subscribers that it has changed."""
        for subscriber in tuple(self._subscribers.get(job.id, ())):
            try:
                subscriber(job)
            except Exception:
                self._log.failure("a subscriber of job {job} failed", job=job.id)
                self._drop(job.id, subscriber)

    def _drop(self, job: int, subscriber: Subscriber) -> None:
        subscribers = self._subscribers.get(job, [])
        if subscriber in subscribers:
            subscribers.remove(subscriber)
        if not subscribers:
            self._subscribers.pop(job, None)
