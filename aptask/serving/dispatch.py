"""From a request's bytes to its response, whatever transport they came by.

The order of checks is the protocol's: JSON, the request's name, its fields; the key; the rest.
Every error becomes a response here and nowhere else. A fault of the daemon's own is logged under a
reference, and its client is told no more than that.
"""

# mypy: disallow-untyped-calls=False
# (Failure has no types.)

from __future__ import annotations

import secrets
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, UnsetType
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.errors import (
    AptaskError,
    Internal,
    LimitReached,
    Malformed,
    Unauthorized,
    Unavailable,
    UnknownRequest,
)
from aptask.model.event import NOBODY, Author
from aptask.model.messages import REQUESTS, ErrorResponse, Id, Request, Response
from aptask.model.strict_json import NotStrict, decode_object
from aptask.serving.context import Context, Traffic
from aptask.serving.handlers import HANDLERS, Answer, Handler
from aptask.serving.holding import Holders, Holding, late
from aptask.serving.keyring import Identity
from aptask.serving.patience import Patience
from aptask.serving.streams import Responses, Stream
from aptask.serving.wording import NAME_LENGTH, explain, explain_name, list_requests

Outcome = Response | ErrorResponse
A = TypeVar("A")

_encode = msgspec.json.Encoder().encode
_convert = msgspec.convert


class Dispatcher:
    """Carries out requests.

    Args:
        context: what handlers work with.
    """

    _log = Logger()

    def __init__(self, context: Context) -> None:
        self._context = context
        self._counts = context.traffic.requests
        self._patience = Patience(context.clock.seconds)
        self._holders = Holders(context.clock)
        context.keyring.when_gone(self._holders.end)

    def read(self, text: bytes, peer: str) -> Request | ErrorResponse:
        """Read one JSON object as a request.

        Args:
            text: the object.
            peer: where it came from, for people.

        Returns:
            the request, or the response that says what is wrong with it.
        """
        try:
            values = decode_object(text, self._context.limits.request_depth)
        except NotStrict as error:
            return self.refuse(error, error.values, Author(peer=peer))
        except AptaskError as error:
            return self.refuse(error, {}, Author(peer=peer))
        return self.understand(values, peer)

    def understand(self, values: dict[str, Any], peer: str) -> Request | ErrorResponse:
        """What `read` does, for an object that is decoded already."""
        name = values.get("request")
        try:
            kind = REQUESTS[name]  # type: ignore[index]
            self._counts[name] += 1  # type: ignore[index]
            return _convert(values, kind)
        except msgspec.ValidationError as error:
            return self.refuse(Malformed(explain(kind, error)), values, Author(peer=peer))
        except (KeyError, TypeError):
            return self.refuse(_wrong_name(values), values, Author(peer=peer))

    def holds(self, request: Request, answer: object) -> bool:
        """Whether requests behind this one wait for its answer: it may take long, or is a stream.

        A request that has a field `follow` is answered with a stream where that is true.

        Args:
            request: given to `carry_out`.
            answer: what that gave.
        """
        return (
            HANDLERS[type(request)].holds
            or getattr(request, "follow", False)
            or isinstance(answer, Holding)
        )

    def carry_out(
        self, request: Request, peer: str
    ) -> Outcome | Stream | Deferred[Outcome | Stream]:
        """Do what a request asks.

        Args:
            request: from `read`.
            peer: where it came from, for people.

        Returns:
            its response, or the stream of its responses; or a Deferred that fires with either and
            never fails, which may be cancelled if it `holds`.
        """
        context = self._context
        opening, key = context.opening, request.key
        if opening is not None and key and not context.keyring.knows(key):
            return self._when_known(opening, request, peer)
        try:
            identity = context.keyring.identify(key)
        except Unauthorized as error:
            if request.needs_key:
                return self._hold_back(self.refuse(error, request, Author(peer=peer)), peer)
            answer = self._carry_out(request, None, peer)
            if key and not isinstance(answer, Deferred):
                return self._hold_back(answer, peer)  # it would tell whether the key is good
            return answer
        return self._carry_out(request, identity, peer)

    def _carry_out(
        self, request: Request, identity: Identity | None, peer: str
    ) -> Outcome | Stream | Deferred[Outcome | Stream]:
        """What `carry_out` does, once it is known who asks."""
        context = self._context
        try:
            if request.for_admins and not (identity is not None and identity.is_admin):
                raise _not_an_admin(request)
            handler = HANDLERS[type(request)]
            if request.for_admins and not handler.enters:
                context.recorder.asked(request, _author(identity, peer))
            if context.opening is None or handler.early:
                answer = handler.function(context, identity, request, peer)
            else:
                answer = self._when_open(context.opening, handler, identity, request, peer)
        except AptaskError as error:
            return self.refuse(error, request, _author(identity, peer))
        except Exception:
            return self._failed(Failure(), request, identity, peer)
        if isinstance(answer, Deferred):
            if answer.called and not answer.paused and isinstance(answer.result, Response):
                return self._complete(answer.result, request)  # it is there: the short way
            if handler.holds:
                self._hold(answer, identity)
            return answer.addCallbacks(
                self._done,
                self._failed,
                callbackArgs=(request, identity, peer),
                errbackArgs=(request, identity, peer),
            )
        return self._done(answer, request, identity, peer)

    def refuse(
        self, error: AptaskError, request: Request | dict[str, Any] | None, author: Author = NOBODY
    ) -> ErrorResponse:
        """The response that says why a request is not carried out; the event log has it, too.

        Args:
            error: why.
            request: the request, or as much of it as could be read.
            author: who asked, as far as that is known.
        """
        response = self._explain(error, request)
        self._context.recorder.refused(response.response, error, author)
        return response

    def _explain(
        self, error: AptaskError, request: Request | dict[str, Any] | None
    ) -> ErrorResponse:
        name: str | None = None
        identifier: Id | UnsetType = UNSET
        if isinstance(request, Request):
            name = str(request.__struct_config__.tag)
            identifier = request.id
        elif request is not None:
            given = request.get("request")
            if isinstance(given, str) and len(given) <= NAME_LENGTH:
                name = given
            given = request.get("id")
            if isinstance(given, (str, int, float)) and not isinstance(given, bool):
                identifier = given
        response = ErrorResponse(
            response=name, code=error.code, message=error.message, id=identifier
        )
        if isinstance(error, LimitReached):
            response.retry_after = error.retry_after
        return response

    @property
    def traffic(self) -> Traffic:
        """Where it is counted what passes."""
        return self._context.traffic

    def close(self) -> None:
        """No further request comes: what was counted for the event log is written."""
        self._context.recorder.close()

    def encode(self, response: Outcome) -> bytes:
        """A response as a line of the wire."""
        try:
            return _encode(response) + b"\n"
        except Exception:
            error = self._fault(Failure(), "a response")
            refusal = self.refuse(error, {"id": response.id})
            refusal.response = response.response  # type: ignore[union-attr]
            return _encode(refusal) + b"\n"

    def _hold(self, answer: Deferred[A], identity: Identity | None) -> Deferred[A]:
        """Have an answer end when the key is gone that it was asked for with."""
        return answer if identity is None else self._holders.add(identity.name, answer)

    def _hold_back(self, answer: A, peer: str) -> A | Holding[A]:
        """An answer to a key that is nobody's: later, where there were many."""
        seconds = self._patience.delay(peer)
        return late(self._context.clock, seconds, answer) if seconds else answer

    def _when_known(
        self, opening: Deferred[None], request: Request, peer: str
    ) -> Holding[Outcome | Stream]:
        """Carry out a request once all keys are known: its own may be in the book."""
        known: Holding[Any] = Holding()
        _pass_on(opening, known)
        known.addCallback(lambda _: self.carry_out(request, peer))
        known.addErrback(self._failed, request, None, peer)
        return known

    def _when_open(
        self, opening: Deferred[None], handler: Handler, identity: Any, request: Request, peer: str
    ) -> Answer:
        """Carry out a request once the queue is open; the requests wait in their order."""
        opened: Deferred[None] = Deferred()
        _pass_on(opening, opened)
        return opened.addCallback(
            lambda _: handler.function(self._context, identity, request, peer)
        )

    def _done(
        self, answer: Response | Responses, request: Request, identity: Identity | None, peer: str
    ) -> Outcome | Stream:
        if isinstance(answer, Response):
            return self._complete(answer, request)
        return Stream(
            answer,
            complete=lambda response: self._complete(response, request),
            ending=_ending(request),
            explain=lambda failure: self._failed(failure, request, identity, peer),
            hold=lambda answer: self._hold(answer, identity),
        )

    def _complete(self, response: Response, request: Request) -> Response:
        if request.id is not UNSET:
            response.id = request.id
        return response

    def _failed(
        self, failure: Failure, request: Request, identity: Identity | None, peer: str
    ) -> ErrorResponse:
        error = failure.value
        if isinstance(error, CancelledError):
            # No refusal: either the daemon goes, or the client has gone and is told nothing.
            return self._explain(Unavailable("the daemon is shutting down"), request)
        if not isinstance(error, AptaskError):
            error = self._fault(failure, f"request `{request.__struct_config__.tag}`")
        return self.refuse(error, request, _author(identity, peer))

    def _fault(self, failure: Failure, what: str) -> Internal:
        reference = secrets.token_hex(4)
        self._log.failure(
            "A fault in {what}, reference {reference}", failure, what=what, reference=reference
        )
        return Internal(f"a fault of the daemon; its log has more under the reference {reference}")


def _pass_on(opening: Deferred[None], opened: Deferred[Any]) -> None:
    """Have a Deferred of one request's fire when the queue is open."""

    def go_on(_: None) -> None:
        if not opened.called:  # else its client has gone
            opened.callback(None)

    def give_up(failure: Failure) -> Failure:
        if not opened.called:
            opened.errback(Unavailable("the daemon is shutting down"))
        return failure  # the requests behind this one are not to be carried out either

    opening.addCallbacks(go_on, give_up)


def _ending(request: Request) -> bytes:
    """How the line of a response ends that is encoded without what it has of its request."""
    return b"}\n" if request.id is UNSET else b',"id":' + _encode(request.id) + b"}\n"


def _author(identity: Identity | None, peer: str) -> Author:
    return Author("" if identity is None else identity.name, peer)


def _not_an_admin(request: Request) -> Unauthorized:
    return Unauthorized(f"`{request.__struct_config__.tag}` is for admins: this is a user's key")


def _wrong_name(values: dict[str, Any]) -> AptaskError:
    if "request" not in values:
        return Malformed(f"field `request` is missing; it is one of {list_requests()}")
    name = values["request"]
    if not isinstance(name, str):
        return Malformed(explain_name(name))
    return UnknownRequest(f"no such request: `{name[:NAME_LENGTH]}`; there are {list_requests()}")
