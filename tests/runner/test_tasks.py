"""Authors' code in children of the nursery: what it may do to itself, and to nobody else."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aptask.model.description import Kind
from aptask.model.job import Status
from aptask.model.orders import Progressed, Spawn, Started
from aptask.runner import family

PID = "import os\ndef main(**_): return os.getpid()\n"


def pid_of(runner: Any, call: Any) -> int:
    ended = runner.run(call)
    assert ended.status is Status.DONE, ended
    return int(bytes(ended.result))


def is_alive(pid: int) -> bool:
    found = family.look_up(pid)
    return found is not None and found.is_alive


def children_of(runner: Any) -> list[int]:
    """The processes of the nursery and its children."""
    return [
        pid
        for pid in family.of_instance(runner.instance)
        if (family.mark_of(pid) or "").endswith("/nursery/0")
    ]


def nursery_of(runner: Any) -> int:
    (pid,) = [
        pid
        for pid in children_of(runner)
        if family.look_up(pid).parent == runner.process.pid  # type: ignore[union-attr]
    ]
    return pid


def test_the_result_is_what_the_task_returns(runner: Any, tasks: Any) -> None:
    call = tasks("def main(a, b): return {'sum': a + b}", a=1, b=2)
    job = runner.start(call)
    started = runner.started(job)
    ended = runner.ended(job)
    assert (ended.status, bytes(ended.result)) == (Status.DONE, b'{"sum":3}')
    assert isinstance(started, Started)
    assert started.pid > 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise ValueError('it broke')", "ValueError: it broke"),
        ("import sys; sys.exit(3)", "exited with 3"),
        ("import sys; sys.exit('no more')", "exited with no more"),
        ("import os; os._exit(0)", "its process exited with 0 before it was done"),
        ("import os; os._exit(7)", "its process exited with 7 before it was done"),
        ("import os; os.kill(os.getpid(), 11)", "its process was killed by SIGSEGV"),
        (
            "import os; os.kill(os.getpid(), 9)",
            "its process was killed by SIGKILL (too much memory?)",
        ),
        ("import ctypes; ctypes.string_at(0)", "its process was killed by SIGSEGV"),
        (
            "return {1, 2}.__iter__",
            "what the task returned is no JSON value: ",
        ),
        (
            "return 'x' * (1 << 20)",
            "what the task returned is 1,048,578 bytes as JSON; at most 1 MiB is kept",
        ),
        ("return lambda: 0", "what the task returned is no JSON value: "),
        ("return [float('nan')]", "what the task returned is no JSON value: "),
        ("return [2**70]", "what the task returned is no JSON value: an integer in it is beyond"),
        ("raise ValueError('first\\nlast \\x1b[31mline\\x07')", "ValueError: last [31mline"),
        ("raise ValueError('x' * 5000)", "ValueError: xxx"),
        ("return {1, 2}", "what the task returned is no JSON value: "),
        ("return b'bytes'", "what the task returned is no JSON value: "),
        ("return '\\ud800'", "what the task returned is no JSON value: "),
        ("def f(): f()\n    f()", "RecursionError: maximum recursion depth exceeded"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("import os; os.close(1); os.close(2); os.close(3); raise OSError('x')", "OSError: x"),
    ],
)
def test_a_fault_costs_its_own_job_with_a_clear_message(
    runner: Any, tasks: Any, body: str, message: str
) -> None:
    ended = runner.run(tasks(f"def main():\n    {body}\n"))
    assert ended.status is Status.ERROR
    assert ended.message.startswith(message)
    assert len(ended.message) <= 1000
    assert ended.message.isprintable()
    assert runner.run(tasks("def main(): return 1")).status is Status.DONE


def test_a_fault_leaves_its_traceback_from_the_authors_code_on(runner: Any, tasks: Any) -> None:
    ended = runner.run(tasks("def main():\n    raise ValueError('it broke')\n"))
    output = runner.output(ended.job)
    assert output.startswith("Traceback")
    assert "in main" in output
    assert "aptask/runner" not in output


def test_exit_with_zero_is_done(runner: Any, tasks: Any) -> None:
    assert runner.run(tasks("import sys\ndef main(): sys.exit()")).status is Status.DONE


def test_what_is_printed_is_kept_with_or_without_a_newline(runner: Any, tasks: Any) -> None:
    source = "import sys\ndef main():\n    print('ä'); print('no end', end='', file=sys.stderr)"
    ended = runner.run(tasks(source))
    assert runner.output(ended.job) == "ä\nno end"


def test_a_child_is_used_again_for_the_same_target_only(runner: Any, tasks: Any) -> None:
    first = pid_of(runner, tasks(PID))
    assert pid_of(runner, tasks(PID)) == first
    other = tasks(PID + "def other(): return os.getpid()\n", "other")
    assert pid_of(runner, other) != first


def test_an_isolated_job_has_a_child_of_its_own(runner: Any, tasks: Any, helpers: Any) -> None:
    pids = [pid_of(runner, tasks(PID, isolated=True)) for _ in range(3)]
    assert len(set(pids)) == 3
    helpers.wait_until(lambda: not set(pids) & set(children_of(runner)))


def test_after_its_source_has_changed_new_jobs_run_the_new_code(runner: Any, tasks: Any) -> None:
    assert bytes(runner.run(tasks("def main(): return 1")).result) == b"1"
    assert bytes(runner.run(tasks("def main(): return 2")).result) == b"2"
    assert bytes(runner.run(tasks("def main(): return 30")).result) == b"30"


@pytest.mark.parametrize(
    "body",
    [
        "import threading, time\n"
        "    threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()",
        "import subprocess; subprocess.Popen(['sleep', '1000'])",
        "if os.fork() == 0:\n        os.setsid()\n        os.execvp('sleep', ['sleep', '1000'])",
        "global kept; kept = bytearray(300 << 20)",
        "import sys; sys.stdout.close()",
        "os.close(1)",
        "os.close(3)",
        "os.dup2(os.open('/dev/null', 2), 1)",
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "os.nice(1)",
    ],
)
def test_a_child_that_cannot_be_as_before_is_used_no_more(
    runner: Any, tasks: Any, helpers: Any, body: str
) -> None:
    source = (
        "import os\n"
        "def main(spoil):\n"
        "    if spoil: spoiled()\n"
        "    return os.getpid()\n"
        f"def spoiled():\n    {body}\n"
    )
    job = runner.start(tasks(source, spoil=True))
    ended = runner.ended(job)
    assert ended.status is Status.DONE
    spoiled = int(bytes(ended.result))
    assert not runner.members(job, spoiled)
    assert pid_of(runner, tasks(source, spoil=False)) != spoiled
    helpers.wait_until(lambda: spoiled not in children_of(runner))


def test_what_a_job_changes_the_next_one_does_not_see(runner: Any, tasks: Any) -> None:
    source = (
        "import os, sys, io, signal\n"
        "def main(change):\n"
        "    seen = [os.getcwd(), os.environ.get('CHANGED'), os.umask(0o22), sys.stdout.name,\n"
        "            os.environ['APTASK_TASKID'], signal.getitimer(signal.ITIMER_REAL)[0]]\n"
        "    if change:\n"
        "        os.chdir('/tmp'); os.environ['CHANGED'] = '1'; os.umask(0); signal.alarm(1000)\n"
        "        del os.environ['PATH']; sys.stdout = io.StringIO()\n"
        "    return [os.getpid(), *seen]\n"
    )

    def run(change: bool) -> list[Any]:
        ended = runner.run(tasks(source, change=change))
        found: list[Any] = msgspec.json.decode(ended.result)
        assert found[5] == str(ended.job)
        return found

    first, second = run(True), run(False)
    assert second[0] == first[0], "it is the same process"
    assert second[1:5] == first[1:5]
    assert second[2] is None
    assert second[6] == 0


def test_a_task_has_the_clean_environment(runner: Any, tasks: Any) -> None:
    source = "import os\ndef main(): return dict(os.environ)"
    found = msgspec.json.decode(runner.run(tasks(source)).result)
    assert "LEAKS" not in found
    assert "PYTHONPATH" not in found
    assert found["HOME"] == os.environ["HOME"]
    assert found["APTASK_OWNER"] == "somebody"


REPORTS = (
    "from aptask import Task\n"
    "class main(Task):\n"
    "    def run(self):\n"
    "        for n in range(20000): self.report(n / 20000, f'step {n}')\n"
)


def test_of_many_reports_few_are_told_and_the_last_is_not_lost(runner: Any, tasks: Any) -> None:
    ended = runner.run(tasks(REPORTS, kind=Kind.TASK))
    assert (ended.fraction, ended.message) == (19999 / 20000, "step 19999")
    told = [e for e in runner.events if isinstance(e, Progressed) and e.job == ended.job]
    seconds = ended.time - next(
        e.time for e in runner.events if isinstance(e, Started) and e.job == ended.job
    )
    assert len(told) <= 10 * seconds + 2


# Stopping


STOPPABLE = (
    "import time\n"
    "from aptask import Stopped\n"
    "def main():\n"
    "    try:\n"
    "        print('ready')\n"
    "        while True: {}\n"
    "    except Stopped:\n"
    "        print('stopped'); raise\n"
    "    finally:\n"
    "        print('cleaned')\n"
)


@pytest.mark.parametrize("step", ["time.sleep(1000)", "pass"])
def test_stopping_raises_stopped_in_the_task(runner: Any, tasks: Any, step: str) -> None:
    job = runner.start(tasks(STOPPABLE.format(step)))
    runner.wait_for_output(job, "ready")
    runner.stop(job, 1000.0)
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.STOPPED, None)
    assert runner.output(job) == "ready\nstopped\ncleaned\n"


def test_a_task_that_will_not_stop_is_killed_after_its_grace(runner: Any, tasks: Any) -> None:
    source = (
        "def main():\n"
        "    print('ready')\n"
        "    while True:\n"
        "        try:\n"
        "            while True: pass\n"
        "        except BaseException: pass\n"
    )
    job = runner.start(tasks(source))
    pid = runner.started(job).pid
    runner.wait_for_output(job, "ready")
    runner.stop(job, 0.3)
    assert runner.ended(job).status is Status.STOPPED
    assert not runner.members(job, pid)


def test_what_a_stopped_task_began_has_its_grace_too(
    runner: Any, tasks: Any, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    source = (
        "import subprocess, time\n"
        "def main(marker):\n"
        "    script = 'trap \"sleep 0.5; echo cleaned; touch $0; exit\" TERM; echo ready;'\n"
        "    script += 'while :; do sleep 0.05; done'\n"
        "    subprocess.Popen(['setsid', 'sh', '-c', script, marker])\n"
        "    time.sleep(1000)\n"
    )
    job = runner.start(tasks(source, marker=str(marker)))
    pid = runner.started(job).pid
    runner.wait_for_output(job, "ready")
    runner.stop(job, 1000.0)
    assert runner.ended(job).status is Status.STOPPED
    assert marker.exists()
    assert "cleaned" in runner.output(job)
    assert not runner.members(job, pid)


def test_a_forked_process_in_a_session_of_its_own_ends_with_its_task(
    runner: Any, tasks: Any, helpers: Any
) -> None:
    source = (
        "import os, time\n"
        "def main(crash):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            print(os.getpid(), 'ready', flush=True)\n"
        "            time.sleep(1000)\n"
        "        os._exit(0)\n"
        "    time.sleep(0.2)\n"
        "    if crash: os._exit(1)\n"
    )
    for crash in (False, True):
        ended = runner.run(tasks(source, crash=crash))
        assert ended.status is (Status.ERROR if crash else Status.DONE)
        left = int(runner.output(ended.job).split()[0])
        helpers.wait_until(lambda left=left: not is_alive(left))


def test_a_stop_before_there_is_a_process_counts(own_runner: Any, tasks: Any) -> None:
    runner = own_runner
    nursery = nursery_of(runner)
    os.kill(nursery, signal.SIGSTOP)  # it forks nobody
    job = runner.start(tasks("import time\ndef main(): time.sleep(1000)"))
    runner.stop(job, 1000.0)
    assert runner.shell("true").status is Status.DONE
    os.kill(nursery, signal.SIGCONT)
    assert runner.ended(job).status is Status.STOPPED


def test_more_jobs_begin_at_once_than_the_nursery_takes_orders_for(
    own_runner: Any, tasks: Any
) -> None:
    runner = own_runner
    nursery = nursery_of(runner)
    os.kill(nursery, signal.SIGSTOP)
    call = tasks("def main(): return 1", isolated=True)
    jobs = [runner.start(call) for _ in range(320)]  # which is more than a socket holds
    assert runner.shell("true").status is Status.DONE
    os.kill(nursery, signal.SIGCONT)
    assert all(runner.ended(job).status is Status.DONE for job in jobs)


# The nursery


def test_the_death_of_the_nursery_interrupts_its_jobs_and_no_others(
    own_runner: Any, tasks: Any
) -> None:
    runner = own_runner
    idle = pid_of(runner, tasks(PID))
    other = runner.start(Spawn(["sleep", "1000"]))
    job = runner.start(tasks("import time\ndef main(): print('ready'); time.sleep(1000)"))
    runner.wait_for_output(job, "ready")
    os.kill(nursery_of(runner), signal.SIGKILL)
    ended = runner.ended(job)
    assert ended.status is Status.INTERRUPTED
    assert ended.message == "the process that held it died"
    assert pid_of(runner, tasks(PID)) != idle
    runner.stop(other)
    assert runner.ended(other).status is Status.STOPPED


def test_a_nursery_that_keeps_dying_is_started_again(
    own_runner: Any, tasks: Any, helpers: Any
) -> None:
    for _ in range(3):
        (nursery,) = helpers.wait_until(
            lambda: [
                pid
                for pid in children_of(own_runner)
                if family.look_up(pid).parent == own_runner.process.pid  # type: ignore[union-attr]
            ]
        )
        os.kill(nursery, signal.SIGKILL)
        helpers.wait_until(lambda gone=nursery: family.look_up(gone) is None)
    assert own_runner.run(tasks("def main(): return 1")).status is Status.DONE


def test_an_idle_child_that_died_costs_no_job(own_runner: Any, tasks: Any, helpers: Any) -> None:
    runner = own_runner
    idle = pid_of(runner, tasks(PID))
    # The nursery cannot tell of it yet, so that the runner finds out by itself.
    nursery = nursery_of(runner)
    os.kill(nursery, signal.SIGSTOP)
    os.kill(idle, signal.SIGKILL)
    helpers.wait_until(lambda: not is_alive(idle))
    job = runner.start(tasks(PID))
    os.kill(nursery, signal.SIGCONT)
    ended = runner.ended(job)
    assert ended.status is Status.DONE
    assert int(bytes(ended.result)) != idle


# Drivers


DRIVER = """
from aptask import Program, argument
import time, os, sys
class main(Program):
    what = argument(str)
    code = argument(int, default=0)
    def command(self):
        print("composed")
        {}
        return ["sh", "-c", "echo spawned; exit " + str(self.code)]
    {}
"""


def test_a_drivers_program_is_composed_in_a_child_and_spawned_by_the_runner(
    runner: Any, tasks: Any
) -> None:
    job = runner.start(tasks(DRIVER.format("", ""), kind=Kind.PROGRAM, what="x"))
    started = runner.started(job)
    ended = runner.ended(job)
    assert (ended.status, ended.exit) == (Status.DONE, 0)
    assert runner.output(job) == "composed\nspawned\n"
    assert started.pid not in children_of(runner)


@pytest.mark.parametrize(
    ("code", "status"), [(0, Status.ERROR), (24, Status.DONE), (23, Status.ERROR)]
)
def test_a_driver_judges_its_exit_code(runner: Any, tasks: Any, code: int, status: Status) -> None:
    judges = "def succeeded(self, code): return code == 24"
    ended = runner.run(tasks(DRIVER.format("", judges), kind=Kind.PROGRAM, what="x", code=code))
    assert (ended.status, ended.exit) == (status, code)


@pytest.mark.parametrize(
    ("command", "judges", "message"),
    [
        ("raise ValueError('no')", "", "ValueError: no"),
        ("os._exit(3)", "", "its process exited with 3 before it was done"),
        ("return []", "", ""),
        ("return ['no-such-program']", "", "there is no program `no-such-program`"),
        ("", "def succeeded(self, code): raise ValueError('unsure')", "ValueError: unsure"),
        ("", "def succeeded(self, code): os._exit(1)", "its process exited with 1 "),
    ],
)
def test_a_drivers_fault_costs_its_own_job(
    runner: Any, tasks: Any, command: str, judges: str, message: str
) -> None:
    ended = runner.run(tasks(DRIVER.format(command, judges), kind=Kind.PROGRAM, what="x"))
    assert ended.status is Status.ERROR
    assert message in ended.message


@pytest.mark.parametrize(
    ("command", "judges"),
    [
        ("time.sleep(1000)", ""),
        ("", "def succeeded(self, code): print('judging'); time.sleep(1000)"),
    ],
)
def test_a_driver_is_stopped_in_the_middle(
    runner: Any, tasks: Any, command: str, judges: str
) -> None:
    job = runner.start(tasks(DRIVER.format(command, judges), kind=Kind.PROGRAM, what="x"))
    runner.wait_for_output(job, "judging" if judges else "composed")
    runner.stop(job, 1000.0)
    assert runner.ended(job).status is Status.STOPPED
    assert not runner.members(job)


def test_a_driver_that_leaves_threads_is_used_no_more_but_its_program_runs(
    runner: Any, tasks: Any
) -> None:
    thread = "import threading; threading.Thread(target=time.sleep, args=(1000,)).start()"
    ended = runner.run(tasks(DRIVER.format(thread, ""), kind=Kind.PROGRAM, what="x"))
    assert ended.status is Status.DONE
    assert runner.output(ended.job) == "composed\nspawned\n"
