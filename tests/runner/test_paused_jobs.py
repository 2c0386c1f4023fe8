"""Pauses and limits of time, of real families: who is suspended, who goes on, who is ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from aptask.model.description import Kind
from aptask.model.job import Status
from aptask.model.orders import Ended, Pause, Paused, Quit, Resume, Resumed, Spawn, Start
from aptask.runner import family
from aptask.runner.pausing import LONGEST_LOOK

LONG = 1000.0


def begin(runner: Any, script: str, **fields: Any) -> tuple[int, int]:
    """Start a script, and wait until it says `ready`; its job and process."""
    job = runner.start(Spawn(["sh", "-c", script]), **fields)
    pid = runner.started(job).pid
    runner.wait_for_output(job, "ready\n")
    return job, pid


def pause(runner: Any, job: int) -> Paused:
    runner.send(Pause(job, 1))
    paused: Paused = runner.expect(lambda event: isinstance(event, Paused) and event.job == job)
    return paused


def resume(runner: Any, job: int) -> None:
    runner.send(Resume(job, 1))
    runner.expect(lambda event: isinstance(event, Resumed) and event.job == job)


def states(runner: Any, job: int, pid: int = 0) -> str:
    """The state of each of a family, as proc(5) has them."""
    found = [family.look_up(member) for member in runner.members(job, pid)]
    return "".join(process.state for process in found if process is not None)


def cpu(pids: list[int]) -> int:
    """The time that processes have had, in clock ticks."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def meanwhile(runner: Any) -> None:
    """Let some time pass, in which another job runs."""
    assert runner.shell("sleep 0.3").status is Status.DONE


def test_nobody_of_a_paused_family_has_any_time_and_all_go_on_when_it_is_resumed(
    runner: Any, helpers: Any
) -> None:
    lost = "(env -i setsid sh -c 'while :; do :; done' &)"
    script = f"{lost}; (setsid yes >/dev/null &); yes >/dev/null & sleep 0.1; echo ready; wait"
    job, pid = begin(runner, script)
    before = time.time()
    paused = pause(runner, job)
    assert before - 0.01 <= paused.time <= time.time() + 0.01
    members = runner.members(job, pid)
    assert len(members) >= 3
    assert set(states(runner, job, pid)) == {"T"}
    # Shed mark, session and parent, and is found by the pipe that it holds: by the runner alone.
    [shed] = [p for p in _running("while :; do :; done") if p not in members]
    assert family.look_up(shed).state == "T"  # type: ignore[union-attr]
    had = cpu([*members, shed])
    meanwhile(runner)
    assert cpu([*members, shed]) == had
    assert runner.members(job, pid) == members
    resume(runner, job)
    for each in (*members[1:], shed):
        helpers.wait_until(lambda each=each: cpu([each]) > 0 and _state(each) != "T")
    helpers.wait_until(lambda: cpu([*members, shed]) > had)
    runner.stop(job)
    assert runner.ended(job).status is Status.STOPPED
    assert not runner.members(job, pid)


def _state(pid: int) -> str:
    found = family.look_up(pid)
    return "" if found is None else found.state


def _running(script: str) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if script.encode() in words:
                found.append(int(entry.name))
    return found


FORKING = """
import os, signal, sys
# Forks as fast as it can; each child writes a byte, and forks one that writes another.
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
print("ready", flush=True)
while True:
    if os.fork() == 0:
        os.write(file, b".")
        if os.fork() == 0:
            os.setsid()
            os.write(file, b".")
        os._exit(0)
"""


def test_one_that_forks_all_the_while_is_paused_whole(
    runner: Any, tmp_path: Path, helpers: Any
) -> None:
    witness = tmp_path / "witness"
    job = runner.start(Spawn(["python3", "-c", FORKING, str(witness)]))
    pid = runner.started(job).pid
    runner.wait_for_output(job, "ready\n")
    for _ in range(5):
        size = witness.stat().st_size if witness.exists() else 0
        helpers.wait_until(lambda size=size: witness.exists() and witness.stat().st_size > size)
        pause(runner, job)
        assert set(states(runner, job, pid)) == {"T"}
        size = witness.stat().st_size
        meanwhile(runner)
        assert witness.stat().st_size == size
        assert set(states(runner, job, pid)) == {"T"}
        resume(runner, job)
    runner.stop(job)
    assert runner.ended(job).status is Status.STOPPED


VFORKING = """
import os, sys
# The child waits for somebody to open the pipe before it executes, and its parent for the child.
print("ready", flush=True)
opening = [(os.POSIX_SPAWN_OPEN, 0, sys.argv[1], os.O_RDONLY, 0)]
os.waitpid(os.posix_spawn("/bin/cat", ["cat"], os.environ, file_actions=opening), 0)
"""


def test_one_that_waits_in_the_kernel_for_a_suspended_child_is_suspended(
    runner: Any, tmp_path: Path, helpers: Any
) -> None:
    os.mkfifo(tmp_path / "pipe")
    job = runner.start(Spawn(["python3", "-c", VFORKING, str(tmp_path / "pipe")]))
    pid = runner.started(job).pid
    helpers.wait_until(lambda: _state(pid) == "D")
    began = time.monotonic()
    pause(runner, job)
    assert time.monotonic() - began < LONGEST_LOOK
    assert sorted(states(runner, job, pid)) == ["D", "T"]
    resume(runner, job)
    (tmp_path / "pipe").write_text("went on")
    assert runner.ended(job).status is Status.DONE
    assert runner.output(job) == "ready\nwent on"


def test_who_was_suspended_by_somebody_else_stays_so(runner: Any, helpers: Any) -> None:
    job, pid = begin(runner, "sleep 1000 & echo ready; wait")
    [other] = [member for member in runner.members(job, pid) if member != pid]
    os.kill(other, signal.SIGSTOP)
    helpers.wait_until(lambda: _state(other) == "T")
    assert not [e for e in runner.events if isinstance(e, Paused) and e.job == job]
    pause(runner, job)
    resume(runner, job)
    helpers.wait_until(lambda: _state(pid) == "S")
    assert _state(other) == "T"
    runner.stop(job)
    assert runner.ended(job).status is Status.STOPPED


LOOP = """
import os, pathlib, time
def main(folder):
    folder = pathlib.Path(folder)
    while not (folder / "go").exists():
        with (folder / "witness").open("a") as file:
            file.write(".")
        time.sleep(0.001)
    (folder / "go").unlink()
    return os.getpid()
"""


def test_a_task_is_paused_and_its_child_is_used_again(
    runner: Any, tasks: Any, tmp_path: Path, helpers: Any
) -> None:
    call, witness = tasks(LOOP, folder=str(tmp_path)), tmp_path / "witness"
    job = runner.start(call)
    pid = runner.started(job).pid
    helpers.wait_until(witness.exists)
    pause(runner, job)
    assert states(runner, job, pid) == "T"
    size = witness.stat().st_size
    (tmp_path / "go").touch()
    meanwhile(runner)
    assert witness.stat().st_size == size
    resume(runner, job)
    ended = runner.ended(job)
    assert (ended.status, int(bytes(ended.result))) == (Status.DONE, pid)
    (tmp_path / "go").touch()
    assert int(bytes(runner.run(call).result)) == pid


def test_a_child_is_left_as_it_was_however_late_the_pause_comes(
    runner: Any, tasks: Any, tmp_path: Path
) -> None:
    call = tasks("def main(): return 1")
    runner.run(call)
    for _ in range(100):
        job = runner.start(call)
        runner.send(Pause(job, 1))
        told = runner.expect(lambda e, job=job: isinstance(e, Paused | Ended) and e.job == job)
        if isinstance(told, Paused):
            runner.send(Resume(job, 1))
        assert runner.ended(job).status is Status.DONE


DRIVER = """
import aptask
class Loop(aptask.Program):
    folder = aptask.argument(str)
    def command(self):
        return ["sh", "-c", "while [ ! -e $0/go ]; do echo x >> $0/witness; done; exit 7",
                self.folder]
    def succeeded(self, code):
        return code == 7
"""


def test_a_drivers_program_is_paused(runner: Any, tasks: Any, tmp_path: Path, helpers: Any) -> None:
    call = tasks(DRIVER, "Loop", kind=Kind.PROGRAM, folder=str(tmp_path))
    witness = tmp_path / "witness"
    job = runner.start(call)
    pid = runner.started(job).pid
    helpers.wait_until(witness.exists)
    pause(runner, job)
    assert set(states(runner, job, pid)) == {"T"}
    size = witness.stat().st_size
    (tmp_path / "go").touch()
    meanwhile(runner)
    assert witness.stat().st_size == size
    resume(runner, job)
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.DONE, 7)


def test_one_that_is_paused_as_it_is_started_is_held_at_its_beginning(
    own_runner: Any, tasks: Any, tmp_path: Path
) -> None:
    # The nursery may not even be there yet: its child is suspended as it comes.
    runner = own_runner
    source = "import time\ndef main(path):\n time.sleep(0.2)\n open(path, 'w').close()"
    works = [
        tasks(source, path=str(tmp_path / "task")),
        Spawn(["sh", "-c", "sleep 0.2; touch $0", str(tmp_path / "program")]),
    ]
    orders: list[Any] = []
    for job, work in enumerate(works, 1):
        orders += [Start(job, 1, "t", "o", work, 4096), Pause(job, 1)]
    runner.send(*orders)
    told = {runner.expect(lambda event: isinstance(event, Paused)).job for _ in works}
    assert told == {1, 2}
    assert runner.run(Spawn(["sleep", "0.5"]), job=50).status is Status.DONE
    assert not list(tmp_path.glob("task")) + list(tmp_path.glob("program"))
    for job in (1, 2):
        runner.send(Resume(job, 1))
    for job in (1, 2):
        assert runner.ended(job).status is Status.DONE
    assert (tmp_path / "task").exists()
    assert (tmp_path / "program").exists()


def test_pausing_and_resuming_are_answered_with_what_is_so(runner: Any) -> None:
    job, pid = begin(runner, "echo ready; exec sleep 1000")
    resume(runner, job)
    first = pause(runner, job)
    assert pause(runner, job) == first
    resume(runner, job)
    assert states(runner, job, pid) != "T"
    runner.stop(job)
    ended = runner.ended(job)
    for order in (Pause, Resume):
        runner.events.clear()
        runner.send(order(job, 1))
        assert runner.ended(job) == ended
    # Of what was never had, nothing is so.
    runner.events.clear()
    runner.send(Pause(9999, 1), Resume(9999, 1))
    runner.shell("true")
    assert not [event for event in runner.events if isinstance(event, Paused | Resumed)]


def test_a_paused_program_that_is_stopped_hears_of_it_and_its_grace_counts_from_then(
    runner: Any,
) -> None:
    job, _ = begin(runner, "trap 'echo heard; exit 3' TERM; echo ready; while :; do :; done")
    pause(runner, job)
    runner.stop(job, LONG)
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.STOPPED, 3)
    assert runner.output(job) == "ready\nheard\n"


def test_a_paused_family_that_does_not_heed_a_stop_is_killed_after_its_grace(
    runner: Any,
) -> None:
    child = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' &)"
    job, pid = begin(runner, f"{child}; trap '' TERM; echo ready; while :; do sleep 0.1; done")
    pause(runner, job)
    runner.stop(job, 0.3)
    assert runner.ended(job).exit == -9
    assert not runner.members(job, pid)


def test_a_paused_task_hears_that_it_is_stopped(runner: Any, tasks: Any) -> None:
    source = (
        "import aptask, time\n"
        "def main():\n"
        "    print('ready', flush=True)\n"
        "    try: time.sleep(1000)\n"
        "    finally: print('cleaned')\n"
    )
    job = runner.start(tasks(source))
    runner.wait_for_output(job, "ready\n")
    pause(runner, job)
    runner.stop(job, LONG)
    assert runner.ended(job).status is Status.STOPPED
    assert runner.output(job) == "ready\ncleaned\n"


def test_a_paused_program_that_is_killed_by_somebody_else_has_ended(runner: Any) -> None:
    job, pid = begin(runner, "(setsid sleep 1000 &); echo ready; exec sleep 1000")
    pause(runner, job)
    os.kill(pid, signal.SIGKILL)
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.ERROR, -9)
    assert not runner.members(job, pid)


def test_a_paused_job_stays_so_without_a_daemon_and_the_next_one_is_told_and_resumes_it(
    own_runner: Any,
) -> None:
    runner = own_runner
    runner.connect(orphan_timeout=100.0)
    job, pid = begin(runner, "echo ready; sleep 0.1; echo went on")
    other, _ = begin(runner, "echo ready; exec sleep 1000")
    paused = pause(runner, job)
    runner.disconnect()
    welcome = runner.connect(runner.instance, 2, orphan_timeout=100.0)
    assert welcome.running == ((job, 1), (other, 1))
    assert runner.expect(lambda event: isinstance(event, Paused)) == paused
    assert set(states(runner, job, pid)) == {"T"}
    resume(runner, job)
    assert runner.ended(job).status is Status.DONE
    assert runner.output(job) == "ready\nwent on\n"
    runner.stop(other)
    runner.ended(other)


@pytest.mark.parametrize("quits", [True, False])
def test_a_paused_job_ends_with_its_runner(own_runner: Any, helpers: Any, quits: bool) -> None:
    runner = own_runner
    runner.connect(orphan_timeout=0.2)
    begin(runner, "(setsid sleep 1000 &); trap 'exit 3' TERM; echo ready; while :; do :; done")
    job, _ = begin(runner, "trap '' TERM; echo ready; while :; do :; done", grace=0.2)
    for each in (1, 2):
        pause(runner, each)
    if quits:
        runner.send(Quit(0.2))
        assert runner.ended(job).status is Status.INTERRUPTED
    else:
        runner.disconnect()
    assert runner.process.wait(30) == 0
    helpers.wait_until(lambda: not family.of_instance(runner.instance))


# The limit of time


def test_when_its_time_is_over_a_family_that_does_not_heed_it_is_killed_after_its_grace(
    runner: Any,
) -> None:
    child = "(setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' &)"
    script = f"{child}; trap '' TERM; echo ready; while :; do sleep 0.1; done"
    began = time.monotonic()
    job, pid = begin(runner, script, timeout=0.5, grace=0.4)
    ended = runner.ended(job)
    assert time.monotonic() - began >= 0.9
    assert (ended.status, ended.exit) == (Status.TIMEOUT, -9)
    assert ended.message == "timed out after 0.5 s"
    assert not runner.members(job, pid)


def test_whatever_it_ends_with_when_it_is_asked_it_was_too_late(runner: Any) -> None:
    job, _ = begin(
        runner, "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done", timeout=0.5
    )
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.TIMEOUT, 0)


def test_what_ends_in_time_ends_as_it_ended(runner: Any) -> None:
    assert runner.shell("exit 3").status is Status.ERROR
    ended = runner.run(Spawn(["sh", "-c", "exit 3"]), timeout=30.0)
    assert (ended.status, ended.exit) == (Status.ERROR, 3)


def test_a_task_that_takes_too_long_is_stopped_in_the_middle(runner: Any, tasks: Any) -> None:
    source = "import time\ndef main():\n    try: time.sleep(1000)\n    finally: print('cleaned')\n"
    ended = runner.run(tasks(source), timeout=0.5)
    assert (ended.status, ended.message) == (Status.TIMEOUT, "timed out after 0.5 s")
    assert runner.output(ended.job) == "cleaned\n"


def test_the_time_for_which_it_is_paused_does_not_count(runner: Any) -> None:
    job, pid = begin(runner, "echo ready; exec sleep 1000", timeout=2.0)
    pause(runner, job)
    for _ in range(8):
        meanwhile(runner)
    assert states(runner, job, pid) == "T"
    resume(runner, job)
    assert runner.ended(job).status is Status.TIMEOUT
