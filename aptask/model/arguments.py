"""The typed arguments of a task: what they are, and whether what a client gave fits them.

A pure room: `check` turns what came on the wire, by position or by name, into one complete object
of values, or says which argument is wrong and why. `show` takes the secrets out of it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from aptask.errors import InvalidArguments

TYPES: dict[str, type] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "list": list,
    "dict": dict,
}
"""The types by their names on the wire."""

_SCHEMA_TYPES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "dict": "object",
}
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class Argument(msgspec.Struct, frozen=True, omit_defaults=True):
    """One argument of a task.

    Attributes:
        name: a Python identifier.
        type: a name of `TYPES`.
        required: whether it has to be given.
        default: its value where it is not given; None with `required` false makes it optional.
        help: for people.
        choices: the values it may have; of a secret one they are as secret.
        minimum, maximum: the least and the greatest number, or the bounds of a length for text
            and lists.
        secret: True: shown nowhere; "values": a dict of which only the keys are shown.
    """

    name: str
    type: str
    required: bool = True
    default: Any = None
    help: str = ""
    choices: tuple[Any, ...] | None = None
    minimum: int | float | None = None
    maximum: int | float | None = None
    secret: bool | Literal["values"] = False


def check(
    arguments: Sequence[Argument], given: Sequence[Any] | Mapping[str, Any]
) -> dict[str, Any]:
    """What a job gets, from what its client gave.

    Args:
        arguments: what the task takes.
        given: values by position, or by name.

    Returns:
        The value of each argument by its name, in the task's order; defaults filled in.

    Raises:
        InvalidArguments: an argument is missing, surplus, of the wrong type or out of bounds.
    """
    if isinstance(given, Mapping):
        named = given
        if len(named) > len(arguments) or not all(a.name in named for a in arguments):
            surplus = named.keys() - {argument.name for argument in arguments}
            if surplus:
                raise InvalidArguments(_surplus(arguments, surplus))
    else:
        if len(given) > len(arguments):
            raise InvalidArguments(
                f"too many arguments: {len(given)} given, at most {len(arguments)} taken"
                + _names(arguments)
            )
        named = {argument.name: value for argument, value in zip(arguments, given, strict=False)}
    values = {}
    for argument in arguments:
        if argument.name in named:
            values[argument.name] = check_value(argument, named[argument.name])
        elif argument.required:
            raise InvalidArguments(
                f"argument `{argument.name}` is missing: {argument.type}"
                + (f", {argument.help}" if argument.help else "")
            )
        else:
            values[argument.name] = argument.default
    return values


def check_value(argument: Argument, value: Any) -> Any:
    """A value as its argument takes it: text becomes a number or a bool where that is meant.

    Raises:
        InvalidArguments: it does not fit; the message names the argument.
    """
    if value is None:
        if argument.required or argument.default is not None:
            raise InvalidArguments(
                f"argument `{argument.name}` must be {_type(argument)}, not null"
            )
        return None
    value = _convert(argument, value)
    if argument.choices is not None and value not in argument.choices:
        if argument.secret:
            raise InvalidArguments(f"argument `{argument.name}` is none of the values it may have")
        choices = ", ".join(_json(choice) for choice in argument.choices)
        raise InvalidArguments(
            f"argument `{argument.name}` must be one of {choices}, not {_short(argument, value)}"
        )
    if argument.minimum is not None or argument.maximum is not None:
        _check_bounds(argument, value)
    if not isinstance(value, (int, float)):
        _check_text(argument, value)
    return value


def show(arguments: Iterable[Argument], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that may be shown: null in the place of each secret.

    Args:
        arguments: what the task takes.
        values: from `check`.
    """
    shown = dict(values)
    for argument in arguments:
        if argument.secret and argument.name in shown:
            value = shown[argument.name]
            if argument.secret == "values" and isinstance(value, dict):
                shown[argument.name] = dict.fromkeys(value)
            else:
                shown[argument.name] = None
    return shown


def secrets(arguments: Iterable[Argument], values: Mapping[str, Any]) -> dict[str, Any]:
    """The secret ones among values from `check`, as they are: those that `show` takes out."""
    return {
        argument.name: values[argument.name]
        for argument in arguments
        if argument.secret
        and values.get(argument.name) is not None
        and not (argument.secret == "values" and not values[argument.name])
    }


def describe(argument: Argument) -> dict[str, Any]:
    """An argument as `index` shows it."""
    shown: dict[str, Any] = {"name": argument.name, "type": argument.type}
    if argument.required:
        shown["required"] = True
    else:
        shown["default"] = show((argument,), {argument.name: argument.default})[argument.name]
    for name in ("help", "choices", "minimum", "maximum", "secret"):
        value = getattr(argument, name)
        if name == "choices" and argument.secret:
            continue
        if value is not None and value is not False and value != "":
            shown[name] = True if name == "secret" else value
    return shown


def schema(arguments: Sequence[Argument]) -> dict[str, Any]:
    """The arguments as a JSON Schema object (draft 2020-12)."""
    properties: dict[str, Any] = {}
    for argument in arguments:
        kind = _SCHEMA_TYPES[argument.type]
        optional = not argument.required and argument.default is None
        property_: dict[str, Any] = {"type": [kind, "null"] if optional else kind}
        if argument.help:
            property_["description"] = argument.help
        if argument.choices is not None and not argument.secret:
            property_["enum"] = [*argument.choices, None] if optional else list(argument.choices)
        lowest, highest = {
            "string": ("minLength", "maxLength"),
            "array": ("minItems", "maxItems"),
        }.get(kind, ("minimum", "maximum"))
        if argument.minimum is not None:
            property_[lowest] = argument.minimum
        if argument.maximum is not None:
            property_[highest] = argument.maximum
        if not argument.required and not argument.secret:
            property_["default"] = argument.default
        if argument.secret:
            property_["writeOnly"] = True
        properties[argument.name] = property_
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": properties,
        "required": [argument.name for argument in arguments if argument.required],
        "additionalProperties": False,
    }


def _convert(argument: Argument, value: Any) -> Any:
    wanted = argument.type
    if isinstance(value, str) and wanted in ("int", "float", "bool"):
        value = _from_text(argument, value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if wanted == "float" and is_number:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise InvalidArguments(f"argument `{argument.name}` must be a finite number")
        return value
    if wanted == "int" and isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if not isinstance(value, TYPES[wanted]) or (wanted == "int" and isinstance(value, bool)):
        raise InvalidArguments(
            f"argument `{argument.name}` must be {_type(argument)}, not {_short(argument, value)}"
        )
    if isinstance(value, int) and not _LOWEST <= value <= _HIGHEST:
        raise InvalidArguments(f"argument `{argument.name}` is beyond 64 bits")
    return value


def _from_text(argument: Argument, text: str) -> Any:
    if argument.type == "bool":
        if text in ("true", "false"):
            return text == "true"
    elif len(text) <= 400:
        match = _NUMBER.fullmatch(text)
        if match is not None:
            return float(text) if match[1] or match[2] else int(text)
    raise InvalidArguments(
        f"argument `{argument.name}` must be {_type(argument)}, not {_short(argument, text)}"
    )


def _check_bounds(argument: Argument, value: Any) -> None:
    if isinstance(value, (bool, dict)):
        return
    if isinstance(value, (int, float)):
        measured, unit = value, ""
    else:
        measured, unit = len(value), " characters" if isinstance(value, str) else " items"
    if argument.minimum is not None and measured < argument.minimum:
        bound = f"at least {argument.minimum}"
    elif argument.maximum is not None and measured > argument.maximum:
        bound = f"at most {argument.maximum}"
    else:
        return
    given = f"{measured}{unit}" if unit else _short(argument, value)
    raise InvalidArguments(
        f"argument `{argument.name}` must be {bound}{unit}"
        + ("" if argument.secret else f", not {given}")
    )


def _check_text(argument: Argument, value: Any) -> None:
    """Refuse what no program can be given, at any depth: iterative, since depth is the client's."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise InvalidArguments(f"argument `{argument.name}` must not hold a NUL character")
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())


def _surplus(arguments: Sequence[Argument], surplus: Iterable[str]) -> str:
    listed = ", ".join(f"`{name}`" for name in sorted(surplus)[:5])
    return f"no such argument: {listed}" + _names(arguments)


def _names(arguments: Sequence[Argument]) -> str:
    if not arguments:
        return "; this task takes none"
    return "; this task takes " + ", ".join(f"`{argument.name}`" for argument in arguments)


def _type(argument: Argument) -> str:
    return {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "list": "a list",
        "dict": "an object",
    }[argument.type]


def _short(argument: Argument, value: Any) -> str:
    if argument.secret:
        return "what was given"
    text = _json(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _json(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        return f"such a {type(value).__name__}"
