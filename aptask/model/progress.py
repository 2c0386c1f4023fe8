"""How far a job is: a fraction, and a message for people.

Rules: a fraction is between 0 and 1 and never falls within an attempt; a message is one line of at
most `MESSAGE_LENGTH` characters without control characters. `advance` is the only place that
holds values to them, whoever reported them: a parser, a report on the job's descriptor, a task.
"""

from __future__ import annotations

import unicodedata

import msgspec

MESSAGE_LENGTH = 1000
"""The most characters of a message that are kept."""


class Progress(msgspec.Struct, frozen=True, gc=False):
    """One report of how far a job is.

    Attributes:
        fraction: 0.0 to 1.0, or None where this report measures nothing.
        message: for people, or None where this report says nothing new.
    """

    fraction: float | None = None
    message: str | None = None


_SLACK = 1e-6
"""How far beyond 0 and 1 a fraction may be by rounding; what is further out measures nothing."""

NOTHING = Progress()
"""The progress of a job that has not said anything."""


def advance(before: Progress, report: Progress) -> Progress:
    """What is known after a report.

    Args:
        before: what was known.
        report: what was reported, as it came: any fraction, any text. A fraction that is none
            (40 for 40 %, NaN) is passed over: a wrong bar is worse than none.

    Returns:
        `before` itself where the report adds nothing; else the new state, with a fraction that is
        not below the one before, and a clean message.
    """
    fraction = before.fraction
    if report.fraction is not None and -_SLACK <= report.fraction <= 1.0 + _SLACK:
        clamped = min(max(float(report.fraction), 0.0), 1.0)
        fraction = clamped if fraction is None else max(fraction, clamped)
    message = before.message if report.message is None else clean(report.message)
    if fraction == before.fraction and message == before.message:
        return before
    return Progress(fraction, message)


def clean(text: str) -> str:
    """One line for people: no control characters, white space folded, at most 1,000 characters."""
    if not text.isprintable():
        text = "".join(
            " " if character.isspace() else character
            for character in text
            if character.isspace() or unicodedata.category(character) not in _CONTROL
        )
    return text.strip()[:MESSAGE_LENGTH]


_CONTROL = ("Cc", "Cf", "Cs")
"""Unicode's control characters, invisible formatting (which can reorder a line), surrogates."""
