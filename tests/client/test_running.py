"""The client's methods about the daemon itself."""

from __future__ import annotations

import pytest

from aptask.client import Client, ConnectionFailed
from aptask.errors import InvalidArguments
from tests.client.fake_daemon import CLOSE, FakeDaemon, refusal


def test_limits_gives_all_groups(fake: FakeDaemon) -> None:
    fake.answers["limits"] = lambda request: {"limits": {"gpu": {"slots": 1, "paused": True}}}
    with Client(fake.unix, "key") as client:
        groups = client.limits("gpu", slots=1, paused=True)
    assert (groups["gpu"].slots, groups["gpu"].paused) == (1, True)
    assert fake.requests == [
        {"request": "limits", "key": "key", "group": "gpu", "slots": 1, "paused": True}
    ]


def test_reload_tells_what_is_different_or_all_that_is_wrong(fake: FakeDaemon) -> None:
    with Client(fake.unix, "key") as client:
        fake.answers["reload"] = lambda request: {
            "added": ["a"],
            "removed": [],
            "changed": [],
            "failed": [{"plugin": "x", "error": "y"}],
            "restart": ["log"],
        }
        found = client.reload()
        assert (found.added, found.failed[0].plugin, found.restart) == (["a"], "x", ["log"])
        fake.answers["reload"] = lambda request: refusal("invalid-arguments", "one\ntwo")
        with pytest.raises(InvalidArguments, match="one\ntwo"):
            client.reload()


def test_drain_and_shutdown(fake: FakeDaemon) -> None:
    fake.answers["drain"] = lambda request: {"on": request.get("on", True)}
    fake.answers["shutdown"] = lambda request: {}
    with Client(fake.unix, "key") as client:
        assert client.drain() is True
        assert client.drain(False) is False
        client.shutdown(30)
    assert fake.requests[-1] == {"request": "shutdown", "key": "key", "grace": 30}


def test_a_shutdown_that_may_have_been_received_is_not_repeated(fake: FakeDaemon) -> None:
    fake.answers["shutdown"] = lambda request: CLOSE
    with Client(fake.unix, "key") as client:
        client.ping()  # so that the connection is used again
        with pytest.raises(ConnectionFailed):
            client.shutdown()
    assert fake.names() == ["ping", "shutdown"]
