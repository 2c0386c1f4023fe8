"""What each request does."""

from __future__ import annotations

from typing import Any

import pytest

from aptask.model.messages import REQUESTS
from aptask.serving.handlers import WHOLE_BYTES
from tests.serving.fakes import Front, describe


def code_of(answer: dict[str, Any]) -> str:
    assert answer["status"] == "error", answer
    return answer["code"]


# ping, help, index


@pytest.mark.parametrize("key", [None, "", "unknown"])
def test_ping_without_a_valid_key_says_that_the_daemon_is_there_and_no_more(
    key: str | None,
) -> None:
    assert Front().ask("ping", key) == {"status": "ok", "response": "ping", "protocol": 1}


@pytest.mark.parametrize(
    ("key", "user", "role"), [("alice-key", "alice", "user"), ("ops-key", "ops", "admin")]
)
def test_ping_with_a_valid_key_adds_version_and_who_one_is(key: str, user: str, role: str) -> None:
    answer = Front().ask("ping", key)
    assert (answer["version"], answer["user"], answer["role"]) == ("1.2.3", user, role)


def test_help_has_every_request_with_its_fields_and_an_example() -> None:
    requests = Front().ask("help")["requests"]
    assert set(requests) == set(REQUESTS)
    assert requests["start"]["fields"]["name"]["required"] is True
    assert requests["start"]["example"]["request"] == "start"
    assert requests["start"]["key"] is True
    assert requests["ping"]["key"] is False
    assert requests["stats"]["admin"] is True
    assert requests["start"]["admin"] is False
    assert all(described["help"] for described in requests.values())


def test_every_example_of_help_is_understood() -> None:
    front = Front()
    for described in front.ask("help")["requests"].values():
        client = front.connect()
        client.send({**described["example"], "key": "ops-key"})
        for answer in client.answers():
            assert answer.get("code") in (None, "unknown-task", "unknown-taskid", "conflict")
        client.lose()


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("alice-key", ["sleep", "fetch", "transcode"]),
        ("carol-key", ["program"]),
        ("ops-key", ["sleep", "fetch", "program", "transcode"]),
    ],
)
def test_index_lists_what_the_key_may_start(key: str, names: list[str]) -> None:
    assert [each["name"] for each in Front().ask("index", key)["index"]] == names


def test_index_adds_a_schema_where_asked_for() -> None:
    front = Front()
    assert "schema" not in front.ask("index", "alice-key")["index"][0]
    assert "schema" in front.ask("index", "alice-key", schema=True)["index"][0]


# start


def test_start_queues_a_task_and_answers_its_id() -> None:
    front = Front()
    answer = front.ask("start", "alice-key", name="sleep", arguments=[2])
    assert answer == {"status": "ok", "response": "start", "taskid": "1"}
    job = front.scheduler.jobs[1]
    assert (job.task, job.owner, job.arguments) == ("sleep", "alice", b'{"seconds":2.0}')
    assert job.secrets is None


def test_start_fills_in_defaults_and_takes_arguments_by_name() -> None:
    front = Front()
    front.ask("start", "alice-key", name="sleep")
    front.ask("start", "alice-key", name="sleep", arguments={"seconds": "0.5"})
    given = [job.arguments for job in front.scheduler.jobs.values()]
    assert given == [b'{"seconds":1.0}', b'{"seconds":0.5}']


def test_a_secret_is_kept_apart_from_what_is_shown() -> None:
    front = Front()
    front.ask("start", "alice-key", name="fetch", arguments=["http://x/", "geheim"])
    job = front.scheduler.jobs[1]
    assert job.arguments == b'{"url":"http://x/","password":null}'
    assert job.secrets == b'{"password":"geheim"}'
    assert "geheim" not in str(front.ask("show", "alice-key", taskid="1"))


def test_a_secret_that_is_not_given_is_nothing_to_keep() -> None:
    front = Front()
    front.ask("start", "alice-key", name="fetch", arguments=["http://x/"])
    assert front.scheduler.jobs[1].secrets is None


@pytest.mark.parametrize(
    ("key", "name"),
    [("alice-key", "slep"), ("alice-key", "program"), ("carol-key", "sleep"), ("ops-key", "")],
)
def test_a_task_that_is_not_there_or_not_allowed_is_unknown(key: str, name: str) -> None:
    front = Front()
    answer = front.ask("start", key, name=name)
    assert code_of(answer) == "unknown-task"
    assert f"`{name}`" in answer["message"]
    allowed = [each["name"] for each in front.ask("index", key)["index"]]
    offered = answer["message"].split("did you mean ")[1].rstrip("?").split(" or ")
    assert [each.strip("`") for each in offered] == allowed[:3]


def test_the_name_of_an_unknown_task_is_not_repeated_at_length() -> None:
    assert len(Front().ask("start", "ops-key", name="x" * 50_000)["message"]) < 300


def test_what_cannot_run_here_is_unavailable_and_says_why() -> None:
    answer = Front().ask("start", "alice-key", name="transcode", arguments=["a"])
    assert code_of(answer) == "unavailable"
    assert "ffmpeg is not installed" in answer["message"]


@pytest.mark.parametrize("arguments", [["x"], [1, 2], {"minutes": 1}, [None]])
def test_wrong_arguments_are_invalid_and_nothing_is_queued(arguments: Any) -> None:
    front = Front()
    answer = front.ask("start", "alice-key", name="sleep", arguments=arguments)
    assert code_of(answer) == "invalid-arguments"
    assert not front.scheduler.jobs


@pytest.mark.parametrize("kind", ["once", "unique"])
def test_a_start_with_the_key_of_another_answers_that_one(kind: str) -> None:
    front = Front()
    first = front.start(**{kind: "nightly"}, rerun=True)
    assert front.scheduler.jobs[1].rerun is True
    again = front.ask("start", "alice-key", name="sleep", **{kind: "nightly"})
    assert again == {"status": "ok", "response": "start", "taskid": first, "existing": True}
    # It was accepted once, whatever would be said of it now.
    assert front.ask("start", "alice-key", name="gone", **{kind: "nightly"}) == again
    for key, fields in (("alice-key", {kind: "other"}), ("bob-key", {kind: "nightly"})):
        answer = front.ask("start", key, name="sleep", **fields)
        assert "existing" not in answer
        assert answer["taskid"] != first


# stop


def test_stop_asks_for_the_end_with_the_grace_given() -> None:
    front = Front()
    first, second = front.start(), front.start()
    answer = front.ask("stop", "alice-key", taskid=first, grace=2)
    assert answer == {"status": "ok", "response": "stop", "taskid": first}
    front.ask("stop", "alice-key", taskid=second)
    assert front.scheduler.stopped == [(1, 2.0), (2, None)]


def test_stopping_what_has_ended_is_a_conflict() -> None:
    front = Front()
    taskid = front.start()
    assert front.ask("stop", "alice-key", taskid=taskid)["status"] == "ok"
    assert code_of(front.ask("stop", "alice-key", taskid=taskid)) == "conflict"


# active


def test_active_shows_ones_own_tasks_page_by_page() -> None:
    front = Front()
    ids = [front.start() for _ in range(5)]
    front.start("bob-key")
    front.scheduler.end(2)
    answer = front.ask("active", "alice-key")
    assert [task["taskid"] for task in answer["active"]] == ["1", "3", "4", "5"]
    assert answer["total"] == len(ids) - 1
    page = front.ask("active", "alice-key", limit=2, offset=1)
    assert [task["taskid"] for task in page["active"]] == ["3", "4"]
    assert page["total"] == 4


def test_active_of_an_admin_shows_own_anothers_or_all() -> None:
    front = Front()
    front.start("alice-key")
    front.start("ops-key")

    def owners(**fields: Any) -> list[str]:
        return [task["owner"] for task in front.ask("active", "ops-key", **fields)["active"]]

    assert owners() == ["ops"]
    assert owners(owner="alice") == ["alice"]
    assert owners(owner="*") == ["alice", "ops"]
    assert owners(owner="nobody") == []


def test_active_of_a_user_shows_no_other_owner() -> None:
    front = Front()
    front.start("bob-key")
    front.start("alice-key")
    for owner in ("bob", "*", "", "nobody"):
        assert code_of(front.ask("active", "alice-key", owner=owner)) == "unauthorized"
    answer = front.ask("active", "alice-key", owner="alice")
    assert [task["taskid"] for task in answer["active"]] == ["2"]
    assert "owner" not in answer["active"][0]


def test_a_long_list_is_made_in_pieces_and_is_whole() -> None:
    front = Front()
    for _ in range(2500):
        front.scheduler.submit("alice", describe("sleep"), b"{}", None)
    client = front.connect()
    client.send({"request": "active", "limit": 10_000, "key": "alice-key"}, {"request": "ping"})
    assert client.transport.value() == b""
    front.clock.pump([0, 0, 0])
    listed, ping = client.answers()
    assert [task["taskid"] for task in listed["active"]] == [str(n) for n in range(1, 2501)]
    assert listed["total"] == 2500
    assert ping["response"] == "ping"


def test_a_list_cuts_long_arguments_and_show_does_not() -> None:
    front = Front()
    arguments = ["x" * 5000]
    taskid = front.start(name="fetch", arguments=arguments)
    (listed,) = front.ask("active", "alice-key")["active"]
    assert (listed["arguments"], listed["cut"]) == (None, True)
    task = front.ask("show", "alice-key", taskid=taskid)["task"]
    assert task["arguments"]["url"] == arguments[0]
    assert "cut" not in task


# show, wait


def test_show_shows_one_task() -> None:
    front = Front()
    task = front.ask("show", "alice-key", taskid=front.start())["task"]
    assert (task["taskid"], task["state"], task["position"]) == ("1", "queued", 1)


@pytest.mark.parametrize("taskid", ["2", "0", "-1", "x", "", "9" * 40, "1 "])
def test_what_is_no_task_is_unknown(taskid: str) -> None:
    front = Front()
    front.start()
    for request in ("show", "stop", "wait", "output"):
        answer = front.ask(request, "alice-key", taskid=taskid)
        assert code_of(answer) == "unknown-taskid"
        assert len(answer["message"]) < 150


def test_wait_answers_at_once_for_what_has_ended() -> None:
    front = Front()
    taskid = front.start()
    front.scheduler.end(1)
    answer = front.ask("wait", "alice-key", taskid=taskid)
    assert answer["ended"] is True
    assert answer["task"]["status"] == "done"


def test_wait_answers_when_the_task_ends_and_leaves_nothing_behind() -> None:
    front = Front()
    client = front.connect()
    front.start()
    client.send({"request": "wait", "taskid": "1", "key": "alice-key", "timeout": 60, "id": 1})
    front.scheduler.publisher.publish(front.scheduler.jobs[1])
    assert client.answers() == []
    front.scheduler.end(1)
    (answer,) = client.answers()
    assert (answer["id"], answer["ended"], answer["task"]["state"]) == (1, True, "ended")
    assert front.scheduler.publisher.count() == 0
    client.lose()
    assert not front.clock.getDelayedCalls()


def test_wait_answers_at_its_timeout() -> None:
    front = Front()
    client = front.connect()
    front.start()
    client.send({"request": "wait", "taskid": "1", "key": "alice-key", "timeout": 5})
    front.clock.advance(4.9)
    assert client.answers() == []
    front.clock.advance(0.2)
    (answer,) = client.answers()
    assert (answer["ended"], answer["task"]["state"]) == (False, "queued")
    assert front.scheduler.publisher.count() == 0


def test_wait_with_no_time_answers_how_it_is() -> None:
    front = Front()
    assert front.ask("wait", "alice-key", taskid=front.start(), timeout=0)["ended"] is False


def test_wait_for_several_answers_when_the_last_has_ended() -> None:
    front = Front()
    client = front.connect()
    taskids = [front.start(), front.start()]
    client.send({"request": "wait", "taskids": taskids, "key": "alice-key"})
    front.scheduler.end(2)
    assert client.answers() == []
    front.scheduler.end(1)
    (answer,) = client.answers()
    assert [task["taskid"] for task in answer["tasks"]] == taskids
    assert answer["ended"] is True
    assert "task" not in answer
    assert front.scheduler.publisher.count() == 0


def test_wait_for_any_answers_when_the_first_has_ended() -> None:
    front = Front()
    client = front.connect()
    taskids = [front.start(), front.start(), front.start()]
    client.send({"request": "wait", "taskids": taskids, "any": True, "key": "alice-key"})
    assert client.answers() == []
    front.scheduler.end(2)
    (answer,) = client.answers()
    assert [task["state"] for task in answer["tasks"]] == ["queued", "ended", "queued"]
    assert answer["ended"] is True
    assert front.scheduler.publisher.count() == 0
    again = front.ask("wait", "alice-key", taskids=taskids, any=True)
    assert again["ended"] is True


def test_wait_gives_one_task_whole_and_of_many_no_more_than_a_response_can_hold() -> None:
    front = Front()
    taskid = front.start()
    front.scheduler.end(1)
    front.scheduler.jobs[1].result = b'"' + b"x" * (WHOLE_BYTES // 3) + b'"'
    one = front.ask("wait", "alice-key", taskids=[taskid])["tasks"][0]
    assert len(one["result"]) == WHOLE_BYTES // 3
    tasks = front.ask("wait", "alice-key", taskids=[taskid] * 100)["tasks"]
    assert len(tasks) == 100
    assert sum(task["result"] is not None for task in tasks) == 2
    assert all(("cut" in task) == (task["result"] is None) for task in tasks)


def test_wait_for_several_is_refused_where_one_is_not_there() -> None:
    front = Front()
    taskid = front.start()
    assert code_of(front.ask("wait", "alice-key", taskids=[taskid, "99"])) == "unknown-taskid"
    assert code_of(front.ask("wait", "bob-key", taskids=[taskid])) == "unknown-taskid"
    assert front.scheduler.publisher.count() == 0


def test_wait_for_several_answers_at_its_timeout() -> None:
    front = Front()
    client = front.connect()
    taskids = [front.start(), front.start()]
    client.send({"request": "wait", "taskids": taskids, "key": "alice-key", "timeout": 5})
    front.scheduler.end(1)
    front.clock.advance(6)
    (answer,) = client.answers()
    assert answer["ended"] is False


def test_an_endless_timeout_is_one() -> None:
    front = Front()
    client = front.connect()
    front.start()
    client.send({"request": "wait", "taskid": "1", "key": "alice-key", "timeout": 1e300})
    front.scheduler.end(1)
    assert client.answers()[0]["ended"] is True


def test_a_wait_whose_client_is_gone_is_over() -> None:
    front = Front()
    client = front.connect()
    front.start()
    client.send({"request": "wait", "taskid": "1", "key": "alice-key", "timeout": 60})
    assert front.scheduler.publisher.count() == 1
    client.lose()
    assert front.scheduler.publisher.count() == 0
    assert not front.clock.getDelayedCalls()


# output


def read_output(front: Front, **fields: Any) -> tuple[str, int, bool]:
    answer = front.ask("output", "alice-key", taskid="1", **fields)
    return answer["text"], answer["offset"], answer["end"]


def test_output_is_read_piece_by_piece_until_the_end() -> None:
    front = Front()
    front.start()
    assert read_output(front) == ("", 0, False)
    front.outputs.written[1] = b"one two"
    assert read_output(front, limit=4) == ("one ", 4, False)
    assert read_output(front, offset=4) == ("two", 7, False)
    front.scheduler.end(1)
    assert read_output(front, limit=4) == ("one ", 4, False)
    assert read_output(front, offset=4) == ("two", 7, True)
    assert read_output(front, offset=7) == ("", 7, True)
    assert read_output(front, offset=99) == ("", 99, True)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 6, 7, 100])
def test_output_is_never_cut_inside_a_character(limit: int) -> None:
    front = Front()
    front.start()
    whole = "aé€\U0001f600" * 5
    front.outputs.written[1] = whole.encode()
    front.scheduler.end(1)
    text, offset, end = "", 0, False
    while not end:
        piece, after, end = read_output(front, offset=offset, limit=limit)
        assert after > offset
        text, offset = text + piece, after
    assert (text, offset) == (whole, len(whole.encode()))


def test_a_character_that_is_not_whole_yet_is_left_to_the_next_piece() -> None:
    front = Front()
    front.start()
    front.outputs.written[1] = b"a\xe2\x82"
    assert read_output(front) == ("a", 1, False)
    assert read_output(front, offset=1) == ("", 1, False)
    front.outputs.written[1] += b"\xac"
    assert read_output(front, offset=1) == ("€", 4, False)


def test_what_is_not_text_is_replaced() -> None:
    front = Front()
    front.start()
    front.outputs.written[1] = b"a\xff\xe2\x82b\xe2\x82"
    front.scheduler.end(1)
    assert read_output(front) == ("a\ufffd\ufffdb\ufffd", 7, True)


@pytest.mark.parametrize("follow", [False, True])
def test_an_offset_that_no_file_can_have_is_refused(follow: bool) -> None:
    front = Front()
    taskid = front.start()
    fields = {"taskid": taskid, "offset": (1 << 62) + 1, "follow": follow}
    answer = front.ask("output", "alice-key", **fields)
    assert code_of(answer) == "malformed"
    assert "`offset` must be at most" in answer["message"]


def test_names_and_ids_that_are_not_there_are_repeated_escaped() -> None:
    front = Front()
    for answer in (
        front.ask("start", "alice-key", name="a\u202e\x1b[2J"),
        front.ask("show", "alice-key", taskid="a\u202e\x1b[2J"),
    ):
        assert r"`a\u202e\x1b[2J`" in answer["message"]
