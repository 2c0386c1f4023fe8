"""The rules of `Turns` once more: a list that is sorted and filtered for each question."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Waiter:
    """A job that waits."""

    number: int
    owner: str
    group: str
    priority: int
    after: set[int] = field(default_factory=set)
    not_before: float | None = None
    held: bool = False

    @property
    def ready(self) -> bool:
        return not self.after and self.not_before is None and not self.held


class SlowTurns:
    """Slow, and obviously right."""

    def __init__(self) -> None:
        self.paused = False
        self.slots: Counter[str] = Counter()
        self.paused_groups: set[str] = set()
        self.bounds: dict[str, int | None] = {}
        self.waiters: dict[int, Waiter] = {}
        self.running: Counter[tuple[str, str]] = Counter()
        self.last: Counter[tuple[str, str]] = Counter()
        self.starts = 0

    def bounded(self, owner: str) -> bool:
        running = sum(count for (whose, _), count in self.running.items() if whose == owner)
        bound = self.bounds.get(owner)
        return bound is not None and running >= bound

    def has_room(self, group: str) -> bool:
        running = sum(count for (_, where), count in self.running.items() if where == group)
        return not self.paused and group not in self.paused_groups and running < self.slots[group]

    def may_start(self) -> list[Waiter]:
        return [
            waiter
            for waiter in self.waiters.values()
            if waiter.ready and self.has_room(waiter.group) and not self.bounded(waiter.owner)
        ]

    def launch(self, now: float) -> int | None:
        for waiter in self.waiters.values():
            kept = waiter.after or waiter.held
            if waiter.not_before is not None and waiter.not_before <= now and not kept:
                waiter.not_before = None
        best = [
            min(
                (waiter for waiter in self.may_start() if waiter.group == group),
                key=lambda waiter: (
                    -waiter.priority,
                    self.running[waiter.owner, waiter.group],
                    self.last[waiter.owner, waiter.group],
                    waiter.number,
                ),
            )
            for group in {waiter.group for waiter in self.may_start()}
        ]
        if not best:
            return None
        first = min(best, key=lambda waiter: (-waiter.priority, waiter.number))
        del self.waiters[first.number]
        self.occupy(first.owner, first.group)
        return first.number

    def reserve(self, owner: str, group: str) -> bool:
        passed = [waiter for waiter in self.may_start() if waiter.group == group]
        if passed or self.bounded(owner) or not self.has_room(group):
            return False
        self.occupy(owner, group)
        return True

    def occupy(self, owner: str, group: str) -> None:
        self.starts += 1
        self.running[owner, group] += 1
        self.last[owner, group] = self.starts

    def release(self, owner: str, group: str) -> None:
        self.running[owner, group] -= 1

    def end(self, number: int, done: bool) -> set[int]:
        """Who is to be skipped."""
        self.waiters.pop(number, None)
        skipped = set()
        for waiter in list(self.waiters.values()):
            if number in waiter.after:
                waiter.after.remove(number)
                if not done and waiter.number in self.waiters:
                    skipped |= {waiter.number} | self.end(waiter.number, False)
        return skipped

    def next_time(self) -> float | None:
        times = [
            waiter.not_before
            for waiter in self.waiters.values()
            if waiter.not_before is not None and not waiter.after and not waiter.held
        ]
        return min(times, default=None)

    def expected(self, group: str) -> list[int]:
        """Those who wait in a group, as they would start if nothing ended."""
        waiters = [waiter for waiter in self.waiters.values() if waiter.group == group]
        ready = [waiter for waiter in waiters if waiter.ready]
        order: list[int] = []
        for tier in sorted({(self.bounded(one.owner), -one.priority) for one in ready}):
            left = [one for one in ready if (self.bounded(one.owner), -one.priority) == tier]
            running, last = self.running.copy(), self.last.copy()
            while left:
                first = min(
                    left,
                    key=lambda one: (
                        running[one.owner, group],
                        last[one.owner, group],
                        one.number,
                    ),
                )
                left.remove(first)
                running[first.owner, group] += 1
                last[first.owner, group] = self.starts + len(order) + 1
                order.append(first.number)
        return order + sorted(waiter.number for waiter in waiters if not waiter.ready)

    def listing(self, owner: str | None, group: str | None) -> list[tuple[int, int]]:
        """Those who wait, with their positions: the first of each group, and so on."""
        groups = sorted({waiter.group for waiter in self.waiters.values()})
        parts = [
            [
                (number, position)
                for position, number in enumerate(self.expected(where), 1)
                if owner in (None, self.waiters[number].owner)
            ]
            for where in groups
            if group in (None, where)
        ]
        rounds = range(max(map(len, parts), default=0))
        return [part[place] for place in rounds for part in parts if place < len(part)]
