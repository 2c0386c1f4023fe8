"""The commands that start something: `start` and `run`."""

from __future__ import annotations

import os
from argparse import REMAINDER, ArgumentParser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aptask.cli import following
from aptask.cli.arguments import from_typed
from aptask.cli.session import Session, WrongUsage

PROGRAM_TASK = "program"
"""The task that runs any program."""


def start_options(parser: ArgumentParser) -> None:
    """What `aptask start` takes."""
    parser.add_argument("name", metavar="NAME", help="the task: see `aptask index`")
    parser.add_argument(
        "values",
        metavar="VALUE|name=VALUE",
        nargs="*",
        default=[],
        help="its arguments, by position or by name; a list or dict is JSON",
    )
    _staying_options(parser)


def start(session: Session) -> int:
    """Queue a task, and stay with it if that is asked for."""
    name, values = session.options.name, session.options.values
    arguments: list[Any] | dict[str, Any] = values
    if values:
        for entry in session.client.index():
            if entry["name"] == name:
                arguments = from_typed(values, entry["arguments"])
    taskid = session.client.submit(name, arguments, **_repeating(session))
    if session.options.follow:
        session.screen.note(f"task {taskid}")
        return following.exit_of_tasks([following.follow(session, taskid)])
    if session.options.wait:
        return following.exit_of_tasks(following.wait(session, [taskid]))
    session.screen.line(taskid)
    return 0


def run_options(parser: ArgumentParser) -> None:
    """What `aptask run` takes."""
    parser.usage = "aptask run [OPTION]... -- PROGRAM [ARG]..."
    _staying_options(parser)
    parser.add_argument(
        "--env",
        metavar="NAME[=VALUE]",
        action="append",
        default=[],
        help="a variable of its environment, which is clean; without a value, the one it has here;"
        " may be given again",
    )
    parser.add_argument(
        "--progress",
        metavar="PARSER",
        help="what reads its progress: rsync, ffmpeg, percent, ... or a regular expression"
        " (default: auto)",
    )
    parser.add_argument(
        "program",
        metavar="-- PROGRAM [ARG]...",
        nargs=REMAINDER,
        help="what to run, in this folder",
    )


def run(session: Session) -> int:
    """Run any program as a task in the current folder, and stay with it if that is asked for."""
    options = session.options
    command = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not command:
        raise WrongUsage("no program to run: aptask run [OPTION]... -- PROGRAM [ARG]...")
    arguments: dict[str, Any] = {"command": command, "cwd": str(_folder())}
    if options.env:
        arguments["env"] = _environment(options.env, os.environ)
    if options.progress is not None:
        arguments["progress"] = options.progress
    taskid = session.client.submit(PROGRAM_TASK, arguments, **_repeating(session))
    if options.follow:
        return following.exit_of_program(following.follow(session, taskid))
    if options.wait:
        return following.exit_of_program(following.wait(session, [taskid])[0])
    session.screen.line(taskid)
    return 0


def _staying_options(parser: ArgumentParser) -> None:
    parser.add_argument("--wait", action="store_true", help="show how it goes, until its end")
    parser.add_argument("--follow", action="store_true", help="print its output, until its end")
    parser.add_argument(
        "--once",
        metavar="TEXT",
        help="start nothing where a task was started with the same text: that one is meant",
    )
    parser.add_argument("--unique", metavar="TEXT", help="the same, while it has not ended")
    parser.add_argument(
        "--rerun",
        action="store_true",
        help="queue it again where it would end as interrupted: its machine died, say",
    )


def _repeating(session: Session) -> dict[str, Any]:
    options = session.options
    return {"once": options.once, "unique": options.unique, "rerun": options.rerun}


def _folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise WrongUsage("the current folder is not there any more") from None


def _environment(named: Sequence[str], own: Mapping[str, str]) -> dict[str, str]:
    """The variables that were named: `NAME=VALUE`, or `NAME` for the value in `own`."""
    variables = {}
    for text in named:
        name, equals, value = text.partition("=")
        if not name:
            raise WrongUsage(f"--env {text}: it has no name")
        if not equals and name not in own:
            raise WrongUsage(f"--env {name}: it is not set here; give it as {name}=VALUE")
        variables[name] = value if equals else own[name]
    return variables
