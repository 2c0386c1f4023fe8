"""When writing fails: nothing is acknowledged or half-done, nothing that happened is lost, and the
store goes on by itself."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.errors import Conflict, Unavailable
from aptask.model.event import Event, Level
from aptask.model.job import Added, Change, Job, Outcome, Status, change
from aptask.model.key import Key
from aptask.model.progress import Progress
from aptask.storage.examine import check


class Faults:
    """Makes connections of which some calls fail.

    Attributes:
        calls: how many statements there were that begin, write, end or give up a transaction, or
            empty the -wal, and how many times it was opened, since `arm`.
    """

    READING = ("SELECT", "PRAGMA")

    def __init__(self) -> None:
        self.calls = 0
        self._first = self._last = -1

    def arm(self, first: int, last: int) -> None:
        """Let the calls with these numbers, from 1, fail."""
        self.calls = 0
        self._first, self._last = first, last

    def heal(self) -> None:
        self._first = self._last = -1

    def connect(self, *arguments: Any, **named: Any) -> Connection:
        self.count()
        return Connection(self, sqlite3.connect(*arguments, **named))

    def count(self) -> None:
        self.calls += 1
        if self._first <= self.calls <= self._last:
            raise sqlite3.OperationalError("disk I/O error")


class Connection:
    def __init__(self, faults: Faults, real: sqlite3.Connection) -> None:
        self._faults = faults
        self._real = real
        self.close = real.close

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        if not statement.startswith(self._faults.READING) or "checkpoint" in statement:
            self._faults.count()
        return self._real.execute(statement, *values)


pytestmark = pytest.mark.usefixtures("short_pauses")


def run(bench: Any, folder: Path, first: int, length: int, healed: bool) -> int:
    """A session of which the calls from `first` on fail; how many calls it had in all."""
    folder.mkdir()
    faults = Faults()
    store = bench.store(faults.connect, folder / "aptask.db")
    faults.arm(first, first + length - 1)
    session = bench.session(store)
    session.run()
    calls = faults.calls
    if healed:
        faults.heal()
    session.settle()
    faults.heal()
    session.verify(store)
    number = bench.result(store.add(Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0)))
    assert number == Added(max(session.acknowledged, default=0) + 1)
    session.note(number.id, "t")
    bench.close(store)
    check(folder / "aptask.db")
    again = bench.store(path=folder / "aptask.db")
    session.verify(again)
    bench.close(again)
    return calls


@pytest.mark.parametrize("length", [1, 2, 5])
def test_each_call_failing_loses_nothing_and_invents_nothing(
    bench: Any, tmp_path: Path, length: int
) -> None:
    first = 1
    while first <= run(bench, tmp_path / str(first), first, length, healed=False):
        first += 1
    assert first > 30


def test_everything_failing_from_each_call_on_until_it_is_mended(
    bench: Any, tmp_path: Path
) -> None:
    first = 1
    while first <= run(bench, tmp_path / str(first), first, 10**9, healed=True):
        first += 1
    assert first > 10


def test_the_faults_of_one_operation_are_its_own(bench: Any, added: Any) -> None:
    store = bench.store()
    jobs = [added(store) for _ in range(3)]
    asked = []
    for job, code in zip(jobs, (1, 2, 3), strict=True):
        change(job, Change.LAUNCH, 2.0)
        change(job, Change.FINISH, 3.0, Outcome(Status.ERROR, exit=code))
        asked.append(store.update(job))
        asked.append(store._write(lambda book: book._execute("INSERT INTO jobs (id) VALUES (1)")))
    new = store.add(Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0))
    for right, wrong in zip(asked[::2], asked[1::2], strict=True):
        bench.result(right)
        with pytest.raises(sqlite3.IntegrityError):
            bench.result(wrong)
    assert bench.result(new) == Added(4)
    assert [job.exit for job in bench.result(store.get_many([1, 2, 3]))] == [1, 2, 3]


def test_what_is_told_of_a_job_is_told_once_whatever_becomes_of_its_neighbours(
    bench: Any, added: Any
) -> None:
    """The transaction is done again, operation by operation."""
    store = bench.store()
    jobs = [added(store) for _ in range(3)]
    asked = []
    for job in jobs:
        change(job, Change.LAUNCH, 2.0)
        asked.append(store.update(job))
        change(job, Change.FINISH, 3.0, Outcome(Status.DONE))
        asked.append(store.update(job))
        asked.append(store.log([Event(Level.CLIENT, f"refused {job.id}")]))
        wrong = store._write(lambda book: book._execute("INSERT INTO jobs (id) VALUES (1)"))
        wrong.addErrback(lambda failure: None)
        asked.append(store.add(Job(id=0, task="u", owner="o", arguments=b"{}", created=1.0)))
        asked.append(store.add_key(Key("bob", "user", bytes(32)), [Event(Level.REQUEST, "bob")]))
    for one in asked:
        with contextlib.suppress(Conflict):
            bench.result(one)
    logged = bench.result(store.read_log(0, 100, None))
    assert [one.number for one in logged] == list(range(1, 17))
    expected = ["bob"]
    for number in (1, 2, 3):
        expected += [f"task {number} (t) is queued", f"task {number} (t) is running"]
        expected += [f"task {number} (t) has ended: done", f"refused {number}"]
        expected.append(f"task {number + 3} (u) is queued")
    assert sorted(one.event.message for one in logged) == sorted(expected)


def test_what_is_kept_is_told_once_and_events_that_cannot_be_written_are_lost(
    bench: Any, added: Any
) -> None:
    faults = Faults()
    store = bench.store(faults.connect)
    job = added(store)
    faults.arm(1, 10**9)
    change(job, Change.LAUNCH, 2.0)
    updated = store.update(job)
    for _ in range(5):
        with pytest.raises(Unavailable):
            bench.result(store.log([Event(Level.CLIENT, "a refusal")]))
        with pytest.raises(Unavailable):
            added(store)
    assert store.logged == 1
    faults.heal()
    bench.result(updated)
    assert store.logged == 2
    logged = bench.result(store.read_log(0, 100, None))
    assert [(one.number, one.event.message) for one in logged] == [
        (1, "task 1 (t) is queued"),
        (2, "task 1 (t) is running"),
    ]


def test_an_event_that_is_damaged_while_the_store_is_open_is_told_of(bench: Any) -> None:
    store = bench.store()
    for number in range(3):
        bench.result(store.log([Event(Level.CLIENT, f"{number}")]))

    def damage(book: Any) -> None:
        book._execute("UPDATE log_others SET time = time + 1 WHERE first = 2")

    bench.result(store._write(damage))
    with pytest.raises(Exception, match="event log is damaged"):
        bench.result(store.read_log(0, 10, None))
    assert [one.number for one in bench.result(store.read_log(2, 10, None))] == [3]


def test_what_cannot_be_stored_is_refused_before_it_is_tried(bench: Any, added: Any) -> None:
    store = bench.store()
    job = added(store)
    change(job, Change.LAUNCH, 2.0)
    change(job, Change.FINISH, 3.0, Outcome(Status.ERROR, exit=2**63))
    with pytest.raises(ValueError, match="no exit code"):
        store.update(job)
    with pytest.raises(ValueError, match="NUL"):
        store.add(Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0), once="a\0b")


def test_new_jobs_are_refused_at_once_while_updates_wait(bench: Any, added: Any) -> None:
    faults = Faults()
    store = bench.store(faults.connect)
    job = added(store)
    faults.arm(1, 10**9)
    change(job, Change.LAUNCH, 2.0)
    updated = store.update(job)
    for _ in range(3):
        with pytest.raises(Unavailable, match="cannot be read or written: disk I/O error"):
            added(store)
    assert not updated.called
    assert bench.result(store.get(1)).started is None  # what is on disk can be read
    faults.heal()
    bench.result(updated)
    assert bench.result(store.get(1)).started == 2.0
    assert added(store).id == 2


def test_closing_while_it_fails_says_what_was_not_written(bench: Any, added: Any) -> None:
    faults = Faults()
    store = bench.store(faults.connect)
    job = added(store)
    faults.arm(1, 10**9)
    change(job, Change.LAUNCH, 2.0)
    updated = store.update(job)
    bench.close(store)
    with pytest.raises(Unavailable, match="closed before this could be written"):
        bench.result(updated)
    assert bench.result(bench.store().get(1)).started is None


def test_a_job_that_is_damaged_while_it_runs_is_its_own_fault(bench: Any, added: Any) -> None:
    store = bench.store()
    added(store)
    added(store)

    def damage(book: Any) -> None:
        book._execute("UPDATE jobs SET arguments = x'00' WHERE id = 1")

    bench.result(store._write(damage))
    with pytest.raises(Exception, match="task 1 is damaged"):
        bench.result(store.get(1))
    assert bench.result(store.get(2)).id == 2


# A full disk


@pytest.fixture
def small_disk(tools: Any, tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    with tools.small_disk(folder, "2m"):
        yield folder


def test_a_full_disk_fails_closed_and_all_is_well_when_there_is_room(
    bench: Any, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))
    path = small_disk / "aptask.db"
    store = bench.store(path=path)

    def new() -> Job:
        return Job(id=0, task="t", owner="o", arguments=b"x" * 1000, created=1.0)

    job = new()
    job.id = bench.result(store.add(job)).id
    refusal = None
    while refusal is None:
        try:
            last = bench.result(store.add(new())).id
        except Unavailable as error:
            refusal = error.message
    assert refusal == f"the disk is full: there is no room for more in {small_disk}"
    assert last > 30
    change(job, Change.LAUNCH, 2.0)
    updated = store.update(job)
    with pytest.raises(Unavailable, match="full"):
        bench.result(store.add_all([new() for _ in range(2000)]))
    assert bench.result(store.get(last)).arguments == b"x" * 1000
    assert not updated.called or bench.result(store.get(1)) == job
    ballast.unlink()
    bench.result(updated)
    assert bench.result(store.get(1)) == job
    assert bench.result(store.add(new())) == Added(last + 1)
    bench.close(store)
    check(path)
    store = bench.store(path=path)
    assert bench.result(store.counts()).next == last + 2
    bench.close(store)


def test_what_becomes_of_jobs_is_written_in_little_room(
    bench: Any, small_disk: Path, added: Any
) -> None:
    """Which the -wal has filled again and again."""
    path = small_disk / "aptask.db"
    store = bench.store(path=path)
    job = added(store)
    bench.close(store)
    store = bench.store(path=path)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
    (small_disk / "ballast").write_bytes(bytes(free - 200_000))
    change(job, Change.LAUNCH, 2.0)
    for number in range(300):
        job.progress = Progress(number / 1000)
        bench.result(store.update(job))
    assert bench.result(store.get(job.id)) == job
    bench.close(store)


def test_on_a_full_disk_none_is_made_and_one_that_is_there_opens(
    bench: Any, small_disk: Path
) -> None:
    ballast = small_disk / "ballast"
    path = small_disk / "aptask.db"
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(4_000_000))
    assert "cannot be made" in bench.refused(path)
    assert not path.exists()
    ballast.unlink()
    store = bench.store(path=path)
    bench.result(store.add(Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0)))
    bench.close(store)
    with contextlib.suppress(OSError):
        ballast.write_bytes(bytes(4_000_000))
    store = bench.store(path=path)
    assert bench.result(store.counts()).queued == 1
    with pytest.raises(Unavailable, match="the disk is full"):
        bench.result(store.add(Job(id=0, task="u", owner="o", arguments=b"{}", created=1.0)))
    bench.close(store)
