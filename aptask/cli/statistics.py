"""How the daemon is: a page for people, or a line for each number where a program reads."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import msgspec

from aptask.cli import show
from aptask.cli.session import Session
from aptask.model.messages import StatsResponse
from aptask.model.statistics import Group

GROUP_TITLES = ("GROUP", "SLOTS", "RUNNING", "QUEUED", "PAUSED")
EXECUTOR_TITLES = ("EXECUTOR", "STATE", "JOBS")
REQUEST_TITLES = ("REQUEST", "COUNT")
FAILED_TITLES = ("CANNOT BE USED", "BECAUSE")
"""The columns of the tables."""

_ENVELOPE = ("status", "response", "id")
_SPANS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def stats(session: Session) -> int:
    """How the daemon is."""
    answer = session.client.stats()
    if not session.screen.is_terminal:
        session.screen.fields(list(lines(answer)))
        return 0
    session.screen.fields(summary(answer))
    for titles, rows in tables(answer):
        if rows:
            session.screen.line("")
            session.screen.table(titles, rows)
    return 0


def lines(answer: StatsResponse) -> Iterator[tuple[str, str]]:
    """All that was answered, a name with dots in it and a value each, as programs read them."""
    for name, value in msgspec.to_builtins(answer).items():
        if name not in _ENVELOPE:
            yield from _flat(name, value)


def summary(answer: StatsResponse) -> list[tuple[str, str]]:
    """The daemon as a whole, a name and a value each, as people read them."""
    plugins, disk = answer.plugins, answer.disk
    failed = f", {len(plugins.failed):,} cannot be used" if plugins.failed else ""
    return [
        ("version", answer.version),
        ("uptime", span(answer.uptime)),
        *([("draining", "no new tasks are taken")] if answer.draining else ()),
        ("running", f"{answer.running:,} of {answer.slots:,}"),
        ("queued", f"{answer.queued:,}"),
        ("ended", f"{answer.ended:,}"),
        ("tasks", f"{plugins.loaded:,}{failed}"),
        ("disk", f"{size(disk.used)} used, {size(disk.free)} free"),
        ("connections", f"{answer.connections:,}"),
        ("watchers", f"{answer.watchers:,}"),
    ]


def tables(answer: StatsResponse) -> list[tuple[tuple[str, ...], list[list[str]]]]:
    """The titles and the rows of what there are several of, as people read them."""
    groups = [
        [name, _slots(one), f"{one.running:,}", f"{one.queued:,}", _yes(one.paused)]
        for name, one in answer.groups.items()
    ]
    executors = [[name, one.state, f"{one.jobs:,}"] for name, one in answer.executors.items()]
    requests = [[name, f"{count:,}"] for name, count in answer.requests.items() if count]
    failed = [[one.plugin, one.error] for one in answer.plugins.failed]
    return [
        (GROUP_TITLES, groups),
        (EXECUTOR_TITLES, executors),
        (REQUEST_TITLES, requests),
        (FAILED_TITLES, failed),
    ]


def span(seconds: float) -> str:
    """A long time for people, in its two largest units: `3 d 4 h`, `5 min 0 s`, `42 s`."""
    left = int(seconds)
    for (unit, length), (smaller, of) in pairwise(_SPANS):
        if left >= length:
            return f"{left // length} {unit} {left % length // of} {smaller}"
    return f"{left} s"


def size(count: int) -> str:
    """Bytes for people: `512 B`, `1.5 KiB`, `118 GiB`."""
    if count < 1024:
        return f"{count} B"
    amount = float(count)
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        amount /= 1024
        if amount < 1023.5:
            return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}"
    return f"{amount / 1024:,.1f} PiB"


def _flat(name: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    elif isinstance(value, list):
        for one in value:
            yield name, ": ".join(map(str, one.values()))
    else:
        yield name, value if isinstance(value, str) else show.json(value)


def _slots(group: Group) -> str:
    """How many there are, and what the configuration says where that does not count."""
    if isinstance(group.configured, int):
        return f"{group.slots:,} (configured: {group.configured:,})"
    return f"{group.slots:,}"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
