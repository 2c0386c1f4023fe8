"""The writer: the one thread that talks to the database, and commits for many at once.

Rules:

- What is asked for waits in a queue. The thread takes all that waits, at most `MOST_AT_ONCE`, into
  one transaction: one commit, one sync, and one call into the reactor's thread with everything that
  came of it. Deferreds fire there, in the order in which the operations were asked for.
- An operation that fails by itself is undone by itself, and the others go on: the transaction is
  done again with a savepoint around each.
- When the disk is full, or fails: nothing of the transaction is done. What was new fails at once,
  as `Unavailable`; what tells of something that has happened (`kept`) must not be lost: it stays,
  in its order and ahead of all that comes, and is tried again with each new transaction, and after
  a pause that grows to `LONGEST_PAUSE`. So the store goes on by itself when there is room again.
- A -wal that has filled the disk is emptied, and the transaction tried once more.
- A connection that cannot even roll back is given up, and opened anew.
- The -wal is emptied after the answers are on their way: when it has grown, and soon after a job
  with secrets has ended, so that they are not left in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from aptask.errors import AptaskError, ConfigurationError, Unavailable
from aptask.storage.book import Book
from aptask.storage.database import Connect, checkpoint, connect, open_first
from aptask.storage.examine import beside
from aptask.storage.mark import Mark
from aptask.storage.rows import Entry

MOST_AT_ONCE = 500
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds between two tries of what is kept."""
WAL_BYTES = 4 * 1024 * 1024
"""How large the -wal may grow before it is emptied, where nothing prevents that."""
SCRUB_SECONDS = 0.1
"""How long nothing must be asked for, before secrets are removed from the -wal, ..."""
GROUPS_BETWEEN_SCRUBS = 200
"""... or after how many transactions and readings, where something always is."""


class Operation:
    """Something asked for.

    Args:
        deferred: fires with what came of it.
        run: does it.
        writes: whether it needs a transaction.
        kept: whether it is tried until it is done.
        entry: a new job; in the place of `run`.
    """

    __slots__ = ("deferred", "entry", "kept", "run", "writes")

    def __init__(
        self,
        deferred: Deferred[Any],
        run: Callable[[Book], Any] | None,
        *,
        writes: bool = False,
        kept: bool = False,
        entry: Entry | None = None,
    ) -> None:
        self.deferred = deferred
        self.run = run
        self.writes = writes
        self.kept = kept
        self.entry = entry


Outcome = tuple[Deferred[Any], Any]
"""Whose, and what: an exception fails it."""


class Writer:
    """The thread, and the queue before it.

    Args:
        path: of the database.
        call_in_reactor: runs a function in the reactor's thread: `reactor.callFromThread`.
        how: `sqlite3.connect`, or what a test puts in its place.
    """

    _log = Logger()

    def __init__(
        self, path: Path, call_in_reactor: Callable[..., Any], how: Connect = sqlite3.connect
    ) -> None:
        self._path = path
        self._call_in_reactor = call_in_reactor
        self._how = how
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self.ask = self._queue.put
        self._thread = Thread(target=self._run, name="aptask store", daemon=True)
        self._connection: Any = None
        self._book: Book
        self._mark: Mark
        self._kept: list[Operation] = []
        self._pause: float | None = None
        self._failing = False
        self._groups = 0

    def start(self, opened: Deferred[None]) -> None:
        """Start the thread; `opened` fires once the database is open, or fails."""
        self._opened = opened
        self._thread.start()

    def stop(self, closed: Deferred[None]) -> None:
        """Do what was asked for so far, and end; `closed` fires when the database is closed."""
        self._closed = closed
        self.ask(None)

    # In the thread

    def _run(self) -> None:
        refusal = self._open()
        self._deliver([(self._opened, refusal)])
        last = False
        while not last:
            group, last = self._take()
            if refusal is not None:
                self._refuse(group, "the store is not open")
                continue
            if group or self._kept:
                self._commit(group)
            if self._connection is not None:
                self._empty_wal(idle=not group)
        if refusal is None:
            self._close()
        self._deliver([(self._closed, None)])

    def _open(self) -> Exception | None:
        try:
            self._connection = open_first(self._path, self._how)
            self._book = Book(self._connection)
            self._mark = Mark(beside(self._path, "-mark"), self._book.identity)
        except Exception as error:
            if self._connection is not None:
                self._connection.close()
            if isinstance(error, AptaskError):
                return error
            return ConfigurationError(f"the database {self._path} cannot be opened: {error}")
        self._mark.write(self._book.totals.commits)
        return None

    def _take(self) -> tuple[list[Operation], bool]:
        """What waits; nothing after a pause; and whether it is the last."""
        group: list[Operation] = []
        pause = self._pause
        if pause is None and self._connection is not None and self._book.scrub:
            pause = SCRUB_SECONDS
        try:
            operation = self._queue.get(timeout=pause)
            while operation is not None:
                group.append(operation)
                if len(group) == MOST_AT_ONCE:
                    return group, False
                operation = self._queue.get_nowait()
        except Empty:
            return group, False
        return group, True

    def _commit(self, group: list[Operation]) -> None:
        if not self._kept and not any(operation.writes for operation in group):
            self._deliver([self._read(operation) for operation in group])
            return
        everything = self._kept + group
        try:
            try:
                outcomes = self._transaction(everything)
            except sqlite3.Error as error:
                if not self._makes_room() or not is_full(error):
                    raise
                outcomes = self._transaction(everything)
        except Exception as error:
            self._failed(everything, error)
            return
        if self._failing:
            self._failing = False
            self._log.info("the database {path} is written to again", path=self._path)
        self._kept = []
        self._pause = None
        self._deliver(outcomes)

    def _transaction(self, operations: list[Operation]) -> list[Outcome]:
        """Do operations in one transaction; raises where nothing of it was done."""
        if self._connection is None:
            self._reopen()
        book, execute = self._book, self._connection.execute
        snapshot = book.snapshot()
        try:
            execute("BEGIN IMMEDIATE")
            try:
                outcomes = self._together(operations)
            except Exception as error:
                if is_of_the_store(error):
                    raise
                execute("ROLLBACK")
                book.restore(snapshot)
                execute("BEGIN IMMEDIATE")
                outcomes = [self._apart(operation) for operation in operations]
            book.seal()
            execute("COMMIT")
        except BaseException:
            book.restore(snapshot)
            self._roll_back()
            raise
        self._mark.write(book.totals.commits)
        return outcomes

    def _together(self, operations: list[Operation]) -> list[Outcome]:
        """Do operations one after the other, new jobs that follow each other at once."""
        outcomes: list[Outcome] = []
        entering: list[Operation] = []
        for operation in operations:
            if operation.entry is not None:
                entering.append(operation)
                continue
            if entering:
                self._enter(entering, outcomes)
                entering = []
            if operation.writes:
                assert operation.run is not None
                outcomes.append((operation.deferred, operation.run(self._book)))
            else:
                outcomes.append(self._read(operation))
        if entering:
            self._enter(entering, outcomes)
        return outcomes

    def _enter(self, operations: list[Operation], outcomes: list[Outcome]) -> None:
        entries = [operation.entry for operation in operations if operation.entry is not None]
        added = self._book.enter(entries)
        outcomes += zip((operation.deferred for operation in operations), added, strict=True)

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

    def _read(self, operation: Operation) -> Outcome:
        """Do an operation that writes nothing: its failure is its own."""
        assert operation.run is not None
        try:
            if self._connection is None:
                self._reopen()
            return operation.deferred, operation.run(self._book)
        except Exception as error:
            if is_of_the_store(error):
                error = Unavailable(self._describe(error))
            return operation.deferred, error

    # When it fails

    def _failed(self, operations: list[Operation], error: Exception) -> None:
        """Keep what must not be lost, refuse the rest."""
        message = self._describe(error)
        if not self._failing:
            self._failing = True
            self._log.error("{message}", message=message)
        self._kept = [operation for operation in operations if operation.kept]
        if self._kept:
            self._pause = min(2 * (self._pause or SHORTEST_PAUSE / 2), LONGEST_PAUSE)
        self._refuse([one for one in operations if one.writes and not one.kept], message)
        self._deliver([self._read(one) for one in operations if not one.writes])

    def _refuse(self, operations: list[Operation], message: str) -> None:
        self._deliver([(operation.deferred, Unavailable(message)) for operation in operations])

    def _describe(self, error: Exception) -> str:
        if isinstance(error, AptaskError):
            return error.message
        if is_full(error):
            return f"the disk is full: there is no room for more in {self._path.parent}"
        return f"the database {self._path} cannot be read or written: {error}"

    def _roll_back(self) -> None:
        """Leave no transaction open; give the connection up where that cannot be had."""
        connection = self._connection
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
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

    def _reopen(self) -> None:
        connection = connect(self._path, self._how)
        try:
            book = Book(connection)
            before = self._book
            if (book.identity, book.totals.commits) != (before.identity, before.totals.commits):
                raise Unavailable(f"{self._path} was replaced or is damaged: restart the daemon")
        except BaseException:
            connection.close()
            raise
        self._connection, self._book = connection, book

    # When it goes well

    def _empty_wal(self, idle: bool) -> None:
        """Empty the -wal where it is large, or has secrets in it and nothing else is to be done."""
        self._groups += 1
        if self._book.scrub and (idle or self._groups > GROUPS_BETWEEN_SCRUBS):
            self._groups = 0
            self._book.scrub = not checkpoint(self._connection)
            return
        if self._wal_size() > WAL_BYTES and checkpoint(self._connection):
            self._book.scrub = False

    def _wal_size(self) -> int:
        try:
            return beside(self._path, "-wal").stat().st_size
        except OSError:
            return 0

    def _close(self) -> None:
        self._refuse(self._kept, "the store was closed before this could be written")
        if self._connection is not None:
            checkpoint(self._connection)
            try:
                self._connection.close()
            except sqlite3.Error as error:
                self._log.error("the database could not be closed: {error}", error=error)
        self._mark.close()

    def _deliver(self, outcomes: list[Outcome]) -> None:
        if outcomes:
            self._call_in_reactor(_fire, outcomes)


def is_of_the_store(error: Exception) -> bool:
    """Whether an error is about the database as a whole, not about one operation."""
    if isinstance(error, sqlite3.OperationalError | sqlite3.InternalError | MemoryError | OSError):
        return True
    # Damage comes as this class itself; its other subclasses are about values.
    return type(error) is sqlite3.DatabaseError


def is_full(error: Exception) -> bool:
    """Whether an error says that the disk is full."""
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL"


def _fire(outcomes: list[Outcome]) -> None:
    for deferred, outcome in outcomes:
        if isinstance(outcome, Exception):
            deferred.errback(outcome)
        else:
            deferred.callback(outcome)
