"""What is done for each request: one function a request, and the table of them.

A handler gets the context, who asks, the request, and where it came from. It gives a response, or a
Deferred of one, or raises an `AptaskError`; it knows nothing of bytes and connections. Its rules:

- Whether a job is one's own is asked in one place, `_find`, by every handler that names one.
- What another owner has and what does not exist are answered with the same words.
- A handler that `holds` may take as long as a task does. It is cancelled when its client has gone
  or the daemon shuts down; the others never are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from msgspec.json import Encoder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from aptask.errors import Unauthorized, Unavailable, UnknownTask, UnknownTaskid
from aptask.model import arguments, messages
from aptask.model.description import Description
from aptask.model.job import Added, Job, State
from aptask.model.messages import Request, Response
from aptask.serving.administration import stats
from aptask.serving.context import Context
from aptask.serving.keyring import Identity
from aptask.serving.text import decode_piece

LISTED_AT_ONCE = 1000
"""How many tasks of a list are made in one go, before others have their turn."""

EVERYONE = "*"
"""What `owner` means all owners."""

_encode = Encoder().encode

Answer = Response | Deferred[Response]


class Handler(NamedTuple):
    """How a request is carried out.

    Attributes:
        function: takes context, identity (None where the request needs no key and has no valid
            one), request, and peer for people.
        holds: whether requests behind it on the same connection wait for its answer.
        early: whether it is carried out already while the queue is being opened.
    """

    function: Callable[[Context, Any, Any, str], Answer]
    holds: bool = False
    early: bool = False


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
        return _submit(context, identity, request)

    def looked_up(existing: list[Added]) -> Answer:
        # It was accepted before, whatever would be said of it now.
        return _started(existing[0]) if existing else _submit(context, identity, request)

    found = context.scheduler.existing(identity.name, request.once, request.unique)
    return found.addCallback(looked_up)


def _submit(context: Context, identity: Identity, request: messages.Start) -> Answer:
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
    )
    return submitted.addCallback(_started)


def stop(context: Context, identity: Identity, request: messages.Stop, peer: str) -> Answer:
    """Have a task end."""

    def found(job: Job) -> Deferred[Response]:
        return context.scheduler.stop(job, request.grace).addCallback(_stopping)

    return _find(context, identity, request.taskid).addCallback(found)


def active(context: Context, identity: Identity, request: messages.Active, peer: str) -> Answer:
    """List tasks that have not ended: one's own or, for an admin, another's or all."""
    owner: str | None = identity.name if request.owner is None else request.owner
    if owner != identity.name and not identity.is_admin:
        raise Unauthorized("field `owner`: another's tasks are shown to admins only")
    if owner == EVERYONE and identity.is_admin:
        owner = None

    def found(listed: tuple[list[tuple[Job, int]], int]) -> Answer:
        return _list(context.clock, identity, *listed)

    active = context.scheduler.active(owner, request.limit, request.offset)
    return active.addCallback(found)


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

    async def find() -> list[Job]:
        return [await _find(context, identity, taskid) for taskid in taskids]

    # Before they are looked up: an end in between must not be missed.
    subscribe = context.scheduler.publisher.subscribe
    unsubscribes = [subscribe(number, note) for number in numbers if number is not None]
    timer: IDelayedCall | None = None
    try:
        for job in await find():
            note(job)
        if not enough.called and request.timeout != 0:
            if request.timeout is not None:
                timer = context.clock.callLater(request.timeout, enough.callback, None)
            await enough
    finally:
        for unsubscribe in unsubscribes:
            unsubscribe()
        if timer is not None and timer.active():
            timer.cancel()
    jobs = await find()
    counts = any if request.any else all
    response = messages.WaitResponse(ended=counts(job.state is State.ENDED for job in jobs))
    shown = [_task(context, identity, job) for job in jobs]
    if request.taskids is None:
        response.task = shown[0]
    else:
        response.tasks = shown
    return response


def output(context: Context, identity: Identity, request: messages.Output, peer: str) -> Answer:
    """Give a piece of what a task wrote."""
    # A character of four bytes has to fit into a piece, or its reader would never get past it.
    limit = max(request.limit, 4)

    def found(job: Job) -> Response:
        # Asked before reading: what is written in between is not lost by saying `end`.
        ended = job.state is State.ENDED
        read = context.outputs.read
        piece, offset = read(job.id, request.offset, limit)
        end = ended and not read(job.id, offset, 1)[0]
        text, left = decode_piece(piece, final=end)
        return messages.OutputResponse(text=text, offset=offset - left, end=end)

    return _find(context, identity, request.taskid).addCallback(found)


HANDLERS: dict[type[Request], Handler] = {
    messages.Ping: Handler(ping, early=True),
    messages.Help: Handler(help_, early=True),
    messages.Index: Handler(index, early=True),
    messages.Start: Handler(start),
    messages.Stop: Handler(stop),
    messages.Active: Handler(active),
    messages.Show: Handler(show),
    messages.Wait: Handler(wait, holds=True),
    messages.Output: Handler(output),
    messages.Stats: Handler(stats),
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


def _list(
    clock: IReactorTime, identity: Identity, jobs: list[tuple[Job, int]], total: int
) -> Answer:
    """The response with these jobs; a long list is made piece by piece."""
    listed: list[messages.Task] = []
    answered: Deferred[Response] = Deferred()

    def add_piece() -> Response | None:
        for job, position in jobs[len(listed) : len(listed) + LISTED_AT_ONCE]:
            listed.append(
                messages.task(job, position=position, owner=identity.is_admin, listed=True)
            )
        if len(listed) < len(jobs):
            clock.callLater(0, continue_)
            return None
        return messages.ActiveResponse(active=listed, total=total)

    def continue_() -> None:
        response = add_piece()
        if response is not None:
            answered.callback(response)

    return add_piece() or answered


def _task(context: Context, identity: Identity, job: Job) -> messages.Task:
    position = context.scheduler.position(job)
    return messages.task(job, position=position, owner=identity.is_admin)


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
    message = f"no task `{name[:100]}`"
    nearest = context.catalog.nearest(name[:100], identity.may_start)
    if nearest:
        message += "; did you mean " + " or ".join(f"`{near}`" for near in nearest) + "?"
    return UnknownTask(message)


def _unknown_taskid(taskid: str) -> UnknownTaskid:
    return UnknownTaskid(f"no task with the id `{taskid[:100]}`")


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
