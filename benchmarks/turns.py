"""The decisions about who starts next, by themselves: a million jobs of 100 users in 20 groups.

    python benchmarks/turns.py [JOBS [PRIORITIES]]

It prints the memory of a job that waits, and how long decisions, positions and pages take. Without
PRIORITIES it runs itself for one and for five of them, each in a fresh process.
"""

from __future__ import annotations

import gc
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from aptask.scheduling.turns import Turns

USERS = [f"user {number}" for number in range(100)]
GROUPS = [f"group {number}" for number in range(20)]
SLOTS = 8
PAGE = 1000
PAGE_SIZE = 4096
"""Bytes of a page of memory."""


def memory() -> int:
    """The memory of this process, in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_SIZE


def measure(name: str, action: Callable[[], object], times: int) -> None:
    """Print how long an action takes: the median, the 99th percentile and the longest."""
    taken = []
    for _ in range(times):
        begin = perf_counter()
        action()
        taken.append((perf_counter() - begin) * 1e6)
    taken.sort()
    p50, p99 = taken[times // 2], taken[times * 99 // 100]
    print(f"{name:44} {p50:9,.1f} / {p99:9,.1f} / {taken[-1]:9,.1f} us")


def one_owner(jobs: int) -> None:
    """The memory of jobs that have everything in common."""
    turns = Turns()
    turns.set_group("default", SLOTS)
    before = memory()
    for number in range(1, jobs + 1):
        turns.add(number, "alice", "default")
    print(f"{'a plain job of one owner':44} {(memory() - before) / jobs:9,.1f} bytes", flush=True)


def many_owners(jobs: int, priorities: int) -> None:
    """The memory of jobs of many owners, in many groups, and the decisions about them."""
    print(
        f"\n{jobs:,} jobs of {len(USERS)} users in {len(GROUPS)} groups, priorities: {priorities}",
        flush=True,
    )
    chance = random.Random(1)
    users, groups = ([chance.choice(names) for _ in range(jobs + 1)] for names in (USERS, GROUPS))
    gc.freeze()  # what is not measured is not looked at
    turns = Turns()
    for group in GROUPS:
        turns.set_group(group, SLOTS)
    before, begin = memory(), perf_counter()
    for number in range(1, jobs + 1):
        turns.add(number, users[number], groups[number], number % priorities)
    print(f"{'add':44} {(perf_counter() - begin) / jobs * 1e6:9,.1f} us")
    print(f"{'a job':44} {(memory() - before) / jobs:9,.1f} bytes")
    running: list[int] = []
    while (first := turns.launch(0.0)) is not None:
        running.append(first)

    def step() -> None:
        ended = running.pop(chance.randrange(len(running)))
        turns.release(users[ended], groups[ended])
        turns.finished(ended, True)
        number = turns.launch(0.0)
        if number is not None:
            running.append(number)

    def position() -> int:
        return turns.outlook.position(chance.randrange(jobs // 2, jobs) + 1)

    def page(owner: str | None, group: str | None) -> object:
        step()
        waiting = turns.outlook.waiting(owner, group)
        return turns.outlook.listing(owner, group, waiting // 2, PAGE)

    print(f"{'':44} {'p50':>9} / {'p99':>9} / {'longest':>9}")
    measure("an end and the next start", step, jobs // 10)
    measure("the same, and a position", lambda: (step(), position()), 1000)
    measure("a position where nothing has changed", position, 1000)
    measure(f"a page of {PAGE}, of all", lambda: page(None, None), 100)
    measure("a page of a user", lambda: page(USERS[1], None), 100)
    measure("a page of a group", lambda: page(None, GROUPS[1]), 100)
    measure("a page of a user in a group", lambda: page(USERS[1], GROUPS[1]), 100)
    middle = chance.sample(range(1, jobs + 1), jobs // 10)
    measure("a job that is withdrawn", lambda: turns.withdraw(middle.pop()), jobs // 10)
    measure("a full collection", gc.collect, 10)


if __name__ == "__main__":
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    if len(sys.argv) > 2:
        many_owners(jobs, int(sys.argv[2]))
    else:
        one_owner(jobs)
        for priorities in ("1", "5"):
            subprocess.run([sys.executable, __file__, str(jobs), priorities], check=True)
