"""From a request's bytes to its response, whatever transport they came by.

The order of checks is the protocol's: JSON, the request's name, its fields; the key; the rest.
Every error becomes a response here and nowhere else. A fault of the daemon's own is logged under a
reference, and its client is told no more than that.
"""

# mypy: disallow-untyped-calls=False
# (Failure has no types.)

from __future__ import annotations

import secrets
from typing import Any

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
from aptask.model.messages import REQUESTS, ErrorResponse, Id, Request, Response
from aptask.model.strict_json import NotStrict, decode_object
from aptask.serving.context import Context, Traffic
from aptask.serving.handlers import HANDLERS, Answer, Handler
from aptask.serving.keyring import Identity
from aptask.serving.wording import NAME_LENGTH, explain, explain_name, list_requests

Outcome = Response | ErrorResponse

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
        self._max_depth = context.limits.request_depth
        self._counts = context.traffic.requests

    def read(self, text: bytes) -> Request | ErrorResponse:
        """Read one JSON object as a request.

        Returns:
            the request, or the response that says what is wrong with it.
        """
        try:
            values = decode_object(text, self._max_depth)
        except NotStrict as error:
            return self.refuse(error, error.values)
        except AptaskError as error:
            return self.refuse(error, {})
        return self.understand(values)

    def understand(self, values: dict[str, Any]) -> Request | ErrorResponse:
        """What `read` does, for an object that is decoded already."""
        name = values.get("request")
        try:
            kind = REQUESTS[name]  # type: ignore[index]
            self._counts[name] += 1  # type: ignore[index]
            return _convert(values, kind)
        except msgspec.ValidationError as error:
            return self.refuse(Malformed(explain(kind, error)), values)
        except (KeyError, TypeError):
            return self.refuse(_wrong_name(values), values)

    def holds(self, request: Request) -> bool:
        """Whether requests behind this one wait for its answer."""
        return HANDLERS[type(request)].holds

    def carry_out(self, request: Request, peer: str) -> Outcome | Deferred[Outcome]:
        """Do what a request asks.

        Args:
            request: from `read`.
            peer: where it came from, for people.

        Returns:
            its response; or a Deferred that fires with it and never fails, which may be cancelled
            if the request `holds`.
        """
        context = self._context
        try:
            if request.needs_key:
                identity = context.keyring.identify(request.key)
                if request.for_admins and not identity.is_admin:
                    raise _not_an_admin(request)
            else:
                identity = self._known(request.key)  # type: ignore[assignment]
            handler = HANDLERS[type(request)]
            if context.opening is None or handler.early:
                answer = handler.function(context, identity, request, peer)
            else:
                answer = self._when_open(context.opening, handler, identity, request, peer)
        except AptaskError as error:
            return self.refuse(error, request)
        except Exception:
            return self._failed(Failure(), request)
        if isinstance(answer, Deferred):
            if answer.called and not answer.paused and isinstance(answer.result, Response):
                return self._done(answer.result, request)  # it is there: the short way
            return answer.addCallbacks(
                self._done, self._failed, callbackArgs=(request,), errbackArgs=(request,)
            )
        return self._done(answer, request)

    def refuse(self, error: AptaskError, request: Request | dict[str, Any] | None) -> ErrorResponse:
        """The response that says why a request is not carried out.

        Args:
            error: why.
            request: the request, or as much of it as could be read.
        """
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

    def encode(self, response: Outcome) -> bytes:
        """A response as a line of the wire."""
        try:
            return _encode(response) + b"\n"
        except Exception:
            error = self._fault(Failure(), "a response")
            refusal = self.refuse(error, {"id": response.id})
            refusal.response = response.response  # type: ignore[union-attr]
            return _encode(refusal) + b"\n"

    def _known(self, key: str) -> Identity | None:
        try:
            return self._context.keyring.identify(key)
        except Unauthorized:
            return None

    def _when_open(
        self, opening: Deferred[None], handler: Handler, identity: Any, request: Request, peer: str
    ) -> Answer:
        """Carry out a request once the queue is open; the requests wait in their order."""
        opened: Deferred[None] = Deferred()

        def go_on(_: None) -> None:
            if not opened.called:  # else its client has gone
                opened.callback(None)

        def give_up(_: Failure) -> None:
            if not opened.called:
                opened.errback(Unavailable("the daemon is shutting down"))

        opening.addCallbacks(go_on, give_up)
        return opened.addCallback(
            lambda _: handler.function(self._context, identity, request, peer)
        )

    def _done(self, response: Response, request: Request) -> Outcome:
        if request.id is not UNSET:
            response.id = request.id
        return response

    def _failed(self, failure: Failure, request: Request) -> ErrorResponse:
        error = failure.value
        if isinstance(error, CancelledError):
            error = Unavailable("the daemon is shutting down")
        elif not isinstance(error, AptaskError):
            error = self._fault(failure, f"request `{request.__struct_config__.tag}`")
        return self.refuse(error, request)

    def _fault(self, failure: Failure, what: str) -> Internal:
        reference = secrets.token_hex(4)
        self._log.failure(
            "A fault in {what}, reference {reference}", failure, what=what, reference=reference
        )
        return Internal(f"a fault of the daemon; its log has more under the reference {reference}")


def _not_an_admin(request: Request) -> Unauthorized:
    return Unauthorized(f"`{request.__struct_config__.tag}` is for admins: this is a user's key")


def _wrong_name(values: dict[str, Any]) -> AptaskError:
    if "request" not in values:
        return Malformed(f"field `request` is missing; it is one of {list_requests()}")
    name = values["request"]
    if not isinstance(name, str):
        return Malformed(explain_name(name))
    return UnknownRequest(f"no such request: `{name[:NAME_LENGTH]}`; there are {list_requests()}")
