"""A pause and a limit of time by a clock that is turned by hand, on a family that is none."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest
from twisted.internet.task import Clock

from aptask.runner.allowance import Allowance
from aptask.runner.pausing import LONGEST_LOOK, Pausing


class FakeFamily:
    """Members of whom a test says who runs."""

    def __init__(self) -> None:
        self.leader = 7
        self.running = [7, 8]
        self.forks: list[int] = []
        """who comes while it is looked at, one a look"""
        self.heeds = True
        self.fails = 0
        self.resumed: list[list[int]] = []

    def suspend(self) -> list[int]:
        if self.fails:
            self.fails -= 1
            raise OSError(24, "Too many open files")
        found = list(self.running)
        if self.heeds:
            self.running = self.forks[:1]
            del self.forks[:1]
        return found

    def resume(self, pids: Collection[int]) -> None:
        self.resumed.append(sorted(pids))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def family() -> FakeFamily:
    return FakeFamily()


@pytest.fixture
def pausing(clock: Clock, family: FakeFamily) -> Pausing:
    return Pausing(clock, family)


def run(clock: Clock, seconds: float) -> None:
    clock.pump([0.005] * round(seconds * 200))


def test_it_is_looked_for_until_nobody_runs(
    clock: Clock, family: FakeFamily, pausing: Pausing
) -> None:
    told: list[float] = []
    family.forks = [9, 10]
    pausing.begin(lambda: told.append(clock.seconds()))
    assert not told
    run(clock, 1)
    assert told == [pytest.approx(0.015)]
    pausing.end()
    assert family.resumed == [[7, 8, 9, 10]]
    assert clock.getDelayedCalls() == []


def test_who_does_not_heed_it_is_not_waited_for_for_ever(
    clock: Clock, family: FakeFamily, pausing: Pausing
) -> None:
    told: list[float] = []
    family.heeds = False
    pausing.begin(lambda: told.append(clock.seconds()))
    run(clock, LONGEST_LOOK - 0.1)
    assert not told
    run(clock, 1)
    assert len(told) == 1


def test_a_process_table_that_cannot_be_read_is_read_again(
    clock: Clock, family: FakeFamily, pausing: Pausing, logged_failures: list[Any]
) -> None:
    told: list[float] = []
    family.fails = 2
    pausing.begin(lambda: told.append(clock.seconds()))
    run(clock, 1)
    assert len(told) == 1
    assert family.running == []
    assert len(logged_failures) == 2
    logged_failures.clear()


def test_where_nobody_is_there_it_is_told_at_once_and_who_comes_is_suspended(
    clock: Clock, family: FakeFamily, pausing: Pausing
) -> None:
    told: list[float] = []
    family.leader = 0
    pausing.begin(lambda: told.append(clock.seconds()))
    assert told == [0.0]
    assert family.running == [7, 8]
    family.leader = 7
    pausing.came()
    assert family.running == []
    run(clock, 1)
    assert told == [0.0]


def test_who_comes_while_it_is_not_paused_runs(family: FakeFamily, pausing: Pausing) -> None:
    pausing.came()
    assert family.running == [7, 8]


def test_an_end_in_the_middle_has_all_go_on_and_nothing_is_told(
    clock: Clock, family: FakeFamily, pausing: Pausing
) -> None:
    told: list[float] = []
    pausing.begin(lambda: told.append(clock.seconds()))
    pausing.end()
    family.running = [7, 8]
    run(clock, 1)
    assert (told, family.running, family.resumed) == ([], [7, 8], [[7, 8]])
    pausing.begin(lambda: told.append(clock.seconds()))
    run(clock, 1)
    assert len(told) == 1


def test_one_that_is_released_goes_on_and_those_after_it_do_not(
    clock: Clock, family: FakeFamily, pausing: Pausing
) -> None:
    pausing.begin(lambda: None)
    run(clock, 1)
    pausing.release()
    assert family.resumed == [[7, 8]]
    family.leader, family.running = 9, [9]
    pausing.came()
    assert family.running == []
    pausing.end()
    assert family.resumed == [[7, 8], [9]]


# The limit of time


@pytest.fixture
def over() -> list[str]:
    return []


@pytest.fixture
def allowance(clock: Clock, over: list[str]) -> Allowance:
    return Allowance(clock, 5.0, lambda: over.append("over"))


def test_it_is_over_once_so_many_seconds_after_it_began(
    clock: Clock, over: list[str], allowance: Allowance
) -> None:
    clock.advance(10)
    allowance.begin()
    clock.advance(4.9)
    allowance.begin()
    assert not over
    clock.advance(0.1)
    assert over == ["over"]
    allowance.hold()
    allowance.go_on()
    clock.advance(100)
    assert over == ["over"]
    assert clock.getDelayedCalls() == []


def test_what_is_held_does_not_count_however_often(
    clock: Clock, over: list[str], allowance: Allowance
) -> None:
    allowance.begin()
    for _ in range(4):
        clock.advance(1)
        allowance.hold()
        allowance.hold()
        clock.advance(100)
        allowance.go_on()
        allowance.go_on()
    clock.advance(0.9)
    assert not over
    clock.advance(0.1)
    assert over


def test_one_that_begins_while_it_is_held_counts_when_it_goes_on(
    clock: Clock, over: list[str], allowance: Allowance
) -> None:
    allowance.hold()
    allowance.begin()
    clock.advance(100)
    allowance.go_on()
    clock.advance(4.9)
    assert not over
    clock.advance(0.1)
    assert over


def test_one_that_was_cancelled_is_never_over(
    clock: Clock, over: list[str], allowance: Allowance
) -> None:
    allowance.begin()
    allowance.cancel()
    allowance.go_on()
    clock.advance(100)
    assert not over
    assert clock.getDelayedCalls() == []


def test_without_a_limit_nothing_is_ever_due(clock: Clock, over: list[str]) -> None:
    allowance = Allowance(clock, None, lambda: over.append("over"))
    allowance.begin()
    allowance.hold()
    allowance.go_on()
    assert clock.getDelayedCalls() == []
