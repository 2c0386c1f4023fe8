"""Answers in the order of their requests, whenever each of them is ready."""

from __future__ import annotations

from collections import deque

MOST = 1000
MOST_BYTES = 1 << 20
"""How many answers may be outstanding, and how large those may be that wait for one before them."""


class Place:
    """The place of an answer in the order.

    Attributes:
        line: the answer, once it is ready.
    """

    __slots__ = ("line",)

    def __init__(self, line: bytes | None = None) -> None:
        self.line = line


class Answers:
    """The answers of one connection that have not left yet.

    Attributes:
        is_full: whether no further request should be processed: from when one of the limits is
            reached until half of it is.
    """

    __slots__ = ("_places", "_ready_bytes", "is_full")

    def __init__(self) -> None:
        self._places: deque[Place] = deque()
        self._ready_bytes = 0
        self.is_full = False

    def __len__(self) -> int:
        return len(self._places)

    def keep_place(self) -> Place:
        """A place behind all others, for an answer that is to come."""
        place = Place()
        self._append(place)
        return place

    def is_next(self, place: Place | None) -> bool:
        """Whether all answers before this place have left."""
        return bool(self._places) and self._places[0] is place

    def append(self, line: bytes) -> None:
        """Put an answer that is ready behind all others."""
        self._ready_bytes += len(line)
        self._append(Place(line))

    def fill(self, place: Place, line: bytes) -> list[bytes]:
        """Put an answer into its place.

        Returns:
            the answers that leave now, in their order.
        """
        place.line = line
        self._ready_bytes += len(line)
        places = self._places
        leaving = []
        while places and (ready := places[0].line) is not None:
            leaving.append(ready)
            self._ready_bytes -= len(ready)
            places.popleft()
        if self.is_full and len(places) <= MOST // 2 and self._ready_bytes <= MOST_BYTES // 2:
            self.is_full = False
        return leaving

    def clear(self) -> None:
        """Forget all: nobody is there to take them."""
        self._places.clear()
        self._ready_bytes = 0

    def _append(self, place: Place) -> None:
        self._places.append(place)
        if len(self._places) >= MOST or self._ready_bytes >= MOST_BYTES:
            self.is_full = True
