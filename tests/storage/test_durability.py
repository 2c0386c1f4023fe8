"""What was acknowledged is there: after closing, after a kill, and in the next version."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aptask.model.event import Author, Event, Level, Logged
from aptask.model.group import GroupSetting
from aptask.model.history import Wanted
from aptask.model.job import Added, Job, State
from aptask.model.key import Key
from aptask.storage.examine import APPLICATION_ID, SCHEMA_VERSION, check
from aptask.storage.migrations import MIGRATIONS

HERE = Path(__file__).parent
ROUNDS = 12


def queued(**more: Any) -> Job:
    return Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0, **more)


def test_what_was_entered_is_there_after_closing(bench: Any, launched: Any, ended: Any) -> None:
    store = bench.store()
    jobs = [launched(store, queued(secrets=b"{}")), ended(store, once="k")]
    bench.result(store.apply("runner", 5))
    bench.close(store)
    store = bench.store()
    assert bench.result(store.get_many([1, 2])) == jobs
    assert bench.result(store.applied()) == ("runner", 5)
    assert bench.result(store.add(queued(), once="k")) == Added(2, existing=True)
    assert bench.result(store.add(queued())) == Added(3)


def test_numbers_of_forgotten_jobs_are_not_used_after_closing(bench: Any, ended: Any) -> None:
    store = bench.store()
    ended(store)
    assert bench.result(store.prune(1e12, 0)) == [1]
    bench.close(store)
    assert bench.result(bench.store().add(queued())) == Added(2)


def test_the_log_goes_on_where_it_was_after_closing(bench: Any, ended: Any) -> None:
    store = bench.store()
    ended(store)
    bench.result(store.log([Event(Level.ERROR, "a fault", Author("root", "here"))]))
    before = bench.result(store.read_log(None, 10, None))
    assert len(before) == store.logged == 4
    bench.close(store)
    store = bench.store()
    assert store.logged == 4
    assert bench.result(store.read_log(None, 10, None)) == before
    assert bench.result(store.prune_log(1e12, 0)) == 4
    bench.close(store)
    store = bench.store()
    assert store.logged == 4
    bench.result(store.log([Event(Level.ERROR, "another")]))
    assert [one.number for one in bench.result(store.read_log(None, 10, None))] == [5]


def test_nothing_is_taken_before_it_is_open_or_after_it_was_closed(bench: Any) -> None:
    store = bench.store()
    bench.close(store)
    for ask in (lambda: store.add(queued()), lambda: store.get(1), lambda: store.prune(1.0, 1)):
        with pytest.raises(Exception, match="the store is closed"):
            bench.result(ask())
    bench.close(store)


def test_all_that_was_acknowledged_is_there_after_a_kill(bench: Any) -> None:
    """Of one store, killed again and again, at moments that nobody chose."""
    said: dict[str, set[int]] = {"added": set(), "launched": set(), "ended": set()}
    dice = random.Random(0)
    for _ in range(ROUNDS):
        with subprocess.Popen(
            [sys.executable, HERE / "adding.py", bench.path],
            cwd=HERE.parent.parent,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(dice.randrange(50, 2000))]
            process.kill()
            lines += process.stdout.readlines()
        assert process.returncode == -9
        for line in lines:
            if line.endswith("\n"):  # else it was cut off
                word, number = line.split()
                said[word].add(int(number))
        store = bench.store()
        found = {job.id: job for job in bench.result(store.get_many(sorted(said["added"])))}
        assert found.keys() == said["added"]
        assert all(found[number].state is not State.QUEUED for number in said["launched"])
        assert all(found[number].state is State.ENDED for number in said["ended"])
        if said["ended"]:
            assert bench.result(store.applied())[1] >= max(said["ended"])
        assert bench.result(store.counts()).next > max(said["added"])
        bench.log_tells_of_each_job(store)
        bench.close(store)
    assert len(said["added"]) > ROUNDS


# Earlier versions


def from_dump(path: Path, version: int) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((HERE / "versions" / f"{version}.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    path.with_name("aptask.db-mark").write_bytes(b"")


def schema(path: Path) -> list[Any]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
        return [(kind, name, sql and " ".join(sql.split())) for kind, name, sql in rows]


def test_each_earlier_version_has_its_way_and_its_dump() -> None:
    assert set(MIGRATIONS) == set(range(1, SCHEMA_VERSION))
    dumps = {int(path.stem) for path in (HERE / "versions").glob("*.sql")}
    assert dumps == set(range(1, SCHEMA_VERSION + 1))


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_a_database_of_each_version_opens_with_all_that_is_in_it(
    bench: Any, tmp_path: Path, version: int
) -> None:
    from_dump(bench.path, version)
    store = bench.store()
    counts = bench.result(store.counts())
    assert (counts.queued, counts.unfinished, counts.ended, counts.next) == (2, 1, 1, 5)
    waiting, launched, ended, keyed = bench.result(store.get_many([1, 2, 3, 4]))
    assert (waiting.task, waiting.owner, waiting.secrets) == ("copy", "alice", b'{"p":"hush"}')
    assert (launched.state, launched.rerun) == (State.ACTIVE, True)
    assert (ended.exit, ended.result, ended.progress.message) == (3, b"[1]", "nö")
    assert keyed.owner == "bob"
    assert bench.result(store.applied()) == ("runner", 42)
    assert bench.result(store.add(keyed, once="k")) == Added(4, existing=True)
    assert [job.id for job in bench.result(store.history(Wanted(owner="alice"), 9))] == [3]
    logged = bench.result(store.read_log(None, 100, None))
    assert [one.number for one in logged] == list(range(1, 9))
    assert logged[4] == Logged(
        5,
        4.0,
        Event(
            Level.TASKING,
            "task 3 (primes) has ended: error: nö",
            Author("alice", "127.0.0.1:5555"),
        ),
    )
    assert bench.result(store.keys()) == [Key("carol", "user", bytes(range(32)), ("copy",))]
    assert bench.result(store.groups()) == {"gpu": GroupSetting(2, True)}
    bench.close(store)
    new = tmp_path / "new"
    new.mkdir()
    bench.close(bench.store(path=new / "aptask.db"))
    assert schema(bench.path) == schema(new / "aptask.db")
    check(bench.path)


def test_the_database_says_whose_it_is(bench: Any) -> None:
    bench.close(bench.store())
    with closing(sqlite3.connect(bench.path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
