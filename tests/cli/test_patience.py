"""Who stays with tasks goes on with the daemon that comes after the one that has gone."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.cli import patience
from aptask.cli.main import main
from tests.cli.test_terminal import on_terminal, plain
from tests.client.fake_daemon import CLOSE, FakeDaemon, ended, refusal, task

Capture = pytest.CaptureFixture[str]

GONE = "aptask: the daemon is gone; waiting for it to come back ...\n"
BACK = "aptask: the daemon is back\n"


# Against a daemon that answers as it is told


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 0.3)
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.02)


def first(answers: list[Any], then: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Answers like this at first, and from then on like that."""
    left = list(answers)
    return lambda request: left.pop(0) if left else then(request)


def test_a_start_without_an_answer_is_sent_again_as_the_same_one(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    daemon_with_tasks.answers["start"] = first([CLOSE], lambda request: {"taskid": "17"})
    assert main(["start", "primes"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "17\n"
    assert printed.err == GONE + BACK
    one, again = daemon_with_tasks.requests
    assert one == again
    assert len(one["once"]) > 30
    assert main(["start", "primes"]) == 0
    assert daemon_with_tasks.requests[-1]["once"] != one["once"]


GOING = refusal("unavailable", "the daemon is shutting down")


@pytest.mark.parametrize(
    ("last", "said"),
    [(CLOSE, GONE + BACK), (GOING, GONE.replace("is gone", "is shutting down") + BACK)],
)
def test_a_watch_that_breaks_off_is_asked_for_again(
    fake: FakeDaemon, capsys: Capture, last: Any, said: str
) -> None:
    begun = [{"task": task()}, last]
    fake.answers["watch"] = first([begun], lambda request: [{"task": ended()}])
    assert main(["wait", "17"]) == 0
    printed = capsys.readouterr()
    assert [line.split("\t")[2] for line in printed.out.splitlines()] == ["running", "done"]
    assert printed.err == said


def test_of_many_that_are_waited_for_it_is_said_once_that_the_daemon_is_gone(
    fake: FakeDaemon, capsys: Capture
) -> None:
    all_there = threading.Barrier(5, timeout=30)
    again: set[str] = set()

    def watch(request: dict[str, Any]) -> Iterator[Any]:
        taskid = request["taskid"]
        if taskid in again:
            yield {"task": ended(taskid=taskid)}
        else:
            again.add(taskid)
            yield {"task": task(taskid=taskid)}
            all_there.wait()
            yield CLOSE

    fake.answers["watch"] = watch
    assert main(["wait", *"12345"]) == 0
    assert capsys.readouterr().err == GONE + BACK


@pytest.mark.parametrize(
    "anew",
    [
        [],
        [{"task": task(taskid="3")}],
        [{"task": task(taskid="1")}, {"task": task(taskid="3")}, {"task": ended(taskid="1")}],
    ],
)
def test_what_ended_while_no_daemon_was_there_is_looked_up(
    fake: FakeDaemon, capsys: Capture, anew: list[Any]
) -> None:
    begun = [{"task": task(taskid=taskid)} for taskid in "123"]
    over = refusal("unauthorized")
    fake.answers["watch"] = first([[*begun, CLOSE]], lambda _: [*anew, {"task": None}, over])

    def show(request: dict[str, Any]) -> Any:
        if request["taskid"] == "2":
            return refusal("unknown-taskid")
        return {"task": (ended if request["taskid"] == "1" else task)(taskid=request["taskid"])}

    fake.answers["show"] = show
    assert main(["active", "--watch"]) == 1
    printed = capsys.readouterr()
    rows = [line.split("\t") for line in printed.out.splitlines()]
    assert [(row[0], row[2]) for row in rows] == [
        ("1", "running"), ("2", "running"), ("3", "running"), ("1", "done"),
    ]  # fmt: skip
    assert printed.err.startswith(GONE + BACK)


@pytest.mark.parametrize(
    ("last", "said"),
    [(CLOSE, GONE + BACK), (GOING, GONE.replace("is gone", "is shutting down") + BACK)],
)
def test_output_that_breaks_off_is_followed_on_from_there(
    fake: FakeDaemon, capsys: Capture, last: Any, said: str
) -> None:
    begun = [{"text": "one ", "offset": 4, "end": False}, last]
    rest = [
        {"text": "", "offset": 4, "end": False},
        {"text": "two", "offset": 7, "end": True},
    ]
    fake.answers["output"] = first([begun], lambda request: rest)
    fake.goes(ended())
    assert main(["output", "17", "--follow"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("one two", said)
    assert [request.get("offset", 0) for request in fake.requests[:2]] == [0, 4]


def test_a_log_that_breaks_off_is_followed_on_from_the_last_entry(
    fake: FakeDaemon, capsys: Capture
) -> None:
    def entry(number: int) -> dict[str, Any]:
        texts = dict.fromkeys(("time", "level", "user", "peer", "message"), "x")
        return {"number": number, **texts}

    begun = [{"log": [entry(6), entry(7)]}, {"log": []}, CLOSE]
    rest = [{"log": [entry(8)]}, refusal("unauthorized", "the key was revoked")]
    fake.answers["log"] = first([begun], lambda request: rest)
    assert main(["log", "--follow", "--limit", "2"]) == 1
    printed = capsys.readouterr()
    assert [line.split("\t")[0] for line in printed.out.splitlines()] == ["6", "7", "8"]
    assert printed.err.startswith(GONE + BACK)
    assert [request.get("after") for request in fake.requests] == [None, 7]


def test_json_is_the_answers_that_count(fake: FakeDaemon, capsys: Capture) -> None:
    over = {"task": ended(), "ended": True}
    fake.answers["wait"] = first([GOING], lambda request: over)
    assert main(["wait", "17", "--json"]) == 0
    printed = capsys.readouterr()
    [line] = printed.out.splitlines()
    assert json.loads(line)["task"]["status"] == "done"
    assert printed.err.endswith(BACK)


@pytest.mark.usefixtures("impatient")
def test_a_daemon_that_does_not_come_back_is_said_as_ever(
    fake: FakeDaemon, capsys: Capture
) -> None:
    def goes(request: dict[str, Any]) -> object:
        fake.close()
        return CLOSE

    def watch(request: dict[str, Any]) -> Iterator[Any]:
        yield {"task": task()}
        yield goes(request)

    fake.answers["watch"] = watch
    assert main(["wait", "17"]) == 3
    printed = capsys.readouterr()
    assert printed.err == (
        f"{GONE}aptask: no daemon at {fake.unix}: start one with `twistd -n aptask`\n"
    )


@pytest.mark.usefixtures("impatient")
def test_one_that_stays_unavailable_is_believed(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["watch"] = lambda request: refusal("unavailable", "the disk fails")
    assert main(["wait", "17"]) == 1
    assert capsys.readouterr().err == (
        "aptask: the disk fails; waiting for it to come back ...\naptask: the disk fails\n"
    )


@pytest.mark.usefixtures("own_environment")
@pytest.mark.parametrize("argv", [["start", "primes", "--wait"], ["wait", "17"]])
def test_a_daemon_that_was_never_there_is_not_waited_for(capsys: Capture, argv: list[str]) -> None:
    began = time.monotonic()
    assert main(argv) == 3
    assert time.monotonic() - began < 5
    assert "waiting" not in capsys.readouterr().err


def test_a_refused_start_is_not_waited_for(daemon_with_tasks: FakeDaemon, capsys: Capture) -> None:
    daemon_with_tasks.answers["start"] = lambda request: refusal("unavailable", "the disk is full")
    assert main(["start", "primes", "--wait"]) == 1
    assert capsys.readouterr().err == "aptask: the disk is full\n"
    assert daemon_with_tasks.names() == ["start"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("request_", ["stop", "active"])
def test_commands_that_do_not_stay_do_not_wait(
    fake: FakeDaemon, capsys: Capture, request_: str
) -> None:
    fake.answers[request_] = lambda request: CLOSE
    assert main([request_, *(["17"] if request_ == "stop" else [])]) in (1, 3)
    assert "waiting" not in capsys.readouterr().err
    assert fake.names() == [request_]


# Against the real one


@pytest.fixture
def own(daemons: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A daemon that a test may kill; its data folder is this account's."""
    daemon = daemons("--slots", "2")
    for name in ("APTASK_SERVER", "APTASK_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APTASK_DATA", str(daemon.data))
    return daemon


def aptask(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "aptask.cli.main", *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


STEPS = (
    "import json, os, time\n"
    "for step in range(4):\n"
    "    while not os.path.exists(f'go{step}'): time.sleep(0.02)\n"
    "    os.write(3, json.dumps({'progress': (step + 1) / 4}).encode() + b'\\n')\n"
    "    print(f'step {step}', flush=True)\n"
)
"""A program that takes a step for each file that a test makes."""


@pytest.mark.parametrize("how", ["--wait", "--follow"])
def test_a_command_that_stays_goes_on_when_the_daemon_is_killed_and_started_again(
    own: Any, tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with aptask("run", how, "--", sys.executable, "-c", STEPS) as process:
        (tmp_path / "go0").touch()
        assert process.stdout is not None
        assert process.stderr is not None
        seen = [process.stdout.readline()]
        while not ("25%" in seen[-1] or "step 0" in seen[-1]):
            seen.append(process.stdout.readline())
        own.kill()
        assert process.stderr.readline() == GONE
        (tmp_path / "go1").touch()
        (tmp_path / "go2").touch()
        own.start()
        assert process.stderr.readline() == BACK
        (tmp_path / "go3").touch()
        rest, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (0, "")
    lines = [*seen, *rest.splitlines(keepends=True)]
    if how == "--follow":
        assert "".join(lines) == "".join(f"step {step}\n" for step in range(4))
    else:
        rows = [line.split("\t") for line in lines]
        assert {row[0] for row in rows} == {rows[0][0]}
        assert rows[-1][2:5] == ["done", "-", "100%"]
    assert own.ask("active")["total"] == 0


def test_a_live_bar_goes_on_with_the_next_daemon(own: Any, tools: Any, tmp_path: Path) -> None:
    started = own.ask(
        "start",
        name="program",
        arguments={"command": [sys.executable, "-c", STEPS], "cwd": str(tmp_path)},
    )
    taskid = started["taskid"]
    (tmp_path / "go0").touch()

    def go_on() -> None:
        tools.wait_until(lambda: own.ask("stats")["watchers"] == 1, "it is watched")
        tools.wait_until(lambda: own.ask("show", taskid=taskid)["task"]["progress"], "a step")
        time.sleep(0.5)  # it is told, and the bar is drawn
        own.kill()
        time.sleep(0.5)
        for step in (1, 2, 3):
            (tmp_path / f"go{step}").touch()
        own.start()

    thread = threading.Thread(target=go_on)
    thread.start()
    status, got = on_terminal("wait", taskid)
    thread.join()
    shown = plain(got)
    assert status == 0
    assert any("━" in line and "25%" in line for line in shown)
    assert any(line.strip() == GONE.strip() for line in shown)
    assert any(line.strip() == BACK.strip() for line in shown)
    last = [line for line in shown if "program" in line][-1]
    assert "100%" in last
    assert "done" in last


def test_what_ended_while_nobody_was_there_is_seen(own: Any, tools: Any, tmp_path: Path) -> None:
    (tmp_path / "go0").touch()
    with aptask("run", "--wait", "--", "sh", "-c", f"cd {tmp_path}; echo > began; "
                "while [ ! -e go ]; do sleep 0.02; done; exit 7") as process:  # fmt: skip
        tools.wait_until((tmp_path / "began").exists, "it runs")
        own.kill()
        (tmp_path / "go").touch()
        assert process.stderr is not None
        assert process.stderr.readline() == GONE
        own.start()
        process.communicate(timeout=60)
    assert process.returncode == 7


def test_a_daemon_that_is_stopped_with_keep_running_is_waited_for(
    daemons: Callable[..., Any], tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = daemons(config="keep_running = true")
    monkeypatch.setenv("APTASK_DATA", str(daemon.data))
    script = f"cd {tmp_path}; echo > began; while [ ! -e go ]; do sleep 0.02; done"
    with aptask("run", "--wait", "--", "sh", "-c", script) as process:
        tools.wait_until((tmp_path / "began").exists, "it runs")
        daemon.process.terminate()
        daemon.process.wait(20)
        daemon.start()
        (tmp_path / "go").touch()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert said.endswith(BACK)
