"""Watching jobs: for any number of clients at the cost of little more than what they are sent.

What is told is kept in feeds (`feeds.py`): one for each job that is watched by itself, one for each
owner whose jobs are. Here watchers come and go, and are woken when there is something. Rules:

- Each feed has its pace (`pacing.py`).
- Watchers are woken some at a time, and others have their turn in between. Who does not read is not
  woken, and is given what is newest when it reads again.
- What changes by itself (the position of one that waits) is looked at once a second: of each job
  that is watched by itself, and of the first `LISTED` of an owner; of these less often where more
  than `ASIDES_A_SECOND` of them change.
- Timers are for all feeds together, and there are none where nobody watches.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING

from msgspec.json import Encoder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.errors import AptaskError
from aptask.interfaces import IStore
from aptask.model import messages
from aptask.model.history import Wanted
from aptask.model.job import Job, State
from aptask.model.messages import EVERYONE, Task, WatchResponse
from aptask.serving.feeds import LISTED, Aside, Change, Watcher
from aptask.serving.pacing import PacedFeed
from aptask.serving.streams import Lines, Responses

if TYPE_CHECKING:
    from aptask.serving.context import Scheduler, Traffic

TICK_SECONDS = 0.05
"""The least time between two looks at which feeds are to be told, where none is told at once."""
LOOK_SECONDS = 1.0
"""How often is looked at what changes by itself."""
ASIDES_A_SECOND = 100
"""How many jobs of an owner are told of in a second for what changes by itself."""
SILENCE_SECONDS = 30.0
"""After which a watcher of all of an owner's jobs is told that nothing has happened."""
WOKEN_AT_ONCE = 50
"""How many watchers go on, or jobs are looked at, in one go, before others have their turn."""
LARGE_BYTES = 8192
"""Who is given so much counts once more, and so on: sending takes its time, too."""
MISSED_AT_ONCE = 100
"""How many ends are read from the history at once, for a watcher that is lost."""

_encode = Encoder().encode


class Watching:
    """All who watch jobs.

    Args:
        scheduler: knows the jobs, and tells of their changes.
        store: has the history.
        traffic: where it is counted who watches.
        clock: seconds, and calls later.
    """

    _log = Logger()

    def __init__(
        self, scheduler: Scheduler, store: IStore, traffic: Traffic, clock: IReactorTime
    ) -> None:
        self._scheduler = scheduler
        self._store = store
        self._traffic = traffic
        self._clock = clock
        self._feeds: dict[int | str, PacedFeed] = {}
        self._due: dict[PacedFeed, None] = {}
        """those that have something to tell"""
        self._woken: deque[tuple[Deferred[None] | None, PacedFeed]] = deque()
        """watchers that go on, each with its feed; behind them the feed, where it was told"""
        self._unlooked: deque[PacedFeed] = deque()
        """those that are still to be looked at in this round"""
        self._calls: dict[Callable[[], None], IDelayedCall] = {}
        self._changes = 0
        self._unsubscribe: Callable[[], None] = lambda: None

    def __len__(self) -> int:
        """How many feeds there are."""
        return len(self._feeds)

    async def watch(
        self, number: int, find: Callable[[], Deferred[Job]], for_admin: bool
    ) -> Responses:
        """A job as it is, and after each change, until its end.

        Args:
            number: the job's.
            find: gives the job; raises what the watcher is told where he may not see it.
            for_admin: whether he is told what admins are told.
        """
        feed, watcher = self._join(number, for_admin)
        try:
            job = await find()
            # Told of its changes already: one in between is not missed, and is newer than this.
            if feed.newest == watcher.cursor:
                change = self._change(job, self._scheduler.position(job))
                if feed.job is None:
                    feed.keep(job, change.aside)
                yield Lines([change.body(for_admin)])
                watcher.is_over = job.state is State.ENDED
            while not watcher.is_over:
                lines = feed.take(watcher)
                if lines is None:
                    await self._more(feed, watcher)
                else:
                    yield lines
        finally:
            self._leave(feed, watcher)

    async def watch_all(self, owner: str | None, for_admin: bool) -> Responses:
        """An owner's jobs that have not ended, and then each change of any of his.

        Args:
            owner: whose, or None for everyone's.
            for_admin: whether the watcher is told what admins are told.
        """
        feed, watcher = self._join(EVERYONE if owner is None else owner, for_admin)
        try:
            await self._begin(feed, watcher)
            while True:
                if watcher.since is not None:
                    missed: Wanted | None = Wanted(owner=owner, since=watcher.since)
                    watcher.since = None
                    await self._begin(feed, watcher)
                    while missed is not None:
                        page = await self._store.history(missed, MISSED_AT_ONCE)
                        if page:
                            yield Lines([self._change(job, 0).body(for_admin) for job in page])
                        missed = _behind(missed, page)
                lines = feed.take(watcher)
                now = self._clock.seconds()
                if lines is not None:
                    watcher.quiet = now
                    yield lines
                elif now >= watcher.quiet + SILENCE_SECONDS:
                    watcher.quiet = now
                    yield WatchResponse(task=None)
                else:
                    await self._more(feed, watcher)
        finally:
            self._leave(feed, watcher)

    async def _begin(self, feed: PacedFeed, watcher: Watcher) -> None:
        """Have a watcher be given all jobs of a feed first."""
        heard = feed.newest
        if self._clock.seconds() >= feed.looked + LOOK_SECONDS:
            await self._look_at_all(feed)
        watcher.begin(heard, feed.newest)

    def _join(self, key: int | str, for_admin: bool) -> tuple[PacedFeed, Watcher]:
        now = self._clock.seconds()
        feed = self._feeds.get(key)
        if feed is None:
            if not self._feeds:
                self._unsubscribe = self._scheduler.publisher.subscribe(None, self._note)
                self._call(self._look, LOOK_SECONDS)
            feed = self._feeds[key] = PacedFeed(key, self._changes)
        watcher = Watcher(for_admin, feed.newest, now)
        feed.watchers.add(watcher)
        self._traffic.watchers += 1
        return feed, watcher

    def _leave(self, feed: PacedFeed, watcher: Watcher) -> None:
        self._traffic.watchers -= 1
        feed.watchers.remove(watcher)
        if not feed.watchers:
            del self._feeds[feed.key]
            self._due.pop(feed, None)
            if not self._feeds:
                self._unsubscribe()
                self._unlooked.clear()
                self._woken.clear()
                for call in self._calls.values():
                    call.cancel()
                self._calls.clear()

    async def _more(self, feed: PacedFeed, watcher: Watcher) -> None:
        """Wait until there may be something to be given."""
        woken: Deferred[None] = Deferred()
        feed.waiting[woken] = watcher
        try:
            await woken
        finally:
            feed.waiting.pop(woken, None)

    def _call(self, function: Callable[[], None], seconds: float) -> None:
        """Have something called; where it is to be called already, no later than this."""
        call = self._calls.get(function)
        if call is not None:
            if call.getTime() > self._clock.seconds() + seconds:
                call.reset(seconds)
            return

        def due() -> None:
            del self._calls[function]
            function()

        self._calls[function] = self._clock.callLater(seconds, due)

    # What has changed

    def _note(self, job: Job) -> None:
        """A job has changed, or is new."""
        change: Change | None = None
        for key in (job.id, job.owner, EVERYONE):
            feed = self._feeds.get(key)
            if feed is not None:
                if change is None:
                    try:
                        change = self._change(job, self._scheduler.position(job))
                    except Exception:
                        self._log.failure("job {job} could not be shown", job=job.id)
                        return  # the others are watched on
                self._put(feed, change)
                if key == job.id:
                    feed.keep(job, change.aside)

    def _change(self, job: Job, position: int) -> Change:
        """What is told of a job as it is now."""
        task = self._task(job, position)
        self._changes += 1
        return Change(
            self._changes,
            job.id,
            job.state,
            job.ended,
            _aside(task),
            _encode(WatchResponse(task=task))[:-1],
            _encode(job.owner),
        )

    def _task(self, job: Job, position: int) -> Task:
        return messages.task(job, position=position, owner=False, listed=True)

    def _put(self, feed: PacedFeed, change: Change) -> None:
        feed.put(change)
        if feed not in self._due:
            self._due[feed] = None
            self._tell_at(feed.earliest)

    def _tell_at(self, time: float) -> None:
        if time < inf:  # else it is being told, and comes back here
            left = time - self._clock.seconds()
            self._call(self._tell, max(left, TICK_SECONDS) if left > 0 else 0)

    def _tell(self) -> None:
        """Wake those who watch what has changed and may be told."""
        now = self._clock.seconds()
        next_time = inf
        for feed in tuple(self._due):
            if feed.earliest <= now:
                del self._due[feed]
                feed.begin_telling(now)
                self._woken.extend((woken, feed) for woken in feed.waiting)
                feed.waiting.clear()
                self._woken.append((None, feed))
            else:
                next_time = min(next_time, feed.earliest)
        self._tell_at(next_time)
        if self._wake_some not in self._calls:
            self._wake_some()

    def _wake_some(self) -> None:
        left = WOKEN_AT_ONCE
        while self._woken and left > 0:
            woken, feed = self._woken.popleft()
            if woken is not None:
                left -= 1 + feed.told_bytes // LARGE_BYTES
                if not woken.called:  # else its client has gone
                    woken.callback(None)
            else:
                feed.end_telling(self._clock.seconds())
                if feed in self._due:
                    self._tell_at(feed.earliest)
        if self._woken:
            self._call(self._wake_some, 0)

    # What changes by itself

    def _look(self) -> None:
        self._unlooked.extend(self._feeds.values())
        self._call(self._look, LOOK_SECONDS)
        self._look_at_some()

    def _look_at_some(self) -> None:
        now = self._clock.seconds()
        left = WOKEN_AT_ONCE
        while self._unlooked and left:
            left -= 1
            feed = self._unlooked.popleft()
            if feed.job is not None:
                self._look_at(feed, feed.job)
            elif isinstance(feed.key, str):
                if now >= feed.look_at and not feed.looks:
                    self._look_at_all(feed).addErrback(self._not_looked)
                self._break_silence(feed, now)
                break  # that took as long as many of the others
        if self._unlooked:
            self._call(self._look_at_some, 0)

    def _look_at(self, feed: PacedFeed, job: Job) -> None:
        position = self._scheduler.position(job)
        if _aside(self._task(job, position)) != feed.aside:
            change = self._change(job, position)
            feed.aside = change.aside
            self._put(feed, change)

    def _look_at_all(self, feed: PacedFeed) -> Deferred[None]:
        owner = None if feed.key == EVERYONE else str(feed.key)
        feed.looks += 1
        asked = self._changes
        found = self._scheduler.active(owner, LISTED, 0)
        found.addCallback(self._found, feed, asked)
        return found.addBoth(partial(_end_look, feed))

    def _found(self, found: tuple[list[tuple[Job, int]], int], feed: PacedFeed, asked: int) -> None:
        """Tell of those jobs that are new to a feed, or have changed by themselves."""
        told = 0
        for job, position in found[0]:
            known = feed.get(job.id)
            if job.state is State.ENDED or (known is not None and known.seq > asked):
                continue  # its end is not in the book yet; or it has changed since this was asked
            if known is None or (
                # A change of its state is told when it is in the book.
                known.state is job.state and known.aside != _aside(self._task(job, position))
            ):
                told += 1
                self._put(feed, self._change(job, position))
        feed.forget_all_but({job.id for job, _ in found[0]})
        feed.looked = self._clock.seconds()
        feed.look_at = feed.looked + max(LOOK_SECONDS, told / ASIDES_A_SECOND)

    def _not_looked(self, failure: Failure) -> None:
        if not failure.check(AptaskError):
            self._log.failure("watched jobs could not be looked at", failure)

    def _break_silence(self, feed: PacedFeed, now: float) -> None:
        """Wake those who have been told nothing for long."""
        silent = [
            woken
            for woken, watcher in feed.waiting.items()
            if now >= watcher.quiet + SILENCE_SECONDS
        ]
        for woken in silent:
            del feed.waiting[woken]
            self._woken.append((woken, feed))
        if self._woken:
            self._call(self._wake_some, 0)


def _aside(task: Task) -> Aside:
    return task.position, task.eta, task.starts_in


def _end_look(feed: PacedFeed, result: Failure | None) -> Failure | None:
    feed.looks -= 1
    return result


def _behind(wanted: Wanted, page: list[Job]) -> Wanted | None:
    """What asks for the page of the history behind this one; None where there is none."""
    if len(page) < MISSED_AT_ONCE:
        return None
    last = page[-1]
    return Wanted(owner=wanted.owner, since=wanted.since, before=(last.ended or 0.0, last.id))
