"""Answers that hold up the requests behind them, and how they end before their time.

`wait` and streams hold for as long as a task takes, so the key that they were asked for with may be
gone meanwhile: then they end, some at a time, since there may be ten thousand. An answer to a bad
key may be held back: it holds, so that one connection tries no more than one key at a time.
"""

# mypy: disallow-untyped-calls=False
# (Failure has no types.)

from __future__ import annotations

from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from aptask.errors import Unauthorized

ENDED_AT_ONCE = 20
"""How many answers are ended in one go, before others have their turn."""

T = TypeVar("T")


class Holding(Deferred[T]):
    """An answer that is to come, and that holds whatever its request is."""


def late(clock: IReactorTime, seconds: float, answer: T) -> Holding[T]:
    """An answer that is held back. It is given at once when it is cancelled.

    Args:
        clock: calls later.
        seconds: how long.
        answer: is ready.
    """

    def at_once(coming: Deferred[T]) -> None:
        call.cancel()
        coming.callback(answer)

    coming: Holding[T] = Holding(at_once)
    call = clock.callLater(seconds, coming.callback, answer)
    return coming


class Holders:
    """What holds, by the name of the key that it was asked for with.

    Args:
        clock: calls later.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._held: dict[str, set[Deferred[Any]]] = {}

    def __len__(self) -> int:
        """How many answers hold."""
        return sum(map(len, self._held.values()))

    def add(self, name: str, answer: Deferred[T]) -> Deferred[T]:
        """Have an answer end with its key.

        Args:
            name: of the key's owner.
            answer: may be cancelled.

        Returns:
            the same, which fails with `Unauthorized` once it was ended.
        """
        self._held.setdefault(name, set()).add(answer)
        return answer.addBoth(self._ended, name, answer)

    def end(self, name: str) -> None:
        """The key of this name is gone: end what holds for it."""
        gone = self._held.pop(name, None)
        if gone:
            self._clock.callLater(0, self._end, gone)

    def _end(self, gone: set[Deferred[Any]]) -> None:
        for _ in range(min(len(gone), ENDED_AT_ONCE)):
            gone.pop().cancel()
        if gone:
            self._clock.callLater(0, self._end, gone)

    def _ended(self, result: Any, name: str, answer: Deferred[Any]) -> Any:
        held = self._held.get(name)
        if held is None or answer not in held:
            raise Unauthorized("this key has just been taken back, or allows less than before")
        held.remove(answer)
        return result
