"""Who may do what: every request with every role, by a table."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from twisted.internet.defer import succeed

from aptask.model.key import Key, digest
from aptask.model.messages import REQUESTS
from aptask.model.reloaded import Reloaded
from aptask.serving.keyring import Source
from tests.serving.fakes import KEYS, Front

FIELDS: dict[str, dict[str, Any]] = {
    "ping": {},
    "help": {},
    "index": {},
    "start": {"name": "sleep"},
    "stop": {"taskid": "1"},
    "active": {},
    "show": {"taskid": "1"},
    "wait": {"taskid": "1", "timeout": 0},
    "watch": {"taskid": "1"},
    "output": {"taskid": "1"},
    "history": {},
    "tasks": {},
    "log": {},
    "stats": {},
    "limits": {"slots": 2},
    "reload": {},
    "keys": {},
    "addkey": {"name": "erin"},
    "revoke": {"name": "dave"},
    "drain": {},
    "shutdown": {},
}
"""Each request, on alice's task where it names one."""

CALLERS = {
    "nobody": None,
    "an unknown key": "unknown",
    "the owner": "alice-key",
    "another user": "bob-key",
    "a user of other tasks": "carol-key",
    "an admin": "ops-key",
}

FOR_ADMINS = dict.fromkeys(
    (name for name, request in REQUESTS.items() if request.for_admins), "unauthorized"
)
"""What the requests of admins are answered for a user's key."""

ALLOWED: dict[str, dict[str, str]] = {
    "nobody": dict.fromkeys(FIELDS, "unauthorized") | {"ping": "ok", "help": "ok"},
    "an unknown key": dict.fromkeys(FIELDS, "unauthorized") | {"ping": "ok", "help": "ok"},
    "the owner": dict.fromkeys(FIELDS, "ok") | FOR_ADMINS,
    "another user": dict.fromkeys(FIELDS, "ok")
    | FOR_ADMINS
    | dict.fromkeys(("stop", "show", "wait", "watch", "output"), "unknown-taskid"),
    "a user of other tasks": dict.fromkeys(FIELDS, "ok")
    | FOR_ADMINS
    | dict.fromkeys(("stop", "show", "wait", "watch", "output"), "unknown-taskid")
    | {"start": "unknown-task"},
    "an admin": dict.fromkeys(FIELDS, "ok"),
}
ADMINISTRATION = (
    *("tasks", "log", "stats", "limits", "reload"),
    *("keys", "addkey", "revoke", "drain", "shutdown"),
)
DAVE = Key("dave", "user", digest("dave-key"))
CASES = [(request, caller) for request in REQUESTS for caller in CALLERS]


def make_front(authentication: bool = True) -> Front:
    """One with a task of alice's, and with a key of dave's that can be revoked."""
    front = Front(authentication)
    front.start("alice-key")
    front.outputs.written[1] = b"hers"
    front.store.add_key(DAVE)
    front.keyring.add(Source.DATABASE, DAVE)
    front.life.reload = lambda: succeed(Reloaded([], [], [], [], []))  # type: ignore[method-assign]
    return front


def test_the_table_has_every_request_and_role() -> None:
    assert set(FIELDS) == set(REQUESTS)
    assert set(FOR_ADMINS) == set(ADMINISTRATION)
    assert {KEYS[key].role for key in CALLERS.values() if key in KEYS} == {"user", "admin"}


@pytest.mark.parametrize(("request_", "caller"), CASES)
def test_every_request_by_everyone(request_: str, caller: str) -> None:
    front = make_front()
    before = copy.deepcopy(front.scheduler.jobs)
    keys = front.keyring.known()
    answer = front.ask(request_, CALLERS[caller], **FIELDS[request_])
    expected = ALLOWED[caller][request_]
    assert answer.get("code", answer["status"]) == expected
    if expected != "ok":
        assert front.scheduler.jobs == before
        assert not front.scheduler.stopped
        assert front.keyring.known() == keys
        assert not front.life.ends
    if caller in ("another user", "a user of other tasks"):
        assert front.scheduler.jobs[1] == before[1]
        assert "hers" not in str(answer)
        assert not answer.get("active")


def test_help_says_which_requests_are_for_admins() -> None:
    described = Front().ask("help")["requests"]
    assert {name for name, request in described.items() if request["admin"]} == set(ADMINISTRATION)


@pytest.mark.parametrize("request_", FOR_ADMINS)
def test_a_user_is_told_that_a_request_is_for_admins_once_it_is_well_formed(request_: str) -> None:
    fields = FIELDS[request_]
    answer = Front().ask(request_, "alice-key", **fields)
    assert answer["message"] == f"`{request_}` is for admins: this is a user's key"
    assert Front().ask(request_, "alice-key", **fields, surplus=1)["code"] == "malformed"


@pytest.mark.parametrize("request_", FOR_ADMINS)
def test_without_authentication_everyone_is_an_admin(request_: str) -> None:
    assert make_front(authentication=False).ask(request_, **FIELDS[request_])["status"] == "ok"


@pytest.mark.parametrize("request_", ["stop", "show", "wait", "watch", "output"])
def test_anothers_task_and_one_that_is_not_there_cannot_be_told_apart(request_: str) -> None:
    with_task, without = Front(), Front()
    with_task.start("alice-key")
    fields = FIELDS[request_]
    answer = with_task.ask(request_, "bob-key", **fields)
    assert answer == without.ask(request_, "bob-key", **fields)
    with_task.scheduler.end(1)
    assert with_task.ask(request_, "bob-key", **fields) == answer


@pytest.mark.parametrize(
    ("key", "shown"), [("alice-key", None), ("ops-key", "alice")], ids=["user", "admin"]
)
def test_the_owner_of_a_task_is_shown_to_admins(key: str, shown: str | None) -> None:
    front = Front()
    front.start("alice-key")
    assert front.ask("show", key, taskid="1")["task"].get("owner") == shown
    assert front.ask("wait", key, taskid="1", timeout=0)["task"].get("owner") == shown
    (listed,) = front.ask("active", key, owner="alice")["active"]
    assert listed.get("owner") == shown
