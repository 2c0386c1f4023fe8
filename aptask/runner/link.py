"""The runner's end of the link: a Unix socket in the data folder, and JSON lines on it."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
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


@implementer(IPushProducer)
class RunnerLink(LineOnlyReceiver):
    """A daemon's connection.

    Args:
        runner: takes the orders.
        lost: called when the connection that counted is gone.
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
            self._log.failure("an order that cannot be read: {line}", line=line[:200])
        else:
            self._runner.order(order)

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
        runner: takes the orders.
        abandoned: called when the last daemon has gone.
    """

    noisy = False

    def __init__(self, runner: Runner, abandoned: Callable[[], None]) -> None:
        self._runner = runner
        self._abandoned = abandoned
        self._current: RunnerLink | None = None

    def is_empty(self) -> bool:
        """Whether no daemon is there."""
        return self._current is None

    def buildProtocol(self, addr: object) -> RunnerLink:
        """A new daemon's connection: the one before is closed."""
        before, self._current = self._current, RunnerLink(self._runner, self._gone)
        if before is not None:
            before.transport.loseConnection()
        return self._current

    def _gone(self, link: RunnerLink) -> None:
        if link is self._current:
            self._current = None
            self._abandoned()
