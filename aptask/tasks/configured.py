"""Tasks from a few lines of configuration: `[tasks.NAME]` tables.

A table with `command` is a program, described here in full. One with `python` names a callable,
which only discovery's child process may import; what the table says of it is checked here.

Every mistake is a `ConfigurationError` whose message begins with table and field
(`tasks.thumbnail.arguments.width: ...`); the caller knows the file.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aptask.errors import ConfigurationError
from aptask.model.arguments import TYPES, Argument
from aptask.model.description import Description, Template
from aptask.tasks.declaration import make_argument
from aptask.tasks.describe import Configured, check_name
from aptask.tasks.template import compile_template, first_program

_COMMON = ("help", "arguments", "grace", "isolated", "requires", "privileged")
_PROGRAM = ("command", "progress", "cwd", "env", "secret_env", "stdin", "nice", "memory_limit")
_ARGUMENT = ("type", "required", "default", "help", "choices", "minimum", "maximum", "secret")
_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
_NAMES = {type_: name for name, type_ in TYPES.items()}


class Configuration(msgspec.Struct, frozen=True):
    """The tasks of a configuration.

    Attributes:
        descriptions: those with `command`.
        callables: those with `python`, for discovery.
    """

    descriptions: tuple[Description, ...] = ()
    callables: tuple[Configured, ...] = ()


def read_tasks(tables: object, origin: str) -> Configuration:
    """Read the table `tasks` of a configuration.

    Args:
        tables: as parsed from TOML: a table for each task by its name.
        origin: the file, for people.

    Raises:
        ConfigurationError: a table or field is wrong.
    """
    descriptions, callables = [], []
    for name, table in _table("tasks", tables).items():
        where = f"tasks.{name}"
        try:
            check_name(name)
        except ValueError as error:
            raise ConfigurationError(f"{where}: {error}") from None
        fields = _table(where, table)
        if ("command" in fields) == ("python" in fields):
            raise ConfigurationError(f"{where}: must have one of `command` and `python`")
        task_origin = f"{origin}: [{where}]"
        if "command" in fields:
            descriptions.append(_read_program(name, where, fields, task_origin))
        else:
            callables.append(_read_callable(name, where, fields, task_origin))
    return Configuration(tuple(descriptions), tuple(callables))


def _read_program(name: str, where: str, table: dict[str, Any], origin: str) -> Description:
    _check_fields(where, table, (*_COMMON, *_PROGRAM))
    arguments = tuple(
        _argument(f"{where}.arguments.{argument}", argument, fields)
        for argument, fields in _argument_tables(where, table).items()
    )
    command = tuple(_texts(f"{where}.command", table["command"]))
    stdin, stdin_file = _stdin(f"{where}.stdin", table.get("stdin"))
    env, secret_variables = _environments(where, table)
    template = Template(
        command=command,
        cwd=_typed(where, table, "cwd", str, None),
        env=env,
        stdin=stdin,
        stdin_file=stdin_file,
        nice=_number(where, table, "nice"),
        memory_limit=_number(where, table, "memory_limit"),
        progress=_typed(where, table, "progress", str, "auto"),
        secret_variables=secret_variables,
    )
    try:
        compile_template(template, arguments)
    except ValueError as error:
        # Its message begins with the setting.
        raise ConfigurationError(f"{where}.{error}") from None
    program = first_program(template)
    common = _common(where, table)
    if not common["requires"] and program is not None and "/" not in program:
        common["requires"] = (program,)
    return Description(
        name,
        common["help"] or "",
        arguments,
        origin,
        template=template,
        requires=common["requires"],
        grace=10.0 if common["grace"] is None else common["grace"],
        isolated=bool(common["isolated"]),
        privileged=bool(common["privileged"]),
    )


def _read_callable(name: str, where: str, table: dict[str, Any], origin: str) -> Configured:
    for field in _PROGRAM:
        if field in table:
            raise ConfigurationError(f"{where}.{field}: goes with `command`, not with `python`")
    _check_fields(where, table, (*_COMMON, "python"))
    python = _typed(where, table, "python", str, "")
    if not _PLACE.fullmatch(python):
        raise ConfigurationError(f"{where}.python: must be `module:callable`, not {python!r}")
    arguments = {}
    for argument, fields in _argument_tables(where, table).items():
        place = f"{where}.arguments.{argument}"
        said = _argument_fields(place, fields)
        # With what is said alone, as far as that goes: the signature says the rest.
        kind = said.get("type") or _type_of(said)
        if kind is not None:
            _make(place, argument, kind, said)
        arguments[argument] = said
    return Configured(
        name=name, python=python, origin=origin, arguments=arguments, **_common(where, table)
    )


def _common(where: str, table: dict[str, Any]) -> dict[str, Any]:
    grace = table.get("grace")
    if grace is not None:
        is_number = isinstance(grace, (int, float)) and not isinstance(grace, bool)
        if not is_number or not math.isfinite(grace) or grace < 0:
            raise ConfigurationError(f"{where}.grace: must be seconds, not {grace!r}")
        grace = float(grace)
    return {
        "help": _typed(where, table, "help", str, None),
        "grace": grace,
        "isolated": _typed(where, table, "isolated", bool, None),
        "requires": tuple(_texts(f"{where}.requires", table.get("requires", []))),
        "privileged": _typed(where, table, "privileged", bool, None),
    }


def _argument(place: str, name: str, table: object) -> Argument:
    said = _argument_fields(place, table)
    kind = said.get("type") or _type_of(said)
    if kind is None:
        raise ConfigurationError(f"{place}: needs a type: one of {', '.join(TYPES)}")
    return _make(place, name, kind, said)


def _argument_fields(place: str, table: object) -> dict[str, Any]:
    said = dict(_table(place, table))
    _check_fields(place, said, _ARGUMENT)
    kind = said.get("type")
    if "type" in said and (not isinstance(kind, str) or kind not in TYPES):
        raise ConfigurationError(f"{place}.type: must be one of {', '.join(TYPES)}, not {kind!r}")
    if "required" in said:
        required = said.pop("required")
        if required is not False or "default" in said:
            raise ConfigurationError(
                f"{place}.required: is false for an argument that may be left out and has no "
                "default; others do without it"
            )
        said["default"] = None
    return said


def _make(place: str, name: str, kind: str, said: Mapping[str, Any]) -> Argument:
    fields = {field: value for field, value in said.items() if field != "type"}
    try:
        return make_argument(name, kind, **fields)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{place}: {error}") from None


def _type_of(said: Mapping[str, Any]) -> str | None:
    default = said.get("default")
    return None if default is None else _NAMES.get(type(default))


def _argument_tables(where: str, table: dict[str, Any]) -> dict[str, Any]:
    return _table(f"{where}.arguments", table.get("arguments", {}))


def _stdin(where: str, value: object) -> tuple[str | None, str | None]:
    if value is None or isinstance(value, str):
        return value, None
    if isinstance(value, dict) and value.keys() == {"file"} and isinstance(value["file"], str):
        return None, value["file"]
    raise ConfigurationError(f'{where}: must be text, or {{ file = "..." }}, not {value!r}')


def _environments(
    where: str, table: Mapping[str, Any]
) -> tuple[dict[str, str] | str | None, tuple[str, ...]]:
    """`env` and `secret_env` together, and the names of what is in the latter."""
    env = _environment(f"{where}.env", table.get("env"))
    if "secret_env" not in table:
        return env, ()
    if isinstance(env, str):
        raise ConfigurationError(f"{where}.secret_env: does not go with an `env` from an argument")
    secret = table["secret_env"]
    if not isinstance(secret, dict) or not all(isinstance(each, str) for each in secret.values()):
        # Not what is there instead: it may be the secret.
        raise ConfigurationError(f"{where}.secret_env: must be a table of texts")
    return {**(env or {}), **secret}, tuple(secret)


def _environment(where: str, value: object) -> dict[str, str] | str | None:
    if value is None or isinstance(value, str):
        return value
    variables = _table(where, value)
    for name, text in variables.items():
        if not isinstance(text, str):
            raise ConfigurationError(f"{where}.{name}: must be text, not {text!r}")
    return variables


def _number(where: str, table: dict[str, Any], field: str) -> int | str | None:
    value = table.get(field)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ConfigurationError(f"{where}.{field}: must be a whole number, not {value!r}")


def _texts(where: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigurationError(f"{where}: must be a list of texts, not {value!r}")
    return value


def _typed(where: str, table: dict[str, Any], field: str, wanted: type[Any], otherwise: Any) -> Any:
    if field not in table:
        return otherwise
    value = table[field]
    if not isinstance(value, wanted):
        shown = {str: "text", bool: "true or false"}[wanted]
        raise ConfigurationError(f"{where}.{field}: must be {shown}, not {value!r}")
    return value


def _table(where: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigurationError(f"{where}: must be a table, not {value!r}")
    return value


def _check_fields(where: str, table: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for field in table:
        if field not in allowed:
            raise ConfigurationError(
                f"{where}.{field}: there is no such field; there are {', '.join(allowed)}"
            )
