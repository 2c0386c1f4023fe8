"""The commands about tasks in a pipe, against a daemon that answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import msgspec
import pytest

from aptask.cli import following
from aptask.cli.main import main
from aptask.model.messages import Task
from tests.client.fake_daemon import SILENCE, FakeDaemon, ended, refusal, task

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
        "active": [task(ended="2026-11-24T03:47:30.131Z", owner="alice"), waits], "total": 2,
    }  # fmt: skip
    assert main(["active", "--owner", "*", "--limit", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "17\talice\tprimes\trunning\t-\t42%\t1:30\tso far so good",
        "18\t-\tprimes\tqueued\t1\t-\t-\t-",
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


class Watched:
    """A client that hears of each task when the test has it hear."""

    def __init__(self, *taskids: str) -> None:
        self.tasks = {taskid: SimpleQueue[Task]() for taskid in taskids}
        self.asked_again = threading.Event()
        """set once what was told of a task has been taken, and more is asked for"""

    def tell(self, **fields: Any) -> None:
        self.asked_again.clear()
        told = msgspec.convert(ended(**fields) if "status" in fields else task(**fields), Task)
        self.tasks[told.taskid].put(told)

    def watch(self, taskid: str) -> Iterator[Task]:
        while True:
            told = self.tasks[taskid].get()
            yield told
            self.asked_again.set()
            if told.state == "ended":
                return


def test_tasks_that_are_watched_come_in_their_order_whoever_is_heard_of_first() -> None:
    client = Watched("17", "18")
    seen = following.watch(client, ["17", "18"])  # type: ignore[arg-type]
    client.tell(taskid="18")

    def tell_the_other() -> None:
        client.asked_again.wait(30)
        client.tell(taskid="17")

    threading.Thread(target=tell_the_other).start()
    assert [task.taskid for task in next(seen)] == ["17", "18"]
    client.tell(taskid="18", status="error")
    assert [task.status for task in next(seen)] == ["running", "error"]
    client.tell(taskid="17", status="done")
    assert [task.status for task in next(seen)] == ["done", "error"]
    assert list(seen) == []


def test_wait_for_several_is_well_only_when_all_are(fake: FakeDaemon, capsys: Capture) -> None:
    def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        taskid = request["taskid"]
        yield {"task": task(taskid=taskid)}
        yield {"task": ended("done" if taskid == "17" else "error", taskid=taskid)}

    fake.answers["watch"] = watch
    assert main(["wait", "17", "18"]) == 1
    shown = [tuple(line.split("\t")[:3]) for line in capsys.readouterr().out.splitlines()]
    assert {("17", "primes", "done"), ("18", "primes", "error")} <= set(shown)
    assert main(["wait", "17"]) == 0


def test_wait_for_very_many_watches_some_at_a_time(
    fake: FakeDaemon, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "WATCHED_AT_ONCE", 3)
    open_now: set[str] = set()
    most = 0

    def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        nonlocal most
        open_now.add(request["taskid"])
        most = max(most, len(open_now))
        yield {"task": task(taskid=request["taskid"])}
        time.sleep(0.02)
        open_now.discard(request["taskid"])
        yield {"task": ended(taskid=request["taskid"])}

    fake.answers["watch"] = watch
    taskids = [str(number) for number in range(10)]
    assert main(["wait", *taskids]) == 0
    lines = [line.split("\t")[:3] for line in capsys.readouterr().out.splitlines()]
    assert sorted(line[0] for line in lines if line[2] == "done") == taskids
    assert most == 3


def test_wait_for_one_that_is_not_there_says_so_at_once(fake: FakeDaemon, capsys: Capture) -> None:
    def watch(request: dict[str, Any]) -> Any:
        if request["taskid"] == "1":
            return refusal("unknown-taskid", "no task 1")
        return [{"task": task(taskid="17")}, SILENCE]

    fake.answers["watch"] = watch
    assert main(["wait", "17", "1"]) == 1
    assert capsys.readouterr().err == "aptask: no task 1\n"


def test_a_result_that_was_left_out_is_fetched_at_the_end(
    fake: FakeDaemon, capsys: Capture
) -> None:
    fake.answers["start"] = lambda request: {"taskid": "17"}
    fake.answers["index"] = lambda request: {"index": []}
    fake.answers["watch"] = lambda request: [{"task": ended(cut=True)}]
    fake.answers["show"] = lambda request: {"task": ended()}
    assert main(["start", "primes", "--wait"]) == 0
    assert fake.names()[-1] == "show"


def test_active_goes_on_with_a_line_a_change_and_forgets_what_has_ended(
    fake: FakeDaemon, capsys: Capture
) -> None:
    fake.answers["watch"] = lambda request: [
        {"task": task()},
        {"task": task(taskid="18", progress=0.1)},
        {"task": None},
        {"task": task()},
        {"task": ended()},
        {"task": task(taskid="18", progress=0.2)},
        refusal("unauthorized", "this key has just been taken back"),
    ]
    assert main(["active", "--watch", "--owner", "*"]) == 1
    assert [line.split("\t")[:5] for line in capsys.readouterr().out.splitlines()] == [
        ["17", "primes", "running", "-", "42%"],
        ["18", "primes", "running", "-", "10%"],
        ["17", "primes", "done", "-", "100%"],
        ["18", "primes", "running", "-", "20%"],
    ]
    assert fake.requests == [{"request": "watch", "owner": "*"}]


def test_active_live_in_json_is_every_response(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["watch"] = lambda request: [{"task": task()}, {"task": None}, refusal("internal")]
    assert main(["active", "--watch", "--json"]) == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0]["task"]["taskid"] == "17"
    assert [line["status"] for line in lines] == ["ok", "ok", "error"]


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
