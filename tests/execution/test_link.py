"""The daemon's end of the link, on fakes: what counts, and what the runner may forget."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from aptask.execution.link import Link
from aptask.model.job import Status
from aptask.model.orders import (
    LINK_VERSION,
    Ended,
    Event,
    Forget,
    Hello,
    Progressed,
    Started,
    Welcome,
    decode_order,
    encode,
)


class Executor:
    """Takes events in, and has them in its book when the test says so."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.welcomes: list[Welcome] = []
        self.books: dict[int, Deferred[None]] = {}
        self.is_unlinked = False

    def welcomed(self, link: Link, welcome: Welcome) -> None:
        self.welcomes.append(welcome)

    def happened(self, event: Any, source: Any) -> Deferred[None] | None:
        self.heard.append((event, source))
        if isinstance(event, Ended):
            self.books[event.number] = Deferred()
            return self.books[event.number]
        return None

    def unlinked(self, link: Link) -> None:
        self.is_unlinked = True


class World:
    def __init__(self, applied: tuple[str, int] | None = ("me", 0)) -> None:
        self.clock = Clock()
        self.executor = Executor()
        self.link = Link(self.executor, self.clock, applied, 60.0)
        self.transport = StringTransport()
        self.link.makeConnection(self.transport)

    def hear(self, *events: Event) -> None:
        self.link.dataReceived(b"".join(encode(event) + b"\n" for event in events))
        self.clock.advance(0)

    def book(self, number: int) -> None:
        self.executor.books[number].callback(None)
        self.clock.advance(0)

    def orders(self) -> list[Any]:
        lines = self.transport.value().splitlines()
        self.transport.clear()
        return [decode_order(line) for line in lines]

    def numbers(self) -> list[int]:
        return [source[1] for _, source in self.executor.heard if source is not None]


def ended(number: int, job: int = 1) -> Ended:
    return Ended(number, job, 1, Status.DONE, 0.0)


def started(number: int, job: int = 1) -> Started:
    return Started(number, job, 1, 1, 0.0)


WELCOME = Welcome(LINK_VERSION, "me", 1)


def test_it_says_what_it_has_had_of_whom() -> None:
    assert World(("me", 17)).orders() == [Hello(LINK_VERSION, "me", 17, 60.0)]
    assert World(None).orders() == [Hello(LINK_VERSION, None, 0, 60.0)]


def test_an_event_counts_once_and_junk_not_at_all(logged_failures: list[Any]) -> None:
    world = World()
    world.hear(WELCOME)
    world.link.dataReceived(b"junk\n")
    world.hear(started(1), started(1), ended(2), started(1), ended(2), started(3))
    assert world.numbers() == [1, 2, 3]
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_what_the_book_has_of_this_runner_is_passed_over() -> None:
    world = World(("me", 2))
    world.hear(WELCOME, started(1), ended(2), ended(3))
    assert world.numbers() == [3]
    assert world.executor.heard[0][1] == ("me", 3)


def test_what_the_book_has_of_another_runner_does_not_count_for_this_one() -> None:
    world = World(("another", 2))
    world.hear(WELCOME, started(1), ended(2))
    assert world.numbers() == [1, 2]


def test_the_runner_forgets_only_what_the_book_has_with_all_before() -> None:
    world = World()
    world.hear(WELCOME, started(1), ended(2, 1), ended(3, 2), started(4, 3))
    assert [order for order in world.orders() if isinstance(order, Forget)] == [Forget(1)]
    world.book(3)
    assert world.orders() == []
    world.book(2)
    assert world.orders() == [Forget(4)]


def test_what_the_book_had_before_is_forgotten_at_once() -> None:
    world = World(("me", 7))
    world.hear(WELCOME)
    assert world.orders()[1:] == [Forget(7)]


def test_many_ends_are_forgotten_in_one_go() -> None:
    world = World()
    world.hear(WELCOME, *(ended(number, number) for number in range(1, 101)))
    for number in range(1, 101):
        world.executor.books[number].callback(None)
    world.orders()
    world.clock.advance(0)
    assert world.orders() == [Forget(100)]


def test_what_the_book_cannot_have_is_never_forgotten(logged_failures: list[Any]) -> None:
    world = World()
    world.hear(WELCOME, ended(1))
    world.executor.books[1].errback(ZeroDivisionError())
    world.executor.books[1].addErrback(lambda _: None)
    world.hear(started(2))
    assert not [order for order in world.orders() if isinstance(order, Forget)]


def test_progress_is_heard_without_a_number() -> None:
    world = World()
    world.hear(WELCOME, Progressed(1, 1, 0.5), Progressed(1, 1, 0.5))
    assert [source for _, source in world.executor.heard] == [None, None]


def test_a_broken_link_sends_nothing_more_and_leaves_no_call_behind() -> None:
    world = World()
    world.hear(WELCOME)
    world.link.dataReceived(encode(ended(1)) + b"\n" + encode(started(2)) + b"\n")
    world.link.connectionLost()
    assert world.executor.is_unlinked
    world.executor.books[1].callback(None)
    assert not world.clock.getDelayedCalls()


@pytest.mark.parametrize("cut", range(1, 60))
def test_events_may_come_in_any_pieces(cut: int) -> None:
    world = World()
    data = b"".join(encode(event) + b"\n" for event in (WELCOME, started(1), ended(2)))
    for start in range(0, len(data), cut):
        world.link.dataReceived(data[start : start + cut])
    assert world.numbers() == [1, 2]
    world.clock.advance(0)
