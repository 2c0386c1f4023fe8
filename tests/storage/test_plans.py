"""No request reads all of a table: SQLite itself says how it goes about each statement."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from aptask.model.job import Job


class Recorder:
    """A connection that keeps what is asked of it."""

    statements: dict[str, int]

    def __init__(self, statements: dict[str, int], real: sqlite3.Connection) -> None:
        self.statements = statements
        self._real = real
        self.close = real.close

    @property
    def in_transaction(self) -> bool:
        return self._real.in_transaction

    def execute(self, statement: str, values: Any = ()) -> sqlite3.Cursor:
        self.statements[statement] = len(values)
        return self._real.execute(statement, values)


def test_each_statement_finds_its_rows_by_an_index(bench: Any) -> None:
    statements: dict[str, int] = {}
    store = bench.store(lambda *a, **b: Recorder(statements, sqlite3.connect(*a, **b)))
    session = bench.session(store)
    session.run()
    session.settle()
    job = Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0)
    for once in ("k", "k"):
        bench.result(store.add_all([job, job], once=once, unique="u"))
    bench.result(store.add(job, unique="u"))
    for asked in (
        store.get(3),
        store.get_many([1, 2]),
        store.waiting(1, 10),
        store.unfinished(),
        store.counts(),
        store.prune(1.0, 1),
    ):
        bench.result(asked)
    bench.close(store)
    plans = []
    with closing(sqlite3.connect(bench.path)) as connection:
        for statement, count in statements.items():
            if statement.startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * count)
                plans += [(row[3], statement) for row in rows]
    assert len(plans) > 15
    # To count all is what `counts` is for, and it is for starts of the daemon.
    plans = [plan for plan in plans if plan[1] != "SELECT count(*) FROM jobs"]
    assert not [
        plan for plan in plans if plan[0].startswith("SCAN jobs") and "INDEX" not in plan[0]
    ]
