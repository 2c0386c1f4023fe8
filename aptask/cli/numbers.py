"""Numbers and times as they are typed on the command line; argparse says what is wrong with one."""

from __future__ import annotations

import re
from argparse import ArgumentTypeError
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def seconds(text: str) -> float:
    """A number of seconds.

    Raises:
        ArgumentTypeError, ValueError: it is none.
    """
    number = float(text)
    if not 0 <= number < float("inf"):
        raise ArgumentTypeError(f"not a number of seconds: {text}")
    return number


def count(text: str) -> int:
    """A whole number that is not negative.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not (text.isascii() and text.isdigit()):
        raise ArgumentTypeError(f"not a whole number >= 0: {text}")
    return int(text)


def time(text: str) -> datetime:
    """A time: how long ago (`90s`, `2h`, `3d`, `1w`), or as ISO 8601 writes it.

    Raises:
        ArgumentTypeError: it is none, or none that a calendar has.
    """
    try:
        if match := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})
        # Without a zone it is this machine's.
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise ArgumentTypeError(
            f"not a time: {text}; write how long ago, as 2h, or 2026-11-24T18:30"
        ) from None
