"""Where each job waits: one of a million that only waits for its turn takes fourteen bytes.

Jobs that have owner, group and priority in common wait in one place, in the order of their numbers.
A register says which place that is.
"""

from __future__ import annotations

import msgspec

from aptask.scheduling.line import Line
from aptask.scheduling.register import Register
from aptask.scheduling.shares import Share


class Place:
    """Where jobs wait that have owner, group and priority in common.

    Attributes:
        index: what the register has for them.
    """

    __slots__ = ("index", "line", "priority", "share")

    def __init__(self, index: int, share: Share, priority: int) -> None:
        self.index = index
        self.share = share
        self.priority = priority
        self.line = Line.of_numbers()


class Aside(msgspec.Struct, gc=False):
    """A job that waits for something else: the ends of others, a time, or being resumed.

    Attributes:
        not_before: seconds; None: any time.
        held: whether it is to be resumed first.
    """

    share: Share
    priority: int
    not_before: float | None
    held: bool


class Places:
    """All places in which somebody waits, and who waits in which."""

    def __init__(self) -> None:
        self._register = Register()
        self._places: list[Place | None] = [None]
        """by their indexes; those that are free now are None, and the first is never used"""
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self._register)

    def get(self, number: int) -> Place | None:
        """The place in which a job waits, if it does."""
        return self._places[self._register.get(number)]

    def put(self, number: int, share: Share, priority: int) -> None:
        """Have a job wait in its place."""
        place = share.places.get(priority) or self._open(share, priority)
        place.line.add(number)
        self._register.put(number, place.index)
        share.ready += 1
        share.group.ready += 1
        share.file()

    def remove(self, number: int, place: Place) -> None:
        """Have a job wait in its place no more."""
        share = place.share
        place.line.withdraw(number)
        self._register.remove(number)
        if not place.line:
            self._close(place)
        share.ready -= 1
        share.group.ready -= 1
        share.file()

    def _open(self, share: Share, priority: int) -> Place:
        if self._free:
            index = self._free.pop()
        else:
            index = len(self._places)
            self._places.append(None)
        place = self._places[index] = share.places[priority] = Place(index, share, priority)
        share.ranks.add(-priority)
        return place

    def _close(self, place: Place) -> None:
        self._places[place.index] = None
        self._free.append(place.index)
        del place.share.places[place.priority]
        place.share.ranks.withdraw(-place.priority)
