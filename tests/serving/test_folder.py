"""How much of its disk the data folder takes: what counts, and that asking is cheap."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from aptask.errors import Unavailable
from aptask.model.statistics import Disk
from aptask.serving import folder as folder_module
from aptask.serving.folder import KEPT_SECONDS, KEPT_TIMES, MeasuredFolder, measure

NAMES = ("aptask.db", "output", "spool", "runner.log")


def put(path: Path, size: int = 10_000) -> int:
    """Make a file; what it takes on the disk."""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(os.urandom(size))
    descriptor = os.open(path, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    return path.stat().st_blocks * 512


def used(path: Path) -> int:
    return measure(str(path), NAMES).used


def test_what_counts_is_what_the_daemon_keeps_and_nothing_else(tmp_path: Path) -> None:
    expected = sum(
        put(tmp_path / name)
        for name in (
            "aptask.db", "aptask.db-wal", "aptask.db-mark", "runner.log", "output/1.head",
            "output/1.ring", "spool/abc",
        )
    )  # fmt: skip
    assert used(tmp_path) == expected >= 7 * 10_000
    put(tmp_path / "holiday.mkv", 1 << 20)
    put(tmp_path / "films" / "output", 1 << 20)
    (tmp_path / "output" / "link").symlink_to(tmp_path / "holiday.mkv")
    (tmp_path / "output.old").symlink_to(tmp_path / "films")
    assert used(tmp_path) - expected < 10_000  # the links themselves


def test_a_small_file_counts_as_what_it_takes(tmp_path: Path) -> None:
    assert used(tmp_path) == 0
    taken = sum(put(tmp_path / "output" / f"{number}.head", 5) for number in range(100))
    assert used(tmp_path) == taken


def test_free_is_what_this_account_may_still_write(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    assert measure(str(tmp_path), NAMES).free == pytest.approx(
        disk.f_bavail * disk.f_frsize, rel=0.2
    )


def test_a_file_that_goes_meanwhile_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = put(tmp_path / "aptask.db")
    put(tmp_path / "output" / "1.head")
    files = folder_module._files

    def going(*arguments: Any) -> Any:
        for file in files(*arguments):
            if file.name == "1.head":
                Path(file.path).unlink(missing_ok=True)
            yield file

    monkeypatch.setattr(folder_module, "_files", going)
    assert used(tmp_path) == stays


class Measured:
    """A folder whose measuring is done when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        self.times = 0
        self.thread: threading.Thread | None = None
        self.done: Callable[[], None] = lambda: None
        self.result: Disk | Exception = Disk(1, 2)
        self.folder = MeasuredFolder("/nowhere", NAMES, self.clock, self._call)
        monkeypatch.setattr(folder_module, "measure", self._measure)
        self._called = threading.Event()

    def _measure(self, path: str, names: Any) -> Disk:
        self.times += 1
        self.thread = threading.current_thread()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def _call(self, function: Callable[..., None], *arguments: Any) -> None:
        self.done = lambda: function(*arguments)
        self._called.set()

    def finish(self, seconds: float = 0.0) -> None:
        assert self._called.wait(20)
        self._called.clear()
        self.clock.advance(seconds)
        self.done()

    def ask(self) -> list[Any]:
        got: list[Any] = []
        self.folder.measure().addBoth(got.append)
        return got


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    return Measured(monkeypatch)


def test_who_asks_while_it_is_measured_gets_the_same_answer(measured: Measured) -> None:
    first, second = measured.ask(), measured.ask()
    assert first == second == []
    measured.finish()
    assert first == second == [Disk(1, 2)]
    assert measured.times == 1


def test_it_is_measured_in_a_thread_that_the_end_does_not_wait_for(measured: Measured) -> None:
    measured.ask()
    measured.finish()
    assert measured.thread is not threading.main_thread()
    assert measured.thread is not None
    assert measured.thread.daemon


def test_an_answer_is_good_for_some_seconds(measured: Measured) -> None:
    measured.ask()
    measured.finish()
    measured.result = Disk(3, 4)
    measured.clock.advance(KEPT_SECONDS - 0.1)
    assert measured.ask() == [Disk(1, 2)]
    measured.clock.advance(0.2)
    got = measured.ask()
    measured.finish()
    assert got == [Disk(3, 4)]


def test_an_answer_that_took_long_is_good_for_longer(measured: Measured) -> None:
    measured.ask()
    measured.finish(seconds=2.0)
    measured.clock.advance(KEPT_TIMES * 2.0 - 0.1)
    assert measured.ask() == [Disk(1, 2)]
    assert measured.times == 1
    measured.clock.advance(0.2)
    measured.ask()
    measured.finish()
    assert measured.times == 2


def test_a_folder_that_cannot_be_looked_into_is_unavailable_and_tried_again(
    measured: Measured,
) -> None:
    measured.result = PermissionError(13, "Permission denied")
    got = measured.ask()
    measured.finish()
    assert got[0].check(Unavailable)
    assert got[0].value.message == "the data folder cannot be looked into: Permission denied"
    measured.result = Disk(1, 2)
    got = measured.ask()
    measured.finish()
    assert got == [Disk(1, 2)]


def test_a_fault_reaches_who_asked(measured: Measured) -> None:
    measured.result = ValueError("a fault")
    got = measured.ask()
    measured.finish()
    assert got[0].check(ValueError)


@pytest_twisted.ensureDeferred
async def test_a_real_folder_is_measured_beside_the_reactor(tmp_path: Path) -> None:
    from twisted.internet import reactor

    taken = put(tmp_path / "aptask.db")
    folder = MeasuredFolder(tmp_path, NAMES, reactor, reactor.callFromThread)  # type: ignore
    disk = await folder.measure()
    assert disk.used == taken
    assert disk.free > 0
