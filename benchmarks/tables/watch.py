"""What it costs that many watch: 2,000 clients, and 100 tasks that report ten times a second.

First nobody watches; then each of the clients watches one task, twenty of them the same; then each
of them all 100. Meanwhile `active` is asked every 5 ms. What the daemon uses is its own CPU,
without its runner and the tasks.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row, Settings, alternate, goal, load, number, show
from servers import HERE, PYTHON, Aptask, Client, Failed

JOBS = 100
WATCHERS = 2000
SECONDS = 8.0
COMING_SECONDS = 15.0
"""Within which all watchers are there."""
REPORTS = (
    "import os, sys, time\n"
    "for step in range(int(sys.argv[1])):\n"
    "    os.write(1, b'%d.%02d%%\\n' % divmod(step, 100))\n"
    "    time.sleep(0.1)\n"
)
OK = '{"status":"ok"'
NOBODY, ONE, ALL = "nobody watches", "each watches one", "each watches all"


def run(settings: Settings) -> None:
    """Measure and tell."""
    kinds = {f"aptask, {kind}": kind for kind in (NOBODY, ONE, ALL)}
    rows = alternate(
        "watch",
        settings,
        {name: lambda kind=kind: _measure(kind) for name, kind in kinds.items()},
    )
    nobody = rows.get(f"aptask, {NOBODY}", {})
    show(
        f"watch: {WATCHERS:,} clients, {JOBS} tasks that report ten times a second",
        ["", "cores", "lines/s", "of a task/s", "least", "ends missed", "active p50", "p99, ms"],
        [
            [
                name,
                number(row["cores"], 2),
                number(row["lines"]),
                number(row["mean"], 1),
                number(row["least"]),
                number(row["missed"]),
                number(row["p50"], 2),
                number(row["p99"], 2),
            ]
            for name, row in rows.items()
        ],
    )
    for name, row in list(rows.items())[1:]:
        goal(f"{name}: cores beyond those of nobody", row["cores"] - nobody.get("cores", 0.0), 0.5,
             least=False)  # fmt: skip
        goal(f"{name}: p99 of `active`", row["p99"], 20.0, least=False, unit=" ms")
        goal(f"{name}: updates of each task in two seconds", row["least_of_two"], 2.0, least=True)
        goal(f"{name}: watchers that saw every end", WATCHERS - row["missed"], WATCHERS, least=True)


def _measure(kind: str) -> Row:
    _allow_descriptors(WATCHERS + 500)
    steps = int((COMING_SECONDS + SECONDS + 4) * 10)
    program = [PYTHON, "-S", "-c", REPORTS, str(steps)]
    with Aptask(slots=JOBS) as daemon:
        fields = {"name": "program", "arguments": {"command": program}}
        request = daemon.client.encode("start", **fields)
        taskids = [answer["taskid"] for answer in daemon.client.send([request] * JOBS)]
        asker = Client(daemon.port, "asker")
        begin = time.monotonic()
        try:
            with _watching(daemon.port, kind, taskids) as process:
                if time.monotonic() > begin + COMING_SECONDS:
                    raise Failed(f"the watchers were not there within {COMING_SECONDS:g} s")
                time.sleep(begin + COMING_SECONDS - time.monotonic())
                if process is not None:
                    _say(process, str(JOBS))
                before = _cpu(daemon.pid)
                ask = asker.encode("active")
                found = load(daemon.port, ask, OK, seconds=SECONDS, every=0.005)
                cores = (_cpu(daemon.pid) - before) / SECONDS
                seen: Row = dict.fromkeys(("lines", "mean", "least", "least_of_two", "missed"), 0.0)
                if process is not None:
                    seen = json.loads(_hear(process))
        finally:
            asker.close()
    row = {figure: found[figure] / 1e3 for figure in ("p50", "p99", "longest")}
    return {**row, **seen, "cores": cores}


@contextlib.contextmanager
def _watching(port: int, kind: str, taskids: list[str]) -> Iterator[subprocess.Popen[str] | None]:
    """The process of those who watch, when all of them do."""
    if kind == NOBODY:
        yield None
        return
    watched = [taskids[place % len(taskids)] if kind == ONE else "*" for place in range(WATCHERS)]
    # They stand for programs on other machines: the daemon goes first.
    command = [
        "nice",
        "-n",
        "10",
        PYTHON,
        str(HERE / "watchers.py"),
        str(port),
        "feeder",
        str(SECONDS),
        *watched,
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            _hear(process)
            yield process
        finally:
            process.kill()


def _say(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")
    process.stdin.flush()


def _hear(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _cpu(pid: int) -> float:
    """The CPU time of a process alone, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def _allow_descriptors(count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))
