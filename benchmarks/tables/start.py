"""Requests a second, and how long each takes: tasks are submitted, and lists asked for.

The load generator has a core of its own where there are two; the servers have the others.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from measure import (
    Row,
    Settings,
    Usage,
    alternate,
    best,
    goal,
    load,
    number,
    ratio,
    show,
)
from servers import (
    CORES,
    PEERS,
    PYTHON,
    SERVER_CORES,
    Aptask,
    Bare,
    Beanstalkd,
    Done,
    Failed,
    Redis,
    Server,
    cpu_seconds,
    peer_environment,
)

SECONDS = 3.0
SHAPES = {"1": (1, 1), "50": (50, 1), "50x100": (50, 100)}
"""By name: clients, and requests in flight for each."""

ARGUMENTS = {"seconds": 3600.0}
START = {"key": "feeder", "request": "start", "name": "sleep", "arguments": ARGUMENTS}
ACTIVE = {"key": "feeder", "request": "active"}
OK = '{"status":"ok"'
BODY = json.dumps(START).encode()
PUT = b"put 100 0 60 %d\r\n%s\r\n" % (len(BODY), BODY)
PUSH = b"*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$%d\r\n%s\r\n" % (len(BODY), BODY)


def run(settings: Settings) -> None:
    """Measure and tell."""
    seconds = SECONDS * max(settings.scale, 0.2)

    def served(make: Callable[[], Server], request: bytes, expected: str) -> Callable[[], Row]:
        return lambda: _serve(make, request, expected, seconds)

    def clients(peer: str) -> Callable[[], Row]:
        return lambda: _compete(peer, seconds)

    start, active = BODY + b"\n", json.dumps(ACTIVE).encode() + b"\n"
    rows = alternate(
        "start",
        settings,
        {
            "aptask start": served(_aptask, start, OK),
            "bare LineReceiver start (memory)": served(_bare, start, OK),
            "aptask active": served(_aptask, active, OK),
            "bare LineReceiver active (memory)": served(_bare, active, OK),
            "beanstalkd put (memory)": served(lambda: Beanstalkd(SERVER_CORES), PUT, "INSERTED"),
            "beanstalkd put (synced)": served(
                lambda: Beanstalkd(SERVER_CORES, synced=True), PUT, "INSERTED"
            ),
            "redis LPUSH (memory)": served(lambda: Redis(SERVER_CORES), PUSH, ":"),
            "redis LPUSH (synced)": served(lambda: Redis(SERVER_CORES, synced=True), PUSH, ":"),
            "huey sqlite (not synced)": clients("huey-sqlite"),
            "huey sqlite (synced)": clients("huey-sqlite-fsync"),
            "Celery delay (redis, memory)": clients("celery"),
        },
    )
    columns = ["requests/s (p50 / p99 us)"]
    columns += ["1 client", "50 clients", "50 clients, 100 in flight each", "server us/request"]
    columns += ["aptask / it, 50", "50x100"]
    with Aptask(slots=1) as daemon:
        kept = daemon.kept()
    shown = []
    for name, row in rows.items():
        mine = rows.get("aptask active" if "active" in name else "aptask start", {})
        others = ["", ""]
        if not name.startswith("aptask"):
            others = [ratio(mine.get(f"{x} rate"), row.get(f"{x} rate")) for x in ("50", "50x100")]
        label = f"{name} ({kept})" if name.startswith("aptask") else name
        cost = number(row.get("50 cpu"), 1)
        shown.append([label, *(_cell(row, shape) for shape in SHAPES), cost, *others])
    show(
        "start: a task is submitted, or the list asked for, and the answer awaited", columns, shown
    )
    mine, bare = best(rows, "50 rate", "aptask start"), best(rows, "50 rate", "bare LineReceiver s")
    share = mine / bare if mine and bare else None
    goal("start with 50 clients, as a share of a bare LineReceiver", share, 0.5, least=True)


def _cell(row: Row, shape: str) -> str:
    if f"{shape} rate" not in row:
        return "-"
    rate, p50, p99 = (row[f"{shape} {figure}"] for figure in ("rate", "p50", "p99"))
    return f"{rate:,.0f} ({p50:,.0f} / {p99:,.0f})"


def _aptask() -> Server:
    return Aptask(slots=1, cores=SERVER_CORES)


def _bare() -> Server:
    return Bare(SERVER_CORES)


def _serve(make: Callable[[], Server], request: bytes, expected: str, seconds: float) -> Row:
    """One server, fresh, in all shapes one after the other."""
    row: Row = {"others": 0.0}
    with make() as server:
        if isinstance(server, Aptask):
            server.occupy()
        for shape, (clients, depth) in SHAPES.items():
            before = cpu_seconds(server.pid)
            with Usage() as used:
                found = load(
                    server.port, request, expected, clients=clients, depth=depth, seconds=seconds
                )
            cpu = cpu_seconds(server.pid) - before
            # Requests before the counting began cost the server as well.
            requests = found["rate"] * used.seconds
            row |= {f"{shape} {figure}": found[figure] for figure in ("rate", "p50", "p99")}
            row[f"{shape} cpu"] = cpu / requests * 1e6
            row["others"] = max(row["others"], used.others)
    return row


def _compete(peer: str, seconds: float) -> Row:
    """A Python library, in 1 and in 50 processes; these have all cores."""
    row: Row = {"others": 0.0}
    for shape in ("1", "50"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder, Redis() as redis:
            environment = peer_environment(Path(folder), Done(Path(folder)), peer)
            with Usage() as used:
                ran = subprocess.run(
                    [PYTHON, str(PEERS / "submit.py"), peer, shape, str(seconds)],
                    env={**os.environ, **environment, "BENCH_REDIS_PORT": str(redis.port)},
                    capture_output=True,
                    text=True,
                    preexec_fn=lambda: os.sched_setaffinity(0, CORES),
                )
        if ran.returncode:
            raise Failed(ran.stderr[-300:])
        found = json.loads(ran.stdout)
        row |= {f"{shape} {figure}": found[figure] for figure in ("rate", "p50", "p99")}
        row["others"] = max(row["others"], used.others)
    return row
