"""What is done for each request: one function a request, and the table of them.

A handler gets the context, who asks, the request, and where it came from. It gives a response, or a
Deferred of one, or a stream of many (`streams.py`), or raises an `AptaskError`; it knows nothing of
bytes and connections. Its rules:

- Whether a job is one's own is asked in one place, `_find`, by every handler that names one.
- What another owner has and what does not exist are answered with the same words.
- A handler that `holds`, and a stream, may take as long as a task does, or give so much that a
  client is to have one such answer at a time. It is cancelled when its client has gone or the
  daemon shuts down; the others never are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

from msgspec.json import Encoder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from aptask.errors import Unavailable, UnknownTask, UnknownTaskid
from aptask.model import arguments, messages
from aptask.model.description import Description
from aptask.model.event import Author, visible
from aptask.model.job import Added, Job, State
from aptask.model.messages import Request, Response
from aptask.serving import administration, eventlog, keys, listing
from aptask.serving.context import Context
from aptask.serving.keyring import Identity
from aptask.serving.streams import Responses
from aptask.serving.text import LARGEST_CHARACTER, read_text
from aptask.serving.wording import no_task

WHOLE_BYTES = 8 << 20
"""How many bytes of arguments and results one response to `wait` gives; the rest is cut."""

_encode = Encoder().encode

Answer = Response | Deferred[Response]


class Handler(NamedTuple):
    """How a request is carried out.

    Attributes:
        function: takes context, identity (None where the request needs no key and has no valid
            one), request, and peer for people.
        holds: whether requests behind it on the same connection wait for its answer. Those with
            `"follow": true` do anyway.
        early: whether it is carried out already while the queue is being opened.
        enters: whether what an admin asks for is entered in the event log by the function itself,
            with the change of the book that it is.
    """

    function: Callable[[Context, Any, Any, str], Answer | Responses]
    holds: bool = False
    early: bool = False
    enters: bool = False


def ping(context: Context, identity: Identity | None, request: messages.Ping, peer: str) -> Answer:
    """Say that the daemon is there, and more to those it knows."""
    response = messages.PingResponse(protocol=messages.PROTOCOL_VERSION)
    if identity is not None:
        response.version = context.version
        response.role = identity.role
        response.user = identity.name
    return response


def help_(context: Context, identity: Identity | None, request: messages.Help, peer: str) -> Answer:
    """Say what can be asked, and how."""
    return messages.HelpResponse(requests=_requests())


def index(context: Context, identity: Identity, request: messages.Index, peer: str) -> Answer:
    """Say what this key may start."""
    listed = context.catalog.entries(identity.may_start, request.schema)
    return messages.IndexResponse(index=listed)


def start(context: Context, identity: Identity, request: messages.Start, peer: str) -> Answer:
    """Check a task's name and arguments, and hand it to the scheduler."""
    if request.once is request.unique is None:
        return _submit(context, identity, request, peer)

    def looked_up(existing: list[Added]) -> Answer:
        # It was accepted before, whatever would be said of it now.
        return _started(existing[0]) if existing else _submit(context, identity, request, peer)

    found = context.scheduler.existing(identity.name, request.once, request.unique)
    return found.addCallback(looked_up)


def _submit(context: Context, identity: Identity, request: messages.Start, peer: str) -> Answer:
    catalog = context.catalog
    description = catalog.get(request.name)
    if description is None or not identity.may_start(description):
        raise _unknown_task(context, identity, request.name)
    why = catalog.unavailable(description)
    if why is not None:
        raise Unavailable(f"task `{description.name}` cannot run here: {why}")
    values = catalog.accept(description, request.arguments)
    shown, secrets = _split(description, values)
    submitted = context.scheduler.submit(
        identity.name,
        description,
        shown,
        secrets,
        once=request.once,
        unique=request.unique,
        rerun=request.rerun,
        peer=peer,
    )
    return submitted.addCallback(_started)


def stop(context: Context, identity: Identity, request: messages.Stop, peer: str) -> Answer:
    """Have a task end."""

    def found(job: Job) -> Deferred[Response]:
        by = Author(identity.name, peer)
        return context.scheduler.stop(job, request.grace, by).addCallback(_stopping)

    return _find(context, identity, request.taskid).addCallback(found)


def show(context: Context, identity: Identity, request: messages.Show, peer: str) -> Answer:
    """Show one task."""

    def found(job: Job) -> Response:
        return messages.ShowResponse(task=_task(context, identity, job))

    return _find(context, identity, request.taskid).addCallback(found)


def wait(context: Context, identity: Identity, request: messages.Wait, peer: str) -> Answer:
    """Answer when a task, all of several, or the first of them, have ended, or at the timeout."""
    return Deferred.fromCoroutine(_wait(context, identity, request))


async def _wait(context: Context, identity: Identity, request: messages.Wait) -> Response:
    taskids = [request.taskid or ""] if request.taskids is None else request.taskids
    numbers = {messages.job_id(taskid) for taskid in taskids}
    needed = 1 if request.any else len(numbers)
    ended: set[int] = set()
    enough: Deferred[None] = Deferred()

    def note(job: Job) -> None:
        if job.state is State.ENDED:
            ended.add(job.id)
            if len(ended) >= needed and not enough.called:
                enough.callback(None)

    # Before they are looked up: an end in between must not be missed.
    subscribe = context.scheduler.publisher.subscribe
    unsubscribes = [subscribe(number, note) for number in numbers if number is not None]
    timer: IDelayedCall | None = None
    try:
        for taskid in dict.fromkeys(taskids):
            note(await _find(context, identity, taskid))
        if not enough.called and request.timeout != 0:
            if request.timeout is not None:
                timer = context.clock.callLater(request.timeout, enough.callback, None)
            await enough
    finally:
        for unsubscribe in unsubscribes:
            unsubscribe()
        if timer is not None and timer.active():
            timer.cancel()
    shown = []
    room = WHOLE_BYTES
    for taskid in taskids:
        job = await _find(context, identity, taskid)
        room -= len(job.arguments) + len(job.result or b"")
        # One is given whole, however large it is. Of many, what would be too much is cut.
        shown.append(_task(context, identity, job, listed=room < 0 and len(taskids) > 1))
    counts = any if request.any else all
    response = messages.WaitResponse(ended=counts(task.state == State.ENDED for task in shown))
    if request.taskids is None:
        response.task = shown[0]
    else:
        response.tasks = shown
    return response


def watch(context: Context, identity: Identity, request: messages.Watch, peer: str) -> Responses:
    """Give a task, or all of an owner's, and then each change."""
    if request.taskid is None:
        owner = listing.whose(identity, request.owner)
        return context.watching.watch_all(owner, identity.is_admin)
    number = messages.job_id(request.taskid)
    if number is None:
        raise _unknown_taskid(request.taskid)
    find = partial(_find, context, identity, request.taskid)
    return context.watching.watch(number, find, identity.is_admin)


def output(
    context: Context, identity: Identity, request: messages.Output, peer: str
) -> Answer | Responses:
    """Give a piece of what a task wrote; with `follow`, all that it writes until its end."""
    limit = max(request.limit, LARGEST_CHARACTER)
    find = partial(_find, context, identity, request.taskid)
    number = messages.job_id(request.taskid)
    if request.follow and number is not None:
        return context.following.follow(number, find, request.offset, limit)

    def found(job: Job) -> Response:
        text, offset, end = read_text(
            context.outputs.read, job.id, request.offset, limit, job.state is State.ENDED
        )
        return messages.OutputResponse(text=text, offset=offset, end=end)

    return find().addCallback(found)


HANDLERS: dict[type[Request], Handler] = {
    messages.Ping: Handler(ping, early=True),
    messages.Help: Handler(help_, early=True),
    messages.Index: Handler(index, early=True),
    messages.Start: Handler(start),
    messages.Stop: Handler(stop),
    messages.Active: Handler(listing.active, holds=True),
    messages.Show: Handler(show),
    messages.Wait: Handler(wait, holds=True),
    messages.Watch: Handler(watch, holds=True),
    messages.Output: Handler(output),
    messages.History: Handler(listing.history, holds=True),
    messages.Tasks: Handler(listing.tasks, holds=True),
    messages.Log: Handler(eventlog.log, holds=True),
    messages.Stats: Handler(administration.stats),
    messages.Limits: Handler(administration.limits, enters=True),
    messages.Reload: Handler(administration.reload),
    messages.Drain: Handler(administration.drain),
    messages.Shutdown: Handler(administration.shutdown),
    messages.Keys: Handler(keys.keys),
    messages.AddKey: Handler(keys.addkey, enters=True),
    messages.Revoke: Handler(keys.revoke, enters=True),
}
"""How each request is carried out."""


def _find(context: Context, identity: Identity, taskid: str) -> Deferred[Job]:
    """The job that a request means, if it is there and theirs to see.

    Raises:
        UnknownTaskid: it is not, or the Deferred fails with that.
    """
    number = messages.job_id(taskid)
    if number is None:
        raise _unknown_taskid(taskid)

    def found(job: Job | None) -> Job:
        if job is None or (job.owner != identity.name and not identity.is_admin):
            raise _unknown_taskid(taskid)
        return job

    return context.scheduler.find(number).addCallback(found)


def _task(context: Context, identity: Identity, job: Job, listed: bool = False) -> messages.Task:
    position = context.scheduler.position(job)
    return messages.task(job, position=position, owner=identity.is_admin, listed=listed)


def _split(description: Description, values: dict[str, Any]) -> tuple[bytes, bytes | None]:
    """The JSON of arguments that may be shown, and of those that may not."""
    for argument in description.arguments:
        if argument.secret:
            secrets = arguments.secrets(description.arguments, values)
            shown = arguments.show(description.arguments, values)
            return _encode(shown), _encode(secrets) if secrets else None
    return _encode(values), None


def _started(added: Added) -> Response:
    response = messages.StartResponse(taskid=str(added.id))
    if added.existing:
        response.existing = True
    return response


def _stopping(job: Job) -> Response:
    return messages.StopResponse(taskid=str(job.id))


def _unknown_task(context: Context, identity: Identity, name: str) -> UnknownTask:
    return UnknownTask(no_task(name, context.catalog.nearest(name[:100], identity.may_start)))


def _unknown_taskid(taskid: str) -> UnknownTaskid:
    return UnknownTaskid(f"no task with the id `{visible(taskid, 100)}`")


@cache
def _requests() -> dict[str, Any]:
    """What `help` answers: it never changes while the daemon runs."""
    return {
        name: {
            "help": " ".join((request.__doc__ or "").split()),
            "key": request.needs_key,
            "admin": request.for_admins,
            "fields": messages.fields(request),
            "example": messages.example(request),
        }
        for name, request in messages.REQUESTS.items()
    }
