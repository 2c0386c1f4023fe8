"""The blocking client's `watch`."""

from __future__ import annotations

import pytest

from aptask.client.blocking import Client
from aptask.client.connection import ConnectionFailed
from aptask.errors import Unavailable, UnknownTaskid
from tests.client.fake_daemon import CLOSE, FakeDaemon, ended, refusal, task


def test_a_task_is_watched_until_its_end(fake: FakeDaemon) -> None:
    fake.answers["watch"] = lambda request: [
        {"task": task(progress=0.1)},
        {"task": task(progress=0.2)},
        {"task": ended()},
    ]
    with Client(fake.tcp) as client:
        seen = list(client.watch("17"))
    assert [one.progress for one in seen] == [0.1, 0.2, 1.0]
    assert fake.requests == [{"request": "watch", "taskid": "17"}]


def test_all_of_one_s_tasks_are_watched_beyond_the_end_of_one(fake: FakeDaemon) -> None:
    going = refusal("unavailable", "the daemon is shutting down")
    fake.answers["watch"] = lambda request: [
        {"task": ended(taskid="1")},
        {"task": None},
        {"task": task(taskid="2")},
        going,
    ]
    with Client(fake.tcp) as client:
        watch = client.watch(owner="*")
        assert [next(watch).taskid, next(watch).taskid] == ["1", "2"]
        with pytest.raises(Unavailable):
            next(watch)
    assert fake.requests == [{"request": "watch", "owner": "*"}]


def test_what_is_not_there_cannot_be_watched(fake: FakeDaemon) -> None:
    fake.answers["watch"] = lambda request: refusal("unknown-taskid")
    with Client(fake.tcp) as client, pytest.raises(UnknownTaskid):
        next(client.watch("17"))


def test_a_watch_that_breaks_off_is_raised(fake: FakeDaemon) -> None:
    fake.answers["watch"] = lambda request: [{"task": task()}, CLOSE]
    with Client(fake.tcp) as client:
        watch = client.watch("17")
        assert next(watch).taskid == "17"
        with pytest.raises(ConnectionFailed):
            next(watch)
