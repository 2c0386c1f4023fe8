"""The catalog: descriptions of all tasks by name, and the work that a start of one is.

It is asked for each request, so that all that can be made ready once is. It runs no code of tasks'
authors, and looks at no file but for the programs that tasks require.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from aptask.errors import InvalidArguments
from aptask.model.arguments import check, describe, schema
from aptask.model.description import Description
from aptask.model.hiding import secret_texts
from aptask.model.orders import Call, Spawn, Work
from aptask.tasks.guard import home, is_within, join
from aptask.tasks.template import compile_template

CACHED = 5.0
"""Seconds for which it is remembered whether a program is installed."""

Values = Mapping[str, Any]

_encode = msgspec.json.Encoder().encode


class Catalog:
    """Descriptions by name.

    Args:
        descriptions: at most one of each name.
        which: gives the path of a program, None where it is not installed (`shutil.which`).
        clock: seconds that never go back.
        data_folder: the daemon's own, into which no privileged program is pointed.

    Raises:
        ValueError: a template is wrong.
    """

    def __init__(
        self,
        descriptions: Iterable[Description],
        which: Callable[[str], str | None],
        clock: Callable[[], float],
        data_folder: str | None = None,
    ) -> None:
        self._descriptions = {each.name: each for each in sorted(descriptions, key=_by_name)}
        self._which = which
        self._clock = clock
        self._private = (
            ()
            if data_folder is None
            else {os.path.abspath(data_folder), os.path.realpath(data_folder)}
        )
        self._installed: dict[str, tuple[float, bool]] = {}
        self._prepared = {
            name: (description, self._prepare(description))
            for name, description in self._descriptions.items()
        }
        self._entries = {name: _entry(each) for name, each in self._descriptions.items()}

    def get(self, name: str) -> Description | None:
        """The task of a name, or None."""
        return self._descriptions.get(name)

    def names(self) -> list[str]:
        """All names, sorted."""
        return list(self._descriptions)

    def nearest(self, name: str, allowed: Callable[[Description], bool]) -> list[str]:
        """The names most like one that is not there, three at most, the likeliest first.

        Args:
            name: whatever a client has asked for.
            allowed: whether a task may be named to this client.
        """
        names = [each.name for each in self._descriptions.values() if allowed(each)]
        # Its cost grows with the length; no name is as long as that.
        return difflib.get_close_matches(name[:200], names, 3, 0.6)

    def entries(
        self, allowed: Callable[[Description], bool], with_schema: bool = False
    ) -> list[dict[str, Any]]:
        """What `index` answers.

        Args:
            allowed: whether a task is listed.
            with_schema: whether each has its arguments as a JSON Schema, too.

        Returns:
            an object for each task, by name; to be encoded, not to be changed.
        """
        entries = []
        for name, description in self._descriptions.items():
            if not allowed(description):
                continue
            entry = self._entries[name]
            reason = self.unavailable(description)
            if with_schema:
                entry = {**entry, "schema": schema(description.arguments)}
            if reason is not None:
                entry = {**entry, "unavailable": reason}
            entries.append(entry)
        return entries

    def unavailable(self, description: Description) -> str | None:
        """Why a task cannot run here; None where it can."""
        for program in description.requires:
            if not self._is_installed(program):
                return f"{program} is not installed"
        return None

    def accept(
        self, description: Description, given: Sequence[Any] | Mapping[str, Any]
    ) -> dict[str, Any]:
        """The values that a client's arguments are, checked as far as can be before it runs.

        Raises:
            InvalidArguments: they do not fit the task, or make no program.
        """
        values = check(description.arguments, given)
        if description.template is not None:
            self._work(description, values)
        return values

    def work(self, description: Description, values: Values) -> Work:
        """What a runner has to do.

        Args:
            description: of this catalog, or of an earlier one.
            values: of `accept`, secrets included.

        Raises:
            InvalidArguments: the values make no program, or do not fit since the task is another.
        """
        try:
            # They may have been accepted of an earlier description.
            fitting = check(description.arguments, values)
        except InvalidArguments as error:
            raise InvalidArguments(f"the task is another one by now: {error.message}") from None
        return self._work(description, fitting)

    def _work(self, description: Description, values: Values) -> Work:
        prepared = self._prepared.get(description.name)
        if prepared is None or prepared[0] is not description:
            return self._prepare(description)(values)
        return prepared[1](values)

    def _is_installed(self, program: str) -> bool:
        now = self._clock()
        seen = self._installed.get(program)
        if seen is None or now - seen[0] >= CACHED:
            seen = (now, self._which(program) is not None)
            self._installed[program] = seen
        return seen[1]

    def _prepare(self, description: Description) -> Callable[[Values], Work]:
        target, template = description.target, description.template
        if template is None:
            if target is None:
                raise ValueError(f"{description.name}: has neither a target nor a template")
            isolated = description.isolated
            return lambda values: Call(
                target,
                msgspec.Raw(_encode(values)),
                isolated,
                secret_texts(description.arguments, values),
            )
        try:
            fill = compile_template(template, description.arguments)
        except ValueError as error:
            raise ValueError(f"{description.name}: {error}") from None
        private = self._private
        if not description.privileged or not private:
            return fill
        start = home()

        def fill_guarded(values: Values) -> Spawn:
            spawn = fill(values)
            for folder in private:
                _refuse(spawn, start, folder)
            return spawn

        return fill_guarded


def _refuse(spawn: Spawn, start: str, private: str) -> None:
    """Refuse what is in the data folder by its name: the reactor must not wait for a disk."""
    folder = start if spawn.cwd is None else join(start, spawn.cwd)
    if is_within(folder, private):
        raise InvalidArguments(f"{folder} is in aptask's own data folder")
    # A path from outside into the folder has its name in it; few words do.
    name = os.path.basename(private)
    for word in (*spawn.command, spawn.stdin_file or ""):
        if name in word and "/" in word and is_within(join(folder, word), private):
            raise InvalidArguments(f"{word} is in aptask's own data folder")


def _entry(description: Description) -> dict[str, Any]:
    return {
        "name": description.name,
        "help": description.help,
        "arguments": [describe(argument) for argument in description.arguments],
    }


def _by_name(description: Description) -> str:
    return description.name
