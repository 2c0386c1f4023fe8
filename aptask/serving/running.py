"""What is done for the requests of admins about the daemon itself; see `handlers` for the table."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from aptask.model import messages
from aptask.model.event import Author
from aptask.model.messages import Response
from aptask.model.reloaded import Reloaded
from aptask.serving.context import Context
from aptask.serving.keyring import Identity
from aptask.serving.recorder import event_of


def limits(
    context: Context, identity: Identity, request: messages.Limits, peer: str
) -> Deferred[Response]:
    """Set how many tasks of a group run at once; and say it of all groups."""
    scheduler, author = context.scheduler, Author(identity.name, peer)
    events = []
    if request.slots is None and request.paused is None:
        context.recorder.asked(request, author)
    else:
        events.append(event_of(request, author))

    def is_set(_: None) -> Response:
        groups = scheduler.groups
        return messages.LimitsResponse(
            limits={
                name: messages.GroupLimits(slots=groups.slots(name), paused=groups.paused(name))
                for name in groups.names()
            }
        )

    limited = scheduler.limit(request.group, request.slots, request.paused, events)
    return limited.addCallback(is_set)


def reload(
    context: Context, identity: Identity, request: messages.Reload, peer: str
) -> Deferred[Response]:
    """Read the configuration again, and look for tasks anew."""

    def reloaded(found: Reloaded) -> Response:
        return messages.ReloadResponse(
            added=found.added,
            removed=found.removed,
            changed=found.changed,
            failed=found.failed,
            restart=found.restart,
        )

    return context.life.reload().addCallback(reloaded)


def drain(context: Context, identity: Identity, request: messages.Drain, peer: str) -> Response:
    """Take no new tasks, or take them again."""
    context.scheduler.draining = request.on
    return messages.DrainResponse(on=request.on)


def shutdown(
    context: Context, identity: Identity, request: messages.Shutdown, peer: str
) -> Response:
    """Stop the daemon."""
    context.life.shut_down(request.grace)
    return messages.ShutdownResponse()
