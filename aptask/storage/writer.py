"""The writer: the one thread that talks to the database, and commits for many at once.

Rules:

- What is asked for in one turn of the reactor is handed over at its end: the thread is woken once,
  and not in the middle of what belongs together. It takes all that waits, `MOST_AT_ONCE` or a few
  more, into one transaction: one commit, one sync, and one call into the reactor's thread with all
  that came of it. Deferreds fire there, in the order in which the operations were asked for.
- When the disk is full, or fails: nothing of the transaction is done. What was new fails at once,
  as `Unavailable`; what tells of something that has happened (`kept`) must not be lost: it stays,
  in its order and ahead of all that comes, and is tried again with each new transaction, and after
  a pause that grows to `LONGEST_PAUSE`. So the store goes on by itself when there is room again.
- The -wal is emptied after the answers are on their way: when it has grown, and soon after a job
  with secrets has ended, so that they are not left in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from aptask.errors import AptaskError, ConfigurationError, Unavailable
from aptask.storage.database import Connect
from aptask.storage.transactions import Operation, Outcome, Transactions

MOST_AT_ONCE = 500
SHORTEST_PAUSE = 0.05
LONGEST_PAUSE = 5.0
"""Seconds between two tries of what is kept."""
SCRUB_SECONDS = 0.1
"""How long nothing must be asked for, before secrets are removed from the -wal, ..."""
GROUPS_BETWEEN_SCRUBS = 200
"""... or after how many transactions and readings, where something always is."""


class Writer:
    """The thread, and the queue before it.

    Args:
        path: of the database.
        call_in_reactor: runs a function in the reactor's thread: `reactor.callFromThread`.
        clock: the time, in seconds since the epoch.
        soon: runs a function at the end of the reactor's present turn.
        how: `sqlite3.connect`, or what a test puts in its place.

    Attributes:
        logged: the number of the last event that is on disk, as far as Deferreds have told of it;
            for the reactor's thread.
    """

    _log = Logger()

    def __init__(
        self,
        path: Path,
        call_in_reactor: Callable[..., Any],
        clock: Callable[[], float],
        soon: Callable[[Callable[[], object]], object],
        how: Connect = sqlite3.connect,
    ) -> None:
        self.logged = 0
        self._path = path
        self._call_in_reactor = call_in_reactor
        self._how = how
        self._clock = clock
        self._committed = 0
        self._queue: SimpleQueue[list[Operation] | None] = SimpleQueue()
        self._soon = soon
        self._asked: list[Operation] = []
        self._thread = Thread(target=self._run, name="aptask store", daemon=True)
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
        self._hand_over()
        self._queue.put(None)

    def ask(self, operation: Operation) -> None:
        """Take an operation, in the reactor's thread."""
        self._asked.append(operation)
        if len(self._asked) == 1:
            self._soon(self._hand_over)

    def _hand_over(self) -> None:
        if self._asked:
            self._queue.put(self._asked)
            self._asked = []

    # In the thread

    def _run(self) -> None:
        try:
            transactions = Transactions(self._path, self._clock, self._how)
        except Exception as error:
            if not isinstance(error, AptaskError):
                error = ConfigurationError(f"{self._path} cannot be opened: {error}")
            self._deliver([(self._opened, error)])
            self._refuse_all()
        else:
            self._committed = transactions.logged
            self._deliver([(self._opened, None)])
            self._serve(transactions)
        self._deliver([(self._closed, None)])

    def _serve(self, transactions: Transactions) -> None:
        last = False
        while not last:
            pause = self._pause
            if pause is None and transactions.scrub:
                pause = SCRUB_SECONDS
            group, last = self._take(pause)
            if self._kept or any(operation.writes for operation in group):
                self._write(transactions, self._kept + group)
            else:
                self._deliver([transactions.read(operation) for operation in group])
            self._groups += 1
            scrub = transactions.scrub and (not group or self._groups > GROUPS_BETWEEN_SCRUBS)
            if scrub:
                self._groups = 0
            transactions.empty_wal(scrub)
        self._refuse(self._kept, "the store was closed before this could be written")
        transactions.close()

    def _refuse_all(self) -> None:
        last = False
        while not last:
            group, last = self._take(None)
            self._refuse(group, "the store is not open")

    def _take(self, pause: float | None) -> tuple[list[Operation], bool]:
        """What waits; nothing after a pause; and whether it is the last."""
        group: list[Operation] = []
        try:
            operations = self._queue.get(timeout=pause)
            while operations is not None:
                group += operations
                if len(group) >= MOST_AT_ONCE:
                    return group, False
                operations = self._queue.get_nowait()
        except Empty:
            return group, False
        return group, True

    def _write(self, transactions: Transactions, operations: list[Operation]) -> None:
        try:
            outcomes = transactions.commit(operations)
        except Exception as error:
            self._failed(transactions, operations, transactions.describe(error))
            return
        if self._failing:
            self._failing = False
            self._log.info("the database {path} is written to again", path=self._path)
        self._kept = []
        self._pause = None
        self._committed = transactions.logged
        self._deliver(outcomes)

    def _failed(
        self, transactions: Transactions, operations: list[Operation], message: str
    ) -> None:
        """Keep what must not be lost, refuse the rest."""
        if not self._failing:
            self._failing = True
            self._log.error("{message}", message=message)
        self._kept = [operation for operation in operations if operation.kept]
        if self._kept:
            self._pause = min(2 * (self._pause or SHORTEST_PAUSE / 2), LONGEST_PAUSE)
        self._refuse([one for one in operations if one.writes and not one.kept], message)
        self._deliver([transactions.read(one) for one in operations if not one.writes])

    def _refuse(self, operations: Sequence[Operation], message: str) -> None:
        self._deliver([(operation.deferred, Unavailable(message)) for operation in operations])

    def _deliver(self, outcomes: list[Outcome]) -> None:
        if outcomes:
            self._call_in_reactor(self._fire, outcomes, self._committed)

    # In the reactor's thread

    def _fire(self, outcomes: list[Outcome], logged: int) -> None:
        self.logged = logged
        for deferred, outcome in outcomes:
            if isinstance(outcome, Exception):
                deferred.errback(outcome)
            else:
                deferred.callback(outcome)
