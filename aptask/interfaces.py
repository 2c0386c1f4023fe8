"""What has, or will have, more than one implementation.

Nothing here knows who implements it. Each method says what it gives and what it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from aptask.model.job import Job
    from aptask.model.orders import Ended, Progressed, Start, Started, Stop


class ITask(Interface):
    """A task class that the Twisted plugin system can find: see `aptask.Task`, `aptask.Program`."""

    name = Attribute("The name by which it is started.")


class IStore(Interface):
    """The book: every job, from its acknowledgement until its history is pruned.

    Each method gives a Deferred that fires when what it did is as safe as this store can make it.
    """

    def add(job: Job) -> Deferred[None]:
        """Enter a new job.

        Args:
            job: is queued; its `id` is already its own.

        Returns:
            fails with `Unavailable` where it could not be kept.
        """

    def update(job: Job) -> Deferred[None]:
        """Enter what a job has become: called before its process is started, and once it ended."""

    def get(number: int) -> Deferred[Job | None]:
        """The job that has ended with this number, or None."""

    def load() -> Deferred[tuple[list[Job], int]]:
        """What a daemon begins with: the jobs that have not ended, in the order of their numbers,
        and the number of the next job."""

    def prune(before: float, most: int) -> Deferred[list[int]]:
        """Forget ended jobs: those that ended before a time, and the oldest beyond a number.

        Args:
            before: seconds since the epoch.
            most: how many may stay.

        Returns:
            the numbers of the jobs that were forgotten, a few hundred a call at most.
        """


class IListener(Interface):
    """Who hears of what an executor does."""

    def happened(event: Started | Progressed | Ended) -> None:
        """An event of an attempt."""

    def lost(message: str) -> None:
        """All attempts that were under way are gone, as the message for people says."""

    def ready() -> None:
        """Orders are taken, for the first time or again."""

    def paused() -> None:
        """No orders are taken until `ready` is called again."""


class IExecutor(Interface):
    """Where jobs run, as the scheduler sees it: told what to run, it reports what happened.

    It decides nothing about queues. What it reports goes to the listener it is started with, as
    the events of `aptask.model.orders`.
    """

    name = Attribute("Its name, as `stats` shows it.")

    def start(listener: IListener) -> None:
        """Begin; `listener.ready` is called when orders are taken."""

    def order(order: Start | Stop) -> None:
        """Pass on an order. One that cannot be carried out ends as an event."""

    def stop(grace: float) -> Deferred[None]:
        """End all jobs, with `grace` seconds for each, and everything that was started.

        Returns:
            fires when nothing of it is left.
        """
