"""The store without a disk: it keeps its promises for as long as the daemon lives, no longer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from heapq import nsmallest

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from aptask.errors import Conflict
from aptask.interfaces import IStore
from aptask.model.event import NOBODY, Author, Event, Level, Logged
from aptask.model.group import GroupSetting
from aptask.model.history import LISTED_BYTES, Wanted
from aptask.model.job import Added, Counts, Job, State, Waiting
from aptask.model.key import Key
from aptask.storage import log, rows

PRUNED_AT_ONCE = 500
"""How many jobs one call of `prune` forgets at most, so that none takes long."""

_Key = tuple[str, str]
"""An owner and what was given as `once` or `unique`."""
_Keys = dict[_Key, list[int]]


@implementer(IStore)
class MemoryStore:
    """Jobs by their numbers; those that have ended are kept apart.

    Args:
        clock: the time, in seconds since the epoch, as events are stamped with it; by default it
            stands still.

    Attributes:
        logged: see `IStore`.
    """

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self.logged = 0
        self._clock = clock
        self._events: list[Logged] = []
        self._admitted: dict[str, Key] = {}
        self._groups: dict[str, GroupSetting] = {}
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
        self, job: Job, *, once: str | None = None, unique: str | None = None, peer: str = ""
    ) -> Deferred[Added]:
        """Enter a new job; see `IStore`."""
        rows.check_fresh(job)
        if once is not None or unique is not None:
            return succeed(self._enter([job], once, unique, peer)[0])
        return succeed(Added(self._enter_one(job, peer)))

    def add_all(
        self,
        jobs: Sequence[Job],
        *,
        once: str | None = None,
        unique: str | None = None,
        peer: str = "",
    ) -> Deferred[list[Added]]:
        """Enter several new jobs, all or none; see `IStore`."""
        for job in jobs:
            rows.check_fresh(job)
        return succeed(self._enter(jobs, once, unique, peer) if jobs else [])

    def existing(self, owner: str, once: str | None, unique: str | None) -> Deferred[list[Added]]:
        """What has one of these keys; see `IStore`."""
        return succeed([Added(number, existing=True) for number in self._same(owner, once, unique)])

    def update(
        self, job: Job, *, applied: tuple[str, int] | None = None, by: Author = NOBODY
    ) -> Deferred[None]:
        """Enter what has become of a job; see `IStore`."""
        if applied is not None:
            self._applied = applied
        before = self._queued.pop(job.id, None) or self._launched.pop(job.id, None)
        if before is not None:
            became = copy(job)
            became.secrets = None if job.state is State.ENDED else before.secrets
            self._book_of(job.state)[job.id] = became
            if job.state is not before.state:
                self._tell(Level.TASKING, *log.change(rows.course(job, by), job.task))
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

    def get_many(self, numbers: Sequence[int], *, listed: bool = False) -> Deferred[list[Job]]:
        """The jobs of these numbers; see `IStore`."""
        found = [job for job in map(self._find, numbers) if job is not None]
        return succeed(list(map(_listed, found)) if listed else found)

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
        oldest = nsmallest(PRUNED_AT_ONCE, self._ended.values(), _place)
        pruned = [
            job.id
            for place, job in enumerate(oldest)
            if place < surplus or (job.ended or 0.0) < before
        ]
        for number in pruned:
            del self._ended[number]
            once, unique = self._keys.pop(number, (None, None))
            self._forget_key(self._once, once, number)
            self._forget_key(self._unique, unique, number)
        return succeed(pruned)

    def history(self, wanted: Wanted, limit: int) -> Deferred[list[Job]]:
        """A page of ended jobs; see `IStore`."""

        def is_wanted(job: Job) -> bool:
            ended, _ = _place(job)
            before = wanted.before
            return (
                wanted.owner in (None, job.owner)
                and wanted.task in (None, job.task)
                and wanted.status in (None, job.status)
                and (wanted.since is None or ended >= rows.micros(wanted.since))
                and (wanted.until is None or ended < rows.micros(wanted.until))
                and (before is None or _place(job) < (rows.micros(before[0]), before[1]))
            )

        found = sorted(filter(is_wanted, self._ended.values()), key=_place, reverse=True)
        return succeed([_listed(job) for job in found[:limit]])

    def log(self, events: Sequence[Event]) -> Deferred[None]:
        """Enter events; see `IStore`."""
        for event in events:
            author = event.author
            self._tell(event.level, *log.fit(author.user, author.peer, event.message))
        return succeed(None)

    def read_log(
        self, after: int | None, limit: int, level: Level | None
    ) -> Deferred[list[Logged]]:
        """Events in the order of their numbers; see `IStore`."""
        found = [one for one in self._events if level in (None, one.event.level)]
        if after is None:
            return succeed(found[-limit:])
        return succeed([one for one in found if one.number > after][:limit])

    def prune_log(self, before: float, most: int) -> Deferred[int]:
        """Forget old events; see `IStore`."""
        surplus = len(self._events) - most
        forgotten = 0
        for logged in self._events[: log.PRUNED_AT_ONCE]:
            if forgotten >= surplus and logged.time >= before:
                break
            forgotten += 1
        del self._events[:forgotten]
        return succeed(forgotten)

    def keys(self) -> Deferred[list[Key]]:
        """The keys that were made; see `IStore`."""
        return succeed([self._admitted[name] for name in sorted(self._admitted)])

    def add_key(self, key: Key, events: Sequence[Event] = ()) -> Deferred[None]:
        """Enter a key; see `IStore`."""
        if key.name in self._admitted:
            return fail(Conflict(f"there is a key of the name `{key.name}` already"))
        self._admitted[key.name] = key
        return self.log(events)

    def remove_key(self, name: str, events: Sequence[Event] = ()) -> Deferred[bool]:
        """Forget a key; see `IStore`."""
        if self._admitted.pop(name, None) is None:
            return succeed(False)
        self.log(events)
        return succeed(True)

    def groups(self) -> Deferred[Mapping[str, GroupSetting]]:
        """What was set for groups; see `IStore`."""
        return succeed(dict(self._groups))

    def set_group(
        self, name: str, setting: GroupSetting, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        """Enter what is set for a group; see `IStore`."""
        self._groups[name] = setting
        return self.log(events)

    def size(self) -> Deferred[int]:
        """Nothing; see `IStore`."""
        return succeed(0)

    def _enter(
        self, jobs: Sequence[Job], once: str | None, unique: str | None, peer: str
    ) -> list[Added]:
        owner = jobs[0].owner
        same = self._same(owner, once, unique)
        if same:
            return [Added(number, existing=True) for number in same]
        numbers = [self._enter_one(job, peer) for job in jobs]
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

    def _enter_one(self, job: Job, peer: str) -> int:
        self._last += 1
        entered = copy(job)
        entered.id = self._last
        self._book_of(job.state)[self._last] = entered
        told = log.entered(self._last, job.owner, peer, job.task, job.state)
        self._tell(Level.TASKING, *told)
        return self._last

    def _tell(self, level: Level, user: str, peer: str, message: str) -> None:
        self.logged += 1
        event = Event(level, message, Author(user, peer))
        self._events.append(Logged(self.logged, self._clock(), event))

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


def _listed(job: Job) -> Job:
    """A job without what a list does not show."""
    shown = copy(job)
    shown.arguments = job.arguments[: LISTED_BYTES + 1]
    shown.result = None if job.result is None else job.result[: LISTED_BYTES + 1]
    return shown


def _place(job: Job) -> tuple[int, int]:
    """Where a job that has ended stands in the history."""
    return rows.micros(job.ended or 0.0), job.id
