"""What the requests do that are about the daemon itself."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.python.failure import Failure

from aptask.errors import InvalidArguments, Unavailable
from aptask.model.event import Level
from aptask.model.reloaded import Reloaded
from aptask.model.statistics import FailedPlugin
from tests.serving.fakes import Front


def logged(front: Front) -> list[tuple[str, str]]:
    read: list[Any] = []
    front.store.read_log(None, 100, Level.REQUEST).addCallback(read.extend)
    return [(one.event.author.user, one.event.message) for one in read]


@pytest.mark.parametrize("request_", ["limits", "reload", "drain", "shutdown"])
def test_they_are_for_admins(request_: str) -> None:
    front = Front()
    assert front.ask(request_, "alice-key")["code"] == "unauthorized"
    assert (front.life.reloads, front.life.ends, front.scheduler.draining) == ([], [], False)


def test_limits_reads_all_groups_and_is_logged() -> None:
    front = Front()
    answer = front.ask("limits", "ops-key")
    assert answer["limits"] == {"default": {"slots": 4, "paused": False}}
    assert logged(front) == [("ops", "limits")]
    assert front.scheduler.events == []


def test_limits_sets_a_group_and_its_event_goes_with_it() -> None:
    front = Front()
    answer = front.ask("limits", "ops-key", group="gpu", slots=2, paused=True)
    assert answer == {
        "status": "ok",
        "response": "limits",
        "limits": {
            "default": {"slots": 4, "paused": False},
            "gpu": {"slots": 2, "paused": True},
        },
    }
    (event,) = front.scheduler.events
    assert (event.level, event.author.user) == (Level.REQUEST, "ops")
    assert event.message == 'limits {"group":"gpu","slots":2,"paused":true}'
    assert logged(front) == []


@pytest.mark.parametrize(
    "fields",
    [{"slots": -1}, {"slots": 1.5}, {"slots": "2"}, {"paused": 1}, {"group": ""}, {"group": "a b"}],
)
def test_limits_that_cannot_be_are_malformed(fields: Any) -> None:
    front = Front()
    assert front.ask("limits", "ops-key", **fields)["code"] == "malformed"
    assert front.scheduler.groups.names() == ["default"]


def test_a_group_that_there_is_not_cannot_be_read() -> None:
    answer = Front().ask("limits", "ops-key", group="gpu")
    assert (answer["code"], "gpu" in answer["message"]) == ("invalid-arguments", True)


def test_reload_is_answered_when_it_is_done_in_its_order() -> None:
    front = Front()
    client = front.connect()
    client.send({"request": "reload", "key": "ops-key", "id": 7}, {"request": "ping"})
    assert client.answers() == []
    failed = [FailedPlugin("x.py", "line 3")]
    front.life.reloads[0].callback(Reloaded(["a"], ["b"], ["c"], failed, ["listen"]))
    answer, ping = client.answers()
    assert answer == {
        "status": "ok",
        "response": "reload",
        "id": 7,
        "added": ["a"],
        "removed": ["b"],
        "changed": ["c"],
        "failed": [{"plugin": "x.py", "error": "line 3"}],
        "restart": ["listen"],
    }
    assert ping["response"] == "ping"
    assert logged(front) == [("ops", "reload")]


def test_a_reload_of_a_wrong_configuration_is_refused_with_all_its_mistakes() -> None:
    front = Front()
    client = front.connect()
    client.send({"request": "reload", "key": "ops-key"})
    front.life.reloads[0].errback(Failure(InvalidArguments("one\ntwo")))
    (answer,) = client.answers()
    assert (answer["code"], answer["message"]) == ("invalid-arguments", "one\ntwo")


def test_drain_is_turned_on_and_off_and_stats_say_so() -> None:
    front = Front()
    assert front.ask("drain", "ops-key") == {"status": "ok", "response": "drain", "on": True}
    assert front.scheduler.draining
    assert front.ask("drain", "ops-key", on=False)["on"] is False
    assert not front.scheduler.draining
    assert logged(front) == [("ops", 'drain {"on":false}'), ("ops", "drain")][::-1]


def test_what_was_taken_in_before_is_answered_while_it_drains() -> None:
    front = Front()
    taskid = front.start(once="same")

    def refuse(*_: Any, **__: Any) -> Any:
        raise Unavailable("the daemon is draining: it takes no new tasks")

    front.scheduler.submit = refuse  # type: ignore[method-assign]
    again = front.ask("start", "alice-key", name="sleep", once="same")
    assert (again["taskid"], again["existing"]) == (taskid, True)
    assert front.ask("start", "alice-key", name="sleep")["code"] == "unavailable"


@pytest.mark.parametrize(
    ("fields", "grace"), [({}, None), ({"grace": 0}, 0.0), ({"grace": 30}, 30)]
)
def test_shutdown_is_answered_and_passed_on(fields: Any, grace: float | None) -> None:
    front = Front()
    answer = front.ask("shutdown", "ops-key", **fields)
    assert answer == {"status": "ok", "response": "shutdown"}
    assert front.life.ends == [grace]


@pytest.mark.parametrize("grace", [-1, 1e9, "30", True])
def test_a_grace_that_cannot_be_stops_nothing(grace: Any) -> None:
    front = Front()
    assert front.ask("shutdown", "ops-key", grace=grace)["code"] == "malformed"
    assert front.life.ends == []


def test_the_deepest_request_is_as_the_limits_are_by_then() -> None:
    import msgspec

    front = Front()
    nested = {"request": "start", "name": "sleep", "key": "alice-key", "arguments": []}
    for _ in range(10):
        nested["arguments"] = [nested["arguments"]]
    assert front.ask(nested)["code"] == "invalid-arguments"
    front.context.limits = front.factory.limits = msgspec.structs.replace(
        front.limits, request_depth=8
    )
    assert front.ask(nested)["code"] == "too-large"
