"""How a job's family is suspended and goes on.

Rules:

- It is looked for until nobody is left who runs: one may fork while it is looked at.
- Whoever comes while it is paused is suspended as it comes.
- Parents are suspended before what descends from them, and go on after it: so none of them is told
  that a child of its was suspended.
- Who was suspended before, by somebody else, stays so when the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

from twisted.logger import Logger

LOOK_SECONDS = 0.005
"""The pause before it is seen whether all are suspended: one that is at it forks once more."""
LONGEST_LOOK = 2.0
"""Seconds after which it counts as paused whoever is left: some are not this account's."""


class Family(Protocol):
    """See `aptask.runner.family.Family`."""

    leader: int

    def suspend(self) -> list[int]:
        """SIGSTOP to all who are not suspended; gives them."""

    def resume(self, pids: Collection[int]) -> None:
        """SIGCONT to those of these who are members."""


class Pausing:
    """The pauses of one family.

    Args:
        reactor: tells the time.
        family: whose.

    Attributes:
        is_on: whether it is to be suspended.
    """

    _log = Logger()

    def __init__(self, reactor: Any, family: Family) -> None:
        self.is_on = False
        self._family = family
        self._reactor = reactor
        self._suspended: set[int] = set()
        self._looking: Any = None
        self._then: Callable[[], object] | None = None

    def begin(self, then: Callable[[], object]) -> None:
        """Suspend the family, unless that is under way or done.

        Args:
            then: is called once nobody of it runs.
        """
        if not self.is_on:
            self.is_on, self._then = True, then
            self._look()

    def came(self) -> None:
        """Take note of a new leader."""
        if self.is_on:
            self._look()

    def release(self) -> None:
        """Have those go on who are there now; it stays paused."""
        suspended, self._suspended = self._suspended, set()
        if suspended:
            self._family.resume(suspended)

    def end(self) -> None:
        """Have all go on."""
        self.release()
        self.forget()

    def forget(self) -> None:
        """Nobody is to be suspended any more; who is has to be seen to otherwise."""
        self.is_on, self._then = False, None
        self._suspended.clear()
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self, until: float | None = None) -> None:
        if self._looking is not None and self._looking.active():
            self._looking.cancel()
        self._looking = None
        now = self._reactor.seconds()
        until = now + LONGEST_LOOK if until is None else until
        running = self._suspend()
        if running and now < until:
            self._looking = self._reactor.callLater(LOOK_SECONDS, self._look, until)
            return
        if running:
            self._log.warn("processes that are not suspended are left so: {pids}", pids=running)
        then, self._then = self._then, None
        if then is not None:
            then()

    def _suspend(self) -> list[int]:
        """Suspend who runs; gives them."""
        if not self._family.leader:
            return []
        try:
            running = self._family.suspend()
        except OSError:  # no descriptor is free to read the process table with
            self._log.failure("a family could not be looked for")
            return [self._family.leader]
        self._suspended.update(running)
        return running
