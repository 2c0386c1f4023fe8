"""A register: which place each number has, for a million of numbers that mostly follow each other.

Five bytes a number where a dict takes a hundred, and one thing that the garbage collector looks at
for each hundred of them.
"""

from __future__ import annotations

from array import array

_BITS = 7
_SIZE = 1 << _BITS
_COUNT = _SIZE
"""The cell of a page, behind all others, that says how many of them are taken."""
_EMPTY = bytes(4 * (_SIZE + 1))


class Register:
    """Small whole numbers, from 1, by the numbers that have them; kept as pages of 128."""

    __slots__ = ("_length", "_pages")

    def __init__(self) -> None:
        self._pages: dict[int, array[int]] = {}
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def get(self, number: int) -> int:
        """What a number has; 0: nothing."""
        page = self._pages.get(number >> _BITS)
        return 0 if page is None else page[number & (_SIZE - 1)]

    def put(self, number: int, place: int) -> None:
        """Give a number, which has nothing yet, its place, from 1."""
        page = self._pages.get(number >> _BITS)
        if page is None:
            page = self._pages[number >> _BITS] = array("I", _EMPTY)
        page[number & (_SIZE - 1)] = place
        page[_COUNT] += 1
        self._length += 1

    def remove(self, number: int) -> None:
        """Forget a number, which has something."""
        page = self._pages[number >> _BITS]
        page[number & (_SIZE - 1)] = 0
        page[_COUNT] -= 1
        self._length -= 1
        if not page[_COUNT]:
            del self._pages[number >> _BITS]
