"""Staying with tasks until their end: bars on a terminal, lines in a pipe, or their output.

Until there is a `watch` request, how tasks go is seen by asking: every 0.2 s for bars, every second
for lines. The question about the first of them is a `wait` with that time limit, so that an end is
seen at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Protocol, Self

from aptask.cli import harmless, show
from aptask.cli.screen import Screen
from aptask.cli.session import Session
from aptask.client.blocking import Client
from aptask.model.messages import Task

BARS_SECONDS, LINES_SECONDS = 0.2, 1.0
"""Seconds between two looks."""

FAILED, APTASK_FAILED = 1, 125
"""The exit status where a task did not end as `done`; and where its program's own is not known."""


class Display(Protocol):
    """Something that shows how tasks go."""

    def update(self, tasks: Sequence[Task]) -> None:
        """Show the tasks as they are now."""


class Lines:
    """Shows tasks in a pipe: a line for each change of one.

    Args:
        screen: where.
        what_counts: what of a task has to have changed; by default all but the time it has run.
    """

    def __init__(self, screen: Screen, what_counts: Callable[[Task], object] | None = None) -> None:
        self._screen = screen
        self._what_counts = what_counts or _all_but_time
        self._shown: dict[str, object] = {}

    def update(self, tasks: Sequence[Task]) -> None:
        """Print those of the tasks that have changed."""
        for task in tasks:
            counts = self._what_counts(task)
            if self._shown.get(task.taskid) != counts:
                self._shown[task.taskid] = counts
                self._screen.row(show.task_row(task))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def watch(client: Client, taskids: Sequence[str], interval: float) -> Iterator[list[Task]]:
    """Tasks as they are, again and again, the last time when all have ended.

    Args:
        client: whom to ask.
        taskids: which; their order is kept.
        interval: seconds between two looks.

    Raises:
        UnknownTaskid: one of them is not there.
    """
    tasks = {taskid: client.show(taskid) for taskid in taskids}
    while True:
        yield list(tasks.values())
        going = [taskid for taskid, task in tasks.items() if not show.has_ended(task)]
        if not going:
            return
        tasks[going[0]] = client.wait(going[0], interval)
        for taskid in going[1:]:
            tasks[taskid] = client.show(taskid)


def wait(session: Session, taskids: Sequence[str]) -> list[Task]:
    """Show how tasks go until all have ended; Ctrl-C leaves them running.

    Returns:
        The tasks, ended.
    """
    with _left_running(session.screen, taskids):
        if session.options.json:
            return [session.client.wait(taskid) for taskid in taskids]
        tasks: list[Task] = []
        interval = BARS_SECONDS if session.screen.moves else LINES_SECONDS
        with display(session.screen) as shown:
            for tasks in watch(session.client, taskids, interval):
                shown.update(tasks)
        return tasks


def display(screen: Screen) -> AbstractContextManager[Display]:
    """What shows tasks on this screen: live bars where they can be, else lines."""
    if screen.moves:
        # rich takes longer to import than most commands to run.
        from aptask.cli.live import Bars

        return Bars()
    return Lines(screen)


def follow(session: Session, taskid: str) -> Task:
    """Print what a task writes until its end; Ctrl-C leaves it running.

    Returns:
        The task, ended.
    """
    with _left_running(session.screen, [taskid]):
        print_output(session.screen, session.client.follow_output(taskid))
        task = session.client.wait(taskid)
    if task.status != "done":
        session.screen.note(f"task {taskid}: {show.status(task)}: {task.message}")
    return task


def print_output(screen: Screen, pieces: Iterator[str]) -> None:
    """A task's output: as it came in a pipe, on a terminal without what would harm it."""
    if not screen.is_terminal:
        for piece in pieces:
            screen.raw(piece)
        return
    output = harmless.OutputFilter(screen.colours)
    try:
        for piece in pieces:
            screen.raw(output.feed(piece))
    finally:
        if screen.colours:
            screen.raw(harmless.RESET)


def exit_of_tasks(tasks: Sequence[Task]) -> int:
    """The exit status that says whether all went well."""
    return 0 if all(task.status == "done" for task in tasks) else FAILED


def exit_of_program(task: Task) -> int:
    """The exit status of a program that was run as a task: its own, as a shell would have it.

    Returns:
        Its exit code; 128 and the number of the signal that ended it; or `APTASK_FAILED` where it
        has none, or was ended by aptask and says that all went well.
    """
    if task.exit is None or (task.exit == 0 and task.status != "done"):
        return APTASK_FAILED
    return task.exit if task.exit >= 0 else 128 - task.exit


@contextmanager
def _left_running(screen: Screen, taskids: Sequence[str]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        ids = " ".join(taskids)
        screen.note(
            f"left running: see it again with `aptask wait {ids}`, end it with `aptask stop {ids}`",
            even_quiet=True,
        )
        raise


def _all_but_time(task: Task) -> object:
    row = show.task_row(task)
    del row[show.TASK_TITLES.index("TIME")]
    return row
