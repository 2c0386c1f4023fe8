"""What a `Program` class says of the program that it drives, as a `Template`.

Each setting is a plain value with placeholders, an `argument`, or comes from the author's code (a
method, a property, what `__init__` has set). With the latter a template can only be made of an
instance, in a job's process; without, of the class alone.

No Twisted: this is imported by jobs' processes.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

from aptask.model.arguments import Argument
from aptask.model.description import Template
from aptask.tasks.declaration import Declaration
from aptask.tasks.task import Program, Runnable
from aptask.tasks.template import escape, refuse_secrets

SETTINGS = ("command", "cwd", "env", "secret_env", "stdin", "nice", "memory_limit", "progress")


def template_of_class(cls: type[Program]) -> Template | None:
    """The template of a class that is plain data.

    Returns:
        None where its author's code has to be asked.

    Raises:
        TypeError, ValueError: a setting is wrong; the message names it.
    """
    if cls.succeeded is not Program.succeeded or cls.__init__ is not Runnable.__init__:
        return None
    if any(_is_code(inspect.getattr_static(cls, name)) for name in SETTINGS):
        return None
    if inspect.getattr_static(cls, "secret_env") != {}:
        return None
    return _template({name: inspect.getattr_static(cls, name) for name in SETTINGS}, cls.__name__)


def refuse_public_secrets(cls: type[Program], arguments: Sequence[Argument]) -> None:
    """Refuse a secret argument in plain data of a class that is seen by others.

    What its author's code gives is known in a job's process only.

    Args:
        cls: a driver.
        arguments: its own, or as the configuration changes them.

    Raises:
        ValueError: one is there; the message names setting and argument.
    """
    for setting in ("command", "cwd", "stdin", "nice", "memory_limit", "progress"):
        static = inspect.getattr_static(cls, setting)
        if setting == "stdin" and not isinstance(static, os.PathLike):
            continue
        texts = static if isinstance(static, (list, tuple)) else [static]
        refuse_secrets(setting, map(_plain_text, texts), arguments)


def _plain_text(value: Any) -> Any:
    """What of a plain setting may hold placeholders, as text."""
    if isinstance(value, Declaration):
        return f"{{{value.name}}}"
    return _path(value) if isinstance(value, os.PathLike) else value


def template_of(instance: Program) -> Template:
    """The template of a run of a class, its author's code asked.

    Raises:
        TypeError, ValueError: a setting is wrong; the message names it.
    """
    cls = type(instance)
    settings = {}
    for name in SETTINGS:
        static = inspect.getattr_static(cls, name)
        if name in vars(instance) or isinstance(static, Declaration) or _is_code(static):
            value = getattr(instance, name)
            if name == "command" and callable(value):
                value = value()
            # A regular expression has no placeholders, so nothing to tell from them.
            settings[name] = value if name == "progress" else _literal(value)
        else:
            settings[name] = static
    return _template(settings, cls.__name__)


def _is_code(static: Any) -> bool:
    return not isinstance(static, Declaration) and hasattr(type(static), "__get__")


def _literal(value: Any) -> Any:
    """A value from an author's code, in which braces are braces."""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, os.PathLike):
        return _Path(escape(_path(value)))
    if isinstance(value, (list, tuple)):
        return [_literal(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _literal(item) for key, item in value.items()}
    return value


class _Path:
    """A path whose braces are escaped."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __fspath__(self) -> str:
        return self._text


def _template(settings: Mapping[str, Any], owner: str) -> Template:
    given = {
        name: f"{{{value.name}}}" if isinstance(value, Declaration) else value
        for name, value in settings.items()
    }
    command_is_argument = isinstance(settings["command"], Declaration)
    env_is_argument = isinstance(settings["env"], Declaration)
    try:
        stdin, stdin_file = _stdin(given["stdin"])
        return Template(
            command=(given["command"],) if command_is_argument else _command(given["command"]),
            cwd=None if given["cwd"] is None else _text("cwd", given["cwd"]),
            env=(
                given["env"]
                if env_is_argument
                else _env("env", given["env"]) | _env("secret_env", given["secret_env"]) or None
            ),
            stdin=stdin,
            stdin_file=stdin_file,
            nice=_number("nice", given["nice"]),
            memory_limit=_number("memory_limit", given["memory_limit"]),
            progress=_progress(given["progress"]),
            secret_variables=tuple(_env("secret_env", given["secret_env"])),
        )
    except TypeError as error:
        raise TypeError(f"{owner}: {error}") from None


def _command(value: Any) -> tuple[str, ...]:
    if not isinstance(value, (list, tuple)):
        hint = " (there is no shell: write each argument as an item)" * isinstance(value, str)
        raise TypeError(f"command must be a list of texts, not {_short(value)}{hint}")
    if not value:
        raise TypeError("command must be a list with a program at least, not empty")
    return tuple(_text("command", word) for word in value)


def _text(setting: str, value: Any, *, is_secret: bool = False) -> str:
    """Text, a path, or a number as text."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, os.PathLike):
        text = _path(value)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        text = str(value)
    else:
        shown = _kind(value) if is_secret else _short(value)
        raise TypeError(f"{setting} must hold text, paths and numbers only, not {shown}")
    if "\0" in text:
        raise TypeError(f"{setting} must not hold a NUL character")
    return text


def _path(value: os.PathLike[Any]) -> str:
    return os.fsdecode(value)


def _env(setting: str, value: Any) -> dict[str, str]:
    if value is None:
        return {}
    is_secret = setting == "secret_env"
    if not isinstance(value, Mapping):
        shown = _kind(value) if is_secret else _short(value)
        raise TypeError(f"{setting} must be a dict of variables, not {shown}")
    return {
        name: _text(f"{setting}[{name!r}]", text, is_secret=is_secret)
        for name, text in value.items()
    }


def _stdin(value: Any) -> tuple[str | None, str | None]:
    if value is None or isinstance(value, str):
        return value, None
    if isinstance(value, os.PathLike):
        return None, _path(value)
    name = getattr(value, "name", None)
    if hasattr(value, "read") and isinstance(name, (str, bytes, os.PathLike)):
        return None, escape(os.path.realpath(os.fsdecode(name)))
    raise TypeError(f"stdin must be text, a path or an open file, not {_short(value)}")


def _number(setting: str, value: Any) -> int | str | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    if isinstance(value, str) and value.startswith("{"):
        return value
    raise TypeError(f"{setting} must be a whole number, not {_short(value)}")


def _progress(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"progress must be the name of a parser, not {_short(value)}")
    return value


def _kind(value: Any) -> str:
    """What a value is, where it may be secret."""
    return f"a value of type {type(value).__name__}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
