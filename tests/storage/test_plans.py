"""No request reads all of a table: SQLite itself says how it goes about each statement."""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aptask.model.event import Event, Level
from aptask.model.history import Wanted
from aptask.model.job import Job, Status
from aptask.storage.rows import ENDED_CODES


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
    plans = plans_of(bench.path, statements)
    assert len(plans) > 15
    # To count all is what `counts` is for, and it is for starts of the daemon.
    plans = [plan for plan in plans if plan[1] != "SELECT count(*) FROM jobs"]
    assert not [
        plan for plan in plans if plan[0].startswith("SCAN jobs") and "INDEX" not in plan[0]
    ]


@pytest.mark.parametrize("given", list(itertools.product((False, True), repeat=6)))
def test_a_page_of_the_history_is_read_from_ranges_of_one_index(
    bench: Any, given: tuple[bool, ...]
) -> None:
    """Whatever is asked for: each range is found, read in its order, and holds nothing else."""
    values = ("o", "t", Status.DONE, 1.0, 9.0, (5.0, 7))
    wanted = Wanted(*(value if given[place] else None for place, value in enumerate(values)))
    statements: dict[str, int] = {}
    store = bench.store(lambda *a, **b: Recorder(statements, sqlite3.connect(*a, **b)))
    bench.result(store.add(Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0)))
    statements.clear()
    bench.result(store.history(wanted, 100))
    bench.close(store)
    plans = plans_of(
        bench.path, {one: count for one, count in statements.items() if "FROM jobs" in one}
    )
    index = {
        (False, False): "jobs_ended ",
        (True, False): "jobs_ended_owner ",
        (False, True): "jobs_ended_task ",
        (True, True): "jobs_ended_both ",
    }[given[:2]]
    read = [plan for plan, _ in plans if " jobs " in plan]
    assert len(read) == (1 if given[2] else len(ENDED_CODES)) * (2 if given[5] else 1)
    for plan in read:
        assert plan.startswith(f"SEARCH jobs USING COVERING INDEX {index}(")
        assert "status=? AND ended" in plan
    assert not [plan for plan, _ in plans if "TEMP B-TREE" in plan]


@pytest.mark.parametrize("level", [None, *Level])
def test_events_are_found_by_their_numbers_and_levels(bench: Any, level: Level | None) -> None:
    statements: dict[str, int] = {}
    store = bench.store(lambda *a, **b: Recorder(statements, sqlite3.connect(*a, **b)))
    bench.result(store.add(Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0)))
    bench.result(store.log([Event(one, "x") for one in Level]))
    statements.clear()
    for after in (None, 1):
        assert bench.result(store.read_log(after, 100, level))
    bench.result(store.prune_log(1e12, 0))
    bench.close(store)
    plans = plans_of(bench.path, {one: n for one, n in statements.items() if "FROM log_" in one})
    read = [plan for plan, _ in plans if " log_" in plan]
    assert read
    for plan in read:
        assert plan.startswith("SEARCH log_")
    assert not [plan for plan, _ in plans if "TEMP B-TREE" in plan]


def plans_of(path: Path, statements: dict[str, int]) -> list[tuple[str, str]]:
    """How SQLite goes about statements, by steps, each with its statement."""
    plans = []
    with closing(sqlite3.connect(path)) as connection:
        for statement, count in statements.items():
            if statement.strip().startswith(("SELECT", "UPDATE", "DELETE")):
                rows = connection.execute(f"EXPLAIN QUERY PLAN {statement}", [None] * count)
                plans += [(row[3], statement) for row in rows]
    return plans
