"""The order in which those who wait in a group are expected to start.

First come those who only wait for their turn and whose owner may have one more running; then those
whose owner may not; each by priority, and among equals in the rounds that the rule of `Turns` comes
to while nothing ends. Last come those that wait for something else, by their numbers.

So the first is exactly the one that starts next, and where all have one priority, and no bounds,
the order is exactly that in which they would start if there were slots for all. What ends, comes,
or is put off meanwhile changes it: the further behind, the more it is an estimate.
"""

from __future__ import annotations

from collections import defaultdict
from functools import cached_property

from aptask.scheduling.places import Place
from aptask.scheduling.rounds import Rounds
from aptask.scheduling.shares import Group, Share


class _Tier:
    """The places of one priority, as they take turns.

    Attributes:
        start: how many jobs are before all of theirs.
        total: how many theirs are.
    """

    def __init__(self) -> None:
        self.start = 0
        self.total = 0
        self._places: list[Place] = []

    def add(self, place: Place) -> None:
        self._places.append(place)
        self.total += len(place.line)

    @cached_property
    def places(self) -> list[Place]:
        """The places in the order in which they have their turns in a round."""
        return sorted(self._places, key=_turn)

    @cached_property
    def rounds(self) -> Rounds:
        """The rounds; most tiers are never asked for them."""
        return Rounds([(place.share.running, len(place.line)) for place in self.places])

    def page(self, offset: int, limit: int) -> list[int]:
        """Up to `limit` of their numbers as expected, after the first `offset`."""
        return self.rounds.page(offset, limit, self._read) if offset < self.total and limit else []

    def positions(self, place: Place, offset: int, limit: int) -> list[int]:
        """The positions of up to `limit` that wait in a place, after its first `offset`."""
        given = self.rounds.places(self.places.index(place), offset, limit)
        return [self.start + before + 1 for before in given]

    def _read(self, place: int, offset: int, limit: int) -> list[int]:
        return self.places[place].line.slice(offset, limit)


def _turn(place: Place) -> tuple[int, int, int]:
    return -place.share.running, place.share.last, place.line.first()


def _tier(place: Place) -> tuple[bool, int]:
    """By what a place belongs to a tier; the least is the first."""
    return place.share.owner.is_bounded, -place.priority


class Forecast:
    """What is expected of a group, as long as `changes` of it does not differ.

    Args:
        group: the group.
    """

    def __init__(self, group: Group) -> None:
        self._group = group
        tiers: defaultdict[tuple[bool, int], _Tier] = defaultdict(_Tier)
        for share in group.shares.values():
            for place in share.places.values():
                tiers[_tier(place)].add(place)
        self._tiers = {key: tiers[key] for key in sorted(tiers)}
        start = 0
        for tier in self._tiers.values():
            tier.start = start
            start += tier.total

    def position(self, place: Place, number: int) -> int:
        """The position, from 1, of a job that waits in a place of this group."""
        offset = place.line.position(number) - 1
        return self._tiers[_tier(place)].positions(place, offset, 1)[0]

    def aside(self, number: int) -> int:
        """The position of a job of this group that is aside."""
        return self._group.ready + self._group.aside.position(number)

    def page(self, offset: int, limit: int) -> list[tuple[int, int]]:
        """Up to `limit` of the group's jobs after the first `offset`, each with its position."""
        numbers: list[int] = []
        behind = offset
        for tier in self._tiers.values():
            numbers += tier.page(behind, limit - len(numbers))
            behind = max(0, behind - tier.total)
        numbers += self._group.aside.slice(behind, limit - len(numbers))
        return list(zip(numbers, range(offset + 1, offset + 1 + len(numbers)), strict=True))

    def page_of(self, share: Share, offset: int, limit: int) -> list[tuple[int, int]]:
        """The same, of an owner's share."""
        page: list[tuple[int, int]] = []
        for rank in share.ranks:
            place = share.places[-rank]
            wanted = limit - len(page)
            if offset < len(place.line) and wanted:
                positions = self._tiers[_tier(place)].positions(place, offset, wanted)
                page += zip(place.line.slice(offset, wanted), positions, strict=True)
            offset = max(0, offset - len(place.line))
        aside = share.aside.slice(offset, limit - len(page))
        return page + [(number, self.aside(number)) for number in aside]
