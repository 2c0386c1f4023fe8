"""The blocking client's methods about keys."""

from __future__ import annotations

import pytest

from aptask.client.blocking import Client
from aptask.client.connection import ConnectionFailed
from aptask.errors import Conflict
from tests.client.fake_daemon import CLOSE, FakeDaemon, refusal


def test_keys_gives_them_typed(fake: FakeDaemon) -> None:
    entry = {"name": "bob", "role": "user", "source": "database", "tasks": ["copy"]}
    fake.answers["keys"] = lambda request: {"keys": [{**entry, "max_active": 2, "novelty": 1}]}
    with Client(fake.tcp, "k") as client:
        [key] = client.keys()
    assert (key.name, key.role, key.source, key.tasks) == ("bob", "user", "database", ["copy"])
    assert (key.max_active, key.max_queued) == (2, None)


def test_add_key_gives_the_key_and_revoke_nothing(fake: FakeDaemon) -> None:
    fake.answers["addkey"] = lambda request: {"name": "bob", "newkey": "secret"}
    fake.answers["revoke"] = lambda request: {"name": "bob"}
    with Client(fake.tcp) as client:
        assert client.add_key("bob") == "secret"
        assert client.add_key("bob", "user", ("copy",)) == "secret"
        assert client.add_key("eve", role="admin") == "secret"
        client.revoke("bob")
    assert fake.requests == [
        {"request": "addkey", "name": "bob"},
        {"request": "addkey", "name": "bob", "tasks": ["copy"]},
        {"request": "addkey", "name": "eve", "role": "admin"},
        {"request": "revoke", "name": "bob"},
    ]


def test_a_name_that_is_taken_is_raised(fake: FakeDaemon) -> None:
    fake.answers["addkey"] = lambda request: refusal("conflict", "taken")
    with Client(fake.tcp) as client, pytest.raises(Conflict, match="taken"):
        client.add_key("bob")


@pytest.mark.parametrize("request_", ["addkey", "revoke"])
def test_what_may_have_been_done_is_not_done_again(fake: FakeDaemon, request_: str) -> None:
    fake.answers[request_] = lambda request: CLOSE
    with Client(fake.tcp) as client:
        client.ping()
        with pytest.raises(ConnectionFailed) as raised:
            client.add_key("bob") if request_ == "addkey" else client.revoke("bob")
    assert raised.value.received
    assert fake.names() == ["ping", request_]
