"""Cuts what a program writes into the few lines that are worth reading.

Rules: a line ends at a line feed, a carriage return or a backspace, for a bar is drawn over by
either. However fast lines come, the work for one piece of output is bounded: lines are looked for
backward from its end, by the bytes that a line of interest holds (which costs no Python code for
those between), and at most `limit` of them are handed on. What must not be missed, such as the one
line that tells the total, is named as a landmark and found wherever it is. What is kept between two
pieces is the unfinished line, and of it at most `LINE_LENGTH` bytes, its end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

LINE_LENGTH = 4096
"""The most bytes of a line that are kept; of a longer one the end remains."""

LANDMARKS = 32
"""The most lines with a landmark that are handed on from one piece of output."""

_MOVES = re.compile(rb"\x1b\[(?:\d*[ABEFGH]|\d+;\d+[Hf]|[12]K|[0-3]?J)")
_ESCAPES = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|$)|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-Z^-~]|$)"
)


class Line(NamedTuple):
    """One line.

    Attributes:
        text: without colours and the white space around it, bytes that are not UTF-8 replaced.
        rewritten: whether it was written over another, or another over it: a bar, or its like.
    """

    text: str
    rewritten: bool


class Lines:
    """Collects output and hands on lines.

    Args:
        marks: a line is handed on if it holds one of these; every line where none is given.
        landmarks: lines that hold one of these are handed on however much follows them.
        length: the most bytes of a line that are kept.

    Attributes:
        landmarks: as given; to be emptied by who has seen what it needs, for the search costs.
    """

    def __init__(
        self,
        marks: Sequence[bytes] = (),
        landmarks: Sequence[bytes] = (),
        length: int = LINE_LENGTH,
    ) -> None:
        self._marks = tuple(marks)
        self.landmarks = tuple(landmarks)
        self._length = length
        self._rest = b""
        self._rewrites = False

    @property
    def rest(self) -> bytes:
        """The bytes of the unfinished line."""
        return self._rest

    def feed(self, data: bytes, limit: int) -> list[Line]:
        """Takes a piece of output.

        Args:
            data: the bytes, cut anywhere.
            limit: the most lines handed on, the newest ones; those with landmarks come on top.

        Returns:
            the lines of interest that it completes, the oldest first.
        """
        raw = self._rest + data if self._rest else data
        flat = raw
        if b"\r" in flat:
            flat = flat.replace(b"\r", b"\n")
        if b"\b" in flat:
            flat = flat.replace(b"\b", b"\n")
        end = flat.rfind(b"\n")
        if end < 0:
            self._rest = raw[-self._length :]
            return []
        begun_by_rewriting = self._rewrites
        found: list[Line] = []
        for start, stop in self._interesting(flat, end, limit):
            if start:
                rewritten = raw[start - 1] != 10
            else:
                rewritten = begun_by_rewriting
            # A terminal writes line feeds as \r\n; only a \r without one is a return to draw over.
            if not rewritten and raw[stop] != 10 and raw[stop + 1 : stop + 2] not in (b"\n", b""):
                rewritten = True
            found += _clean(raw[max(start, stop - self._length) : stop], rewritten)
        self._rewrites = raw[end] != 10
        self._rest = raw[max(end + 1, len(raw) - self._length) :]
        return found

    def unfinished(self) -> Line | None:
        """The line that has begun but not ended, or None where there is none."""
        pieces = _clean(self._rest, self._rewrites)
        return pieces[-1] if pieces else None

    def finish(self) -> list[Line]:
        """Takes the unfinished line as ended.

        Returns:
            what it holds; nothing when called again.
        """
        pieces = _clean(self._rest, self._rewrites)
        self._rest = b""
        return pieces

    def _interesting(self, flat: bytes, end: int, limit: int) -> list[tuple[int, int]]:
        """Where the lines of interest before `end` start and stop, in their order."""
        spans: list[tuple[int, int]] = []
        if self._marks:
            places = [flat.rfind(mark, 0, end) for mark in self._marks]
            while len(spans) < limit and (place := max(places)) >= 0:
                start = flat.rfind(b"\n", 0, place) + 1
                spans.append((start, flat.find(b"\n", place)))
                places = [
                    old if old < start else flat.rfind(mark, 0, start)
                    for old, mark in zip(places, self._marks, strict=True)
                ]
        else:
            stop = end
            while len(spans) < limit and stop >= 0:
                start = flat.rfind(b"\n", 0, stop) + 1
                if stop > start:
                    spans.append((start, stop))
                stop = start - 1
        spans.reverse()
        first = spans[0][0] if spans else end + 1
        before: set[tuple[int, int]] = set()
        for landmark in self.landmarks:
            place = flat.find(landmark, 0, first)
            while place >= 0 and len(before) < LANDMARKS:
                stop = flat.find(b"\n", place)
                before.add((flat.rfind(b"\n", 0, place) + 1, stop))
                place = flat.find(landmark, stop, first)
        return sorted(before) + spans if before else spans


def _clean(line: bytes, rewritten: bool) -> list[Line]:
    """The text of a line without escape sequences: more than one where the cursor was moved."""
    if b"\x1b" not in line:
        text = line.decode("utf-8", "replace").strip()
        return [Line(text, rewritten)] if text else []
    pieces = _MOVES.split(line)
    moved = rewritten or len(pieces) > 1
    texts = (_ESCAPES.sub(b"", piece).decode("utf-8", "replace").strip() for piece in pieces)
    return [Line(text, moved) for text in texts if text]
