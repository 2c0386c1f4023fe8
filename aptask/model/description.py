"""The plain description of a task: all that the daemon ever knows of one.

Discovery makes it in a child process from authors' code, or `configured` from a few lines of
configuration; `index` shows it, and `start` checks arguments by it. It holds no code: where a
task's author must be asked, `target` says whom a child process of the runner has to load.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aptask.model.arguments import Argument


class Kind(StrEnum):
    """What a child process does with a target."""

    TASK = "task"
    """a class whose instances have `run`"""
    PROGRAM = "program"
    """a class whose instances name a program to spawn"""
    CALLABLE = "callable"
    """any callable: it is called with the arguments by name"""


class Target(msgspec.Struct, frozen=True):
    """Where authors' code is found.

    Attributes:
        kind: what to do with it.
        module: the name to import, or, with `file`, the name to give to it.
        attribute: the dotted name within the module.
        file: the path of the source file, where it is no importable module.
        path: folders to put before `sys.path`, or behind it with `file`.
    """

    kind: Kind
    module: str
    attribute: str
    file: str | None = None
    path: tuple[str, ...] = ()


class Template(msgspec.Struct, frozen=True):
    """A program to spawn, with `{argument}` in the places of arguments: pure data.

    A value that is text holds placeholders; other values stand for themselves, and None for
    what is not set. `command` may be one placeholder that stands for a whole list.
    `secret_variables` are those of `env` whose values are as secret as secret arguments.
    """

    command: tuple[str, ...]
    cwd: str | None = None
    env: dict[str, str] | str | None = None
    stdin: str | None = None
    stdin_file: str | None = None
    nice: int | str | None = None
    memory_limit: int | str | None = None
    progress: str = "auto"
    secret_variables: tuple[str, ...] = ()


class Description(msgspec.Struct, frozen=True):
    """What is known of a task.

    Attributes:
        name: by which it is started.
        help: what it does, for people.
        arguments: in their order.
        origin: the file, configuration or distribution that it comes from, for people.
        target: the code to load in a child process; or
        template: the program to spawn. Exactly one of the two is set.
        requires: names of programs that must be installed.
        grace: seconds between being asked to stop and being killed.
        isolated: whether each job has a fresh process.
        privileged: whether it reaches whatever the daemon's account reaches: admins may start it,
            and those users whose `tasks` name it.
    """

    name: str
    help: str
    arguments: tuple[Argument, ...]
    origin: str
    target: Target | None = None
    template: Template | None = None
    requires: tuple[str, ...] = ()
    grace: float = 10.0
    isolated: bool = False
    privileged: bool = False


class Failure(msgspec.Struct, frozen=True):
    """A task that could not be described.

    Attributes:
        plugin: the module, file, entry point or table that is at fault.
        error: what is wrong with it, for its author.
    """

    plugin: str
    error: str
