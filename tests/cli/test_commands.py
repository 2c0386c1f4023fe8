"""The commands about tasks in a pipe, against a daemon that answers as it is told."""

from __future__ import annotations

from typing import Any

import pytest

from aptask.cli.main import main
from tests.client.fake_daemon import FakeDaemon, ended, refusal, task

Capture = pytest.CaptureFixture[str]


def test_index_is_a_line_a_task(daemon_with_tasks: FakeDaemon, capsys: Capture) -> None:
    assert main(["index"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "primes\t[below=1000]\tFinds primes.",
        "copy\tsource target [mode=fast] [tags]\t(cannot run here: rsync is not installed) Copies.",
    ]


def test_index_of_one_task_is_a_line_an_argument(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    assert main(["index", "copy"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "source\tstr\trequired\ta folder",
        "target\tstr\trequired\t-",
        'mode\tstr\tfast\tone of fast, small',
        "tags\tlist\toptional\t-",
    ]  # fmt: skip


def test_index_of_what_is_not_there_says_so(daemon_with_tasks: FakeDaemon, capsys: Capture) -> None:
    assert main(["index", "nothing"]) == 1
    assert "no task `nothing`" in capsys.readouterr().err


def test_active_is_a_line_a_task_with_its_place(fake: FakeDaemon, capsys: Capture) -> None:
    waits = task(
        taskid="18", state="queued", status="initialized", position=1, progress=None, message="",
        started=None,
    )  # fmt: skip
    fake.answers["active"] = lambda request: {
        "active": [task(ended="2026-11-24T03:47:30.131Z"), waits], "total": 2,
    }  # fmt: skip
    assert main(["active", "--owner", "*", "--limit", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "17\tprimes\trunning\t-\t42%\t1:30\tso far so good",
        "18\tprimes\tqueued\t1\t-\t-\t-",
    ]
    assert fake.requests == [{"request": "active", "limit": 5, "owner": "*"}]


def test_show_gives_every_field_and_goes_on_behind_one_that_is_not_there(
    fake: FakeDaemon, capsys: Capture
) -> None:
    def show(request: dict[str, Any]) -> dict[str, Any]:
        if request["taskid"] == "1":
            return refusal("unknown-taskid", "no task 1")
        return {"task": ended(taskid=request["taskid"], result={"count": 168}, owner="ops")}

    fake.answers["show"] = show
    assert main(["show", "17", "1", "18"]) == 1
    printed = capsys.readouterr()
    assert printed.err == "aptask: no task 1\n"
    first, second = printed.out.split("\n\n")
    assert dict(line.split("\t") for line in first.splitlines()) == {
        "taskid": "17", "name": "primes", "status": "done", "progress": "100%",
        "message": "so far so good", "arguments": '{"below":1000}',
        "created": "2026-11-24T03:46:00.120Z", "started": "2026-11-24T03:46:00.131Z",
        "ended": "2026-11-24T03:46:12.131Z", "time": "12s", "owner": "ops", "exit": "0",
        "result": '{"count":168}',
    }  # fmt: skip
    assert second.startswith("taskid\t18\n")


def test_wait_for_several_is_well_only_when_all_are(fake: FakeDaemon, capsys: Capture) -> None:
    looks = {"17": [task(), ended()], "18": [task(taskid="18"), ended("error", taskid="18")]}

    def look(request: dict[str, Any]) -> dict[str, Any]:
        left = looks[request["taskid"]]
        shown = left.pop(0) if len(left) > 1 else left[0]
        return {"task": shown, "ended": shown["state"] == "ended"}

    fake.answers["show"] = fake.answers["wait"] = look
    assert main(["wait", "17", "18"]) == 1
    shown = [line.split("\t")[:3] for line in capsys.readouterr().out.splitlines()]
    assert shown == [
        ["17", "primes", "running"], ["18", "primes", "running"],
        ["17", "primes", "done"], ["18", "primes", "error"],
    ]  # fmt: skip


def test_stop_stops_each_with_the_grace_that_was_asked_for(fake: FakeDaemon) -> None:
    fake.answers["stop"] = lambda request: {"taskid": request["taskid"]}
    assert main(["stop", "17", "18", "--grace", "0.5"]) == 0
    assert [(r["taskid"], r["grace"]) for r in fake.requests] == [("17", 0.5), ("18", 0.5)]


@pytest.mark.parametrize("grace", ["x", "-1", "nan", "inf"])
def test_a_grace_that_is_no_time_is_wrong_usage(fake: FakeDaemon, grace: str) -> None:
    assert main(["stop", "17", f"--grace={grace}"]) == 2
    assert fake.requests == []


def test_output_passes_as_it_came_in_a_pipe(fake: FakeDaemon, capsys: Capture) -> None:
    text = "\x1b[31mred\x1b[0m\x1b]0;title\x07\r\n\x00é"
    fake.wrote(text)
    assert main(["output", "17"]) == 0
    assert capsys.readouterr().out == text


def test_text_of_others_does_nothing_to_lines(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["active"] = lambda request: {
        "active": [task(message="a\x1b[2J\nb\tc", name="x\ty")], "total": 1,
    }  # fmt: skip
    assert main(["active"]) == 0
    line = capsys.readouterr().out
    assert line.count("\t") == 6
    assert line.count("\n") == 1
    assert line.endswith("\ta\\x1b[2J\\nb\\tc\n")
