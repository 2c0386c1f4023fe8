"""Reloads, one at a time."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from aptask.errors import AptaskError, ConfigurationError, InvalidArguments, Unavailable
from aptask.reloading import Reloader


class World:
    def __init__(self) -> None:
        self.making: list[Deferred[Any]] = []
        self.taken: list[Any] = []
        self.answers: list[Any] = []
        self.reloader = Reloader(self._make, self._take)

    def _make(self) -> Deferred[Any]:
        self.making.append(Deferred())
        return self.making[-1]

    def _take(self, plan: Any) -> Any:
        if isinstance(plan, Exception):
            raise plan
        self.taken.append(plan)
        return f"took {plan}"

    def ask(self) -> None:
        self.reloader.reload().addErrback(lambda failure: failure.value).addCallback(
            self.answers.append
        )


def test_a_plan_is_made_and_taken() -> None:
    world = World()
    world.ask()
    assert world.answers == []
    world.making[0].callback("plan")
    assert (world.taken, world.answers) == (["plan"], ["took plan"])


def test_who_asks_meanwhile_waits_for_a_new_one_that_all_of_them_share() -> None:
    world = World()
    world.ask()
    world.ask()
    world.ask()
    assert len(world.making) == 1
    world.making[0].callback("old")
    assert world.answers == ["took old"]
    assert len(world.making) == 2
    world.making[1].callback("new")
    assert world.answers == ["took old", "took new", "took new"]
    assert len(world.making) == 2


def test_a_wrong_configuration_changes_nothing_and_is_told_of_whole() -> None:
    world = World()
    world.ask()
    world.making[0].errback(Failure(ConfigurationError("one\ntwo")))
    (answer,) = world.answers
    assert isinstance(answer, InvalidArguments)
    assert answer.message == "one\ntwo"
    assert world.taken == []
    world.ask()
    world.making[1].callback("plan")
    assert world.answers[1] == "took plan"


@pytest.mark.parametrize("where", ["making", "taking"])
def test_another_fault_is_told_as_it_is_and_the_next_one_goes_on(where: str) -> None:
    world = World()
    world.ask()
    world.ask()
    fault = AptaskError("looking for tasks failed")
    if where == "making":
        world.making[0].errback(Failure(fault))
    else:
        world.making[0].callback(fault)
    assert world.answers == [fault]
    world.making[1].callback("plan")
    assert world.answers[1:] == ["took plan"]


def test_one_that_is_closed_takes_nothing_over_any_more() -> None:
    world = World()
    world.ask()
    world.ask()
    world.reloader.close()
    assert [type(answer) for answer in world.answers] == [Unavailable, Unavailable]
    world.making[0].callback("plan")
    world.ask()
    assert world.taken == []
    assert isinstance(world.answers[2], Unavailable)
    assert len(world.making) == 1
