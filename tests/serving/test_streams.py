"""Requests that are answered with many responses: pulled, in their order, and ended with care."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent

from aptask.errors import Conflict
from aptask.model.messages import Output, OutputResponse, Response
from aptask.serving.handlers import HANDLERS, Handler
from tests.serving.fakes import Client, Front

PING = b'{"request":"ping","id":%d}'


class Source:
    """Answers `output` with a stream of what a test says.

    Attributes:
        asked: for how many responses it was asked.
        begun, closed: how many streams have begun, and ended.
    """

    def __init__(self) -> None:
        self.waiting: Deferred[Any] | None = None
        self.ready: list[Any] = []
        self.asked = self.begun = self.closed = 0

    def say(self, *values: Any) -> None:
        """Have it yield these texts; raise, where one is an exception; or end, where it is None."""
        self.ready += values
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.callback(None)

    async def answer(self, *_: Any) -> AsyncIterator[Response]:
        self.begun += 1
        try:
            while True:
                self.asked += 1
                if not self.ready:
                    self.waiting = Deferred()
                    await self.waiting
                value = self.ready.pop(0)
                if value is None:
                    return
                if isinstance(value, Exception):
                    raise value
                yield OutputResponse(text=value, offset=self.asked, end=False)
        finally:
            self.closed += 1


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> Iterator[Source]:
    source = Source()
    monkeypatch.setitem(HANDLERS, Output, Handler(source.answer))
    yield source
    assert source.begun == source.closed


def follow(**fields: Any) -> dict[str, Any]:
    return {"request": "output", "taskid": "1", "key": "alice-key", "follow": True, **fields}


def texts(client: Client) -> list[Any]:
    return [answer.get("text", answer.get("id")) for answer in client.answers()]


def test_each_response_is_sent_as_it_comes_with_the_id_of_its_request(source: Source) -> None:
    client = Front().connect()
    client.send(follow(id="f"))
    assert client.answers() == []
    source.say("one", "two")
    first, second = client.answers()
    assert (first["id"], first["text"], first["response"]) == ("f", "one", "output")
    assert (second["id"], second["text"], second["status"]) == ("f", "two", "ok")
    source.say("three")
    assert texts(client) == ["three"]
    source.say(None)


def test_the_requests_behind_a_stream_wait_until_it_ends(source: Source) -> None:
    client = Front().connect()
    client.send(PING % 1, follow(), PING % 2)
    client.send(PING % 3)
    source.say("one")
    assert texts(client) == [1, "one"]
    source.say("two", None)
    assert texts(client) == ["two", 2, 3]
    client.send(PING % 4)
    assert texts(client) == [4]


def test_a_stream_that_is_over_at_once_holds_nothing(source: Source) -> None:
    client = Front().connect()
    source.say("one", None, "two", None)
    client.send(PING % 1, follow(), follow(), PING % 2)
    assert texts(client) == [1, "one", "two", 2]
    client.send(PING % 3)
    assert texts(client) == [3]


def test_a_stream_begins_when_the_answers_before_it_have_left(source: Source) -> None:
    front = Front()
    front.scheduler.late = True
    client = front.connect()
    start = {"request": "start", "name": "sleep", "key": "alice-key", "id": 1}
    source.say("one", None)
    client.send(start, follow(), PING % 2)
    assert (client.answers(), source.asked) == ([], 0)
    front.scheduler.commit()
    assert texts(client) == [1, "one", 2]


def test_an_error_that_a_stream_raises_is_its_last_response(source: Source) -> None:
    client = Front().connect()
    client.send(follow(id=7), PING % 8)
    source.say("one", Conflict("no more of it"))
    first, error, ping = client.answers()
    assert (first["text"], error["id"], ping["id"]) == ("one", 7, 8)
    assert (error["response"], error["code"]) == ("output", "conflict")


def test_a_fault_of_a_stream_is_logged_and_told_as_internal(
    source: Source, logged_failures: list[LogEvent]
) -> None:
    client = Front().connect()
    client.send(follow(id=7), PING % 8)
    source.say(ZeroDivisionError())
    error, ping = client.answers()
    assert (error["code"], error["id"], ping["id"]) == ("internal", 7, 8)
    assert logged_failures.pop()["reference"] in error["message"]


def test_a_client_that_does_not_read_is_asked_no_more_responses_for(source: Source) -> None:
    front = Front()
    client, other = front.connect(), front.connect()
    client.transport.take(0)
    client.send(follow())
    source.say("one")
    assert texts(client) == ["one"]
    source.say("two")  # what it was asked for before it was seen that the client does not read
    assert texts(client) == ["two"]
    asked = source.asked
    source.say("three", "four", None)
    front.clock.advance(100)
    assert (client.answers(), source.asked) == ([], asked)
    other.send(PING % 1)
    assert texts(other) == [1]
    client.transport.take()
    assert texts(client) == ["three", "four"]


def test_what_a_stream_has_unsent_is_bounded_however_much_it_has_to_say(source: Source) -> None:
    client = Front().connect()
    client.transport.take(0)
    source.say(*["x" * 10_000] * 100)
    client.send(follow())
    assert source.asked <= 8
    for _ in range(20):
        client.transport.take(0)
    assert len(client.transport.value()) > 1_000_000
    source.say(None)


@pytest.mark.parametrize("reads", [True, False])
def test_a_stream_whose_client_goes_is_closed(source: Source, reads: bool) -> None:
    front = Front()
    client = front.connect()
    if not reads:
        client.transport.take(0)
        source.say("x" * 100_000)
    client.send(follow(), PING % 1)
    assert (source.begun, source.closed) == (1, 0)
    client.lose()
    assert source.closed == 1
    assert not front.clock.getDelayedCalls()


def test_a_stream_that_has_not_begun_is_not_begun_when_its_client_goes(source: Source) -> None:
    front = Front()
    front.scheduler.late = True
    client = front.connect()
    client.send({"request": "start", "name": "sleep", "key": "alice-key"}, follow())
    client.lose()
    front.scheduler.commit()
    assert source.begun == 0


def test_a_client_that_ends_its_sending_side_gets_all_of_a_stream(source: Source) -> None:
    client = Front().connect()
    client.send(follow(), PING % 1, ending=b"")
    client.protocol.readConnectionLost()
    source.say("one")
    assert texts(client) == ["one"]
    assert not client.transport.disconnecting
    source.say("two", None)
    assert texts(client) == ["two", 1]
    assert client.transport.disconnecting


def test_shutdown_ends_a_stream_with_unavailable_and_closes(source: Source) -> None:
    front = Front()
    client = front.connect()
    client.send(follow(id=1), PING % 2)
    source.say("one")
    client.answers()
    front.factory.shut_down()
    assert source.closed == 1
    assert [(each["id"], each["code"]) for each in client.answers()] == [
        (1, "unavailable"),
        (2, "unavailable"),
    ]
    assert client.transport.half_closed
    client.lose()


def test_shutdown_ends_a_stream_whose_client_does_not_read(source: Source) -> None:
    front = Front()
    client = front.connect()
    client.transport.take(0)
    source.say("x" * 100_000)
    client.send(follow())
    front.factory.shut_down()
    assert source.closed == 1
    client.lose()


def test_a_client_with_a_stream_is_not_idle(source: Source) -> None:
    front = Front()
    client = front.connect()
    client.send(follow())
    front.clock.pump([500] * 10)
    assert not client.transport.half_closed
    source.say("one", None)
    assert texts(client) == ["one"]
    front.clock.pump([599, 1])
    assert client.transport.half_closed


def test_a_client_that_takes_nothing_of_a_stream_for_too_long_is_cut_off(source: Source) -> None:
    front = Front()
    client = front.connect()
    client.transport.take(0)
    source.say("x" * 100_000)
    client.send(follow())
    front.clock.advance(600)
    assert client.transport.aborted
    client.lose()


def test_an_unfinished_request_behind_a_stream_does_not_stop_it(source: Source) -> None:
    front = Front()
    client = front.connect()
    client.send(follow(), b'{"request":', ending=b"")
    front.clock.advance(100)
    source.say("one")
    assert texts(client) == ["one"]
    source.say(None)
    client.send(b'"ping","id":1}')
    assert texts(client) == [1]


def test_responses_of_one_turn_are_written_at_once(source: Source) -> None:
    front = Front()
    client = front.connect()
    written: list[bytes] = []
    client.transport.write = written.append  # type: ignore[method-assign]
    client.send(follow())
    source.say("one", "two", "three", None)
    front.clock.advance(0)
    assert len(written) == 1


def test_a_stream_waits_for_the_queue_to_be_there(source: Source) -> None:
    front = Front()
    opening: Deferred[None] = Deferred()
    front.context.opening = opening
    client = front.connect()
    client.send(follow(), PING % 1)
    assert source.begun == 0
    front.context.opening = None
    opening.callback(None)
    source.say("one", None)
    assert texts(client) == ["one", 1]
