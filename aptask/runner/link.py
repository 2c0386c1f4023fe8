"""The runner's end of the link: a Unix socket in the data folder, and JSON lines on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.model.orders import Event, decode_order, encode
from aptask.runner.runner import Runner

LINE_BYTES = 1 << 31
"""No limit: both ends are ours, and what they send is bounded where it is made."""
CLOSE_SECONDS = 2.0
"""How long a daemon may take to read the last events."""


@implementer(IPushProducer)
class RunnerLink(LineOnlyReceiver):
    """A daemon's connection.

    Args:
        runner: takes the orders.
        lost: called when it is gone.
    """

    delimiter = b"\n"
    MAX_LENGTH = LINE_BYTES
    transport: ITransport
    _log = Logger()

    def __init__(self, runner: Runner, lost: Callable[[RunnerLink], None]) -> None:
        self._runner = runner
        self._lost = lost
        self._free = True

    def connectionMade(self) -> None:
        """A daemon has come."""
        self.transport.registerProducer(self, True)  # type: ignore[attr-defined]
        self._runner.connected(self)

    def lineReceived(self, line: bytes) -> None:
        """An order."""
        try:
            order = decode_order(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            # Not the line itself: it may hold secrets.
            self._log.failure("an order of {size} bytes cannot be read", size=len(line))
            return
        try:
            self._runner.order(order)
        except Exception:
            # An order's fault must not cost the link, and with it all jobs.
            self._log.failure("`{order}` could not be carried out", order=type(order).__name__)

    def send(self, event: Event) -> None:
        """Send an event."""
        self.transport.write(encode(event) + b"\n")

    def is_free(self) -> bool:
        """Whether the daemon takes what is sent."""
        return self._free

    def pauseProducing(self) -> None:
        """The daemon does not read."""
        self._free = False

    def resumeProducing(self) -> None:
        """The daemon reads again."""
        self._free = True
        self._runner.drained()

    def stopProducing(self) -> None:
        """The daemon will read no more."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The daemon has gone."""
        self._runner.disconnected(self)
        self._lost(self)


class RunnerLinkFactory(Factory):
    """Lets one daemon in at a time: the newest wins.

    Args:
        reactor: tells the time.
        runner: takes the orders, and hears whether a daemon is there.

    Attributes:
        was_linked: whether any daemon has ever come.
    """

    noisy = False

    def __init__(self, reactor: Any, runner: Runner) -> None:
        self.was_linked = False
        self._reactor = reactor
        self._runner = runner
        self._current: RunnerLink | None = None
        self._closed: Deferred[None] | None = None

    def buildProtocol(self, addr: object) -> RunnerLink | None:
        """A new daemon's connection: the one before is closed; none, once this is closed itself."""
        if self._closed is not None:
            return None
        self.was_linked = True
        before, self._current = self._current, RunnerLink(self._runner, self._gone)
        if before is not None:
            before.transport.loseConnection()
        return self._current

    def close(self) -> Deferred[None]:
        """Close the link once the daemon has read what was sent, or has not for `CLOSE_SECONDS`."""
        closed = self._closed = Deferred()
        if self._current is None:
            closed.callback(None)
            return closed
        transport: Any = self._current.transport
        transport.unregisterProducer()
        transport.loseConnection()
        giving_up = self._reactor.callLater(CLOSE_SECONDS, transport.abortConnection)
        return closed.addCallback(lambda _: giving_up.cancel() if giving_up.active() else None)

    def _gone(self, link: RunnerLink) -> None:
        if link is self._current:
            self._current = None
            if self._closed is not None:
                self._closed.callback(None)
