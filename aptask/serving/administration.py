"""What is done for the requests of admins about the daemon itself; see `handlers` for the table.

That they are for admins is said in `model/requests.py`, and seen to before a handler is called.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from aptask.model import messages
from aptask.model.event import Author
from aptask.model.messages import Response
from aptask.model.progress import clean
from aptask.model.reloaded import Reloaded
from aptask.model.statistics import FailedPlugin, Plugins
from aptask.serving.context import Context
from aptask.serving.keyring import Identity
from aptask.serving.recorder import event_of


def stats(
    context: Context, identity: Identity, request: messages.Stats, peer: str
) -> Deferred[Response]:
    """Say how the daemon is."""
    return Deferred.fromCoroutine(_stats(context))


async def _stats(context: Context) -> Response:
    disk = await context.folder.measure()
    totals = await context.scheduler.totals()
    traffic = context.traffic
    return messages.StatsResponse(
        version=context.version,
        uptime=round(context.clock.seconds() - context.begun, 3),
        slots=totals.slots,
        running=totals.running,
        queued=totals.queued,
        ended=totals.ended,
        groups=totals.groups,
        executors=totals.executors,
        plugins=_plugins(context),
        disk=disk,
        connections=traffic.connections,
        watchers=traffic.watchers,
        # Those that come before this has its turn to be sent are not to be in it.
        requests=traffic.requests.copy(),
        draining=totals.draining,
    )


def _plugins(context: Context) -> Plugins:
    failed = [FailedPlugin(clean(one.plugin), clean(one.error)) for one in context.failures]
    return Plugins(len(context.catalog.names()), failed)


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
