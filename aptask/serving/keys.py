"""What is done for the requests about keys: who may ask, and who may no more.

Its rules:

- A key is 256 random bits. The answer to `addkey` is the only place where it is ever seen: what the
  book has, and the keyring, is its digest.
- The keyring follows the book: a key counts, and counts no more, from the commit on, and before the
  answer goes out.
"""

from __future__ import annotations

import secrets

from twisted.internet.defer import Deferred

from aptask.errors import Conflict, InvalidArguments
from aptask.model import messages
from aptask.model.event import Author, Event, visible
from aptask.model.key import Key, digest
from aptask.model.messages import Request, Response
from aptask.serving.context import Context
from aptask.serving.keyring import Identity, Source
from aptask.serving.recorder import event_of
from aptask.serving.wording import no_task

KEY_BYTES = 32
"""How many random bytes a key is made of."""


def keys(context: Context, identity: Identity, request: messages.Keys, peer: str) -> Response:
    """List who has a key."""
    listed = [
        messages.KeyInfo(
            name=key.name,
            role=key.role,
            source=source,
            tasks=None if key.tasks is None else list(key.tasks),
        )
        for source, key in context.keyring.known()
    ]
    return messages.KeysResponse(keys=listed)


def addkey(
    context: Context, identity: Identity, request: messages.AddKey, peer: str
) -> Deferred[Response]:
    """Make a key."""
    known = context.keyring.get(request.name)
    if known is not None:
        raise Conflict(f"{_WHOSE[known.source]} has a key named `{request.name}`: choose another")
    text = secrets.token_urlsafe(KEY_BYTES)
    key = Key(request.name, request.role, digest(text), _tasks(context, request))

    def added(_: None) -> Response:
        context.keyring.add(Source.DATABASE, key)
        return messages.AddKeyResponse(name=key.name, newkey=text)

    return context.store.add_key(key, _events(identity, request, peer)).addCallback(added)


def revoke(
    context: Context, identity: Identity, request: messages.Revoke, peer: str
) -> Deferred[Response]:
    """Take a key back."""
    name = request.name
    known = context.keyring.get(name)
    if known is None:
        raise _unknown(name)
    if known.source is Source.LOCAL:
        raise Conflict(f"`{name}` is the daemon's own key: it is not taken back")
    if known.source is Source.CONFIGURATION:
        message = f"the configuration has the key of `{name}`: take it out there, and reload"
        if context.keyring.has(Source.DATABASE, name):
            message += "; the one that `addkey` made counts again then: revoke it, too"
        raise Conflict(message)

    def removed(was_there: bool) -> Response:
        if not was_there:
            raise _unknown(name)
        context.keyring.remove(Source.DATABASE, name)
        return messages.RevokeResponse(name=name)

    return context.store.remove_key(name, _events(identity, request, peer)).addCallback(removed)


_WHOSE = {
    Source.LOCAL: "the daemon itself",
    Source.CONFIGURATION: "the configuration",
    Source.DATABASE: "the database",
}


def _tasks(context: Context, request: messages.AddKey) -> tuple[str, ...] | None:
    """The names that a new key's owner may start."""
    if request.tasks is None:
        return None
    if request.role == "admin":
        raise InvalidArguments("field `tasks`: an admin may start every task; leave it out")
    for name in request.tasks:
        if context.catalog.get(name) is None:
            near = context.catalog.nearest(name, lambda _: True)
            raise InvalidArguments(f"field `tasks`: {no_task(name, near)}")
    return tuple(dict.fromkeys(request.tasks))


def _events(identity: Identity, request: Request, peer: str) -> list[Event]:
    return [event_of(request, Author(identity.name, peer))]


def _unknown(name: str) -> InvalidArguments:
    return InvalidArguments(f"field `name`: no key named `{visible(name, 100)}`")
