"""Every write, truncation and sync of the store's files failing, in the process whose disk fails.

`test_disk.py` runs this with `disk.c` before the C library.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import pytest

from aptask.errors import ConfigurationError
from aptask.model.job import Job
from aptask.storage.examine import check

disk = ctypes.CDLL(os.environ["LD_PRELOAD"])
pytestmark = pytest.mark.usefixtures("short_pauses")


def new() -> Job:
    return Job(id=0, task="t", owner="o", arguments=b"{}", created=1.0)


def run(bench: Any, path: Path, first: int, all_: bool) -> int:
    """A session on a disk that fails from a call on; how many calls it had in all."""
    store = bench.store(path=path)
    bench.result(store.counts())
    disk.disk_arm(first, all_)
    session = bench.session(store)
    session.run()
    calls: int = disk.disk_count()
    disk.disk_arm(0, False)
    session.settle()
    session.verify(store)
    session.note(bench.result(store.add(new())).id, "t")
    bench.close(store)
    check(path)
    again = bench.store(path=path)
    session.verify(again)
    bench.close(again)
    return calls


@pytest.mark.parametrize("all_", [False, True])
def test_each_call_failing_loses_nothing_and_invents_nothing(
    bench: Any, tmp_path: Path, all_: bool
) -> None:
    first = 1
    while first <= run(bench, tmp_path / f"aptask.db{first}", first, all_):
        first += 1
    assert first > 10


@pytest.mark.parametrize("all_", [False, True])
def test_a_store_that_fails_while_it_is_opened_is_whole_afterwards(
    bench: Any, tmp_path: Path, all_: bool
) -> None:
    first, calls = 0, 0
    while first <= calls:
        first += 1
        path = tmp_path / f"aptask.db{first}"
        disk.disk_arm(first, all_)
        try:
            bench.store(path=path)
        except ConfigurationError as error:
            assert str(path) in error.message
        calls = disk.disk_count()
        disk.disk_arm(0, False)
        bench.end()
        store = bench.store(path=path)
        assert bench.result(store.add(new())).id == 1
        bench.end()
    assert first > 5
