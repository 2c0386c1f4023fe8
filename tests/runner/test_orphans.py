"""Runners without their daemon, and runners that die: what runs on, and what is left."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.model.job import Status
from aptask.model.orders import Ended, Forget, Progressed, Quit, Spawn, Started
from aptask.runner import family
from aptask.runner.spool import read

DYING = Path(__file__).with_name("dying_runner.py")


def load_dying() -> Any:
    spec = importlib.util.spec_from_file_location("dying_runner", DYING)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


STEPS: tuple[str, ...] = load_dying().STEPS
AFTER: tuple[str, ...] = load_dying().AFTER


@pytest.fixture
def dying(helpers: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts runners that die at a step."""
    running: list[Any] = []

    def start(step: str, count: int = 1) -> Any:
        environment = {"APTASK_DIE_AT": step, "APTASK_DIE_COUNT": str(count)}
        running.append(helpers.RunnerProcess(tmp_path, environment, (str(DYING),)))
        return running[-1]

    yield start
    for runner in running:
        runner.disconnect()
        runner.process.wait(helpers.SECONDS)
        family.kill(lambda runner=runner: family.of_instance(runner.instance))


def hear(runner: Any) -> None:
    """Hear all that it says, until it says no more; it does not do what a daemon would."""
    with contextlib.suppress(AssertionError, OSError):
        while True:
            event = runner.next()
            if isinstance(event, Ended) and runner.forgets:
                runner.send(Forget(event.number))


@pytest.mark.parametrize("step", STEPS)
def test_wherever_it_dies_a_job_ran_once_at_most_and_its_end_is_left_once_it_was_spooled(
    dying: Callable[..., Any], tmp_path: Path, step: str
) -> None:
    runner = dying(step)
    runner.forgets = step == "forgotten"
    witness = tmp_path / "witness"
    job = runner.start(Spawn(["sh", "-c", f"echo $$ >> {witness}"]))
    hear(runner)
    assert runner.process.wait(30) == -signal.SIGKILL
    assert (tmp_path / "died").read_text() == step
    family.kill(lambda: family.of_instance(runner.instance))
    runs = len(witness.read_text().splitlines()) if witness.exists() else 0
    assert runs <= 1
    header, ends = read(tmp_path, runner.instance)
    assert header is not None
    assert (header.instance, header.pid) == (runner.instance, runner.process.pid)
    assert [(end.job, end.status) for end in ends] == [(job, Status.DONE)] * (step in AFTER)
    told = {type(event) for event in runner.events}
    assert (Ended in told) == (step in ("sent", "synced", "forgotten"))
    if step in ("ordered", "spawned", "started"):
        assert (Started in told) == (step == "started")
    if step not in ("ordered", "spawned", "started", "begun"):
        assert runs == 1


def test_it_dies_the_time_that_it_is_told_to_and_only_once(dying: Callable[..., Any]) -> None:
    runner = dying("spooled", 2)
    first = runner.shell("true").job
    second = runner.start(Spawn(["true"]))
    runner.forgets = False
    hear(runner)
    assert runner.process.wait(30) == -signal.SIGKILL
    assert [end.job for end in read(runner.data, runner.instance)[1]] == [first, second]
    after = dying("spooled")
    assert after.shell("true").status is Status.DONE
    after.send(Quit(0.0))


def test_a_daemon_that_comes_back_finds_its_jobs_going_on(own_runner: Any, helpers: Any) -> None:
    runner = own_runner
    runner.connect(orphan_timeout=100.0)
    for name in ("go", "done"):
        os.mkfifo(runner.data / name)
    script = """echo '{"progress": 0.5}' >&3; read go < $0/go; echo went on"""
    job = runner.start(Spawn(["sh", "-c", script, str(runner.data)]))
    runner.expect(lambda event: isinstance(event, Progressed))
    done = runner.start(Spawn(["sh", "-c", "read go < $0/done", str(runner.data)]))
    runner.started(done)
    last = max(event.number for event in runner.events if isinstance(event, Started))
    runner.disconnect()
    (runner.data / "done").write_text("go\n")
    helpers.wait_until(lambda: read(runner.data, runner.instance)[1])
    welcome = runner.connect(runner.instance, last)
    assert welcome.running == ((job, 1),)
    first, second = runner.next(), runner.next()
    assert (first.job, first.status, first.number) == (done, Status.DONE, last + 1)
    assert second == Progressed(job, 1, 0.5)
    (runner.data / "go").write_text("go\n")
    assert runner.ended(job).status is Status.DONE
    assert runner.output(job) == "went on\n"


def test_its_last_job_ends_it_where_nobody_is_there(own_runner: Any) -> None:
    runner = own_runner
    runner.connect(orphan_timeout=100.0)
    os.mkfifo(runner.data / "go")
    job = runner.start(Spawn(["sh", "-c", "read go < $0/go; exit 3", str(runner.data)]))
    runner.started(job)
    runner.disconnect()
    (runner.data / "go").write_text("go\n")
    assert runner.process.wait(30) == 0
    (end,) = read(runner.data, runner.instance)[1]
    assert (end.job, end.status, end.exit) == (job, Status.ERROR, 3)


def test_when_nobody_comes_back_it_interrupts_its_jobs_and_ends(
    own_runner: Any, helpers: Any
) -> None:
    runner = own_runner
    runner.connect(orphan_timeout=0.25)
    job = runner.start(Spawn(["sleep", "1000"]))
    runner.started(job)
    runner.disconnect()
    assert runner.process.wait(30) == 0
    (end,) = read(runner.data, runner.instance)[1]
    assert (end.job, end.status) == (job, Status.INTERRUPTED)
    assert end.message == "no daemon came back within 0.25 s"
    helpers.wait_until(lambda: not family.of_instance(runner.instance))


def test_output_on_a_disk_that_is_full_is_cut_and_its_end_says_so(
    small_disk: Path, helpers: Any
) -> None:
    runner = helpers.RunnerProcess(small_disk)
    job = runner.start(Spawn(["sh", "-c", "head -c 3000000 /dev/zero"]), output_bytes=4 << 20)
    ended = runner.ended(job)
    assert ended.status is Status.DONE
    assert ended.message == "its output is cut: No space left on device"
    assert runner.output(job).endswith("\n[aptask: output is cut here: No space left on device]\n")
    assert runner.shell("exit 3").message == "exit code 3"
    runner.close()
