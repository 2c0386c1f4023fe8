"""Stopping: every kind of family is asked, has its grace, is killed, and leaves nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aptask.model.job import Status
from aptask.model.orders import Ended, Quit, Spawn, Start, Started, Stop
from aptask.runner import family

LONG = 1000.0


def begin(runner: Any, script: str) -> tuple[int, int]:
    """Start a script, and wait until it says `ready`; its job and process."""
    job = runner.start(Spawn(["sh", "-c", script]))
    pid = runner.started(job).pid
    runner.wait_for_output(job, "ready\n")
    return job, pid


def test_a_program_that_ends_when_asked_is_stopped_within_its_grace(runner: Any) -> None:
    job, pid = begin(runner, "echo ready; exec sleep 1000")
    runner.stop(job, LONG)
    ended = runner.ended(job)
    assert (ended.status, ended.exit, ended.message) == (Status.STOPPED, -15, None)
    assert not runner.members(job, pid)


def test_a_program_that_ignores_being_asked_is_killed_after_its_grace(runner: Any) -> None:
    job, pid = begin(runner, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    runner.stop(job, 0.3)
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.STOPPED, -9)
    assert not runner.members(job, pid)


def test_a_second_stop_shortens_the_grace_and_never_lengthens_it(runner: Any) -> None:
    job, _ = begin(runner, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    for grace in (LONG, 2 * LONG, 0.0, LONG):
        runner.stop(job, grace)
    assert runner.ended(job).exit == -9


@pytest.mark.parametrize(
    "script",
    [
        "sleep 1000 & sleep 1001 & (sleep 1002; true) & echo ready; wait",
        "trap '' TERM; sleep 1000 & sh -c 'sleep 1001; true' & echo ready; wait; wait; wait",
        # A double fork with a session of its own.
        "(setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done' &) ; sleep 1000",
        # ... that has shed its mark, but not its parents.
        "env -i setsid sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done' & wait",
        "echo ready; exec >&- 2>&-; sleep 1000",
        "echo ready; exec >&- 2>&- 3>&-; trap '' TERM; while :; do sleep 0.1; done",
    ],
)
def test_the_whole_family_ends(runner: Any, script: str) -> None:
    job, pid = begin(runner, script)
    runner.stop(job, 0.3)
    assert runner.ended(job).status is Status.STOPPED
    assert not runner.members(job, pid)


def orphans_named(name: str) -> list[int]:
    """The living processes whose command line holds a word."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            process = family.look_up(int(entry.name))
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if process is not None and process.is_alive and name.encode() in words:
                found.append(process.pid)
    return found


@pytest.mark.parametrize("last", ["exec sleep 1000", "true"])
def test_one_that_shed_mark_session_and_parent_ends_with_its_job_while_others_run(
    runner: Any, last: str
) -> None:
    other, _ = begin(runner, "(env -i setsid sleep 2718.1 &) ; echo ready; exec sleep 1000")
    job = runner.start(
        Spawn(["sh", "-c", f"(env -i setsid sleep 2718.2 &) ; sleep 0.2; echo ready; {last}"])
    )
    runner.wait_for_output(job, "ready\n")
    runner.stop(job, LONG)
    runner.ended(job)
    assert not orphans_named("2718.2")
    assert len(orphans_named("2718.1")) == 1
    runner.stop(other, LONG)
    runner.ended(other)
    assert not orphans_named("2718.1")


def test_a_suspended_program_hears_that_it_is_asked(runner: Any) -> None:
    job, _ = begin(runner, "trap 'echo heard; exit 0' TERM; echo ready; kill -STOP $$; sleep 9")
    runner.stop(job, LONG)
    assert runner.ended(job).status is Status.STOPPED
    assert runner.output(job) == "ready\nheard\n"


BOMB = """
import os, sys, time, signal
# Forks as fast as it can, each child too, but never more than fifty processes: each has a line.
counter = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_APPEND)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
while True:
    os.write(counter, b".")
    if os.fstat(counter).st_size < 50 and os.fork() == 0:
        os.setsid()
    elif os.fstat(counter).st_size >= 50:
        time.sleep(0.001)
"""


def test_a_fork_bomb_is_killed_whole(runner: Any, tmp_path: Path) -> None:
    command = ["python3", "-c", BOMB, str(tmp_path / "counter")]
    job = runner.start(Spawn(command))
    pid = runner.started(job).pid
    runner.wait_for_output(job, "ready\n")
    runner.stop(job, 0.2)
    assert runner.ended(job).status is Status.STOPPED
    assert not runner.members(job, pid)


def test_who_cleans_up_has_the_grace_although_the_shell_died_at_once(
    runner: Any, tmp_path: Path
) -> None:
    child = (
        "import signal, sys, time\n"
        "def asked(*_):\n"
        "    time.sleep(0.5); print('cleaned', flush=True); open(sys.argv[1], 'w'); sys.exit()\n"
        "signal.signal(signal.SIGTERM, asked)\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(1)\n"
    )
    script = 'python3 -c "$CHILD" "$MARKER" & wait'
    marker = tmp_path / "cleaned"
    plan = Spawn(["sh", "-c", script], env={"CHILD": child, "MARKER": str(marker)})
    job = runner.start(plan)
    runner.wait_for_output(job, "ready\n")
    runner.stop(job, LONG)
    assert runner.ended(job).status is Status.STOPPED
    assert marker.exists()
    assert runner.output(job) == "ready\ncleaned\n"


def test_stopping_one_job_leaves_another_alone_with_its_orphans(runner: Any) -> None:
    first, _ = begin(runner, "echo ready; sleep 1000")
    second, pid = begin(runner, "(setsid sleep 1001 &); sleep 1000 & echo ready; wait")
    runner.stop(first)
    runner.ended(first)
    assert len(runner.members(second, pid)) == 3
    assert runner.shell("true").status is Status.DONE
    assert len(runner.members(second, pid)) == 3
    runner.stop(second)
    runner.ended(second)
    assert not runner.members(second, pid)


def test_stop_for_what_is_over_tells_its_end_again(runner: Any) -> None:
    ended = runner.shell("true")
    runner.events.clear()
    runner.stop(ended.job)
    assert runner.ended(ended.job) == ended


def test_what_is_stopped_before_it_came_is_never_begun(runner: Any) -> None:
    runner.send(Stop(9999, 1, 0.0))
    stopped = runner.ended(9999)
    assert (stopped.status, stopped.exit) == (Status.STOPPED, None)
    runner.events.clear()
    runner.start(Spawn(["touch", str(runner.data / "begun")]), job=9999)
    assert runner.ended(9999) == stopped
    assert runner.shell("true").status is Status.DONE
    assert not (runner.data / "begun").exists()


@pytest.mark.parametrize("seed", range(3))
def test_each_of_many_starts_and_stops_ends_exactly_once(
    own_runner: Any, tasks: Any, seed: int
) -> None:
    runner, chance = own_runner, random.Random(seed)
    source = "import time\ndef main(seconds): time.sleep(seconds)"
    works = [
        lambda: Spawn(["true"]),
        lambda: Spawn(["no-such-program"]),
        lambda: Spawn(["sh", "-c", "sleep 0.01 & exit 3"]),
        lambda: Spawn(["sleep", "1000"]),
        lambda: Spawn(["sh", "-c", "trap '' TERM; sleep 1000; sleep 1000"]),
        lambda: tasks(source, seconds=0),
        lambda: tasks(source, seconds=chance.random() / 50),
        lambda: tasks(source, seconds=1000),
    ]
    jobs = range(1, 81)
    waiting: set[int] = set()
    for job in jobs:
        waiting.add(job)
        runner.send(Start(job, 1, "t", "o", chance.choice(works)(), 4096))
        if chance.random() < 0.5:
            runner.send(Stop(job, 1, chance.choice((0.0, 0.01, 0.1))))
        while len(waiting) > 6:
            for other in chance.sample(sorted(waiting), 3):
                runner.send(Stop(other, 1, chance.choice((0.0, 0.05))))
            waiting.discard(runner.expect(lambda event: isinstance(event, Ended)).job)
    if seed == 2:
        runner.send(Start(81, 1, "t", "o", Spawn(["sleep", "1000"]), 4096), Quit(0.1))
        runner.send(Start(82, 1, "t", "o", Spawn(["sleep", "1000"]), 4096))
        waiting |= {81, 82}
    while waiting:
        for other in waiting:
            if seed != 2:
                runner.send(Stop(other, 1, 0.0))
        waiting.discard(runner.expect(lambda event: isinstance(event, Ended)).job)
    # A stop that comes late has the end told again, by its number.
    ends = {event.number: event.job for event in runner.events if isinstance(event, Ended)}
    assert sorted(ends.values()) == sorted(set(ends.values()))
    for job in jobs:
        kinds = [
            type(event)
            for event in runner.events
            if isinstance(event, Started | Ended) and event.job == job
        ]
        assert kinds[-1] is Ended
    if seed != 2:
        assert runner.run(Spawn(["true"]), job=1000).status is Status.DONE
        left = family.of_instance(runner.instance)
        assert not [pid for pid in left if not _is_of_nursery(pid)]


def _is_of_nursery(pid: int) -> bool:
    return (family.mark_of(pid) or "").endswith("/nursery/0")


# The end of the runner itself


def test_told_to_quit_it_ends_its_jobs_as_interrupted_and_tells_of_each(
    own_runner: Any, helpers: Any
) -> None:
    runner = own_runner
    first, _ = begin(runner, "echo ready; sleep 1000")
    second, _ = begin(runner, "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    runner.send(Quit(0.3))
    for job in (first, second):
        ended = runner.ended(job)
        assert (ended.status, ended.message) == (Status.INTERRUPTED, "the daemon was stopped")
    assert runner.process.wait(30) == 0
    helpers.wait_until(lambda: not family.of_instance(runner.instance))


def test_what_is_ordered_after_quit_is_not_begun(own_runner: Any) -> None:
    runner = own_runner
    job, _ = begin(runner, "trap 'sleep 0.5; exit' TERM; echo ready; while :; do sleep 0.1; done")
    runner.send(Quit(LONG))
    late = runner.start(Spawn(["touch", str(runner.data / "late")]))
    assert runner.ended(late).status is Status.INTERRUPTED
    runner.ended(job)
    assert not [e for e in runner.events if isinstance(e, Started) and e.job == late]


def test_without_a_daemon_it_ends_its_jobs_and_itself(own_runner: Any, helpers: Any) -> None:
    runner = own_runner
    begin(runner, "(setsid sleep 1000 &); echo ready; sleep 1000")
    runner.disconnect()
    assert runner.process.wait(30) == 0
    helpers.wait_until(lambda: not family.of_instance(runner.instance))


def test_a_signal_to_it_ends_its_jobs_too(own_runner: Any, helpers: Any) -> None:
    runner = own_runner
    job, _ = begin(runner, "echo ready; sleep 1000")
    runner.process.send_signal(signal.SIGTERM)
    ended = runner.ended(job)
    assert (ended.status, ended.message) == (Status.INTERRUPTED, "the runner was told to end")
    runner.process.wait(30)
    helpers.wait_until(lambda: not family.of_instance(runner.instance))


def test_a_second_runner_waits_for_the_first_in_the_same_folder(
    own_runner: Any, helpers: Any
) -> None:
    slow = "trap 'sleep 0.5; exit' TERM; echo ready; while :; do sleep 0.1; done"
    job, pid = begin(own_runner, slow)
    own_runner.disconnect()
    second = helpers.RunnerProcess(own_runner.data)  # is there when it serves
    assert not own_runner.members(job, pid)
    assert own_runner.process.wait(30) == 0
    assert second.shell("true").status is Status.DONE
    second.close()


def test_a_daemon_that_is_gone_before_it_came_is_noticed(tmp_path: Path, helpers: Any) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "aptask.runner.main", tmp_path, "early"],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.dup2(writing, 3),
        pass_fds=[3],
    )
    os.close(writing)
    assert process.wait(30) == 0
    helpers.wait_until(lambda: not family.of_instance("early"))
