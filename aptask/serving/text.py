"""Bytes that a program wrote, cut where they happen to be cut, as text for the wire."""

from __future__ import annotations

import codecs
from collections.abc import Callable

LARGEST_CHARACTER = 4
"""Bytes of a character in UTF-8, at most: as much has to fit into a piece to get past it."""


def decode_piece(piece: bytes, final: bool) -> tuple[str, int]:
    """A piece of output as text, without a character that is cut at its end.

    Args:
        piece: the bytes; those that are not UTF-8 are replaced.
        final: whether nothing will follow, so that an unfinished character is replaced, too.

    Returns:
        the text, and how many bytes at the end of the piece it leaves to the next one.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    text = decoder.decode(piece, final)
    return text, len(decoder.getstate()[0])


def read_text(
    read: Callable[[int, int, int], tuple[bytes, int]],
    job: int,
    offset: int,
    limit: int,
    has_ended: bool,
) -> tuple[str, int, bool]:
    """A piece of what a job wrote.

    Args:
        read: gives the bytes of a job from an offset on, and the offset behind them.
        job: its number.
        offset: in bytes as written.
        limit: the most bytes, at least `LARGEST_CHARACTER`.
        has_ended: whether the job had ended, as it was known before this was called.

    Returns:
        the text, the offset of what follows it, and whether nothing will.
    """
    piece, after = read(job, offset, limit)
    end = has_ended and not read(job, after, 1)[0]
    text, left = decode_piece(piece, final=end)
    return text, after - left, end
