"""What a transaction writes, as one statement.

SQLite lets go of the interpreter with every step of a statement, and another thread that is busy
gives it back late. So a transaction's new jobs, its changes and what the event log says of them are
handed to SQLite in one insert into a view, whose trigger does it all; as a single statement, it
begins and commits by itself where nothing else belongs to the transaction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from aptask.model.job import State
from aptask.storage import log
from aptask.storage.log import Execute
from aptask.storage.rows import STATE_CODES, checksum

QUEUED = STATE_CODES[State.QUEUED]

_WORK = (
    """
    CREATE TEMP VIEW work AS SELECT NULL AS plain, NULL AS others, NULL AS courses,
        NULL AS told, NULL AS first, NULL AS count, NULL AS time, NULL AS level, NULL AS log_sum,
        NULL AS entries, NULL AS commits, NULL AS next, NULL AS next_event, NULL AS instance,
        NULL AS applied, NULL AS sum
    """,
    f"""
    CREATE TEMP TRIGGER do_work INSTEAD OF INSERT ON work BEGIN
        INSERT INTO jobs (id, task, owner, created, rerun, request_sum, course_sum, arguments,
            place, state, status, attempt)
        SELECT {",".join(f"value->>{place}" for place in range(7))}, CAST(value->>7 AS BLOB),
            0, {QUEUED}, 0, 1
        FROM json_each(new.plain);
        INSERT INTO jobs (id, task, owner, created, rerun, once_key, unique_key, place,
            request_sum, state, status, started, attempt, course_sum, arguments)
        SELECT {",".join(f"value->>{place}" for place in range(12))}, 1,
            value->>12, CAST(value->>13 AS BLOB)
        FROM json_each(new.others);
        UPDATE jobs SET state = value->>1, status = value->>2, attempt = value->>3,
            started = value->>4, ended = value->>5, fraction = value->>6, message = value->>7,
            exit = value->>8, course_sum = value->>9, result = CAST(value->>10 AS BLOB)
        FROM json_each(new.courses) WHERE jobs.id = value->>0 AND jobs.ended IS NULL;
        INSERT INTO log_tasking ({log.COLUMNS})
        SELECT new.first, new.count, new.time, new.level, new.log_sum, new.entries
        WHERE new.first IS NOT NULL;
        INSERT INTO log_others ({log.COLUMNS})
        SELECT {",".join(f"value->>{place}" for place in range(6))} FROM json_each(new.told);
        UPDATE meta SET commits = new.commits, next = new.next, next_event = new.next_event,
            instance = new.instance, applied = new.applied, sum = new.sum;
    END
    """,
)
"""What is inserted into `work` is done: new jobs and changes, each a JSON array of arrays, and the
rows of the event log: the one of `log_tasking`, and those of `log_others` in the same way.

Most new jobs are plain: queued, and without a key. They have few columns to be taken out of JSON,
which is most of what a new job costs.
"""
_NOTHING = (None,) * 4
_NO_ROW = (None,) * 6

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class Totals(msgspec.Struct, gc=False):
    """The row of `meta`, and how many secrets and ended jobs there are."""

    commits: int
    next: int
    next_event: int
    instance: str | None
    applied: int
    secrets: int
    ended: int


def prepare(execute: Execute) -> None:
    """Make the view and its trigger, for this connection only."""
    for statement in _WORK:
        execute(statement)


def do(
    execute: Execute, identity: str, totals: Totals, tasking: log.Row | None, *work: list[Any]
) -> None:
    """Write all that a transaction, or a part of one, consists of.

    Args:
        execute: of the connection.
        identity: of the database.
        totals: as they are when this is done.
        tasking: the row for `log_tasking`.
        work: the rows of new jobs that are plain, of others, of changes, and for `log_others`; or
            nothing of these.
    """
    meta = totals.commits, totals.next, totals.next_event, totals.instance, totals.applied
    texts = [_encode(rows).decode() if rows else None for rows in work]
    execute(
        "INSERT INTO work VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
        (*(texts or _NOTHING), *(tasking or _NO_ROW), *meta, checksum((identity, *meta))),
    )
