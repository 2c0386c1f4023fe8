"""What is kept until the daemon has it, by a clock that is turned by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from aptask.model.job import Status
from aptask.model.orders import Ended, Started
from aptask.runner import ledger as ledger_module
from aptask.runner.ledger import SYNC_SECONDS, Ledger
from aptask.runner.spool import Spool, read


class Disk(Spool):
    """A spool on a disk that fails when a test says so, and tells what it was asked for."""

    is_full = False
    is_broken = False
    syncs = 0
    renewals = 0

    def renew(self, events: Iterable[Ended]) -> None:
        self.renewals += 1
        self._check(self.is_full or self.is_broken)
        super().renew(events)

    def add(self, event: Ended) -> None:
        if self.is_full:
            super().add(event)
            with open(self._path, "r+b") as file:
                file.truncate(self.size - 10)
        self._check(self.is_full)
        super().add(event)

    def sync(self) -> None:
        self.syncs += 1
        self._check(self.is_broken)

    def _check(self, fails: bool) -> None:
        if fails:
            raise OSError(28, "No space left on device")


class Bench:
    """A ledger with a daemon."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.disk = Disk(folder, "me")
        self.safe = 0
        self.ledger = Ledger(self.clock, self.disk, self._safe)
        self.ledger.has_daemon = True

    def _safe(self) -> None:
        self.safe += 1
        assert self.ledger.is_safe

    def end(self, job: int, message: str | None = None) -> Any:
        return self.ledger.add(
            lambda number: Ended(number, job, 1, Status.DONE, 1.0, message=message)
        )

    def spooled(self) -> list[int]:
        return [event.job for event in read(self.folder, "me")[1]]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_end_is_in_the_spool_when_it_may_be_told(bench: Bench) -> None:
    bench.ledger.add(lambda number: Started(number, 1, 1, 100, 1.0))
    event = bench.end(1)
    assert event.number == 2
    assert read(bench.folder, "me")[1] == [event]


def test_an_end_that_is_forgotten_in_time_is_not_synced(bench: Bench) -> None:
    for job in range(1, 100):
        bench.ledger.forget(bench.end(job).number)
        bench.clock.advance(0.01)
    bench.clock.advance(SYNC_SECONDS)
    assert bench.disk.syncs == 0
    assert bench.clock.getDelayedCalls() == []


def test_ends_that_are_not_forgotten_are_synced_together(bench: Bench) -> None:
    first = bench.end(1)
    bench.clock.advance(SYNC_SECONDS / 2)
    bench.end(2)
    bench.ledger.forget(first.number)
    bench.clock.advance(SYNC_SECONDS / 2)
    assert bench.disk.syncs == 0
    assert not bench.ledger.is_safe
    bench.end(3)
    bench.clock.advance(SYNC_SECONDS / 2)
    assert bench.disk.syncs == 1
    assert bench.ledger.is_safe
    assert bench.safe == 1
    bench.clock.advance(SYNC_SECONDS)
    assert bench.disk.syncs == 1
    assert bench.clock.getDelayedCalls() == []


def test_without_a_daemon_what_ends_at_once_is_synced_at_once_and_together(bench: Bench) -> None:
    bench.ledger.has_daemon = False
    bench.end(1)
    bench.end(2)
    assert not bench.ledger.is_safe
    bench.clock.advance(0)
    assert bench.disk.syncs == 1
    assert bench.safe == 1


def test_on_a_full_disk_ends_wait_in_their_order_and_their_complaint_comes_once(
    bench: Bench,
) -> None:
    logged: list[Any] = []
    globalLogPublisher.addObserver(logged.append)
    first = bench.end(1)
    bench.disk.is_full = True
    assert bench.end(2).number == 2
    bench.end(3)
    assert bench.spooled() == [1]
    for _ in range(5):
        bench.ledger.try_again()
    assert not bench.ledger.is_safe
    assert bench.safe == 0
    bench.ledger.forget(first.number)
    bench.disk.is_full = False
    bench.end(4)
    assert bench.spooled() == [1], "its torn end is not written behind"
    bench.ledger.try_again()
    globalLogPublisher.removeObserver(logged.append)
    assert bench.spooled() == [2, 3, 4]
    assert bench.ledger.is_safe
    assert bench.safe == 1
    bench.end(5)
    assert bench.spooled() == [2, 3, 4, 5]
    assert len([event for event in logged if event["log_level"].name == "error"]) == 1


def test_after_a_sync_that_failed_all_is_written_again(bench: Bench) -> None:
    bench.ledger.forget(bench.end(1).number)
    bench.end(2)
    bench.disk.is_broken = True
    bench.clock.advance(SYNC_SECONDS)
    assert not bench.ledger.is_safe
    bench.disk.is_broken = False
    bench.ledger.try_again()
    assert bench.ledger.is_safe
    assert bench.spooled() == [2]


def test_a_disk_that_is_full_from_the_beginning_is_written_to_once_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Disk, "is_full", True)
    bench = Bench(tmp_path)
    assert bench.ledger.is_safe, "there is nothing yet"
    bench.end(1)
    assert not bench.ledger.is_safe
    monkeypatch.setattr(Disk, "is_full", False)
    bench.ledger.try_again()
    assert bench.spooled() == [1]


@pytest.mark.parametrize("kept", [0, 1])
def test_a_spool_that_has_grown_is_cut_back_to_what_is_not_forgotten(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(bench.ledger, "_limit", 10_000)
    monkeypatch.setattr(ledger_module, "CUT_BYTES", 10_000)
    largest, header = 0, bench.disk.size
    numbers = [bench.end(job, "x" * 100).number for job in range(kept)]
    for job in range(10, 1000):
        numbers.append(bench.end(job, "x" * 100).number)
        bench.ledger.forget(numbers[-1 - kept])
        largest = max(largest, bench.disk.size)
        bench.clock.advance(0.01)
    assert header < largest < 12_000
    assert set(bench.spooled()) >= {event.job for event in bench.ledger.ends.values()}
    bench.ledger.forget(numbers[-1])
    assert bench.disk.renewals <= 1 + 20 * kept


def test_closed_it_leaves_what_is_on_the_disk(bench: Bench) -> None:
    bench.end(1)
    bench.ledger.close()
    assert bench.clock.getDelayedCalls() == []
    assert bench.spooled() == [1]
