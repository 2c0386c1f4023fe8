"""The event log, as admins read it: a page of it, or all that comes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from aptask.model import messages
from aptask.model.event import Level, Logged
from aptask.model.messages import LogEntry, LogResponse, Response, wire_time
from aptask.serving.context import Context
from aptask.serving.keyring import Identity

LOOK_SECONDS = 0.1
"""How often a follower looks whether there is more; that costs nothing where there is not."""
FOLLOWED_AT_ONCE = 1000
"""How many entries a follower is given in one response."""


def log(
    context: Context, identity: Identity, request: messages.Log, peer: str
) -> Deferred[Response] | AsyncIterator[Response]:
    """Give a page of the event log; with `follow`, go on with what comes."""
    if request.follow:
        return _follow(context, request)
    level = _level(request)
    read = context.store.read_log(request.after, request.limit, level)
    return read.addCallback(_response)


async def _follow(context: Context, request: messages.Log) -> AsyncIterator[Response]:
    store, level = context.store, _level(request)
    # Looked at before reading: what is written meanwhile is read again rather than passed over.
    seen = store.logged
    found = await store.read_log(request.after, request.limit, level)
    yield _response(found)
    last = _last(found, request.after or 0)
    if request.after is None or len(found) < request.limit:
        last = max(last, seen)
    while True:
        while store.logged <= last:
            await _pause(context.clock)
        seen = store.logged
        found = await store.read_log(last, FOLLOWED_AT_ONCE, level)
        last = _last(found, last) if len(found) == FOLLOWED_AT_ONCE else max(seen, _last(found, 0))
        if found:
            yield _response(found)


def _pause(clock: IReactorTime) -> Deferred[None]:
    return deferLater(clock, LOOK_SECONDS)


def _level(request: messages.Log) -> Level | None:
    return None if request.level is None else Level(request.level)


def _last(found: list[Logged], otherwise: int) -> int:
    return found[-1].number if found else otherwise


def _response(found: list[Logged]) -> LogResponse:
    return LogResponse(
        log=[
            LogEntry(
                number=one.number,
                time=wire_time(one.time),
                level=one.event.level,
                user=one.event.author.user,
                peer=one.event.author.peer,
                message=one.event.message,
            )
            for one in found
        ]
    )
