"""The requests `keys`, `addkey` and `revoke`."""

from __future__ import annotations

import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from aptask.errors import Unavailable
from aptask.model.key import Key, digest
from aptask.model.messages import AddKey, AddKeyResponse, Start
from aptask.serving.keyring import Source
from tests.serving.fakes import Front


def add(front: Front, name: str = "dave", **fields: Any) -> str:
    """Make a key, and give it."""
    answer = front.ask("addkey", "ops-key", name=name, **fields)
    assert answer["status"] == "ok", answer
    return answer["newkey"]  # type: ignore[no-any-return]


def refused(front: Front, request: str, **fields: Any) -> tuple[str, str]:
    answer = front.ask(request, "ops-key", **fields)
    return answer["code"], answer["message"]


def kept(front: Front) -> list[Key]:
    found: list[list[Key]] = []
    front.store.keys().addCallback(found.append)
    return found[0]


def test_a_key_that_was_made_is_shown_and_is_good_at_once() -> None:
    front = Front()
    answer = front.ask("addkey", "ops-key", name="dave", tasks=["program", "sleep", "program"])
    assert set(answer) == {"status", "response", "name", "newkey"}
    assert (answer["response"], answer["name"]) == ("addkey", "dave")
    assert re.fullmatch(r"[\w-]{43}", answer["newkey"])
    known = front.ask("ping", answer["newkey"])
    assert (known["user"], known["role"]) == ("dave", "user")
    index = front.ask("index", answer["newkey"])["index"]
    assert {task["name"] for task in index} == {"sleep", "program"}


def test_no_two_keys_are_the_same() -> None:
    front = Front()
    assert len({add(front, f"user{number}") for number in range(50)}) == 50


def test_what_is_kept_of_a_key_is_its_digest() -> None:
    front = Front()
    key = add(front, tasks=["sleep"])
    assert kept(front) == [Key("dave", "user", digest(key), ("sleep",))]
    assert key not in repr(vars(front.store)) + repr(vars(front.keyring))


def test_the_log_has_who_made_a_key_and_not_the_key() -> None:
    front = Front()
    key = add(front)
    logged: list[Any] = []
    front.store.read_log(None, 10, None).addCallback(logged.extend)
    (event,) = [one.event for one in logged if one.event.message.startswith("addkey")]
    assert event.author.user == "ops"
    assert '"name":"dave"' in event.message
    assert key not in repr(logged)
    assert "ops-key" not in repr(logged)


def test_neither_requests_nor_answers_show_a_key_where_they_are_printed() -> None:
    assert "secret" not in repr(Start(name="a", key="secret"))
    assert "secret" not in repr(AddKey(name="a", key="secret"))
    assert "secret" not in repr(AddKeyResponse(name="a", newkey="secret"))
    assert "name='a'" in repr(AddKey(name="a", key="secret"))


def test_an_admins_key_can_be_made() -> None:
    front = Front()
    key = add(front, role="admin")
    assert front.ask("ping", key)["role"] == "admin"
    assert front.ask("keys", key)["status"] == "ok"


@pytest.mark.parametrize(
    ("name", "whose"),
    [("alice", "the configuration"), ("local", "the daemon itself"), ("dave", "the database")],
)
def test_a_name_that_is_taken_is_a_conflict(name: str, whose: str) -> None:
    front = Front()
    front.keyring.replace(Source.LOCAL, [Key("local", "admin", digest("local key"))])
    key = add(front, "dave")
    code, message = refused(front, "addkey", name=name)
    assert code == "conflict"
    assert message == f"{whose} has a key named `{name}`: choose another"
    assert front.ask("ping", key)["user"] == "dave"
    assert [key.name for key in kept(front)] == ["dave"]


def test_of_two_that_want_a_name_at_once_one_gets_it() -> None:
    front = Front()
    client = front.connect()
    client.send(*({"request": "addkey", "key": "ops-key", "name": "dave"} for _ in range(2)))
    one, other = client.answers()
    assert (one["status"], other.get("code")) == ("ok", "conflict")
    assert front.ask("ping", one["newkey"])["user"] == "dave"


@pytest.mark.parametrize(
    ("fields", "code", "said"),
    [
        ({"name": "d", "tasks": ["slep"]}, "invalid-arguments", "no task `slep`; did you mean `s"),
        ({"name": "d", "tasks": ["sleep", "a\x1b[2J"]}, "invalid-arguments", r"`a\x1b[2J`"),
        ({"name": "d", "role": "admin", "tasks": ["sleep"]}, "invalid-arguments", "leave it out"),
        ({"name": "d", "role": "admin", "tasks": []}, "invalid-arguments", "field `tasks`: an adm"),
        ({"name": "d", "role": "root"}, "malformed", "field `role`"),
        ({"name": "d", "tasks": [""]}, "malformed", "field `tasks[0]` must not be empty"),
        ({"name": "d", "tasks": ["a", 1]}, "malformed", "field `tasks[1]` must be text, not a w"),
        ({"name": "a b"}, "malformed", "field `name`"),
        ({"name": "dave\n"}, "malformed", "field `name`"),
        ({"name": ""}, "malformed", "field `name`"),
        ({"name": "x" * 65}, "malformed", "field `name`"),
        ({}, "malformed", "field `name` is missing"),
    ],
)
def test_what_makes_no_key_is_said(fields: dict[str, Any], code: str, said: str) -> None:
    front = Front()
    answer = refused(front, "addkey", **fields)
    assert answer[0] == code
    assert said in answer[1]
    assert kept(front) == []


def test_a_user_may_be_allowed_nothing() -> None:
    front = Front()
    key = add(front, tasks=[])
    assert front.ask("index", key)["index"] == []


@pytest.mark.parametrize("request_", ["addkey", "revoke"])
def test_nothing_is_answered_and_nothing_changes_before_the_book_has_it(request_: str) -> None:
    front = Front()
    key = add(front, "erin")
    written: Deferred[Any] = Deferred()
    front.store.add_key = front.store.remove_key = lambda *_: written  # type: ignore[assignment]
    client = front.connect()
    name = "dave" if request_ == "addkey" else "erin"
    client.send({"request": request_, "key": "ops-key", "name": name})
    assert client.answers() == []
    assert front.keyring.get("dave") is None
    assert front.keyring.knows(key)
    written.callback(True)
    assert client.answers()[0]["status"] == "ok"
    assert (front.keyring.get("dave") is not None) is (request_ == "addkey")
    assert front.keyring.knows(key) is (request_ == "addkey")


@pytest.mark.parametrize("request_", ["addkey", "revoke"])
def test_what_cannot_be_written_changes_nothing(request_: str) -> None:
    front = Front()
    add(front, "erin")
    written: Deferred[Any] = Deferred()
    front.store.add_key = front.store.remove_key = lambda *_: written  # type: ignore[assignment]
    client = front.connect()
    name = "dave" if request_ == "addkey" else "erin"
    client.send({"request": request_, "key": "ops-key", "name": name})
    written.errback(Unavailable("the disk is full"))
    (answer,) = client.answers()
    assert (answer["code"], answer["message"]) == ("unavailable", "the disk is full")
    assert "newkey" not in answer
    assert front.keyring.get("dave") is None
    assert front.keyring.get("erin") is not None


def test_keys_lists_each_that_counts_with_where_it_is_from() -> None:
    front = Front()
    front.keyring.replace(Source.LOCAL, [Key("local", "admin", digest("local key"))])
    key = add(front, "Zoe", tasks=["sleep", "fetch"])
    answer = front.ask("keys", "ops-key")
    rest = {"max_active": None, "max_queued": None, "max_priority": None}
    assert answer["keys"] == [
        {"name": name, "role": role, "source": source, "tasks": tasks, **rest}
        for name, role, source, tasks in (
            ("Zoe", "user", "database", ["sleep", "fetch"]),
            ("alice", "user", "configuration", None),
            ("bob", "user", "configuration", None),
            ("carol", "user", "configuration", ["program"]),
            ("local", "admin", "local", None),
            ("ops", "admin", "configuration", None),
        )
    ]
    assert key not in str(answer)
    assert digest(key).hex() not in str(answer)


def test_a_name_that_the_configuration_takes_later_is_shown_as_its() -> None:
    front = Front()
    key = add(front)
    front.keyring.replace(
        Source.CONFIGURATION,
        [Key("dave", "admin", digest("daves")), Key("ops", "admin", digest("ops-key"))],
    )
    shown = {entry["name"]: entry for entry in front.ask("keys", "ops-key")["keys"]}
    assert (shown["dave"]["source"], shown["dave"]["role"]) == ("configuration", "admin")
    assert front.ask("index", key)["code"] == "unauthorized"
    code, message = refused(front, "revoke", name="dave")
    assert code == "conflict"
    assert message.endswith("the one that `addkey` made counts again then: revoke it, too")


def test_a_key_that_was_revoked_is_no_key_any_more() -> None:
    front = Front()
    key = add(front)
    taskid = front.start(key)
    client = front.connect()
    client.send({"request": "index", "key": key})
    assert client.answers()[0]["status"] == "ok"
    assert front.ask("revoke", "ops-key", name="dave") == {
        "status": "ok",
        "response": "revoke",
        "name": "dave",
    }
    client.send({"request": "index", "key": key})
    assert client.answers()[0]["code"] == "unauthorized"
    assert kept(front) == []
    assert not front.scheduler.stopped
    assert front.ask("show", "ops-key", taskid=taskid)["task"]["owner"] == "dave"
    assert add(front) != key


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("alice", "conflict", "the configuration has the key of `alice`: take it out there"),
        ("local", "conflict", "`local` is the daemon's own key"),
        ("zoe", "invalid-arguments", "no key named `zoe`"),
        ("a\x1bb", "invalid-arguments", r"no key named `a\x1bb`"),
    ],
)
def test_what_cannot_be_revoked_is_said(name: str, code: str, said: str) -> None:
    front = Front()
    front.keyring.replace(Source.LOCAL, [Key("local", "admin", digest("local key"))])
    answer = refused(front, "revoke", name=name)
    assert answer[0] == code
    assert said in answer[1]
    assert front.ask("ping", "alice-key")["user"] == "alice"


def test_an_admin_may_revoke_the_key_that_he_uses() -> None:
    front = Front()
    key = add(front, role="admin")
    client = front.connect()
    client.send(
        {"request": "revoke", "name": "dave", "key": key},
        {"request": "keys", "key": key},
    )
    assert [answer["status"] for answer in client.answers()] == ["ok", "error"]


def test_without_authentication_keys_can_be_made_and_seen() -> None:
    front = Front(authentication=False)
    key = front.ask("addkey", name="dave")["newkey"]
    assert front.ask("ping", key)["user"] == "dave"
    assert "dave" in str(front.ask("keys"))
    assert front.ask("revoke", name="dave")["status"] == "ok"
    assert front.ask("ping", key)["user"] == "local"
