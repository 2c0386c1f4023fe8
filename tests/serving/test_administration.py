"""What the requests of admins do."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail

from aptask.errors import Unavailable
from aptask.model.description import Failure
from aptask.model.messages import REQUESTS
from tests.serving.fakes import TOTALS, Client, Front


def stats(front: Front) -> dict[str, Any]:
    answer: dict[str, Any] = front.ask("stats", "ops-key")
    assert answer["status"] == "ok", answer
    return answer


def test_stats_has_all_that_the_protocol_says() -> None:
    answer = stats(Front())
    assert answer == {
        "status": "ok",
        "response": "stats",
        "version": "1.2.3",
        "uptime": 0.0,
        "slots": 4,
        "running": 2,
        "queued": 17,
        "ended": 1204,
        "groups": {"default": {"slots": 4, "running": 2, "queued": 17, "paused": False}},
        "executors": {"local": {"state": "ready", "jobs": 2}},
        "plugins": {"loaded": 4, "failed": []},
        "disk": {"used": 5_000_000, "free": 80_000_000_000},
        "connections": 1,
        "watchers": 0,
        "requests": {**dict.fromkeys(REQUESTS, 0), "stats": 1},
        "draining": False,
    }


def test_the_uptime_is_in_seconds_of_the_clock() -> None:
    front = Front()
    front.clock.advance(273_600.12345)
    assert stats(front)["uptime"] == 273_600.123


def test_the_connections_are_those_that_are_open_now() -> None:
    front = Front()
    clients = [front.connect() for _ in range(3)]
    assert stats(front)["connections"] == 4
    clients.pop().lose()
    assert stats(front)["connections"] == 3


def test_a_client_that_was_refused_is_no_connection() -> None:
    front = Front(connections=1)
    asking = front.connect()
    refused = front.connect()
    refused.answers()
    asking.send({"request": "stats", "key": "ops-key"})
    assert asking.answers()[0]["connections"] == 1
    refused.lose()
    asking.send({"request": "stats", "key": "ops-key"})
    assert asking.answers()[0]["connections"] == 1


def test_a_wait_is_no_watcher() -> None:
    front = Front()
    front.start()
    client = front.connect()
    client.send({"request": "wait", "taskid": "1", "key": "alice-key"})
    assert stats(front)["watchers"] == 0
    client.lose()


def test_every_request_counts_whose_name_was_understood_and_no_other() -> None:
    front = Front()
    front.ask("ping")
    front.start()
    front.ask("start", "alice-key")  # a field is missing
    front.ask("start", "unknown", name="sleep")
    front.ask("start", "alice-key", name="no such task")
    front.ask("stats", "alice-key")
    front.ask("nonsense")
    front.ask({"request": 1})
    front.ask({"request": ["start"]})
    client = front.connect()
    client.send(b'{"request":"start","request":"start"}', b"[]")
    client.lose()
    counts = stats(front)["requests"]
    expected = {"ping": 1, "start": 4, "stats": 2}
    assert counts == {**dict.fromkeys(REQUESTS, 0), **expected}


def test_a_request_counts_once_however_it_came() -> None:
    front = Front()
    client = front.connect()
    client.send(b'{"request":"ping"}{"request":', b'"ping"}', ending=b"")
    client.send(b'{"request":"ping"}')
    assert len(client.answers()) == 3
    assert stats(front)["requests"]["ping"] == 3


def test_the_numbers_of_an_answer_that_waits_for_one_before_it_stay_as_they_were() -> None:
    front = Front()
    blocked: Deferred[Any] = Deferred()
    find, front.scheduler.find = front.scheduler.find, lambda number: blocked  # type: ignore
    client = Client(front)
    client.send({"request": "show", "taskid": "1", "key": "ops-key"})
    client.send({"request": "stats", "key": "ops-key"})
    front.scheduler.find = find  # type: ignore[method-assign]
    front.ask("ping")
    blocked.callback(None)
    assert client.answers()[1]["requests"]["ping"] == 0


def test_what_could_not_be_loaded_is_shown_in_harmless_lines() -> None:
    front = Front()
    front.context.failures = [
        Failure("/tasks/a\x1b[2J.py", "line 3:\n  invalid\x07 syntax"),
        Failure("other", "x" * 5000),
    ]
    failed = stats(front)["plugins"]["failed"]
    assert failed[0] == {"plugin": "/tasks/a[2J.py", "error": "line 3:   invalid syntax"}
    assert failed[1] == {"plugin": "other", "error": "x" * 1000}


def test_stats_waits_for_what_has_to_be_looked_up_and_is_answered_in_its_order() -> None:
    front = Front()
    looked_up: Deferred[Any] = Deferred()
    front.scheduler.totals_ = looked_up
    client = front.connect()
    client.send({"request": "stats", "key": "ops-key"}, {"request": "ping"})
    assert client.answers() == []
    looked_up.callback(TOTALS)
    assert [answer["response"] for answer in client.answers()] == ["stats", "ping"]


def test_what_cannot_be_looked_up_is_said() -> None:
    front = Front()
    front.folder.measure = lambda: fail(Unavailable("no disk"))  # type: ignore[method-assign]
    answer = front.ask("stats", "ops-key")
    assert (answer["code"], answer["message"]) == ("unavailable", "no disk")


def test_stats_waits_for_the_queue_to_be_open() -> None:
    front = Front()
    front.context.opening = opening = Deferred()
    client = front.connect()
    client.send({"request": "stats", "key": "ops-key"})
    assert client.answers() == []
    front.context.opening = None
    opening.callback(None)
    assert client.answers()[0]["status"] == "ok"


def test_no_request_is_carried_out_where_the_daemon_stops_before_its_queue_is_open() -> None:
    front = Front()
    front.context.opening = opening = Deferred()
    clients = [front.connect() for _ in range(3)]
    for client in clients:
        client.send({"request": "start", "name": "sleep", "key": "alice-key"})
    opening.errback(Unavailable("the daemon is shutting down"))
    opening.addErrback(lambda _: None)
    for client in clients:
        (answer,) = client.answers()
        assert answer["code"] == "unavailable"
    assert not front.scheduler.jobs
