"""Which of the ended jobs a page of the history shows.

Rules:

- Each question is answered from one range of one index: there is one for each choice of owner and
  task, by status and time. Where any status will do, the page is merged from one range a status,
  of which there are few. So a page costs the same whatever is asked for, and however rare that is.
- A page begins behind the end and the number of the last job of the page before, whether that is
  still there or not.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from aptask.model.history import Wanted
from aptask.storage.log import Execute
from aptask.storage.rows import ENDED_CODES, LARGEST, STATUS_CODES, micros


def page(execute: Execute, wanted: Wanted, names: dict[str, int], limit: int) -> list[int]:
    """The numbers of a page's jobs, in its order.

    Args:
        execute: of the connection.
        wanted: which.
        names: the numbers that stand for the names of owners and tasks.
        limit: how many at most.
    """
    columns: dict[str, int] = {}
    for column, name in (("owner", wanted.owner), ("task", wanted.task)):
        if name is not None:
            if name not in names:
                return []
            columns[column] = names[name]
    since = 0 if wanted.since is None else micros(wanted.since)
    until = LARGEST if wanted.until is None else micros(wanted.until)
    ranges = [("ended >= ? AND ended < ?", (since, until))]
    if wanted.before is not None:
        ended, number = micros(wanted.before[0]), min(max(wanted.before[1], 0), LARGEST)
        ranges = [("ended >= ? AND ended < ?", (since, min(until, ended)))]
        if since <= ended < until:
            # Very many can have ended together: what is behind this one is found, not looked for.
            ranges.append(("ended = ? AND id < ?", (ended, number)))
    statuses = ENDED_CODES if wanted.status is None else (STATUS_CODES[wanted.status],)
    found = _merged(
        execute,
        [
            ({**columns, "status": status}, condition, values)
            for status in statuses
            for condition, values in ranges
        ],
        "ended DESC, id DESC",
        limit,
    )
    return [number for _, number in sorted(found, reverse=True)[:limit]]


def oldest(execute: Execute, limit: int) -> list[tuple[int, int]]:
    """The ends, in microseconds since the epoch, and the numbers of the first jobs to end."""
    ranges = [({"status": status}, "ended IS NOT NULL", ()) for status in ENDED_CODES]
    return sorted(_merged(execute, ranges, "ended, id", limit))[:limit]


def _merged(
    execute: Execute,
    ranges: Sequence[tuple[dict[str, int], str, tuple[int, ...]]],
    order: str,
    limit: int,
) -> list[tuple[int, int]]:
    """The first of each of some ranges, in one step of SQLite's.

    Args:
        ranges: the columns of an index before the time with their values, a condition of time, and
            the values for that.
    """
    parts, values = [], []
    for columns, condition, bounds in ranges:
        equal = "".join(f"{column} = ? AND " for column in columns)
        parts.append(
            f"SELECT * FROM (SELECT ended, id FROM jobs WHERE {equal}ended IS NOT NULL"
            f" AND {condition} ORDER BY {order} LIMIT ?)"
        )
        values += [*columns.values(), *bounds, limit]
    [text] = execute(
        f"SELECT json_group_array(json_array(ended, id)) FROM ({' UNION ALL '.join(parts)})",
        values,
    ).fetchone()
    return msgspec.json.decode(text, type=list[tuple[int, int]])
