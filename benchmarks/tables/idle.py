"""How long one client waits for `active`, every 5 ms, while the daemon has other things to do.

The client is the load generator, with a real-time priority where it may have one: what is measured
is the server's delay. A thousand further clients are connected and say nothing.
"""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from measure import Row, Settings, Usage, alternate, goal, load, number, show
from servers import CHATTER, MARK, Aptask, Bare, Client, Done, Failed, written

SECONDS = 10.0
EVERY = 0.005
CLIENTS = 1000
PROGRAMS_PER_SECOND = 3000
"""More than can run: so many are queued for each second."""
LINES_PER_SECOND = 1_000_000
LINE_BYTES = 7
OK = '{"status":"ok"'


def run(settings: Settings) -> None:
    """Measure and tell."""
    seconds = SECONDS * max(settings.scale, 0.2)
    loads: dict[str, Callable[[Aptask], Callable[[], float]]] = {
        "aptask, nothing else": lambda daemon: lambda: 0.0,
        "aptask, programs": lambda daemon: _programs(daemon, seconds),
        "aptask, a flood of output": lambda daemon: _flood(daemon, ["yes"], "yes", 2),
        "aptask, a flood of progress": lambda daemon: _flood(
            daemon, [CHATTER, str(LINES_PER_SECOND)], "chatter", LINE_BYTES
        ),
    }

    def loaded(name: str) -> Callable[[], Row]:
        return lambda: _aptask(seconds, loads[name])

    rows = alternate(
        "idle",
        settings,
        {
            **{name: loaded(name) for name in loads},
            "bare LineReceiver, nothing else": lambda: _bare(seconds, busy=False),
            "bare LineReceiver, programs of xargs -P2": lambda: _bare(seconds, busy=True),
        },
    )
    show(
        "idle: `active` every 5 ms beside 1,000 idle clients, while two slots run programs\n"
        "without pause, or a program writes without pause (ms)",
        ["", "p50", "p99", "longest", "meanwhile, a second"],
        [
            [
                name,
                number(row["p50"], 3),
                number(row["p99"], 3),
                number(row["longest"], 3),
                _meanwhile(name, row["meanwhile"]),
            ]
            for name, row in rows.items()
        ],
    )
    for name in list(loads)[1:]:
        p99 = rows.get(name, {}).get("p99")
        goal(f"p99 of `active`: {name}", p99, 5.0, least=False, unit=" ms")


def _meanwhile(name: str, count: float) -> str:
    if "programs" in name:
        return f"{count:,.0f} programs"
    return f"{count / 1e6:,.2f} million lines" if "flood" in name else ""


def _ask(port: int, seconds: float, meanwhile: Callable[[], float]) -> Row:
    """Ask while something else goes on; `meanwhile` counts that."""
    request = json.dumps({"key": "asker", "request": "active"}).encode() + b"\n"
    time.sleep(0.3)
    with _idle_clients(port), Usage() as used:
        before = meanwhile()
        found = load(port, request, OK, seconds=seconds, every=EVERY)
        count = meanwhile() - before
    row: Row = {figure: found[figure] / 1e3 for figure in ("p50", "p99", "longest")}
    return {**row, "meanwhile": count / used.seconds, "others": used.others}


def _aptask(seconds: float, begin: Callable[[Aptask], Callable[[], float]]) -> Row:
    with Aptask() as daemon:
        meanwhile = begin(daemon)
        asker = Client(daemon.port, "asker")
        asker.ask("start", **daemon.true())  # waits behind the others: one entry in the list
        try:
            return _ask(daemon.port, seconds, meanwhile)
        finally:
            asker.close()


def _programs(daemon: Aptask, seconds: float) -> Callable[[], float]:
    request = daemon.client.encode("start", **daemon.true())
    daemon.client.send([request] * int((seconds + 3) * PROGRAMS_PER_SECOND))
    return daemon.done.count


def _flood(daemon: Aptask, command: list[str], name: str, line_bytes: int) -> Callable[[], float]:
    daemon.client.ask("start", name="program", arguments=[command])
    for _ in range(500):
        if written(name):
            return lambda: written(name) / line_bytes
        time.sleep(0.01)
    raise Failed(f"{name} does not write")


def _bare(seconds: float, busy: bool) -> Row:
    with Bare() as server, TemporaryDirectory(prefix="bench-") as folder:
        done = Done(Path(folder))
        if not busy:
            return _ask(server.port, seconds, lambda: 0.0)
        command = ["xargs", "-P2", "-n1", MARK, done.path]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as xargs:
            feeder = subprocess.Popen(["yes"], stdout=xargs.stdin)
            try:
                return _ask(server.port, seconds, done.count)
            finally:
                feeder.kill()
                feeder.wait()
                xargs.kill()


@contextlib.contextmanager
def _idle_clients(port: int) -> Iterator[None]:
    """A thousand connections on which nothing is said."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CLIENTS + 200:
        wanted = CLIENTS + 200
        if hard != resource.RLIM_INFINITY:
            wanted = min(hard, wanted)
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
        yield
