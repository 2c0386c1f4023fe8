"""Secret values as texts, and how they are kept out of what is said to people.

An argument declared secret reaches its process by environment or standard input. What is said of a
job may still quote it: an exception, the last line of a program's output, a report. So whoever has
the values hands on their texts, and `hider` takes these out of messages.

A text shorter than `SHORTEST` is passed over: it would be found everywhere, and hides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from aptask.model.arguments import Argument

SHORTEST = 4
"""Characters of the shortest text that is looked for."""
MASK = "***"
"""What stands in the place of a secret."""
LONGEST_SPELT = 10_000
"""Characters of the longest secret that is looked for in other spellings: it must not take long."""
CUT_LENGTH = 200
"""Characters from which on a message may have lost its beginning or end: none is cut shorter."""

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
"""The bytes that a URL spells as they are."""


def secret_texts(arguments: Iterable[Argument], values: Mapping[str, Any]) -> list[str]:
    """The texts in the values of secret arguments, each once.

    Args:
        arguments: what the task takes.
        values: from `aptask.model.arguments.check`.

    Returns:
        every text and number of `SHORTEST` characters or more, at any depth; of a dict of which
        only the values are secret, not its names.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        value = values.get(argument.name) if argument.secret else None
        if value is None:
            continue
        only_values = argument.secret == "values" and isinstance(value, dict)
        for text in _texts(list(value.values()) if only_values else value):
            if len(text.strip()) >= SHORTEST:
                found[text] = None
    return list(found)


def found_in(texts: Iterable[str], words: Sequence[str]) -> bool:
    """Whether one of the texts of secrets stands in a word, as it is."""
    return any(text.strip() in word for text in texts for word in words)


def hider(texts: Iterable[str]) -> Callable[[str], str]:
    """What takes secrets out of messages.

    A message is one line, so each line of a secret is hidden by itself; as it is, and, but for
    secrets longer than `LONGEST_SPELT`, as Python, JSON and URLs spell it. What is left of it where
    a message was cut is hidden, too.

    Args:
        texts: from `secret_texts`.

    Returns:
        gives a message with `MASK` in the place of each.
    """
    secrets = tuple(texts)
    pieces: list[str] | None = None

    def hide(message: str) -> str:
        nonlocal pieces
        if not secrets:
            return message
        if pieces is None:  # most jobs say nothing that has to be looked through
            unsorted = {spelt for text in secrets for spelt in _pieces(text)}
            pieces = sorted(unsorted, key=len, reverse=True)
        may_be_cut = len(message) >= CUT_LENGTH
        for piece in pieces:
            message = message.replace(piece, MASK)
        if may_be_cut:
            for piece in pieces:
                message = _hide_rest(message, piece)
        return message

    return hide


def outline(struct: msgspec.Struct, *left_out: str) -> str:
    """A struct for logs, as its `repr` would be, without the fields that hold secrets."""
    fields = ", ".join(
        f"{name}={getattr(struct, name)!r}"
        for name in struct.__struct_fields__
        if name not in left_out
    )
    return f"{type(struct).__name__}({fields})"


def _texts(value: Any) -> Iterator[str]:
    """The texts and numbers in a JSON value: iterative, since its depth is the client's."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, list):
            waiting.extend(item)
        elif isinstance(item, dict):
            waiting.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, (int, float)) and not isinstance(item, bool):
            yield json.dumps(item)


def _pieces(text: str) -> Iterator[str]:
    """The lines of a text, each in its spellings."""
    is_spelt = len(text) <= LONGEST_SPELT
    for piece in _lines(text):
        if len(piece) < SHORTEST:
            continue
        yield piece
        if is_spelt and not (piece.isascii() and piece.isalnum()):
            yield repr(piece)[1:-1]
            yield json.dumps(piece)[1:-1]
            yield "".join(
                chr(byte) if byte in _PLAIN else f"%{byte:02X}"
                for byte in piece.encode("utf-8", "replace")
            )


def _lines(text: str) -> Iterator[str]:
    """What stands between characters that no message has."""
    for line in text.splitlines():
        if not line.isprintable():
            line = "".join(each if each.isprintable() else "\n" for each in line)
        for part in line.split("\n"):
            yield part.strip()


def _hide_rest(message: str, piece: str) -> str:
    """Hide what is left of a piece at an end of a message."""
    head, tail = message[:SHORTEST], message[-SHORTEST:]
    if len(head) < SHORTEST:
        return message
    place = piece.find(tail)
    while place >= 0:
        if message.endswith(piece[: place + SHORTEST]):
            message = message[: -place - SHORTEST] + MASK
            break
        place = piece.find(tail, place + 1)
    place = piece.find(head)
    while place >= 0:
        if message.startswith(piece[place:]):
            return MASK + message[len(piece) - place :]
        place = piece.find(head, place + 1)
    return message
