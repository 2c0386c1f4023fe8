"""One connection: how requests come, in which order answers leave, what pauses and what ends it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone

from aptask.serving import answers
from aptask.serving.connection import HELD_BYTES
from tests.serving.fakes import Client, Front

PING = b'{"request":"ping","id":%d}'
PONG = b'{"status":"ok","id":%d,"response":"ping","protocol":1}\n'


def ids(client: Client) -> list[Any]:
    return [answer.get("id") for answer in client.answers()]


def wait_request(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {"request": "wait", "taskid": str(number), "key": "alice-key", **fields}


# How requests come


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"", b" \t", b"\n\n\n"])
def test_a_request_is_answered_with_any_white_space_behind_it(ending: bytes) -> None:
    client = Front().connect()
    client.send(PING % 1, PING % 2, ending=ending)
    assert client.transport.value() == PONG % 1 + PONG % 2


def test_a_request_may_be_spread_over_many_lines() -> None:
    client = Front().connect()
    client.send(b'{\n  "id" : 1,\r\n\n  "request" : "ping"\n}\n')
    assert client.transport.value() == PONG % 1


def test_several_requests_may_stand_on_one_line() -> None:
    client = Front().connect()
    client.send(PING % 1 + PING % 2 + b"  " + PING % 3)
    assert client.transport.value() == PONG % 1 + PONG % 2 + PONG % 3


def test_a_request_that_comes_byte_by_byte_is_answered_with_its_last_brace() -> None:
    client = Front().connect()
    request = PING % 1
    for byte in request[:-1]:
        client.protocol.dataReceived(bytes([byte]))
    assert client.transport.value() == b""
    client.protocol.dataReceived(request[-1:])
    assert client.transport.value() == PONG % 1


def test_the_answers_to_what_came_at_once_are_written_at_once() -> None:
    client = Front().connect()
    written: list[bytes] = []
    client.transport.write = written.append  # type: ignore[method-assign]
    client.send(*[PING % number for number in range(100)])
    assert written == [b"".join(PONG % number for number in range(100))]


def test_a_response_is_one_compact_line() -> None:
    client = Front().connect()
    client.send({"request": "help"})
    value = client.transport.value()
    assert value.count(b"\n") == 1
    assert value.endswith(b"}\n")
    assert json.dumps(json.loads(value), separators=(",", ":"), ensure_ascii=False) == (
        value.decode().rstrip("\n")
    )


requests = st.sampled_from(
    [
        PING % 1,
        PING % 2,
        b'{"request":"ping","id":"http://x:80/"}',
        b'{"request" : "ping"\n, "id":\n"\\"{" }',
        b'{"request":"ping","request":"ping"}',
        b'{"request":"ping","x":99999999999999999999}',
        b'{"request":"show","taskid":"1"}',
        b'{"id":3}',
        b"{}",
        b"{nonsense}",
        b'{"a":[[[[[[[[[[]]]]]]]]]]}',
        '{"request":"ping","id":"é€"}'.encode(),
    ]
)
junk = st.sampled_from(
    [b"x", b"[]", b"}", b'{"a\n', b"\xff", b"{]", b'{"a":"\xed\xa0\x80"}', b"GET / HTTP/1.1\r\n"]
    + [b"{" + b'"a":[' * 10, b'{"' + b"x" * 2000 + b'"}', b'{"a":', b'"', b"\xc3"]
)
streams = st.lists(
    st.tuples(requests | requests | requests | junk, st.sampled_from([b"\n", b"", b" ", b"\r\n"])),
    max_size=8,
).map(lambda parts: b"".join(part + ending for part, ending in parts))


def conversation(pieces: list[bytes]) -> tuple[bytes, bool]:
    client = Front(request_bytes=1024, request_depth=8).connect()
    for piece in pieces:
        client.protocol.dataReceived(piece)
    client.protocol.readConnectionLost()
    return client.transport.value(), client.transport.disconnecting


@given(streams, st.lists(st.integers(0, 400), max_size=6))
@settings(max_examples=300)
def test_answers_never_depend_on_how_the_stream_was_cut(stream: bytes, places: list[int]) -> None:
    cuts = sorted({0, len(stream), *(place for place in places if place < len(stream))})
    whole = conversation([stream])
    assert conversation([stream[a:b] for a, b in pairwise(cuts)]) == whole
    assert conversation([stream[place : place + 1] for place in range(len(stream))]) == whole


# Errors that end a connection


def assert_ended_with(client: Client, code: str) -> dict[str, Any]:
    """That one more answer came, that error, and the sending side was closed behind it."""
    *_, error = client.answers()
    assert (error["status"], error["code"], error["response"]) == ("error", code, None)
    assert client.transport.half_closed
    client.send(PING % 99)
    assert client.answers() == []
    return error


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\nHost: localhost:2142\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 99\r\n\r\n"
        b'{"request":"start","name":"sleep","key":"alice-key"}\n',
        b"OPTIONS / HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n",
    ],
)
def test_an_http_request_gets_one_error_and_a_close_and_nothing_is_done(request_: bytes) -> None:
    front = Front()
    for pieces in ([request_], [request_[n : n + 1] for n in range(len(request_))]):
        client = front.connect()
        for piece in pieces:
            client.protocol.dataReceived(piece)
        lines = client.answers()
        assert [line["code"] for line in lines] == ["malformed"]
        assert client.transport.half_closed
    assert not front.scheduler.jobs


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"nonsense", "malformed"),
        (b"[1]\n", "malformed"),
        (b'{"a": "\x00"}\n', "malformed"),
        (b'{"a": "\xff"}\n', "malformed"),
        (b'{"a": [}\n', "malformed"),
        (b'{"a": "' + b"x" * 65536 + b'"}\n', "too-large"),
        (b'{"a": "' + b"x" * 65528 + b'"}\n', "too-large"),
        (b'{"a": "' + b"x" * 65536, "too-large"),
        (b'{"a": "' + b"x" * 300_000 + b'"}\n', "too-large"),
        (b'{"a": ' + b"[" * 64 + b"]" * 64 + b"}\n", "too-large"),
    ],
)
def test_what_cannot_be_a_request_ends_the_connection(data: bytes, code: str) -> None:
    client = Front().connect()
    client.send(PING % 1, data, PING % 2)
    first, *_ = client.transport.value().splitlines(keepends=True)
    assert first == PONG % 1
    assert_ended_with(client, code)


def test_the_longest_and_the_deepest_request_pass() -> None:
    client = Front().connect()
    longest = b'{"request":"ping","id":"' + b"x" * (65536 - 26) + b'"}'
    assert len(longest) == 65536
    deepest = b'{"request":"ping","x":' + b"[" * 63 + b"]" * 63 + b"}"
    for ending in (b"\n", b"", b"\r\n"):
        client.send(longest, deepest, ending=ending)
        first, second = client.answers()
        assert first["status"] == "ok"
        assert "no such field" in second["message"]


def test_a_request_that_is_no_request_does_not_end_the_connection() -> None:
    client = Front().connect()
    client.send(b"{nonsense}", b"{}", PING % 1)
    codes = [answer.get("code") for answer in client.answers()]
    assert codes == ["malformed", "malformed", None]


def test_after_an_error_input_is_discarded_for_two_seconds() -> None:
    front = Front()
    client = front.connect()
    client.send(b"nonsense")
    assert client.transport.is_read
    client.protocol.writeConnectionLost()
    front.clock.advance(1.9)
    client.send(b"x" * 10_000)
    assert not client.transport.aborted
    front.clock.advance(0.2)
    assert client.transport.aborted


def test_after_an_error_the_client_may_take_its_time_to_read_but_is_not_heard() -> None:
    front = Front()
    client = front.connect()
    client.send(b"nonsense")
    front.clock.advance(2.1)
    assert not client.transport.is_read
    front.clock.advance(500)
    assert not client.transport.aborted
    client.protocol.writeConnectionLost()
    assert client.transport.disconnecting


def test_after_an_error_a_client_that_never_reads_is_given_up() -> None:
    front = Front()
    client = front.connect()
    client.send(b"nonsense")
    front.clock.pump([2.1, 600])
    assert client.transport.aborted


def test_after_an_error_a_client_that_closes_is_closed() -> None:
    client = Front().connect()
    client.send(b"nonsense")
    client.protocol.readConnectionLost()
    assert client.transport.disconnecting


# Half-close


def test_a_client_that_ends_its_sending_side_gets_its_answer() -> None:
    client = Front().connect()
    client.send(PING % 1, ending=b"")
    client.protocol.readConnectionLost()
    assert client.transport.value() == PONG % 1
    assert client.transport.disconnecting


def test_a_request_that_is_unfinished_at_the_end_is_malformed() -> None:
    client = Front().connect()
    client.send(PING % 1, b'{"request":', ending=b"")
    client.protocol.readConnectionLost()
    first, second = client.answers()
    assert (first["id"], second["code"]) == (1, "malformed")
    assert "unfinished" in second["message"]
    assert client.transport.disconnecting


def test_a_client_that_ends_its_sending_side_gets_the_answer_to_its_wait() -> None:
    front = Front()
    client = front.connect()
    front.start()
    client.send(wait_request(id=1), PING % 2, ending=b"")
    client.protocol.readConnectionLost()
    assert client.answers() == []
    assert not client.transport.disconnecting
    front.scheduler.end(1)
    assert ids(client) == [1, 2]
    assert client.transport.disconnecting


def test_a_half_closed_client_whose_connection_is_gone_ends_its_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    front = Front()
    client = front.connect()
    front.start()
    client.send(wait_request())
    client.protocol.readConnectionLost()
    front.clock.advance(100)
    assert not client.transport.aborted
    monkeypatch.setattr("aptask.serving.connection.is_gone", lambda transport: True)
    front.clock.advance(10)
    assert client.transport.aborted


# The order of answers


def test_a_request_that_waits_for_the_disk_does_not_keep_those_behind_it_from_being_done() -> None:
    front = Front()
    front.scheduler.late = True
    client = front.connect()
    start = {"request": "start", "name": "sleep", "key": "alice-key"}
    client.send({**start, "id": 1}, {"request": "ping", "id": 2}, {**start, "id": 3}, PING % 4)
    assert client.answers() == []
    assert len(front.scheduler.uncommitted) == 2
    front.scheduler.commit(1, 0)
    assert ids(client) == [1, 2, 3, 4]


def test_a_wait_holds_the_requests_behind_it() -> None:
    front = Front()
    front.start()
    client = front.connect()
    start = {"request": "start", "name": "sleep", "key": "alice-key"}
    client.send(PING % 1, wait_request(id=2), {**start, "id": 3})
    client.send(PING % 4)
    assert ids(client) == [1]
    assert len(front.scheduler.jobs) == 1
    front.scheduler.end(1)
    assert ids(client) == [2, 3, 4]
    client.send(PING % 5)
    assert ids(client) == [5]


def test_a_wait_behind_one_that_is_outstanding_holds_too() -> None:
    front = Front()
    front.start()
    front.scheduler.late = True
    client = front.connect()
    start = {"request": "start", "name": "sleep", "key": "alice-key"}
    client.send({**start, "id": 1}, wait_request(id=2), PING % 3)
    front.scheduler.end(1)
    assert client.answers() == []
    front.scheduler.commit()
    assert ids(client) == [1, 2, 3]


def test_waits_one_behind_the_other_are_answered_in_turn() -> None:
    front = Front()
    front.start()
    front.start()
    client = front.connect()
    client.send(wait_request(2, id=1), wait_request(1, id=2), PING % 3)
    front.scheduler.end(1)
    assert client.answers() == []
    front.scheduler.end(2)
    assert ids(client) == [1, 2, 3]


def test_behind_a_wait_only_so_much_is_read() -> None:
    front = Front()
    front.start()
    client = front.connect()
    client.send(wait_request(id="w"))
    assert client.transport.is_read
    sent = size = 0
    while client.transport.is_read:
        client.send(PING % sent)
        size += len(PING % sent) + 1
        sent += 1
    assert HELD_BYTES <= size < HELD_BYTES + 100
    front.scheduler.end(1)
    assert ids(client) == ["w", *range(sent)]
    assert client.transport.is_read


def test_too_many_that_are_outstanding_pause_the_connection() -> None:
    front = Front()
    front.scheduler.late = True
    client = front.connect()
    start = {"request": "start", "name": "sleep", "key": "alice-key"}
    client.send(*[{**start, "id": number} for number in range(answers.MOST + 500)])
    assert len(front.scheduler.uncommitted) == answers.MOST
    assert not client.transport.is_read
    front.scheduler.commit()
    assert client.transport.is_read
    front.scheduler.commit()
    assert ids(client) == list(range(answers.MOST + 500))


# A client that does not read


def test_a_client_that_does_not_read_is_not_processed_further() -> None:
    front = Front()
    client = front.connect()
    client.transport.take(0)
    start = {"request": "start", "name": "sleep", "key": "alice-key"}
    client.send({"request": "ping", "id": 0})
    client.send(*[{**start, "id": number} for number in range(1, 11)])
    assert ids(client) == [0]
    assert not front.scheduler.jobs
    assert not client.transport.is_read
    client.transport.take()
    assert ids(client) == list(range(1, 11))
    assert client.transport.is_read


def test_what_the_framing_holds_is_not_processed_either() -> None:
    client = Front().connect()
    client.transport.take(0)
    many = b"".join(b'{"request":"help","id":%d}' % number for number in range(1000))
    client.send(many, PING % 1000)
    first = ids(client)
    assert 0 < len(first) < 100
    assert first == list(range(len(first)))
    client.transport.take()
    assert ids(client) == list(range(len(first), 1001))


def test_half_close_while_the_client_does_not_read_still_answers_everything() -> None:
    client = Front().connect()
    client.transport.take(0)
    client.send(PING % 0)
    client.send(PING % 1, PING % 2, ending=b"")
    client.protocol.readConnectionLost()
    assert ids(client) == [0]
    assert not client.transport.disconnecting
    client.transport.take()
    assert ids(client) == [1, 2]
    assert client.transport.disconnecting


def test_a_client_that_takes_no_response_for_too_long_is_cut_off() -> None:
    front = Front()
    client = front.connect()
    client.transport.take(0)
    client.send(PING % 1)
    front.clock.advance(599)
    assert not client.transport.aborted
    front.clock.advance(1)
    assert client.transport.aborted


# Time


def test_a_request_has_its_time_from_its_first_byte_to_its_last() -> None:
    front = Front()
    client = front.connect()
    front.clock.advance(100)
    client.send(b'{"request":')
    front.clock.advance(59)
    client.send(b'"ping"')
    assert client.answers() == []
    front.clock.advance(1)
    error = assert_ended_with(client, "malformed")
    assert "unfinished after 60 seconds" in error["message"]


def test_each_request_has_its_own_time() -> None:
    front = Front()
    client = front.connect()
    for number in range(10):
        client.send(b'{"request":')
        front.clock.advance(40)
        client.send(b'"ping"} {"request":', ending=b"")
        front.clock.advance(40)
        client.send(b'"ping","id":%d}' % number)
    assert len(client.answers()) == 20
    front.clock.advance(100)
    assert not client.transport.half_closed


def test_the_time_in_which_nothing_is_read_does_not_count() -> None:
    front = Front()
    client = front.connect()
    client.transport.take(0)
    client.send(PING % 1 + b'{"request":')
    front.clock.advance(30)
    assert not client.transport.is_read
    front.clock.advance(200)
    client.transport.take()
    front.clock.advance(59)
    client.send(b'"ping", "id": 2}')
    assert ids(client) == [1, 2]


def test_a_client_that_is_idle_is_closed_without_a_word() -> None:
    front = Front()
    client = front.connect()
    front.clock.advance(599)
    client.send(PING % 1)
    front.clock.advance(599)
    client.send(b"\n \n")
    assert not client.transport.half_closed
    front.clock.advance(1)
    assert client.transport.value() == PONG % 1
    assert client.transport.half_closed


def test_a_client_that_waits_is_not_idle() -> None:
    front = Front()
    front.start()
    client = front.connect()
    client.send(wait_request())
    front.clock.pump([500] * 10)
    assert not client.transport.half_closed
    front.scheduler.end(1)
    assert len(client.answers()) == 1
    front.clock.advance(599)
    assert not client.transport.half_closed
    front.clock.advance(1)
    assert client.transport.half_closed


def test_a_busy_connection_sets_no_timer_for_each_request() -> None:
    front = Front()
    client = front.connect()
    for number in range(100):
        client.send(PING % number)
        front.clock.advance(1)
        assert len(front.clock.getDelayedCalls()) == 1
    client.lose()
    assert not front.clock.getDelayedCalls()


# The factory


def test_one_connection_over_the_limit_is_told_so_and_closed() -> None:
    front = Front(connections=2)
    first, second, third = front.connect(), front.connect(), front.connect()
    (error,) = third.answers()
    assert (error["code"], error["response"]) == ("limit", None)
    assert error["retry_after"] > 0
    assert third.transport.half_closed
    first.send(PING % 1)
    assert first.transport.value() == PONG % 1
    third.lose()
    second.lose()
    assert front.factory.connections == 1
    fourth = front.connect()
    fourth.send(PING % 2)
    assert fourth.transport.value() == PONG % 2


def test_many_that_are_refused_are_just_closed() -> None:
    front = Front(connections=1)
    front.connect()
    refused = [front.connect() for _ in range(100)]
    assert front.factory.buildProtocol(None) is None
    refused[0].lose()
    assert front.factory.buildProtocol(None) is not None


def fires(front: Front) -> list[Any]:
    fired: list[Any] = []
    front.factory.shut_down().addCallback(fired.append)
    return fired


def test_shutdown_with_no_connections_is_at_once() -> None:
    assert fires(Front()) == [None]


def test_shutdown_answers_waits_and_what_is_behind_them_with_unavailable() -> None:
    front = Front()
    front.start()
    client = front.connect()
    start = {"request": "start", "name": "sleep", "key": "alice-key"}
    client.send(wait_request(id=1), {**start, "id": 2})
    fired = fires(front)
    first, second = client.answers()
    assert [(each["id"], each["code"]) for each in (first, second)] == [
        (1, "unavailable"),
        (2, "unavailable"),
    ]
    assert len(front.scheduler.jobs) == 1
    assert front.scheduler.publisher.count() == 0
    assert client.transport.half_closed
    assert fired == []
    client.lose()
    assert fired == [None]
    assert not front.clock.getDelayedCalls()


def test_shutdown_waits_for_what_is_being_committed() -> None:
    front = Front()
    front.scheduler.late = True
    client = front.connect()
    client.send({"request": "start", "name": "sleep", "key": "alice-key"})
    fires(front)
    assert not client.transport.half_closed
    front.scheduler.commit()
    assert client.answers()[0]["status"] == "ok"
    assert client.transport.half_closed


def test_shutdown_gives_up_on_those_that_do_not_go() -> None:
    front = Front()
    idle, stuck = front.connect(), front.connect()
    stuck.transport.take(0)
    stuck.send(PING % 1)
    fired = fires(front)
    front.clock.advance(3)
    for client in (idle, stuck):
        assert client.transport.aborted
        client.lose()
    assert fired == [None]


def test_who_comes_during_shutdown_is_told_so() -> None:
    front = Front()
    front.connect()
    fires(front)
    late = front.connect()
    assert [answer["code"] for answer in late.answers()] == ["unavailable"]


def test_a_connection_that_is_lost_is_forgotten() -> None:
    front = Front()
    client = front.connect()
    client.send(b'{"request":')
    client.protocol.connectionLost(ConnectionDone())  # type: ignore[arg-type]
    assert front.factory.connections == 0
    assert not front.clock.getDelayedCalls()
