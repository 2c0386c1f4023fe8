"""Tasks and the index as text: what the columns are, and how values read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from aptask.model.messages import Task

TASK_TITLES = ("ID", "NAME", "STATUS", "PLACE", "DONE", "TIME", "MESSAGE")
"""The columns of a task's row."""

NOTHING = "-"
"""What stands where there is no value, so that the columns of a line can be told apart."""


def task_row(task: Task) -> list[str]:
    """A task in one row of a table, under `TASK_TITLES`."""
    return [
        task.taskid,
        task.name,
        status(task),
        str(task.position) if task.position else NOTHING,
        percent(task.progress) or NOTHING,
        duration(running_time(task)) or NOTHING,
        saying(task) or NOTHING,
    ]


def task_table(
    tasks: Sequence[Task], with_owner: bool = False
) -> tuple[Sequence[str], list[list[str]]]:
    """The titles and rows of tasks; `with_owner` says whose each is, behind its id."""
    rows = [task_row(task) for task in tasks]
    if not with_owner:
        return TASK_TITLES, rows
    return with_owners(TASK_TITLES, rows, tasks)


def with_owners(
    titles: Sequence[str], rows: Sequence[list[str]], tasks: Sequence[Task]
) -> tuple[Sequence[str], list[list[str]]]:
    """Titles and rows with whose each task is, behind the first column."""
    owners = [task.owner if isinstance(task.owner, str) else NOTHING for task in tasks]
    named = [[row[0], owner, *row[1:]] for row, owner in zip(rows, owners, strict=True)]
    return (titles[0], "OWNER", *titles[1:]), named


def task_fields(task: Task) -> list[tuple[str, str]]:
    """All that is known of a task, a field and its value each; what does not apply is left out."""
    fields = [
        ("taskid", task.taskid),
        ("name", task.name),
        ("status", status(task)),
        ("position", str(task.position) if task.position else ""),
        ("progress", percent(task.progress)),
        ("message", task.message),
        ("eta", duration(task.eta)),
        ("starts_in", duration(task.starts_in)),
        ("arguments", json(task.arguments)),
        ("created", task.created),
        ("started", task.started or ""),
        ("ended", task.ended or ""),
        ("time", duration(running_time(task))),
        ("attempt", str(task.attempt) if task.attempt > 1 else ""),
        ("priority", str(task.priority) if task.priority else ""),
        ("group", task.group if task.group != "default" else ""),
        ("owner", task.owner if isinstance(task.owner, str) else ""),
        ("exit", "" if task.exit is None else str(task.exit)),
        ("result", "" if task.result is None else json(task.result)),
    ]
    return [(name, value) for name, value in fields if value]


def saying(task: Task) -> str:
    """What a task has to say: what it returned, once it has, and its last message until then."""
    return task.message if task.result is None else json(task.result)


def has_ended(task: Task) -> bool:
    """Whether nothing more will happen to a task."""
    return task.state == "ended"


def status(task: Task) -> str:
    """How a task is, in one word: its state where it waits or is held, else its status."""
    return task.status if task.state in ("active", "ended") else task.state


def percent(fraction: float | None) -> str:
    """A fraction as a percentage, cut and not rounded: 100% is said of what is done. None: ''."""
    return "" if fraction is None else f"{int(fraction * 100 + 1e-9)}%"


def running_time(task: Task) -> float | None:
    """Seconds that a task has run, by this machine's clock where it still does; None: not yet."""
    if task.started is None:
        return None
    ended = datetime.now(UTC) if task.ended is None else _time(task.ended)
    return max((ended - _time(task.started)).total_seconds(), 0.0)


def duration(seconds: float | None) -> str:
    """Seconds for people: `0.3s`, `42s`, `3:05`, `2:03:05`. None: ''."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def json(value: Any) -> str:
    """A value as compact JSON."""
    return msgspec.json.encode(value).decode()


INDEX_TITLES = ("NAME", "ARGUMENTS", "HELP")
"""The columns of the index."""


def index_row(entry: Mapping[str, Any]) -> list[str]:
    """A task that may be started, in one row under `INDEX_TITLES`."""
    words = []
    for argument in entry.get("arguments", ()):
        name = str(argument["name"])
        if argument.get("required"):
            words.append(name)
        elif argument.get("default") is None:
            words.append(f"[{name}]")
        else:
            words.append(f"[{name}={_as_typed(argument['default'])}]")
    return [str(entry["name"]), " ".join(words) or NOTHING, _index_help(entry) or NOTHING]


ARGUMENT_TITLES = ("ARGUMENT", "TYPE", "DEFAULT", "HELP")
"""The columns of one task's arguments."""


def argument_row(argument: Mapping[str, Any]) -> list[str]:
    """An argument of a task, in one row under `ARGUMENT_TITLES`."""
    about = [str(argument["help"])] if argument.get("help") else []
    if argument.get("choices"):
        about.append("one of " + ", ".join(map(_as_typed, argument["choices"])))
    if "minimum" in argument:
        about.append(f"at least {argument['minimum']}")
    if "maximum" in argument:
        about.append(f"at most {argument['maximum']}")
    if argument.get("required"):
        default = "required"
    elif argument.get("default") is None:
        default = "optional"
    else:
        default = _as_typed(argument["default"])
    return [str(argument["name"]), str(argument["type"]), default, "; ".join(about) or NOTHING]


def _index_help(entry: Mapping[str, Any]) -> str:
    about = str(entry.get("help") or "").partition("\n")[0]
    if entry.get("unavailable"):
        about = f"(cannot run here: {entry['unavailable']}) {about}".rstrip()
    return about


def _as_typed(value: Any) -> str:
    """A value as it is written in the arguments of `aptask start`."""
    return value if isinstance(value, str) else json(value)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
