"""What has, or will have, more than one implementation.

Nothing here knows who implements it. Each method says what it gives and what it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

from aptask.model.event import NOBODY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from twisted.internet.defer import Deferred

    from aptask.model.event import Author, Event, Level, Logged
    from aptask.model.group import GroupSetting
    from aptask.model.history import Wanted
    from aptask.model.job import Added, Counts, Job, Waiting
    from aptask.model.key import Key
    from aptask.model.orders import Pause, Report, Resume, Start, Stop


class ITask(Interface):
    """A task class that the Twisted plugin system can find: see `aptask.Task`, `aptask.Program`."""

    name = Attribute("The name by which it is started.")


class IStore(Interface):
    """The book: every job, from its acknowledgement until its history is pruned.

    Each method gives a Deferred that fires when what it did is as safe as this store can make it,
    in the order of the calls. Where what is asked for cannot be kept or read it fails with
    `Unavailable`, and nothing of it is done. A job that is handed in is read before the method
    returns; a job that is handed out is the caller's own. Times are kept to the microsecond, the
    fraction of progress to a billionth.
    """

    def open() -> Deferred[None]:
        """Make ready: the first call of all.

        Returns:
            fails with a `ConfigurationError` that says what is wrong and what to do, where the
            store is damaged, too new, or not to be had; nothing of it is changed then.
        """

    def close() -> Deferred[None]:
        """Finish what was asked for so far, and let go: the last call of all."""

    def add(
        job: Job, *, once: str | None = None, unique: str | None = None, peer: str = ""
    ) -> Deferred[Added]:
        """Enter a new job, and give it its number.

        Args:
            job: is queued, or launched at once; its `id` is not looked at, and stays as it is.
            once: where this owner's book has a job with the same one, that is the answer, and
                nothing is entered.
            unique: the same, among the owner's jobs that have not ended.
            peer: where the request came from, for the event log.

        Raises:
            ValueError: the job is not a fresh one, or a text of it holds NUL.
        """

    def add_all(
        jobs: Sequence[Job], *, once: str | None = None, unique: str | None = None, peer: str = ""
    ) -> Deferred[list[Added]]:
        """Enter several new jobs of one owner, all or none, with numbers that follow each other.

        Args:
            jobs: as for `add`.
            once, unique: as for `add`, one for all of them: where one matches, the answer is all
                jobs that it was given for and that are still in the book.
            peer: as for `add`.
        """

    def existing(owner: str, once: str | None, unique: str | None) -> Deferred[list[Added]]:
        """What `add_all` with these keys would answer instead of entering something, or nothing."""

    def update(
        job: Job, *, applied: tuple[str, int] | None = None, by: Author = NOBODY
    ) -> Deferred[None]:
        """Enter what has become of a job; its secrets are forgotten once it has ended.

        What has ended changes no more: a later update of it is passed over, and so is one of a job
        that is not in the book. An update is never lost: where it cannot be written now, it is
        kept and tried again, in its order, and its Deferred waits.

        Args:
            applied: a runner's instance and the number of its event that brought the change.
            by: who asked for the change, for the event log.
        """

    def apply(instance: str, number: int) -> Deferred[None]:
        """Enter that a runner's events up to a number are applied, where they changed no job."""

    def applied() -> Deferred[tuple[str, int] | None]:
        """The runner's instance and the number of its last event that was applied."""

    def get(number: int) -> Deferred[Job | None]:
        """The job of this number, whatever its state, or None."""

    def get_many(numbers: Sequence[int], *, listed: bool = False) -> Deferred[list[Job]]:
        """Those jobs of these numbers that are in the book, in the order of the numbers given.

        Args:
            listed: of arguments and results that are longer than `LISTED_BYTES`, give one byte more
                than that: what a list does not show is not read.
        """

    def waiting(after: int, limit: int) -> Deferred[list[Waiting]]:
        """Queued jobs in the order of their numbers, a step of them.

        Args:
            after: the last number of the step before, 0 for the first.
            limit: how many at most; fewer than that are the last ones.
        """

    def unfinished() -> Deferred[list[Job]]:
        """The jobs that were launched and have not ended, in the order of their numbers."""

    def counts() -> Deferred[Counts]:
        """How many jobs there are; counts those that wait, so it is not for every request."""

    def prune(before: float, most: int) -> Deferred[list[int]]:
        """Forget ended jobs: those that ended before a time, and the oldest beyond a number.

        Args:
            before: seconds since the epoch.
            most: how many may stay.

        Returns:
            the numbers of the jobs that were forgotten, a few hundred a call at most.
        """

    def history(wanted: Wanted, limit: int) -> Deferred[list[Job]]:
        """Ended jobs, the last to end first, and of those that ended together the newest.

        They are `listed`, as `get_many` says it.

        Args:
            wanted: which.
            limit: how many at most; fewer than that are the last ones.
        """

    # The event log. What becomes of a job (it is entered, launched, asked to stop, put back,
    # repeated, ended) is in it without being asked for, by the transaction that enters it.

    logged = Attribute("The number of the last event that was entered; 0: there was none.")

    def log(events: Sequence[Event]) -> Deferred[None]:
        """Enter events that belong to no change of the book."""

    def read_log(after: int | None, limit: int, level: Level | None) -> Deferred[list[Logged]]:
        """Events in the order of their numbers.

        Args:
            after: the number that they follow; None: the newest ones.
            limit: how many at most.
            level: only those of this level.
        """

    def prune_log(before: float, most: int) -> Deferred[int]:
        """Forget a step's worth of old events, whole transactions of them.

        Args:
            before: seconds since the epoch: those that were written before.
            most: how many may stay, give or take those of one transaction.

        Returns:
            how many were forgotten: 0 where there is nothing more to be forgotten.
        """

    # What admins have set. Each change is one transaction with the events that tell of it.

    def keys() -> Deferred[list[Key]]:
        """The keys that were made, in the order of their names."""

    def add_key(key: Key, events: Sequence[Event] = ()) -> Deferred[None]:
        """Enter a key.

        Raises:
            Conflict: there is one of that name; the Deferred fails with it.
        """

    def remove_key(name: str, events: Sequence[Event] = ()) -> Deferred[bool]:
        """Forget a key, its digest included; whether there was one of that name."""

    def groups() -> Deferred[Mapping[str, GroupSetting]]:
        """What was set for groups, by their names."""

    def set_group(name: str, setting: GroupSetting, events: Sequence[Event] = ()) -> Deferred[None]:
        """Enter what is set for a group."""

    def size() -> Deferred[int]:
        """The bytes that the store takes on the disk."""


class IListener(Interface):
    """Who hears of what an executor does."""

    def joined(instance: str) -> Deferred[None]:
        """A runner is there that has had no orders.

        Returns:
            fires once the book knows that the events that come are this runner's.
        """

    def ready(held: Collection[tuple[int, int]]) -> None:
        """Orders are taken, for the first time or again.

        Args:
            held: the job and the attempt of each that is under way there. Any other one that was
                launched either has not begun, or its end is being told.
        """

    def paused() -> None:
        """No orders are taken until `ready` is called again."""

    def happened(event: Report, source: tuple[str, int] | None) -> Deferred[None] | None:
        """An event of an attempt.

        Args:
            source: the runner's instance, and the event's number there; None where it has none.

        Returns:
            None, or what fires once the book has what the event has changed: the runner may forget
            the event then.
        """

    def over() -> None:
        """Every attempt that was begun has ended, and was told of: what else was ordered was not.

        It is ordered again when `ready` is called.
        """

    def lost(message: str) -> None:
        """All attempts that were under way are gone, as the message for people says."""


class IExecutor(Interface):
    """Where jobs run, as the scheduler sees it: told what to run, it reports what happened.

    It decides nothing about queues. What it reports goes to the listener it is started with, as
    the events of `aptask.model.orders`.
    """

    name = Attribute("Its name, as `stats` shows it.")
    can_pause = Attribute("Whether `Pause` and `Resume` of what runs there are understood now.")

    def start(listener: IListener, applied: tuple[str, int] | None) -> None:
        """Begin; `listener.ready` is called when orders are taken.

        What an earlier daemon left to run is adopted, and what happened meanwhile is told.

        Args:
            applied: a runner's instance, and the number of the last of its events that the book
                has; None where there has been no runner.
        """

    def make_room(jobs: int) -> None:
        """Be ready for so many jobs at once; may be called before `start`, and again."""

    def order(order: Start | Stop | Pause | Resume) -> None:
        """Pass on an order. One that cannot be carried out ends as an event.

        `Pause` and `Resume` are answered with what is so then, and nobody keeps them: they are to
        be said again after `ready`.
        """

    def stop(grace: float) -> Deferred[None]:
        """End all jobs, with `grace` seconds for each, and everything that was started.

        Returns:
            fires when nothing of it is left.
        """

    def leave() -> Deferred[None]:
        """Leave all jobs to go on, for the next daemon to adopt.

        Returns:
            fires when what was ordered before has been passed on.
        """
