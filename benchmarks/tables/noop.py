"""Python tasks that do nothing: from the first submission to the last end, two workers."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, Settings, Usage, alternate, best, goal, number, ratio, show
from servers import Aptask, Done, Workers

COUNT = 10_000
SLOWER = {"rq": 300, "rq-simple": 1000, "huey-sqlite-fsync": 4000, "celery": 5000}
"""Those of which fewer are measured, since they take long."""

PEERS = {
    "huey sqlite (not synced)": "huey-sqlite",
    "huey sqlite (synced)": "huey-sqlite-fsync",
    "huey redis": "huey-redis",
    "dramatiq -p 2 -t 8": "dramatiq-8",
    "Celery prefork": "celery",
    "RQ simple": "rq-simple",
    "RQ": "rq",
}


def run(settings: Settings) -> None:
    """Measure and tell."""
    count = settings.count(COUNT)

    def workers(peer: str) -> Callable[[], Row]:
        return lambda: _workers(peer, settings.count(SLOWER.get(peer, COUNT)))

    rows = alternate(
        "noop",
        settings,
        {
            "aptask": lambda: _aptask(count, 1),
            "aptask, submitted 100 at once": lambda: _aptask(count, 100),
            "ProcessPoolExecutor(2) (no queue)": lambda: _pool(count),
            **{name: workers(peer) for name, peer in PEERS.items()},
        },
    )
    mine = rows.get("aptask", {}).get("rate")  # submitted as the peers' are
    show(
        "noop: Python tasks that do nothing, two workers",
        ["", "tasks/s", "CPU ms/task", "aptask / it"],
        [
            [
                name,
                number(row["rate"]),
                number(row["cpu"], 3),
                "" if name.startswith("aptask") else ratio(mine, row["rate"]),
            ]
            for name, row in rows.items()
        ],
    )
    dramatiq = best(rows, "rate", "dramatiq")
    goal("Python tasks, ahead of dramatiq", mine, dramatiq, least=True, unit="/s")


def _row(used: Usage, count: int) -> Row:
    return {
        "rate": count / used.seconds,
        "cpu": used.cpu / count * 1e3,
        "others": used.others,
    }


def _aptask(count: int, at_once: int) -> Row:
    with Aptask() as daemon:
        task = {"name": "nothing", "arguments": [daemon.done.path]}
        request = daemon.client.encode("start", **task)
        done = daemon.done.count()
        daemon.client.send([request] * 20)
        daemon.done.wait(done + 20)
        with Usage() as used:
            daemon.client.send([request] * count, at_once)
            daemon.done.wait(done + 20 + count)
        return _row(used, count)


def _append(path: str) -> None:
    """What the tasks of all peers do."""
    if not _opened:
        _opened.append(os.open(path, os.O_WRONLY | os.O_APPEND))
    os.write(_opened[0], b".")


_opened: list[int] = []


def _pool(count: int) -> Row:
    with TemporaryDirectory(prefix="bench-") as folder:
        done = Done(Path(folder))
        with ProcessPoolExecutor(2, get_context("fork")) as pool:
            wait([pool.submit(_append, done.path) for _ in range(20)])
            with Usage() as used:
                wait([pool.submit(_append, done.path) for _ in range(count)])
                done.wait(20 + count)
        return _row(used, count)


def _workers(peer: str, count: int) -> Row:
    with Workers(peer) as workers:
        done = workers.done.count()
        with Usage() as used:
            workers.submit("noop", count)
            workers.done.wait(done + count)
        return _row(used, count)
