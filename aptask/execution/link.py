"""The daemon's end of the link with a runner.

Rules:

- Each event that is numbered counts once, in its order; a fault in taking one in stays with it.
- The runner forgets an event once the book has what it changed, and all events before it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from aptask.model.orders import (
    LINK_VERSION,
    Ended,
    Forget,
    Hello,
    Order,
    Report,
    Started,
    Welcome,
    decode_event,
    encode,
)


class Executor(Protocol):
    """Whose link it is; see `aptask.execution.local`."""

    def welcomed(self, link: Link, welcome: Welcome) -> None:
        """The runner takes orders, or says once more that it is there."""

    def happened(self, event: Report, source: tuple[str, int] | None) -> Deferred[None] | None:
        """An event of an attempt; see `IListener`."""

    def unlinked(self, link: Link) -> None:
        """The link is broken."""


class Link(LineOnlyReceiver):
    """A connection to a runner.

    Args:
        executor: whose.
        reactor: tells the time.
        applied: the runner's instance and the number of its event up to which the book has them.
        orphan_timeout: seconds for which the runner waits for a daemon.

    Attributes:
        instance: the runner's, once it has said so.
        seen: the number of its last event that was heard.
        orphan_timeout: may be changed; said with the next `Hello`.
    """

    delimiter = b"\n"
    MAX_LENGTH = 1 << 31
    transport: Any
    _log = Logger()

    def __init__(
        self,
        executor: Executor,
        reactor: Any,
        applied: tuple[str, int] | None,
        orphan_timeout: float,
    ) -> None:
        self.instance = ""
        self.seen = 0
        self._executor = executor
        self._reactor = reactor
        self._applied = applied
        self.orphan_timeout = orphan_timeout
        self._unsafe: deque[int] = deque()
        """numbers of the events that the book does not have yet"""
        self._forgotten = 0
        self._forgetting: Any = None
        self._is_broken = False

    def connectionMade(self) -> None:
        """Say who is there."""
        instance, after = self._applied or (None, 0)
        self.send(Hello(LINK_VERSION, instance, after, self.orphan_timeout))

    def send(self, order: Order) -> None:
        """Send an order; over a broken link it goes nowhere."""
        self.transport.write(encode(order) + b"\n")

    def ask(self) -> None:
        """Ask whether the runner is there: it welcomes once more."""
        self.send(Hello(LINK_VERSION, None, 0, self.orphan_timeout))

    def lineReceived(self, line: bytes) -> None:
        """An event."""
        try:
            event = decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Not the line itself: what a task returned may be in it.
            self._log.failure("an event of {size} bytes cannot be read", size=len(line))
            return
        if isinstance(event, Welcome):
            if not self.instance:
                self.instance = event.instance
                if self._applied is not None and self._applied[0] == event.instance:
                    self.seen = self._applied[1]
                    self._forget_later()
            self._executor.welcomed(self, event)
            return
        source = None
        if isinstance(event, Started | Ended):
            if event.number <= self.seen:
                return
            self.seen = event.number
            source = self.instance, event.number
        try:
            done = self._executor.happened(event, source)
        except Exception:
            self._log.failure("an event of job {job} could not be taken in", job=event.job)
            return
        if done is not None and source is not None:
            self._unsafe.append(source[1])
            done.addCallback(self._safe, source[1])
        elif source is not None:
            self._forget_later()

    def _safe(self, _: None, number: int) -> None:
        self._unsafe.remove(number)
        self._forget_later()

    def _forget_later(self) -> None:
        if self._forgetting is None and not self._is_broken:
            self._forgetting = self._reactor.callLater(0, self._forget)

    def _forget(self) -> None:
        self._forgetting = None
        safe = self._unsafe[0] - 1 if self._unsafe else self.seen
        if safe > self._forgotten:
            self._forgotten = safe
            self.send(Forget(safe))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The runner has gone, or this daemon leaves it."""
        self._is_broken = True
        if self._forgetting is not None:
            self._forgetting.cancel()
        self._executor.unlinked(self)


class LinkFactory(Factory):
    """Makes the link, without a word."""

    noisy = False

    def __init__(self, make: Any) -> None:
        self._make = make

    def buildProtocol(self, addr: object) -> Link:
        """The one link."""
        link: Link = self._make()
        return link
