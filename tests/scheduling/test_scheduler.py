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
from aptask.model.job import Added, Job, State, Status
from aptask.model.limits import Limits
from aptask.model.orders import Ended, Progressed, Spawn, Start, Started, Stop
from aptask.model.statistics import Executor as Executing
from aptask.model.statistics import Group, Totals
from aptask.scheduling.backlog import REMEMBERED
from aptask.scheduling.scheduler import Scheduler
from aptask.storage.memory import MemoryStore

SLEEP = Description("sleep", "", (), "here", grace=7.0)


@implementer(IExecutor)
class Executor:
    name = "test"

    def __init__(self) -> None:
        self.orders: list[Any] = []
        self.number = 0
        self.room = 0

    def start(self, listener: Any, applied: Any) -> None:
        pass

    def make_room(self, jobs: int) -> None:
        self.room = jobs

    def order(self, order: Any) -> None:
        self.orders.append(order)

    def stop(self, grace: float) -> Any:
        raise NotImplementedError

    def leave(self) -> Any:
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
            self.scheduler.ready(())

    def submit(self, owner: str = "alice", arguments: bytes = b"{}", **more: Any) -> Job:
        secrets = more.pop("secrets", None)
        found: list[Added] = []
        self.scheduler.submit(owner, SLEEP, arguments, secrets, **more).addCallback(found.append)
        job = self.find(found[0].id)
        assert job is not None
        return job

    def end(self, number: int, status: Status = Status.DONE, **more: Any) -> Deferred[None] | None:
        self.executor.number += 1
        attempt = more.pop("attempt", 1)
        source = "runner", self.executor.number
        end = Ended(source[1], number, attempt, status, self.now, **more)
        return self.scheduler.happened(end, source)

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
    world.scheduler.ready(())
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
    acknowledged: list[Added] = []
    world.scheduler.submit("alice", SLEEP, b"{}", None).addCallback(acknowledged.append)
    world.scheduler.submit("alice", SLEEP, b"{}", None).addCallback(acknowledged.append)
    assert (acknowledged, world.executor.orders) == ([], [])
    store.commit()
    assert acknowledged == [Added(1), Added(2)]
    assert world.executor.started() == [1]  # it was entered as starting
    world.end(1)
    assert world.executor.started() == [1]  # the second is being entered as starting
    store.commit()
    assert world.executor.started() == [1, 2]


def test_one_that_is_entered_as_starting_does_not_overtake_one_that_came_before() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    store.commit()
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    world.end(1)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    for _ in range(4):
        store.commit()
    assert world.executor.started() == [1, 2]


def test_its_end_is_told_only_once_it_is_in_the_store() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    store.commit()
    told: list[Any] = []
    world.scheduler.publisher.subscribe(1, lambda job: told.append(job.state))
    kept = world.end(1)
    assert told == []
    assert kept is not None
    assert not kept.called
    found = world.find(1)
    assert found is not None
    store.commit()
    assert told == [State.ENDED]
    assert kept.called


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


def test_a_submission_that_the_store_cannot_take_keeps_no_slot() -> None:
    class Refusing(MemoryStore):
        refuses = True

        def add(self, job: Job, **keys: Any) -> Any:
            if self.refuses:
                raise ValueError("NUL")
            return super().add(job, **keys)

    world = World(store=Refusing())
    for _ in range(3):
        with pytest.raises(ValueError, match="NUL"):
            world.submit()
    world.store.refuses = False
    assert world.submit().state is State.ACTIVE
    assert world.listed() == ([(1, 0)], 1)


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


def test_who_wants_to_know_of_all_jobs_hears_of_new_ones_and_of_each_change() -> None:
    world = World()
    told: list[tuple[int, State, float | None]] = []
    world.scheduler.publisher.subscribe(
        None, lambda job: told.append((job.id, job.state, job.started))
    )
    world.submit()
    world.submit()
    assert told == [(1, State.ACTIVE, 1000.0), (2, State.QUEUED, None)]
    world.scheduler.happened(Started(1, 1, 1, 4711, 1000.5), ("runner", 1))
    assert told[2:] == [(1, State.ACTIVE, 1000.5)]
    world.end(1)
    assert [(number, state) for number, state, _ in told[3:]] == [
        (1, State.ENDED), (2, State.ACTIVE),
    ]  # fmt: skip


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
    world = World(store=store, ready=False)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    store.commit()
    world.scheduler.ready(())
    job = world.find(1)
    assert job is not None
    assert job.state is State.ACTIVE
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
    world.scheduler.ready(())
    assert world.executor.started() == [1, 2, 3]


def test_a_full_queue_refuses_more_until_there_is_room() -> None:
    world = World(queued=2)
    for _ in range(3):
        world.submit()
    with pytest.raises(LimitReached, match="2 tasks wait"):
        world.submit()
    world.end(1)
    world.submit()


def test_those_that_the_store_has_not_entered_yet_count_as_waiting() -> None:
    store = Slow()
    world = World(store=store, queued=2)
    submit = world.scheduler.submit
    taken = [submit("alice", SLEEP, b"{}", None) for _ in range(3)]
    with pytest.raises(LimitReached, match="2 tasks wait"):
        submit("alice", SLEEP, b"{}", None)
    store.commit()
    assert [each.result for each in taken] == [Added(1), Added(2), Added(3)]
    with pytest.raises(LimitReached, match="2 tasks wait"):
        submit("alice", SLEEP, b"{}", None)


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
    assert world.scheduler._backlog._lines == {}
    assert world.scheduler._backlog._whole == {}
    assert world.scheduler._running == {}


class Fetching(MemoryStore):
    """A store whose jobs are read when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[Any] = []

    def get_many(self, numbers: Any) -> Any:
        later: Deferred[Any] = Deferred()
        self.reads.append((later, numbers))
        return later

    def read(self) -> None:
        reads, self.reads = self.reads, []
        for later, numbers in reads:
            MemoryStore.get_many(self, numbers).addCallback(later.callback)


def test_only_the_first_of_those_that_wait_are_kept_whole_in_memory() -> None:
    world = World(slots=2)
    count = REMEMBERED + 500
    for _ in range(count):
        world.submit()
    assert len(world.scheduler._backlog._whole) <= REMEMBERED
    listed, total = world.listed(limit=count)
    assert total == count
    assert listed == [(1, 0), (2, 0), *((n, n - 2) for n in range(3, count + 1))]
    for number in range(1, count + 1):
        world.end(number)
    assert world.executor.started() == list(range(1, count + 1))
    assert world.listed() == ([], 0)
    assert world.scheduler._backlog._whole == {}


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
    assert done == [None if store._applied is None else store._applied]
    return world


def test_what_an_earlier_daemon_left_waits_on_in_its_order() -> None:
    before = World(slots=1, ready=False)
    for owner in ("alice", "bob", "alice"):
        before.submit(owner)
    world = restored(before.store)
    assert world.listed() == ([(1, 1), (2, 2), (3, 3)], 3)
    assert world.listed("alice") == ([(1, 1), (3, 3)], 2)
    world.scheduler.ready(())
    assert world.executor.started() == [1]
    world.end(1)
    world.end(2)
    world.end(3)
    assert world.executor.started() == [1, 2, 3]
    assert world.submit().id == 4


def test_what_an_earlier_daemon_had_launched_goes_on_where_it_is_held() -> None:
    before = World(slots=2)
    for _ in range(3):
        before.submit()
    world = restored(before.store, slots=2)
    assert world.listed() == ([(1, 0), (2, 0), (3, 1)], 3)
    world.scheduler.ready({(1, 1), (2, 1)})
    assert world.executor.orders == []
    world.end(2)
    assert world.executor.started() == [3]


def test_what_was_launched_and_is_not_held_is_ordered_once_more() -> None:
    # Its executor has never had it, or answers with what became of it.
    before = World()
    before.submit()
    world = restored(before.store)
    world.scheduler.ready(())
    assert world.executor.started() == [1]


def test_what_was_ordered_and_not_begun_is_not_lost_with_the_runner_after() -> None:
    before = World()
    before.submit()
    world = restored(before.store)
    world.scheduler.over()
    world.scheduler.lost("the next runner died at once")
    world.scheduler.ready(())
    (order,) = world.executor.orders
    assert (order.job, order.attempt) == (1, 1)


def test_what_was_ordered_and_not_begun_is_stopped_at_once() -> None:
    before = World()
    before.submit()
    world = restored(before.store)
    world.scheduler.over()
    job = world.find(1)
    assert job is not None
    world.scheduler.stop(job, None)
    assert (job.state, job.status) == (State.ENDED, Status.STOPPED)
    world.scheduler.ready(())
    assert world.executor.orders == []


def test_what_is_held_that_the_book_knows_nothing_of_is_ended() -> None:
    before = World(slots=2)
    before.submit()
    before.submit()
    world = restored(before.store, slots=2)
    world.scheduler.ready({(1, 1), (2, 7), (40, 1)})
    stops = {order for order in world.executor.orders if isinstance(order, Stop)}
    assert stops == {Stop(2, 7, 0.0), Stop(40, 1, 0.0)}
    assert world.executor.started() == [2]


def test_a_stop_is_said_again_to_whoever_goes_on_with_the_job() -> None:
    before = World()
    before.scheduler.stop(before.submit(), 5.0)
    world = restored(before.store)
    assert world.executor.orders == []
    world.scheduler.ready({(1, 1)})
    assert world.executor.orders == [Stop(1, 1, 7.0)]


def test_what_an_earlier_daemon_had_launched_and_is_lost_is_not_run_again() -> None:
    before = World(slots=2)
    before.submit()
    before.scheduler.stop(before.submit(), None)
    before.submit()
    world = restored(before.store, slots=2)
    world.scheduler.lost("the runner died")
    found = [world.find(1), world.find(2)]
    assert [job and job.status for job in found] == [Status.INTERRUPTED, Status.STOPPED]
    assert [job and job.progress.message for job in found] == ["the runner died"] * 2
    world.scheduler.ready(())
    assert world.executor.started() == [3]


def test_what_asked_for_it_is_queued_again_where_it_would_end_as_interrupted() -> None:
    world = World()
    world.submit(secrets=b'{"b":"hush"}', rerun=True)
    second = world.submit()
    world.scheduler.happened(Progressed(1, 1, 0.5))
    world.scheduler.lost("the runner died")
    job = world.find(1)
    assert job is not None
    assert (job.state, job.status, job.attempt) == (State.QUEUED, Status.INITIALIZED, 2)
    assert (job.started, job.exit, job.progress.fraction) == (None, None, None)
    assert job.progress.message == "the runner died"
    assert world.listed() == ([(1, 1), (2, 2)], 2)
    world.scheduler.ready(())
    order = world.executor.orders[-1]
    assert (order.job, order.attempt, order.work.command) == (1, 2, ["sleep", "hush"])
    assert second.state is State.QUEUED
    world.end(1)  # of the first attempt
    assert job.state is State.ACTIVE
    world.end(1, attempt=2)
    assert job.status is Status.DONE


def test_rerun_is_for_what_is_interrupted_alone() -> None:
    for status in (Status.ERROR, Status.STOPPED, Status.DONE):
        world = World()
        job = world.submit(rerun=True)
        world.end(1, status)
        assert (job.state, job.status) == (State.ENDED, status)
    world = World()
    job = world.submit(rerun=True)
    world.scheduler.stop(job, None)
    world.scheduler.lost("the runner died")
    assert (job.state, job.status) == (State.ENDED, Status.STOPPED)


def test_rerun_outlives_the_daemon() -> None:
    before = World()
    before.submit(rerun=True)
    world = restored(before.store)
    world.scheduler.lost("the machine was restarted")
    again = restored(world.store)
    assert again.listed() == ([(1, 1)], 1)
    again.scheduler.ready(())
    assert again.executor.orders[0].attempt == 2


def test_what_was_never_ordered_is_not_lost_with_the_executor() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    world.scheduler.paused()
    store.commit()
    world.scheduler.lost("the runner died")
    assert world.executor.orders == []
    world.scheduler.ready(())
    assert world.executor.started() == [1]


def test_one_that_was_not_ordered_yet_is_stopped_at_once() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    world.scheduler.paused()
    store.commit()
    job = world.find(1)
    assert job is not None
    world.scheduler.stop(job, None)
    store.commit()
    assert (job.state, job.status) == (State.ENDED, Status.STOPPED)
    world.scheduler.ready(())
    assert world.executor.orders == []


def test_one_that_was_launched_when_the_daemon_closes_waits_for_the_next_one() -> None:
    store = Slow()
    world = World(store=store)
    world.scheduler.submit("alice", SLEEP, b"{}", None)
    world.scheduler.close()
    store.commit()
    store.commit()
    assert world.executor.orders == []
    after = restored(world.store)
    assert after.listed() == ([(1, 1)], 1)
    job = after.find(1)
    assert job is not None
    assert (job.attempt, job.started) == (1, None)


def test_an_end_that_the_book_does_not_get_is_not_safe(logged_failures: list[Any]) -> None:
    class Closing(MemoryStore):
        def update(self, job: Job, **more: Any) -> Any:
            return fail(Unavailable("the store is closed"))

    world = World(store=Closing())
    world.submit()
    kept = world.end(1)
    assert kept is not None
    assert not kept.called or kept.paused
    logged_failures.clear()


def test_the_same_once_is_the_same_job_whether_it_waits_runs_or_has_ended() -> None:
    world = World()
    found: list[Added] = []

    def submit(**keys: str) -> None:
        world.scheduler.submit("alice", SLEEP, b"{}", None, **keys).addCallback(found.append)

    for keys in ({"once": "a"}, {"unique": "b"}):
        submit(**keys)
        submit(**keys)
    world.end(1)
    world.end(2)
    submit(once="a")
    submit(unique="b")
    assert found == [
        Added(1),
        Added(1, existing=True),
        Added(2),
        Added(2, existing=True),
        Added(1, existing=True),
        Added(3),
    ]
    assert world.executor.started() == [1, 2, 3]
    world.end(3)
    assert world.submit().state is State.ACTIVE  # no slot was lost on the way


def test_the_executor_is_told_where_the_book_is() -> None:
    world = World()
    world.scheduler.joined("runner")
    world.submit()
    world.end(1)
    done: list[Any] = []
    World(store=world.store, ready=False).scheduler.restore().addCallback(done.append)
    assert done == [("runner", 1)]


def test_one_that_is_stopped_while_it_is_fetched_does_not_run_and_gives_its_slot_back() -> None:
    before = World(ready=False, store=Fetching())
    before.submit()
    before.submit()
    world = restored(before.store)
    world.scheduler.ready(())
    ((_, numbers),) = world.store.reads
    assert numbers == [1, 2]
    job: list[Any] = []
    MemoryStore.get(world.store, 1).addCallback(job.append)
    world.scheduler.stop(job[0], None)
    world.store.read()
    assert world.executor.started() == [2]
    world.end(2)
    third = world.submit()
    assert world.executor.started() == [2, third.id]


def test_one_that_cannot_be_fetched_is_tried_again(logged_failures: list[Any]) -> None:
    before = World(ready=False, store=Fetching())
    before.submit()
    world = restored(before.store)
    world.scheduler.ready(())
    ((later, _),) = world.store.reads
    world.store.reads.clear()
    later.errback(Unavailable("the disk is gone"))
    logged_failures.clear()
    assert world.scheduler._queue.line.position(1) == 1
    world.scheduler.ready(())
    world.store.read()
    assert world.executor.started() == [1]


# How much there is


def totals(world: World) -> Totals:
    found: list[Totals] = []
    world.scheduler.totals().addCallback(found.append)
    return found[0]


def test_totals_are_of_what_runs_waits_and_has_ended() -> None:
    world = World(slots=2)
    for _ in range(5):
        world.submit()
    world.end(1)
    assert totals(world) == Totals(
        slots=2,
        running=2,
        queued=2,
        ended=1,
        groups={"default": Group(slots=2, running=2, queued=2)},
        executors={"test": Executing("ready", 2)},
    )
    world.scheduler.stop(world.find(5), None)  # type: ignore[arg-type]
    assert (totals(world).queued, totals(world).ended) == (1, 2)


def test_an_executor_is_ready_starting_or_stopped() -> None:
    world = World(ready=False)
    assert totals(world).executors["test"] == Executing("starting", 0)
    world.submit()
    world.scheduler.ready(())
    assert totals(world).executors["test"] == Executing("ready", 1)
    world.scheduler.lost("gone")
    assert totals(world).executors["test"] == Executing("starting", 0)
    world.scheduler.close()
    assert totals(world).executors["test"] == Executing("stopped", 0)


def test_history_is_counted_over_restarts_and_when_it_is_forgotten() -> None:
    world = World(history_tasks=2)
    for number in range(1, 4):
        world.submit()
        world.end(number)
    assert totals(world).ended == 3
    again = World(store=world.store, ready=False, history_tasks=2)
    again.scheduler.restore()
    assert totals(again).ended == 3
    forgotten: list[list[int]] = []
    again.scheduler.prune().addCallback(forgotten.append)
    assert forgotten == [[1]]
    assert totals(again).ended == 2
