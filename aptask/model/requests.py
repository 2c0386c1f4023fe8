"""Every request as a typed struct: what a client may ask for, field by field.

From these come the validation of requests, the table of requests in docs/protocol.md, the answer to
`help`, and the clients' methods.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aptask.model.hiding import outline

Id = str | int | float
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
Ended = Literal["done", "error", "stopped", "timeout", "interrupted", "skipped"]
STATUSES_OF_THE_ENDED: tuple[str, ...] = get_args(Ended)
LogLevel = Literal["error", "client", "request", "tasking", "statistics"]
LOG_LEVELS: tuple[str, ...] = get_args(LogLevel)
Time = Annotated[datetime, Meta(tz=True)]
_NAME = r"^[\w.@+-]+$(?!\n)"
"""What owners and groups may be called: `$` alone would let a newline pass at the end."""
EVERYONE = "*"
"""What `owner` means all owners: no owner can be called that."""
OwnerName = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NAME)]
GroupName = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NAME)]
TaskName = Annotated[str, Meta(min_length=1, max_length=200)]
KeyText = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\0]*$")]
"""What a client makes up to know a task by again; the book cannot hold NUL."""


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What every request may carry, beside its name.

    Attributes:
        needs_key: whether it is carried out for those only who have a valid key.
        for_admins: whether it is carried out for admins only.
        example: fields of one that can be sent.
        key: the credential of who asks.
        id: anything of the client's, echoed in every response to this request.
    """

    needs_key: ClassVar[bool] = True
    for_admins: ClassVar[bool] = False
    example: ClassVar[dict[str, Any]] = {}

    key: Annotated[str, Meta(description="the credential of who asks")] = ""
    id: Annotated[Id | UnsetType, Meta(description="echoed in every response")] = UNSET

    def __repr__(self) -> str:
        """Without the key: it may get into a log."""
        return outline(self, "key")


TaskId = Annotated[str, Meta(description="the id that `start` answered")]


class Ping(Request, kw_only=True, tag_field="request", tag="ping"):
    """Whether the daemon is there; with a valid key also its version and who one is."""

    needs_key = False


class Help(Request, kw_only=True, tag_field="request", tag="help"):
    """The requests, each with its fields and an example."""

    needs_key = False


class Index(Request, kw_only=True, tag_field="request", tag="index"):
    """What can be run: the tasks that this key may start."""

    schema: Annotated[
        bool, Meta(description="add each task's arguments as a JSON Schema object")
    ] = False


class Start(Request, kw_only=True, tag_field="request", tag="start"):
    """Queue a task. The answer means that it is on disk."""

    example = {"name": "primes", "arguments": {"below": 100000}}

    name: Annotated[str, Meta(description="the name of the task")]
    arguments: Annotated[
        list[Any] | dict[str, Any],
        Meta(description="its arguments, by position or by name"),
    ] = []
    rerun: Annotated[
        bool, Meta(description="where it would end as `interrupted`, queue it again instead")
    ] = False
    unique: Annotated[
        KeyText | None,
        Meta(
            description="while a task of this owner with the same one has not ended, answer that"
            " one's taskid"
        ),
    ] = None
    once: Annotated[
        KeyText | None,
        Meta(
            description="the same, also after it has ended: a client that lost the answer repeats"
            " the request"
        ),
    ] = None

    def __repr__(self) -> str:
        """Without key and arguments, which may be secret: it may get into a log."""
        return outline(self, "key", "arguments")


class Stop(Request, kw_only=True, tag_field="request", tag="stop"):
    """Abort a task: ask it to stop, and kill its whole process tree after the grace time."""

    example = {"taskid": "17"}

    taskid: TaskId
    grace: Annotated[
        Seconds | None,
        Meta(description="seconds between being asked and being killed (the task's own, or 10)"),
    ] = None


class Active(Request, kw_only=True, tag_field="request", tag="active"):
    """My tasks that have not ended, running ones first, then in the order of the queue."""

    limit: Annotated[int, Meta(ge=1, le=10_000, description="tasks a response")] = 1000
    offset: Annotated[Natural, Meta(description="how many to pass over")] = 0
    owner: Annotated[
        str | None, Meta(description="for admins: whose tasks, or `*` for everyone's")
    ] = None


class Show(Request, kw_only=True, tag_field="request", tag="show"):
    """One task, with all that is known of it."""

    example = {"taskid": "17"}

    taskid: TaskId


class Wait(Request, kw_only=True, tag_field="request", tag="wait"):
    """Answer when the task, or all of several tasks, have ended, or at the timeout."""

    example = {"taskid": "17", "timeout": 60}

    taskid: Annotated[str | None, Meta(description="the id that `start` answered")] = None
    taskids: Annotated[
        Annotated[list[str], Meta(min_length=1, max_length=10_000)] | None,
        Meta(description="instead of `taskid`: several of them"),
    ] = None
    any: Annotated[bool, Meta(description="with `taskids`: answer when the first has ended")] = (
        False
    )
    timeout: Annotated[Seconds | None, Meta(description="seconds; none: as long as it takes")] = (
        None
    )

    def __post_init__(self) -> None:
        if (self.taskid is None) == (self.taskids is None):
            raise ValueError("one of the fields `taskid` and `taskids` is needed")


class Watch(Request, kw_only=True, tag_field="request", tag="watch"):
    """Answer with each change of a task until its end; or of all my tasks, new ones as well."""

    example = {"taskid": "17"}

    taskid: Annotated[
        str | None, Meta(description="the id that `start` answered; none: all of my tasks")
    ] = None
    owner: Annotated[
        str | None,
        Meta(description="instead, for admins: whose tasks, or `*` for everyone's"),
    ] = None

    def __post_init__(self) -> None:
        if self.taskid is not None and self.owner is not None:
            raise ValueError("only one of the fields `taskid` and `owner` is taken")


class Output(Request, kw_only=True, tag_field="request", tag="output"):
    """What the task wrote to its standard output and error, as it came."""

    example = {"taskid": "17", "offset": 0}

    taskid: TaskId
    offset: Annotated[int, Meta(ge=0, le=1 << 62, description="bytes as written, from 0")] = 0
    limit: Annotated[int, Meta(ge=1, le=1 << 20, description="bytes a response")] = 65536
    follow: Annotated[
        bool, Meta(description="go on answering with what comes, until the task's end")
    ] = False


class History(Request, kw_only=True, tag_field="request", tag="history"):
    """My tasks that have ended, the last to end first."""

    example = {"limit": 50, "status": "error"}

    limit: Annotated[int, Meta(ge=1, le=1000, description="tasks a response")] = 50
    before: Annotated[
        str | None, Meta(description="the `next` of the response before: go on behind that")
    ] = None
    name: Annotated[str | None, Meta(description="only runs of this task")] = None
    status: Annotated[
        Ended | None,
        Meta(description="only those that ended like this"),
    ] = None
    since: Annotated[
        Time | None, Meta(description="only those that ended at this time or later")
    ] = None
    until: Annotated[Time | None, Meta(description="only those that ended before this time")] = None
    owner: Annotated[
        str | None, Meta(description="for admins: whose tasks, or `*` for everyone's")
    ] = None


class Tasks(Request, kw_only=True, tag_field="request", tag="tasks"):
    """Everyone's tasks that have not ended, or one owner's, as `active` shows them."""

    for_admins = True

    owner: Annotated[str, Meta(description="whose, or `*` for everyone's")] = EVERYONE
    limit: Annotated[int, Meta(ge=1, le=10_000, description="tasks a response")] = 1000
    offset: Annotated[Natural, Meta(description="how many to pass over")] = 0


class Log(Request, kw_only=True, tag_field="request", tag="log"):
    """The event log: what was refused, what became of tasks, what admins asked for."""

    for_admins = True
    example = {"limit": 100, "level": "client"}

    limit: Annotated[int, Meta(ge=1, le=1000, description="entries a response")] = 100
    after: Annotated[
        Natural | None,
        Meta(description="a number: the entries behind it; none: the newest ones"),
    ] = None
    level: Annotated[
        LogLevel | None,
        Meta(description="only entries of this level"),
    ] = None
    follow: Annotated[bool, Meta(description="go on answering with what comes")] = False


class Stats(Request, kw_only=True, tag_field="request", tag="stats"):
    """How the daemon is: what runs and waits, its tasks, disk, connections and requests."""

    for_admins = True


class Limits(Request, kw_only=True, tag_field="request", tag="limits"):
    """Set how many tasks of a group run at once, and whether any is started; or read that."""

    for_admins = True
    example = {"group": "default", "slots": 4}

    group: Annotated[
        GroupName, Meta(description="which; one that is named for the first time is made")
    ] = "default"
    slots: Annotated[
        Annotated[int, Meta(ge=0, le=100_000)] | None,
        Meta(description="how many tasks run at once; none: as it is"),
    ] = None
    paused: Annotated[
        bool | None, Meta(description="whether none of those that wait is started; none: as it is")
    ] = None


class Reload(Request, kw_only=True, tag_field="request", tag="reload"):
    """Read the configuration again, and look for tasks anew."""

    for_admins = True


class Keys(Request, kw_only=True, tag_field="request", tag="keys"):
    """Who has a key, and what it allows."""

    for_admins = True


class AddKey(Request, kw_only=True, tag_field="request", tag="addkey"):
    """Make a key. The answer is the only one that shows it."""

    for_admins = True
    example = {"name": "bob", "role": "user", "tasks": ["copy", "primes"]}

    name: Annotated[OwnerName, Meta(description="of its owner: no other key may have it")]
    role: Annotated[Literal["user", "admin"], Meta(description="what the owner may do")] = "user"
    tasks: Annotated[
        Annotated[list[TaskName], Meta(max_length=1000)] | None,
        Meta(description="the tasks that a user may start; none: all but privileged ones"),
    ] = None


class Revoke(Request, kw_only=True, tag_field="request", tag="revoke"):
    """Take a key back that `addkey` made. Its owner's tasks go on."""

    for_admins = True
    example = {"name": "bob"}

    name: Annotated[str, Meta(description="of its owner")]


class Drain(Request, kw_only=True, tag_field="request", tag="drain"):
    """Take no new tasks, and run what is queued; until a restart, or `"on": false`."""

    for_admins = True
    example = {"on": True}

    on: Annotated[bool, Meta(description="whether new tasks are refused")] = True


class Shutdown(Request, kw_only=True, tag_field="request", tag="shutdown"):
    """Stop the daemon, as SIGTERM does."""

    for_admins = True
    example = {"grace": 30}

    grace: Annotated[
        Annotated[float, Meta(ge=0, le=86_400)] | None,
        Meta(description="seconds that running tasks have to stop (by `stop_deadline`)"),
    ] = None


REQUESTS: dict[str, type[Request]] = {
    str(cls.__struct_config__.tag): cls
    for cls in (
        Ping,
        Help,
        Index,
        Start,
        Stop,
        Active,
        Show,
        Wait,
        Watch,
        Output,
        History,
        Tasks,
        Log,
        Stats,
        Limits,
        Reload,
        Keys,
        AddKey,
        Revoke,
        Drain,
        Shutdown,
    )
}
"""The requests by their names."""
