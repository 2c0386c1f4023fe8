"""How the daemon is, in numbers: the parts of what `stats` answers."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

DEFAULT_GROUP = "default"
"""The group of every job."""


class Group(msgspec.Struct, frozen=True):
    """A line of jobs with slots of its own.

    Attributes:
        slots: how many run at once.
        running: how many do.
        queued: how many wait.
        paused: whether none of those that wait is started.
        configured: the slots that the configuration says, where `limits` has set others.
    """

    slots: int
    running: int
    queued: int
    paused: bool = False
    configured: int | UnsetType = UNSET


class Executor(msgspec.Struct, frozen=True):
    """Where jobs run.

    Attributes:
        state: `ready` where it takes jobs, `starting` where it will, `stopped` where it does not.
        jobs: how many it has.
    """

    state: str
    jobs: int


class Totals(msgspec.Struct, frozen=True):
    """How much there is to do, and was.

    Attributes:
        slots: how many jobs run at once, in all groups.
        running: how many do.
        queued: how many wait.
        ended: how many are in the history.
        groups: the groups, by name.
        executors: the executors, by name.
        draining: whether new jobs are refused until what is queued has run.
    """

    slots: int
    running: int
    queued: int
    ended: int
    groups: dict[str, Group]
    executors: dict[str, Executor]
    draining: bool = False


class FailedPlugin(msgspec.Struct, frozen=True):
    """A task that cannot be used.

    Attributes:
        plugin: the module, file, entry point or table that is at fault.
        error: what is wrong with it, in one line.
    """

    plugin: str
    error: str


class Plugins(msgspec.Struct, frozen=True):
    """What became of the tasks that were found.

    Attributes:
        loaded: how many there are.
        failed: what could not be loaded.
    """

    loaded: int
    failed: list[FailedPlugin]


class Disk(msgspec.Struct, frozen=True):
    """The disk that the data folder is on, in bytes.

    Attributes:
        used: what the daemon's queue, history, outputs and logs take there.
        free: what is left for it.
    """

    used: int
    free: int
