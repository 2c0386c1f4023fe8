"""What is shown as running has a living process: within five seconds, whatever is taken away."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.runner import family
from tests.promises import witnessed

SECONDS = 5.0
KINDS = ("program", "class")


@pytest.fixture
def daemon(tools: Any) -> Iterator[Any]:
    with witnessed.home(tools, "--slots", "4") as daemon:
        yield daemon


def is_alive(pid: int) -> bool:
    found = family.look_up(pid)
    return found is not None and found.is_alive


def start(daemon: Any, label: str, kind: str, **fields: Any) -> str:
    fields |= witnessed.request(label, daemon.folder, kind=kind, is_long=True)
    answer = daemon.ask("start", **fields)
    assert answer["status"] == "ok", answer
    taskid: str = answer["taskid"]
    return taskid


def pid_of(daemon: Any, tools: Any, label: str, attempt: int = 1) -> int:
    """The process of a job, once its attempt has begun."""
    tools.wait_until(
        lambda: witnessed.begun(daemon.folder, label)[-1:] == [attempt], f"{label} has begun"
    )
    return int((daemon.folder / f"{label}.pid").read_text())


def ends(daemon: Any, taskid: str) -> dict[str, Any]:
    answer = daemon.ask("wait", taskid=taskid, timeout=SECONDS)
    assert answer["ended"], answer
    task: dict[str, Any] = answer["task"]
    return task


def without_process(daemon: Any, labels: dict[str, str]) -> list[Any]:
    """The tasks that are shown as running and have no living process that is theirs."""
    found = []
    for task in daemon.ask("active", owner="*")["active"]:
        if task["state"] == "queued":
            continue
        try:
            pid = int((daemon.folder / f"{labels[task['taskid']]}.pid").read_text())
        except (FileNotFoundError, ValueError):
            found.append(task)
            continue
        # A class' process is forked, and carries the mark of what it was forked from.
        own = f"/{task['taskid']}/{task['attempt']}", "/nursery/0"
        if not is_alive(pid) or not (family.mark_of(pid) or "").endswith(own):
            found.append((task, pid, family.mark_of(pid)))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_whose_process_is_taken_away_is_shown_as_ended(
    daemon: Any, tools: Any, kind: str
) -> None:
    taskid = start(daemon, "a", kind)
    os.kill(pid_of(daemon, tools, "a"), signal.SIGKILL)
    task = ends(daemon, taskid)
    assert (task["status"], task["exit"]) == ("error", -9)
    assert "killed by SIGKILL" in task["message"]
    assert not daemon.ask("active")["active"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_whose_process_is_taken_away_without_a_daemon_is_shown_as_ended_by_the_next(
    daemon: Any, tools: Any, kind: str
) -> None:
    taskids = [start(daemon, label, kind) for label in "ab"]
    pids = [pid_of(daemon, tools, label) for label in "ab"]
    daemon.kill()
    os.kill(pids[0], signal.SIGKILL)
    daemon.start()
    assert (ends(daemon, taskids[0])["status"], is_alive(pids[1])) == ("error", True)
    [left] = daemon.ask("active")["active"]
    assert (left["taskid"], left["state"]) == (taskids[1], "active")


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_whose_process_is_suspended_lives_and_is_shown_as_running(
    daemon: Any, tools: Any, kind: str
) -> None:
    taskid = start(daemon, "a", kind)
    pid = pid_of(daemon, tools, "a")
    os.kill(pid, signal.SIGSTOP)
    tools.wait_until(lambda: family.look_up(pid).state == "T", "it is suspended")
    (daemon.folder / "go").touch()
    daemon.kill()
    daemon.start()
    # The runner has looked after its jobs at least once by then.
    answer = daemon.ask("wait", taskid=taskid, timeout=2.5)
    assert (answer["ended"], answer["task"]["state"]) == (False, "active")
    os.kill(pid, signal.SIGCONT)
    assert ends(daemon, taskid)["status"] == "done"
    assert witnessed.begun(daemon.folder, "a") == [1]


def test_a_job_that_is_suspended_can_be_stopped(daemon: Any, tools: Any) -> None:
    taskid = start(daemon, "a", "program")
    os.kill(pid_of(daemon, tools, "a"), signal.SIGSTOP)
    daemon.ask("stop", taskid=taskid)
    assert ends(daemon, taskid)["status"] == "stopped"


@pytest.mark.parametrize("is_restarted", [False, True], ids=["one daemon", "two daemons"])
def test_a_program_that_somebody_else_reaped_is_interrupted_since_nobody_knows_how_it_ended(
    tools: Any, monkeypatch: pytest.MonkeyPatch, is_restarted: bool
) -> None:
    stealing = [sys.executable, "-P", str(Path(__file__).with_name("stealing_daemon.py"))]
    monkeypatch.setattr(tools, "twistd", lambda: stealing)
    with witnessed.home(tools) as daemon:
        taskids = [start(daemon, "a", "program"), start(daemon, "b", "program", rerun=True)]
        for label in "ab":
            pid_of(daemon, tools, label)
        if is_restarted:
            daemon.kill()
        (daemon.folder / "a.go").touch()
        (daemon.folder / "b.go").touch()
        if is_restarted:
            daemon.start()
        task = ends(daemon, taskids[0])
        assert task["status"] == "interrupted"
        assert task["message"] == "its process is gone, and nobody knows how it ended"
        pid_of(daemon, tools, "b", attempt=2)
        ended = [what for _, attempt, what in witnessed.read(daemon.folder)["b"] if attempt == 1]
        assert ended == ["began", "ended"]
        daemon.ask("stop", taskid=taskids[1])


def test_jobs_of_a_nursery_that_dies_are_interrupted_and_their_processes_gone(
    daemon: Any, tools: Any
) -> None:
    taskids = [start(daemon, "a", "class"), start(daemon, "b", "class", rerun=True)]
    pids = [pid_of(daemon, tools, label) for label in "ab"]
    nursery = family.look_up(pids[0])
    assert nursery is not None
    os.kill(nursery.parent, signal.SIGKILL)
    assert ends(daemon, taskids[0])["status"] == "interrupted"
    assert is_alive(pid_of(daemon, tools, "b", attempt=2))
    assert not any(map(is_alive, pids))


def test_every_task_that_is_shown_as_running_has_its_process_whatever_was_killed(
    daemon: Any, tools: Any
) -> None:
    labels: dict[str, str] = {}
    jobs = [(f"{kind}-{n}", kind) for kind in KINDS for n in range(3)]
    for label, kind in jobs:
        labels[start(daemon, label, kind, rerun=True)] = label

    def look() -> None:
        tools.wait_until(
            lambda: not without_process(daemon, labels), "all that runs has a process", SECONDS
        )
        assert len(daemon.ask("active")["active"]) == len(jobs)

    def kill_daemon() -> None:
        daemon.kill()

    def kill_runner() -> None:
        witnessed.kill_runner(daemon)

    def settle() -> None:
        tools.wait_until(
            lambda: sum(t["state"] == "active" for t in daemon.ask("active")["active"]) == 4,
            "all slots are taken",
        )

    settle()
    look()
    for kills in ([kill_daemon], [kill_runner], [kill_daemon, kill_runner]):
        for kill in kills:
            kill()
        if daemon.process.returncode is not None:
            daemon.start()
        until = time.monotonic() + SECONDS
        settle()
        look()
        assert time.monotonic() < until
    for label, _ in jobs:
        attempts = witnessed.begun(daemon.folder, label)
        assert attempts == sorted(set(attempts))
    assert all(
        what == "began" for notes in witnessed.read(daemon.folder).values() for *_, what in notes
    )
