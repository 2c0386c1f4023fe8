"""One client's connection: requests in, responses out in their order, and no more than agreed.

Its rules:

- Whole lines are the fast path: a line that is one object is decoded as it is. All else, and what
  stands without a newline at the end of what came, goes through the framing.
- Answers leave in the order of their requests. A request that holds (`wait`, or a stream of
  responses) stops those behind it from being looked at; any other is only waited for when its
  answer is due.
- Nothing grows without bound: while the client does not take its answers, or too many are
  outstanding, requests are neither processed nor, beyond what has come, read. A stream is asked
  for its next response when those before it have been taken, but for some 64 KiB.
- A connection goes through the stages once, from the first to the last. What ends it is said in
  `_finish`; how it is closed, so that the last answer arrives, in `_close`.
"""

# mypy: disallow-untyped-calls=False
# (LineReceiver's methods have no types.)

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.errors import AptaskError, Unavailable
from aptask.model.event import Author
from aptask.model.framing import Framer
from aptask.model.messages import ErrorResponse, Request, Response
from aptask.model.strict_json import decode_object
from aptask.serving.answers import Answers, Place
from aptask.serving.closing import Closing
from aptask.serving.deadline import Deadline
from aptask.serving.dispatch import Outcome
from aptask.serving.sockets import is_gone, name_peer, prepare
from aptask.serving.streams import Stream

if TYPE_CHECKING:
    from aptask.serving.tcp import RequestFactory

PIECE_BYTES = 4096
"""How much is given to LineReceiver at once: it copies what is left of that for each line."""

FLUSH_BYTES = 65536
"""How many bytes of answers are gathered before they are written."""

HELD_BYTES = 65536
"""How much is read behind a request that holds, so that a reset is noticed."""

GONE_SECONDS = 10.0
"""How often a connection that is not read is looked at for its client having gone."""


class Stage(Enum):
    """How far a connection is."""

    OPEN = auto()
    """requests are read and processed"""
    FINISHING = auto()
    """no further request is processed; what is outstanding is answered"""
    CLOSING = auto()
    """all answers are written, and what comes is discarded"""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(LineReceiver):
    """Speaks the protocol with one client.

    Args:
        server: the factory it belongs to.
        refusal: what to answer at once, before closing; None: serve.
    """

    delimiter = b"\n"
    transport: Any

    def __init__(self, server: RequestFactory, refusal: AptaskError | None = None) -> None:
        limits = server.limits
        self._server = server
        self._clock = server.clock
        self._dispatcher = server.dispatcher
        self._refusal = refusal
        self._max_bytes = limits.request_bytes
        self._max_depth = limits.request_depth
        self.MAX_LENGTH = limits.request_bytes + 1  # what is longer, framing has to judge
        self._framer = Framer(limits.request_bytes, limits.request_depth)
        self._answers = Answers()
        self._deadline = Deadline(server.clock, self._check)
        self._stage = Stage.OPEN
        self._peer = ""
        self._written: list[bytes] = []
        self._written_bytes = 0
        self._held: Deferred[Any] | None = None
        self._held_place: Place | None = None
        self._room: Deferred[None] | None = None
        self._running = self._again = False
        self._reading = True
        self._input_ended = False
        self._closing: Closing | None = None
        # Since when, in seconds of the clock; None: not.
        self._last_answer = 0.0
        self._blocked_since: float | None = None
        self._request_since: float | None = None
        self._unread_since = 0.0

    # What the transport calls

    def connectionMade(self) -> None:
        """The client is there."""
        self._peer = name_peer(self.transport)
        self._last_answer = self._clock.seconds()
        prepare(self.transport)
        self.transport.registerProducer(self, True)
        self._deadline.look_by(self._next_check())
        if self._refusal is not None:
            self._end_with(self._refusal)
            self._run(b"")

    def dataReceived(self, data: bytes) -> None:
        """Bytes have come."""
        if self._stage is Stage.OPEN:
            self._run(data)

    def lineReceived(self, line: bytes, ending: bytes = b"\n") -> None:
        """A line is next; or, without an ending, what has come of one."""
        if self._framer.idle:
            if not line or line == b"\r":
                return
            if line[0] == 0x7B and line.endswith((b"}", b"}\r")) and len(line) <= self._max_bytes:
                try:
                    values = decode_object(line, self._max_depth)
                except AptaskError:
                    pass  # not one object: the framing finds out what it is
                else:
                    self._process(self._dispatcher.understand(values, self._peer))
                    return
        self._framer.feed(line + ending)
        self._drain()

    def lineLengthExceeded(self, line: bytes) -> None:
        """A line is next, or more than one, that may be longer than a request can be."""
        self._framer.feed(line)
        self._drain()

    def readConnectionLost(self) -> None:
        """The client has ended its sending side, and reads on."""
        self._input_ended = True
        if self._closing is not None:
            self._closing.input_is_over()
        else:
            self._run(b"")
            if self._closing is None and is_gone(self.transport):
                self.abort()  # a Unix socket that is closed altogether begins like this

    def writeConnectionLost(self) -> None:
        """Everything is sent, and our sending side is closed."""
        if self._closing is not None:
            self._closing.output_is_over()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, whoever ended it."""
        self._stage = Stage.CLOSING
        self._deadline.cancel()
        if self._closing is not None:
            self._closing.cancel()
        self.clearLineBuffer()
        self._answers.clear()
        held, self._held = self._held, None
        if held is not None:
            held.cancel()
        self._server.connection_lost(self)

    def pauseProducing(self) -> None:
        """The client does not take what is sent."""
        self._blocked_since = self._clock.seconds()
        self._settle()

    def resumeProducing(self) -> None:
        """The client has taken what was sent."""
        self._blocked_since = None
        self._last_answer = self._clock.seconds()
        self._run(b"")
        self._offer_room()

    def stopProducing(self) -> None:
        """The connection is being lost; `connectionLost` does what there is to do."""

    # What the factory calls

    def shut_down(self) -> None:
        """Answer what is under way, what holds with `unavailable`, and close."""
        if self._stage is Stage.OPEN:
            if self._held is not None:
                self._held.cancel()
            self._run(b"")
            self._finish()
            self._run(b"")

    def abort(self) -> None:
        """Close at once, whatever is unsent."""
        self._stage = Stage.CLOSING
        self._deadline.cancel()
        self.transport.abortConnection()

    # From bytes to requests

    def _run(self, data: bytes) -> None:
        """Take bytes, and go as far as can be gone with all that has come."""
        if self._running:
            self._buffer += data
            self._again = True
            return
        self._running = True
        self._receive(data)
        while self._again:
            self._again = False
            self._receive(b"")
        self._running = False
        if self._written:
            self.flush()
        if self._framer.pending:
            if self._request_since is None:
                self._request_since = self._clock.seconds()
        else:
            self._request_since = None
        if self.paused or not self._reading or self._request_since is not None:
            self._settle()
        if self._stage is Stage.FINISHING and not self._answers:
            self._close()

    def _receive(self, data: bytes) -> None:
        if self.paused or not self._framer.idle:
            self._pause_if_due()
            self._drain()
        receive = super().dataReceived
        if len(data) <= PIECE_BYTES:
            receive(data)
        else:
            for start in range(0, len(data), PIECE_BYTES):
                receive(data[start : start + PIECE_BYTES])
        if self.paused or self._stage is not Stage.OPEN:
            return
        if self._buffer:
            self.lineReceived(self.clearLineBuffer(), ending=b"")
        if self._input_ended and not self.paused and self._stage is Stage.OPEN:
            try:
                self._framer.end()
            except AptaskError as error:
                self._end_with(error)
            else:
                self._finish()

    def _drain(self) -> None:
        """Process what the framing has found."""
        framer = self._framer
        if framer.idle:
            return
        while not self.paused and self._stage is Stage.OPEN:
            try:
                text = framer.next()
            except AptaskError as error:
                self._end_with(error)
                return
            if text is None:
                return
            self._request_since = None  # that of the one behind it is later
            self._process(self._dispatcher.read(text, self._peer))

    # From requests to answers

    def _process(self, request: Request | ErrorResponse) -> None:
        if isinstance(request, ErrorResponse):
            self._answer(request)
        elif self._server.is_shutting_down:
            self._answer(self._dispatcher.refuse(shutting_down(), request, self._author))
        else:
            answer: Any = self._dispatcher.carry_out(request, self._peer)
            if isinstance(answer, Deferred) and answer.called and not answer.paused:
                answer = answer.result
            if isinstance(answer, (Deferred, Stream)):
                self._await(answer, self._dispatcher.holds(request, answer))
            else:
                self._answer(answer)

    def _await(self, answer: Stream | Deferred[Any], holds: bool) -> None:
        """Keep a place for an answer that is to come, or for a stream."""
        place = self._answers.keep_place()
        coming: Deferred[Any] = Deferred() if isinstance(answer, Stream) else answer
        if holds:
            self._held, self._held_place = coming, place
            coming.addCallback(self._pour)
        coming.addCallback(self._fill, place)
        if isinstance(answer, Stream):
            coming.callback(answer)  # it may be over at once: what holds has to be known by then
        self._pause_if_due()

    def _answer(self, response: Outcome) -> None:
        line = self._dispatcher.encode(response)
        if self._answers:
            self._answers.append(line)
            self._pause_if_due()
        else:
            self._write(line)

    def _pour(self, answer: Outcome | Stream) -> Outcome | Deferred[ErrorResponse | None]:
        return answer.pour(self) if isinstance(answer, Stream) else answer

    def room(self) -> Deferred[None] | None:
        """For a stream: when its next response may be sent; see `Outlet`."""
        if self._has_room:
            return None
        self._room = Deferred()
        return self._room

    def send(self, response: Response | bytes) -> None:
        """For a stream: send a response; see `Outlet`."""
        if self._stage is not Stage.CLOSING:
            is_first = not self._written
            line = response if isinstance(response, bytes) else self._dispatcher.encode(response)
            self._write(line)
            if is_first and not self._running:
                self._server.flush_later(self)

    @property
    def _has_room(self) -> bool:
        """Whether the client takes what is sent, and it is the turn of what holds."""
        return self._blocked_since is None and self._answers.is_next(self._held_place)

    def _offer_room(self) -> None:
        if self._room is not None and self._has_room:
            room, self._room = self._room, None
            room.callback(None)

    def _fill(self, response: Outcome | None, place: Place) -> None:
        """An answer is there that has a place kept for it; None: it was a stream, and is over."""
        if self._stage is Stage.CLOSING:
            return
        line = b"" if response is None else self._dispatcher.encode(response)
        for leaving in self._answers.fill(place, line):
            self._write(leaving)
        if self._answers:
            self._offer_room()
        else:
            self._held = None  # what holds is always the last
        if self._running:
            return
        if self.paused or self._stage is Stage.FINISHING:
            self._run(b"")
        elif self._written:
            self._server.flush_later(self)

    def _write(self, line: bytes) -> None:
        self._written.append(line)
        self._written_bytes += len(line)
        if self._written_bytes >= FLUSH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what is to be sent."""
        if self._written:
            written = b"".join(self._written)
            self._written.clear()
            self._written_bytes = 0
            self._last_answer = self._clock.seconds()
            self.transport.write(written)

    def _pause_if_due(self) -> None:
        """Have requests processed exactly while they should be."""
        self.paused = (
            self._held is not None or self._blocked_since is not None or self._answers.is_full
        )

    def _settle(self) -> None:
        """Have requests processed, the socket read, and the time watched exactly when due."""
        self._pause_if_due()
        has_room = self._blocked_since is None and not self._answers.is_full
        reading = self._stage is not Stage.OPEN or (
            has_room and (self._held is None or len(self._buffer) < HELD_BYTES)
        )
        if reading is not self._reading and not self._input_ended:
            self._reading = reading
            if reading:
                if self._request_since is not None:
                    self._request_since += self._clock.seconds() - self._unread_since
                self.transport.resumeProducing()
            else:
                self._unread_since = self._clock.seconds()
                self.transport.pauseProducing()
        self._deadline.look_by(self._next_check())

    # The end

    def _end_with(self, error: AptaskError) -> None:
        """Answer an error, and process nothing behind it."""
        self._answer(self._dispatcher.refuse(error, None, self._author))
        self._finish()

    def _finish(self) -> None:
        """Process no further request, and close when what is outstanding is answered."""
        if self._stage is Stage.OPEN:
            self._stage = Stage.FINISHING
            self.clearLineBuffer()

    def _close(self) -> None:
        self._stage = Stage.CLOSING
        self._deadline.cancel()
        blocked, self._blocked_since = self._blocked_since is not None, None
        self._settle()
        self.transport.unregisterProducer()
        patience = self._server.limits.idle_seconds
        self._closing = Closing(self.transport, self._clock, patience, self._input_ended, blocked)

    @property
    def _author(self) -> Author:
        return Author(peer=self._peer)

    # Time

    def _check(self) -> float:
        """Deal with what is due, and say when to look again."""
        limits, now = self._server.limits, self._clock.seconds()
        if self._blocked_since is not None and now >= self._blocked_since + limits.idle_seconds:
            self.abort()
        elif self._input_ended or not self._reading:
            if is_gone(self.transport):
                self.abort()
        elif self._request_since is not None:
            if now >= self._request_since + limits.request_seconds:
                self._end_with(self._framer.overdue(limits.request_seconds))
                self._run(b"")
        elif self._is_idle() and now >= self._last_answer + limits.idle_seconds:
            self._finish()
            self._run(b"")
        return self._next_check()

    def _next_check(self) -> float:
        """When something may be due next."""
        limits, now = self._server.limits, self._clock.seconds()
        times = [now + limits.idle_seconds]
        if self._blocked_since is not None:
            times.append(self._blocked_since + limits.idle_seconds)
        if self._input_ended or not self._reading:
            times.append(now + GONE_SECONDS)
        elif self._request_since is not None:
            times.append(self._request_since + limits.request_seconds)
        elif self._is_idle():
            times.append(self._last_answer + limits.idle_seconds)
        return min(times)

    def _is_idle(self) -> bool:
        return not self._answers and self._request_since is None and self._blocked_since is None


def shutting_down() -> Unavailable:
    """What a request is answered that comes too late."""
    return Unavailable("the daemon is shutting down")
