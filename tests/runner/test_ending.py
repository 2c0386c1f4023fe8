"""The end of a family, by a clock that is turned by hand."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.task import Clock

from aptask.runner.ending import KILL_SECONDS, Ending


class FakeFamily:
    """Members who end when a test says so."""

    def __init__(self, *living: int) -> None:
        self.leader = 0
        self.living = list(living)
        self.dies = True
        self.heard: list[str] = []

    def members(self) -> list[int]:
        return list(self.living)

    def has(self, pid: int) -> bool:
        return pid in self.living

    def ask_to_end(self) -> None:
        self.heard.append("asked")

    def kill(self) -> list[int]:
        self.heard.append("killed")
        killed = list(self.living)
        if self.dies:
            self.living.clear()
        return killed


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def family() -> FakeFamily:
    return FakeFamily(7, 8)


@pytest.fixture
def ending(clock: Clock, family: FakeFamily) -> Ending:
    return Ending(clock, family)


def run(clock: Clock, seconds: float) -> None:
    clock.pump([0.01] * round(seconds * 100))


def test_the_family_is_asked_at_once_and_killed_after_the_grace(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    ending.led_by(7)
    ending.ask(2.0)
    assert family.heard == ["asked"]
    run(clock, 1.9)
    assert family.heard == ["asked"]
    run(clock, 0.2)
    assert family.heard == ["asked", "killed"]


def test_the_sooner_end_counts_and_it_is_asked_once(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    ending.led_by(7)
    for grace in (5.0, 9.0, 1.0, 3.0):
        ending.ask(grace)
    run(clock, 1.1)
    assert family.heard == ["asked", "killed"]
    run(clock, 9)
    assert family.heard == ["asked", "killed"]


def test_a_leader_who_comes_late_hears_what_was_said(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    ending.ask(1.0)
    assert family.heard == []
    ending.led_by(7)
    assert family.heard == ["asked"]


def test_a_leader_who_comes_after_the_grace_is_killed(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    family.living.clear()
    ending.ask(1.0)
    run(clock, 1.1)
    family.living.append(7)
    ending.led_by(7)
    assert family.living == []


def test_who_was_not_asked_is_killed_at_once(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    cleared: list[float] = []
    ending.clear(lambda: cleared.append(clock.seconds()))
    assert family.heard == ["killed"]
    assert not cleared
    run(clock, 0.1)
    assert len(cleared) == 1
    run(clock, 10)
    assert len(cleared) == 1


def test_who_was_asked_has_the_rest_of_the_grace(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    cleared: list[float] = []
    ending.led_by(7)
    ending.ask(5.0)
    ending.clear(lambda: cleared.append(clock.seconds()))
    run(clock, 3)
    assert family.heard == ["asked"]
    family.living.clear()
    run(clock, 0.3)
    assert cleared
    assert "killed" not in family.heard


def test_a_grace_that_ends_meanwhile_is_followed_by_a_prompt_look(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    cleared: list[float] = []
    ending.led_by(7)
    ending.ask(5.0)
    ending.clear(lambda: cleared.append(clock.seconds()))
    run(clock, 5.1)
    assert cleared == [pytest.approx(5.0, abs=0.05)]


def test_one_who_is_spared_goes_when_it_is_the_last(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    cleared: list[float] = []
    ending.led_by(7)
    ending.ask(100.0)
    ending.clear(lambda: cleared.append(clock.seconds()), spared=7)
    run(clock, 1)
    assert family.heard == ["asked"]
    family.living.remove(8)
    run(clock, 1)
    assert family.heard[:2] == ["asked", "killed"]
    assert cleared


def test_who_cannot_be_killed_is_given_up(
    clock: Clock, family: FakeFamily, ending: Ending, logged_failures: Any
) -> None:
    family.dies = False
    cleared: list[float] = []
    ending.clear(lambda: cleared.append(clock.seconds()))
    run(clock, KILL_SECONDS - 0.1)
    assert not cleared
    run(clock, 1)
    assert len(cleared) == 1


def test_after_a_clearing_a_further_leader_is_left_in_peace(
    clock: Clock, family: FakeFamily, ending: Ending
) -> None:
    ending.led_by(7)
    ending.clear(lambda: None)
    run(clock, 1)
    assert family.leader == 0
    heard = list(family.heard)
    ending.led_by(9)
    assert family.heard == heard


def test_once_closed_nothing_is_due(clock: Clock, family: FakeFamily, ending: Ending) -> None:
    ending.led_by(7)
    ending.ask(1.0)
    ending.clear(lambda: None)
    ending.close()
    assert clock.getDelayedCalls() == []
