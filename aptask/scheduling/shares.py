"""Who has how much of what: the slots of groups, the bounds of owners, and each one's share.

A share is one owner's part of one group: what runs of it, and what waits in it, a line for each
priority. Everything that decides whose turn it is in a group is in a share's `Turn`; it is filed
anew whenever it changes, so that the next one is always the first of a short line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aptask.scheduling.line import Line

if TYPE_CHECKING:
    from aptask.scheduling.places import Place


class Turn(NamedTuple):
    """What an owner's turn in a group is decided by: the least is next.

    Attributes:
        rank: the highest priority at which a job of theirs is ready, with the other sign.
        running: how many jobs of theirs run in this group.
        last: when they were last given a slot there, counted in starts; 0: never.
        number: of the first of those jobs.
    """

    rank: int
    running: int
    last: int
    number: int


class Owner:
    """Somebody whose jobs there are.

    Attributes:
        bound: how many of their jobs run at once, over all groups; None: any number.
        running: how many do.
        shares: theirs, by the group.
    """

    __slots__ = ("bound", "name", "running", "shares")

    def __init__(self, name: str) -> None:
        self.name = name
        self.bound: int | None = None
        self.running = 0
        self.shares: dict[str, Share] = {}

    @property
    def is_bounded(self) -> bool:
        """Whether no more of their jobs may start now."""
        return self.bound is not None and self.running >= self.bound

    def set_bound(self, bound: int | None) -> None:
        """Set how many of their jobs run at once."""
        self.bound = bound
        self.file()

    def file(self) -> None:
        """File all their turns anew."""
        for share in self.shares.values():
            share.file()


class Group:
    """Jobs that have slots in common.

    Attributes:
        slots: how many of them run at once.
        running: how many do.
        paused: whether none is started.
        starts: how often a slot was given.
        shares: by the owner.
        turns: of those of them that have one, the next first.
        ready: how many of its jobs only wait for their turn.
        aside: those that wait for something else.
        changes: differs whenever what is ready, or the order of that, does.
    """

    __slots__ = (
        "aside",
        "changes",
        "name",
        "paused",
        "ready",
        "running",
        "shares",
        "slots",
        "starts",
        "turns",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.slots = 0
        self.running = 0
        self.paused = False
        self.starts = 0
        self.shares: dict[str, Share] = {}
        self.turns: Line[Turn] = Line(list)
        self.ready = 0
        self.aside = Line.of_numbers()
        self.changes = 0

    @property
    def waiting(self) -> int:
        """How many of its jobs wait."""
        return self.ready + len(self.aside)

    @property
    def has_room(self) -> bool:
        """Whether one more of its jobs may start."""
        return self.running < self.slots and not self.paused


class Share:
    """An owner's part of a group.

    Attributes:
        running: how many of its jobs run.
        last: when it was last given a slot, counted in starts of the group; 0: never.
        places: where its jobs wait that are ready, by priority.
        ranks: the priorities of those places, with the other sign: the highest is the first.
        ready: how many of its jobs only wait for their turn.
        aside: those that wait for something else.
    """

    __slots__ = ("_turn", "aside", "group", "last", "owner", "places", "ranks", "ready", "running")

    def __init__(self, owner: Owner, group: Group) -> None:
        self.owner = owner
        self.group = group
        self.running = 0
        self.last = 0
        self.places: dict[int, Place] = {}
        self.ranks: Line[int] = Line(list)
        self.ready = 0
        self.aside = Line.of_numbers()
        self._turn: Turn | None = None

    @property
    def waiting(self) -> int:
        """How many of its jobs wait."""
        return self.ready + len(self.aside)

    def occupy(self) -> None:
        """Give it a slot."""
        self.group.starts += 1
        self.last = self.group.starts
        self._count(1)

    def release(self) -> None:
        """Take a slot of it back."""
        self._count(-1)

    def set_aside(self, number: int) -> None:
        """Have a job wait for something else than its turn."""
        self.aside.add(number)
        self.group.aside.add(number)

    def leave_aside(self, number: int) -> None:
        """A job that was set aside is so no more."""
        self.aside.withdraw(number)
        self.group.aside.withdraw(number)

    def file(self) -> None:
        """File its turn anew, after any change of what decides it."""
        self.group.changes += 1
        turn = self._next()
        if turn == self._turn:
            return
        if self._turn is not None:
            self.group.turns.withdraw(self._turn)
        if turn is not None:
            self.group.turns.add(turn)
        self._turn = turn

    def _next(self) -> Turn | None:
        if not self.ranks or self.owner.is_bounded:
            return None
        rank = self.ranks.first()
        number = self.places[-rank].line.first()
        return Turn(rank, self.running, self.last, number)

    def _count(self, more: int) -> None:
        was_bounded = self.owner.is_bounded
        self.running += more
        self.group.running += more
        self.owner.running += more
        if self.owner.is_bounded is was_bounded:
            self.file()
        else:
            self.owner.file()


class Shares:
    """All owners and groups, and whose turn it is among them.

    Attributes:
        paused: whether nothing is started.
        groups, owners: by their names; they stay, so that it is known when whose last start was.
    """

    def __init__(self) -> None:
        self.paused = False
        self.groups: dict[str, Group] = {}
        self.owners: dict[str, Owner] = {}

    def group(self, name: str) -> Group:
        """The group of this name, which is made where there is none: without any slot."""
        group = self.groups.get(name)
        if group is None:
            group = self.groups[name] = Group(name)
        return group

    def owner(self, name: str) -> Owner:
        """The owner of this name."""
        owner = self.owners.get(name)
        if owner is None:
            owner = self.owners[name] = Owner(name)
        return owner

    def share(self, owner: str, group: str) -> Share:
        """An owner's part of a group."""
        where = self.group(group)
        share = where.shares.get(owner)
        if share is None:
            whose = self.owner(owner)
            share = where.shares[owner] = whose.shares[group] = Share(whose, where)
        return share

    def may_start(self, share: Share) -> bool:
        """Whether one more job of a share may start, as far as slots and bounds go."""
        return share.group.has_room and not share.owner.is_bounded and not self.paused

    def next(self) -> int | None:
        """The number of the job whose turn it is, of those that may start."""
        if self.paused:
            return None
        groups = self.groups.values()
        turns = [group.turns.first() for group in groups if group.has_room and group.turns]
        return min((turn.rank, turn.number) for turn in turns)[1] if turns else None
