"""From authors' code to plain descriptions. This runs in discovery's child processes only.

Whatever is wrong with a class or a callable is raised as a `TypeError` or `ValueError` whose
message is for its author.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from aptask.errors import InvalidArguments
from aptask.model.arguments import Argument
from aptask.model.description import Description, Kind, Target
from aptask.tasks.declaration import arguments_of, make_argument
from aptask.tasks.settings import refuse_public_secrets, template_of_class
from aptask.tasks.signature import read_signature
from aptask.tasks.task import Program, Runnable, is_task, name_of
from aptask.tasks.template import check_progress, compile_template, first_program

_NAME = re.compile(r"\w[\w.-]{0,99}")


def check_name(name: object) -> str:
    """The name of a task, if it can be one.

    Raises:
        ValueError: it cannot.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"name must be up to 100 letters, digits, `_`, `-` and `.`, not {name!r}")
    return name


def describe_class(cls: type[Runnable], target: Target, origin: str) -> Description:
    """A `Task` or `Program` class as plain data.

    Args:
        cls: passes `is_task`.
        target: where it is found; its kind is set here.
        origin: where it comes from, for people.
    """
    arguments = arguments_of(cls)
    kind, template, requires = Kind.TASK, None, _requires(cls)
    try:
        name = check_name(name_of(cls))
        if issubclass(cls, Program):
            kind = Kind.PROGRAM
            refuse_public_secrets(cls, arguments)
            template = template_of_class(cls)
            if template is not None:
                compile_template(template, arguments)
                program = first_program(template)
                requires = requires or (() if program is None or "/" in program else (program,))
            elif isinstance(progress := inspect.getattr_static(cls, "progress"), str):
                check_progress(progress)
        return Description(
            name=name,
            help=_help(cls.__doc__),
            arguments=arguments,
            origin=origin,
            target=None if template is not None else msgspec.structs.replace(target, kind=kind),
            template=template,
            requires=requires,
            grace=_seconds(cls.grace),
            isolated=_flag("isolated", cls.isolated),
            privileged=_flag("privileged", cls.privileged),
        )
    except (TypeError, ValueError, InvalidArguments) as error:
        message = str(error)
        if not message.startswith(cls.__name__ + ":"):
            message = f"{cls.__name__}: {message}"
        raise ValueError(message) from None


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """A callable that the configuration makes a task of.

    Attributes:
        name: of the task.
        python: `module:attribute`.
        origin: the file and table, for people.
        arguments: what the table says of arguments; it wins over the signature.
        The others are those of `Description`; None is what the callable itself says.
    """

    name: str
    python: str
    origin: str
    help: str | None = None
    arguments: dict[str, dict[str, Any]] = {}
    requires: tuple[str, ...] = ()
    grace: float | None = None
    isolated: bool | None = None
    privileged: bool | None = None


def describe_configured(task: Configured, found: Any, target: Target) -> Description:
    """A configured callable, or class of a task, as plain data.

    Args:
        task: the table.
        found: what `task.python` names.
        target: where it is found; its kind is set here.
    """
    if is_task(found):
        described = describe_class(found, target, task.origin)
        described = msgspec.structs.replace(
            described,
            name=task.name,
            arguments=_with_fields(described.arguments, task.arguments),
        )
        if issubclass(found, Program):
            refuse_public_secrets(found, described.arguments)
        if described.template is not None:
            compile_template(described.template, described.arguments)
    elif isinstance(found, type) and issubclass(found, Runnable):
        raise TypeError(f"{found.__name__} is only a base of tasks: it has no `run` or `command`")
    elif not callable(found):
        raise TypeError(f"{task.python} is {type(found).__name__}, and cannot be called")
    else:
        described = _describe_callable(task, found, target)
    changes = {
        name: value
        for name in ("help", "grace", "isolated", "privileged")
        if (value := getattr(task, name)) is not None
    }
    if task.requires:
        changes["requires"] = task.requires
    return msgspec.structs.replace(described, **changes)


def _describe_callable(task: Configured, found: Callable[..., Any], target: Target) -> Description:
    return Description(
        name=task.name,
        help=_help(getattr(found, "__doc__", None)),
        arguments=read_signature(found, task.arguments),
        origin=task.origin,
        target=msgspec.structs.replace(target, kind=Kind.CALLABLE),
    )


def _with_fields(
    arguments: tuple[Argument, ...], fields: Mapping[str, Mapping[str, Any]]
) -> tuple[Argument, ...]:
    surplus = fields.keys() - {argument.name for argument in arguments}
    if surplus:
        raise ValueError("arguments: there is no " + ", ".join(f"`{n}`" for n in sorted(surplus)))
    return tuple(
        _changed(argument, fields[argument.name]) if argument.name in fields else argument
        for argument in arguments
    )


def _changed(argument: Argument, said: Mapping[str, Any]) -> Argument:
    fields = msgspec.structs.asdict(argument)
    kind, name, required = fields.pop("type"), fields.pop("name"), fields.pop("required")
    if required:
        del fields["default"]
    fields.update(said)
    try:
        return make_argument(name, fields.pop("type", kind), **fields)
    except (TypeError, ValueError) as error:
        raise type(error)(f"argument `{name}`: {error}") from None


def _help(docstring: object) -> str:
    return inspect.cleandoc(docstring) if isinstance(docstring, str) else ""


def _requires(cls: type[Runnable]) -> tuple[str, ...]:
    given = cls.requires
    if isinstance(given, (list, tuple)) and all(isinstance(one, str) and one for one in given):
        return tuple(given)
    raise TypeError(f"{cls.__name__}: requires must be a list of names of programs, not {given!r}")


def _seconds(given: Any) -> float:
    is_number = isinstance(given, (int, float)) and not isinstance(given, bool)
    if is_number and given >= 0 and math.isfinite(given):
        return float(given)
    raise TypeError(f"grace must be seconds, not {given!r}")


def _flag(setting: str, given: object) -> bool:
    if isinstance(given, bool):
        return given
    raise TypeError(f"{setting} must be True or False, not {given!r}")
