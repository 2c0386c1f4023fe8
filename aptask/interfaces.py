"""What has, or will have, more than one implementation.

Nothing here knows who implements it. Each method says what it gives and what it raises.
"""

from __future__ import annotations

from zope.interface import Attribute, Interface


class ITask(Interface):
    """A task class that the Twisted plugin system can find: see `aptask.Task` and `aptask.Program`."""

    name = Attribute("The name by which it is started.")


class IStore(Interface):
    """The book: every job, from its acknowledgement until its history is pruned.

    Each method gives a Deferred that fires when what it did is as safe as this store can make it.
    """

    def add(job):  # type: ignore[no-untyped-def]
        """Enter a new job.

        Args:
            job: a `Job` that is queued; its `id` is already its own.

        Returns:
            a Deferred of None. Fails with `Unavailable` where it could not be kept.
        """

    def update(job):  # type: ignore[no-untyped-def]
        """Enter what a job has become: called before its process is started, and once it ended.

        Returns:
            a Deferred of None.
        """

    def get(id):  # type: ignore[no-untyped-def]
        """A Deferred of the job that has ended with this number, or of None."""

    def load():  # type: ignore[no-untyped-def]
        """A Deferred of what a daemon begins with: the jobs that have not ended, in the order of
        their numbers, and the number of the next job."""

    def prune(before, most):  # type: ignore[no-untyped-def]
        """Forget ended jobs: those that ended before a time, and the oldest beyond a number.

        Args:
            before: seconds since the epoch.
            most: how many may stay.

        Returns:
            a Deferred of the numbers of the jobs that were forgotten, at most a few hundred a call.
        """


class IExecutor(Interface):
    """Where jobs run, as the scheduler sees it: told what to run, it reports what happened.

    It decides nothing about queues. What it reports goes to the listener it is started with, as
    the events of `aptask.model.orders`.
    """

    name = Attribute("Its name, as `stats` shows it.")

    def start(listener):  # type: ignore[no-untyped-def]
        """Begin. `listener` has the methods of `IListener`.

        Returns:
            a Deferred of None that fires when it can take orders.
        """

    def order(order):  # type: ignore[no-untyped-def]
        """Pass on an order: `Start` or `Stop`. One that it cannot carry out ends as an event."""

    def stop(grace):  # type: ignore[no-untyped-def]
        """End all jobs, with `grace` seconds for each, and everything that was started.

        Returns:
            a Deferred of None that fires when nothing of it is left.
        """


class IListener(Interface):
    """Who hears of what an executor does."""

    def happened(event):  # type: ignore[no-untyped-def]
        """An event: `Started`, `Progressed` or `Ended`."""

    def lost(message):  # type: ignore[no-untyped-def]
        """All attempts that were under way are gone, as the message for people says."""

    def ready():  # type: ignore[no-untyped-def]
        """Orders are taken, for the first time or again."""
