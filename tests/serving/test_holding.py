"""Keys that are gone end what holds; answers to bad keys are held back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from aptask.errors import Unauthorized
from aptask.model import messages
from aptask.model.key import Key, digest
from aptask.model.messages import LogResponse, Response
from aptask.serving.handlers import HANDLERS, Handler
from aptask.serving.holding import ENDED_AT_ONCE, Holders
from aptask.serving.keyring import Source
from tests.serving.fakes import Client, Front

WAIT = {"request": "wait", "taskid": "1"}
PING = {"request": "ping"}


def front_with_dave(role: Any = "user", **settings: Any) -> Front:
    """One where the database has a key of dave, and a task that does not end."""
    front = Front(**settings)
    front.store.add_key(Key("dave", role, digest("dave-key")))
    front.keyring.add(Source.DATABASE, Key("dave", role, digest("dave-key")))
    front.start("dave-key")
    return front


def revoke(front: Front) -> None:
    answer = front.ask("revoke", "ops-key", name="dave")
    assert answer["status"] == "ok", answer


def brief(answers: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (answer["response"], answer.get("code", answer["status"]), answer.get("id"))
        for answer in answers
    ]


def test_a_wait_ends_when_its_key_is_revoked_and_what_is_behind_it_is_refused() -> None:
    front = front_with_dave()
    client = front.connect()
    client.send({**WAIT, "key": "dave-key", "id": 7}, {"request": "index", "key": "dave-key"})
    assert client.answers() == []
    revoke(front)
    assert brief(client.answers()) == [("wait", "unauthorized", 7), ("index", "unauthorized", None)]
    client.send({**PING, "id": 8})
    assert brief(client.answers()) == [("ping", "ok", 8)]
    assert front.scheduler.publisher.count() == 0


def test_others_wait_on() -> None:
    front = front_with_dave()
    others = [front.connect() for _ in range(2)]
    others[0].send({**WAIT, "key": "ops-key"})
    front.start("alice-key")
    others[1].send({"request": "wait", "taskid": "2", "key": "alice-key"})
    revoke(front)
    assert [other.answers() for other in others] == [[], []]
    front.scheduler.end(1)
    front.scheduler.end(2)
    assert [other.answers()[0]["ended"] for other in others] == [True, True]


def test_a_reload_that_takes_a_key_away_ends_what_holds() -> None:
    front = front_with_dave()
    front.start("alice-key")
    client = front.connect()
    client.send({"request": "wait", "taskid": "2", "key": "alice-key"})
    front.keyring.replace(Source.CONFIGURATION, [])
    (answer,) = client.answers()
    assert answer["code"] == "unauthorized"
    assert answer["message"].startswith("this key has just been taken back")


def test_a_wait_that_ended_or_whose_client_went_is_not_remembered() -> None:
    front = front_with_dave()
    holders = front.dispatcher._holders
    clients = [front.connect() for _ in range(3)]
    for client in clients:
        client.send({**WAIT, "key": "dave-key"})
    assert len(holders) == 3
    clients.pop().lose()
    assert len(holders) == 2
    front.scheduler.end(1)
    assert len(holders) == 0
    assert [client.answers()[0]["ended"] for client in clients] == [True, True]
    revoke(front)
    assert [client.answers() for client in clients] == [[], []]


def test_a_wait_that_is_answered_at_once_holds_nothing() -> None:
    front = front_with_dave()
    assert front.ask("wait", "dave-key", taskid="1", timeout=0)["ended"] is False
    assert len(front.dispatcher._holders) == 0


def test_shutdown_still_is_unavailable() -> None:
    front = front_with_dave()
    client = front.connect()
    client.send({**WAIT, "key": "dave-key"})
    front.factory.shut_down()
    assert brief(client.answers()) == [("wait", "unavailable", None)]
    front.clock.advance(10)


def test_many_are_ended_some_at_a_time() -> None:
    front = front_with_dave()
    clients = [front.connect() for _ in range(10 * ENDED_AT_ONCE + 1)]
    for client in clients:
        client.send({**WAIT, "key": "dave-key"})
    left = []
    later = front.clock.callLater

    def call_later(delay: float, call: Any, *arguments: Any) -> Any:
        left.append(front.scheduler.publisher.count())
        return later(delay, call, *arguments)

    front.clock.callLater = call_later  # type: ignore[method-assign]
    front.keyring.remove(Source.DATABASE, "dave")
    assert front.scheduler.publisher.count() == len(clients)
    front.clock.advance(0)
    assert {len(clients) - ENDED_AT_ONCE, 1} <= set(left)
    assert front.scheduler.publisher.count() == 0
    assert all(client.answers()[0]["code"] == "unauthorized" for client in clients)


def test_what_ends_by_itself_in_its_last_moment_is_unauthorized_too() -> None:
    clock = Clock()
    holders = Holders(clock)
    answer: Deferred[str] = Deferred()
    failures: list[Any] = []
    holders.add("dave", answer).addErrback(failures.append)
    holders.end("dave")
    answer.callback("too late")
    assert failures[0].check(Unauthorized)
    clock.advance(0)
    assert len(holders) == 0


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`log` is answered with a stream that does not end; what became of it."""
    told: list[str] = []

    async def stream(*_: Any) -> AsyncIterator[Response]:
        try:
            while True:
                yield LogResponse(log=[])
                await Deferred()
        finally:
            told.append("closed")

    monkeypatch.setitem(HANDLERS, messages.Log, Handler(stream))
    return told


def test_a_stream_ends_when_its_key_is_revoked(endless: list[str]) -> None:
    front = front_with_dave("admin")
    client = front.connect()
    client.send({"request": "log", "follow": True, "key": "dave-key", "id": 1}, PING)
    assert brief(client.answers()) == [("log", "ok", 1)]
    revoke(front)
    assert brief(client.answers()) == [("log", "unauthorized", 1), ("ping", "ok", None)]
    assert endless == ["closed"]
    assert len(front.dispatcher._holders) == 0


def test_a_stream_of_one_who_is_no_admin_any_more_ends(endless: list[str]) -> None:
    front = front_with_dave("admin")
    client = front.connect()
    client.send({"request": "log", "follow": True, "key": "dave-key"})
    client.answers()
    front.keyring.add(Source.DATABASE, Key("dave", "user", digest("dave-key")))
    assert brief(client.answers()) == [("log", "unauthorized", None)]


def test_a_stream_whose_client_does_not_read_ends_too(endless: list[str]) -> None:
    front = front_with_dave("admin")
    client = front.connect()
    client.transport.takes = 10
    client.send({"request": "log", "follow": True, "key": "dave-key"})
    revoke(front)
    client.transport.take()
    assert brief(client.answers())[-1] == ("log", "unauthorized", None)
    assert endless == ["closed"]


# Answers to bad keys


def try_keys(front: Front, count: int = 3) -> None:
    """Have some bad keys tried from where all clients of a front come from."""
    for _ in range(count):
        assert front.ask("index", "wrong")["code"] == "unauthorized"


def bad(client: Client, **fields: Any) -> None:
    client.send({"request": "index", "key": "wrong", **fields})


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"request": "index"}, "unauthorized"),
        ({"request": "index", "key": "wrong"}, "unauthorized"),
        ({"request": "stats", "key": "wrong"}, "unauthorized"),
        ({"request": "ping", "key": "wrong"}, "ok"),
        ({"request": "help", "key": "wrong"}, "ok"),
    ],
)
def test_the_fourth_bad_key_of_a_host_is_answered_later(request_: Any, code: str) -> None:
    front = Front()
    try_keys(front)
    client = front.connect()
    client.send({**request_, "id": "x"})
    front.clock.advance(0.0999)
    assert client.answers() == []
    front.clock.advance(0.0002)
    assert brief(client.answers()) == [(request_["request"], code, "x")]


@pytest.mark.parametrize(
    "request_",
    [
        {"request": "ping"},
        {"request": "help"},
        {"request": "index", "key": "alice-key"},
        {"request": "stats", "key": "alice-key"},
        {"request": "show", "taskid": "9", "key": "alice-key"},
        {"request": "index", "key": "wrong", "surplus": 1},
        {"request": "nonsense", "key": "wrong"},
    ],
)
def test_whoever_has_a_good_key_or_needs_none_never_waits_for_bad_ones(request_: Any) -> None:
    front = Front()
    try_keys(front)
    waiting = front.connect()
    bad(waiting)
    assert len(front.connect().protocol._answers) == 0
    client = front.connect()
    client.send(request_)
    assert len(client.answers()) == 1
    assert waiting.answers() == []


def test_a_users_key_on_an_admins_request_is_no_bad_key() -> None:
    front = Front()
    for _ in range(10):
        assert front.ask("stats", "alice-key")["code"] == "unauthorized"
    assert front.ask("index", "wrong")["code"] == "unauthorized"


def test_requests_behind_an_answer_that_is_held_back_are_held() -> None:
    front = Front()
    try_keys(front)
    client = front.connect()
    client.send(*({"request": "index", "key": f"wrong{n}"} for n in range(3)), PING)
    seen = []
    for _ in range(8):
        front.clock.advance(0.1001)
        seen.append(len(client.answers()))
    assert seen == [1, 0, 1, 0, 0, 0, 2, 0]


def test_one_connection_tries_no_more_than_one_key_a_second() -> None:
    front = Front()
    try_keys(front, 3)
    client = front.connect()
    client.send(*({"request": "index", "key": f"wrong{n}"} for n in range(500)))
    answered = 0
    for _ in range(600):
        front.clock.advance(0.1001)
        answered += len(client.answers())
    assert answered == 62
    assert len(front.dispatcher._patience) == 1


def test_a_connection_has_one_answer_held_back_and_that_goes_with_it() -> None:
    front = Front()
    try_keys(front)
    clients = [front.connect() for _ in range(20)]
    for client in clients:
        client.send(*({"request": "ping", "key": f"wrong{n}"} for n in range(100)))
    before = len(front.clock.getDelayedCalls())
    for client in clients:
        assert len(client.protocol._answers) == 1
        client.lose()
    # The connection's own timer, and that of the answer.
    assert before - len(front.clock.getDelayedCalls()) == 40


def test_at_shutdown_an_answer_that_is_held_back_is_given_at_once() -> None:
    front = Front()
    try_keys(front)
    client = front.connect()
    client.send({"request": "index", "key": "wrong"}, {"request": "index", "key": "other"})
    front.factory.shut_down()
    assert brief(client.answers()) == [
        ("index", "unauthorized", None),
        ("index", "unavailable", None),
    ]
    assert client.transport.half_closed
    front.clock.advance(10)


def test_a_client_that_ended_its_sending_side_gets_what_was_held_back() -> None:
    front = Front()
    try_keys(front)
    client = front.connect()
    bad(client)
    client.protocol.readConnectionLost()
    front.clock.advance(0.2)
    assert brief(client.answers()) == [("index", "unauthorized", None)]


def test_without_authentication_nobody_waits() -> None:
    front = Front(authentication=False)
    for _ in range(10):
        assert front.ask("index", "whatever")["status"] == "ok"


def test_no_refusal_has_the_key_in_it() -> None:
    answer = Front().ask("index", "a wrong key")
    assert "a wrong key" not in str(answer)


# While the queue is being opened


def opening(front: Front) -> Deferred[None]:
    front.context.opening = opening = Deferred()
    return opening


def opened(front: Front, opening: Deferred[None]) -> None:
    front.keyring.add(Source.DATABASE, Key("dave", "user", digest("dave-key")))
    front.context.opening = None
    opening.callback(None)


@pytest.mark.parametrize("authentication", [True, False])
def test_a_key_that_may_be_in_the_book_waits_until_that_is_open(authentication: bool) -> None:
    front = Front(authentication)
    open_ = opening(front)
    client = front.connect()
    client.send(
        {"request": "index", "key": "dave-key", "id": 1},
        {"request": "ping", "key": "dave-key", "id": 2},
        {"request": "ping", "id": 3},
    )
    assert client.answers() == []
    opened(front, open_)
    answers = client.answers()
    assert brief(answers) == [("index", "ok", 1), ("ping", "ok", 2), ("ping", "ok", 3)]
    assert answers[1]["user"] == "dave"


def test_known_keys_and_no_keys_are_answered_before_the_book_is_open() -> None:
    front = Front()
    opening(front)
    assert front.ask("ping")["status"] == "ok"
    assert front.ask("ping", "alice-key")["user"] == "alice"
    assert front.ask("index", "alice-key")["status"] == "ok"
    assert front.ask("index")["code"] == "unauthorized"


def test_a_bad_key_is_told_so_when_the_book_is_open_one_at_a_time() -> None:
    front = Front()
    open_ = opening(front)
    client = front.connect()
    client.send(*({"request": "index", "key": f"wrong{n}"} for n in range(5)))
    opened(front, open_)
    assert len(client.answers()) == 3
    front.clock.advance(0.1)
    assert len(client.answers()) == 1
    front.clock.advance(0.1)
    assert client.answers() == []


def test_a_wait_with_a_key_of_the_book_goes_on_as_a_wait() -> None:
    front = Front()
    front.start("alice-key")
    open_ = opening(front)
    client = front.connect()
    client.send({**WAIT, "key": "dave-key", "id": 1}, {**PING, "id": 2})
    front.scheduler.jobs[1].owner = "dave"
    opened(front, open_)
    assert client.answers() == []
    front.keyring.remove(Source.DATABASE, "dave")
    assert brief(client.answers()) == [("wait", "unauthorized", 1), ("ping", "ok", 2)]


def test_a_stream_with_a_key_of_the_book_begins_when_that_is_open(endless: list[str]) -> None:
    front = Front()
    open_ = opening(front)
    client = front.connect()
    client.send({"request": "log", "follow": True, "key": "dave-key"})
    assert client.answers() == []
    front.keyring.add(Source.DATABASE, Key("dave", "admin", digest("dave-key")))
    front.context.opening = None
    open_.callback(None)
    assert brief(client.answers()) == [("log", "ok", None)]
    client.lose()
    assert endless == ["closed"]


def test_shutdown_before_the_book_is_open_is_unavailable() -> None:
    front = Front()
    opening(front)
    client = front.connect()
    client.send({"request": "index", "key": "dave-key"})
    front.factory.shut_down()
    assert brief(client.answers()) == [("index", "unavailable", None)]
    front.clock.advance(10)


def test_a_client_that_goes_before_the_book_is_open_is_forgotten() -> None:
    front = Front()
    open_ = opening(front)
    client = front.connect()
    client.send({"request": "index", "key": "dave-key"})
    client.lose()
    opened(front, open_)
    assert len(front.dispatcher._patience) == 0
