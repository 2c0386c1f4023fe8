"""Jobs that note what they do in a file that is not aptask's, and daemons that may die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aptask.runner import family

WITNESS = """
import fcntl, os, time
from aptask import Task, argument


class Witness(Task):
    '''The same as the program, as a class.'''

    label = argument(str)
    folder = argument(str)
    is_long = argument(bool)

    def run(self):
        def note(what):
            attempt = os.environ['APTASK_ATTEMPT']
            line = f'{self.label} {os.environ["APTASK_TASKID"]} {attempt} {what}\\n'
            with open(f'{self.folder}/witness', 'ab', buffering=0) as witness:
                witness.write(line.encode())

        with open(f'{self.folder}/{self.label}.lock', 'a') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                note('beside-another')
            with open(f'{self.folder}/{self.label}.pid', 'w') as file:
                file.write(f'{os.getpid()}\\n')
            note('began')
            print('began', flush=True)
            while self.is_long and not (
                os.path.exists(f'{self.folder}/go')
                or os.path.exists(f'{self.folder}/{self.label}.go')
            ):
                time.sleep(0.02)
            print('ended', flush=True)
            note('ended')
"""
"""A task file. A job leaves its process in LABEL.pid, and notes each begin and end, and whether
another attempt of it lives."""

PROGRAM = """
cd {folder}
note() {{ echo "{label} $APTASK_TASKID $APTASK_ATTEMPT $1" >> witness; }}
exec 9>>{label}.lock
flock -n 9 || note beside-another
echo $$ > {label}.pid
note began
echo began
while {is_long} && [ ! -e go ] && [ ! -e {label}.go ]; do sleep 0.02; done
echo ended
note ended
"""


def program(label: str, folder: Path, *, is_long: bool) -> list[str]:
    """The command of a job that is witnessed."""
    long = "true" if is_long else "false"
    return ["sh", "-c", PROGRAM.format(label=label, folder=folder, is_long=long)]


def request(label: str, folder: Path, *, kind: str, is_long: bool) -> dict[str, Any]:
    """The fields of a `start` of a job that is witnessed, as a program or as a class."""
    if kind == "program":
        return {"name": "program", "arguments": [program(label, folder, is_long=is_long)]}
    named = {"label": label, "folder": str(folder), "is_long": is_long}
    return {"name": "witness", "arguments": named}


def read(folder: Path) -> dict[str, list[tuple[str, int, str]]]:
    """What the jobs noted: by label, the taskid, attempt and what, in the order of time."""
    noted: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    with contextlib.suppress(FileNotFoundError):
        for line in (folder / "witness").read_text().splitlines():
            label, taskid, attempt, what = line.split()
            noted[label].append((taskid, int(attempt), what))
    return noted


def begun(folder: Path, label: str) -> list[int]:
    """The attempts of a job that have begun, in the order of time."""
    return [attempt for _, attempt, what in read(folder)[label] if what == "began"]


def ask(daemon: Any, **message: Any) -> dict[str, Any] | None:
    """The response to a request; None where the daemon dies before it has answered."""
    message = {"key": daemon.admin_key, **message}
    try:
        answer: dict[str, Any] = daemon.send(json.dumps(message).encode() + b"\n")
    except (OSError, ValueError):
        return None
    return answer


def kill_runner(daemon: Any, pid: int | None = None) -> None:
    """SIGKILL for the runner of a daemon, if it lives."""
    pid = daemon.runner if pid is None else pid
    if pid and (family.mark_of(pid) or "").endswith("/runner/0"):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def home(tools: Any, *options: str, **settings: Any) -> Iterator[Any]:
    """A daemon with a folder of its own, of which nothing is left afterwards.

    Args:
        tools: the functions of tests/conftest.py.
        options: of the daemon; it has the task `witness` beside.
        settings: see `Daemon`.
    """
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        (folder / "tasks").mkdir()
        (folder / "tasks" / "witness.py").write_text(WITNESS)

        daemon = tools.Daemon(folder, "--tasks", str(folder / "tasks"), *options, **settings)
        try:
            yield daemon
        finally:
            end(daemon, tools)


def end(daemon: Any, tools: Any) -> None:
    """Have a daemon end, and see that nothing of it is left, nor of any of its runners."""
    runner = daemon.runner
    try:
        daemon.stop()
    except BaseException:
        daemon.kill()
        kill_runner(daemon, runner)
        for pid in daemon.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        raise
    tools.wait_until(lambda: not runners(daemon), "no runner is left")


def runners(daemon: Any) -> list[int]:
    """The runners of a daemon's data folder that live."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if os.fsencode(daemon.data) in words and b"--data" not in words:
                    found.append(int(entry.name))
    return found
