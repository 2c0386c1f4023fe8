"""Measuring, and telling what was measured: medians, noise, tables, goals, the file of results."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from servers import (
    BIN,
    CORES,
    LOAD_CORES,
    RESULTS,
    Failed,
    cpu_seconds,
    machine_cpu_seconds,
    reap,
)

NOISE = 0.15
"""Cores that others may use before a figure counts as noisy."""
LIBRARIES = ("Twisted", "msgspec", "celery", "redis", "rq", "huey", "dramatiq")
PROGRAMS = (
    ("redis-server", ["redis-server", "--version"]),
    ("beanstalkd", ["beanstalkd", "-v"]),
    ("task-spooler", ["tsp", "-V"]),
    ("parallel", ["parallel", "--version"]),
)


class Settings(NamedTuple):
    """How much is measured.

    Attributes:
        runs: how often; the median counts.
        scale: what numbers of tasks and seconds are multiplied with.
        peers: names, or parts of names, of those to measure beside aptask; empty: all.
    """

    runs: int = 3
    scale: float = 1.0
    peers: Sequence[str] = ()

    def count(self, whole: int) -> int:
        """How many of something, of which the whole measurement has so many."""
        return max(20, int(whole * self.scale))

    def wants(self, peer: str) -> bool:
        """Whether a peer is to be measured."""
        return "aptask" in peer or not self.peers or any(part in peer for part in self.peers)


class Usage:
    """Measures a block: `with Usage() as used`.

    Attributes:
        seconds: how long it took.
        cpu: the CPU seconds of this process and all that descend from it.
        others: cores that everything else used meanwhile.
    """

    def __enter__(self) -> Self:
        wait_for_quiet()
        self._cpu = cpu_seconds(os.getpid())
        self._machine = machine_cpu_seconds()
        self._start = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.seconds = time.perf_counter() - self._start
        machine = machine_cpu_seconds() - self._machine
        # A process that is not reaped counts in whole ticks, which for most is none at all.
        reap()
        self.cpu = cpu_seconds(os.getpid()) - self._cpu
        self.others = max(0.0, machine - self.cpu) / self.seconds


def wait_for_quiet(seconds: float = 2.0) -> None:
    """Wait, but not for long, until the machine has nothing else to do."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        before, start = machine_cpu_seconds(), time.monotonic()
        time.sleep(0.2)
        if (machine_cpu_seconds() - before) / (time.monotonic() - start) < NOISE:
            return


Row = dict[str, float]
Measurement = Callable[[], Row]


def alternate(
    table: str, settings: Settings, measurements: dict[str, Measurement]
) -> dict[str, Row]:
    """Measure each of several, one after the other, and all of that as often as the settings say.

    Args:
        table: what is measured, for the file of results.
        settings: how much.
        measurements: by name; each gives figures by name.

    Returns:
        for each name the median of each figure; one that fails has no row.
    """
    found: dict[str, list[Row]] = {name: [] for name in measurements if settings.wants(name)}
    for run in range(settings.runs):
        for name in list(found):
            _say(f"{table}: {name}, {run + 1} of {settings.runs}")
            try:
                found[name].append(measurements[name]())
            except (Failed, OSError, subprocess.SubprocessError) as error:
                _say("")
                print(f"{table}: {name} failed: {error}", flush=True)
                del found[name]
            reap()
    _say("")
    medians = {}
    for name, rows in found.items():
        medians[name] = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
        keep(table, name, medians[name], rows)
    noise = max((row.get("others", 0.0) for row in medians.values()), default=0.0)
    if noise > NOISE:
        print(f"noisy: other processes used up to {noise:.1f} cores (median of a row)")
    return medians


def _say(text: str) -> None:
    """Show, on a terminal, what is under way, in place of what was shown before."""
    if sys.stdout.isatty():
        print(f"\r\033[K{text}", end="", flush=True)


def keep(table: str, name: str, medians: Row, rows: list[Row]) -> None:
    """Add a row to the file of results."""
    entry = {"table": table, "name": name, "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    with open(RESULTS / "results.jsonl", "a") as file:
        file.write(json.dumps({**entry, "median": medians, "runs": rows}) + "\n")


def load(
    port: int,
    request: bytes,
    expected: str,
    *,
    clients: int = 1,
    depth: int = 1,
    seconds: float = 3600.0,
    most: int = 0,
    every: float = 0.0,
) -> dict[str, Any]:
    """Run the load generator; see load.c.

    Args:
        port: of 127.0.0.1.
        request: its bytes.
        expected: how an answer begins.
        clients: connections.
        depth: requests that each has in flight.
        seconds: how long.
        most: how many requests; 0: as many as can be.
        every: seconds between two requests; 0: no pause.

    Raises:
        Failed: it failed, or answers were wrong.
    """
    numbers = (clients, depth, seconds, most, int(every * 1e6))
    command = [str(BIN / "load"), "127.0.0.1", str(port), *map(str, numbers), expected]
    ran = subprocess.run(
        command,
        input=request,
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, LOAD_CORES if every == 0 else CORES),
    )
    if ran.returncode:
        raise Failed(ran.stderr.decode().strip())
    result: dict[str, Any] = json.loads(ran.stdout)
    if result["bad"]:
        raise Failed(f"{result['bad']} answers were wrong; the first answer: {result['first']}")
    del result["first"]
    return result


# Telling


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column to the left, the others to the right."""
    widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
    print(f"\n{title}\n")
    for row in (columns, ["-" * width for width in widths], *rows):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        print(("  " + "  ".join(cells)).rstrip())
    print(flush=True)


def number(value: float | None, digits: int = 0) -> str:
    """A number for people; `-` where there is none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(mine: float | None, other: float | None) -> str:
    """How many times the other mine is."""
    return "-" if not mine or not other else f"{mine / other:.2f}"


def goal(
    what: str, value: float | None, bound: float | None, *, least: bool, unit: str = ""
) -> None:
    """Print whether a goal is reached, and by how much.

    Args:
        what: the goal.
        value: what was measured.
        bound: what it must reach.
        least: whether it must be at least that; else less than that.
        unit: of both.
    """
    if value is None or bound is None:
        print(f"  ----  {what}: not measured")
        return
    reached = value >= bound if least else value < bound
    sign = ">=" if least else "<"
    factor = value / bound if least else bound / value
    print(
        f"  {'PASS' if reached else 'MISS'}  {what}: {value:,.3g}{unit} {sign} {bound:,.3g}{unit}"
        f" ({factor:.2f} of what is needed)",
        flush=True,
    )
    keep("goal", what, {"value": value, "bound": bound, "reached": float(reached)}, [])


def best(rows: dict[str, Row], figure: str, *names: str) -> float | None:
    """The highest figure among rows whose names begin with one of these; None without any."""
    found = [row[figure] for name, row in rows.items() if name.startswith(names)]
    return max(found, default=None)


def describe_machine() -> list[str]:
    """Lines that say on what, and with which versions, was measured."""
    model = "an unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    kernel, python = platform.release(), platform.python_version()
    lines = [
        f"machine: {model}, {len(CORES)} cores, Linux {kernel}, Python {python}, "
        f"temporary folders on {_file_system(tempfile.gettempdir())}"
    ]
    versions = []
    for name in LIBRARIES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    for name, command in PROGRAMS:
        try:
            text = subprocess.run(command, capture_output=True, text=True).stdout
        except OSError:
            continue
        found = re.search(r"\d[\w.]*\d", text)
        versions.append(f"{name} {found.group() if found else '?'}")
    return [*lines, "versions: " + ", ".join(versions)]


def _file_system(folder: str) -> str:
    """The kind of file system that a folder is on."""
    device = os.stat(folder).st_dev
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == f"{os.major(device)}:{os.minor(device)}":
            return rest.split()[0]
    return "an unknown file system"
