"""Tasks on a terminal, live: bars, a line a task, or a table of all that have not ended.

Importing this module imports rich, which takes its time: only who is about to show bars does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn
from rich.progress import Task as Bar
from rich.table import Column, Table
from rich.text import Text

from aptask.cli import harmless, show
from aptask.cli.screen import STATUS_COLOURS
from aptask.model.messages import Task

_COLOUR_NAMES = {"31": "red", "32": "green", "33": "yellow", "36": "cyan"}


class Bars:
    """Shows tasks as live bars: a context manager, within which nothing else is to be written."""

    def __init__(self) -> None:
        self._progress = Progress(
            _text("{task.fields[taskid]}", justify="right"),
            _text("{task.fields[name]}"),
            BarColumn(bar_width=24),
            _text("{task.fields[percent]}", justify="right", width=4),
            _TimeColumn(table_column=Column(justify="right", no_wrap=True, width=7)),
            _text("{task.fields[status]}", style="{task.fields[colour]}"),
            _text("{task.fields[message]}", ratio=1),
            expand=True,
        )
        self._bars: dict[str, TaskID] = {}

    def update(self, tasks: Sequence[Task]) -> None:
        """Show the tasks as they are now."""
        for task in tasks:
            bar = self._bars.get(task.taskid)
            if bar is None:
                bar = self._bars[task.taskid] = self._progress.add_task(
                    "", taskid=task.taskid, name="", percent="", task=task, status="",
                    colour="none", message="",
                )  # fmt: skip
            word = show.status(task)
            self._progress.update(
                bar,
                total=None if _pulses(task) else 1.0,
                completed=task.progress or 0.0,
                name=harmless.line(task.name),
                percent=show.percent(task.progress),
                task=task,
                status=f"{word}, place {task.position}" if task.position else word,
                colour=_colour(word),
                message=harmless.line(show.saying(task)),
            )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()


class LiveTable:
    """Shows the tasks that have not ended as a table, and each that ends as a line above it.

    A context manager, within which nothing else is to be written.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}
        self._console = Console()
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)

    def update(self, tasks: Sequence[Task]) -> None:
        """Show these tasks as they are now."""
        for task in tasks:
            if show.has_ended(task):
                self._tasks.pop(task.taskid, None)
                ended = _empty_table()
                ended.show_header = False
                ended.add_row(*_cells(task))
                self._console.print(ended)
            else:
                self._tasks[task.taskid] = task

    def _table(self) -> Table:
        """What runs first, then what waits, in its order: as much as there is room for."""
        tasks = sorted(self._tasks.values(), key=lambda task: (task.position, int(task.taskid)))
        room = max(self._console.height - 3, 1)
        table = _empty_table()
        for task in tasks[:room]:
            table.add_row(*_cells(task))
        if len(tasks) > room:
            table.add_row("", f"and {len(tasks) - room} more")
        return table

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._live.stop()


class _TimeColumn(ProgressColumn):
    """How long a task has run: it goes on while nothing is heard of it."""

    max_refresh = 0.2

    def render(self, task: Bar) -> Text:
        """The time now."""
        return Text(show.duration(show.running_time(task.fields["task"])))


def _empty_table() -> Table:
    """A table of tasks, whose columns stand under each other wherever it is printed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True)
    for title, width in zip(show.TASK_TITLES, (8, 16, 11, 6, 5, 8, None), strict=True):
        table.add_column(
            title, width=width, ratio=1 if width is None else None, no_wrap=True,
            overflow="ellipsis",
        )  # fmt: skip
    return table


def _cells(task: Task) -> list[Text]:
    """A row of a task: nothing of it is taken for markup, and its status is coloured."""
    cells = [Text(harmless.line(cell)) for cell in show.task_row(task)]
    cells[show.TASK_TITLES.index("STATUS")].stylize(_colour(show.status(task)))
    return cells


def _colour(status: str) -> str:
    """How rich calls the colour of a status."""
    return _COLOUR_NAMES.get(STATUS_COLOURS.get(status, ""), "none")


def _pulses(task: Task) -> bool:
    """Whether a task runs without saying how far it is."""
    return task.progress is None and show.status(task) == "running"


def _text(
    template: str,
    *,
    style: str = "none",
    justify: str = "left",
    width: int | None = None,
    ratio: int | None = None,
) -> TextColumn:
    column = Column(no_wrap=True, overflow="ellipsis", width=width, ratio=ratio)
    return TextColumn(
        template,
        style=style,
        justify="right" if justify == "right" else "left",
        markup=False,
        table_column=column,
    )
