"""Live bars on a terminal: a line a task, written again as it goes.

Importing this module imports rich, which takes its time: only who is about to show bars does it.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

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
            _text("{task.fields[time]}", justify="right", width=7),
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
                    "", taskid=task.taskid, name="", percent="", time="", status="", colour="none",
                    message="",
                )  # fmt: skip
            word = show.status(task)
            self._progress.update(
                bar,
                total=None if _pulses(task) else 1.0,
                completed=task.progress or 0.0,
                name=harmless.line(task.name),
                percent=show.percent(task.progress),
                time=show.duration(show.running_time(task)),
                status=f"{word}, place {task.position}" if task.position else word,
                colour=_COLOUR_NAMES.get(STATUS_COLOURS.get(word, ""), "none"),
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
