"""A job's life, with an executor and a store that do what the test says."""

from __future__ import annotations

from copy import copy
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer
from zope.interface.verify import verifyObject

from aptask.errors import Conflict, LimitReached, Unavailable
from aptask.interfaces import IExecutor, IListener
from aptask.model.description import Description
from aptask.model.job import Job, State, Status
from aptask.model.limits import Limits
from aptask.model.orders import Ended, Progressed, Spawn, Start, Started, Stop
from aptask.scheduling.scheduler import REMEMBERED, Scheduler
from aptask.storage.memory import MemoryStore

SLEEP = Description("sleep", "", (), "here", grace=7.0)


@implementer(IExecutor)
class Executor:
    name = "test"

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.number = 0

    def start(self, listener: Any) -> None:
        pass

    def order(self, order: Any) -> None:
        self.orders.append(order)

    def stop(self, grace: float) -> Any:
        raise NotImplementedError

    def started(self) -> list[int]:
        return [order.job for order in self.orders if isinstance(order, Start)]


class Tasks:
    def __init__(self) -> None:
        self.known = {"sleep": SLEEP}

    def get(self, name: str) -> Description | None:
        return self.known.get(name)

    def work(self, description: Description, values: Any) -> Spawn:
        return Spawn(["sleep", *map(str, values.values())])


class Slow(MemoryStore):
    """A store whose commits happen when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.pending: list[Any] = []

    def _later(self, done: Any) -> Any:
        later: Deferred[None] = Deferred()
        self.pending.append((later, done))
        return later

    def add(self, job: Job, **keys: Any) -> Any:
        return self._later(lambda: MemoryStore.add(self, job, **keys))

    def update(self, job: Job, **more: Any) -> Any:
        became = copy(job)
        return self._later(lambda: MemoryStore.update(self, became, **more))

    def commit(self) -> None:
        pending, self.pending = self.pending, []
        for later, done in pending:
            done().addCallback(later.callback)


class World:
    def __init__(self, *, slots: int = 1, store: Any = None, ready: bool = True, **limits: Any):
        self.now = 1000.0
        self.executor = Executor()
        self.tasks = Tasks()
        self.store = store or MemoryStore()
        self.scheduler = Scheduler(
            store=self.store,
            executor=self.executor,
            catalog=self.tasks,
            limits=Limits(**limits),
            slots=slots,
            clock=lambda: self.now,
        )
        if ready:
            self.scheduler.ready()

    def submit(self, owner: str = "alice", arguments: bytes = b"{}", **more: Any) -> Job:
        found: list[Job] = []
        self.scheduler.submit(owner, SLEEP, arguments, more.get("secrets")).addCallback(
            found.append
        )
        return found[0]

    def end(self, number: int, status: Status = Status.DONE, **more: Any) -> None:
        self.executor.number += 1
        attempt = more.pop("attempt", 1)
        self.scheduler.happened(
            Ended(self.executor.number, number, attempt, status, self.now, **more)
        )

    def find(self, number: int) -> Job | None:
        found: list[Job | None] = []
        self.scheduler.find(number).addCallback(found.append)
        return found[0]

    def listed(self, owner: str | None = None, limit: int = 100, offset: int = 0) -> Any:
        found: list[Any] = []
        self.scheduler.active(owner, limit, offset).addCallback(found.append)
        ((listed, total),) = found
        return [(job.id, position) for job, position in listed], total


def test_the_scheduler_is_a_listener() -> None:
    assert verifyObject(IListener, World().scheduler)


def test_first_come_first_served_as_many_as_there_are_slots() -> None:
    world = World(slots=2)
    for _ in range(4):
        world.submit()
    assert world.executor.started() == [1, 2]
    world.end(2)
    assert world.executor.started() == [1, 2, 3]
    world.end(1)
    world.end(3)
    world.end(4)
    assert world.executor.started() == [1, 2, 3, 4]
    assert world.listed() == ([], 0)


def test_nothing_starts_before_the_executor_is_ready() -> None:
    world = World(ready=False)
    world.submit()
    assert world.executor.orders == []
    world.scheduler.ready()
    assert world.executor.started() == [1]


def test_positions_count_those_that_wait_over_all_owners() -> None:
    world = World()
    for owner in ("alice", "bob", "alice", "bob"):
        world.submit(owner)
    assert world.listed() == ([(1, 0), (2, 1), (3, 2), (4, 3)], 4)
    assert world.listed("bob") == ([(2, 1), (4, 3)], 2)
    assert world.listed("alice") == ([(1, 0), (3, 2)], 2)
    assert world.listed("carol") == ([], 0)


def test_a_list_can_be_paged_across_what_runs_and_what_waits() -> None:
    world = World(slots=3)
    for _ in range(8):
        world.submit()
    whole, total = world.listed()
    assert total == 8
    for limit in (1, 2, 3, 5):
        pages: list[Any] = []
        for offset in range(0, 8, limit):
            pages += world.listed(limit=limit, offset=offset)[0]
        assert pages == whole


def test_a_job_is_acknowledged_and_started_only_once_it_is_in_the_store() -> None:
    store = Slow()
    world = World(store=store)
    acknowledged: list[Job] = []
    world.scheduler.submit("alice", SLEEP, b"{}", None).addCallback(acknowledged.append)
    assert acknowledged == []
    store.commit()
    assert [job.id for job in acknowledged] == [1]
    assert world.executor.orders == []  # it is being entered as starting
    assert acknowledged[0].state is State.ACTIVE
    store.commit()
    assert world.executor.started() == [1]


def test_its_end_is_told_only_once_it_is_in_the_store() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    store.commit()
    store.commit()
    told: list[Any] = []
    world.scheduler.publisher.subscribe(1, lambda job: told.append(job.state))
    world.end(1)
    assert told == []
    found = world.find(1)
    assert found is not None
    store.commit()
    assert told == [State.ENDED]


def test_a_submission_that_the_store_refuses_leaves_nothing_behind() -> None:
    class Full(MemoryStore):
        def add(self, job: Job, **keys: Any) -> Any:
            return fail(Unavailable("the disk is full"))

    world = World(store=Full())
    failures: list[Any] = []
    world.scheduler.submit("alice", SLEEP, b"{}", None).addErrback(failures.append)
    assert failures[0].check(Unavailable)
    assert world.listed() == ([], 0)
    assert world.executor.orders == []


def test_the_order_to_start_carries_arguments_and_secrets() -> None:
    world = World()
    world.submit(arguments=b'{"a":1,"b":null}', secrets=b'{"b":"hush"}')
    (order,) = world.executor.orders
    assert order.work.command == ["sleep", "1", "hush"]
    assert (order.job, order.attempt, order.task, order.owner) == (1, 1, "sleep", "alice")


def test_secrets_are_forgotten_with_the_end() -> None:
    world = World()
    job = world.submit(secrets=b'{"b":"hush"}')
    world.end(1)
    assert job.secrets is None


def test_progress_is_published_and_never_falls() -> None:
    world = World()
    world.submit()
    seen: list[Any] = []
    world.scheduler.publisher.subscribe(1, lambda job: seen.append(job.progress.fraction))
    for fraction in (0.5, 0.25, 0.75, 0.75):
        world.scheduler.happened(Progressed(1, 1, fraction))
    assert seen == [0.5, 0.75]


def test_news_of_another_attempt_or_job_are_passed_over() -> None:
    world = World()
    job = world.submit()
    world.scheduler.happened(Progressed(1, 2, 0.5))
    world.scheduler.happened(Progressed(7, 1, 0.5))
    world.end(1, attempt=2)
    assert job.progress.fraction is None
    assert job.state is State.ACTIVE


def test_a_second_end_is_passed_over() -> None:
    world = World()
    job = world.submit()
    world.end(1)
    world.end(1, Status.ERROR)
    assert job.status is Status.DONE
    assert world.find(1) == job


def test_what_an_end_tells_is_kept() -> None:
    world = World()
    world.submit()
    world.scheduler.happened(Started(1, 1, 1, 4711, 1001.5))
    world.now = 1003.0
    world.end(1, Status.ERROR, message="exit code 3", exit=3, fraction=0.5)
    job = world.find(1)
    assert job is not None
    assert (job.status, job.exit, job.progress.message) == (Status.ERROR, 3, "exit code 3")
    assert (job.created, job.started, job.ended) == (1000.0, 1001.5, 1003.0)
    assert job.progress.fraction == 0.5


def test_a_job_that_is_done_is_wholly_done() -> None:
    world = World()
    job = world.submit()
    world.end(1, fraction=0.7)
    assert job.progress.fraction == 1.0


def test_stopping_one_that_waits_ends_it_at_once_and_lets_the_others_move_up() -> None:
    world = World()
    for _ in range(3):
        job = world.submit()
    second = world.find(2)
    assert second is not None
    world.scheduler.stop(second, None)
    assert (second.state, second.status) == (State.ENDED, Status.STOPPED)
    assert world.scheduler.position(job) == 1
    assert world.executor.started() == [1]
    world.end(1)
    assert world.executor.started() == [1, 3]


def test_stopping_one_that_runs_is_an_order_with_its_tasks_grace() -> None:
    world = World()
    job = world.submit()
    world.scheduler.stop(job, None)
    assert job.state is State.STOPPING
    assert world.executor.orders[-1] == Stop(1, 1, 7.0)
    world.scheduler.stop(job, 0.5)
    assert world.executor.orders[-1] == Stop(1, 1, 0.5)
    world.end(1, Status.STOPPED)
    assert (job.state, job.status) == (State.ENDED, Status.STOPPED)


def test_stopping_what_has_ended_is_a_conflict() -> None:
    world = World()
    job = world.submit()
    world.end(1)
    with pytest.raises(Conflict, match="task 1 has ended \\(done\\)"):
        world.scheduler.stop(job, None)


def test_one_stopped_while_it_is_entered_as_starting_never_starts() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    store.commit()
    job = world.find(1)
    assert job is not None
    world.scheduler.stop(job, None)
    store.commit()
    store.commit()
    assert world.executor.started() == []
    assert (job.state, job.status) == (State.ENDED, Status.STOPPED)


def test_a_task_that_is_gone_when_its_turn_comes_is_an_error_that_says_so() -> None:
    world = World()
    world.submit()
    second = world.submit()
    third = world.submit()
    del world.tasks.known["sleep"]
    world.end(1)
    assert second.status is third.status is Status.ERROR
    assert second.progress.message == "there is no task `sleep` any more"


def test_whatever_is_wrong_with_starting_a_job_stays_with_it(logged_failures: list[Any]) -> None:
    world = World()
    world.tasks.work = None  # type: ignore[assignment, method-assign]
    job = world.submit()
    assert job.status is Status.ERROR
    assert "could not be started" in (job.progress.message or "")
    logged_failures.clear()
    assert world.listed() == ([], 0)


def test_losing_the_executor_interrupts_what_ran_and_keeps_what_waits() -> None:
    world = World(slots=2)
    for _ in range(3):
        world.submit()
    world.scheduler.lost("the runner died")
    for number in (1, 2):
        job = world.find(number)
        assert job is not None
        assert (job.status, job.progress.message) == (Status.INTERRUPTED, "the runner died")
    assert world.listed() == ([(3, 1)], 1)
    world.scheduler.ready()
    assert world.executor.started() == [1, 2, 3]


def test_a_full_queue_refuses_more_until_there_is_room() -> None:
    world = World(queued=2)
    for _ in range(3):
        world.submit()
    with pytest.raises(LimitReached, match="2 tasks wait"):
        world.submit()
    world.end(1)
    world.submit()


def test_one_that_closes_takes_and_starts_nothing_more() -> None:
    world = World()
    world.submit()
    world.submit()
    world.scheduler.close()
    with pytest.raises(Unavailable):
        world.submit()
    world.end(1)
    assert world.executor.started() == [1]


def test_old_history_is_forgotten_by_age_and_by_number() -> None:
    world = World(history_days=1.0, history_tasks=2)
    for _ in range(4):
        world.submit()
    for number in (1, 2, 3, 4):
        world.now += 10
        world.end(number)
    forgotten: list[list[int]] = []
    world.scheduler.prune().addCallback(forgotten.append)
    assert forgotten == [[1, 2]]
    assert world.find(1) is None
    world.now += 86400 - 5
    world.scheduler.prune().addCallback(forgotten.append)
    assert forgotten[1:] == [[3]]
    assert world.find(4) is not None


def test_owners_that_have_nothing_waiting_cost_nothing() -> None:
    world = World()
    for number in range(1, 51):
        world.submit(f"owner{number}")
        world.end(number)
    assert world.scheduler._waiting == {}
    assert world.scheduler._jobs == {}


class Fetching(MemoryStore):
    """A store whose jobs are read when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Any] = []

    def get(self, number: int) -> Any:
        later: Deferred[Any] = Deferred()
        self.reads.append((later, number))
        return later

    def read(self) -> None:
        reads, self.reads = self.reads, []
        for later, number in reads:
            MemoryStore.get(self, number).addCallback(later.callback)


def test_only_the_first_of_those_that_wait_are_kept_whole_in_memory() -> None:
    world = World(slots=2)
    count = REMEMBERED + 500
    for _ in range(count):
        world.submit()
    assert len(world.scheduler._jobs) <= REMEMBERED + 2
    listed, total = world.listed(limit=count)
    assert total == count
    assert listed == [(1, 0), (2, 0), *((n, n - 2) for n in range(3, count + 1))]
    for number in range(1, count + 1):
        world.end(number)
    assert world.executor.started() == list(range(1, count + 1))
    assert world.listed() == ([], 0)
    assert world.scheduler._jobs == {}


def test_one_that_is_not_kept_whole_can_be_stopped() -> None:
    world = World()
    for _ in range(REMEMBERED + 10):
        world.submit()
    job = world.find(REMEMBERED + 5)
    assert job is not None
    world.scheduler.stop(job, None)
    ended = world.find(REMEMBERED + 5)
    assert ended is not None
    assert (ended.state, ended.status) == (State.ENDED, Status.STOPPED)
    assert world.listed()[1] == REMEMBERED + 9


def restored(store: Any, slots: int = 1) -> World:
    """A world after the one in which `store` was written."""
    world = World(slots=slots, store=store, ready=False)
    done: list[Any] = []
    world.scheduler.restore().addCallback(done.append)
    assert done == [None]
    return world


def test_what_an_earlier_daemon_left_waits_on_in_its_order() -> None:
    before = World(slots=1, ready=False)
    for owner in ("alice", "bob", "alice"):
        before.submit(owner)
    world = restored(before.store)
    assert world.listed() == ([(1, 1), (2, 2), (3, 3)], 3)
    assert world.listed("alice") == ([(1, 1), (3, 3)], 2)
    world.scheduler.ready()
    assert world.executor.started() == [1]
    world.end(1)
    world.end(2)
    world.end(3)
    assert world.executor.started() == [1, 2, 3]
    assert world.submit().id == 4


def test_what_an_earlier_daemon_had_launched_is_interrupted_and_not_run_again() -> None:
    before = World(slots=1)
    before.submit()
    before.submit()
    world = restored(before.store)
    job = world.find(1)
    assert job is not None
    assert (job.state, job.status) == (State.ENDED, Status.INTERRUPTED)
    assert job.progress.message == "the daemon ended while it ran"
    world.scheduler.ready()
    assert world.executor.started() == [2]


def test_one_that_is_stopped_while_it_is_fetched_does_not_run_and_gives_its_slot_back() -> None:
    before = World(ready=False, store=Fetching())
    before.submit()
    before.submit()
    world = restored(before.store)
    world.scheduler.ready()
    world.store.read()  # for the first, which then starts
    world.end(1)
    (fetching,) = world.store.reads
    job: list[Any] = []
    MemoryStore.get(world.store, 2).addCallback(job.append)
    world.scheduler.stop(job[0], None)
    assert fetching[1] == 2
    world.store.read()
    assert world.executor.started() == [1]
    third = world.submit()
    assert world.executor.started() == [1, third.id]


def test_one_that_cannot_be_fetched_is_tried_again(logged_failures: list[Any]) -> None:
    before = World(ready=False, store=Fetching())
    before.submit()
    world = restored(before.store)
    world.scheduler.ready()
    ((later, _),) = world.store.reads
    world.store.reads.clear()
    later.errback(Unavailable("the disk is gone"))
    logged_failures.clear()
    assert world.listed()[1] == 1
    world.scheduler.ready()
    world.store.read()
    assert world.executor.started() == [1]
