"""The event log, as admins read and follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from aptask.model.event import Author, Event, Level
from aptask.serving.eventlog import FOLLOWED_AT_ONCE, LOOK_SECONDS
from tests.serving.fakes import Client, Front


class Scene:
    """A front whose event log has only what a test writes."""

    def __init__(self) -> None:
        self.front = Front()
        self.front.context.recorder.record = lambda event: None  # type: ignore[method-assign]

    def write(self, messages: Sequence[str], level: Level = Level.TASKING) -> None:
        self.front.store.log([Event(level, each, Author("alice", "here")) for each in messages])

    def read(self, **fields: Any) -> list[tuple[int, str]]:
        return told(self.front.ask("log", "ops-key", **fields))

    def follow(self, **fields: Any) -> Client:
        client = self.front.connect()
        client.send({"request": "log", "key": "ops-key", "follow": True, **fields})
        return client

    def comes(self, client: Client) -> list[list[tuple[int, str]]]:
        """The responses of the next look."""
        self.front.clock.pump([LOOK_SECONDS, *[0] * 10])
        return [told(answer) for answer in client.answers()]


def told(answer: dict[str, Any]) -> list[tuple[int, str]]:
    assert answer["status"] == "ok", answer
    return [(entry["number"], entry["message"]) for entry in answer["log"]]


def test_an_entry_says_when_who_whence_and_what() -> None:
    scene = Scene()
    scene.write(["a"])
    (entry,) = scene.front.ask("log", "ops-key")["log"]
    assert entry.pop("time").endswith("Z")
    assert entry == {
        "number": 1, "level": "tasking", "user": "alice", "peer": "here", "message": "a",
    }  # fmt: skip


def test_without_after_it_is_the_newest_and_with_it_those_behind() -> None:
    scene = Scene()
    scene.write("abcde")
    assert scene.read(limit=2) == [(4, "d"), (5, "e")]
    assert scene.read(after=1, limit=2) == [(2, "b"), (3, "c")]
    assert scene.read(after=5) == []
    assert scene.read(after=2**62) == []


def test_it_is_filtered_by_level() -> None:
    scene = Scene()
    scene.write("ab", Level.CLIENT)
    scene.write("cd", Level.ERROR)
    assert scene.read(level="client", limit=1) == [(2, "b")]
    assert scene.read(level="error", after=1) == [(3, "c"), (4, "d")]


@pytest.mark.parametrize("fields", [{}, {"follow": True}])
def test_it_is_for_admins(fields: dict[str, bool]) -> None:
    assert Front().ask("log", "alice-key", **fields)["code"] == "unauthorized"


def test_who_follows_has_the_newest_and_then_what_comes_each_once() -> None:
    scene = Scene()
    scene.write("abc")
    client = scene.follow(limit=2, id=7)
    (answer,) = client.answers()
    assert told(answer) == [(2, "b"), (3, "c")]
    assert answer["id"] == 7
    assert scene.comes(client) == []
    scene.write("d")
    scene.write("e")
    assert scene.comes(client) == [[(4, "d"), (5, "e")]]
    assert scene.comes(client) == []


def test_who_follows_from_a_number_misses_nothing_behind_it() -> None:
    scene = Scene()
    scene.write("abcdefg")
    client = scene.follow(after=2, limit=2)
    scene.front.clock.pump([0] * 10)
    seen = [entry for answer in client.answers() for entry in told(answer)]
    scene.write("h")
    seen += [entry for answer in scene.comes(client) for entry in answer]
    assert seen == list(enumerate("cdefgh", 3))


def test_who_follows_a_log_that_is_empty_is_answered_at_once() -> None:
    scene = Scene()
    client = scene.follow()
    assert [told(answer) for answer in client.answers()] == [[]]
    scene.write("a")
    assert scene.comes(client) == [[(1, "a")]]


def test_who_follows_one_level_hears_of_no_other() -> None:
    scene = Scene()
    client = scene.follow(level="error")
    client.answers()
    scene.write("a")
    assert scene.comes(client) == []
    scene.write("b", Level.ERROR)
    scene.write("c")
    assert scene.comes(client) == [[(2, "b")]]


def test_much_at_once_comes_in_pieces_and_whole() -> None:
    scene = Scene()
    client = scene.follow()
    client.answers()
    scene.write(["x"] * (2 * FOLLOWED_AT_ONCE + 5))
    pieces = scene.comes(client)
    assert [len(piece) for piece in pieces] == [FOLLOWED_AT_ONCE, FOLLOWED_AT_ONCE, 5]
    assert [number for piece in pieces for number, _ in piece] == list(
        range(1, 2 * FOLLOWED_AT_ONCE + 6)
    )


def test_who_does_not_follow_any_more_costs_nothing() -> None:
    scene = Scene()
    client = scene.follow()
    client.answers()
    client.lose()
    scene.front.clock.advance(0)
    assert not scene.front.clock.getDelayedCalls()
