"""The protocol in one place: its requests, its responses, and how the house's words become its own.

The words of the house become those of the wire here and nowhere else: a job's id is the wire's
`taskid`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from aptask.model.history import LISTED_BYTES
from aptask.model.job import Job, State
from aptask.model.requests import *
from aptask.model.responses import *

PROTOCOL_VERSION = 1
"""What `ping` answers as `protocol`."""

RESPONSES: dict[type[Request], type[Response]] = {
    Ping: PingResponse,
    Help: HelpResponse,
    Index: IndexResponse,
    Start: StartResponse,
    Stop: StopResponse,
    Active: ActiveResponse,
    Show: ShowResponse,
    Wait: WaitResponse,
    Watch: WatchResponse,
    Output: OutputResponse,
    History: HistoryResponse,
    Tasks: TasksResponse,
    Log: LogResponse,
    Stats: StatsResponse,
    Limits: LimitsResponse,
    Reload: ReloadResponse,
    Keys: KeysResponse,
    AddKey: AddKeyResponse,
    Revoke: RevokeResponse,
    Drain: DrainResponse,
    Shutdown: ShutdownResponse,
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
        bounds, `choices`, and `help`.
    """
    schema = msgspec.json.schema(request)
    described = schema["$defs"][request.__name__]
    shown: dict[str, dict[str, Any]] = {}
    for name, field in described["properties"].items():
        if name in ("request", "key", "id"):
            continue
        options: list[dict[str, Any]] = field.get("anyOf", [field])
        types = ["string" if "enum" in one else one.get("type", "any") for one in options]
        entry: dict[str, Any] = {"type": " or ".join(t for t in types if t != "null")}
        if name in described["required"]:
            entry["required"] = True
        else:
            entry["default"] = field.get("default")
        for option in options:
            for said, word in (("minimum", "minimum"), ("maximum", "maximum"), ("enum", "choices")):
                if said in option:
                    entry[word] = option[said]
        entry["help"] = field.get("description", "")
        shown[name] = entry
    return shown


def example(request: type[Request]) -> dict[str, Any]:
    """A request of this kind that can be sent as it is, but for key and ids."""
    name = str(request.__struct_config__.tag)
    key = {"key": "<key>"} if request.needs_key else {}
    return {**key, "request": name, **request.example}
