"""The requests and responses: the protocol's words."""

from __future__ import annotations

import json

import msgspec
import pytest

from aptask.model.job import Job, State, Status
from aptask.model.messages import (
    LISTED_BYTES,
    REQUESTS,
    RESPONSES,
    STATUSES_OF_THE_ENDED,
    Request,
    example,
    fields,
    job_id,
    task,
    wire_time,
)
from aptask.model.progress import Progress


def make_job(**changed: object) -> Job:
    values: dict[str, object] = {
        "id": 17,
        "task": "resize",
        "owner": "alice",
        "arguments": b'{"width":42}',
        "created": 1795495560.12,
        **changed,
    }
    return Job(**values)  # type: ignore[arg-type]


def shown(job: Job, **how: object) -> dict[str, object]:
    settings: dict[str, object] = {"position": 3, "owner": False, **how}
    return json.loads(msgspec.json.encode(task(job, **settings)))  # type: ignore[arg-type]


@pytest.mark.parametrize("request_type", REQUESTS.values(), ids=REQUESTS)
def test_the_example_of_a_request_is_one(request_type: type[Request]) -> None:
    assert isinstance(msgspec.convert(example(request_type), request_type), request_type)


@pytest.mark.parametrize("request_type", REQUESTS.values(), ids=REQUESTS)
def test_every_field_of_a_request_has_a_type_and_help(request_type: type[Request]) -> None:
    described = fields(request_type)
    expected = set(request_type.__struct_fields__) - {"key", "id"}
    assert set(described) == expected
    for field in described.values():
        assert field["type"]
        assert field["help"]
        assert ("default" in field) != ("required" in field)


def test_every_request_has_a_response_of_its_name() -> None:
    assert set(RESPONSES) == set(REQUESTS.values())
    for name, request_type in REQUESTS.items():
        (field,) = (
            each
            for each in msgspec.structs.fields(RESPONSES[request_type])
            if each.name == "response"
        )
        assert field.default == name


def test_what_is_for_admins_needs_a_key() -> None:
    for_admins = {name for name, request_type in REQUESTS.items() if request_type.for_admins}
    assert for_admins == {
        *("tasks", "log", "stats", "limits", "reload"),
        *("keys", "addkey", "revoke", "drain", "shutdown"),
    }
    assert all(REQUESTS[name].needs_key for name in for_admins)


def test_a_task_that_waits_has_the_fields_of_the_protocol() -> None:
    assert shown(make_job()) == {
        "taskid": "17",
        "name": "resize",
        "status": "initialized",
        "state": "queued",
        "position": 3,
        "progress": None,
        "message": "",
        "eta": None,
        "starts_in": None,
        "arguments": {"width": 42},
        "created": "2026-11-24T04:46:00.120Z",
        "started": None,
        "ended": None,
        "attempt": 1,
        "priority": 0,
        "group": "default",
        "exit": None,
        "result": None,
    }


def test_a_task_that_has_ended_shows_how() -> None:
    job = make_job(
        state=State.ENDED,
        status=Status.DONE,
        progress=Progress(1.0, "ready"),
        started=1.0,
        ended=2.5,
        exit=0,
        result=b"[1]",
    )
    answer = shown(job)
    assert answer["position"] == 0
    assert (answer["progress"], answer["message"]) == (1.0, "ready")
    assert (answer["started"], answer["ended"]) == (
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:02.500Z",
    )
    assert (answer["exit"], answer["result"]) == (0, [1])


def test_the_owner_is_shown_only_where_asked_for() -> None:
    assert "owner" not in shown(make_job())
    assert shown(make_job(), owner=True)["owner"] == "alice"


def test_a_list_leaves_out_long_arguments_and_results_and_says_so() -> None:
    long = msgspec.json.encode("x" * LISTED_BYTES)
    for field in ("arguments", "result"):
        job = make_job(**{field: long})
        assert shown(job)[field] is not None
        assert "cut" not in shown(job)
        assert shown(job, listed=True)[field] is None
        assert shown(job, listed=True)["cut"] is True
    assert "cut" not in shown(make_job(), listed=True)


@pytest.mark.parametrize("taskid", ["", "x", "-1", "1.0", "\u0661", "9" * 19, " 1", "1\n", "0x1"])
def test_what_cannot_be_a_taskid_is_no_job(taskid: str) -> None:
    assert job_id(taskid) is None


def test_a_taskid_is_a_job() -> None:
    assert job_id("17") == 17


def test_times_are_utc_with_milliseconds() -> None:
    assert wire_time(0) == "1970-01-01T00:00:00.000Z"
    assert wire_time(1.9996) == "1970-01-01T00:00:01.999Z"


def test_history_is_asked_for_by_every_status_that_a_task_can_end_with() -> None:
    going = {Status.INITIALIZED, Status.RUNNING}
    assert set(STATUSES_OF_THE_ENDED) == set(Status) - going
