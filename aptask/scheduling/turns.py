"""Whose turn it is: what starts next, and why something waits. Pure decisions about plain values.

Rules:

- A job that waits is *ready* where it only waits for its turn. Otherwise it is *aside*: the user
  holds it, or it waits for the ends of others, or for a time. Either way its number is its place
  among its equals, so that what was aside is where it would have been.
- A group has slots, and each that is free is given away, unless the group or everything is paused.
  Of several groups that have room, that one is first whose next job has the highest priority, then
  the lowest number.
- Within a group the highest priority is next. Of several owners who have jobs of that priority, the
  turn is that one's who runs least in this group (jobs of any priority), then whose last start
  there was longest ago, then whose job came first. Of one owner, the job that came first. So who
  has nothing running there waits for one turn of each other owner at most, however many jobs those
  have; and owners who always have some waiting have equal parts of the slots.
- An owner who may not have more running is passed over, with all their jobs in all groups.
- A job that waits for others is ready once all of them have ended well. Once one has ended
  otherwise, it waits in vain: it is given back as skipped, and has not ended well itself.

Nothing here knows the time, the store, or what jobs are. A decision costs some microseconds with a
million that wait: it grows with the number of groups, and with the logarithm of all else. What may
be much at once is done in steps: `tell`, and in `launch` the taking in of those whose time has
come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aptask.scheduling.dependencies import Dependencies
from aptask.scheduling.line import Line
from aptask.scheduling.outlook import Outlook
from aptask.scheduling.places import Aside, Places
from aptask.scheduling.shares import Group, Shares

WOKEN_AT_ONCE = 500
"""How many whose time has come are taken in by one decision, the earliest first."""
TOLD_AT_ONCE = 500
"""How many hear of an end at once."""


class Turns:
    """Those who wait, and the slots in which they run.

    Attributes:
        outlook: where each of those is who wait, and why.
    """

    def __init__(self) -> None:
        self._shares = Shares()
        self._places = Places()
        self._aside: dict[int, Aside] = {}
        self._dependencies = Dependencies()
        self._clock: Line[tuple[float, int]] = Line(list)
        """those that are aside because of nothing but the time, by that time"""
        self.outlook = Outlook(self._shares, self._places, self._aside, self._dependencies)

    # What holds for all

    @property
    def groups(self) -> Mapping[str, Group]:
        """The groups by their names, to be looked at."""
        return self._shares.groups

    def pause(self, paused: bool) -> None:
        """Set whether nothing is started, in whatever group."""
        self._shares.paused = paused

    def set_group(self, name: str, slots: int, paused: bool = False) -> None:
        """Set how many jobs of a group run at once, and whether none of it is started.

        A group that was never set has no slots.
        """
        group = self._shares.group(name)
        group.slots, group.paused = slots, paused

    def set_bound(self, owner: str, bound: int | None) -> None:
        """Set how many jobs of an owner run at once, over all groups; None: any number."""
        self._shares.owner(owner).set_bound(bound)

    # Who waits

    def __len__(self) -> int:
        """How many wait."""
        return len(self._places) + len(self._aside)

    def __contains__(self, number: int) -> bool:
        """Whether a job waits."""
        return number in self._aside or self._places.get(number) is not None

    def add(
        self,
        number: int,
        owner: str,
        group: str,
        priority: int = 0,
        *,
        after: Sequence[int] = (),
        not_before: float | None = None,
        held: bool = False,
    ) -> None:
        """Have a job wait, for the first time or again.

        Args:
            number: its number, which does not wait.
            owner: whose it is.
            group: in which it runs.
            priority: the higher, the sooner.
            after: the numbers of those it waits for, that have not ended.
            not_before: the time in seconds before which it does not start; None: any time.
            held: whether it does not start until it is resumed.

        Raises:
            ValueError: it waits already.
        """
        if number in self:
            raise ValueError(f"job {number} waits already")
        share = self._shares.share(owner, group)
        if not after and not_before is None and not held:
            self._places.put(number, share, priority)
            return
        aside = self._aside[number] = Aside(share, priority, not_before, held)
        share.set_aside(number)
        if after:
            self._dependencies.add(number, tuple(dict.fromkeys(after)))
        self._settle(number, aside)

    def withdraw(self, number: int) -> bool:
        """Take out a job that ends without having run; whether it waited.

        Who waits for it is skipped: see `tell`.
        """
        if not self._leave(number):
            return False
        self._dependencies.end(number, False)
        return True

    def hold(self, number: int) -> bool:
        """Keep a job from being started, until it is resumed; whether it waits."""
        aside = self._aside.get(number)
        if aside is not None:
            aside.held = True
            if aside.not_before is not None:
                self._clock.withdraw((aside.not_before, number))
            return True
        place = self._places.get(number)
        if place is None:
            return False
        self._places.remove(number, place)
        self._aside[number] = Aside(place.share, place.priority, None, True)
        place.share.set_aside(number)
        return True

    def resume(self, number: int) -> bool:
        """Hold a job no more; whether it was held."""
        aside = self._aside.get(number)
        if aside is None or not aside.held:
            return False
        aside.held = False
        self._settle(number, aside)
        return True

    def change(self, number: int, *, priority: int | None = None, group: str | None = None) -> bool:
        """Give a job another priority or group, None being the one it has; whether it waits."""
        place = self._places.get(number)
        waits = self._aside.get(number) if place is None else place
        if waits is None:
            return False
        before = waits.share
        share = before if group is None else self._shares.share(before.owner.name, group)
        priority = waits.priority if priority is None else priority
        if place is not None:
            self._places.remove(number, place)
            self._places.put(number, share, priority)
        else:
            before.leave_aside(number)
            share.set_aside(number)
            aside = self._aside[number]
            aside.share, aside.priority = share, priority
        return True

    # Who starts, and who has ended

    def launch(self, now: float) -> int | None:
        """The job that starts now, and has a slot; it waits no more.

        Args:
            now: seconds, by the clock that `not_before` goes by.

        Returns:
            its number; None where nothing may start.
        """
        self._wake(now)
        number = self._shares.next()
        place = None if number is None else self._places.get(number)
        if number is None or place is None:
            return None
        self._places.remove(number, place)
        place.share.occupy()
        return number

    def next_time(self) -> float | None:
        """When the next job becomes ready by itself, in seconds; None: never.

        It may be past already where `launch` has not been asked since, or has more to take in.
        """
        return self._clock.first()[0] if self._clock else None

    def reserve(self, owner: str, group: str) -> bool:
        """Give a slot to a job that does not wait; whether it may start, and passes nobody."""
        share = self._shares.share(owner, group)
        if share.group.turns or not self._shares.may_start(share):
            return False
        share.occupy()
        return True

    def occupy(self, owner: str, group: str) -> None:
        """A job runs that did so before anybody was asked: it has a slot, free or not."""
        self._shares.share(owner, group).occupy()

    def release(self, owner: str, group: str) -> None:
        """A job that had a slot has it no more: it has ended, or is to wait again."""
        self._shares.share(owner, group).release()

    def finished(self, number: int, done: bool) -> None:
        """A job has ended for good that did not wait; who waits for it hears of that in `tell`.

        Args:
            done: whether it ended well.
        """
        self._dependencies.end(number, done)

    @property
    def told(self) -> bool:
        """Whether all who wait for others have heard of their ends."""
        return self._dependencies.told

    def tell(self, most: int = TOLD_AT_ONCE) -> list[tuple[int, int]]:
        """Have those who wait for others hear of their ends, until all are `told`.

        Args:
            most: how many hear of one now.

        Returns:
            those that are to be skipped, each with the number of the one that it waited for and
            that did not end well. They wait no more, and `finished` is not called for them.
        """
        ready, vain = self._dependencies.pass_on(most)
        for number in ready:
            self._settle(number, self._aside[number])
        for number, _ in vain:
            self._leave(number)
        return vain

    # The parts of it

    def _settle(self, number: int, aside: Aside) -> None:
        """Have a job be ready that is aside, or wait for its time, where nothing else keeps it."""
        if aside.held or number in self._dependencies:
            return
        if aside.not_before is not None:
            self._clock.add((aside.not_before, number))
        else:
            self._make_ready(number)

    def _make_ready(self, number: int) -> None:
        aside = self._aside.pop(number)
        aside.share.leave_aside(number)
        self._places.put(number, aside.share, aside.priority)

    def _wake(self, now: float) -> None:
        for _ in range(WOKEN_AT_ONCE):
            if not self._clock or self._clock.first()[0] > now:
                return
            self._make_ready(self._clock.take()[1])

    def _leave(self, number: int) -> bool:
        """Take a job out, whatever it waits for; whether it waited."""
        place = self._places.get(number)
        if place is not None:
            self._places.remove(number, place)
            return True
        aside = self._aside.pop(number, None)
        if aside is None:
            return False
        if aside.not_before is not None:
            self._clock.withdraw((aside.not_before, number))
        aside.share.leave_aside(number)
        return True
