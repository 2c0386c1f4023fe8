"""From a request's bytes to its response: reading, the order of checks, errors."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.logger import LogEvent

from tests.serving.fakes import Front


def refusal(answer: dict[str, Any]) -> tuple[str, str]:
    assert answer["status"] == "error"
    assert set(answer) <= {"status", "response", "code", "message", "id", "retry_after"}
    return answer["code"], answer["message"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({}, "field `request` is missing; it is one of `ping`, `help`"),
        ({"request": 1}, "field `request` must be text, not a number"),
        ({"request": None}, "field `request` must be text, not null"),
        ({"request": ["ping"]}, "field `request` must be text, not an array"),
        ({"request": {}}, "field `request` must be text, not an object"),
        ({"request": True}, "field `request` must be text, not true or false"),
        ({"request": "ping", "id": [1]}, "field `id` must be"),
        ({"request": "ping", "id": None}, "field `id` must be"),
        ({"request": "ping", "id": True}, "not true or false"),
        ({"request": "ping", "key": 1}, "field `key` must be text, not a whole number"),
        ({"request": "start"}, "field `name` is missing; `start` takes `name`, `arguments`"),
        ({"request": "start", "name": 1}, "field `name` must be text, not a whole number"),
        ({"request": "start", "name": "a", "prio": 1}, "no such field: `prio`; `start` takes"),
        ({"request": "start", "name": "a", "priority": 1}, "no such field: `priority`"),
        ({"request": "start", "name": "a", "arguments": "b"}, "must be an object or an array"),
        ({"request": "show", "taskid": "1", "follow": True}, "no such field: `follow`"),
        ({"request": "output", "taskid": "1", "limit": 0}, "field `limit` must be at least 1"),
        ({"request": "output", "taskid": "1", "limit": 1048577}, "must be at most 1048576"),
        ({"request": "output", "taskid": "1", "limit": 1.5}, "whole number, not a fraction"),
        ({"request": "wait", "taskid": "1", "timeout": -1}, "`timeout` must be at least 0"),
        ({"request": "wait"}, "one of the fields `taskid` and `taskids` is needed"),
        ({"request": "wait", "taskid": "1", "taskids": ["1"]}, "`taskids` is needed"),
        ({"request": "wait", "taskids": []}, "`taskids`"),
        ({"request": "show", "taskid": 17}, "field `taskid` must be text, not a whole number"),
        ({"request": "active", "owner": 1}, "field `owner` must be text or null"),
        ({"request": "ping", "x`y" * 100: 1}, "no such field: `x`y"),
    ],
)
def test_a_wrong_field_is_malformed_and_named(request_: dict[str, Any], said: str) -> None:
    code, message = refusal(Front().ask(request_))
    assert code == "malformed"
    assert said in message
    assert len(message) < 400


@pytest.mark.parametrize("name", ["look", "pause", "", "Ping", "x" * 60_000])
def test_a_request_that_is_not_there_is_unknown(name: str) -> None:
    answer = Front().ask(name)
    code, message = refusal(answer)
    assert code == "unknown-request"
    assert "`ping`, `help`, `index`" in message
    assert len(message) < 400
    assert answer["response"] == (name if len(name) <= 100 else None)


@pytest.mark.parametrize("id_", ["abc", "", 7, -1, 1.5, 2**63 - 1, "é\U0001f600"])
@pytest.mark.parametrize(
    "request_",
    [
        {"request": "ping"},
        {"request": "show", "taskid": "1"},
        {"request": "show"},
        {"request": "nonsense"},
        {"request": 1},
        {"request": "ping", "surplus": 1},
        {"request": "ping", "surplus": 2**64},
        {},
    ],
)
def test_an_id_is_echoed_wherever_it_could_be_read(id_: Any, request_: dict[str, Any]) -> None:
    answer = Front().ask({**request_, "id": id_})
    assert answer["id"] == id_
    assert type(answer["id"]) is type(id_)


@pytest.mark.parametrize("id_", [None, True, [1], {}])
def test_what_cannot_be_an_id_is_not_echoed(id_: Any) -> None:
    assert "id" not in Front().ask({"request": "ping", "id": id_})


def test_an_answer_names_its_request_wherever_that_could_be_read() -> None:
    front = Front()
    assert front.ask({"request": "show"})["response"] == "show"
    assert front.ask({"request": "show", "taskid": "1"})["response"] == "show"
    assert front.ask({"request": "ping", "n": 2**64})["response"] == "ping"
    assert front.ask({})["response"] is None
    assert front.ask({"request": 1})["response"] is None


def test_fields_are_checked_before_the_key_and_the_key_before_the_rest() -> None:
    front = Front()
    assert refusal(front.ask("show", "wrong", taskid=1))[0] == "malformed"
    assert refusal(front.ask("show", "wrong", taskid="1"))[0] == "unauthorized"
    assert refusal(front.ask("show", taskid="1"))[0] == "unauthorized"
    assert refusal(front.ask("start", "wrong", name="nonsense"))[0] == "unauthorized"
    assert refusal(front.ask("show", "alice-key", taskid="1"))[0] == "unknown-taskid"


def test_repeated_keys_and_large_integers_do_not_end_the_connection() -> None:
    client = Front().connect()
    client.send(b'{"request":"ping","request":"help"}', b'{"request":"ping","id":9e400}')
    client.send({"request": "ping"})
    first, second, third = client.answers()
    assert refusal(first)[0] == refusal(second)[0] == "malformed"
    assert third["status"] == "ok"


def test_a_limit_says_when_to_come_again() -> None:
    front = Front()
    front.scheduler.full = True
    answer = front.ask("start", "alice-key", name="sleep")
    assert refusal(answer)[0] == "limit"
    assert answer["retry_after"] == 2.5


@pytest.mark.parametrize("late", [False, True])
def test_a_fault_is_internal_and_logged_under_its_reference(
    late: bool, logged_failures: list[LogEvent]
) -> None:
    front = Front()
    if late:
        front.scheduler.find = lambda number: fail(ValueError("a secret"))  # type: ignore
    else:
        front.scheduler.find = lambda number: 1 / 0  # type: ignore
    client = front.connect()
    client.send({"request": "show", "taskid": "1", "key": "alice-key", "id": 4})
    client.send({"request": "ping"})
    answer, after = client.answers()
    code, message = refusal(answer)
    assert code == "internal"
    assert "a secret" not in message
    assert (answer["id"], answer["response"]) == (4, "show")
    assert after["status"] == "ok"
    event = logged_failures.pop()
    assert event["reference"] in message
    assert len(event["reference"]) == 8
    assert isinstance(event["log_failure"].value, (ValueError, ZeroDivisionError))
    assert "alice-key" not in str(event["what"])


def test_a_response_that_cannot_be_encoded_is_internal(logged_failures: list[LogEvent]) -> None:
    front = Front()
    front.catalog.entries = lambda allowed, schema: [{"help": object()}]  # type: ignore
    answer = front.ask("index", "alice-key", id="x")
    assert refusal(answer)[0] == "internal"
    assert (answer["id"], answer["response"]) == ("x", "index")
    assert logged_failures.pop()["reference"] in answer["message"]


def test_a_fault_of_one_handler_does_not_hurt_another_connection(
    logged_failures: list[LogEvent],
) -> None:
    front = Front()
    other = front.connect()
    front.scheduler.broken = RuntimeError("out of order")
    assert refusal(front.ask("start", "alice-key", name="sleep"))[0] == "internal"
    logged_failures.clear()
    other.send({"request": "ping"})
    assert other.answers()[0]["status"] == "ok"


def test_without_authentication_no_key_is_needed() -> None:
    front = Front(authentication=False)
    assert front.ask("start", name="sleep")["status"] == "ok"
    assert front.ask("ping")["user"] == "local"


def test_a_deferred_response_never_fails() -> None:
    front = Front()
    front.scheduler.find = lambda number: Deferred()  # type: ignore
    request = front.dispatcher.read(b'{"request":"wait","taskid":"1","key":"alice-key"}', "here")
    waiting = front.dispatcher.carry_out(request, "here")  # type: ignore[arg-type]
    assert isinstance(waiting, Deferred)
    got: list[Any] = []
    waiting.addBoth(got.append)
    waiting.cancel()
    assert got[0].code == "unavailable"
