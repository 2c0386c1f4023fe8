"""The store without a disk: it keeps its promises for as long as the daemon lives, no longer."""

from __future__ import annotations

from itertools import islice

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from aptask.interfaces import IStore
from aptask.model.job import Job, State

PRUNED_AT_ONCE = 500
"""How many jobs one call of `prune` forgets at most, so that none takes long."""


@implementer(IStore)
class MemoryStore:
    """Jobs in two dictionaries: those that have not ended, and those that have, in that order."""

    def __init__(self) -> None:
        self._open: dict[int, Job] = {}
        self._ended: dict[int, Job] = {}
        self._last = 0

    def add(self, job: Job) -> Deferred[None]:
        """Enter a new job; see `IStore`."""
        self._open[job.id] = job
        self._last = max(self._last, job.id)
        return succeed(None)

    def update(self, job: Job) -> Deferred[None]:
        """Enter what a job has become; see `IStore`."""
        if job.state is State.ENDED and self._open.pop(job.id, None) is not None:
            self._ended[job.id] = job
        return succeed(None)

    def get(self, number: int) -> Deferred[Job | None]:
        """The ended job of this number; see `IStore`."""
        return succeed(self._ended.get(number))

    def load(self) -> Deferred[tuple[list[Job], int]]:
        """The jobs that have not ended, and the next number; see `IStore`."""
        return succeed((list(self._open.values()), self._last + 1))

    def prune(self, before: float, most: int) -> Deferred[list[int]]:
        """Forget old jobs; see `IStore`."""
        surplus = max(0, len(self._ended) - most)
        pruned = [
            job.id
            for place, job in enumerate(islice(self._ended.values(), PRUNED_AT_ONCE))
            if place < surplus or (job.ended or 0.0) < before
        ]
        for number in pruned:
            del self._ended[number]
        return succeed(pruned)
