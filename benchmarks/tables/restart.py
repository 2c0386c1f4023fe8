"""How long a queue is away when its daemon is killed and started again, and what a large one costs.

First, many tasks wait, and two run, which end while no daemon is there: seconds from the start of
the next daemon until it answers `ping`, and until the next task starts. Then, what one that waits
costs, and what it costs others.
"""

from __future__ import annotations

import contextlib
import json
import socket
import statistics
import time

from measure import Row, Settings, alternate, goal, load, number, show
from servers import Aptask, Client, resident
from tables.memory import OK, START

QUEUED = 100_000
MANY = 1_000_000
LISTED = 200
"""How often a short list is asked for."""


def run(settings: Settings) -> None:
    """Measure and tell."""
    queued, many = settings.count(QUEUED), settings.count(MANY)
    rows = alternate(
        "restart",
        settings,
        {
            f"aptask, {queued:,} wait": lambda: _restart(queued),
            f"aptask, {many:,} wait": lambda: _fill(many),
        },
    )
    restarted = rows.get(f"aptask, {queued:,} wait", {})
    show(
        f"restart: {queued:,} tasks wait, two run; killed and started again; seconds",
        ["", "ping is answered", "the next task starts"],
        [["aptask", number(restarted.get("ping"), 2), number(restarted.get("next"), 2)]],
    )
    large = rows.get(f"aptask, {many:,} wait", {})
    show(
        f"many: {many:,} tasks wait",
        [
            "",
            "bytes each",
            "start/s at 1,000",
            "start/s with all",
            "list of 3, ms",
            "ping, open, s",
        ],
        [
            [
                "aptask",
                number(large.get("bytes")),
                number(large.get("rate")),
                number(large.get("rate then")),
                number(large.get("list"), 2),
                f"{number(large.get('ping'), 2)}, {number(large.get('open'), 1)}",
            ]
        ],
    )
    share = large["rate then"] / large["rate"] if large else None
    goal("bytes of memory a task that waits", large.get("bytes"), 400.0, least=False)
    goal("start with many queued, as a share of that with few", share, 0.8, least=True)
    goal("list of 3 among many, ms", large.get("list"), 5.0, least=False)
    goal("ping after a start with many queued, s", large.get("ping"), 1.0, least=False)
    goal("open after a start with many queued, s", large.get("open"), 15.0, least=False)


def _restart(count: int) -> Row:
    with Aptask(slots=2) as daemon:
        go = daemon.folder / "go"
        ended = daemon.folder / "ended"
        script = f"until [ -e {go} ]; do sleep 0.01; done; echo >> {ended}"
        for _ in range(2):
            daemon.client.ask("start", name="program", arguments=[["sh", "-c", script]])
        request = daemon.client.encode("start", **daemon.true())
        load(daemon.port, request, OK, clients=10, depth=20, most=count)
        before = daemon.done.count()
        daemon.kill()
        go.touch()
        while not ended.exists() or ended.stat().st_size < 2:
            time.sleep(0.01)
        began = time.monotonic()
        daemon.serve()
        ping = _until_answered(daemon.port, began)
        daemon.done.wait(before + 1)
        row = {"ping": ping, "next": time.monotonic() - began}
        daemon.client = Client(daemon.port)
        return row


def _fill(count: int) -> Row:
    request = json.dumps(START).encode() + b"\n"
    with Aptask(slots=1) as daemon:
        daemon.occupy()
        few = max(count // 50, 2000)
        rate = load(daemon.port, request, OK, clients=10, depth=20, most=few)["rate"]
        asker = Client(daemon.port, "asker")
        for _ in range(3):
            asker.ask("start", name="sleep", arguments=[1])
        before = resident(daemon.pid)
        load(daemon.port, request, OK, clients=10, depth=20, most=count)
        grown = resident(daemon.pid) - before
        then = load(daemon.port, request, OK, clients=10, depth=20, most=few)["rate"]
        took = []
        for _ in range(LISTED):
            start = time.perf_counter()
            asker.ask("active")
            took.append(time.perf_counter() - start)
        asker.close()
        daemon.kill()
        began = time.monotonic()
        daemon.serve()
        ping = _until_answered(daemon.port, began)
        daemon.client = Client(daemon.port)
        daemon.client.ask("active", limit=1)
        return {
            "bytes": grown / count,
            "rate": rate,
            "rate then": then,
            "list": statistics.median(took) * 1e3,
            "ping": ping,
            "open": time.monotonic() - began,
        }


def _until_answered(port: int, began: float) -> float:
    while True:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 60) as connection,
        ):
            connection.sendall(b'{"request": "ping"}\n')
            if connection.recv(100):
                return time.monotonic() - began
        time.sleep(0.005)
