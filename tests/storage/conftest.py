"""Stores without a reactor: the test itself is the reactor's thread."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from aptask.errors import ConfigurationError, Unavailable
from aptask.model.event import Event, Level
from aptask.model.group import GroupSetting
from aptask.model.history import Wanted
from aptask.model.job import Change, Job, Outcome, Status, change
from aptask.model.key import Key
from aptask.storage import writer
from aptask.storage.memory import MemoryStore
from aptask.storage.store import SQLiteStore

SECONDS = 30.0


class Session:
    """A script of everything that writes, and what it must lead to.

    Each new job's task is a name of its own, by which it is found again.
    """

    def __init__(self, bench: Any, store: Any) -> None:
        self._bench = bench
        self._store = store
        self._asked = 0
        self._jobs: dict[int, Job] = {}
        self.acknowledged: dict[int, str] = {}
        self.told: list[str] = []
        self.keys: list[str] = []
        self.groups: dict[str, GroupSetting] = {}
        self.refused: set[str] = set()
        self.updates: list[tuple[Job, Deferred[None]]] = []

    def run(self) -> None:
        first = self._add(1)
        several = self._add(3, once="several")
        self._add(1, unique="unique")
        self._add(1, secrets=b'{"p":"hush"}')
        for number in first + several:
            self._update(number, Change.LAUNCH)
        for number in several:
            self._update(number, Change.FINISH, applied=("runner", number))
        with contextlib.suppress(Unavailable):
            self._bench.result(self._store.prune(0.0, 2))
        self._set()
        self._add(1)

    def _set(self) -> None:
        """Log something, enter keys and a group, forget a key."""
        self._ask([f"of {level}" for level in Level], self._store.log)
        for name in ("amy", "bob"):
            key = Key(name, "user", bytes(32))
            if self._ask([f"addkey {name}"], partial(self._store.add_key, key)):
                self.keys.append(name)
        if "amy" in self.keys and self._ask(["revoke amy"], partial(self._store.remove_key, "amy")):
            self.keys.remove("amy")
        setting = GroupSetting(3, True)
        if self._ask(["limits gpu"], partial(self._store.set_group, "gpu", setting)):
            self.groups["gpu"] = setting

    def _ask(self, told: list[str], ask: Any) -> bool:
        """Whether something was done that is told of."""
        levels = itertools.cycle(Level)
        try:
            self._bench.result(
                ask([Event(level, text) for level, text in zip(levels, told, strict=False)])
            )
        except Unavailable:
            return False
        self.told += told
        return True

    def _add(self, count: int, secrets: bytes | None = None, **keys: str) -> list[int]:
        jobs = []
        for _ in range(count):
            self._asked += 1
            task = f"task{self._asked}"
            jobs.append(
                Job(id=0, task=task, owner="o", arguments=b"{}", secrets=secrets, created=1.0)
            )
        try:
            added = self._bench.result(self._store.add_all(jobs, **keys))
        except Unavailable:
            self.refused.update(job.task for job in jobs)
            return []
        for one, job in zip(added, jobs, strict=True):
            job.id = one.id
            self._jobs[one.id] = job
            self.acknowledged[one.id] = job.task
            self.told.append(f"task {one.id} ({job.task}) is queued")
        return [one.id for one in added]

    def _update(self, number: int, what: Change, **more: Any) -> None:
        job = self._jobs[number]
        change(job, what, 3.0 + number, Outcome(Status.DONE))
        became = "is running" if what is Change.LAUNCH else "has ended: done"
        self.told.append(f"task {number} ({job.task}) {became}")
        self.updates.append((job, self._store.update(job, **more)))

    def note(self, number: int, task: str) -> None:
        """A job was acknowledged to somebody else."""
        assert number == max(self.acknowledged, default=0) + 1
        self.acknowledged[number] = task
        self.told.append(f"task {number} ({task}) is queued")

    def settle(self) -> None:
        """Wait for what was kept."""
        for _, updated in self.updates:
            self._bench.result(updated)

    def verify(self, store: Any) -> None:
        became = {job.id: job for job, _ in self.updates}
        ended = sorted(number for number, job in became.items() if job.ended is not None)
        found = {job.id: job for job in self._bench.result(store.get_many(range(1, 100)))}
        assert set(self.acknowledged) - set(found) <= set(ended[:1])  # which may be pruned
        for number, job in found.items():
            assert job.task == self.acknowledged[number]
            if number in became:
                job.secrets = became[number].secrets
                assert job == became[number]
        assert not {job.task for job in found.values()} & self.refused
        if ended:
            assert self._bench.result(store.applied()) == ("runner", ended[-1])
        logged = self._bench.result(store.read_log(0, 1000, None))
        assert sorted(one.event.message for one in logged) == sorted(self.told)
        assert [one.number for one in logged] == list(range(1, len(self.told) + 1))
        assert store.logged == len(self.told)
        assert [key.name for key in self._bench.result(store.keys())] == self.keys
        assert self._bench.result(store.groups()) == self.groups
        history = self._bench.result(store.history(Wanted(), 1000))
        assert history == [job for job in found.values() if job.ended is not None][::-1]


class Bench:
    """Makes stores, and runs in the test's thread what they call into the reactor's.

    Attributes:
        now: the time of the stores' clock.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "aptask.db"
        self.now = 1000.0
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._open: list[SQLiteStore] = []

    def clock(self) -> float:
        return self.now

    def store(
        self, how: Any = sqlite3.connect, path: Path | None = None, soon: Any = None
    ) -> SQLiteStore:
        """An open store; without `soon`, what is asked of it is handed over at once."""
        made = SQLiteStore(
            path or self.path, self.call, self.clock, how, soon or (lambda call: call())
        )
        self._open.append(made)
        self.result(made.open())
        return made

    def refused(self, path: Path | None = None) -> str:
        """What a store says that does not open."""
        made = SQLiteStore(path or self.path, self.call, self.clock)
        opened = made.open()
        try:
            with pytest.raises(Exception) as caught:
                self.result(opened)
        finally:
            self.result(made.close())
        return str(caught.value)

    def session(self, store: Any) -> Session:
        """A script of everything that writes."""
        return Session(self, store)

    def attempt(self) -> SQLiteStore | None:
        """An open store, or None where it is refused."""
        made = SQLiteStore(self.path, self.call, self.clock)
        try:
            self.result(made.open())
        except ConfigurationError:
            self.close(made)
            return None
        return made

    def call(self, function: Any, *arguments: Any) -> None:
        self._calls.put((function, arguments))

    def result(self, deferred: Deferred[Any]) -> Any:
        """What a Deferred fires with, or raises."""
        found: list[Any] = []
        deferred.addBoth(found.append)
        while not found:
            try:
                function, arguments = self._calls.get(timeout=SECONDS)
            except Empty:
                raise AssertionError(f"nothing within {SECONDS} s") from None
            function(*arguments)
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def log_tells_of_each_job(self, store: Any) -> None:
        """Whether the log of a store that was killed has all that is in its book, and no more."""
        expected: dict[int, list[str]] = {}
        for job in self.result(store.get_many(range(1, self.result(store.counts()).next))):
            told = expected.setdefault(job.id, ["is queued"])
            if job.started is not None:
                told.append("is running")
            if job.ended is not None:
                told.append(f"has ended: {job.status}")
        found: dict[int, list[str]] = {}
        last = 0
        while logged := self.result(store.read_log(last, 1000, None)):
            assert [one.number for one in logged] == list(range(last + 1, logged[-1].number + 1))
            last = logged[-1].number
            for one in logged:
                _, number, _, told = one.event.message.split(" ", 3)
                found.setdefault(int(number), []).append(told)
        assert found == expected
        assert store.logged == last

    def close(self, store: Any) -> None:
        self.result(store.close())

    def end(self) -> None:
        while self._open:
            self.close(self._open.pop())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.end()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, bench: Bench) -> Any:
    """Each store there is, open."""
    return MemoryStore(bench.clock) if request.param == "memory" else bench.store()


@pytest.fixture
def result(bench: Bench) -> Callable[[Deferred[Any]], Any]:
    return bench.result


def queued(task: str = "t", owner: str = "o", created: float = 1.0, **more: Any) -> Job:
    return Job(id=0, task=task, owner=owner, arguments=b"{}", created=created, **more)


@pytest.fixture
def added(bench: Bench) -> Any:
    """Adds a job to a store, and gives it with its number."""

    def add(store: Any, job: Job | None = None, **keys: Any) -> Job:
        job = job or queued()
        job.id = bench.result(store.add(job, **keys)).id
        return job

    return add


@pytest.fixture
def launched(bench: Bench, added: Any) -> Any:
    def launch(store: Any, job: Job | None = None, **keys: Any) -> Job:
        job = added(store, job, **keys)
        change(job, Change.LAUNCH, 2.0)
        bench.result(store.update(job))
        return job

    return launch


@pytest.fixture
def ended(bench: Bench, launched: Any) -> Any:
    def end(store: Any, at: float = 3.0, job: Job | None = None, **keys: Any) -> Job:
        job = launched(store, job, **keys)
        change(job, Change.FINISH, at, Outcome(Status.DONE, exit=0))
        bench.result(store.update(job))
        return job

    return end


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is tried again soon."""
    monkeypatch.setattr(writer, "SHORTEST_PAUSE", 0.002)
    monkeypatch.setattr(writer, "LONGEST_PAUSE", 0.01)
