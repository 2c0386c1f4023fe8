"""What the serving room writes into the event log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from aptask.errors import Malformed, Unavailable
from aptask.model.event import Author, Event, Level
from aptask.serving.recorder import MOST_A_HOST, MOST_A_WINDOW, WINDOW_SECONDS, Recorder
from tests.serving.fakes import Front


class Written:
    """A recorder, and what it has written."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.clock = Clock()
        self.fails = False
        self.recorder = Recorder(self.write, self.clock)

    def write(self, events: Sequence[Event]) -> Deferred[None]:
        if self.fails:
            return fail(Unavailable("the disk is full"))
        self.events += events
        return succeed(None)

    @property
    def messages(self) -> list[str]:
        return [event.message for event in self.events]


def refuse(written: Written, message: str = "no", peer: str = "10.0.0.1:5") -> None:
    written.recorder.refused("start", Malformed(message), Author("alice", peer))


def test_a_refusal_says_who_asked_for_what_and_why_it_was_refused() -> None:
    written = Written()
    refuse(written, "field `x` is missing")
    assert written.events == [
        Event(
            Level.CLIENT,
            "`start` was refused: malformed: field `x` is missing",
            Author("alice", "10.0.0.1:5"),
        )
    ]


def test_the_same_again_is_counted_and_written_once_more() -> None:
    written = Written()
    for port in range(5):
        refuse(written, peer=f"10.0.0.1:{port}")
    refuse(written, peer="10.0.0.2:1")
    assert len(written.events) == 2
    written.clock.advance(WINDOW_SECONDS)
    assert written.messages[2:] == ["`start` was refused: malformed: no (4 times more)"]
    refuse(written)
    assert len(written.events) == 4


def test_a_client_that_is_always_wrong_in_a_new_way_does_not_fill_the_log() -> None:
    written = Written()
    for number in range(10 * MOST_A_HOST):
        refuse(written, str(number))
    assert len(written.events) == MOST_A_HOST
    refuse(written, "another's", peer="10.0.0.2:1")
    assert written.messages[-1].endswith("another's")
    written.clock.advance(WINDOW_SECONDS)
    assert len(written.events) == MOST_A_HOST + 2
    assert written.messages[-1] == f"{9 * MOST_A_HOST} more refusals, of other kinds, by 10.0.0.1"


def test_one_machine_with_many_addresses_is_one_host() -> None:
    written = Written()
    for number in range(10 * MOST_A_HOST):
        refuse(written, str(number), peer=f"2001:db8::{number:x}:5")
    assert len(written.events) == MOST_A_HOST


def test_a_crowd_of_hosts_does_not_fill_the_log() -> None:
    written = Written()
    for number in range(2 * MOST_A_WINDOW):
        refuse(written, str(number), peer=f"10.0.{number // 250}.{number % 250}:1")
    assert len(written.events) == MOST_A_WINDOW
    written.clock.advance(WINDOW_SECONDS)
    assert written.messages[-1] == f"{MOST_A_WINDOW} more refusals, of other kinds, by others"


def test_no_client_keeps_what_admins_do_and_what_is_at_fault_out_of_the_log() -> None:
    front = Front()
    for number in range(2 * MOST_A_HOST):
        front.ask(f"zz{number}")
    front.ask("drain", "ops-key")
    front.context.recorder.record(Event(Level.ERROR, "a plugin failed"))
    assert ("request", "ops", "drain") in log(front, limit=1000)
    assert ("error", "", "a plugin failed") in log(front, limit=1000)


def test_what_was_counted_is_written_at_the_end_too() -> None:
    written = Written()
    refuse(written)
    refuse(written)
    written.recorder.close()
    assert len(written.events) == 2
    refuse(written, "later")
    assert len(written.events) == 3
    assert not written.clock.getDelayedCalls()


def test_events_are_lost_where_the_disk_is_full_and_nothing_else_is() -> None:
    written = Written()
    written.fails = True
    refuse(written)
    written.fails = False
    refuse(written, "another")
    assert len(written.events) == 1


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\u202eevil"])
def test_what_a_client_made_up_stands_escaped(name: str) -> None:
    front = Front()
    front.ask(name, "alice-key")
    front.ask("start", "alice-key", name=name)
    logged = front.ask("log", "ops-key", level="client")["log"]
    assert len(logged) == 2
    for entry in logged:
        assert entry["message"].isprintable()
        assert name.encode("unicode_escape").decode() in entry["message"]


# Through the whole room


def log(front: Front, **fields: Any) -> list[tuple[str, str, str]]:
    entries = front.ask("log", "ops-key", **fields)["log"]
    return [(one["level"], one["user"], one["message"]) for one in entries]


@pytest.mark.parametrize(
    ("request_", "user", "said"),
    [
        (b"{]", "", "a request was refused: malformed: "),
        (
            b'{"request":"start","nam":1}',
            "",
            "`start` was refused: malformed: no such field: `nam`",
        ),
        (b'{"request":"index"}', "", "`index` was refused: unauthorized: no key"),
        (b'{"request":"stats","key":"alice-key"}', "alice", "`stats` was refused: unauthorized"),
        (
            b'{"request":"show","taskid":"9","key":"bob-key"}',
            "bob",
            "`show` was refused: unknown-t",
        ),
        (b"GET / HTTP/1.1\r\n", "", "a request was refused: malformed: "),
    ],
)
def test_every_refused_request_is_in_the_log(request_: bytes, user: str, said: str) -> None:
    front = Front()
    client = front.connect()
    client.send(request_)
    (entry,) = log(front, level="client")
    assert entry[:2] == ("client", user)
    assert entry[2].startswith(said)
    assert "alice-key" not in entry[2]


def test_every_request_of_an_admin_is_in_the_log_with_its_parameters() -> None:
    front = Front()
    front.ask("stats", "ops-key", id=5)
    front.ask("tasks", "ops-key", owner="alice", limit=7)
    assert log(front, level="request") == [
        ("request", "ops", "stats"),
        ("request", "ops", 'tasks {"owner":"alice","limit":7}'),
        ("request", "ops", 'log {"level":"request"}'),
    ]


def test_what_users_ask_for_is_not_in_the_log_where_it_is_not_refused() -> None:
    front = Front()
    front.start()
    front.ask("active", "alice-key")
    assert log(front, level="client") == []
    assert [message for _, _, message in log(front, level="request")] == [
        'log {"level":"client"}',
        'log {"level":"request"}',
    ]
