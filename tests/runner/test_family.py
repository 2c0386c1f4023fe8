"""Who belongs to a job: found by session, mark and descent, in the real process table."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aptask.runner import family
from aptask.runner.family import Family

INSTANCE = os.urandom(8).hex()
MARK = family.mark(INSTANCE, 1, 1)
OTHER_MARK = family.mark(INSTANCE, 2, 1)


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts scripts that write a line when they are ready, and ends them after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str, mark: str | None = MARK) -> subprocess.Popen[bytes]:
        environment = {**os.environ}
        environment.pop(family.MARK, None)
        if mark is not None:
            environment[family.MARK] = mark
        process = subprocess.Popen(
            ["sh", "-c", script],
            env=environment,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        started.append(process)
        return process

    yield start
    for process in started:
        assert process.stdout is not None
        family.kill(lambda process=process: Family(MARK, process.pid).members())
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_member_is_found_by_its_session_without_a_mark(spawn: Callable[..., Any]) -> None:
    leader = spawn("(sleep 1000 &) ; sleep 1000 & echo ready; wait", mark=None)
    assert len(Family(MARK, leader.pid).members()) == 3
    assert Family(MARK).members() == []


def test_a_member_is_found_by_its_mark_in_another_session(spawn: Callable[..., Any]) -> None:
    leader = spawn("(setsid sleep 1000 & ) ; echo ready; exec sleep 1000")
    found = Family(MARK).members()
    assert leader.pid in found
    assert len(found) == 2


def test_a_member_is_found_by_descent_alone(spawn: Callable[..., Any]) -> None:
    leader = spawn("setsid env -i sh -c 'sleep 1000 & echo ready; wait' & wait")
    members = Family(MARK, leader.pid).members()
    shed = [pid for pid in members if family.mark_of(pid) is None]
    assert len(shed) == 2


def test_one_who_has_ended_is_no_member(spawn: Callable[..., Any]) -> None:
    leader = spawn("echo ready; exec sleep 1000")
    dead = spawn("echo ready")
    os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)
    zombie = family.look_up(dead.pid)
    assert zombie is not None
    assert not zombie.is_alive
    assert dead.pid not in Family(MARK, dead.pid).members()
    assert leader.pid in Family(MARK, leader.pid).members()


def test_a_leaders_number_that_is_used_again_by_another_job_ties_nobody(
    spawn: Callable[..., Any],
) -> None:
    other = spawn("echo ready; sleep 1000", mark=OTHER_MARK)
    assert Family(MARK, other.pid).members() == []
    assert not Family(MARK, other.pid).has(other.pid)
    family.kill(Family(OTHER_MARK).members)


def test_what_the_nursery_forked_belongs_to_its_session(spawn: Callable[..., Any]) -> None:
    child = spawn("sleep 1000 & echo ready; wait", mark=family.nursery_mark(INSTANCE))
    assert Family(MARK, child.pid).has(child.pid)
    assert len(Family(MARK, child.pid).members()) == 2
    assert Family(MARK).members() == []


def test_killing_leaves_nobody_and_says_who_was_there(spawn: Callable[..., Any]) -> None:
    leader = spawn("trap '' TERM; (setsid sleep 1000 &) ; sleep 1000 & echo ready; wait")
    found = Family(MARK, leader.pid)
    members = found.members()
    assert found.kill() == members
    leader.wait()
    assert leader.pid in members
    assert len(members) == 3


def test_killing_goes_on_until_nobody_new_is_found() -> None:
    rounds = iter([[11, 12], [11, 12, 13], [11, 12, 13]])
    sent: list[tuple[int, int]] = []
    real, os.kill = os.kill, lambda pid, number: sent.append((pid, number))
    try:
        assert family.kill(lambda: next(rounds)) == [11, 12, 13]
    finally:
        os.kill = real
    stops = [(pid, signal.SIGSTOP) for pid in (11, 12, 13)]
    assert sorted(sent[:3]) == stops
    assert sorted(sent[3:]) == [(pid, signal.SIGKILL) for pid in (11, 12, 13)]


def test_asking_resumes_who_is_suspended(spawn: Callable[..., Any]) -> None:
    leader = spawn("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    os.kill(leader.pid, signal.SIGSTOP)
    Family(MARK, leader.pid).ask_to_end()
    assert leader.wait() == 7


def test_signals_to_those_who_have_gone_are_passed_over() -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    family.send([gone.pid, 1 << 22], signal.SIGTERM)


def test_all_of_an_instance_are_found(spawn: Callable[..., Any]) -> None:
    first = spawn("echo ready; exec sleep 1000", mark=f"{INSTANCE}a/1/1")
    second = spawn("echo ready; exec sleep 1000", mark=f"{INSTANCE}a/2/1")
    third = spawn("echo ready; exec sleep 1000", mark=f"{INSTANCE}abc/2/1")
    assert family.of_instance(f"{INSTANCE}a") == sorted((first.pid, second.pid))
    family.kill(lambda: [first.pid, second.pid, third.pid])


def test_a_name_of_a_program_may_hold_anything(tmp_path: Any, spawn: Callable[..., Any]) -> None:
    odd = tmp_path / "a) Z 1 (b"
    odd.symlink_to("/bin/sleep")
    process = spawn(f"echo ready; exec '{odd}' 1000")
    found = family.look_up(process.pid)
    assert found is not None
    assert (found.parent, found.session) == (os.getpid(), process.pid)
    assert found.is_alive
