"""Tasks in lists: `active`, `tasks` and the pages of `history`."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import ensureDeferred

from aptask.model.job import Change, Job, Outcome, Status, change
from aptask.serving.listing import LISTED_AT_ONCE
from tests.serving.fakes import Front


def end(front: Front, owner: str = "alice", task: str = "sleep", **how: Any) -> str:
    """A job that has ended, in the book; the n-th at n seconds after the epoch."""

    async def enter() -> int:
        job = Job(id=0, task=task, owner=owner, arguments=b"{}", created=0.0)
        job.id = (await front.store.add(job)).id
        change(job, Change.LAUNCH, 0.0)
        change(job, Change.FINISH, float(job.id), Outcome(how.pop("status", Status.DONE), **how))
        await front.store.update(job)
        return job.id

    entered: list[int] = []
    ensureDeferred(enter()).addCallback(entered.append)
    return str(entered[0])


def ids(answer: dict[str, Any], field: str = "history") -> list[str]:
    assert answer["status"] == "ok", answer
    return [task["taskid"] for task in answer[field]]


def test_the_history_is_one_s_own_the_last_to_end_first() -> None:
    front = Front()
    mine = [end(front), end(front)]
    end(front, owner="bob")
    answer = front.ask("history", "alice-key")
    assert ids(answer) == mine[::-1]
    assert answer["next"] is None
    assert answer["history"][0]["ended"] == "1970-01-01T00:00:02.000Z"
    assert "owner" not in answer["history"][0]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8, 50])
def test_the_pages_of_the_history_are_all_of_it_each_once(limit: int) -> None:
    front = Front()
    mine = [end(front) for _ in range(8)]
    seen, before = [], {}
    while True:
        answer = front.ask("history", "alice-key", limit=limit, **before)
        assert len(answer["history"]) <= limit
        seen += ids(answer)
        if answer["next"] is None:
            break
        before = {"before": answer["next"]}
    assert seen == mine[::-1]


def test_what_ends_meanwhile_does_not_shift_the_next_page() -> None:
    front = Front()
    mine = [end(front) for _ in range(4)]
    first = front.ask("history", "alice-key", limit=2)
    end(front)
    second = front.ask("history", "alice-key", limit=2, before=first["next"])
    assert ids(first) + ids(second) == mine[::-1]


def test_the_history_is_filtered_by_name_status_and_time() -> None:
    front = Front()
    slept, failed, fetched = end(front), end(front, status=Status.ERROR), end(front, task="fetch")
    cases: list[tuple[dict[str, str], list[str]]] = [
        ({"name": "fetch"}, [fetched]),
        ({"status": "error"}, [failed]),
        ({"name": "sleep", "status": "done"}, [slept]),
        ({"name": "nothing"}, []),
        ({"since": "1970-01-01T00:00:02Z"}, [fetched, failed]),
        ({"until": "1970-01-01T00:00:02Z"}, [slept]),
        ({"since": "1970-01-01T01:00:02+01:00", "until": "1970-01-01T00:00:03Z"}, [failed]),
    ]
    for fields, expected in cases:
        assert ids(front.ask("history", "alice-key", **fields)) == expected, fields


def test_an_admin_sees_the_history_of_another_or_of_all() -> None:
    front = Front()
    hers, his = end(front), end(front, owner="bob")
    assert ids(front.ask("history", "ops-key")) == []
    assert ids(front.ask("history", "ops-key", owner="alice")) == [hers]
    everyone = front.ask("history", "ops-key", owner="*")
    assert [(task["taskid"], task["owner"]) for task in everyone["history"]] == [
        (his, "bob"),
        (hers, "alice"),
    ]


@pytest.mark.parametrize("request_", ["history", "active"])
@pytest.mark.parametrize("owner", ["bob", "*", ""])
def test_a_user_sees_nobody_else_s_tasks(request_: str, owner: str) -> None:
    answer = Front().ask(request_, "alice-key", owner=owner)
    assert answer["code"] == "unauthorized"
    assert "`owner`" in answer["message"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "running"}, "must be one of `done`, `error`, `interrupted`, `skipped`, "),
        ({"since": "yesterday"}, "`since` must be a time with its zone, as 2026-11-24T03:46:00Z"),
        ({"until": "2026-11-24T03:46:00"}, "`until` must be a time with its zone"),
        ({"since": 1795495560}, "`since` must be a time or null, not a whole number"),
        ({"limit": 1001}, "`limit` must be at most 1000"),
    ],
)
def test_what_is_no_filter_is_refused_by_name(fields: dict[str, Any], said: str) -> None:
    answer = Front().ask("history", "alice-key", **fields)
    assert answer["code"] == "malformed"
    assert said in answer["message"]


@pytest.mark.parametrize(
    "before", ["", "17", "1-2-3", "x-1", "-1-1", "1-" + "9" * 19, "\u0661-\u0661"]
)
def test_what_is_no_next_of_a_response_is_refused(before: str) -> None:
    answer = Front().ask("history", "alice-key", before=before)
    assert answer["code"] == "invalid-arguments"
    assert "`before`" in answer["message"]


def test_tasks_are_everyone_s_that_have_not_ended_or_one_owner_s() -> None:
    front = Front()
    hers, his = front.start("alice-key"), front.start("bob-key")
    everyone = front.ask("tasks", "ops-key")
    assert ids(everyone, "tasks") == [hers, his]
    assert everyone["total"] == 2
    assert [task["owner"] for task in everyone["tasks"]] == ["alice", "bob"]
    assert ids(front.ask("tasks", "ops-key", owner="bob"), "tasks") == [his]
    assert ids(front.ask("tasks", "ops-key", limit=1, offset=1), "tasks") == [his]


def test_tasks_are_for_admins() -> None:
    assert Front().ask("tasks", "alice-key")["code"] == "unauthorized"


def test_a_long_list_lets_others_have_their_turn() -> None:
    front = Front()
    for _ in range(LISTED_AT_ONCE + 1):
        front.start()
    client, other = front.connect(), front.connect()
    client.send({"request": "tasks", "key": "ops-key", "limit": 10_000})
    other.send({"request": "ping"})
    assert client.transport.value() == b""
    assert other.transport.value() != b""
    (answer,) = client.answers()
    assert len(answer["tasks"]) == LISTED_AT_ONCE + 1
