"""A line: things in rising order; the first is taken, and any may be taken out.

It is kept in short pieces, so that nothing in it costs more with a million than with a thousand:
what is put in or taken out moves its own piece only. Numbers are kept as eight bytes each.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, MutableSequence
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar


class Comparable(Protocol):
    """What has an order."""

    def __lt__(self, other: Any, /) -> bool: ...


T = TypeVar("T", bound=Comparable)

PIECE = 1024
"""How many a piece holds when it is begun at the end of a line; it is divided at twice as many."""

_last: Callable[[MutableSequence[Any]], Any] = itemgetter(-1)


def _numbers() -> MutableSequence[int]:
    return array("q")


class Line(Generic[T]):
    """Things in rising order, none of them twice.

    Args:
        piece: makes an empty piece, a list for instance.
    """

    __slots__ = ("_length", "_piece", "_pieces")

    def __init__(self, piece: Callable[[], MutableSequence[T]]) -> None:
        self._piece = piece
        self._pieces: list[MutableSequence[T]] = []
        self._length = 0

    @classmethod
    def of_numbers(cls) -> Line[int]:
        """An empty line for integers of 64 bits."""
        return Line(_numbers)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[T]:
        for piece in self._pieces:
            yield from piece

    def first(self) -> T:
        """The first one.

        Raises:
            IndexError: there is none.
        """
        return self._pieces[0][0]

    def add(self, thing: T) -> None:
        """Put something into its place: at the end, in the ordinary case."""
        pieces = self._pieces
        self._length += 1
        if not pieces or (pieces[-1][-1] < thing and len(pieces[-1]) >= PIECE):
            piece = self._piece()
            piece.append(thing)
            pieces.append(piece)
            return
        index = min(bisect_left(pieces, thing, key=_last), len(pieces) - 1)
        piece = pieces[index]
        if piece[-1] < thing:
            piece.append(thing)
            return
        insort(piece, thing)
        if len(piece) >= 2 * PIECE:
            pieces[index : index + 1] = [piece[:PIECE], piece[PIECE:]]

    def take(self) -> T:
        """The first one, which is in the line no more.

        Raises:
            IndexError: there is none.
        """
        first = self._pieces[0][0]
        self._remove(0, 0)
        return first

    def withdraw(self, thing: T) -> bool:
        """Take something out; whether it was in it."""
        found = self._find(thing)
        if found is not None:
            self._remove(*found)
        return found is not None

    def position(self, thing: T) -> int:
        """The place of something, from 1; 0 where it is not in the line."""
        found = self._find(thing)
        if found is None:
            return 0
        index, place = found
        return sum(map(len, self._pieces[:index])) + place + 1

    def slice(self, offset: int, limit: int) -> list[T]:
        """Up to `limit` of them in their order, after the first `offset`."""
        found: list[T] = []
        for piece in self._pieces:
            if len(found) >= limit:
                break
            if offset < len(piece):
                found += piece[offset : offset + limit - len(found)]
                offset = 0
            else:
                offset -= len(piece)
        return found

    def _find(self, thing: T) -> tuple[int, int] | None:
        """The piece that something is in, and its place there."""
        index = bisect_left(self._pieces, thing, key=_last)
        if index == len(self._pieces):
            return None
        piece = self._pieces[index]
        place = bisect_left(piece, thing)
        return (index, place) if piece[place] == thing else None

    def _remove(self, index: int, place: int) -> None:
        self._length -= 1
        pieces = self._pieces
        piece = pieces[index]
        del piece[place]
        if not piece:
            del pieces[index]
        elif index and len(piece) + len(pieces[index - 1]) <= PIECE // 2:
            # Without this, a line that is thinned out would be as many pieces as before.
            pieces[index - 1].extend(piece)
            del pieces[index]
