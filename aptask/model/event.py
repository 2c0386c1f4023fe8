"""What is written into the event log, for those who run the daemon.

An event tells of something that has happened, in one line for people. It is written in the same
transaction as what it tells of, where that is a change of the book.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

EVENT_LENGTH = 500
"""The most characters of an event's message."""


class Level(StrEnum):
    """What an event is about; in the order of the codes that the book has for them."""

    ERROR = "error"
    """something is at fault here: a plugin, the runner, the disk"""
    CLIENT = "client"
    """a request was refused"""
    REQUEST = "request"
    """an admin's request was carried out"""
    TASKING = "tasking"
    """a task's state has changed"""
    STATISTICS = "statistics"
    """how much there is and was to do"""


class Author(msgspec.Struct, frozen=True, gc=False):
    """Who asked for something.

    Attributes:
        user: the name of the key; empty where there is none.
        peer: where the request came from, for people; empty where it was no request.
    """

    user: str = ""
    peer: str = ""


NOBODY = Author()
"""The author of what happens by itself."""


class Event(msgspec.Struct, frozen=True, gc=False):
    """What is to be written.

    Attributes:
        level: what it is about.
        message: one line, made with `visible` where it repeats what others made up.
        author: who brought it about.
    """

    level: Level
    message: str
    author: Author = NOBODY


class Logged(msgspec.Struct, frozen=True, gc=False):
    """An event that was written.

    Attributes:
        number: rising from 1 in the order of writing; never used again.
        time: when it was written, in seconds since the epoch.
        event: what it tells.
    """

    number: int
    time: float
    event: Event


def visible(text: str, length: int = EVENT_LENGTH) -> str:
    """A text that somebody made up, fit for one line: what cannot be seen stands escaped.

    Args:
        text: any; control characters, line ends, and what reorders or hides text become `\\\\x1b`
            and the like, so that no terminal and no reader of lines is misled.
        length: the most characters to give; a longer one ends with `...`.
    """
    if not text.isprintable():
        text = "".join(
            character
            if character.isprintable()
            else character.encode("unicode_escape", "surrogatepass").decode()
            for character in text[: length + 1]
        )
    return text if len(text) <= length else text[: length - 3] + "..."
