"""How a job's family is brought to its end: asked, given its grace, killed, and waited for.

Rules:

- The whole family is asked at once, its leader or not; who needs time to clean up has the grace
  although the leader died at once.
- Asked again, the sooner end counts.
- One that was not asked, and has ended by itself, leaves nothing behind that may live on: the rest
  of it is killed at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.logger import Logger

LOOK_SECONDS = 0.02
"""The first pause before it is seen whether a family has ended."""
LONGEST_PAUSE = 0.25
"""The longest: to look takes milliseconds, and there may be many who are waited for."""
KILL_SECONDS = 5.0
"""How long after SIGKILL a process is waited for: one that waits for a disk may not die."""


class Family(Protocol):
    """See `aptask.runner.family.Family`."""

    leader: int
    pipe: str

    def members(self) -> list[int]:
        """The pids of those who live."""

    def has(self, pid: int) -> bool:
        """Whether a process belongs to it by itself, not by its parents."""

    def ask_to_end(self) -> None:
        """SIGTERM to all."""

    def kill(self) -> list[int]:
        """SIGKILL to all; gives those who were there."""


class Ending:
    """The end of one family.

    Args:
        reactor: tells the time.
        family: whose.
    """

    _log = Logger()

    def __init__(self, reactor: Any, family: Family) -> None:
        self.family = family
        self._reactor = reactor
        self._due: float | None = None
        """when the grace is over, once it was asked"""
        self._kills = False
        self._overdue: Any = None
        self._looking: Any = None
        self._given_up: float | None = None

    def led_by(self, pid: int) -> None:
        """Take note of the leader: it hears now what its family was told before it came."""
        self.family.leader = pid
        if self._kills:
            self.family.kill()
        elif self._due is not None:
            self.family.ask_to_end()

    def left(self) -> None:
        """Take note that there is no leader any more, nor anybody else."""
        self.family.leader = 0

    def ask(self, grace: float) -> None:
        """Ask the family to end, and kill it after `grace` seconds."""
        due = self._reactor.seconds() + grace
        if self._due is not None and self._due <= due:
            return
        if self._due is None and self.family.leader:
            self.family.ask_to_end()
        self._due = due
        if self._overdue is not None:
            self._overdue.cancel()
        self._overdue = self._reactor.callLater(grace, self._kill)

    def clear(self, then: Callable[[], object], spared: int = 0) -> None:
        """Call back once none of the family lives.

        Once asked, it has the rest of its grace; else it is killed now.

        Args:
            then: is called once.
            spared: a member who waits for the others to end: killed when it is the last.
        """
        self._kills = self._kills or self._due is None
        self._look(then, spared, LOOK_SECONDS)

    def close(self) -> None:
        """Forget it all."""
        for call in (self._overdue, self._looking):
            if call is not None:
                call.cancel()
        self._overdue = self._looking = None

    def _kill(self) -> None:
        self._overdue = None
        self._kills = True
        self.family.kill()
        if self._looking is not None:
            self._looking.reset(LOOK_SECONDS)

    def _look(self, then: Callable[[], object], spared: int, pause: float) -> None:
        self._looking = None
        try:
            left = self.family.kill() if self._kills else self.family.members()
            if left and not self._kills and set(left) <= {spared}:
                self._kills = True
                left = self.family.kill()
        except OSError:  # no descriptor is free to read the process table with
            self._log.failure("a family could not be looked for")
            left = [self.family.leader]
        if left and not self._gives_up(left):
            longer = min(2 * pause, LONGEST_PAUSE)
            self._looking = self._reactor.callLater(pause, self._look, then, spared, longer)
        else:
            self._kills = self._due is not None
            self._given_up = None
            self.left()
            then()

    def _gives_up(self, left: list[int]) -> bool:
        now = self._reactor.seconds()
        if not self._kills:
            return False
        if self._given_up is None:
            self._given_up = now + KILL_SECONDS
        if now < self._given_up:
            return False
        self._log.error("processes that cannot be killed are left behind: {left}", left=left)
        return True
