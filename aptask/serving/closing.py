"""How a connection is closed so that what was written last arrives.

A socket that is closed with input unread sends a reset, and its client may never see the answer
that was sent before. So the sending side is closed first; then input is discarded, until the client
closes its own side or has had time enough. TLS does so by itself: it is closed when both sides have
said that they will. In no case does a client that takes nothing keep the connection for ever.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IDelayedCall, IHalfCloseableDescriptor, IReactorTime
from twisted.protocols.policies import ProtocolWrapper

DISCARD_SECONDS = 2.0
"""How long input is discarded."""


class Closing:
    """Closes a transport, beginning now. What comes meanwhile, its owner discards.

    Args:
        transport: reads, has all that is to be sent, and has no producer.
        clock: seconds, and calls later.
        patience: seconds that the client has to take what is to be sent.
        is_input_over: whether the client has ended its sending side.
        is_unsent: whether much is still to be sent.
    """

    def __init__(
        self,
        transport: Any,
        clock: IReactorTime,
        patience: float,
        is_input_over: bool,
        is_unsent: bool,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._patience = patience
        self._is_sent = False
        self._is_late = False
        # A transport that wraps another, for TLS or a proxy's header, has no half to close.
        can_half_close = IHalfCloseableDescriptor.providedBy(transport) and not isinstance(
            transport, ProtocolWrapper
        )
        if can_half_close and not is_input_over:
            self._call: IDelayedCall = clock.callLater(DISCARD_SECONDS, self._discarded)
            transport.loseWriteConnection()
        else:
            must_be_patient = is_input_over or is_unsent
            seconds = patience if must_be_patient else DISCARD_SECONDS
            self._call = clock.callLater(seconds, transport.abortConnection)
            transport.loseConnection()

    def input_is_over(self) -> None:
        """The client has ended its sending side."""
        self._transport.loseConnection()

    def output_is_over(self) -> None:
        """All is sent, and our sending side is closed."""
        self._is_sent = True
        if self._is_late:
            self._transport.loseConnection()

    def cancel(self) -> None:
        """It is closed."""
        if self._call.active():
            self._call.cancel()

    def _discarded(self) -> None:
        if self._is_sent:
            self._transport.abortConnection()
        else:
            # The client may still read what there is for it; no more is heard from it.
            self._is_late = True
            self._transport.pauseProducing()
            self._call = self._clock.callLater(self._patience, self._transport.abortConnection)
