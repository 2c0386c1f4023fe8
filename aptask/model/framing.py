"""Where a request ends: JSON objects found in a stream of bytes, however it is cut.

A pure room: bytes are fed in as they come, the bytes of whole objects come out. Its rules:

- Between objects there is only white space: space, tab, carriage return, newline. Anything else
  before a `{` is an error at once, so that no other protocol can be mistaken for ours.
- An object is complete when its last brace closes. Brackets must match, a string holds no raw
  control character, all is UTF-8; whether it is JSON beyond that is for its reader to find out.
- What comes out, and the error with its message, never depends on how the stream was cut: each
  error belongs to one byte, the first with which it is certain, and the first of them all counts.
  All complete objects before it come out first. Behind it nothing is looked at.
- Cost is linear in the length: what was scanned is never scanned again.
"""

from __future__ import annotations

import codecs
import re
from typing import Final

from aptask.errors import AptaskError, Malformed, TooLarge

_SPACE = re.compile(rb"[ \t\r\n]*+")
_OUTSIDE = re.compile(
    # From a place outside strings to the next bracket, over all strings that are complete ...
    rb'[^"{}\[\]]*+(?:"[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+"[^"{}\[\]]*+)*+'
)
_INSIDE = re.compile(
    # ... and from a place inside a string to its end, or to what is not yet, or never, its rest.
    rb'[^"\\\x00-\x1f]*+(?:\\[^\x00-\x1f][^"\\\x00-\x1f]*+)*+'
)
_QUOTE, _BACKSLASH, _OBJECT, _ARRAY = b'"\\{['
_CLOSING: Final = {_OBJECT: ord("}"), _ARRAY: ord("]")}


class Framer:
    """Finds the objects of one stream.

    Args:
        max_bytes: the longest object.
        max_depth: the deepest nesting of braces and brackets.
    """

    __slots__ = (
        "_buffer",
        "_closers",
        "_decoder",
        "_failed",
        "_in_string",
        "_not_text",
        "_position",
        "max_bytes",
        "max_depth",
    )

    def __init__(self, max_bytes: int, max_depth: int) -> None:
        self.max_bytes = max_bytes
        self.max_depth = max_depth
        self._buffer = bytearray()
        """begins with the object under way, or with what is between objects"""
        self._position = 0
        """up to where the buffer is scanned"""
        self._closers = bytearray()
        """the brackets that are due, innermost last; empty between objects"""
        self._in_string = False
        self._decoder: codecs.IncrementalDecoder | None = None
        """made for the first bytes that are not ASCII; None while no character is unfinished"""
        self._not_text = False
        """whether the byte behind the buffer is one that UTF-8 cannot have there"""
        self._failed = False

    @property
    def pending(self) -> bool:
        """Whether a request is under way, as far as `next` has looked."""
        return bool(self._closers) and not self._failed

    @property
    def idle(self) -> bool:
        """Whether nothing fed before bears on what is fed next."""
        return not self._buffer and not self._failed and not self._not_text

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the stream. What they hold is had from `next`."""
        if self._failed or self._not_text:
            return
        if self._decoder is not None or not data.isascii():
            wrong = self._find_not_text(data)
            if wrong is not None:
                self._not_text = True
                data = data[:wrong]
        self._buffer += data

    def next(self) -> bytes | None:
        """The next complete object, from its first brace to its last; None: not yet.

        Raises:
            Malformed: what follows cannot be a request; raised once, then there is nothing more.
            TooLarge: it is longer or deeper than the limits; likewise.
        """
        if self._failed:
            return None
        if not self._closers and not self._begin():
            return None
        buffer, closers = self._buffer, self._closers
        position, end = self._position, min(len(buffer), self.max_bytes)
        while True:
            if self._in_string:
                position = _INSIDE.match(buffer, position, end).end()  # type: ignore[union-attr]
                if position >= end:
                    break
                found = buffer[position]
                if found == _QUOTE:
                    self._in_string = False
                    position += 1
                elif found == _BACKSLASH and position + 1 >= end:
                    break
                else:
                    wrong = buffer[position + 1] if found == _BACKSLASH else found
                    raise self._fail(
                        Malformed(
                            f"a raw control character (0x{wrong:02x}) inside a string, at byte "
                            f"{position + 1 + (found == _BACKSLASH)} of the request: "
                            "write it as \\n, \\t or \\u...."
                        )
                    )
            position = _OUTSIDE.match(buffer, position, end).end()  # type: ignore[union-attr]
            if position >= end:
                break
            found = buffer[position]
            position += 1
            if found == _QUOTE:
                self._in_string = True
            elif found in _CLOSING:
                if len(closers) >= self.max_depth:
                    raise self._fail(
                        TooLarge(f"the request is nested more than {self.max_depth} levels deep")
                    )
                closers.append(_CLOSING[found])
            elif closers[-1] == found:
                closers.pop()
                if not closers:
                    return self._take(position)
            else:
                raise self._fail(
                    Malformed(
                        f"`{chr(found)}` at byte {position} of the request, "
                        f"where `{chr(closers[-1])}` is due"
                    )
                )
        self._position = position
        if len(buffer) > self.max_bytes:
            raise self._fail(TooLarge(f"the request is longer than {self.max_bytes} bytes"))
        if self._not_text:
            raise self._fail(
                Malformed(f"the request is not UTF-8 text, at byte {len(buffer) + 1} of it")
            )
        return None

    def end(self) -> None:
        """The stream has ended. To be called when `next` has nothing more to give.

        Raises:
            Malformed: a request is unfinished.
        """
        if self.pending:
            raise self._fail(
                Malformed(f"the request is unfinished: {self._due()} is due, and the input ended")
            )

    def overdue(self, seconds: float) -> AptaskError:
        """Give up the request under way, which did not come whole within its time.

        Returns:
            the error to answer with.
        """
        return self._fail(
            Malformed(f"the request is unfinished after {seconds:g} seconds: {self._due()} is due")
        )

    def _begin(self) -> bool:
        """Pass over white space and the brace that begins an object; False: there is none yet."""
        buffer = self._buffer
        position = _SPACE.match(buffer).end()  # type: ignore[union-attr]
        if position:
            del buffer[:position]
        if not buffer:
            if self._not_text:
                raise self._fail(Malformed("not a request: this is not UTF-8 text"))
            return False
        if buffer[0] != _OBJECT:
            raise self._fail(
                Malformed(
                    f"not a request: a request is a JSON object and begins with `{{`, "
                    f"not with {_show(buffer[0])}"
                )
            )
        self._closers.append(_CLOSING[_OBJECT])
        self._position = 1
        return True

    def _take(self, end: int) -> bytes:
        buffer = self._buffer
        if end == len(buffer):
            self._buffer = bytearray()
            self._position = 0
            return bytes(buffer)
        taken = bytes(memoryview(buffer)[:end])
        del buffer[:end]  # cheap: a bytearray moves its beginning, not its bytes
        self._position = 0
        return taken

    def _fail(self, error: AptaskError) -> AptaskError:
        self._failed = True
        self._buffer = bytearray()
        self._decoder = None
        return error

    def _due(self) -> str:
        return "the end of a string" if self._in_string else f"`{chr(self._closers[-1])}`"

    def _find_not_text(self, data: bytes) -> int | None:
        """The place of the first byte with which it is certain that this is not UTF-8."""
        decoder = self._decoder
        if decoder is None:
            decoder = codecs.getincrementaldecoder("utf-8")()
        carried = len(decoder.getstate()[0])
        try:
            decoder.decode(data)
        except UnicodeDecodeError as error:
            certain = error.start if error.reason == "invalid start byte" else error.end
            return certain - carried
        carried_on = decoder.getstate()[0]
        if len(carried_on) == 2 and carried_on[0] == 0xED and carried_on[1] >= 0xA0:
            return len(data) - 1  # a surrogate: Python tells only with the byte behind these two
        self._decoder = decoder if carried_on else None
        return None


def _show(byte: int) -> str:
    return f"`{chr(byte)}`" if 0x21 <= byte < 0x7F else f"the byte 0x{byte:02x}"
