"""The order in which those who wait in a group are expected to start.

First come those who only wait for their turn and whose owner may have one more running; then those
whose owner may not; each by priority, and among equals in the rounds that the rule of `Turns` comes
to while nothing ends. Last come those that wait for something else, by their numbers.

So the first is exactly the one that starts next, and where all have one priority, and no bounds,
the order is exactly that in which they would start if there were slots for all. What ends, comes,
or is put off meanwhile changes it: the further behind, the more it is an estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

from aptask.scheduling.places import Place
from aptask.scheduling.rounds import Rounds
from aptask.scheduling.shares import Group, Share


class _Tier:
    """The places of one priority, as they take turns.

    Attributes:
        start: how many jobs are before all of theirs.
    """

    __slots__ = ("places", "rounds", "start")

    def __init__(self, start: int, places: list[Place]) -> None:
        self.start = start
        self.places = sorted(places, key=_turn)
        self.rounds = Rounds([(place.share.running, len(place.line)) for place in self.places])

    def read(self, place: int, offset: int, limit: int) -> list[int]:
        return self.places[place].line.slice(offset, limit)


def _turn(place: Place) -> tuple[int, int, int]:
    """By what the places of one priority have their order within a round."""
    return -place.share.running, place.share.last, place.line.first()


class Forecast:
    """What is expected of a group, as it was when this was made.

    Args:
        group: which must not have changed when this is asked.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        self._tiers: list[_Tier] = []
        self._found: dict[int, tuple[_Tier, int]] = {}
        """in which tier a place is, and as which one there, by its index"""
        tiers: dict[tuple[bool, int], list[Place]] = {}
        for share in group.shares.values():
            for place in share.places.values():
                tiers.setdefault((share.owner.is_bounded, -place.priority), []).append(place)
        start = 0
        for key in sorted(tiers):
            tier = _Tier(start, tiers[key])
            start += tier.rounds.total
            self._tiers.append(tier)
            for order, place in enumerate(tier.places):
                self._found[place.index] = tier, order

    def position(self, place: Place, number: int) -> int:
        """The position, from 1, of a job that waits in a place of this group."""
        return self._positions(place, place.line.position(number) - 1, 1)[0]

    def aside(self, number: int) -> int:
        """The position of a job of this group that is aside."""
        return self._group.ready + self._group.aside.position(number)

    def page(self, offset: int, limit: int) -> list[tuple[int, int]]:
        """Up to `limit` of the group's jobs after the first `offset`, each with its position."""
        numbers: list[int] = []
        behind = offset
        for tier in self._tiers:
            numbers += tier.rounds.page(behind, limit - len(numbers), tier.read)
            behind = max(0, behind - tier.rounds.total)
        numbers += self._group.aside.slice(behind, limit - len(numbers))
        return list(zip(numbers, range(offset + 1, offset + 1 + len(numbers)), strict=True))

    def page_of(self, share: Share, offset: int, limit: int) -> list[tuple[int, int]]:
        """The same, of an owner's share."""
        page: list[tuple[int, int]] = []
        for rank in share.ranks:
            place = share.places[-rank]
            wanted = limit - len(page)
            if offset < len(place.line) and wanted:
                positions = self._positions(place, offset, wanted)
                page += zip(place.line.slice(offset, wanted), positions, strict=True)
            offset = max(0, offset - len(place.line))
        aside = share.aside.slice(offset, limit - len(page))
        return page + [(number, self.aside(number)) for number in aside]

    def _positions(self, place: Place, offset: int, limit: int) -> Sequence[int]:
        tier, order = self._found[place.index]
        before = tier.start + 1
        return [before + given for given in tier.rounds.places(order, offset, limit)]
