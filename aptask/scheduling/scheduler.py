"""A job's life from its submission to its end.

Rules:

- Nothing is acknowledged, started or told of before the store has it: a job is entered before its
  number is given away, entered as starting before the order to start it goes out, and entered as
  ended before anybody hears of that.
- The queue decides who starts; an executor is told, and reports. A report that is about another
  attempt than the present one is about the past, and is passed over.
- The fault of one job stays with it: whatever is wrong with starting it becomes its outcome.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.errors import AptaskError, Conflict, LimitReached, Unavailable
from aptask.interfaces import IExecutor, IListener, IStore
from aptask.model.description import Description
from aptask.model.job import Added, Change, Job, Outcome, State, Status, change
from aptask.model.limits import Limits
from aptask.model.orders import Ended, Progressed, Start, Started, Stop, Work
from aptask.model.progress import Progress, advance
from aptask.scheduling.publisher import Publisher
from aptask.scheduling.queue import Line, Queue

GRACE = 10.0
"""Seconds between being asked to stop and being killed, where neither task nor request says."""

REMEMBERED = 1000
"""How many jobs that wait are kept whole in memory; of the others only their numbers."""
RESTORED_AT_ONCE = 1000
"""How many jobs that wait are read at once when a daemon starts."""
ENDED_WITHOUT_US = "the daemon ended while it ran"
"""What is said of a job that an earlier daemon had launched."""

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
    ) -> None:
        self.publisher = Publisher()
        self.catalog = catalog
        self._store = store
        self._executor = executor
        self._limits = limits
        self._clock = clock
        self._queue = Queue(slots)
        self._jobs: dict[int, Job] = {}
        self._running: dict[int, Job] = {}
        self._waiting: dict[str, Line] = {}
        self._fetched: set[int] = set()
        """jobs that are launched, and are being fetched from the store for that"""
        self._open = True
        self._ready = False

    # What is asked of it

    def submit(
        self, owner: str, description: Description, arguments: bytes, secrets: bytes | None
    ) -> Deferred[Job]:
        """Queue a job.

        Args:
            owner: the name of the key that asks.
            description: its task.
            arguments: the JSON text of its checked arguments, fit to be shown.
            secrets: the JSON text of the secret ones.

        Returns:
            a Deferred of the job, once the store has it.

        Raises:
            Unavailable: the daemon is shutting down.
            LimitReached: the queue is full.
        """
        if not self._open:
            raise Unavailable("the daemon is shutting down: it takes no new tasks")
        if self._limits.queued and len(self._queue.line) >= self._limits.queued:
            raise LimitReached(f"the queue is full: {self._limits.queued} tasks wait")
        job = Job(
            id=0,
            task=description.name,
            owner=owner,
            arguments=arguments,
            secrets=secrets,
            created=self._clock(),
        )
        added = self._store.add(job)
        if added.called and isinstance(added.result, Added):
            return succeed(self._entered(added.result, job))  # it is there: the short way
        return added.addCallback(self._entered, job)

    def find(self, number: int) -> Deferred[Job | None]:
        """A Deferred of the job of this number, whether it has ended or not, or of None."""
        job = self._jobs.get(number)
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
        line = self._queue.line if owner is None else self._waiting.get(owner, Line())
        total = len(running) + len(line)
        listed = running[offset : offset + limit]
        waiting = line.slice(max(0, offset - len(running)), limit - len(listed))
        absent = [number for number in waiting if number not in self._jobs]

        def fill(jobs: list[Job]) -> tuple[list[tuple[Job, int]], int]:
            known = {job.id: job for job in jobs}
            for number in waiting:
                job = self._jobs.get(number) or known.get(number)
                if job is not None:
                    listed.append((job, self.position(job)))
            return listed, total

        return self._store.get_many(absent).addCallback(fill) if absent else succeed(fill([]))

    def position(self, job: Job) -> int:
        """A job's place among those that wait; 1 is next, 0 where it does not wait."""
        return self._queue.line.position(job.id) if job.state is State.QUEUED else 0

    def stop(self, job: Job, grace: float | None) -> Deferred[Job]:
        """Abort a job.

        Args:
            job: that has not ended.
            grace: seconds between being asked and being killed; None: its task's own.

        Returns:
            a Deferred of the job, once the store has what became of it.

        Raises:
            Conflict: it has ended.
        """
        job = self._jobs.get(job.id, job)
        if job.state is State.QUEUED:
            if not self._withdraw(job):  # it was launched, or ended, since it was looked up
                return self.find(job.id).addCallback(self._stop_again, grace)
            change(job, Change.STOP, self._clock())
            return self._record_end(job)
        change(job, Change.STOP, self._clock())
        if grace is None:
            description = self.catalog.get(job.task)
            grace = GRACE if description is None else description.grace
        self._executor.order(Stop(job.id, job.attempt, grace))
        return self._store.update(job).addCallback(self._told, job)

    def restore(self) -> Deferred[None]:
        """Take over what an earlier daemon left in the book: the first call of all.

        What waited waits on, in its order. What had been launched is over: its runner has ended
        with that daemon, and nothing is run twice.

        Returns:
            fires when the queue is as it was.
        """
        return Deferred.fromCoroutine(self._restore())

    async def _restore(self) -> None:
        for job in await self._store.unfinished():
            change(job, Change.FINISH, self._clock(), Outcome(Status.INTERRUPTED, ENDED_WITHOUT_US))
            await self._store.update(job)
        last = 0
        while step := await self._store.waiting(last, RESTORED_AT_ONCE):
            last = step[-1].id
            for waiting in step:
                self._queue.line.add(waiting.id)
                self._line_of(waiting.owner).add(waiting.id)

    def prune(self) -> Deferred[list[int]]:
        """Forget a step's worth of old history; a Deferred of the numbers that were forgotten."""
        before = self._clock() - self._limits.history_days * 86400.0
        return self._store.prune(before, self._limits.history_tasks)

    def close(self) -> None:
        """Take in and start nothing more."""
        self._open = False

    # What an executor reports

    def happened(self, event: Started | Progressed | Ended) -> None:
        """An event of an attempt; see `IListener`."""
        job = self._running.get(event.job)
        if job is None or job.attempt != event.attempt:
            return
        match event:
            case Progressed():
                self._advance(job, event.fraction, event.message)
            case Started():
                job.started = event.time
            case Ended():
                if event.fraction is not None:
                    job.progress = advance(job.progress, Progress(event.fraction))
                result = bytes(event.result)
                self._finish(
                    job,
                    Outcome(
                        status=event.status,
                        message=event.message,
                        exit=event.exit,
                        result=None if result == b"null" else result,
                    ),
                )

    def lost(self, message: str) -> None:
        """All that ran is gone; see `IListener`."""
        self._ready = False
        for job in tuple(self._running.values()):
            self._finish(job, Outcome(Status.INTERRUPTED, message))

    def paused(self) -> None:
        """No orders are taken; see `IListener`."""
        self._ready = False

    def ready(self) -> None:
        """Orders are taken; see `IListener`."""
        self._ready = True
        self._fill()

    # The way of a job

    def _entered(self, added: Added, job: Job) -> Job:
        job.id = added.id
        if len(self._queue.line) < REMEMBERED:
            self._jobs[job.id] = job
        self._queue.line.add(job.id)
        self._line_of(job.owner).add(job.id)
        self._fill()
        return job

    def _line_of(self, owner: str) -> Line:
        line = self._waiting.get(owner)
        if line is None:
            line = self._waiting[owner] = Line()
        return line

    def _withdraw(self, job: Job) -> bool:
        """Take a job that waits out of the line; whether it was in it, or about to leave it."""
        if job.id in self._fetched:
            self._fetched.discard(job.id)  # its slot is given back when it has been fetched
            self._line_of(job.owner).withdraw(job.id)
            return True
        line = self._waiting.get(job.owner)
        return line is not None and line.withdraw(job.id) and self._queue.line.withdraw(job.id)

    def _stop_again(self, job: Job | None, grace: float | None) -> Deferred[Job]:
        if job is None or (job.id not in self._jobs and job.state is State.QUEUED):
            raise Conflict("the task is not in the queue any more")
        return self.stop(job, grace)

    def _fill(self) -> None:
        """Start whoever may start."""
        while self._ready and self._open:
            number = self._queue.launch()
            if number is None:
                return
            job = self._jobs.get(number)
            if job is not None:
                self._start(job)
            else:
                self._fetched.add(number)
                fetched = self._store.get(number)
                fetched.addCallback(self._start_fetched, number)
                fetched.addErrback(self._not_fetched, number)

    def _start_fetched(self, job: Job | None, number: int) -> None:
        if number in self._fetched and job is not None:
            self._fetched.discard(number)
            self._jobs[number] = job
            self._start(job)
        else:  # it was stopped meanwhile
            self._fetched.discard(number)
            self._queue.release()
            self._fill()

    def _not_fetched(self, failure: Failure, number: int) -> None:
        """The book cannot be read: the job waits on, and is tried again with the next event."""
        self._log.failure("job {job} could not be read", failure, job=number)
        self._fetched.discard(number)
        self._queue.line.add(number)
        self._queue.release()

    def _start(self, job: Job) -> None:
        self._line_of(job.owner).withdraw(job.id)
        change(job, Change.LAUNCH, self._clock())
        self._running[job.id] = job
        self._store.update(job).addCallback(self._launch, job).addErrback(self._fault, job)

    def _launch(self, _: None, job: Job) -> None:
        if job.state is State.STOPPING:
            self._finish(job, Outcome(Status.STOPPED))
            return
        description = self.catalog.get(job.task)
        if description is None:
            raise Unavailable(f"there is no task `{job.task}` any more")
        values = _decode(job.arguments)
        if job.secrets is not None:
            values.update(_decode(job.secrets))
        work = self.catalog.work(description, values)
        self._executor.order(
            Start(
                job.id,
                job.attempt,
                job.task,
                job.owner,
                work,
                self._limits.output_bytes,
                description.grace,
            )
        )
        self.publisher.publish(job)

    def _fault(self, failure: Any, job: Job) -> None:
        if failure.check(AptaskError):
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

    def _finish(self, job: Job, outcome: Outcome) -> None:
        change(job, Change.FINISH, self._clock(), outcome)
        del self._running[job.id]
        self._queue.release()
        self._record_end(job).addErrback(
            lambda failure: self._log.failure("the end of a job was not kept", failure)
        )
        self._fill()

    def _record_end(self, job: Job) -> Deferred[Job]:
        return self._store.update(job).addCallback(self._ended, job)

    def _ended(self, _: None, job: Job) -> Job:
        self._jobs.pop(job.id, None)
        line = self._waiting.get(job.owner)
        if line is not None and not line:
            del self._waiting[job.owner]
        self.publisher.publish(job)
        return job

    def _told(self, _: None, job: Job) -> Job:
        self.publisher.publish(job)
        return job
