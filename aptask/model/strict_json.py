"""JSON as the protocol means it: one object, and nothing that two readers could read differently.

msgspec reads it, and refuses what is not JSON; it lets through repeated keys, of which it takes the
last, and integers of any length. Both are refused here. The tests for them are exact, and cheap
where nothing is wrong: only texts that may hold one of the two are read a second time.
"""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from aptask.errors import Malformed, TooLarge

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1
_OUTLINE = bytes(
    ord("0") if chr(byte).isdigit() else ord("{") if chr(byte) == "[" else byte
    for byte in range(128)
) + bytes(range(128, 256))
"""Translates every digit to 0 and every opening bracket to a brace."""
_LONG_NUMBER = b"0" * 19
_KEY = re.compile(rb'"[ \t\r\n]*+:')

_decode = msgspec.json.Decoder().decode


class NotStrict(Malformed):
    """JSON, but with a repeated key or an integer beyond 64 bits.

    Args:
        message: for people.
        values: what could be read without doubt of the outermost object.
    """

    def __init__(self, message: str, values: dict[str, Any]) -> None:
        super().__init__(message)
        self.values = values


def decode_object(text: bytes, max_depth: int) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        text: the object, perhaps with white space around it.
        max_depth: the deepest nesting.

    Raises:
        Malformed: it is not UTF-8, not JSON, not an object, not strict; the message says where.
        TooLarge: it is nested more deeply.
    """
    try:
        values = _decode(text)
    except UnicodeDecodeError as error:
        raise Malformed(f"not valid UTF-8: {error.reason}") from None
    except RecursionError:
        raise TooLarge(_too_deep(max_depth)) from None
    except msgspec.MsgspecError as error:
        raise Malformed(_explain(text, error)) from None
    if type(values) is not dict:
        raise Malformed("a request is a JSON object")
    outline = text.translate(_OUTLINE)
    if outline.count(b"{") > max_depth and _depth(values) > max_depth:
        raise TooLarge(_too_deep(max_depth))
    # Every key has its colon. Where there are no more colons than keys that were read, no key was
    # there twice. A colon within a string needs the second look: does it follow a quotation mark?
    colons = outline.count(b":")
    if _LONG_NUMBER in outline or (
        colons != len(values)
        and colons != (keys := _count_keys(values))
        and len(_KEY.findall(text)) != keys
    ):
        _check(text)
    return values


def _check(text: bytes) -> None:
    """Read valid JSON a second time, for what msgspec does not tell."""
    faults: list[str] = []

    def integer(digits: str) -> int:
        # Never more than 20 digits are converted: the time for that grows with their square.
        value = int(digits[:21])
        if not _LOWEST <= value <= _HIGHEST:
            # Not the number itself: it may be secret.
            count = len(digits.removeprefix("-"))
            faults.append(f"a number of {count} digits is not an integer from -2^63 to 2^63-1")
        return value

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(items)
        if len(values) != len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    faults.append(f"the key {json.dumps(key)[:100]} is there more than once")
                    values.pop(key, None)
                seen.add(key)
        return values

    values = json.loads(text, object_pairs_hook=pairs, parse_int=integer)
    if faults:
        raise NotStrict(faults[0], values)


def _count_keys(values: dict[str, Any]) -> int:
    count = 0
    waiting: list[Any] = [values]
    while waiting:
        item = waiting.pop()
        if type(item) is dict:
            count += len(item)
            waiting.extend(item.values())
        elif type(item) is list:
            waiting.extend(item)
    return count


def _depth(values: dict[str, Any]) -> int:
    depth = 0
    level: list[Any] = [values]
    while level:
        depth += 1
        below: list[Any] = []
        for item in level:
            below.extend(item.values() if type(item) is dict else item)
        level = [item for item in below if type(item) is dict or type(item) is list]
    return depth


def _too_deep(max_depth: int) -> str:
    return f"the request is nested more than {max_depth} levels deep"


def _explain(text: bytes, error: msgspec.MsgspecError) -> str:
    reason = str(error).removeprefix("JSON is malformed: ").split(" - at `")[0]
    if reason == "Input data was truncated":
        # What msgspec says for a lone surrogate, too: the object may well be complete.
        reason = "it is cut short, or has half of a surrogate pair (\\ud800 to \\udfff)"
    elif reason.endswith("out of range"):
        reason = "a number is out of range"
    return f"not valid JSON: {reason}"
