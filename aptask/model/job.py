"""A job: one run of a task asked for by an owner, and the one table of what can become of it.

Two words tell where a job is. Its *state* is where the daemon has it; its *status* is how it goes,
or how it ended. Both change by `TRANSITIONS` only: a change that is not in the table cannot happen,
and whoever asks for it is told so.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from aptask.errors import Conflict
from aptask.model.hiding import outline
from aptask.model.progress import NOTHING, Progress


class State(StrEnum):
    """Where the daemon has a job."""

    QUEUED = "queued"
    ACTIVE = "active"
    HELD = "held"
    """it waits, and is not started until it is resumed"""
    PAUSED = "paused"
    """it was launched, and is suspended until it is resumed"""
    STOPPING = "stopping"
    ENDED = "ended"


class Status(StrEnum):
    """How a job goes, or how it ended."""

    INITIALIZED = "initialized"
    RUNNING = "running"
    DONE = "done"
    ERROR = "error"
    STOPPED = "stopped"
    TIMEOUT = "timeout"
    INTERRUPTED = "interrupted"
    SKIPPED = "skipped"


class Change(StrEnum):
    """What can happen to a job."""

    LAUNCH = "launch"
    RETURN = "return"
    REPEAT = "repeat"
    PAUSE = "pause"
    RESUME = "resume"
    STOP = "stop"
    FINISH = "finish"


TRANSITIONS: dict[tuple[State, Change], tuple[State, Status | None]] = {
    (State.QUEUED, Change.LAUNCH): (State.ACTIVE, Status.RUNNING),
    (State.QUEUED, Change.PAUSE): (State.HELD, Status.INITIALIZED),
    (State.QUEUED, Change.STOP): (State.ENDED, Status.STOPPED),
    (State.QUEUED, Change.FINISH): (State.ENDED, None),
    (State.HELD, Change.RESUME): (State.QUEUED, Status.INITIALIZED),
    (State.HELD, Change.STOP): (State.ENDED, Status.STOPPED),
    (State.HELD, Change.FINISH): (State.ENDED, None),
    (State.ACTIVE, Change.RETURN): (State.QUEUED, Status.INITIALIZED),
    (State.ACTIVE, Change.REPEAT): (State.QUEUED, Status.INITIALIZED),
    (State.ACTIVE, Change.PAUSE): (State.PAUSED, Status.RUNNING),
    (State.ACTIVE, Change.STOP): (State.STOPPING, Status.RUNNING),
    (State.ACTIVE, Change.FINISH): (State.ENDED, None),
    (State.PAUSED, Change.RESUME): (State.ACTIVE, Status.RUNNING),
    (State.PAUSED, Change.RETURN): (State.HELD, Status.INITIALIZED),
    (State.PAUSED, Change.REPEAT): (State.QUEUED, Status.INITIALIZED),
    (State.PAUSED, Change.STOP): (State.STOPPING, Status.RUNNING),
    (State.PAUSED, Change.FINISH): (State.ENDED, None),
    (State.STOPPING, Change.STOP): (State.STOPPING, Status.RUNNING),
    (State.STOPPING, Change.FINISH): (State.ENDED, None),
}
"""What each change makes of each state. Where the status is None, it is the outcome's.

A job that was launched is returned where its attempt has not begun; one that is repeated waits for
its next attempt. One that is paused while it waits keeps its place, and is held.
"""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How an attempt ended.

    Attributes:
        status: a status of the ended.
        message: for people; None leaves the last message of the job's progress.
        exit: the exit code of its program, or the negative number of the signal that ended it.
        result: the JSON text of what its task returned.
    """

    status: Status
    message: str | None = None
    exit: int | None = None
    result: bytes | None = None


class Job(msgspec.Struct, gc=False, kw_only=True):
    """One run of a task.

    Attributes:
        id: its number, from 1, never used again; 0 until the store has given it one.
        task: the name of its task.
        owner: the name of the key that asked for it.
        arguments: the JSON text of its arguments as an object, complete and checked, with null in
            the place of each secret: it may be shown.
        secrets: the JSON text of an object with the secret ones, until the job has ended.
        created, started, ended: seconds since the epoch.
        attempt: the number of the attempt that runs, ran last, or comes next; from 1.
        rerun: whether it is queued again where it would end as interrupted.
    """

    id: int
    task: str
    owner: str
    arguments: bytes
    created: float
    secrets: bytes | None = None
    state: State = State.QUEUED
    status: Status = Status.INITIALIZED
    progress: Progress = NOTHING
    attempt: int = 1
    started: float | None = None
    ended: float | None = None
    exit: int | None = None
    result: bytes | None = None
    rerun: bool = False

    def __repr__(self) -> str:
        """Without the secrets: it may get into a log."""
        return outline(self, "secrets")


class Added(msgspec.Struct, frozen=True, gc=False):
    """What a store answers to a job that was to be entered.

    Attributes:
        id: the number of the job.
        existing: whether that is an earlier one, found by `once` or `unique`.
    """

    id: int
    existing: bool = False


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """As much of a queued job as a queue needs: a million of them are held at once."""

    id: int
    owner: str
    task: str


class Counts(msgspec.Struct, frozen=True, gc=False):
    """How many jobs a store holds.

    Attributes:
        queued: those that wait.
        unfinished: those that were launched and have not ended.
        ended: those that are history.
        next: the number that the next new job is given.
    """

    queued: int
    unfinished: int
    ended: int
    next: int


def change(job: Job, what: Change, now: float, outcome: Outcome | None = None) -> None:
    """Make a change to a job, by the table.

    Args:
        job: is changed in place.
        what: the change.
        now: seconds since the epoch.
        outcome: how it ended, with `Change.FINISH`; with `Change.REPEAT`, how its last attempt did.

    Raises:
        Conflict: the job's state does not allow it; the job is as it was.
    """
    try:
        state, status = TRANSITIONS[job.state, what]
    except KeyError:
        where = "has ended" if job.state is State.ENDED else f"is {job.state}"
        raise Conflict(f"task {job.id} {where} ({job.status}): it cannot {what}") from None
    if status is None:
        if outcome is None:
            raise ValueError("a change to `finish` needs its outcome")
        status = outcome.status
    job.state = state
    job.status = status
    if what is Change.LAUNCH:
        job.started = now
        job.progress = NOTHING
    elif what in (Change.RETURN, Change.REPEAT):
        job.attempt += what is Change.REPEAT
        job.started = None
        job.progress = NOTHING if outcome is None else Progress(None, outcome.message)
    if state is State.ENDED:
        job.ended = now
        job.secrets = None
        if outcome is not None:
            job.exit = outcome.exit
            job.result = outcome.result
            if outcome.message is not None:
                job.progress = Progress(job.progress.fraction, outcome.message)
        if status is Status.DONE:
            job.progress = Progress(1.0, job.progress.message)
