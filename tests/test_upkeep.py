"""What the daemon does from time to time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, ensureDeferred, fail, maybeDeferred, succeed
from twisted.internet.task import Clock

from aptask import upkeep
from aptask.errors import Unavailable
from aptask.model.event import Event, Level
from aptask.model.job import Job
from aptask.model.limits import Limits
from aptask.model.statistics import Totals
from aptask.runner.output import Outputs, Writer
from aptask.storage import log
from aptask.storage.memory import MemoryStore
from aptask.upkeep import PRUNE_AGAIN_SECONDS, PRUNE_SECONDS, STATISTICS_SECONDS, Upkeep

DAY = 86400.0


class Clerk:
    def __init__(self) -> None:
        self.old: list[list[int]] = []
        self.asked = 0
        self.broken = False

    def prune(self) -> Deferred[list[int]]:
        self.asked += 1
        if self.broken:
            return fail(Unavailable("the disk is full"))
        return succeed(self.old.pop(0) if self.old else [])

    def totals(self) -> Deferred[Totals]:
        return succeed(Totals(4, 2, 17, 1204, {}, {}))


class Scene:
    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.time = 0.0
        self.clerk = Clerk()
        self.store = MemoryStore(lambda: self.time)
        self.folder = folder
        self.outputs = Outputs(folder)
        self.limits = Limits(log_days=1.0)
        self.upkeep = Upkeep(
            scheduler=self.clerk,
            store=self.store,
            outputs=self.outputs,
            limits=lambda: self.limits,
            requests=lambda: 1301,
            clock=self.clock,
            wall=lambda: self.time,
            in_thread=maybeDeferred,
        )

    def write(self, job: int) -> None:
        writer = Writer(self.folder, job, 1000)
        writer.write(b"x")
        writer.close()

    def log(self, message: str = "a") -> None:
        self.store.log([Event(Level.CLIENT, message)])

    def messages(self) -> list[str]:
        found: list[Any] = []
        self.store.read_log(None, 1000, None).addCallback(found.extend)
        return [one.event.message for one in found]


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.upkeep.stop()
    assert not scene.clock.getDelayedCalls()


def test_old_jobs_are_forgotten_with_their_outputs_step_by_step(scene: Scene) -> None:
    scene.upkeep.start()
    for job in (1, 2, 3):
        scene.write(job)
    scene.clerk.old = [[1], [2]]
    scene.clock.advance(PRUNE_SECONDS)
    assert scene.outputs.jobs() == {2, 3}
    scene.clock.advance(PRUNE_AGAIN_SECONDS)
    assert scene.outputs.jobs() == {3}
    scene.clock.advance(PRUNE_AGAIN_SECONDS)
    asked = scene.clerk.asked
    scene.clock.advance(PRUNE_AGAIN_SECONDS)
    assert scene.clerk.asked == asked
    scene.clock.advance(PRUNE_SECONDS)
    assert scene.clerk.asked == asked + 1


def test_old_events_are_forgotten_by_age_and_by_number(scene: Scene) -> None:
    scene.upkeep.start()
    scene.log("old")
    scene.time = 2 * DAY
    for number in range(5):
        scene.log(str(number))
    scene.clock.advance(PRUNE_SECONDS)
    assert scene.messages() == list("01234")
    scene.limits = Limits(log_entries=2)
    for _ in range(10):
        scene.clock.advance(PRUNE_SECONDS)
    assert scene.messages() == ["3", "4"]


def test_a_step_that_fails_is_tried_again(scene: Scene) -> None:
    scene.upkeep.start()
    scene.clerk.broken = True
    scene.clock.advance(PRUNE_SECONDS)
    scene.clerk.broken = False
    scene.write(1)
    scene.clerk.old = [[1]]
    scene.clock.advance(PRUNE_SECONDS)
    assert scene.outputs.jobs() == set()


def test_an_output_that_cannot_be_removed_holds_up_nothing(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = Outputs.remove

    def fail_once(outputs: Outputs, job: int) -> None:
        if job == 1:
            raise OSError(30, "Read-only file system")
        remove(outputs, job)

    monkeypatch.setattr(Outputs, "remove", fail_once)
    scene.log("old")
    scene.time = 2 * DAY
    scene.upkeep.start()
    for job in (1, 2, 3):
        scene.write(job)
    scene.clerk.old = [[1, 2, 3]]
    scene.clock.advance(PRUNE_SECONDS)
    assert scene.outputs.jobs() == {1}
    assert scene.messages() == []


def test_files_are_removed_in_another_thread(scene: Scene) -> None:
    scene.upkeep.start()
    scene.write(1)
    later: list[Any] = []
    scene.upkeep._in_thread = lambda call: later.append(call) or Deferred()  # type: ignore
    scene.clerk.old = [[1]]
    scene.clock.advance(PRUNE_SECONDS)
    assert scene.outputs.jobs() == {1}
    later[0]()
    assert scene.outputs.jobs() == set()


def test_outputs_of_jobs_that_are_not_in_the_book_are_removed_at_the_start(scene: Scene) -> None:
    job = Job(id=0, task="sleep", owner="alice", arguments=b"{}", created=0.0)
    ensureDeferred(scene.store.add(job))
    scene.write(1)
    scene.write(2)
    scene.upkeep.start()
    assert scene.outputs.jobs() == {1}


def test_there_may_be_more_of_them_than_are_looked_up_at_once(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "REMOVED_AT_ONCE", 2)
    for job in range(1, 6):
        scene.write(job)
    scene.upkeep.start()
    assert scene.outputs.jobs() == set()


def test_many_old_events_are_forgotten_step_by_step(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PRUNED_AT_ONCE", 2)
    scene.upkeep.start()
    for _ in range(5):
        scene.log("old")
    scene.time = 2 * DAY
    scene.clock.advance(PRUNE_SECONDS)
    assert len(scene.messages()) == 3
    scene.clock.advance(PRUNE_AGAIN_SECONDS)
    assert len(scene.messages()) == 1


def test_how_much_there_is_is_written_down_once_an_hour_and_at_the_end(scene: Scene) -> None:
    said = "running 2, queued 17, ended 1204; requests since the start: 1301"
    scene.upkeep.start()
    assert scene.messages() == []
    scene.clock.advance(STATISTICS_SECONDS)
    assert scene.messages() == [said]
    scene.upkeep.stop()
    scene.clock.advance(STATISTICS_SECONDS)
    assert scene.messages() == [said]
    scene.upkeep.close()
    assert scene.messages() == [said, said]
