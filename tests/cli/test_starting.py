"""`start` and `run` in a pipe, against a daemon that answers as it is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aptask.cli.main import main
from tests.client.fake_daemon import FakeDaemon, ended, refusal, task

Capture = pytest.CaptureFixture[str]


# start


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        (["primes"], None),
        (["primes", "100"], ["100"]),
        (["primes", "below=100"], {"below": "100"}),
        (["copy", "a", "tags=[1]", "b=c"], {"source": "a", "target": "b=c", "tags": [1]}),
        (["copy", "--", "--a", "-b"], ["--a", "-b"]),
        (["primes", "-5"], ["-5"]),
        (["unheard-of", "a=b"], ["a=b"]),
    ],
)
def test_start_sends_what_was_typed_and_prints_the_id(
    daemon_with_tasks: FakeDaemon, capsys: Capture, typed: list[str], sent: Any
) -> None:
    assert main(["start", *typed]) == 0
    assert capsys.readouterr().out == "17\n"
    request = daemon_with_tasks.requests[-1]
    assert (request["name"], request.get("arguments")) == (typed[0], sent)


def test_wrong_arguments_are_wrong_usage_and_start_nothing(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    assert main(["start", "copy", "tags=x"]) == 2
    assert "argument `tags` must be a JSON list" in capsys.readouterr().err
    assert "start" not in daemon_with_tasks.names()


@pytest.mark.parametrize("command", [["start", "primes"], ["run"]], ids=["start", "run"])
def test_what_is_to_become_of_it_when_it_comes_twice_or_is_lost_is_sent(
    daemon_with_tasks: FakeDaemon, command: list[str]
) -> None:
    fields = ["--once", "today", "--unique", "backup", "--rerun"]
    program = ["--", "true"] if command == ["run"] else []
    assert main([*command, *fields, *program]) == 0
    request = daemon_with_tasks.requests[-1]
    assert (request["once"], request["unique"], request["rerun"]) == ("today", "backup", True)
    assert main([*command, *program]) == 0
    request = daemon_with_tasks.requests[-1]
    assert not {"unique", "rerun"} & set(request)
    assert request["once"].startswith("aptask-")  # its own, for when the answer is lost


@pytest.mark.parametrize("options", [["--wait"], ["--wait", "primes"], ["primes", "--wait"]])
def test_options_may_stand_anywhere(daemon_with_tasks: FakeDaemon, options: list[str]) -> None:
    daemon_with_tasks.goes(ended())
    name = [] if "primes" in options else ["primes"]
    assert main(["start", *options, *name, "100"]) == 0
    assert daemon_with_tasks.requests[1]["arguments"] == ["100"]


def test_start_and_wait_prints_a_line_a_change(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    waits = task(state="queued", status="initialized", progress=None, message="", started=None)
    daemon_with_tasks.goes(
        {**waits, "position": 2},
        {**waits, "position": 1},
        {**waits, "position": 1},
        task(),
        task(),
        task(progress=0.999),
        ended(message="168 primes"),
    )
    assert main(["start", "primes", "--wait"]) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [[*line[:5], line[6]] for line in lines] == [
        ["17", "primes", "queued", "2", "-", "-"],
        ["17", "primes", "queued", "1", "-", "-"],
        ["17", "primes", "running", "-", "42%", "so far so good"],
        ["17", "primes", "running", "-", "99%", "so far so good"],
        ["17", "primes", "done", "-", "100%", "168 primes"],
    ]
    assert lines[-1][5] == "12s"


@pytest.mark.parametrize("status", ["error", "stopped", "timeout", "interrupted", "skipped"])
def test_a_task_that_ended_otherwise_is_exit_status_1(
    daemon_with_tasks: FakeDaemon, status: str
) -> None:
    daemon_with_tasks.goes(ended(status))
    daemon_with_tasks.wrote("")
    assert main(["start", "primes", "--wait"]) == 1
    assert main(["start", "primes", "--follow"]) == 1
    assert main(["output", "17", "--follow"]) == 1
    assert main(["wait", "17"]) == 1


def test_follow_prints_the_output_alone_and_then_what_went_wrong(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    daemon_with_tasks.goes(ended("error", message="out of primes"))
    daemon_with_tasks.wrote("2\n3\n5\n")
    assert main(["start", "primes", "--follow"]) == 1
    printed = capsys.readouterr()
    assert printed.out == "2\n3\n5\n"
    assert printed.err == "task 17\ntask 17: error: out of primes\n"


# run


def test_run_sends_the_program_and_this_folder(
    daemon_with_tasks: FakeDaemon, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HERE", "from here")
    options = ["--env", "HERE", "--env", "A=b=c", "--progress", "rsync"]
    assert main(["run", *options, "--", "ls", "--wait", "-l", "--", "a=b"]) == 0
    assert capsys.readouterr().out == "17\n"
    [request] = daemon_with_tasks.requests
    assert request.pop("once")
    assert [request] == [
        {
            "request": "start",
            "name": "program",
            "arguments": {
                "command": ["ls", "--wait", "-l", "--", "a=b"],
                "cwd": str(tmp_path),
                "env": {"HERE": "from here", "A": "b=c"},
                "progress": "rsync",
            },
        }
    ]


def test_run_takes_all_behind_the_program_as_its_own_without_the_dashes_too(
    daemon_with_tasks: FakeDaemon,
) -> None:
    assert main(["run", "ls", "-l", "--json"]) == 0
    assert daemon_with_tasks.requests[0]["arguments"]["command"] == ["ls", "-l", "--json"]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "no program to run"),
        (["--"], "no program to run"),
        (["--env", "NOT_SET_ANYWHERE", "--", "ls"], "--env NOT_SET_ANYWHERE: it is not set here"),
        (["--env", "=x", "--", "ls"], "it has no name"),
    ],
)
def test_run_without_what_it_needs_is_wrong_usage(
    daemon_with_tasks: FakeDaemon, capsys: Capture, options: list[str], reason: str
) -> None:
    assert main(["run", *options]) == 2
    assert reason in capsys.readouterr().err
    assert daemon_with_tasks.requests == []


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (ended(), 0),
        (ended("error", exit=7), 7),
        (ended("error", exit=127), 127),
        (ended("stopped", exit=-15), 143),
        (ended("error", exit=-9), 137),
        (ended("stopped", exit=0), 125),
        (ended("stopped", exit=None), 125),
        (ended("interrupted", exit=None), 125),
    ],
)
@pytest.mark.parametrize("how", ["--wait", "--follow"])
def test_run_and_wait_exits_as_the_program_did(
    daemon_with_tasks: FakeDaemon, state: dict[str, Any], status: int, how: str
) -> None:
    daemon_with_tasks.goes(state)
    daemon_with_tasks.wrote("")
    assert main(["run", how, "--", "x"]) == status


def test_run_and_wait_exits_with_125_where_aptask_itself_failed(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    daemon_with_tasks.answers["start"] = lambda request: refusal("unauthorized")
    assert main(["run", "--wait", "--", "x"]) == 125
    assert main(["run", "--", "x"]) == 1
    daemon_with_tasks.close()
    assert main(["run", "--follow", "--", "x"]) == 125
    assert main(["run", "--", "x"]) == 3
