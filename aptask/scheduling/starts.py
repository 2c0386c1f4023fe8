"""When those who wait are expected to start: the slots and the line, gone through ahead of time.

Rules:

- What runs ends when it is expected to; what starts takes what it is expected to, or, where nobody
  knows, what a job takes on average. Where nothing is known at all, its slot is never free again.
- A slot that is free is given to the first of its group's line that may start: whoever waits for a
  time, or for the ends of others, comes into the line then, before those of the same priority that
  were asked for later. An owner who may not have more running is passed over. Of several groups
  that have a free slot, the one is first whose next job is, by priority, then by number.
- What is held, what waits for that, and all of a group that is paused or has no slots: nobody knows
  when, None.
- The line is what the queue expects: rounds among owners are not gone through anew.
- So many as are given are gone through, each in some microseconds; those behind them start at the
  rate at which slots are free, by their places.

Pure: nothing here knows the time. Seconds are by any clock, and what comes out is from now on.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import TypeAlias

import msgspec


class Runs(msgspec.Struct, frozen=True, gc=False):
    """A job that runs.

    Attributes:
        number: its number.
        owner: whose it is.
        left: how many seconds are left of it, None: not known.
    """

    number: int
    owner: str
    left: float | None


class Waits(msgspec.Struct, frozen=True, gc=False):
    """A job that waits.

    Attributes:
        number: its number.
        owner: whose it is.
        seconds: how long it is expected to take, None: not known.
        priority: the higher, the sooner.
        after: the numbers of those it waits for, as far as they have not ended.
        not_before: seconds, by the same clock as now; None: any time.
        held: whether it does not start until it is resumed.
    """

    number: int
    owner: str
    seconds: float | None = None
    priority: int = 0
    after: tuple[int, ...] = ()
    not_before: float | None = None
    held: bool = False

    @property
    def is_ready(self) -> bool:
        """Whether it waits for its turn only."""
        return not (self.after or self.held or self.not_before is not None)


class Lane(msgspec.Struct, frozen=True):
    """A group, as it is now.

    Attributes:
        slots: how many of its jobs run at once.
        runs: those that do.
        waits: the first of those that wait, in the order in which they are expected to start.
        paused: whether none is started.
    """

    slots: int
    runs: Sequence[Runs]
    waits: Sequence[Waits]
    paused: bool = False


_Place: TypeAlias = tuple[int, bool, int, int]
"""By what the line is kept, the least is the first: how many of those that only wait for their turn
are before it, whether it is one of them, its priority with the other sign, its number."""


class Starts:
    """When those are expected to start who wait.

    Args:
        now: seconds.
        lanes: the groups, by name.
        bounds: how many jobs run at once of the owners for whom that is bounded.
        average: how many seconds a job takes, None: not known.
    """

    def __init__(
        self,
        now: float,
        lanes: Mapping[str, Lane],
        bounds: Mapping[str, int],
        average: float | None,
    ) -> None:
        self._now = now
        self._lanes = lanes
        self._average = average
        self._times = _Walk(now, lanes, bounds, average).times
        self._behind = {name: self._pace(lane) for name, lane in lanes.items()}

    def of(self, number: int) -> float | None:
        """In how many seconds a job starts that was given; None where nobody knows."""
        time = self._times.get(number)
        return None if time is None else time - self._now

    def behind(self, group: str, position: int) -> float | None:
        """In how many seconds a job starts that only waits for its turn, and was not given.

        Args:
            group: its group.
            position: its place among those that wait there, from 1; it is behind those given.

        Returns:
            seconds; None where nobody knows.
        """
        last, each = self._behind[group]
        if last is None or each is None:
            return None
        return last + max(0, position - len(self._lanes[group].waits)) * each

    def _pace(self, lane: Lane) -> tuple[float | None, float | None]:
        """When the last of those given starts, and how many seconds are between two starts."""
        ready = [job for job in lane.waits if job.is_ready]
        times = [self.of(job.number) for job in ready]
        known = [time for time in times if time is not None]
        if len(known) < len(times) or lane.paused or not lane.slots or not known:
            return None, None
        lengths = [self._average if job.seconds is None else job.seconds for job in ready]
        whole = [length for length in lengths if length is not None]
        return max(known), sum(whole) / len(whole) / lane.slots if whole else None


class _Walk:
    """One walk through the slots and the line; `times` has when each job starts."""

    def __init__(
        self,
        now: float,
        lanes: Mapping[str, Lane],
        bounds: Mapping[str, int],
        average: float | None,
    ) -> None:
        self.times: dict[int, float] = {}
        self._now = now
        self._average = average
        self._bounds = bounds
        self._order = count()
        self._ends: list[tuple[float, int, str, str, int]] = []
        """the times of ends, with the group, the owner and the number"""
        self._comes: list[tuple[float, int, int]] = []
        """the times before which jobs do not start"""
        self._waits = {job.number: job for lane in lanes.values() for job in lane.waits}
        self._group = {job.number: name for name, lane in lanes.items() for job in lane.waits}
        self._place: dict[int, _Place] = {}
        self._lines: dict[str, list[_Place]] = {name: [] for name in lanes}
        self._free = {name: lane.slots - len(lane.runs) for name, lane in lanes.items()}
        self._paused = {name for name, lane in lanes.items() if lane.paused}
        self._running: defaultdict[str, int] = defaultdict(int)
        self._passed: defaultdict[str, dict[str, list[_Place]]] = defaultdict(dict)
        """those that were passed over, by owner and group"""
        self._missing: dict[int, int] = {}
        self._dependants: defaultdict[int, list[int]] = defaultdict(list)
        for name, lane in lanes.items():
            self._place.update(_places(lane.waits))
            for run in lane.runs:
                self._running[run.owner] += 1
                self._end_later(now, run.left, name, run.owner, run.number)
        for job in self._waits.values():
            self._enter(job)
        self._go()

    def _go(self) -> None:
        """Go from one time at which something happens to the next."""
        now = self._now
        groups: Iterable[str] = list(self._lines)
        while True:
            self._fill(now, groups)
            due = [events[0][0] for events in (self._ends, self._comes) if events]
            if not due:
                return
            now = min(due)
            touched: dict[str, None] = {}
            while self._ends and self._ends[0][0] <= now:
                _, _, group, owner, number = heappop(self._ends)
                touched[group] = None
                self._free[group] += 1
                self._running[owner] -= 1
                touched.update(dict.fromkeys(self._let_by(owner)))
                for dependant in self._dependants.pop(number, ()):
                    self._missing[dependant] -= 1
                    if not self._missing[dependant]:
                        touched[self._group[dependant]] = None
                        self._come(now, self._waits[dependant])
            while self._comes and self._comes[0][0] <= now:
                _, _, number = heappop(self._comes)
                touched[self._group[number]] = None
                self._line_up(number)
            groups = touched

    def _enter(self, job: Waits) -> None:
        """Have a job wait for what it waits for, as far as that is known to come."""
        if job.held:
            return
        if not job.after:
            self._come(self._now, job)
            return
        self._missing[job.number] = len(set(job.after))
        for other in set(job.after):
            self._dependants[other].append(job.number)

    def _come(self, now: float, job: Waits) -> None:
        """A job waits for nothing any more, but perhaps for a time."""
        if job.not_before is not None and job.not_before > now:
            heappush(self._comes, (job.not_before, next(self._order), job.number))
        else:
            self._line_up(job.number)

    def _line_up(self, number: int) -> None:
        heappush(self._lines[self._group[number]], self._place[number])

    def _let_by(self, owner: str) -> list[str]:
        """One more of an owner may start: the first of each group that was passed over.

        Returns:
            the groups in which there was one.
        """
        passed = self._passed.get(owner, {})
        groups = [group for group, places in passed.items() if places]
        for group in groups:
            heappush(self._lines[group], heappop(passed[group]))
        return groups

    def _fill(self, now: float, groups: Iterable[str]) -> None:
        """Give away the free slots of groups."""
        turns = [turn for group in groups if (turn := self._turn(group)) is not None]
        heapify(turns)
        while turns:
            turn = heappop(turns)
            _, number, group = turn
            # A start may have been the last for now of an owner who is next in another group.
            if turn == self._turn(group):
                job = self._waits[number]
                heappop(self._lines[group])
                self._free[group] -= 1
                self._running[job.owner] += 1
                self.times[number] = now
                self._end_later(now, job.seconds, group, job.owner, number)
            following = self._turn(group)
            if following is not None:
                heappush(turns, following)

    def _turn(self, group: str) -> tuple[int, int, str] | None:
        """The rank and number of the next of a group, if one may start; others are passed over."""
        if self._free[group] <= 0 or group in self._paused:
            return None
        line = self._lines[group]
        while line:
            _, _, rank, number = line[0]
            owner = self._waits[number].owner
            bound = self._bounds.get(owner)
            if bound is None or self._running[owner] < bound:
                return rank, number, group
            heappush(self._passed[owner].setdefault(group, []), heappop(line))
        return None

    def _end_later(
        self, now: float, seconds: float | None, group: str, owner: str, number: int
    ) -> None:
        seconds = self._average if seconds is None else seconds
        if seconds is not None:
            end = now + max(0.0, seconds)
            heappush(self._ends, (end, next(self._order), group, owner, number))


def _places(waits: Sequence[Waits]) -> dict[int, _Place]:
    """The place of each job in its line.

    Those that only wait for their turn have it by their order. The others come before the first of
    them that has a lower priority, or the same and a higher number.
    """
    ready = [(-job.priority, job.number) for job in waits if job.is_ready]
    places = {number: (index, True, rank, number) for index, (rank, number) in enumerate(ready)}
    ordered = sorted((key, index) for index, key in enumerate(ready))
    keys = [key for key, _ in ordered]
    firsts = [len(ready)]
    for _, index in reversed(ordered):
        firsts.append(min(index, firsts[-1]))
    firsts.reverse()
    for job in waits:
        if not job.is_ready:
            key = (-job.priority, job.number)
            places[job.number] = (firsts[bisect_left(keys, key)], False, *key)
    return places
