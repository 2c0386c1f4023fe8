"""The daemon and its runner: two processes, each of which may die."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aptask.runner import family


def runner_of(daemon: Any) -> int:
    """The runner's process: a child of the daemon."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = family.look_up(int(name))
            if found is not None and found.is_alive and found.parent == daemon.process.pid:
                return found.pid
    return 0


def is_alive(pid: int) -> bool:
    found = family.look_up(pid)
    return found is not None and found.is_alive


def start(daemon: Any, script: str) -> int:
    response = daemon.ask("start", name="program", arguments=[["sh", "-c", script]])
    assert response["status"] == "ok", response
    taskid: int = response["taskid"]
    return taskid


def output(daemon: Any, taskid: int) -> str:
    text: str = daemon.ask("output", taskid=taskid)["text"]
    return text


def wait_for(daemon: Any, tools: Any, taskid: int, text: str) -> None:
    tools.wait_until(lambda: text in output(daemon, taskid), f"{text} is written")


@pytest.fixture
def own_daemon(daemons: Callable[..., Any]) -> Any:
    """A daemon that a test may ruin."""
    return daemons("--slots", "2")


def test_the_runner_leads_a_session_of_its_own_with_a_private_socket(daemon: Any) -> None:
    assert daemon.run("program", ["true"])["status"] == "done"
    runner = family.look_up(runner_of(daemon))
    assert runner is not None
    assert runner.session == runner.pid
    assert (daemon.data / "runner.sock").stat().st_mode & 0o777 == 0o600
    assert (daemon.data / "runner.log").stat().st_mode & 0o777 == 0o600
    assert os.readlink(f"/proc/{runner.pid}/cwd") == str(daemon.data.resolve())


def test_a_program_runs_and_its_output_is_read(daemon: Any) -> None:
    task = daemon.run("program", ["sh", "-c", "echo out; echo err >&2"])
    assert task["status"] == "done"
    assert output(daemon, task["taskid"]) == "out\nerr\n"


def test_the_death_of_the_runner_interrupts_its_jobs_and_the_queue_goes_on(
    own_daemon: Any, tools: Any
) -> None:
    daemon = own_daemon
    script = "(setsid sleep 1000 &); echo ready; sleep 1000"
    first, second = start(daemon, script), start(daemon, script)
    queued = start(daemon, "echo later")
    for taskid in (first, second):
        wait_for(daemon, tools, taskid, "ready")
    left = tools.marked(f"APTASK_DATA={daemon.data}")
    assert len(left) >= 6
    before = runner_of(daemon)
    os.kill(before, signal.SIGKILL)
    for taskid in (first, second):
        task = daemon.ask("wait", taskid=taskid, timeout=20)["task"]
        assert task["status"] == "interrupted"
        assert task["message"] == "the runner, which held its process, died"
    assert daemon.ask("wait", taskid=queued, timeout=20)["task"]["status"] == "done"
    assert output(daemon, queued) == "later\n"
    assert not set(left) & set(tools.marked(f"APTASK_DATA={daemon.data}"))
    assert runner_of(daemon) not in (0, before)


def test_a_runner_that_keeps_dying_is_started_again(own_daemon: Any, tools: Any) -> None:
    for _ in range(3):
        runner = tools.wait_until(lambda: runner_of(own_daemon), "there is a runner")
        os.kill(runner, signal.SIGKILL)
        tools.wait_until(
            lambda gone=runner: runner_of(own_daemon) != gone, "the runner that was killed is gone"
        )
    assert own_daemon.run("program", ["true"])["status"] == "done"


def test_a_runner_that_was_asked_to_end_takes_its_jobs_and_is_replaced(
    own_daemon: Any, tools: Any
) -> None:
    taskid = start(own_daemon, "echo ready; sleep 1000")
    wait_for(own_daemon, tools, taskid, "ready")
    runner = runner_of(own_daemon)
    os.kill(runner, signal.SIGTERM)
    task = own_daemon.ask("wait", taskid=taskid, timeout=20)["task"]
    assert (task["status"], task["message"]) == ("interrupted", "the runner was told to end")
    tools.wait_until(lambda: runner_of(own_daemon) not in (0, runner), "there is another runner")
    assert own_daemon.run("program", ["true"])["status"] == "done"


def test_a_runner_without_jobs_ends_with_its_daemon(own_daemon: Any, tools: Any) -> None:
    own_daemon.run("program", ["true"])
    runner = runner_of(own_daemon)
    own_daemon.kill()
    tools.wait_until(lambda: not is_alive(runner), "the runner has ended")
    assert not own_daemon.processes()
    own_daemon.start()
    assert own_daemon.run("program", ["echo", "new"])["status"] == "done"


def test_stopping_the_daemon_ends_everything(own_daemon: Any, tools: Any) -> None:
    taskid = start(own_daemon, "(setsid sleep 1000 &); echo ready; sleep 1000")
    wait_for(own_daemon, tools, taskid, "ready")
    runner = runner_of(own_daemon)
    own_daemon.stop()
    tools.wait_until(lambda: not is_alive(runner), "the runner has ended")


def resident(pid: int) -> int:
    """The memory of a process in KiB, at its peak."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM")


def test_a_flood_of_output_and_reports_makes_neither_process_grow(
    own_daemon: Any, tools: Any
) -> None:
    runner = runner_of(own_daemon)
    own_daemon.run("program", ["true"])
    before = resident(runner), resident(own_daemon.process.pid)
    flood = """(while :; do echo '{"progress": 0.5, "message": "'$$'"}'; done >&3) & exec yes"""
    taskid = start(own_daemon, flood)
    kept = own_daemon.data / "output" / f"{taskid}.ring"
    tools.wait_until(
        lambda: kept.exists() and int.from_bytes(kept.read_bytes()[:8], "little") > 200 << 20,
        "200 MiB are written",
    )
    own_daemon.ask("stop", taskid=taskid)
    assert own_daemon.ask("wait", taskid=taskid, timeout=20)["task"]["status"] == "stopped"
    after = resident(runner), resident(own_daemon.process.pid)
    assert after[0] - before[0] < 20 * 1024
    assert after[1] - before[1] < 20 * 1024
    assert sum(file.stat().st_size for file in kept.parent.glob(f"{taskid}.*")) <= (16 << 20) + 16


def test_a_task_folders_tasks_run_in_children(daemons: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from aptask import Task, argument\n"
        "import os\n"
        "class Double(Task):\n"
        "    number = argument(int)\n"
        "    def run(self):\n"
        "        if self.number < 0: os._exit(1)\n"
        "        return 2 * self.number\n"
    )
    daemon = daemons("--tasks", str(tmp_path))
    assert daemon.run("double", number=4)["result"] == 8
    assert daemon.run("double", number=-1)["status"] == "error"
    assert daemon.run("double", number=5)["result"] == 10


def test_what_cannot_be_run_leaves_its_slot_free(daemons: Callable[..., Any]) -> None:
    daemon = daemons("--slots", "1")
    for command in (["no-such-program"], ["/"], ["/etc/passwd"], ["true", "x" * 140_000]):
        response = daemon.ask("start", name="program", arguments=[command])
        if response["status"] == "ok":
            task = daemon.ask("wait", taskid=response["taskid"], timeout=20)["task"]
            assert task["status"] == "error"
    assert daemon.run("program", ["true"])["status"] == "done"
