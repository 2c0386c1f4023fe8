"""Every request and every response as a typed struct: the protocol in one place.

From these structs come the validation of requests, the table of requests in docs/protocol.md, the
answer to `help`, and the clients' types. The words of the house become those of the wire here and
nowhere else: a job's id is the wire's `taskid`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from aptask.model.job import Job, State
from aptask.model.statistics import Disk, Executor, Group, Plugins

PROTOCOL_VERSION = 1
"""What `ping` answers as `protocol`."""

LISTED_BYTES = 4096
"""How many bytes of arguments, and of a result, a list shows; above that they are cut."""

Id = str | int | float
Natural = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]
KeyText = Annotated[str, Meta(min_length=1, max_length=1000, pattern=r"^[^\0]*$")]
"""What a client makes up to know a task by again; the book cannot hold NUL."""


# Requests


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


class Output(Request, kw_only=True, tag_field="request", tag="output"):
    """What the task wrote to its standard output and error, as it came."""

    example = {"taskid": "17", "offset": 0}

    taskid: TaskId
    offset: Annotated[Natural, Meta(description="bytes as written, from 0")] = 0
    limit: Annotated[int, Meta(ge=1, le=1 << 20, description="bytes a response")] = 65536


class Stats(Request, kw_only=True, tag_field="request", tag="stats"):
    """How the daemon is: what runs and waits, its tasks, disk, connections and requests."""

    for_admins = True


REQUESTS: dict[str, type[Request]] = {
    str(cls.__struct_config__.tag): cls
    for cls in (Ping, Help, Index, Start, Stop, Active, Show, Wait, Output, Stats)
}
"""The requests by their names."""


# Responses


class Task(msgspec.Struct, kw_only=True):
    """A job as every response shows it."""

    taskid: str
    name: str
    status: str
    state: str
    position: int
    progress: float | None
    message: str
    eta: float | None
    starts_in: float | None
    arguments: Any
    created: str
    started: str | None
    ended: str | None
    attempt: int
    priority: int
    group: str
    exit: int | None
    result: Any
    owner: str | UnsetType = UNSET
    cut: bool | UnsetType = UNSET


class Response(msgspec.Struct, kw_only=True):
    """What every response carries."""

    status: Literal["ok"] = "ok"
    id: Id | UnsetType = UNSET


class PingResponse(Response, kw_only=True):
    """That the daemon is there; the last three with a valid key only."""

    response: Literal["ping"] = "ping"
    protocol: int
    version: str | UnsetType = UNSET
    role: str | UnsetType = UNSET
    user: str | UnsetType = UNSET


class HelpResponse(Response, kw_only=True):
    """The requests, by name."""

    response: Literal["help"] = "help"
    requests: dict[str, Any]


class IndexResponse(Response, kw_only=True):
    """The tasks that may be started."""

    response: Literal["index"] = "index"
    index: list[dict[str, Any]]


class StartResponse(Response, kw_only=True):
    """The id of the task that was queued."""

    response: Literal["start"] = "start"
    taskid: str
    existing: bool | UnsetType = UNSET


class StopResponse(Response, kw_only=True):
    """That the stop is under way."""

    response: Literal["stop"] = "stop"
    taskid: str


class ActiveResponse(Response, kw_only=True):
    """The tasks, and how many there are in all."""

    response: Literal["active"] = "active"
    active: list[Task]
    total: int


class ShowResponse(Response, kw_only=True):
    """The task."""

    response: Literal["show"] = "show"
    task: Task


class WaitResponse(Response, kw_only=True):
    """The task, or tasks, and whether they have ended or the timeout came first."""

    response: Literal["wait"] = "wait"
    task: Task | UnsetType = UNSET
    tasks: list[Task] | UnsetType = UNSET
    ended: bool


class OutputResponse(Response, kw_only=True):
    """A piece of output, the offset of the next one, and whether this was the last."""

    response: Literal["output"] = "output"
    text: str
    offset: int
    end: bool


class StatsResponse(Response, kw_only=True):
    """How the daemon is: `uptime` in seconds, `disk` in bytes, the rest in numbers of them."""

    response: Literal["stats"] = "stats"
    version: str
    uptime: float
    slots: int
    running: int
    queued: int
    ended: int
    groups: dict[str, Group]
    executors: dict[str, Executor]
    plugins: Plugins
    disk: Disk
    connections: int
    watchers: int
    requests: dict[str, int]


class ErrorResponse(msgspec.Struct, kw_only=True):
    """That the request was not carried out, and why."""

    status: Literal["error"] = "error"
    response: str | None
    code: str
    message: str
    retry_after: float | UnsetType = UNSET
    id: Id | UnsetType = UNSET


RESPONSES: dict[type[Request], type[Response]] = {
    Ping: PingResponse,
    Help: HelpResponse,
    Index: IndexResponse,
    Start: StartResponse,
    Stop: StopResponse,
    Active: ActiveResponse,
    Show: ShowResponse,
    Wait: WaitResponse,
    Output: OutputResponse,
    Stats: StatsResponse,
}
"""The response to each request, where it is not an error."""


# From the words of the house to those of the wire


def task(job: Job, *, position: int, owner: bool, listed: bool = False) -> Task:
    """A job as a response shows it.

    Args:
        job: the job.
        position: its place among those that wait in its group, or 0.
        owner: whether to say whose it is, as an admin sees it.
        listed: whether it stands in a list, where long arguments and results are left out.
    """
    arguments, result = job.arguments, job.result
    cut: bool | UnsetType = UNSET
    if listed:
        if len(arguments) > LISTED_BYTES:
            arguments, cut = b"null", True
        if result is not None and len(result) > LISTED_BYTES:
            result, cut = None, True
    return Task(
        taskid=str(job.id),
        name=job.task,
        status=job.status,
        state=job.state,
        position=position if job.state is State.QUEUED else 0,
        progress=job.progress.fraction,
        message=job.progress.message or "",
        eta=None,
        starts_in=None,
        arguments=Raw(arguments),
        created=wire_time(job.created),
        started=None if job.started is None else wire_time(job.started),
        ended=None if job.ended is None else wire_time(job.ended),
        attempt=job.attempt,
        priority=0,
        group="default",
        exit=job.exit,
        result=None if result is None else Raw(result),
        owner=job.owner if owner else UNSET,
        cut=cut,
    )


def wire_time(seconds: float) -> str:
    """Seconds since the epoch as the wire writes a time: UTC, milliseconds, `Z`."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def job_id(taskid: str) -> int | None:
    """The job that a wire's taskid means, or None where it cannot be one."""
    if taskid.isascii() and taskid.isdigit() and len(taskid) <= 18:
        return int(taskid)
    return None


def fields(request: type[Request]) -> dict[str, dict[str, Any]]:
    """The fields of a request for people, from its struct: `help` and docs/protocol.md show these.

    Returns:
        For each field its `type` as JSON Schema words it, whether it is `required`, its `default`,
        bounds, and `help`.
    """
    schema = msgspec.json.schema(request)
    described = schema["$defs"][request.__name__]
    shown: dict[str, dict[str, Any]] = {}
    for name, field in described["properties"].items():
        if name in ("request", "key", "id"):
            continue
        types = [option.get("type", "any") for option in field.get("anyOf", [field])]
        entry: dict[str, Any] = {"type": " or ".join(t for t in types if t != "null")}
        if name in described["required"]:
            entry["required"] = True
        else:
            entry["default"] = field.get("default")
        bounded: list[dict[str, Any]] = field.get("anyOf", [field])
        for option in bounded:
            for bound in ("minimum", "maximum"):
                if bound in option:
                    entry[bound] = option[bound]
        entry["help"] = field.get("description", "")
        shown[name] = entry
    return shown


def example(request: type[Request]) -> dict[str, Any]:
    """A request of this kind that can be sent as it is, but for key and ids."""
    name = str(request.__struct_config__.tag)
    key = {"key": "<key>"} if request.needs_key else {}
    return {**key, "request": name, **request.example}
