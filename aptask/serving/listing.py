"""Tasks in lists: those that have not ended, and those that have.

Rules:

- A list shows one's own tasks. Another's, or everyone's, are for admins.
- A long list is made piece by piece, so that others have their turn in between.
- A page of the history ends with what asks for the next one: the place of its last task, which
  stays what it is whatever is added in front of it or forgotten behind it.
"""

from __future__ import annotations

import re
from datetime import datetime

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from aptask.errors import InvalidArguments, Unauthorized
from aptask.model import messages
from aptask.model.history import Wanted
from aptask.model.job import Job, Status
from aptask.model.messages import EVERYONE, Response, Task
from aptask.serving.context import Context
from aptask.serving.keyring import Identity

LISTED_AT_ONCE = 1000
"""How many tasks of a list are made in one go, before others have their turn."""

_NEXT = re.compile(r"(\d{1,17})-(\d{1,18})", re.ASCII)
_MICROSECONDS = 1_000_000


def active(
    context: Context, identity: Identity, request: messages.Active, peer: str
) -> Deferred[Response]:
    """List tasks that have not ended: one's own or, for an admin, another's or all."""
    owner = whose(identity, request.owner)
    return _active(context, identity, owner, request.limit, request.offset).addCallback(
        lambda found: messages.ActiveResponse(active=found[0], total=found[1])
    )


def tasks(
    context: Context, identity: Identity, request: messages.Tasks, peer: str
) -> Deferred[Response]:
    """List everyone's tasks that have not ended, or one owner's."""
    owner = whose(identity, request.owner)
    return _active(context, identity, owner, request.limit, request.offset).addCallback(
        lambda found: messages.TasksResponse(tasks=found[0], total=found[1])
    )


def history(
    context: Context, identity: Identity, request: messages.History, peer: str
) -> Deferred[Response]:
    """List a page of tasks that have ended."""
    wanted = Wanted(
        owner=whose(identity, request.owner),
        task=request.name,
        status=None if request.status is None else Status(request.status),
        since=_seconds(request.since),
        until=_seconds(request.until),
        before=None if request.before is None else _place(request.before),
    )

    def found(jobs: list[Job]) -> Deferred[Response]:
        page = jobs[: request.limit]
        # One more was asked for than is shown: whether there are more is known without asking.
        following = _next(page[-1]) if len(jobs) > len(page) else None
        return _tasks(context.clock, identity, [(job, 0) for job in page]).addCallback(
            lambda shown: messages.HistoryResponse(history=shown, next=following)
        )

    return context.store.history(wanted, request.limit + 1).addCallback(found)


def whose(identity: Identity, owner: str | None) -> str | None:
    """The owner whose tasks are listed, or None for all.

    Raises:
        Unauthorized: they are another's, and who asks is no admin.
    """
    if owner is None or owner == identity.name:
        return identity.name
    if not identity.is_admin:
        raise Unauthorized("field `owner`: another's tasks are shown to admins only")
    return None if owner == EVERYONE else owner


def _active(
    context: Context, identity: Identity, owner: str | None, limit: int, offset: int
) -> Deferred[tuple[list[Task], int]]:
    def found(listed: tuple[list[tuple[Job, int]], int]) -> Deferred[tuple[list[Task], int]]:
        jobs, total = listed
        return _tasks(context.clock, identity, jobs).addCallback(lambda shown: (shown, total))

    return context.scheduler.active(owner, limit, offset).addCallback(found)


def _tasks(
    clock: IReactorTime, identity: Identity, jobs: list[tuple[Job, int]]
) -> Deferred[list[Task]]:
    """These jobs, each with its position, as a list shows them."""
    listed: list[Task] = []
    made: Deferred[list[Task]] = Deferred()

    def make_piece() -> None:
        for job, position in jobs[len(listed) : len(listed) + LISTED_AT_ONCE]:
            listed.append(
                messages.task(job, position=position, owner=identity.is_admin, listed=True)
            )
        if len(listed) < len(jobs):
            clock.callLater(0, make_piece)
        else:
            made.callback(listed)

    make_piece()
    return made


def _seconds(time: datetime | None) -> float | None:
    return None if time is None else time.timestamp()


def _next(last: Job) -> str:
    """What stands for the place behind a job in the history."""
    return f"{round((last.ended or 0.0) * _MICROSECONDS)}-{last.id}"


def _place(before: str) -> tuple[float, int]:
    """The end, in seconds since the epoch, and the number of the job that `_next` was made of."""
    match = _NEXT.fullmatch(before)
    if match is None:
        raise InvalidArguments("field `before` is not the `next` of a response")
    return int(match[1]) / _MICROSECONDS, int(match[2])
