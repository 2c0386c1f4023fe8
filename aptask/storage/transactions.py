"""Operations on the book, done many in one transaction.

Rules:

- A transaction is done as a whole and is on disk, or nothing of it is, and then the reason is
  raised.
- An operation that fails by itself is undone by itself, and the others go on: the transaction is
  done again with a savepoint around each.
- A -wal that has filled the disk is emptied, and the transaction tried once more.
- A connection that cannot even roll back is given up, and opened anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from aptask.errors import AptaskError, ConfigurationError, Unavailable
from aptask.model.event import Event
from aptask.storage.book import Book
from aptask.storage.database import Connect, checkpoint, connect, open_first
from aptask.storage.examine import beside
from aptask.storage.mark import Mark
from aptask.storage.rows import Course, Entry

WAL_FRAMES = 1000
"""About how many pages are written to the -wal before they are carried over into the database."""
FRAMES_A_TRANSACTION = 4
OPERATIONS_A_FRAME = 8
FRAMES_AN_END = 4
"""About how many pages a transaction takes: rows that come together share them, but for those of
the indexes of what has ended.
"""


class Operation:
    """Something asked for.

    Args:
        deferred: fires with what came of it.
        run: does it; None where it is one of the four ordinary things that follow.
        writes: whether it needs a transaction.
        kept: whether it is tried until it is done.
        entry: a new job.
        course: what has become of one.
        applied: a runner's instance, and the number of its event that is applied.
        events: what is told.
    """

    __slots__ = ("applied", "course", "deferred", "entry", "events", "kept", "run", "writes")

    def __init__(
        self,
        deferred: Deferred[Any],
        run: Callable[[Book], Any] | None,
        *,
        writes: bool = False,
        kept: bool = False,
        entry: Entry | None = None,
        course: Course | None = None,
        applied: tuple[str, int] | None = None,
        events: Sequence[Event] = (),
    ) -> None:
        self.deferred = deferred
        self.run = run
        self.writes = writes
        self.kept = kept
        self.entry = entry
        self.course = course
        self.applied = applied
        self.events = events


class Work(NamedTuple):
    """New jobs, what has become of others, and what is told."""

    entries: list[Entry]
    courses: list[Course]
    events: list[Event]


Outcome = tuple[Deferred[Any], Any]
"""Whose, and what: an exception fails it."""


class Transactions:
    """An open database, in the thread that made this.

    Args:
        path: of the database.
        clock: the time, in seconds since the epoch.
        how: `sqlite3.connect`, or what a test puts in its place.

    Raises:
        ConfigurationError: it cannot be opened; see `database.prepare`.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        clock: Callable[[], float],
        how: Connect = sqlite3.connect,
    ) -> None:
        self._path = path
        self._how = how
        self._clock = clock
        self._frames = 0
        self._connection = open_first(path, how)
        try:
            self._book = Book(self._connection, self._clock)
            identity, commits = self._book.identity, self._book.totals.commits
            self._mark = Mark(beside(path, "-mark"), identity, commits)
        except (sqlite3.Error, OSError) as error:
            self._connection.close()
            raise ConfigurationError(f"the database {path} cannot be opened: {error}") from None

    def commit(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Do operations in one transaction.

        Returns:
            what came of each, in their order; all of it is on disk.

        Raises:
            Exception: why nothing of it was done.
        """
        try:
            return self._transaction(operations)
        except sqlite3.Error as error:
            if not self._makes_room() or not is_full(error):
                raise
            return self._transaction(operations)

    def read(self, operation: Operation) -> Outcome:
        """Do an operation that writes nothing: its failure is its own."""
        assert operation.run is not None
        try:
            if self._connection is None:
                self._reopen()
            return operation.deferred, operation.run(self._book)
        except Exception as error:
            if is_of_the_store(error):
                error = Unavailable(self.describe(error))
            return operation.deferred, error

    def describe(self, error: Exception) -> str:
        """Why something was not done, for people."""
        if isinstance(error, AptaskError):
            return error.message
        if is_full(error):
            return f"the disk is full: there is no room for more in {self._path.parent}"
        return f"the database {self._path} cannot be read or written: {error}"

    @property
    def logged(self) -> int:
        """The number of the last event that is on disk, between transactions."""
        return self._book.totals.next_event - 1

    @property
    def scrub(self) -> bool:
        """Whether the -wal may still hold secrets of ended jobs, or keys that are gone."""
        return self._connection is not None and self._book.scrub

    def empty_wal(self, scrub: bool) -> None:
        """Carry the -wal over where it is long, or where there are secrets in it that have to go.

        It keeps its length, where there are none: writing over what is there is half the work of
        making a file longer, for the disk and for a commit.
        """
        if self._connection is None:
            return
        if scrub:
            self._book.scrub = not checkpoint(self._connection)
        elif self._frames < WAL_FRAMES or not checkpoint(self._connection, "RESTART"):
            return
        self._frames = 0

    def close(self) -> None:
        """Close the database."""
        if self._connection is not None:
            checkpoint(self._connection)
            self._give_up()
        self._mark.close()

    # A transaction

    def _transaction(self, operations: Sequence[Operation]) -> list[Outcome]:
        if self._connection is None:
            self._reopen()
        ends = sum(one.course is not None and one.course.ended for one in operations)
        self._frames += FRAMES_A_TRANSACTION + FRAMES_AN_END * ends
        self._frames += len(operations) // OPERATIONS_A_FRAME
        book, execute = self._book, self._connection.execute
        snapshot = book.snapshot()
        if all(operation.run is None for operation in operations):
            work = _ordinary(operations)
            if book.is_all(work.entries, work.courses):
                try:
                    book.begin()
                    outcomes = self._work(operations, work)
                except Exception as error:
                    book.restore(snapshot)
                    if is_of_the_store(error):
                        self._roll_back()
                        raise
                else:
                    self._mark.write(book.totals.commits)
                    return outcomes
        try:
            execute("BEGIN IMMEDIATE")
            book.begin()
            try:
                outcomes = self._together(operations)
            except Exception as error:
                if is_of_the_store(error):
                    raise
                execute("ROLLBACK")
                book.restore(snapshot)
                execute("BEGIN IMMEDIATE")
                book.begin()
                outcomes = [self._apart(operation) for operation in operations]
            book.seal()
            execute("COMMIT")
        except BaseException:
            book.restore(snapshot)
            self._roll_back()
            raise
        self._mark.write(book.totals.commits)
        return outcomes

    def _together(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Do operations one after the other, ordinary ones that follow each other at once."""
        outcomes: list[Outcome] = []
        for is_ordinary, group in groupby(operations, lambda one: one.run is None):
            if is_ordinary:
                following = list(group)
                outcomes += self._work(following, _ordinary(following))
                continue
            for operation in group:
                if operation.writes:
                    assert operation.run is not None
                    outcomes.append((operation.deferred, operation.run(self._book)))
                else:
                    outcomes.append(self.read(operation))
        return outcomes

    def _work(self, operations: Sequence[Operation], work: Work) -> list[Outcome]:
        for operation in operations:
            if operation.applied is not None:
                self._book.apply(*operation.applied)
        added = iter(self._book.work(*work))
        return [
            (operation.deferred, None if operation.entry is None else next(added))
            for operation in operations
        ]

    def _apart(self, operation: Operation) -> Outcome:
        """Do an operation that is undone by itself where it fails by itself."""
        execute = self._connection.execute
        snapshot = self._book.snapshot()
        execute("SAVEPOINT operation")
        try:
            [outcome] = self._together([operation])
        except Exception as error:
            if is_of_the_store(error):
                raise
            execute("ROLLBACK TO operation")
            self._book.restore(snapshot)
            outcome = operation.deferred, error
        execute("RELEASE operation")
        return outcome

    # When it fails

    def _roll_back(self) -> None:
        """Leave no transaction open; give the connection up where that cannot be had."""
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._give_up()

    def _give_up(self) -> None:
        connection, self._connection = self._connection, None
        try:
            connection.close()
        except sqlite3.Error as error:
            self._log.error("the database could not be closed: {error}", error=error)

    def _makes_room(self) -> bool:
        """Empty the -wal after a failure: whether the disk has more room then.

        What a failed sync leaves in it must not count as committed at the next opening.
        """
        before = self._wal_size()
        return self._connection is not None and checkpoint(self._connection) and before > 0

    def _wal_size(self) -> int:
        try:
            return beside(self._path, "-wal").stat().st_size
        except OSError:
            return 0

    def _reopen(self) -> None:
        connection = connect(self._path, self._how)
        try:
            book = Book(connection, self._clock)
            before = self._book
            if (book.identity, book.totals.commits) != (before.identity, before.totals.commits):
                raise Unavailable(f"{self._path} was replaced or is damaged: restart the daemon")
        except BaseException:
            connection.close()
            raise
        self._connection, self._book = connection, book


def is_of_the_store(error: Exception) -> bool:
    """Whether an error is about the database as a whole, not about one operation."""
    if isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError | OSError):
        return True
    # Damage comes as this class itself; its other subclasses are about values.
    return type(error) is sqlite3.DatabaseError


def is_full(error: Exception) -> bool:
    """Whether an error says that the disk is full."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _ordinary(operations: Sequence[Operation]) -> Work:
    """What operations that are nothing else ask for."""
    return Work(
        [operation.entry for operation in operations if operation.entry is not None],
        [operation.course for operation in operations if operation.course is not None],
        [event for operation in operations for event in operation.events],
    )
