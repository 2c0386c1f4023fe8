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
SHAPES = {"1": (1, 1), "50": (50, 1), "500": (500, 1), "50x100": (50, 100)}
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
            "aptask start (synced)": served(_aptask, start, OK),
            "aptask start (memory)": served(_in_memory, start, OK),
            "bare LineReceiver start (memory)": served(_bare, start, OK),
            "aptask active (synced)": served(_aptask, active, OK),
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
    columns += ["1 client", "50 clients", "500 clients", "50 clients, 100 in flight each"]
    columns += ["server us/request"]
    columns += ["aptask / it, 50", "50x100"]
    shown = []
    for name, row in rows.items():
        what = "active" if "active" in name else "start"
        kept = "memory" if "memory" in name and what == "start" else "synced"
        mine = rows.get(f"aptask {what} ({kept})", {})
        others = ["", ""]
        if not name.startswith("aptask"):
            others = [ratio(mine.get(f"{x} rate"), row.get(f"{x} rate")) for x in ("50", "50x100")]
        cost = number(row.get("50 cpu"), 1)
        shown.append([name, *(_cell(row, shape) for shape in SHAPES), cost, *others])
    show(
        "start: a task is submitted, or the list asked for, and the answer awaited", columns, shown
    )
    synced, memory = "aptask start (synced)", "aptask start (memory)"
    for what, name, other, least in (
        ("start in memory, as a share of a bare LineReceiver", memory, "bare LineReceiver s", 0.5),
        ("start synced, as a share of that in memory", synced, memory, 0.6),
        ("start synced, times beanstalkd -f0", synced, "beanstalkd put (synced)", 3.0),
    ):
        mine, others = best(rows, "50 rate", name), best(rows, "50 rate", other)
        share = mine / others if mine and others else None
        goal(f"50 clients: {what}", share, least, least=True)
    pipelined = best(rows, "50x100 rate", synced)
    goal("start synced, 100 in flight each", pipelined, 50_000.0, least=True, unit="/s")


def _cell(row: Row, shape: str) -> str:
    if f"{shape} rate" not in row:
        return "-"
    rate, p50, p99 = (row[f"{shape} {figure}"] for figure in ("rate", "p50", "p99"))
    return f"{rate:,.0f} ({p50:,.0f} / {p99:,.0f})"


def _aptask() -> Server:
    return Aptask(slots=1, cores=SERVER_CORES)


def _in_memory() -> Server:
    return Aptask(slots=1, cores=SERVER_CORES, synced=False)


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
