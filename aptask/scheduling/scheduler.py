"""A job's life from its submission to its end.

Rules:

- Nothing is acknowledged, started or told of before the store has it: a job is entered before its
  number is given away, entered as starting before the order to start it goes out, and entered as
  ended before anybody hears of that.
- Where a slot is free and nobody waits, a job is entered as starting at once: one commit less.
- The queue decides who starts; an executor is told, and reports. A report that is about another
  attempt than the present one is about the past, and is passed over.
- What was launched and is lost is `interrupted`, and waits for another attempt only where it asked
  for that. What was never ordered has not begun: it is ordered when there is somebody to order it.
- The fault of one job stays with it: whatever is wrong with starting it becomes its outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import UNSET
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.errors import AptaskError, Conflict, LimitReached, Unavailable
from aptask.interfaces import IExecutor, IListener, IStore
from aptask.model.description import Description
from aptask.model.event import NOBODY, Author, Event, Level, visible
from aptask.model.job import Added, Change, Job, Outcome, State, Status, change
from aptask.model.limits import Limits
from aptask.model.orders import Ended, Progressed, Report, Start, Started, Stop, Work
from aptask.model.progress import Progress, advance
from aptask.model.statistics import DEFAULT_GROUP, Executor, Group, Totals
from aptask.scheduling.backlog import Backlog
from aptask.scheduling.groups import Groups
from aptask.scheduling.publisher import Publisher
from aptask.scheduling.queue import Queue

GRACE = 10.0
"""Seconds between being asked to stop and being killed, where neither task nor request says."""

_decode: Callable[[bytes], dict[str, Any]] = msgspec.json.Decoder(dict[str, Any]).decode


class Descriptions(Protocol):
    """What the scheduler needs of the catalog of tasks."""

    def get(self, name: str) -> Description | None:
        """The task of this name."""

    def work(self, description: Description, values: dict[str, Any]) -> Work:
        """What an executor is told to do for a job with these arguments."""


@implementer(IListener)
class Scheduler:
    """The clerk: takes jobs in, has them run, and knows how each of them goes.

    Args:
        store: the book.
        executor: where jobs run.
        catalog: the tasks.
        limits: what the queue may hold, and what is kept.
        slots: how many jobs run at once.
        clock: gives the time in seconds since the epoch.
        publisher: tells of changes; None: one of its own, that tells all of them at once.

    Attributes:
        catalog: may be another one at any time: jobs that wait are started as it says then.
        groups: how many jobs run at once; changed by `limit` and `configure`.
        draining: whether new jobs are refused, and what is queued is run.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        store: IStore,
        executor: IExecutor,
        catalog: Descriptions,
        limits: Limits,
        slots: int,
        clock: Callable[[], float],
        publisher: Publisher | None = None,
    ) -> None:
        self.publisher = publisher or Publisher()
        self.catalog = catalog
        self.groups = Groups(slots)
        self.draining = False
        self._store = store
        self._executor = executor
        self._limits = limits
        self._clock = clock
        self._queue = Queue(slots)
        self._setting = DeferredLock()
        self._backlog = Backlog(store, self._queue)
        self._running: dict[int, Job] = {}
        self._launching: set[int] = set()
        """those of them that the store does not have as launched yet"""
        self._ordered: set[int] = set()
        """those of them that the executor may have begun"""
        self._fetched: set[int] = set()
        """jobs whose turn has come, and that are being fetched from the store"""
        self._entering = 0
        """jobs that will wait, once the store has them"""
        self._history = 0
        """how many jobs in the store have ended"""
        self._open = True
        self._ready = False

    # What is asked of it

    def submit(
        self,
        owner: str,
        description: Description,
        arguments: bytes,
        secrets: bytes | None,
        *,
        once: str | None = None,
        unique: str | None = None,
        rerun: bool = False,
        peer: str = "",
    ) -> Deferred[Added]:
        """Queue a job.

        Args:
            owner: the name of the key that asks.
            description: its task.
            arguments: the JSON text of its checked arguments, fit to be shown.
            secrets: the JSON text of the secret ones.
            once, unique: see `IStore.add`.
            rerun: whether it is queued again where it would end as interrupted.
            peer: where the request came from, for the event log.

        Returns:
            a Deferred of its number, or of the one that it is the same as, once the store has it.

        Raises:
            Unavailable: the daemon is draining or shutting down.
            LimitReached: the queue is full.
        """
        if not self._open:
            raise Unavailable("the daemon is shutting down: it takes no new tasks")
        if self.draining:
            raise Unavailable("the daemon is draining: it takes no new tasks")
        waiting = len(self._queue.line) + self._entering
        if self._limits.queued and waiting >= self._limits.queued:
            raise LimitReached(f"the queue is full: {self._limits.queued} tasks wait")
        now = self._clock()
        job = Job(
            id=0,
            task=description.name,
            owner=owner,
            arguments=arguments,
            secrets=secrets,
            created=now,
            rerun=rerun,
        )
        if self._ready and not self._entering and self._queue.reserve():
            change(job, Change.LAUNCH, now)
        else:
            self._entering += 1
        try:
            added = self._store.add(job, once=once, unique=unique, peer=peer)
        except ValueError:
            self._not_entered(job)
            raise
        if added.called and isinstance(added.result, Added):
            return succeed(self._entered(added.result, job))  # it is there: the short way
        return added.addCallbacks(
            self._entered, self._refused, callbackArgs=(job,), errbackArgs=(job,)
        )

    def existing(self, owner: str, once: str | None, unique: str | None) -> Deferred[list[Added]]:
        """The jobs that a submission with these keys would be the same as; see `IStore`."""
        return self._store.existing(owner, once, unique)

    def find(self, number: int) -> Deferred[Job | None]:
        """A Deferred of the job of this number, whether it has ended or not, or of None."""
        job = self._running.get(number) or self._backlog.get(number)
        return self._store.get(number) if job is None else succeed(job)

    def active(
        self, owner: str | None, limit: int, offset: int
    ) -> Deferred[tuple[list[tuple[Job, int]], int]]:
        """Jobs that have not ended: those that run first, then those that wait, in their order.

        Args:
            owner: whose, or None for everyone's.
            limit: how many at most.
            offset: how many to pass over.

        Returns:
            each with its position in the queue, and how many there are in all.
        """
        running = [
            (job, 0) for job in self._running.values() if owner is None or job.owner == owner
        ]
        line = self._backlog.line(owner)
        total = len(running) + len(line)
        listed = running[offset : offset + limit]
        waiting = line.slice(max(0, offset - len(running)), limit - len(listed))

        def fill(jobs: list[Job]) -> tuple[list[tuple[Job, int]], int]:
            return listed + [(job, self.position(job)) for job in jobs], total

        found = self._backlog.find(waiting)
        return succeed(fill(found)) if isinstance(found, list) else found.addCallback(fill)

    def position(self, job: Job) -> int:
        """A job's place among those that wait; 1 is next, 0 where it does not wait."""
        return self._queue.line.position(job.id) if job.state is State.QUEUED else 0

    def totals(self) -> Deferred[Totals]:
        """A Deferred of how much there is to do, and was; it costs nothing, whatever there is."""
        running, queued = len(self._running), len(self._queue.line) + len(self._fetched)
        state = "ready" if self._ready else "starting" if self._open else "stopped"
        totals = Totals(
            slots=self._slots(),
            running=running,
            queued=queued,
            ended=self._history,
            groups={name: self._group(name, running, queued) for name in self.groups.names()},
            executors={self._executor.name: Executor(state, len(self._ordered))},
            draining=self.draining,
        )
        return succeed(totals)

    def limit(
        self, name: str, slots: int | None, paused: bool | None, events: Sequence[Event] = ()
    ) -> Deferred[None]:
        """Set how many jobs of a group run at once, and whether any is started; see `Groups`.

        Args:
            name: of the group.
            slots, paused: None: as it is.
            events: what tells of it, for the event log.

        Returns:
            fires once the store has it, when it has taken effect; fails with `InvalidArguments`
            where there is no such group and nothing is set.
        """
        # One after another: each is what it is set to over the one before.
        return self._setting.run(self._limit, name, slots, paused, events)

    def _limit(
        self, name: str, slots: int | None, paused: bool | None, events: Sequence[Event]
    ) -> Deferred[None]:
        setting = self.groups.asked(name, slots, paused)
        if slots is None and paused is None:
            return succeed(None)

        def is_set(_: None) -> None:
            self.groups.set(name, setting)
            self._regroup()

        return self._store.set_group(name, setting, events).addCallback(is_set)

    def configure(self, limits: Limits, slots: int) -> None:
        """Go by another configuration from now on."""
        self._limits = limits
        self.groups.configure(slots)
        self._regroup()

    def stop(self, job: Job, grace: float | None, by: Author = NOBODY) -> Deferred[Job]:
        """Abort a job.

        Args:
            job: that has not ended.
            grace: seconds between being asked and being killed; None: its task's own.
            by: who asked for it, for the event log.

        Returns:
            a Deferred of the job, once the store has what became of it.

        Raises:
            Conflict: it has ended.
        """
        job = self._running.get(job.id) or self._backlog.get(job.id) or job
        if job.state is State.QUEUED:
            if not self._withdraw(job):  # it was launched, or ended, since it was looked up
                return self.find(job.id).addCallback(self._stop_again, grace, by)
            change(job, Change.STOP, self._clock())
            return self._record_end(job, by=by)
        change(job, Change.STOP, self._clock())
        if job.id not in self._ordered and job.id not in self._launching:
            return self._finish(job, Outcome(Status.STOPPED), by=by).addCallback(lambda _: job)
        # Where nobody hears it now, it is said again when somebody does.
        grace = self._grace(job) if grace is None else grace
        self._executor.order(Stop(job.id, job.attempt, grace))
        return self._store.update(job, by=by).addCallback(self._told, job)

    def restore(self) -> Deferred[tuple[str, int] | None]:
        """Take over what an earlier daemon left in the book: the first call of all.

        What waited waits on, in its order. What had been launched runs on, or is lost: its executor
        finds out.

        Returns:
            fires when the queue is as it was, with what the executor is to be started with.
        """
        return Deferred.fromCoroutine(self._restore())

    async def _restore(self) -> tuple[str, int] | None:
        self.groups.restore(await self._store.groups())
        self._regroup()
        for job in await self._store.unfinished():
            self._running[job.id] = job
            self._ordered.add(job.id)
            self._queue.running += 1
        await self._backlog.restore()
        self._history = (await self._store.counts()).ended
        return await self._store.applied()

    def prune(self) -> Deferred[list[int]]:
        """Forget a step's worth of old history; a Deferred of the numbers that were forgotten."""
        before = self._clock() - self._limits.history_days * 86400.0
        pruned = self._store.prune(before, self._limits.history_tasks)
        return pruned.addCallback(self._pruned)

    def close(self) -> None:
        """Take in and start nothing more."""
        self._open = False

    # What an executor reports

    def joined(self, instance: str) -> Deferred[None]:
        """A runner is there that has had no orders; see `IListener`."""
        self._note(Level.TASKING, "a new runner has begun")
        return self._store.apply(instance, 0)

    def ready(self, held: Collection[tuple[int, int]]) -> None:
        """Orders are taken; see `IListener`."""
        self._note(Level.TASKING, f"the runner takes orders; tasks that it has: {len(held)}")
        self._ready = True
        for number, attempt in held:
            job_of_it = self._running.get(number)
            if job_of_it is None or job_of_it.attempt != attempt:
                # The book was put back from a backup: there this job is another, or not begun.
                self._log.error("job {job}, of which the book knows nothing, is ended", job=number)
                self._executor.order(Stop(number, attempt, 0.0))
        for job in tuple(self._running.values()):
            if job.id in self._launching:
                continue
            if job.state is State.STOPPING:
                self._executor.order(Stop(job.id, job.attempt, self._grace(job)))
            elif (job.id, job.attempt) not in held:
                # Where the executor has had it, it answers with what became of it.
                self._order(job)
        self._fill()

    def paused(self) -> None:
        """No orders are taken; see `IListener`."""
        self._ready = False

    def happened(
        self, event: Report, source: tuple[str, int] | None = None
    ) -> Deferred[None] | None:
        """An event of an attempt; see `IListener`."""
        job = self._running.get(event.job)
        if job is None or job.attempt != event.attempt or job.id in self._launching:
            return None
        match event:
            case Progressed():
                self._advance(job, event.fraction, event.message)
            case Started():
                job.started = event.time
                self.publisher.publish(job)
            case Ended():
                if event.fraction is not None:
                    job.progress = advance(job.progress, Progress(event.fraction))
                result = bytes(event.result)
                return self._finish(
                    job,
                    Outcome(
                        status=event.status,
                        message=event.message,
                        exit=event.exit,
                        result=None if result == b"null" else result,
                    ),
                    source,
                )
        return None

    def over(self) -> None:
        """What ran has ended, and what else was ordered was not begun; see `IListener`."""
        if self._ready:  # else it is one of an earlier daemon, which has told of it
            self._note(Level.TASKING, "the runner has ended in order")
        self._ready = False
        self._ordered.clear()

    def lost(self, message: str) -> None:
        """All that ran is gone; see `IListener`."""
        if self._ready or self._ordered:
            tasks = len(self._ordered)
            self._note(Level.ERROR, f"the runner is lost; tasks that it had: {tasks}; {message}")
        self._ready = False
        for job in tuple(self._running.values()):
            if job.id in self._ordered:
                status = Status.STOPPED if job.state is State.STOPPING else Status.INTERRUPTED
                self._finish(job, Outcome(status, message))

    def _note(self, level: Level, message: str) -> None:
        """Write into the event log, where the disk takes it."""
        self._store.log([Event(level, visible(message))]).addErrback(
            lambda failure: failure.trap(Unavailable)
        )

    # Slots

    def _slots(self) -> int:
        return sum(map(self.groups.slots, self.groups.names()))

    def _regroup(self) -> None:
        """Go by what is said of the groups now."""
        self._queue.slots = self.groups.slots(DEFAULT_GROUP)
        self._queue.paused = self.groups.paused(DEFAULT_GROUP)
        self._executor.make_room(self._slots())
        self._fill()

    def _group(self, name: str, running: int, queued: int) -> Group:
        if name != DEFAULT_GROUP:
            running = queued = 0
        configured = self.groups.overridden(name)
        return Group(
            self.groups.slots(name),
            running,
            queued,
            self.groups.paused(name),
            UNSET if configured is None else configured,
        )

    # The way of a job

    def _entered(self, added: Added, job: Job) -> Added:
        launched = job.state is State.ACTIVE
        self._entering -= not launched
        if added.existing:
            if launched:
                self._release()
            return added
        job.id = added.id
        if launched:
            self._running[job.id] = job
            self._launched(None, job)
        else:
            self._backlog.add(job)
            self.publisher.publish(job)
            self._fill()
        return added

    def _refused(self, failure: Failure, job: Job) -> Failure:
        self._not_entered(job)
        return failure

    def _not_entered(self, job: Job) -> None:
        if job.state is State.ACTIVE:
            self._release()
        else:
            self._entering -= 1

    def _release(self) -> None:
        self._queue.release()
        self._fill()

    def _withdraw(self, job: Job) -> bool:
        """Take a job that waits out of the line; whether it was in it, or about to leave it."""
        if job.id in self._fetched:
            self._fetched.discard(job.id)  # its slot is given back when it has been fetched
            self._backlog.launch(job)
            return True
        return self._backlog.withdraw(job)

    def _stop_again(self, job: Job | None, grace: float | None, by: Author) -> Deferred[Job]:
        if job is None or (job.state is State.QUEUED and not self.position(job)):
            raise Conflict("the task is not in the queue any more")
        return self.stop(job, grace, by)

    def _fill(self) -> None:
        """Start whoever may start."""
        while self._ready and self._open and not self._fetched:
            number = self._queue.launch()
            if number is None:
                return
            job = self._backlog.get(number)
            if job is not None:
                self._start(job)
            else:
                self._fetched.add(number)
                fetched = self._backlog.fetch(number)
                fetched.addCallback(self._start_fetched, number)
                fetched.addErrback(self._not_fetched, number)

    def _start_fetched(self, job: Job | None, number: int) -> None:
        was_stopped = number not in self._fetched
        self._fetched.discard(number)
        if was_stopped or job is None:
            self._release()
        else:
            self._start(job)
            self._fill()

    def _not_fetched(self, failure: Failure, number: int) -> None:
        """The book cannot be read: the job waits on, and is tried again with the next event."""
        self._log.failure("job {job} could not be read", failure, job=number)
        self._fetched.discard(number)
        self._queue.line.add(number)
        self._queue.release()

    def _start(self, job: Job) -> None:
        self._backlog.launch(job)
        change(job, Change.LAUNCH, self._clock())
        self._running[job.id] = job
        self._launching.add(job.id)
        self._store.update(job).addCallback(self._launched, job).addErrback(self._fault, job)

    def _launched(self, _: None, job: Job) -> None:
        """The store has it as launched."""
        self._launching.discard(job.id)
        if job.state is State.STOPPING:
            self._finish(job, Outcome(Status.STOPPED))
        elif not self._open:
            self._return(job)
        else:
            self.publisher.publish(job)
            if self._ready:
                self._order(job)

    def _return(self, job: Job) -> None:
        """Put a job back that was not begun: the next daemon begins it."""
        change(job, Change.RETURN, self._clock())
        del self._running[job.id]
        self._queue.release()
        self._backlog.add(job)
        self._store.update(job).addErrback(
            lambda failure: self._log.failure("a job was not put back", failure)
        )

    def _order(self, job: Job) -> None:
        try:
            order = self._order_for(job)
        except Exception:
            self._fault(Failure(), job)
        else:
            self._ordered.add(job.id)
            self._executor.order(order)

    def _order_for(self, job: Job) -> Start:
        description = self.catalog.get(job.task)
        if description is None:
            raise Unavailable(f"there is no task `{job.task}` any more")
        values = _decode(job.arguments)
        if job.secrets is not None:
            values.update(_decode(job.secrets))
        return Start(
            job.id,
            job.attempt,
            job.task,
            job.owner,
            self.catalog.work(description, values),
            self._limits.output_bytes,
            description.grace,
        )

    def _grace(self, job: Job) -> float:
        description = self.catalog.get(job.task)
        return GRACE if description is None else description.grace

    def _fault(self, failure: Failure, job: Job) -> None:
        if isinstance(failure.value, AptaskError):
            message = failure.value.message
        else:
            self._log.failure("job {job} could not be started", failure, job=job.id)
            message = f"could not be started: {failure.getErrorMessage()}"
        if job.id in self._running:
            self._finish(job, Outcome(Status.ERROR, message))

    def _advance(self, job: Job, fraction: float | None, message: str | None) -> None:
        after = advance(job.progress, Progress(fraction, message))
        if after is not job.progress:
            job.progress = after
            self.publisher.publish(job)

    def _finish(
        self,
        job: Job,
        outcome: Outcome,
        source: tuple[str, int] | None = None,
        by: Author = NOBODY,
    ) -> Deferred[None]:
        """End a job, or have it wait for its next attempt; fires once the store has that."""
        del self._running[job.id]
        self._launching.discard(job.id)
        self._ordered.discard(job.id)
        self._queue.release()
        repeats = job.rerun and outcome.status is Status.INTERRUPTED and job.state is State.ACTIVE
        if repeats:
            change(job, Change.REPEAT, self._clock(), outcome)
            self._backlog.add(job)
            recorded = self._store.update(job, applied=source).addCallback(self._told, job)
        else:
            change(job, Change.FINISH, self._clock(), outcome)
            recorded = self._record_end(job, source, by)
        self._fill()
        return recorded.addCallbacks(lambda _: None, self._not_kept)

    def _not_kept(self, failure: Failure) -> Deferred[None]:
        """The book was closed without it; what is given never fires, since the book has not it."""
        self._log.failure("the end of a job was not kept", failure)
        return Deferred()

    def _record_end(
        self, job: Job, source: tuple[str, int] | None = None, by: Author = NOBODY
    ) -> Deferred[Job]:
        return self._store.update(job, applied=source, by=by).addCallback(self._ended, job)

    def _ended(self, _: None, job: Job) -> Job:
        self._history += 1
        self.publisher.publish(job)
        return job

    def _pruned(self, numbers: list[int]) -> list[int]:
        self._history -= len(numbers)
        return numbers

    def _told(self, _: None, job: Job) -> Job:
        self.publisher.publish(job)
        return job
