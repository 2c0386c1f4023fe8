"""Slots that are set while jobs run and wait, and a daemon that drains."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail

from aptask.errors import InvalidArguments, Unavailable
from aptask.model.event import Event, Level
from aptask.model.group import GroupSetting
from aptask.model.limits import Limits
from aptask.model.statistics import Group
from aptask.storage.memory import MemoryStore
from tests.scheduling.test_scheduler import SLEEP, World


class Pending(MemoryStore):
    """A store that enters what is set when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: list[tuple[str, GroupSetting]] = []
        self.pending: list[Deferred[None]] = []

    def set_group(self, name: str, setting: GroupSetting, events: Any = ()) -> Deferred[None]:
        self.entered.append((name, setting))
        self.pending.append(Deferred())
        return self.pending[-1]


def limit(
    world: World, slots: int | None = None, paused: bool | None = None, name: str = "default"
) -> None:
    done: list[None] = []
    world.scheduler.limit(name, slots, paused).addCallback(done.append)
    assert done == [None]


def groups(world: World) -> dict[str, Group]:
    found: list[Any] = []
    world.scheduler.totals().addCallback(found.append)
    return found[0].groups


def test_more_slots_start_those_that_wait_at_once() -> None:
    world = World(slots=1)
    for _ in range(4):
        world.submit()
    limit(world, slots=3)
    assert world.executor.started() == [1, 2, 3]
    assert world.executor.room == 3


def test_fewer_slots_let_those_that_run_end() -> None:
    world = World(slots=2)
    for _ in range(4):
        world.submit()
    limit(world, slots=1)
    world.end(1)
    assert world.executor.started() == [1, 2]
    world.end(2)
    assert world.executor.started() == [1, 2, 3]


@pytest.mark.parametrize("setting", [{"slots": 0}, {"paused": True}])
def test_without_slots_or_paused_nothing_is_started(setting: Any) -> None:
    world = World(slots=2)
    world.submit()
    limit(world, **setting)
    world.submit()
    world.end(1)
    assert world.executor.started() == [1]
    assert world.listed() == ([(2, 1)], 1)
    limit(world, slots=2, paused=False)
    assert world.executor.started() == [1, 2]


def test_what_is_set_is_there_before_the_next_daemon_starts_its_first_job() -> None:
    world = World(slots=1)
    limit(world, paused=True)
    limit(world, slots=3, name="gpu")
    world.submit()
    again = World(slots=1, store=world.store, ready=False)
    again.scheduler.restore()
    again.scheduler.ready(())
    assert again.executor.started() == []
    assert again.executor.room == 1 + 3
    assert groups(again)["gpu"] == Group(slots=3, running=0, queued=0)
    limit(again, paused=False)
    assert again.executor.started() == [1]


def test_totals_say_what_the_configuration_says_where_that_does_not_count() -> None:
    world = World(slots=1)
    limit(world, slots=5)
    assert groups(world)["default"] == Group(5, 0, 0, configured=1)
    limit(world, slots=1)
    assert groups(world)["default"] == Group(1, 0, 0)


def test_reading_enters_nothing_and_a_group_that_there_is_not_is_refused() -> None:
    store = Pending()
    world = World(store=store)
    limit(world)
    assert store.entered == []
    failed = world.scheduler.limit("gpu", None, None)
    failed.addErrback(lambda failure: failure.trap(InvalidArguments))
    assert failed.result is InvalidArguments


def test_nothing_is_changed_before_it_is_entered_nor_where_it_cannot_be() -> None:
    store = Pending()
    world = World(slots=1, store=store)
    world.submit()
    world.submit()
    world.scheduler.limit("default", 2, None)
    assert world.executor.started() == [1]
    store.pending[0].callback(None)
    assert world.executor.started() == [1, 2]
    store.set_group = lambda *_: fail(Unavailable("the disk is full"))  # type: ignore[method-assign]
    failed = world.scheduler.limit("default", 9, None)
    failed.addErrback(lambda failure: failure.trap(Unavailable))
    assert groups(world)["default"].slots == 2


def test_what_is_set_together_is_one_after_the_other() -> None:
    store = Pending()
    world = World(slots=1, store=store)
    world.scheduler.limit("default", 2, None)
    world.scheduler.limit("default", None, True)
    store.pending[0].callback(None)
    assert store.entered == [
        ("default", GroupSetting(slots=2)),
        ("default", GroupSetting(slots=2, paused=True)),
    ]
    store.pending[1].callback(None)
    assert groups(world)["default"] == Group(2, 0, 0, paused=True, configured=1)


def test_the_event_that_tells_of_it_is_entered_with_it() -> None:
    world = World()
    event = Event(Level.REQUEST, "limits")
    world.scheduler.limit("default", 2, None, [event])
    read: list[Any] = []
    world.store.read_log(None, 10, Level.REQUEST).addCallback(read.extend)
    assert [logged.event for logged in read] == [event]


def test_another_configuration_takes_effect_at_once() -> None:
    world = World(slots=1)
    for _ in range(3):
        world.submit()
    world.scheduler.configure(Limits(queued=1), 2)
    assert world.executor.started() == [1, 2]
    with pytest.raises(Exception, match="the queue is full: 1 tasks wait"):
        world.submit()


def test_one_that_drains_takes_nothing_new_and_runs_what_is_queued() -> None:
    world = World(slots=1)
    world.submit(once="same")
    world.submit()
    world.scheduler.draining = True
    with pytest.raises(Unavailable, match="draining"):
        world.submit()
    found: list[Any] = []
    world.scheduler.existing("alice", "same", None).addCallback(found.extend)
    assert [one.id for one in found] == [1]
    world.end(1)
    world.end(2)
    assert world.executor.started() == [1, 2]
    world.scheduler.draining = False
    world.submit()
    assert world.executor.started() == [1, 2, 3]


def test_a_job_whose_task_is_gone_when_its_turn_comes_ends_as_an_error_that_says_so() -> None:
    world = World(slots=1)
    world.submit()
    waits = world.submit()
    world.tasks.known = {}
    world.end(1)
    ended = world.find(waits.id)
    assert ended is not None
    assert (ended.status, ended.progress.message) == ("error", "there is no task `sleep` any more")
    assert world.executor.started() == [1]
    world.tasks.known = {"sleep": SLEEP}
    world.submit()
    assert world.executor.started() == [1, 3]
