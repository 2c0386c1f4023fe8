"""How long an attempt may run: seconds that pass only while it is not held."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Allowance:
    """Some seconds, and what happens when they are used up.

    Args:
        reactor: tells the time, by a clock that nobody sets.
        seconds: from `begin` on; None: they are never used up.
        over: called once they are.
    """

    def __init__(self, reactor: Any, seconds: float | None, over: Callable[[], object]) -> None:
        self._reactor = reactor
        self._left = seconds
        self._over = over
        self._has_begun = False
        self._is_held = False
        self._call: Any = None

    def begin(self) -> None:
        """Count from now on, if that was not so before."""
        if not self._has_begun:
            self._has_begun = True
            self._run()

    def hold(self) -> None:
        """Count no further, until `go_on`."""
        self._is_held = True
        if self._call is not None:
            self._left = max(0.0, self._call.getTime() - self._reactor.seconds())
            self._call.cancel()
            self._call = None

    def go_on(self) -> None:
        """Count on."""
        self._is_held = False
        if self._has_begun:
            self._run()

    def cancel(self) -> None:
        """Never be over."""
        self.hold()
        self._left = None

    def _run(self) -> None:
        if self._left is not None and not self._is_held and self._call is None:
            self._call = self._reactor.callLater(self._left, self._used_up)

    def _used_up(self) -> None:
        self._call = self._left = None
        self._over()
