"""Numbers as they are typed on the command line; argparse says what is wrong with one."""

from __future__ import annotations

from argparse import ArgumentTypeError


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
