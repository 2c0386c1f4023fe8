"""The demo: a daemon, several kinds of real work at once, and how it goes, live.

    python -m aptask.cli.demo

All that it does with the daemon any client can do: it queues tasks with `submit`, sees how they go
with `watch`, and reads what one wrote with `read_output`. What it runs is in `demo_jobs`,
how its daemon is started and stopped in `demo_daemon`. It leaves nothing behind, and exits with 0
if every task ended as `done`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from aptask.cli import show
from aptask.cli.demo_daemon import DemoFailed, RunningDaemon, running_daemon
from aptask.cli.demo_jobs import prepare
from aptask.cli.following import Lines, watch
from aptask.cli.screen import Screen
from aptask.client import Client
from aptask.errors import AptaskError
from aptask.model.messages import Task

SLOTS = 2
"""Less than there are tasks: some wait, and their place in the queue is seen."""

LONGEST_SECONDS = 300.0
"""After which the demo gives up; it takes half a minute on a small machine."""

RESULT_TITLES = ("ID", "NAME", "STATUS", "TIME", "RESULT")


def main() -> int:
    """Run the demo.

    Returns:
        The exit status: 0 if every task ended as `done`.
    """
    signal.signal(signal.SIGTERM, _leave)
    screen = Screen()
    try:
        with tempfile.TemporaryDirectory(prefix="aptask-demo-") as folder:
            return _demo(screen, Path(folder))
    except KeyboardInterrupt:
        return 130
    except (DemoFailed, AptaskError, OSError, subprocess.CalledProcessError) as failure:
        print(f"demo: {failure}", file=sys.stderr)
        return 1


def _demo(screen: Screen, folder: Path) -> int:
    began = time.monotonic()
    screen.line(f"Makes something to work on in {folder}, and starts a daemon there.")
    work = folder / "work"
    work.mkdir()
    jobs = prepare(work, leave_out=screen.line)
    with running_daemon(folder, SLOTS) as daemon:
        _introduce(screen, daemon, len(jobs))
        taskids = [daemon.client.submit(job.name, job.arguments) for job in jobs]
        tasks = _show_until_the_end(screen, daemon.client, taskids)
        screen.line("")
        screen.table(RESULT_TITLES, [_result_row(task) for task in tasks])
        failed = [task for task in tasks if task.status != "done"]
        for task in failed:
            screen.line(f"What {task.name} ({task.taskid}) wrote:")
            for line in "".join(daemon.client.read_output(task.taskid)).splitlines():
                screen.line(f"  {line}")
    done = len(tasks) - len(failed)
    seconds = time.monotonic() - began
    screen.line(f"{done} of {len(tasks)} tasks done in {seconds:.0f} s; the daemon is stopped.")
    return 1 if failed else 0


def _introduce(screen: Screen, daemon: RunningDaemon, count: int) -> None:
    request = f'{{"key": "{daemon.key}", "request": "active"}}'
    for line in (
        f"Runs {count} tasks there, {SLOTS} at a time, and shows them until all have ended.",
        "Whoever has its key can talk to this daemon meanwhile, with no program of ours:",
        f"  echo '{request}' | nc -N 127.0.0.1 {daemon.port}",
        "",
    ):
        screen.line(line)


def _show_until_the_end(screen: Screen, client: Client, taskids: Sequence[str]) -> list[Task]:
    """Live bars on a terminal; elsewhere a line whenever a task has come 10% further."""
    tasks: list[Task] = []
    if screen.moves:
        from aptask.cli.live import Bars

        display: Bars | Lines = Bars()
    else:
        display = Lines(screen, what_counts=_tenths)
    try:
        with display as shown:
            for tasks in watch(client, taskids, LONGEST_SECONDS):
                shown.update(tasks)
    except TimeoutError:
        message = f"the tasks have not ended after {LONGEST_SECONDS:g} s"
        raise DemoFailed(message) from None
    return tasks


def _tenths(task: Task) -> object:
    tenths = None if task.progress is None else int(task.progress * 10)
    return show.status(task), task.position, tenths


def _result_row(task: Task) -> list[str]:
    return [
        task.taskid,
        task.name,
        show.status(task),
        show.duration(show.running_time(task)),
        show.saying(task) or show.NOTHING,
    ]


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Leave on SIGTERM as on Ctrl-C: with everything put away."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
