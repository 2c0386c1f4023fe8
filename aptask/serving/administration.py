"""What is done for each request that is for admins only; see `handlers`, which has the table.

That they are for admins is said in `model/messages.py`, and seen to before a handler is called.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from aptask.model import messages
from aptask.model.messages import Response
from aptask.model.progress import clean
from aptask.model.statistics import FailedPlugin, Plugins
from aptask.serving.context import Context
from aptask.serving.keyring import Identity


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
