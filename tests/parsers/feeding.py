"""What the parsers' tests share: where recordings are, and ways to feed them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

from aptask.model.progress import Progress
from aptask.parsers import Parser

RECORDINGS = Path(__file__).parent.parent / "recordings"


def feed(parser: Parser, pieces: Iterable[bytes]) -> list[Progress]:
    """Feeds pieces and the end, and returns everything that the parser said."""
    said = [report for piece in pieces if (report := parser.feed(piece)) is not None]
    last = parser.end()
    return said if last is None else [*said, last]


def fractions(said: Iterable[Progress]) -> list[float]:
    """The fractions that were said, the same one only once in a row."""
    found: list[float] = []
    for report in said:
        if report.fraction is not None and (not found or found[-1] != report.fraction):
            found.append(report.fraction)
    return found


def bytewise(data: bytes) -> Iterable[bytes]:
    """Data one byte at a time."""
    return (data[place : place + 1] for place in range(len(data)))


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """Data cut at these places."""
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:stop] for start, stop in pairwise(places)]
