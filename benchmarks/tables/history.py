"""What a long history costs: pages of it, and of the event log, by every choice of filters.

Many tasks of 100 owners end, most of them well, each through the store in two changes; some owner
has few of them, some task, some outcome. Then each page is asked for a few times. There is no peer:
none of them has such a list.
"""

from __future__ import annotations

import itertools
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from measure import Row, Settings, alternate, goal, number, show

from aptask.model.event import Event, Level
from aptask.model.history import Wanted
from aptask.model.job import Change, Job, Outcome, State, Status, change
from aptask.storage.store import SQLiteStore

MANY = 1_000_000
AT_ONCE = 500
OWNERS, TASKS = 100, 20
PAGE = 100
ASKED = 7
"""How often each page is asked for."""
BEGAN = 1.7e9
OUTCOMES = ((Status.ERROR, 0.08), (Status.STOPPED, 0.01), (Status.INTERRUPTED, 0.0001))


class Book:
    """A store whose calls into the reactor's thread are made here."""

    def __init__(self, path: Path) -> None:
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._asked: list[Callable[[], object]] = []
        self.store = SQLiteStore(
            path, lambda *call: self._calls.put(call), time.time, soon=self._asked.append
        )

    def result(self, deferred: Any) -> Any:
        """What a Deferred fires with."""
        found: list[Any] = []
        deferred.addBoth(found.append)
        while self._asked:
            self._asked.pop()()
        while not found:
            function, *arguments = self._calls.get()
            function(*arguments)
        return found[0]

    def seconds(self, ask: Callable[[], Any]) -> float:
        """How long an answer takes: the median of some."""
        taken = []
        for _ in range(ASKED):
            start = time.perf_counter()
            self.result(ask())
            taken.append(time.perf_counter() - start)
        return statistics.median(taken)


@contextmanager
def opened(path: Path) -> Iterator[Book]:
    """A store that is open meanwhile."""
    book = Book(path)
    book.result(book.store.open())
    try:
        yield book
    finally:
        book.result(book.store.close())


def run(settings: Settings) -> None:
    """Measure and tell."""
    many = settings.count(MANY)
    name = f"aptask, {many:,} have ended"
    rows = alternate("history", settings._replace(runs=1), {name: lambda: _measure(many)})
    row = rows.get(name, {})
    show(
        f"history: {many:,} tasks have ended",
        ["", "ends/s", "bytes each", "slowest page, ms", "of the log, ms", "opened, s"],
        [
            [
                "aptask",
                number(row.get("rate")),
                number(row.get("bytes")),
                number(row.get("page"), 1),
                number(row.get("log"), 1),
                number(row.get("open"), 1),
            ]
        ],
    )
    goal("the slowest page of the history, ms", row.get("page"), 10.0, least=False)
    goal("the slowest page of the event log, ms", row.get("log"), 10.0, least=False)


def _measure(many: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        path = Path(name) / "aptask.db"
        with opened(path) as book:
            start = time.perf_counter()
            _fill(book, many)
            row = {"rate": many / (time.perf_counter() - start)}
        row["bytes"] = path.stat().st_size / many
        start = time.perf_counter()
        with opened(path) as book:
            row["open"] = time.perf_counter() - start
            row["page"] = max(_pages(book, many)) * 1000
            row["log"] = max(_log_pages(book)) * 1000
    return row


def _fill(book: Book, many: int) -> None:
    dice = random.Random(1)
    for start in range(0, many, AT_ONCE):
        jobs = [_job(dice, start + place, many) for place in range(AT_ONCE)]
        added = [book.store.add(job) for job in jobs]
        for job, one in zip(jobs, added, strict=True):
            job.id = book.result(one).id
            change(job, Change.FINISH, job.created + 1, Outcome(_outcome(dice), "ended", exit=0))
            ended = book.store.update(job, applied=("bench", job.id))
        if start % (100 * AT_ONCE) == 0:
            book.store.log([Event(Level.ERROR, "a plugin failed")])
        book.result(ended)


def _job(dice: random.Random, place: int, many: int) -> Job:
    """A job of any owner and task; of the last ones there are few."""
    rare = place % (many // 10) == 0
    return Job(
        id=0,
        owner=f"owner{OWNERS if rare else dice.randrange(OWNERS)}",
        task=f"task{TASKS if rare or place % 7001 == 0 else dice.randrange(TASKS)}",
        arguments=b'{"seconds":3600.0}',
        created=BEGAN + place,
        started=BEGAN + place,
        state=State.ACTIVE,
        status=Status.RUNNING,
    )


def _outcome(dice: random.Random) -> Status:
    chance = dice.random()
    for status, share in OUTCOMES:
        if chance < share:
            return status
        chance -= share
    return Status.DONE


def _pages(book: Book, many: int) -> Iterator[float]:
    """Seconds for each kind of page: the first, and one from the middle."""
    middle = BEGAN + many / 2
    for owner, task, status, before, bounded in itertools.product(
        (None, "owner1", f"owner{OWNERS}"),
        (None, "task1", f"task{TASKS}"),
        (None, Status.DONE, Status.INTERRUPTED),
        (None, (middle, many // 2)),
        (False, True),
    ):
        since, until = (BEGAN + many / 4, BEGAN + many * 3 / 4) if bounded else (None, None)
        wanted = Wanted(owner, task, status, since, until, before)
        yield book.seconds(lambda wanted=wanted: book.store.history(wanted, PAGE))


def _log_pages(book: Book) -> Iterator[float]:
    last = book.store.logged
    for level, after in itertools.product((None, *Level), (None, 0, last // 2)):
        yield book.seconds(lambda level=level, after=after: book.store.read_log(after, PAGE, level))
