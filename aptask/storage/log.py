"""The event log: what it says of jobs, its rows, and what is read from them.

Rules:

- What belongs to one transaction is one row, where all of it is of one level; else a row a level,
  so that no reader of a rare level reads through others. A row is found by the number of its first
  event.
- A row's entries are JSON text: `[user, peer, message]`, or, for new jobs that follow each other
  with all alike, `[first, count, user, peer, task, state]`, from which their messages are made when
  they are read: a message for each would cost a tenth of what the job does.
- A level is stored as its place in `LEVELS`: new ones are added at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
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
PRUNED_AT_ONCE = 2000
"""How many events one call of `prune` forgets at most, or one row of more."""
_ROWS_PRUNED_AT_ONCE = 500
_MILLION = 1e6
_TASKING = LEVEL_CODES[Level.TASKING]
COLUMNS = "first, count, time, level, sum, entries"

Entry = tuple[Any, ...]
"""One of a row's entries."""
Row = tuple[int, int, int, int, int, str]
"""The values of `COLUMNS`; the sum is of all others."""
Execute = Callable[..., Any]

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


# What becomes of jobs


def entered(number: int, task: str, state: State) -> str:
    """What is said of a new job."""
    return visible(f"task {number} ({task}) is {'queued' if state is State.QUEUED else 'running'}")


def change(course: Course, task: str) -> Entry:
    """The entry that tells of a job that has changed its state."""
    message = course.message
    if course.state is State.ENDED:
        what = f"has ended: {STATUSES[course.values[1]]}"
    elif course.state is not State.QUEUED:
        what = "is running" if course.state is State.ACTIVE else "is stopping"
        message = None
    elif course.attempt > 1:
        what = f"waits for attempt {course.attempt}"
    else:
        what = "is queued again"
    text = f"task {course.id} ({task}) {what}{f': {message}' if message else ''}"
    return course.by.user, course.by.peer, visible(text)


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
) -> list[Row]:
    """The rows of a transaction.

    Args:
        first, micros: as for `make_row`.
        tasking: what is told of jobs, in the form in which it is stored.
        count: how many events that is.
        events: what else is told.
    """
    rows = []
    if count:
        rows.append(make_row(first, count, micros, _TASKING, tasking))
        first += count
    coded = [(LEVEL_CODES[event.level], event) for event in events]
    coded.sort(key=lambda one: one[0])
    for level, group in groupby(coded, lambda one: one[0]):
        entries: list[Entry] = [
            (visible(event.author.user), visible(event.author.peer), visible(event.message))
            for _, event in group
        ]
        rows.append(make_row(first, len(entries), micros, level, entries))
        first += len(entries)
    return rows


def is_whole(row: Sequence[Any]) -> bool:
    """Whether what stands in a row is what was written."""
    sum_: int = row[4]
    return checksum((*row[:4], row[5])) == sum_


def _logged(row: Row) -> Iterator[Logged]:
    number, _, micros, level, _, text = row
    for author, message in _told(msgspec.json.decode(text)):
        yield Logged(number, micros / _MILLION, Event(LEVELS[level], message, author))
        number += 1


def _told(entries: list[Any]) -> Iterator[tuple[Author, str]]:
    for entry in entries:
        if isinstance(entry[0], str):
            user, peer, message = entry
            yield Author(user, peer), message
        else:
            job, count, user, peer, task, state = entry
            author = Author(user, peer)
            for number in range(job, job + count):
                yield author, entered(number, task, STATES[state])


# Reading and forgetting


def read(execute: Execute, after: int | None, limit: int, level: Level | None) -> list[Logged]:
    """Events in the order of their numbers; see `IStore.read_log`.

    Raises:
        Unreadable: a row of them is damaged.
    """
    rows = _rows_of(execute, after, limit, level)
    if not all(map(is_whole, rows)):
        raise Unreadable("what was kept of the event log is damaged")
    logged = [one for row in rows for one in _logged(row)]
    if after is None:
        return logged[-limit:]
    return [one for one in logged if one.number > after][:limit]


def _rows_of(execute: Execute, after: int | None, limit: int, level: Level | None) -> list[Row]:
    """The rows that hold these events, in their order, and no more rows than events."""
    condition, code = ("", ()) if level is None else (" AND level = ?", (LEVEL_CODES[level],))

    def places(comparison: str, number: int, order: str, most: int) -> list[tuple[int, int]]:
        [text] = execute(
            "SELECT json_group_array(json_array(first, count)) FROM (SELECT first, count FROM log"
            f" WHERE first {comparison} ?{condition} ORDER BY first {order} LIMIT ?)",
            (number, *code, most),
        ).fetchone()
        return sorted(msgspec.json.decode(text, type=list[tuple[int, int]]))

    if after is None:
        found = places("<=", LARGEST, "DESC", limit)[::-1]
    else:
        after = min(after, LARGEST - 1)
        within = places("<=", after, "DESC", 1)
        found = places(">=", within[0][0] if within else 0, "ASC", limit + 1)
        found = [(first, count) for first, count in found if first + count - 1 > after]
    enough = 0
    for place, (first, count) in enumerate(found, 1):
        enough += count if after is None else first + count - 1 - max(first - 1, after)
        if enough >= limit:
            found = found[:place]
            break
    if not found:
        return []
    [text] = execute(
        f"SELECT json_group_array(json_array({COLUMNS})) FROM log"
        f" WHERE first BETWEEN ? AND ?{condition}",
        (min(found)[0], max(found)[0], *code),
    ).fetchone()
    return sorted(msgspec.json.decode(text, type=list[Row]))


def prune(execute: Execute, following: int, before: int, most: int) -> int:
    """Forget a step's worth of old events, whole rows of them; see `IStore.prune_log`.

    Args:
        following: the number of the next event.
        before: microseconds since the epoch.

    Returns:
        how many were forgotten.
    """
    [text] = execute(
        "SELECT json_group_array(json_array(first, count, time)) FROM"
        " (SELECT first, count, time FROM log ORDER BY first LIMIT ?)",
        (_ROWS_PRUNED_AT_ONCE,),
    ).fetchone()
    forgotten, last = 0, 0
    for first, count, time in sorted(msgspec.json.decode(text, type=list[tuple[int, int, int]])):
        is_old = time < before or first + count <= following - most
        if not is_old or (forgotten and forgotten + count > PRUNED_AT_ONCE):
            break
        forgotten, last = forgotten + count, first
    if forgotten:
        execute("DELETE FROM log WHERE first <= ?", (last,))
    return forgotten
