"""Reloads: one at a time, off the reactor's thread, and nothing changes where something is wrong.

Who asks while one is under way waits for the next one: the files may have changed since this one
has read them.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from aptask.errors import ConfigurationError, InvalidArguments, Unavailable
from aptask.model.reloaded import Reloaded
from aptask.plan import Plan

Waiting = list[Deferred[Reloaded]]


class Reloader:
    """Has a new plan made, and taken over.

    Args:
        make: makes the plan, in a thread of its own; its Deferred fires in the reactor's.
        take: takes a plan over, at once, and says what is different.
    """

    def __init__(
        self, make: Callable[[], Deferred[Plan]], take: Callable[[Plan], Reloaded]
    ) -> None:
        self._make = make
        self._take = take
        self._served: Waiting | None = None
        """who waits for the one that is under way"""
        self._next: Waiting = []
        self._is_closed = False

    def reload(self) -> Deferred[Reloaded]:
        """Read and look for everything anew.

        Returns:
            fails with `InvalidArguments` where the configuration is wrong: a sentence a line;
            with `Unavailable` where the daemon shuts down.
        """
        asked: Deferred[Reloaded] = Deferred()
        self._next.append(asked)
        self._begin()
        return asked

    def close(self) -> None:
        """Take nothing over any more."""
        self._is_closed = True
        waiting = [*(self._served or ()), *self._next]
        self._served, self._next = None, []
        for asked in waiting:
            asked.errback(Unavailable("the daemon is shutting down"))

    def _begin(self) -> None:
        if self._is_closed:
            self.close()
        elif self._served is None and self._next:
            self._served, self._next = self._next, []
            self._make().addCallback(self._made).addBoth(self._done)

    def _made(self, plan: Plan) -> Reloaded | None:
        return None if self._is_closed else self._take(plan)

    def _done(self, result: Reloaded | Failure | None) -> None:
        served, self._served = self._served or [], None
        if isinstance(result, Failure) and isinstance(result.value, ConfigurationError):
            result = Failure(InvalidArguments(result.value.message))
        for asked in served:
            if isinstance(result, Failure):
                asked.errback(result)
            elif result is not None:
                asked.callback(result)
        self._begin()
