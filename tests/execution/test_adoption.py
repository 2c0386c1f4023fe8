"""Jobs outlive the daemon: a runner that is left goes on, and the next daemon adopts it."""

from __future__ import annotations

import os
import signal
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aptask.runner import family, spool


def is_alive(pid: int) -> bool:
    found = family.look_up(pid)
    return found is not None and found.is_alive


class Job:
    """A program that says where it is, and goes on when the test says so.

    Attributes:
        folder: where it notes that it began, reads how far it may go, and notes its end.
    """

    def __init__(self, daemon: Any, tools: Any, folder: Path, **options: Any) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self._tools = tools
        script = (
            f"cd {folder}; echo $$ >> began; echo ready;"
            " while [ ! -e go ]; do"
            "  [ -e report ] && mv report reported && cat reported >&3; sleep 0.02;"
            " done;"
            " echo finished; echo $$ >> finished; exit $(cat go)"
        )
        started = daemon.ask("start", name="program", arguments=[["sh", "-c", script]], **options)
        assert started["status"] == "ok", started
        self.taskid = started["taskid"]

    def wait_until_it_runs(self, times: int = 1) -> int:
        """Its process, once it has begun for the n-th time."""

        def began() -> list[str]:
            path = self.folder / "began"
            return path.read_text().split() if path.exists() else []

        self._tools.wait_until(lambda: len(began()) >= times, "it runs")
        assert len(began()) == times
        return int(began()[-1])

    def report(self, text: str) -> None:
        (self.folder / "new").write_text(text + "\n")
        (self.folder / "new").rename(self.folder / "report")

    def go(self, code: int = 0) -> None:
        (self.folder / "code").write_text(str(code))
        (self.folder / "code").rename(self.folder / "go")

    def has_finished(self) -> bool:
        return (self.folder / "finished").exists()


@pytest.fixture
def own(daemons: Callable[..., Any]) -> Any:
    """A daemon that a test may kill."""
    return daemons("--slots", "2")


def shown(daemon: Any, job: Job) -> dict[str, Any]:
    task: dict[str, Any] = daemon.ask("show", taskid=job.taskid)["task"]
    return task


def waited(daemon: Any, job: Job) -> dict[str, Any]:
    answer = daemon.ask("wait", taskid=job.taskid, timeout=30)
    assert answer["ended"], answer
    task: dict[str, Any] = answer["task"]
    return task


def test_a_job_goes_on_when_its_daemon_is_killed_and_the_next_one_shows_it(
    own: Any, tools: Any, tmp_path: Path
) -> None:
    job = Job(own, tools, tmp_path / "a")
    pid, runner = job.wait_until_it_runs(), own.runner
    job.report('{"progress": 0.25, "message": "before"}')
    tools.wait_until(lambda: shown(own, job)["progress"] == 0.25, "it has reported")
    started = shown(own, job)["started"]
    own.kill()
    job.report('{"progress": 0.5, "message": "between"}')
    tools.wait_until((job.folder / "reported").exists, "it has reported again")
    own.start()
    tools.wait_until(lambda: shown(own, job)["progress"] == 0.5, "the newest progress is there")
    task = shown(own, job)
    assert (task["state"], task["message"], task["attempt"]) == ("active", "between", 1)
    assert abs(int(task["started"][-4:-1]) - int(started[-4:-1])) < 1000
    assert is_alive(pid)
    assert own.runner == runner
    job.go(7)
    task = waited(own, job)
    assert (task["status"], task["exit"]) == ("error", 7)
    assert own.ask("output", taskid=job.taskid)["text"] == "ready\nfinished\n"
    job.wait_until_it_runs(times=1)


def test_what_ended_while_nobody_was_there_is_recorded_with_all_that_belongs_to_it(
    own: Any, tools: Any, tmp_path: Path
) -> None:
    jobs = [Job(own, tools, tmp_path / name) for name in "ab"]
    for job in jobs:
        job.wait_until_it_runs()
    runner = own.runner
    own.kill()
    jobs[0].report('{"progress": 0.75, "message": "nearly"}')
    tools.wait_until((jobs[0].folder / "reported").exists, "it has reported")
    jobs[0].go(3)
    pid = jobs[0].wait_until_it_runs()
    tools.wait_until(lambda: not is_alive(pid), "it has ended")
    own.start()
    task = waited(own, jobs[0])
    assert (task["status"], task["exit"], task["progress"]) == ("error", 3, 0.75)
    assert own.ask("output", taskid=jobs[0].taskid)["text"] == "ready\nfinished\n"
    assert shown(own, jobs[1])["state"] == "active"
    assert own.runner == runner
    jobs[1].go()
    assert waited(own, jobs[1])["status"] == "done"


def test_a_python_tasks_result_outlives_the_daemon(
    daemons: Callable[..., Any], tools: Any, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "import os, time\n"
        "from aptask import Task, argument\n"
        "class Answer(Task):\n"
        "    folder = argument(str)\n"
        "    def run(self):\n"
        "        open(self.folder + '/began', 'w').close()\n"
        "        while not os.path.exists(self.folder + '/go'): time.sleep(0.02)\n"
        "        print('answered')\n"
        "        return {'answer': 42}\n"
    )
    daemon = daemons("--tasks", str(tmp_path))
    taskid = daemon.ask("start", name="answer", arguments=[str(tmp_path)])["taskid"]
    tools.wait_until((tmp_path / "began").exists, "it runs")
    daemon.kill()
    (tmp_path / "go").touch()
    tools.wait_until(lambda: not family.look_up(daemon.runner), "the runner has nothing left to do")
    daemon.start()
    task = daemon.ask("wait", taskid=taskid, timeout=30)["task"]
    assert (task["status"], task["result"], task["progress"]) == ("done", {"answer": 42}, 1.0)
    assert daemon.ask("output", taskid=taskid)["text"] == "answered\n"


def test_a_runner_with_nothing_left_to_do_ends_and_tells_the_next_daemon_by_its_spool(
    own: Any, tools: Any, tmp_path: Path
) -> None:
    job = Job(own, tools, tmp_path / "a")
    job.wait_until_it_runs()
    runner = own.runner
    own.kill()
    job.go()
    tools.wait_until(lambda: not is_alive(runner), "the runner has ended")
    own.start()
    assert waited(own, job)["status"] == "done"
    tools.wait_until(lambda: own.runner not in (0, runner), "there is another runner")
    tools.wait_until(
        lambda: len(list((own.data / "spool").iterdir())) == 1, "only its spool is left"
    )


def test_with_keep_running_a_daemon_that_is_told_to_stop_leaves_its_jobs(
    daemons: Callable[..., Any], tools: Any, tmp_path: Path
) -> None:
    daemon = daemons(config="keep_running = true")
    job = Job(daemon, tools, tmp_path / "a")
    pid = job.wait_until_it_runs()
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(20)
    assert is_alive(pid)
    daemon.start()
    assert shown(daemon, job)["state"] == "active"
    job.go()
    assert waited(daemon, job)["status"] == "done"


def test_jobs_that_wait_start_after_the_adopted_ones(own: Any, tools: Any, tmp_path: Path) -> None:
    jobs = [Job(own, tools, tmp_path / name) for name in "abc"]
    for job in jobs[:2]:
        job.wait_until_it_runs()
    own.kill()
    own.start()
    assert [task["state"] for task in own.ask("active")["active"]] == ["active"] * 2 + ["queued"]
    jobs[0].go()
    jobs[2].wait_until_it_runs()
    for job in jobs[1:]:
        job.go()
        assert waited(own, job)["status"] == "done"
    for job in jobs:
        job.wait_until_it_runs(times=1)


def test_a_stop_that_was_asked_for_before_the_daemon_died_is_carried_out_with_its_kill(
    own: Any, tools: Any
) -> None:
    stubborn = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.1; done"
    taskid = own.ask("start", name="program", arguments=[["sh", "-c", stubborn]])["taskid"]
    tools.wait_until(lambda: "ready" in own.ask("output", taskid=taskid)["text"], "it runs")
    own.ask("stop", taskid=taskid, grace=1)
    own.kill()
    own.start()
    task = own.ask("wait", taskid=taskid, timeout=30)["task"]
    assert (task["status"], task["exit"]) == ("stopped", -9)
    assert "asked" in own.ask("output", taskid=taskid)["text"]


def test_an_adopted_job_can_be_stopped(own: Any, tools: Any, tmp_path: Path) -> None:
    job = Job(own, tools, tmp_path / "a")
    pid = job.wait_until_it_runs()
    own.kill()
    own.start()
    own.ask("stop", taskid=job.taskid)
    assert waited(own, job)["status"] == "stopped"
    assert not is_alive(pid)


@pytest.mark.parametrize("whose", ["runner", "both"])
def test_when_the_runner_dies_its_jobs_are_interrupted_and_not_run_again(
    own: Any, tools: Any, tmp_path: Path, whose: str
) -> None:
    job, again = Job(own, tools, tmp_path / "a"), Job(own, tools, tmp_path / "b", rerun=True)
    pids = [job.wait_until_it_runs(), again.wait_until_it_runs()]
    if whose == "both":
        own.kill()
    os.kill(own.runner, signal.SIGKILL)
    if whose == "both":
        own.start()
    task = waited(own, job)
    assert task["status"] == "interrupted"
    assert task["message"] == "the runner, which held its process, died"
    again.wait_until_it_runs(times=2)
    assert not any(map(is_alive, pids))
    task = shown(own, again)
    assert (task["state"], task["attempt"]) == ("active", 2)
    again.go()
    assert waited(own, again)["status"] == "done"
    job.wait_until_it_runs(times=1)


def test_a_job_that_asked_for_rerun_is_queued_again_when_the_daemon_is_stopped(
    own: Any, tools: Any, tmp_path: Path
) -> None:
    job, again = Job(own, tools, tmp_path / "a"), Job(own, tools, tmp_path / "b", rerun=True)
    job.wait_until_it_runs()
    again.wait_until_it_runs()
    own.stop()
    own.start()
    assert waited(own, job)["status"] == "interrupted"
    again.wait_until_it_runs(times=2)
    again.go()
    assert waited(own, again)["attempt"] == 2
    assert "[aptask: attempt 2]" in own.ask("output", taskid=again.taskid)["text"]


def test_a_runner_that_no_daemon_comes_back_to_ends_its_jobs_and_itself(
    daemons: Callable[..., Any], tools: Any, tmp_path: Path
) -> None:
    daemon = daemons(config="orphan_timeout = 0.5")
    job = Job(daemon, tools, tmp_path / "a")
    pid, runner = job.wait_until_it_runs(), daemon.runner
    daemon.kill()
    tools.wait_until(lambda: not is_alive(pid) and not is_alive(runner), "they have ended")
    daemon.start()
    task = waited(daemon, job)
    assert task["status"] == "interrupted"
    assert "0.5 s" in task["message"]


def test_a_reload_says_how_long_a_runner_waits_for_a_daemon_and_whether_jobs_go_on(
    daemons: Callable[..., Any], tools: Any, tmp_path: Path
) -> None:
    daemon = daemons(config="")
    job = Job(daemon, tools, tmp_path / "a")
    pid, runner = job.wait_until_it_runs(), daemon.runner
    (daemon.folder / "aptask.toml").write_text("keep_running = true\norphan_timeout = 1.0\n")
    assert daemon.ask("reload")["restart"] == []
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.wait(20)
    assert is_alive(pid)
    tools.wait_until(lambda: not is_alive(pid) and not is_alive(runner), "they have ended")
    daemon.start()
    assert "1 s" in waited(daemon, job)["message"]


def test_the_machine_was_restarted_says_so(own: Any, tools: Any, tmp_path: Path) -> None:
    job = Job(own, tools, tmp_path / "a")
    job.wait_until_it_runs()
    own.kill()
    os.kill(own.runner, signal.SIGKILL)
    [path] = (own.data / "spool").iterdir()
    _, header = path.read_text().rstrip("\n").split(" ", 1)
    header = header.replace(spool.boot_id(), "another-boot")
    path.write_text(f"{zlib.crc32(header.encode()):08x} {header}\n")
    own.start()
    assert waited(own, job)["message"] == "the machine was restarted while it ran"


def test_a_runner_that_does_not_serve_is_waited_for_no_longer_than_it_may_take(
    own: Any, tools: Any, tmp_path: Path
) -> None:
    job = Job(own, tools, tmp_path / "a")
    job.wait_until_it_runs()
    own.kill()
    (own.data / "runner.sock").unlink()  # as if it had not come to that yet
    own.start()
    assert own.ask("ping")["status"] == "ok"
    assert shown(own, job)["state"] == "active"
    os.kill(own.runner, signal.SIGTERM)
    assert waited(own, job)["status"] == "interrupted"


def test_a_runner_that_the_book_does_not_know_is_ended_and_its_jobs_are_not_taken_for_others(
    own: Any, tools: Any, tmp_path: Path
) -> None:
    old = Job(own, tools, tmp_path / "a")
    pid, runner = old.wait_until_it_runs(), own.runner
    own.kill()
    for file in own.data.glob("aptask.db*"):
        file.unlink()
    own.start()
    new = Job(own, tools, tmp_path / "b")
    assert new.taskid == old.taskid
    new.wait_until_it_runs()
    assert not is_alive(pid)
    assert own.runner != runner
    new.go(5)
    assert waited(own, new)["exit"] == 5
    assert not old.has_finished()
