"""The event log: what it says of jobs, its rows, and what is read from them.

Rules:

- What belongs to one transaction and is of one level is one row, which is found by the number of
  its first event. What is told of jobs stands in a table of its own, and what else is told is found
  by its level: so no reader of a rare level reads through others.
- A row's entries are JSON text. First come the new jobs in the order of their numbers, all that are
  alike in one entry, `[user, peer, task, state, [number, ...]]`, from which their messages are made
  when they are read: a message for each would cost a tenth of what the job does. Then comes, one by
  one, what else is told: `[user, peer, message]`.
- A level is stored as its place in `LEVELS`: new ones are added at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from aptask.model.event import Author, Event, Level, Logged, visible
from aptask.model.job import State
from aptask.storage.rows import (
    LARGEST,
    STATES,
    STATUSES,
    Course,
    Unreadable,
    checksum,
)

LEVELS = (Level.ERROR, Level.CLIENT, Level.REQUEST, Level.TASKING, Level.STATISTICS)
LEVEL_CODES = {level: code for code, level in enumerate(LEVELS)}
PRUNED_AT_ONCE = 1000
"""How many events one call of `prune` forgets at most, or one row of more."""
_MILLION = 1e6
_TASKING = LEVEL_CODES[Level.TASKING]
_OF_NEW = 5
"""How long an entry of new jobs is."""
COLUMNS = "first, count, time, level, sum, entries"
_PLACE = "first, count"
_TABLES = ("log_tasking", "log_others")

Entry = tuple[Any, ...]
"""One of a row's entries."""
Row = tuple[int, int, int, int, int, str]
"""The values of `COLUMNS`; the sum is of all others."""
Execute = Callable[..., Any]

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


# What becomes of jobs


def entered(job: int, user: str, peer: str, task: str, state: State) -> Entry:
    """The entry that tells of a new job."""
    what = "queued" if state is State.QUEUED else "running"
    return fit(user, peer, f"task {job} ({task}) is {what}")


def change(course: Course, task: str) -> Entry:
    """The entry that tells of a job that has changed its state."""
    message = course.message
    if course.state is State.ENDED:
        what = f"has ended: {STATUSES[course.values[1]]}"
    elif course.state is not State.QUEUED:
        what = "is running" if course.state is State.ACTIVE else f"is {course.state}"
        message = None
    elif course.attempt > 1:
        what = f"waits for attempt {course.attempt}"
    else:
        what = "is queued again"
    text = f"task {course.id} ({task}) {what}{f': {message}' if message else ''}"
    return fit(course.by.user, course.by.peer, text)


def fit(user: str, peer: str, message: str) -> Entry:
    """The entry of an event, fit for one line whoever made it up."""
    return visible(user), visible(peer), visible(message)


# Rows


def make_row(first: int, count: int, micros: int, level: int, entries: list[Entry]) -> Row:
    """A row.

    Args:
        first: the number of its first event.
        count: how many there are.
        micros: the time of writing, in microseconds since the epoch.
        level: of all of them, as it is stored.
    """
    text = _encode(entries).decode()
    return first, count, micros, level, checksum((first, count, micros, level, text)), text


def make_rows(
    first: int, micros: int, tasking: list[Entry], count: int, events: Sequence[Event]
) -> tuple[Row | None, list[Row]]:
    """The rows of a transaction.

    Args:
        first, micros: as for `make_row`.
        tasking: what is told of jobs, in the form in which it is stored.
        count: how many events that is.
        events: what else is told.

    Returns:
        the one for `log_tasking`, and those for `log_others`.
    """
    others: dict[int, list[Entry]] = {}
    for event in events:
        told = fit(event.author.user, event.author.peer, event.message)
        if event.level is Level.TASKING:
            tasking, count = [*tasking, told], count + 1
        else:
            others.setdefault(LEVEL_CODES[event.level], []).append(told)
    row = make_row(first, count, micros, _TASKING, tasking) if count else None
    first += count
    rows = []
    for level, entries in sorted(others.items()):
        rows.append(make_row(first, len(entries), micros, level, entries))
        first += len(entries)
    return row, rows


def is_whole(row: Sequence[Any]) -> bool:
    """Whether what stands in a row is what was written."""
    sum_: int = row[4]
    return checksum((*row[:4], row[5])) == sum_


def _logged(row: Row) -> Iterator[Logged]:
    first, _, micros, level, _, text = row
    for number, (user, peer, message) in enumerate(_told(msgspec.json.decode(text)), first):
        event = Event(LEVELS[level], message, Author(user, peer))
        yield Logged(number, micros / _MILLION, event)


def _told(entries: list[Any]) -> Iterator[Entry]:
    new = sorted((job, entry) for entry in entries if len(entry) == _OF_NEW for job in entry[-1])
    for job, (user, peer, task, state, _) in new:
        yield entered(job, user, peer, task, STATES[state])
    yield from (entry for entry in entries if len(entry) != _OF_NEW)


# Reading and forgetting


def read(execute: Execute, after: int | None, limit: int, level: Level | None) -> list[Logged]:
    """Events in the order of their numbers; see `IStore.read_log`.

    Raises:
        Unreadable: a row of them is damaged.
    """
    if after is None:
        places = _find(execute, _PLACE, 0, LARGEST, level, limit, newest=True)
    else:
        after = min(after, LARGEST - 1)
        places = [
            (first, count)
            for first, count in _find(execute, _PLACE, 0, after, level, 1, newest=True)
            if first + count - 1 > after
        ]
        places += _find(execute, _PLACE, after + 1, LARGEST, level, limit)
    wanted = _enough(places, limit, after)
    rows = _find(execute, COLUMNS, wanted[0][0], wanted[-1][0], level) if wanted else []
    if not all(map(is_whole, rows)):
        raise Unreadable("what was kept of the event log is damaged")
    logged = [one for row in rows for one in _logged(row)]
    if after is None:
        return logged[-limit:]
    return [one for one in logged if one.number > after][:limit]


def prune(execute: Execute, following: int, before: int, most: int) -> int:
    """Forget a step's worth of old events, whole rows of them; see `IStore.prune_log`.

    Args:
        following: the number of the next event.
        before: microseconds since the epoch.

    Returns:
        how many were forgotten.
    """
    forgotten, last = 0, 0
    columns = "first, count, time"
    for first, count, time in _find(execute, columns, 0, LARGEST, None, PRUNED_AT_ONCE):
        is_old = time < before or first + count <= following - most
        if not is_old or (forgotten and forgotten + count > PRUNED_AT_ONCE):
            break
        forgotten, last = forgotten + count, first
    if forgotten:
        for table in _TABLES:
            execute(f"DELETE FROM {table} WHERE first <= ?", (last,))
    return forgotten


def rows(execute: Execute) -> Iterator[Row]:
    """All rows there are, to be looked at."""
    for table in _TABLES:
        yield from execute(f"SELECT {COLUMNS} FROM {table}")


def _find(
    execute: Execute,
    columns: str,
    low: int,
    high: int,
    level: Level | None,
    limit: int = -1,
    *,
    newest: bool = False,
) -> list[Any]:
    """Rows by the numbers of their first events, in their order, in one step of SQLite's.

    Args:
        columns: which are wanted; `first` is the first of them.
        low, high: the least and the highest number.
        level: of which level; None: of all.
        limit: how many are enough, for each table; -1: all.
        newest: whether they are those with the highest numbers; else with the lowest.
    """
    parts: list[str] = []
    values: list[int] = []
    for table, condition, code in _tables(level):
        parts.append(
            f"SELECT * FROM (SELECT {columns} FROM {table} WHERE first BETWEEN ? AND ?{condition}"
            f" ORDER BY first {'DESC' if newest else 'ASC'} LIMIT ?)"
        )
        values += [low, high, *code, limit]
    [text] = execute(
        f"SELECT json_group_array(json_array({columns})) FROM ({' UNION ALL '.join(parts)})",
        values,
    ).fetchone()
    return sorted(msgspec.json.decode(text))


def _tables(level: Level | None) -> list[tuple[str, str, tuple[int, ...]]]:
    """The tables with events of a level, and which of their rows are of it."""
    if level is None:
        return [(table, "", ()) for table in _TABLES]
    if level is Level.TASKING:
        return [("log_tasking", "", ())]
    return [("log_others", " AND level = ?", (LEVEL_CODES[level],))]


def _enough(places: list[tuple[int, int]], limit: int, after: int | None) -> list[tuple[int, int]]:
    """As many rows as it takes: the last ones, or the first ones with events after a number."""
    number = 0
    for taken, (first, count) in enumerate(places[::-1] if after is None else places, 1):
        number += count if after is None else first + count - 1 - max(first - 1, after)
        if number >= limit:
            return places[-taken:] if after is None else places[:taken]
    return places
