"""What is wrong with a request's fields, in words for people.

msgspec finds the fault; its messages speak of Python's types. Here they get the words of the wire,
and the name of the field first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from msgspec import ValidationError

from aptask.model.event import visible
from aptask.model.messages import REQUESTS, Request, fields

NAME_LENGTH = 100
"""How many characters of a name that a client made up are repeated to it."""

_WORDS = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "an array",
    "object": "an object",
    "null": "null",
    "datetime": "a time",
}
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_MISSING = re.compile(r"Object missing required field `(.*)`")
_WRONG_TYPE = re.compile(
    r"Expected `([^`]+)`, got `([^`]+)` - at `\$\.(\w+(?:\[\d+\])?)(?:\[\.\.\.\])?`"
)
_WRONG_LENGTH = re.compile(r"Expected `(\w+)` of length (>=|<=) (\d+) - at `\$\.(\w+(?:\[\d+\])?)`")
_WRONG_TEXT = re.compile(r"Expected `str` matching regex .*\\\\0.* - at `\$\.(\w+)`")
_WRONG_NAME = re.compile(r"Expected `str` matching regex .* - at `\$\.(\w+)`")
_WRONG_CHOICE = re.compile(r"Invalid enum value .* - at `\$\.(\w+)`", re.DOTALL)
_WRONG_TIME = re.compile(
    r"(?:Invalid RFC3339 encoded datetime|Expected `datetime` with a timezone component)"
    r" - at `\$\.(\w+)`"
)
_OUT_OF_BOUNDS = re.compile(r"Expected `\w+` (>=|<=|>|<) ([^ ]+) - at `\$\.(\w+)`")
_BOUNDS = {">=": "at least", "<=": "at most", ">": "more than", "<": "less than"}


def explain(request: type[Request], error: ValidationError) -> str:
    """Say which field of a request is wrong, and what it should be."""
    text = str(error)
    if match := _UNKNOWN.fullmatch(text):
        return f"no such field: `{match[1][:NAME_LENGTH]}`; {_takes(request)}"
    if match := _MISSING.fullmatch(text):
        return f"field `{match[1]}` is missing; {_takes(request)}"
    if match := _WRONG_TYPE.fullmatch(text):
        wanted = " or ".join(_WORDS.get(kind, kind) for kind in match[1].split(" | "))
        given = "a fraction" if match[2] == "float" else _WORDS.get(match[2], match[2])
        return f"field `{match[3]}` must be {wanted}, not {given}"
    if match := _OUT_OF_BOUNDS.fullmatch(text):
        return f"field `{match[3]}` must be {_BOUNDS[match[1]]} {match[2].removesuffix('.0')}"
    if match := _WRONG_LENGTH.fullmatch(text):
        if (match[2], match[3]) == (">=", "1"):
            return f"field `{match[4]}` must not be empty"
        parts = "characters" if match[1] == "str" else "entries"
        return f"field `{match[4]}` must have {_BOUNDS[match[2]]} {match[3]} {parts}"
    if match := _WRONG_TEXT.fullmatch(text):
        return f"field `{match[1]}` must not hold the character NUL"
    if match := _WRONG_NAME.fullmatch(text):
        return f"field `{match[1]}` may hold letters, digits and characters of `._@+-` only"
    if match := _WRONG_CHOICE.fullmatch(text):
        choices = ", ".join(f"`{choice}`" for choice in fields(request)[match[1]]["choices"])
        return f"field `{match[1]}` must be one of {choices}"
    if match := _WRONG_TIME.fullmatch(text):
        return f"field `{match[1]}` must be a time with its zone, as 2026-11-24T03:46:00Z"
    if text.startswith(("Expected", "Object")):
        return f"the request is not of its shape: {text}"
    return text  # of the request's own check


def no_task(name: str, nearest: Sequence[str]) -> str:
    """Say that there is no task of a name, and which ones are called nearly so."""
    near = " or ".join(f"`{one}`" for one in nearest)
    return f"no task `{visible(name, NAME_LENGTH)}`" + (f"; did you mean {near}?" if near else "")


def explain_name(name: Any) -> str:
    """Say what is wrong with a value that should be a request's name."""
    return f"field `request` must be text, not {_kind(name)}"


def list_requests() -> str:
    """The names of all requests, for a sentence."""
    return ", ".join(f"`{name}`" for name in REQUESTS)


def _takes(request: type[Request]) -> str:
    name = request.__struct_config__.tag
    fields = [field for field in request.__struct_fields__ if field not in ("key", "id")]
    listed = ", ".join(f"`{field}`" for field in [*fields, "key", "id"])
    return f"`{name}` takes {listed}"


def _kind(value: Any) -> str:
    for kind, word in (
        (bool, "true or false"),
        ((int, float), "a number"),
        (list, "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, kind):
            return word
    return "null"
