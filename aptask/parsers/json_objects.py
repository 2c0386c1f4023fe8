"""Any program that writes JSON objects, one a line, with its progress in them."""

from __future__ import annotations

import math

import msgspec

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.units import share


def json_object(line: str) -> dict[str, object] | None:
    """The object that a line is, or None where it is none."""
    if not (line.startswith("{") and line.endswith("}")):
        return None
    try:
        value = msgspec.json.decode(line)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def number(value: object) -> float | None:
    """A JSON value as a finite number, or None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        converted = float(value)
    except OverflowError:
        return None
    return converted if math.isfinite(converted) else None


def text(value: object) -> str | None:
    """A JSON value as a text, or None where it is none."""
    return value if isinstance(value, str) and value.strip() else None


def object_progress(found: dict[str, object]) -> Progress | None:
    """What an object says.

    Args:
        found: with `progress` (0 to 1), or `percent` (0 to 100), or `current` and `total`; and
            perhaps a `message`.

    Returns:
        None where it has none of these, or their values make no sense.
    """
    fraction = share(number(found.get("progress")), 1)
    if fraction is None:
        fraction = share(number(found.get("percent")), 100)
    if fraction is None:
        fraction = share(number(found.get("current")), number(found.get("total")))
    message = text(found.get("message"))
    if fraction is None and (message is None or len(found) > 1):
        return None
    return Progress(fraction, message)


class JsonParser(LineParser):
    """Takes the objects that say how far the program is."""

    marks = (b"}",)
    length = 65536
    longest = 65536

    def read(self, line: str) -> Progress | None:
        found = json_object(line)
        return None if found is None else object_progress(found)
