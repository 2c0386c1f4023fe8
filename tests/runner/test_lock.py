"""The lock of a data folder, and how a daemon finds who holds it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from aptask.runner.lock import LOCK, holder, take


def never() -> None:
    raise AssertionError("there is nobody to wait for")


def test_who_holds_it_is_found_while_it_does(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    lock = take(tmp_path, never)
    assert holder(tmp_path) == os.getpid()
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"
    assert (tmp_path / LOCK).stat().st_mode & 0o777 == 0o600
    os.close(lock)
    assert holder(tmp_path) is None


def test_the_pid_of_one_before_is_written_over(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text("12345678901234567890\n")
    os.close(take(tmp_path, never))
    assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


def test_one_that_does_not_say_who_it_is_holds_it_all_the_same(tmp_path: Path) -> None:
    lock = take(tmp_path, never)
    (tmp_path / LOCK).write_text("")
    assert holder(tmp_path) == 0
    os.close(lock)


def test_a_runner_holds_it_and_its_jobs_do_not(own_runner: Any, helpers: Any) -> None:
    assert holder(own_runner.data) == own_runner.process.pid
    assert own_runner.shell("ls -l /proc/self/fd").exit == 0
    assert LOCK not in own_runner.output(own_runner._last_job)
