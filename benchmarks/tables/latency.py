"""One program on an idle peer: from its submission to its end being known."""

from __future__ import annotations

import time
from collections.abc import Callable

from measure import Row, Settings, Usage, alternate, goal, number, ratio, show
from servers import Aptask, Client, Failed, TaskSpooler, Workers

COUNT = 300
PAUSE = 0.02
LOOK = 0.0001
"""As in peers/submit.py."""

PEERS = {
    "Celery": ("celery", "true"),
    "Celery, result.get()": ("celery", "true_with_result"),
    "huey redis": ("huey-redis", "true"),
    "huey sqlite": ("huey-sqlite", "true"),
    "RQ simple": ("rq-simple", "true"),
    "RQ": ("rq", "true"),
}


def run(settings: Settings) -> None:
    """Measure and tell."""
    count = settings.count(COUNT)

    def workers(peer: str, task: str) -> Callable[[], Row]:
        return lambda: _workers(peer, task, count)

    rows = alternate(
        "latency",
        settings,
        {
            "aptask, start then wait": lambda: _wait(count),
            "aptask": lambda: _look(count),
            "task-spooler": lambda: _task_spooler(count),
            **{name: workers(*peer) for name, peer in PEERS.items()},
        },
    )
    mine = rows.get("aptask, start then wait", {})
    show(
        "latency: one program on an idle peer, from submission to its end (ms);\n"
        "where nothing else is said, the end is seen by the byte that the program leaves",
        ["", "p50", "p99", "aptask, wait / it"],
        [
            [
                name,
                number(row["p50"], 2),
                number(row["p99"], 2),
                ratio(mine.get("p50"), row["p50"]) if not name.startswith("aptask") else "",
            ]
            for name, row in rows.items()
        ],
    )
    p50 = mine.get("p50")
    goal("submit to done, p50", p50, 4.5, least=False, unit=" ms")
    celery = [row["p50"] for name, row in rows.items() if name.startswith("Celery")]
    goal("submit to done, p50, below Celery", p50, min(celery, default=None), least=False)


def _measure(count: int, act: Callable[[], None]) -> Row:
    found = []
    with Usage() as used:
        for _ in range(count):
            time.sleep(PAUSE)
            start = time.perf_counter()
            act()
            found.append((time.perf_counter() - start) * 1e3)
    return _row(found, used)


def _row(found: list[float], used: Usage) -> Row:
    found.sort()
    p99 = found[int(len(found) * 0.99)]
    return {"p50": found[len(found) // 2], "p99": p99, "others": used.others}


def _wait(count: int) -> Row:
    with Aptask() as daemon:
        return _measure(count, lambda: _run(daemon.client, daemon.true()))


def _run(client: Client, task: dict[str, object]) -> None:
    client.run(task)


def _look(count: int) -> Row:
    with Aptask() as daemon:

        def act() -> None:
            before = daemon.done.count()
            daemon.client.ask("start", **daemon.true())
            _see(daemon.done.count, before)

        return _measure(count, act)


def _see(done: Callable[[], int], before: int) -> None:
    start = time.perf_counter()
    while done() == before:
        time.sleep(LOOK)
        if time.perf_counter() - start > 30:
            raise Failed("a task was not done within 30 s")


def _task_spooler(count: int) -> Row:
    with TaskSpooler() as spooler:

        def act() -> None:
            before = spooler.done.count()
            spooler.true()
            _see(spooler.done.count, before)

        return _measure(count, act)


def _workers(peer: str, task: str, count: int) -> Row:
    with Workers(peer) as workers:
        workers.order(f"latency {task} 5")
        with Usage() as used:
            found = workers.order(f"latency {task} {count}")
        return _row(found, used)
