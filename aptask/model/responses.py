"""Every response as a typed struct: what the daemon answers, and how a job is shown in it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from aptask.model.requests import Id
from aptask.model.statistics import Disk, Executor, FailedPlugin, Group, Plugins


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


class LogEntry(msgspec.Struct, kw_only=True):
    """An entry of the event log.

    Attributes:
        number: rising; numbers may be left out.
        time: when it was written.
        level: `error`, `client`, `request`, `tasking` or `statistics`.
        user: the name of the key, or empty.
        peer: the address that a request came from, or empty.
        message: for people; control characters are escaped.
    """

    number: int
    time: str
    level: str
    user: str
    peer: str
    message: str


class GroupLimits(msgspec.Struct, kw_only=True):
    """How many tasks of a group run at once, and whether any is started."""

    slots: int
    paused: bool


class KeyInfo(msgspec.Struct, kw_only=True):
    """A key, without the key.

    Attributes:
        name: its owner's.
        role: `user` or `admin`.
        source: where it comes from: `configuration`, `database`, or `local` for the daemon's own.
        tasks: what a user may start; None: all but privileged ones.
        max_active, max_queued, max_priority: a user's share; None: no bound.
    """

    name: str
    role: str
    source: str
    tasks: list[str] | None
    max_active: int | None = None
    max_queued: int | None = None
    max_priority: int | None = None


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


class WatchResponse(Response, kw_only=True):
    """A task as it is now; None: nothing has happened for a while."""

    response: Literal["watch"] = "watch"
    task: Task | None


class OutputResponse(Response, kw_only=True):
    """A piece of output, the offset of the next one, and whether this was the last."""

    response: Literal["output"] = "output"
    text: str
    offset: int
    end: bool


class HistoryResponse(Response, kw_only=True):
    """A page of tasks that have ended, and what asks for the next one."""

    response: Literal["history"] = "history"
    history: list[Task]
    next: str | None


class TasksResponse(Response, kw_only=True):
    """The tasks, and how many there are in all."""

    response: Literal["tasks"] = "tasks"
    tasks: list[Task]
    total: int


class LogResponse(Response, kw_only=True):
    """Entries of the event log, in the order of their numbers."""

    response: Literal["log"] = "log"
    log: list[LogEntry]


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
    draining: bool = False


class LimitsResponse(Response, kw_only=True):
    """The groups, by name."""

    response: Literal["limits"] = "limits"
    limits: dict[str, GroupLimits]


class ReloadResponse(Response, kw_only=True):
    """The names of tasks that came, went and changed, and what could not be used.

    `restart` names the settings that have changed and need a restart.
    """

    response: Literal["reload"] = "reload"
    added: list[str]
    removed: list[str]
    changed: list[str]
    failed: list[FailedPlugin]
    restart: list[str]


class KeysResponse(Response, kw_only=True):
    """The keys, by the names of their owners."""

    response: Literal["keys"] = "keys"
    keys: list[KeyInfo]


class AddKeyResponse(Response, kw_only=True):
    """The new key: 256 random bits, shown this once."""

    response: Literal["addkey"] = "addkey"
    name: str
    newkey: str

    def __repr__(self) -> str:
        """Without the key: it may get into a log."""
        return f"AddKeyResponse(name={self.name!r})"


class RevokeResponse(Response, kw_only=True):
    """That the key is no key any more."""

    response: Literal["revoke"] = "revoke"
    name: str


class DrainResponse(Response, kw_only=True):
    """Whether new tasks are refused now."""

    response: Literal["drain"] = "drain"
    on: bool


class ShutdownResponse(Response, kw_only=True):
    """That the daemon stops now."""

    response: Literal["shutdown"] = "shutdown"


class ErrorResponse(msgspec.Struct, kw_only=True):
    """That the request was not carried out, and why."""

    status: Literal["error"] = "error"
    response: str | None
    code: str
    message: str
    retry_after: float | UnsetType = UNSET
    id: Id | UnsetType = UNSET
