"""Where each of those is who wait, and why: looking only, nothing is changed here.

The first position after a change of a group costs what comes of its owners and their priorities,
0.1 ms with a hundred; the next ones some microseconds, and a page by what is on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aptask.scheduling.dependencies import Dependencies
from aptask.scheduling.forecast import Forecast
from aptask.scheduling.places import Aside, Places
from aptask.scheduling.rounds import Rounds
from aptask.scheduling.shares import Group, Share, Shares


class Outlook:
    """What can be said of those who wait.

    Args:
        shares, places, aside, dependencies: those of `Turns`.
    """

    def __init__(
        self,
        shares: Shares,
        places: Places,
        aside: Mapping[int, Aside],
        dependencies: Dependencies,
    ) -> None:
        self._shares = shares
        self._places = places
        self._aside = aside
        self._dependencies = dependencies
        self._forecasts: dict[str, tuple[int, Forecast]] = {}

    def position(self, number: int) -> int:
        """A job's place among those that wait in its group, as expected; 1 is next, 0: none."""
        place = self._places.get(number)
        if place is not None:
            return self._forecast(place.share.group).position(place, number)
        aside = self._aside.get(number)
        return 0 if aside is None else self._forecast(aside.share.group).aside(number)

    def waiting(self, owner: str | None = None, group: str | None = None) -> int:
        """How many wait, of an owner and in a group, or of all."""
        return sum(count for _, count in self._parts(owner, group))

    def listing(
        self, owner: str | None, group: str | None, offset: int, limit: int
    ) -> list[tuple[int, int]]:
        """Those who wait, in the order in which they are expected to start.

        Those of several groups are in turns: the first of each group, in the order of the groups'
        names, then the second of each.

        Args:
            owner: whose, None for everyone's.
            group: in which group, None for all.
            offset: how many to pass over.
            limit: how many at most.

        Returns:
            the number of each, and its position in its group.
        """
        parts = self._parts(owner, group)

        def read(part: int, offset: int, limit: int) -> list[tuple[int, int]]:
            where = parts[part][0]
            forecast = self._forecast(where)
            if owner is None:
                return forecast.page(offset, limit)
            return forecast.page_of(where.shares[owner], offset, limit)

        return Rounds([(0, count) for _, count in parts]).page(offset, limit, read)

    def why(self, number: int, now: float, when: Callable[[float], str]) -> str | None:
        """Why a job waits, in words.

        Args:
            number: of the job.
            now: seconds.
            when: a time, in seconds, as people read it.

        Returns:
            the reason; None where it does not wait, or only for those before it.
        """
        place = self._places.get(number)
        waits = self._aside.get(number) if place is None else place
        if waits is None:
            return None
        if isinstance(waits, Aside):
            if waits.held:
                return "held"
            missing = self._dependencies.missing(number)
            if missing:
                more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
                return f"waiting for {missing[0]}{more}"
            if waits.not_before is not None and waits.not_before > now:
                return f"delayed until {when(waits.not_before)}"
        return self._why_not_now(waits.share)

    def _why_not_now(self, share: Share) -> str | None:
        owner, group = share.owner, share.group
        if self._shares.paused:
            return "everything is paused"
        if group.paused:
            return f"group {group.name} is paused"
        if owner.is_bounded:
            return f"{owner.name} runs {owner.running} of {owner.bound} tasks"
        if group.running >= group.slots:
            return f"group {group.name} {'is full' if group.slots else 'has no slots'}"
        return None

    def _parts(self, owner: str | None, group: str | None) -> list[tuple[Group, int]]:
        """The groups in which there is something to be listed, and how much."""
        groups = self._shares.groups
        parts = []
        for where in map(groups.get, sorted(groups) if group is None else [group]):
            whose = where if where is None or owner is None else where.shares.get(owner)
            if where is not None and whose is not None and whose.waiting:
                parts.append((where, whose.waiting))
        return parts

    def _forecast(self, group: Group) -> Forecast:
        changes, forecast = self._forecasts.get(group.name, (-1, None))
        if forecast is None or changes != group.changes:
            forecast = Forecast(group)
            self._forecasts[group.name] = group.changes, forecast
        return forecast
