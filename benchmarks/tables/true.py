"""External programs that do nothing: from the first submission to the last end, two at a time.

The program is mark.c: /bin/true that leaves a byte in a file, by which all ends are counted.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, Settings, Usage, alternate, best, goal, number, ratio, show
from servers import MARK, Aptask, Done, TaskSpooler, Workers

COUNT = 2000
SLOWER = {"rq": 300, "rq-simple": 1000, "dramatiq": 1000}
"""Those of which fewer are measured, since they take long."""

PEERS = {
    "huey sqlite (not synced)": "huey-sqlite",
    "huey sqlite (synced)": "huey-sqlite-fsync",
    "huey redis": "huey-redis",
    "Celery prefork": "celery",
    "dramatiq -p 2 -t 1": "dramatiq",
    "RQ simple": "rq-simple",
    "RQ": "rq",
}


def run(settings: Settings) -> None:
    """Measure and tell."""
    count = settings.count(COUNT)

    def workers(peer: str) -> Callable[[], Row]:
        return lambda: _workers(peer, settings.count(SLOWER.get(peer, COUNT)))

    rows = alternate(
        "true",
        settings,
        {
            "aptask": lambda: _aptask(count),
            "xargs -P2 (no queue)": lambda: _shell(["xargs", "-P2", "-n1"], count),
            "GNU parallel -j2 (no queue)": lambda: _shell(
                ["parallel", "--will-cite", "-j2"], count
            ),
            "task-spooler": lambda: _task_spooler(count),
            **{name: workers(peer) for name, peer in PEERS.items()},
        },
    )
    mine = best(rows, "rate", "aptask")
    show(
        "true: programs that do nothing, two at a time",
        ["", "tasks/s", "CPU ms/task", "aptask / it"],
        [
            [
                name,
                number(row["rate"]),
                number(row["cpu"], 2),
                "" if name == "aptask" else ratio(mine, row["rate"]),
            ]
            for name, row in rows.items()
        ],
    )
    for name, peer in (("task-spooler", "task-spooler"), ("Celery", "Celery prefork")):
        goal(f"programs, ahead of {name}", mine, best(rows, "rate", peer), least=True, unit="/s")


def _row(used: Usage, count: int) -> Row:
    return {
        "rate": count / used.seconds,
        "cpu": used.cpu / count * 1e3,
        "others": used.others,
    }


def _aptask(count: int) -> Row:
    with Aptask() as daemon:
        request = daemon.client.encode("start", **daemon.true())
        done = daemon.done.count()
        with Usage() as used:
            # One after the other, each acknowledged before the next, as the peers' clients do.
            daemon.client.send([request] * count, at_once=1)
            daemon.done.wait(done + count)
        return _row(used, count)


def _shell(command: list[str], count: int) -> Row:
    with TemporaryDirectory(prefix="bench-") as folder:
        done = Done(Path(folder))
        lines = "".join(f"{number}\n" for number in range(count))
        with Usage() as used:
            subprocess.run(
                [*command, MARK, done.path],
                input=lines.encode(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=True,
            )
            done.wait(count)
        return _row(used, count)


def _task_spooler(count: int) -> Row:
    with TaskSpooler() as spooler:
        with Usage() as used:
            for _ in range(count):
                spooler.true()
            spooler.done.wait(count)
        return _row(used, count)


def _workers(peer: str, count: int) -> Row:
    with Workers(peer) as workers:
        done = workers.done.count()
        with Usage() as used:
            workers.submit("true", count)
            workers.done.wait(done + count)
        return _row(used, count)
