"""The store without a disk: it keeps its promises for as long as the daemon lives, no longer."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from itertools import islice

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from aptask.interfaces import IStore
from aptask.model.job import Added, Counts, Job, State, Waiting
from aptask.storage import rows

PRUNED_AT_ONCE = 500
"""How many jobs one call of `prune` forgets at most, so that none takes long."""

_Key = tuple[str, str]
"""An owner and what was given as `once` or `unique`."""
_Keys = dict[_Key, list[int]]


@implementer(IStore)
class MemoryStore:
    """Jobs by their numbers; those that have ended are kept apart, in the order of their ends."""

    def __init__(self) -> None:
        self._queued: dict[int, Job] = {}
        self._launched: dict[int, Job] = {}
        self._ended: dict[int, Job] = {}
        self._once: _Keys = {}
        self._unique: _Keys = {}
        self._keys: dict[int, tuple[_Key | None, _Key | None]] = {}
        self._last = 0
        self._applied: tuple[str, int] | None = None

    def open(self) -> Deferred[None]:
        """Nothing to be done; see `IStore`."""
        return succeed(None)

    def close(self) -> Deferred[None]:
        """Nothing to be done; see `IStore`."""
        return succeed(None)

    def add(
        self, job: Job, *, once: str | None = None, unique: str | None = None
    ) -> Deferred[Added]:
        """Enter a new job; see `IStore`."""
        rows.check_fresh(job)
        if once is not None or unique is not None:
            return succeed(self._enter([job], once, unique)[0])
        return succeed(Added(self._enter_one(job)))

    def add_all(
        self, jobs: Sequence[Job], *, once: str | None = None, unique: str | None = None
    ) -> Deferred[list[Added]]:
        """Enter several new jobs, all or none; see `IStore`."""
        for job in jobs:
            rows.check_fresh(job)
        return succeed(self._enter(jobs, once, unique) if jobs else [])

    def existing(self, owner: str, once: str | None, unique: str | None) -> Deferred[list[Added]]:
        """What has one of these keys; see `IStore`."""
        return succeed([Added(number, existing=True) for number in self._same(owner, once, unique)])

    def update(self, job: Job, *, applied: tuple[str, int] | None = None) -> Deferred[None]:
        """Enter what has become of a job; see `IStore`."""
        if applied is not None:
            self._applied = applied
        before = self._queued.pop(job.id, None) or self._launched.pop(job.id, None)
        if before is not None:
            became = copy(job)
            became.secrets = None if job.state is State.ENDED else before.secrets
            self._book_of(job.state)[job.id] = became
        return succeed(None)

    def apply(self, instance: str, number: int) -> Deferred[None]:
        """Enter which events are applied; see `IStore`."""
        self._applied = instance, number
        return succeed(None)

    def applied(self) -> Deferred[tuple[str, int] | None]:
        """The last event that was applied; see `IStore`."""
        return succeed(self._applied)

    def get(self, number: int) -> Deferred[Job | None]:
        """The job of this number; see `IStore`."""
        return succeed(self._find(number))

    def get_many(self, numbers: Sequence[int]) -> Deferred[list[Job]]:
        """The jobs of these numbers; see `IStore`."""
        found = map(self._find, numbers)
        return succeed([job for job in found if job is not None])

    def waiting(self, after: int, limit: int) -> Deferred[list[Waiting]]:
        """A step of those that wait; see `IStore`."""
        numbers = sorted(number for number in self._queued if number > after)[:limit]
        step = (self._queued[number] for number in numbers)
        return succeed([Waiting(job.id, job.owner, job.task) for job in step])

    def unfinished(self) -> Deferred[list[Job]]:
        """Those that were launched and have not ended; see `IStore`."""
        return succeed([copy(self._launched[number]) for number in sorted(self._launched)])

    def counts(self) -> Deferred[Counts]:
        """How many jobs there are; see `IStore`."""
        return succeed(
            Counts(len(self._queued), len(self._launched), len(self._ended), self._last + 1)
        )

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
            once, unique = self._keys.pop(number, (None, None))
            self._forget_key(self._once, once, number)
            self._forget_key(self._unique, unique, number)
        return succeed(pruned)

    def size(self) -> Deferred[int]:
        """Nothing; see `IStore`."""
        return succeed(0)

    def _enter(self, jobs: Sequence[Job], once: str | None, unique: str | None) -> list[Added]:
        owner = jobs[0].owner
        same = self._same(owner, once, unique)
        if same:
            return [Added(number, existing=True) for number in same]
        numbers = [self._enter_one(job) for job in jobs]
        if once is not None:
            self._once[owner, once] = numbers
        if unique is not None:
            self._unique[owner, unique] = list(numbers)
        if once is not None or unique is not None:
            keys = (
                None if once is None else (owner, once),
                None if unique is None else (owner, unique),
            )
            self._keys.update(dict.fromkeys(numbers, keys))
        return [Added(number) for number in numbers]

    def _same(self, owner: str, once: str | None, unique: str | None) -> list[int]:
        same = [] if once is None else self._once.get((owner, once), [])
        if not same and unique is not None:
            same = self._unique.get((owner, unique), [])
            if all(number in self._ended for number in same):
                return []
        return same

    def _enter_one(self, job: Job) -> int:
        self._last += 1
        entered = copy(job)
        entered.id = self._last
        self._book_of(job.state)[self._last] = entered
        return self._last

    def _forget_key(self, keys: _Keys, key: _Key | None, number: int) -> None:
        if key is not None and number in (numbers := keys.get(key, [])):
            numbers.remove(number)
            if not numbers:
                del keys[key]

    def _book_of(self, state: State) -> dict[int, Job]:
        if state is State.QUEUED:
            return self._queued
        return self._ended if state is State.ENDED else self._launched

    def _find(self, number: int) -> Job | None:
        for book in (self._queued, self._launched, self._ended):
            if number in book:
                return copy(book[number])
        return None
