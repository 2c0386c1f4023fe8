"""The protocol over TCP, TLS and Unix sockets: the factory of connections.

One factory may listen on any number of ports; the limit of connections is over all of them.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import Factory

from aptask.errors import AptaskError, LimitReached
from aptask.model.limits import Limits
from aptask.serving.connection import Connection, shutting_down
from aptask.serving.dispatch import Dispatcher

SHUTDOWN_SECONDS = 3.0
"""How long clients have, at shutdown, to take their last answers."""

RETRY_SECONDS = 5.0
"""When a client for whom there was no room may come again."""

REFUSED_AT_ONCE = 100
"""How many clients that are refused may be told why at the same time; others are just closed."""


class RequestFactory(Factory):
    """Makes a connection for each client.

    Args:
        dispatcher: carries out requests.
        limits: what clients may take.
        clock: seconds, and calls later.

    Attributes:
        is_shutting_down: whether requests are answered with `unavailable`.
    """

    noisy = False

    def __init__(self, dispatcher: Dispatcher, limits: Limits, clock: IReactorTime) -> None:
        self.dispatcher = dispatcher
        self.limits = limits
        self.clock = clock
        self.is_shutting_down = False
        self._traffic = dispatcher.traffic
        self._connections: set[Connection] = set()
        self._refused: set[Connection] = set()
        self._gone: Deferred[None] | None = None
        self._unflushed: list[Connection] = []

    @property
    def connections(self) -> int:
        """How many clients are served."""
        return len(self._connections)

    def buildProtocol(self, addr: IAddress | None) -> Connection | None:
        """A connection for a client; None closes it at once."""
        refusal: AptaskError | None = None
        if self.is_shutting_down:
            refusal = shutting_down()
        elif len(self._connections) >= self.limits.connections:
            refusal = LimitReached(
                f"all {self.limits.connections} connections are taken", RETRY_SECONDS
            )
        if refusal is not None and len(self._refused) >= REFUSED_AT_ONCE:
            return None
        connection = Connection(self, refusal)
        if refusal is None:
            self._connections.add(connection)
            self._traffic.connections += 1
        else:
            self._refused.add(connection)
        return connection

    def connection_lost(self, connection: Connection) -> None:
        """Called by a connection when it is gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            self._traffic.connections -= 1
        self._refused.discard(connection)
        if self._gone is not None and not self._connections and not self._refused:
            gone, self._gone = self._gone, None
            gone.callback(None)

    def flush_later(self, connection: Connection) -> None:
        """Send what a connection has to send, with all that others get to send until then.

        Answers come in flocks, when the store has many requests on disk at once.
        """
        if not self._unflushed:
            self.clock.callLater(0, self._flush)
        self._unflushed.append(connection)

    def _flush(self) -> None:
        unflushed, self._unflushed = self._unflushed, []
        for connection in unflushed:
            connection.flush()

    def shut_down(self) -> Deferred[None]:
        """End all connections: what waits is answered `unavailable`, then they are closed.

        Returns:
            a Deferred of None that fires when none is left, after `SHUTDOWN_SECONDS` at most.
        """
        self.is_shutting_down = True
        done: Deferred[None] = Deferred()
        self._gone = done
        for connection in list(self._connections):
            connection.shut_down()
        if self._gone is not None and not self._connections and not self._refused:
            self._gone = None
            done.callback(None)
        if not done.called:
            late = self.clock.callLater(SHUTDOWN_SECONDS, self._abort_all)
            done.addBoth(_cancel, late)
        return done.addCallback(lambda _: self.dispatcher.close())

    def _abort_all(self) -> None:
        for connection in [*self._connections, *self._refused]:
            connection.abort()


def _cancel(result: None, call: IDelayedCall) -> None:
    if call.active():
        call.cancel()
