"""What the daemon does from time to time: it forgets what is old, and notes how much there is.

Rules:

- What is forgotten is forgotten in small steps, with a pause between them, so that no client
  notices: jobs first, then their outputs, and the event log.
- A step that fails is logged and tried again; it holds up nothing. Files are removed in another
  thread, and one that cannot be removed holds up no other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.errors import AptaskError
from aptask.interfaces import IStore
from aptask.model.event import Event, Level
from aptask.model.limits import Limits
from aptask.model.statistics import Totals
from aptask.runner.output import Outputs

PRUNE_SECONDS = 60.0
PRUNE_AGAIN_SECONDS = 0.1
"""The pause between two steps, while there is more to be forgotten."""
REMOVED_AT_ONCE = 1000
"""How many outputs are held against the book at once."""
STATISTICS_SECONDS = 3600.0

_DAY = 86400.0


class Clerk(Protocol):
    """What is needed of the scheduler."""

    def prune(self) -> Deferred[list[int]]:
        """Forget a step's worth of old jobs; their numbers."""

    def totals(self) -> Deferred[Totals]:
        """How much there is to do, and was."""


class Upkeep:
    """Does what has to be done from time to time.

    Args:
        scheduler: forgets jobs, and says how much there is.
        store: has the event log.
        outputs: of the jobs.
        limits: gives those that hold now.
        requests: gives how many requests have come since the start.
        clock: calls later.
        wall: gives the time in seconds since the epoch.
        in_thread: runs a function in another thread.
    """

    _log = Logger()

    def __init__(
        self,
        *,
        scheduler: Clerk,
        store: IStore,
        outputs: Outputs,
        limits: Callable[[], Limits],
        requests: Callable[[], int],
        clock: IReactorTime,
        wall: Callable[[], float],
        in_thread: Callable[[Callable[[], Any]], Deferred[Any]],
    ) -> None:
        self._scheduler = scheduler
        self._store = store
        self._outputs = outputs
        self._limits = limits
        self._requests = requests
        self._clock = clock
        self._wall = wall
        self._in_thread = in_thread
        self._next: IDelayedCall | None = None
        self._hourly = LoopingCall(self._write_statistics)
        self._hourly.clock = clock
        self._is_over = False

    def start(self) -> None:
        """Begin: the book is open."""
        self._next = self._clock.callLater(PRUNE_SECONDS, self._prune)
        self._hourly.start(STATISTICS_SECONDS, now=False).addErrback(self._failed)
        Deferred.fromCoroutine(self._remove_unknown()).addErrback(self._failed)

    def stop(self) -> None:
        """Forget nothing more."""
        self._is_over = True
        if self._hourly.running:
            self._hourly.stop()
        if self._next is not None and self._next.active():
            self._next.cancel()

    def close(self) -> Deferred[None]:
        """Write down what there was, for the last time; fires when that is on disk or cannot be."""
        return self._write_statistics()

    def _prune(self) -> None:
        Deferred.fromCoroutine(self._forget()).addErrback(self._not_forgotten).addCallback(self._on)

    async def _forget(self) -> bool:
        """Do a step; whether there may be more."""
        limits = self._limits()
        jobs = await self._scheduler.prune()
        await self._remove(jobs)
        before = self._wall() - limits.log_days * _DAY
        events = await self._store.prune_log(before, limits.log_entries)
        return bool(jobs or events)

    def _not_forgotten(self, failure: Failure) -> bool:
        self._failed(failure)
        return False

    def _on(self, more: bool) -> None:
        if not self._is_over:
            pause = PRUNE_AGAIN_SECONDS if more else PRUNE_SECONDS
            self._next = self._clock.callLater(pause, self._prune)

    def _remove(self, jobs: Collection[int]) -> Deferred[None]:
        """Remove outputs, in another thread: large files take milliseconds each."""

        def remove() -> None:
            for job in jobs:
                try:
                    self._outputs.remove(job)
                except OSError as error:
                    self._log.error(
                        "the output of job {job} could not be removed, which is tried again at the"
                        " next start: {why}",
                        job=job,
                        why=error.strerror,
                    )

        return self._in_thread(remove) if jobs else succeed(None)

    async def _remove_unknown(self) -> None:
        """Remove outputs of jobs that are not in the book: a daemon may have died in between."""
        kept = sorted(await self._in_thread(self._outputs.jobs))
        for start in range(0, len(kept), REMOVED_AT_ONCE):
            step = kept[start : start + REMOVED_AT_ONCE]
            known = await self._store.get_many(step, listed=True)
            await self._remove(set(step) - {job.id for job in known})

    def _write_statistics(self) -> Deferred[None]:
        def write(totals: Totals) -> Deferred[None]:
            message = (
                f"running {totals.running}, queued {totals.queued}, ended {totals.ended};"
                f" requests since the start: {self._requests()}"
            )
            return self._store.log([Event(Level.STATISTICS, message)])

        return self._scheduler.totals().addCallback(write).addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        if self._is_over:
            return
        if isinstance(failure.value, AptaskError):
            why = failure.value.message
            self._log.warn("what is done from time to time could not be done: {why}", why=why)
        else:
            self._log.failure("what is done from time to time could not be done", failure)
