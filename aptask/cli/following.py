"""Staying with tasks until their end: bars on a terminal, lines in a pipe, or their output.

Each task is watched over a connection of its own, in a thread of its own: so none is missed that
ends before it is watched, or while a daemon is waited for. Of very many tasks `WATCHED_AT_ONCE`
are, in their order, and the next ones when these have ended.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, Self

from aptask.cli import harmless, show
from aptask.cli.screen import Screen
from aptask.cli.session import Session
from aptask.client.blocking import Client
from aptask.model.messages import Task

WATCHED_AT_ONCE = 50
"""How many tasks are watched at the same time."""

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
        forgets: whether one that has ended does not come again.
    """

    def __init__(
        self,
        screen: Screen,
        what_counts: Callable[[Task], object] | None = None,
        forgets: bool = False,
    ) -> None:
        self._screen = screen
        self._what_counts = what_counts or _all_but_time
        self._forgets = forgets
        self._shown: dict[str, object] = {}

    def update(self, tasks: Sequence[Task]) -> None:
        """Print those of the tasks that have changed."""
        for task in tasks:
            counts = self._what_counts(task)
            if self._shown.get(task.taskid) != counts:
                self._shown[task.taskid] = counts
                self._screen.row(show.task_row(task))
            if self._forgets and show.has_ended(task):
                del self._shown[task.taskid]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass


def watch(
    client: Client, taskids: Sequence[str], seconds: float | None = None
) -> Iterator[list[Task]]:
    """Tasks as they are, after each change of one of them, the last time when all have ended.

    Args:
        client: whom to ask.
        taskids: which; their order is kept.
        seconds: how long at most; None: as long as it takes.

    Raises:
        UnknownTaskid: one of them is not there.
        TimeoutError: they have not ended in that time.
    """
    tasks: dict[str, Task | None] = dict.fromkeys(taskids)
    left: SimpleQueue[str] = SimpleQueue()
    changes: SimpleQueue[Task | BaseException] = SimpleQueue()
    for taskid in tasks:
        left.put(taskid)
    for _ in range(min(len(tasks), WATCHED_AT_ONCE)):
        threading.Thread(target=_watch_some, args=(client, left, changes), daemon=True).start()
    first = list(tasks)[:WATCHED_AT_ONCE]
    deadline = None if seconds is None else time.monotonic() + seconds
    going = len(tasks)
    while going:
        change = _next(changes, deadline)
        if isinstance(change, BaseException):
            raise change
        going -= show.has_ended(change)
        tasks[change.taskid] = change
        # In their order from the beginning.
        if all(tasks[taskid] is not None for taskid in first):
            yield [task for task in tasks.values() if task is not None]


def _watch_some(
    client: Client, left: SimpleQueue[str], changes: SimpleQueue[Task | BaseException]
) -> None:
    """Watch tasks, one after the other, until none is left."""
    try:
        while True:
            for task in client.watch(left.get_nowait()):
                changes.put(task)
    except Empty:
        pass
    except BaseException as failure:
        changes.put(failure)


def _next(
    changes: SimpleQueue[Task | BaseException], deadline: float | None
) -> Task | BaseException:
    try:
        return changes.get(
            timeout=None if deadline is None else max(deadline - time.monotonic(), 0)
        )
    except Empty:
        raise TimeoutError("the tasks have not ended in time") from None


def wait(session: Session, taskids: Sequence[str]) -> list[Task]:
    """Show how tasks go until all have ended; Ctrl-C leaves them running.

    Returns:
        The tasks, ended.
    """
    with _left_running(session.screen, taskids):
        if session.options.json:
            return [session.client.wait(taskid) for taskid in taskids]
        tasks: list[Task] = []
        with display(session.screen) as shown:
            for tasks in watch(session.client, taskids):
                shown.update(tasks)
        return [session.client.show(task.taskid) if task.cut is True else task for task in tasks]


def watch_all(session: Session, owner: str | None) -> None:
    """Show the tasks that have not ended, live, until Ctrl-C: a table on a terminal, else lines.

    Args:
        session: whose.
        owner: for admins: whose tasks, `*` for everyone's; None: one's own.
    """
    tasks = session.client.watch(owner=owner)
    if session.screen.moves:
        # rich takes longer to import than most commands to run.
        from aptask.cli.live import LiveTable

        shown: AbstractContextManager[Display] = LiveTable()
    else:
        shown = Lines(session.screen, forgets=True)
    with shown as display:
        for task in tasks:
            display.update([task])


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
