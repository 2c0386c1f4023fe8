"""The durable store: jobs in an SQLite database in the data folder.

Rules:

- A Deferred fires when what it stands for is on disk: it survives power loss from then on.
- Everything that is asked for goes through one queue and one thread (`writer`), so what is read has
  seen all that was asked for before.
- A job is turned into what will be written before the method returns: what its owner does to it
  afterwards is another change.
- An update is never lost while the daemon lives; a new job is refused at once where it cannot be
  kept.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from aptask.errors import Unavailable
from aptask.interfaces import IStore
from aptask.model.event import NOBODY, Author, Event, Level, Logged
from aptask.model.group import GroupSetting
from aptask.model.history import Wanted
from aptask.model.job import Added, Counts, Job, Waiting
from aptask.model.key import Key
from aptask.storage import rows
from aptask.storage.book import Book
from aptask.storage.database import Connect, bytes_on_disk
from aptask.storage.transactions import Operation
from aptask.storage.writer import Writer

DATABASE = "aptask.db"
"""The name of the database in the data folder."""


@implementer(IStore)
class SQLiteStore:
    """The store of a data folder that this process holds.

    Args:
        path: of the database; made by `open` if nothing of one is there.
        call_in_reactor: runs a function in the reactor's thread: `reactor.callFromThread`.
        clock: the time, in seconds since the epoch, as events are stamped with it; is asked in the
            thread of the store.
        how: `sqlite3.connect`, or what a test puts in its place.
        soon: runs a function at the end of the reactor's present turn, so that what is asked for in
            one turn is one transaction; by default there is no waiting for that.
    """

    def __init__(
        self,
        path: Path,
        call_in_reactor: Callable[..., Any],
        clock: Callable[[], float],
        how: Connect = sqlite3.connect,
        soon: Callable[[Callable[[], object]], object] = lambda call: call(),
    ) -> None:
        self._path = path
        self._writer = Writer(path, call_in_reactor, clock, soon, how)
        self._ask = self._writer.ask
        self._open = False

    @property
    def logged(self) -> int:
        """The number of the last event; see `IStore`."""
        return self._writer.logged

    def open(self) -> Deferred[None]:
        """Check the database and open it; see `IStore`."""
        opened: Deferred[None] = Deferred()
        self._open = True
        self._writer.start(opened)
        return opened

    def close(self) -> Deferred[None]:
        """Finish, and let the database go; see `IStore`."""
        if not self._open:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._open = False
        self._writer.stop(closed)
        return closed

    def add(
        self, job: Job, *, once: str | None = None, unique: str | None = None, peer: str = ""
    ) -> Deferred[Added]:
        """Enter a new job; see `IStore`."""
        entry = rows.entry(job, once, unique, 0, peer)
        if once is unique is None:
            if not self._open:
                return _closed()
            deferred: Deferred[Added] = Deferred()
            self._ask(Operation(deferred, None, writes=True, entry=entry))
            return deferred
        return self._write(lambda book: book.enter_keyed((entry,), once, unique)[0])

    def add_all(
        self,
        jobs: Sequence[Job],
        *,
        once: str | None = None,
        unique: str | None = None,
        peer: str = "",
    ) -> Deferred[list[Added]]:
        """Enter several new jobs, all or none; see `IStore`."""
        entries = [rows.entry(job, once, unique, place, peer) for place, job in enumerate(jobs)]
        if not entries:
            return succeed([])
        return self._write(lambda book: book.enter_keyed(entries, once, unique))

    def existing(self, owner: str, once: str | None, unique: str | None) -> Deferred[list[Added]]:
        """What has one of these keys; see `IStore`."""
        return self._read(lambda book: book.existing(owner, once, unique))

    def update(
        self, job: Job, *, applied: tuple[str, int] | None = None, by: Author = NOBODY
    ) -> Deferred[None]:
        """Enter what has become of a job; see `IStore`."""
        return self._keep(rows.course(job, by), applied)

    def apply(self, instance: str, number: int) -> Deferred[None]:
        """Enter which events are applied; see `IStore`."""
        return self._keep(None, (instance, number))

    def applied(self) -> Deferred[tuple[str, int] | None]:
        """The last event that was applied; see `IStore`."""
        return self._read(Book.applied)

    def get(self, number: int) -> Deferred[Job | None]:
        """The job of this number; see `IStore`."""
        return self._read(lambda book: book.get(number))

    def get_many(self, numbers: Sequence[int], *, listed: bool = False) -> Deferred[list[Job]]:
        """The jobs of these numbers; see `IStore`."""
        wanted = tuple(numbers)
        return self._read(lambda book: book.get_many(wanted, listed))

    def waiting(self, after: int, limit: int) -> Deferred[list[Waiting]]:
        """A step of those that wait; see `IStore`."""
        return self._read(lambda book: book.waiting(after, limit))

    def unfinished(self) -> Deferred[list[Job]]:
        """Those that were launched and have not ended; see `IStore`."""
        return self._read(Book.unfinished)

    def counts(self) -> Deferred[Counts]:
        """How many jobs there are; see `IStore`."""
        return self._read(Book.counts)

    def prune(self, before: float, most: int) -> Deferred[list[int]]:
        """Forget old jobs; see `IStore`."""
        return self._write(lambda book: book.prune(before, most))

    def history(self, wanted: Wanted, limit: int) -> Deferred[list[Job]]:
        """A page of ended jobs; see `IStore`."""
        return self._read(lambda book: book.history(wanted, limit))

    def log(self, events: Sequence[Event]) -> Deferred[None]:
        """Enter events; see `IStore`."""
        if not self._open:
            return _closed()
        deferred: Deferred[None] = Deferred()
        self._ask(Operation(deferred, None, writes=True, events=tuple(events)))
        return deferred

    def read_log(
        self, after: int | None, limit: int, level: Level | None
    ) -> Deferred[list[Logged]]:
        """Events in the order of their numbers; see `IStore`."""
        return self._read(lambda book: book.read_log(after, limit, level))

    def prune_log(self, before: float, most: int) -> Deferred[int]:
        """Forget old events; see `IStore`."""
        return self._write(lambda book: book.prune_log(before, most))

    def keys(self) -> Deferred[list[Key]]:
        """The keys that were made; see `IStore`."""
        return self._read(Book.keys)

    def add_key(self, key: Key, events: Sequence[Event] = ()) -> Deferred[None]:
        """Enter a key; see `IStore`."""
        return self._write(lambda book: book.add_key(key, tuple(events)))

    def remove_key(self, name: str, events: Sequence[Event] = ()) -> Deferred[bool]:
        """Forget a key; see `IStore`."""
        return self._write(lambda book: book.remove_key(name, tuple(events)))

    def groups(self) -> Deferred[Mapping[str, GroupSetting]]:
        """What was set for groups; see `IStore`."""
        return self._read(Book.groups)

    def set_group(
        self, name: str, setting: GroupSetting, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        """Enter what is set for a group; see `IStore`."""
        return self._write(lambda book: book.set_group(name, setting, tuple(events)))

    def size(self) -> Deferred[int]:
        """The bytes on disk; see `IStore`."""
        return succeed(bytes_on_disk(self._path))

    def _keep(self, course: rows.Course | None, applied: tuple[str, int] | None) -> Deferred[None]:
        if not self._open:
            return _closed()
        deferred: Deferred[None] = Deferred()
        operation = Operation(
            deferred, None, writes=True, kept=True, course=course, applied=applied
        )
        self._ask(operation)
        return deferred

    def _write(self, run: Callable[[Book], Any]) -> Deferred[Any]:
        if not self._open:
            return _closed()
        deferred: Deferred[Any] = Deferred()
        self._ask(Operation(deferred, run, writes=True))
        return deferred

    def _read(self, run: Callable[[Book], Any]) -> Deferred[Any]:
        if not self._open:
            return _closed()
        deferred: Deferred[Any] = Deferred()
        self._ask(Operation(deferred, run))
        return deferred


def _closed() -> Deferred[Any]:
    return fail(Unavailable("the store is closed"))
