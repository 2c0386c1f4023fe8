"""Streams: a request that is answered with many responses, as fast as its client takes them.

A handler that answers with a stream is an async generator of responses: it yields one when there
is one, and awaits Deferreds in between. Its rules:

- It is pulled: the next response is asked for only when its client has room for it. A generator
  whose source is faster than its client finds out what is newest when it is asked; it never hears
  of a client that does not read.
- When its client goes away, and when the daemon shuts down, the Deferred that it awaits is
  cancelled, or it is closed where it stands: what it has to give back belongs into a `finally`.
- An `AptaskError` that it raises becomes the last response.
- What many streams say alike is encoded once for all of them: as `Lines`.
- It runs until it has nothing more to say, or the client has no more room. So what it does between
  two responses has to be short.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from aptask.model.messages import ErrorResponse, Response


class Lines:
    """Responses that many streams give, encoded already but for what each adds to them.

    Args:
        bodies: the JSON object of each, without its closing brace.
    """

    __slots__ = ("_bodies", "_ending", "_lines")

    def __init__(self, bodies: Sequence[bytes]) -> None:
        self._bodies = bodies
        self._ending = self._lines = b""

    def __len__(self) -> int:
        """How many they are."""
        return len(self._bodies)

    def end(self, ending: bytes) -> bytes:
        """All lines, each ended with this: what a response has besides, its brace, and a newline.

        As a rule it is the same for all streams, and so are the bytes that they get.
        """
        if ending != self._ending:
            self._lines = ending.join([*self._bodies, b""])
            self._ending = ending
        return self._lines


Responses = AsyncIterator[Response | Lines]
"""What a handler gives that answers with a stream: made by an async generator function."""


class Outlet(Protocol):
    """Where the responses of a stream go: a client, as the stream sees it."""

    def room(self) -> Deferred[None] | None:
        """None where a response may be sent now, else what fires when one may."""

    def send(self, response: Response | bytes) -> None:
        """Send a response, or lines that are encoded already."""


@dataclass(slots=True, eq=False)
class Stream:
    """The answer to one request that has many responses.

    Attributes:
        responses: as the handler makes them; nothing of it has been done yet.
        complete: adds to a response what every response has.
        ending: the same for `Lines`.
        explain: the response that says what went wrong.
        hold: has all that is sent end before its time, where that is needed.
    """

    responses: Responses
    complete: Callable[[Response], Response]
    ending: bytes
    explain: Callable[[Failure], ErrorResponse]
    hold: Callable[[Deferred[None]], Deferred[None]]

    def pour(self, outlet: Outlet) -> Deferred[ErrorResponse | None]:
        """Send all responses; to be called once.

        Returns:
            fires when all have been sent, with the error that is still to be sent, or None. It may
            be cancelled, and never fails.
        """
        return self.hold(Deferred.fromCoroutine(self._pour(outlet))).addErrback(self.explain)

    async def _pour(self, outlet: Outlet) -> None:
        try:
            room = outlet.room()
            if room is not None:
                await room
            async for response in self.responses:
                if isinstance(response, Lines):
                    outlet.send(response.end(self.ending))
                else:
                    outlet.send(self.complete(response))
                room = outlet.room()
                if room is not None:
                    await room
        except Exception:  # cancelled, as a rule: while there was no room, it stands at a `yield`
            if isinstance(self.responses, AsyncGenerator):
                await self.responses.aclose()
            raise
