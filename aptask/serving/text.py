"""Bytes that a program wrote, cut where they happen to be cut, as text for the wire."""

from __future__ import annotations

import codecs


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
