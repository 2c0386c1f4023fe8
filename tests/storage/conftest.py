"""Stores without a reactor: the test itself is the reactor's thread."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from aptask.errors import ConfigurationError
from aptask.model.job import Change, Job, Outcome, Status, change
from aptask.storage.memory import MemoryStore
from aptask.storage.store import SQLiteStore

SECONDS = 30.0


class Bench:
    """Makes stores, and runs in the test's thread what they call into the reactor's."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "aptask.db"
        self._calls: SimpleQueue[Any] = SimpleQueue()
        self._open: list[SQLiteStore] = []

    def store(self, how: Any = sqlite3.connect, path: Path | None = None) -> SQLiteStore:
        """An open store."""
        made = SQLiteStore(path or self.path, self.call, how)
        self._open.append(made)
        self.result(made.open())
        return made

    def refused(self, path: Path | None = None) -> str:
        """What a store says that does not open."""
        made = SQLiteStore(path or self.path, self.call)
        opened = made.open()
        try:
            with pytest.raises(Exception) as caught:
                self.result(opened)
        finally:
            self.result(made.close())
        return str(caught.value)

    def attempt(self) -> SQLiteStore | None:
        """An open store, or None where it is refused."""
        made = SQLiteStore(self.path, self.call)
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

    def close(self, store: Any) -> None:
        self.result(store.close())

    def end(self) -> None:
        for store in self._open:
            self.close(store)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.end()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, bench: Bench) -> Any:
    """Each store there is, open."""
    return MemoryStore() if request.param == "memory" else bench.store()


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


def required(reason: str) -> None:
    """Skip a test that cannot be made here; fail it where everything has to be."""
    if os.environ.get("APTASK_REQUIRE_ALL"):
        pytest.fail(reason)
    pytest.skip(reason)
