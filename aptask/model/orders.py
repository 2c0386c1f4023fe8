"""What passes between the daemon and a runner: orders one way, events the other.

Both are JSON lines of plain data over a Unix socket. Rules of the link:

- Every message names the job and the attempt that it is about.
- A runner has an instance id. Its `Started` and `Ended` are numbered from 1, so that a daemon that
  comes back asks for those it missed with `Hello.after`; `Forget` says up to which number they are
  safe. Progress is not kept: only the newest of a job is ever on its way.
- Nor are `Paused` and `Resumed`: they tell what is so, and a daemon that comes is told of each
  attempt that is paused. The book knows what should be, and the order may always be repeated.
- An order that a runner has had already is answered with what became of it.
- A runner that loses its daemon goes on: the next daemon of the data folder adopts it.
- Unknown fields are ignored, so that either side may be the newer one. A daemon orders new jobs of
  runners of the versions from `OLDEST_VERSION` on; any other it leaves to finish its jobs, with
  `Hello`, `Welcome`, `Stop`, `Ended` and `Forget`, which never change.

Version 2 brought `Hello.orphan_timeout`; version 3 `Start.timeout`, `Pause` and `Resume`. A runner
that does not know a limit of time would run a job without one: so 3 is the oldest for new jobs.
"""

from __future__ import annotations

import msgspec

from aptask.model.description import Target
from aptask.model.hiding import outline
from aptask.model.job import Status

LINK_VERSION = 3
OLDEST_VERSION = 3
"""The oldest version of the link with which a runner is still given new jobs."""

RUNNER_SOCKET = "runner.sock"
"""The name of the runner's socket in the data folder."""

READY_DESCRIPTOR = 3
"""Where a runner says that it serves on its socket."""

NOTHING_RETURNED = msgspec.Raw(b"null")


class Spawn(msgspec.Struct, tag="spawn", tag_field="work", omit_defaults=True):
    """A program to run.

    Attributes:
        command: the program and its arguments.
        cwd: the folder it works in; None: the account's home.
        env: what is added to the clean environment.
        stdin: text for its standard input; None: nothing.
        stdin_file: the path of a file for its standard input.
        nice: -20 to 19, added to the runner's own.
        memory_limit: bytes of address space.
        progress: the name of a parser, or a regular expression (`aptask.parsers`).
        judged: whether its driver is asked what the exit code means; else 0 is well.
        secrets: texts that no message of the job may hold (`aptask.model.hiding`).
    """

    command: list[str]
    cwd: str | None = None
    env: dict[str, str] = {}
    stdin: str | None = None
    stdin_file: str | None = None
    nice: int | None = None
    memory_limit: int | None = None
    progress: str = "auto"
    judged: bool = False
    secrets: list[str] = []

    def __repr__(self) -> str:
        """Without what is secret: it may get into a log."""
        return outline(self, "env", "stdin", "secrets")


class Call(msgspec.Struct, tag="call", tag_field="work", omit_defaults=True):
    """Authors' code to run, in a child process of the runner's nursery.

    Attributes:
        target: what to load. Where it is a driver, its `command` says what is to be spawned.
        arguments: the values by name, secrets included.
        isolated: whether the process is used for this one job only.
        secrets: as those of `Spawn`.
    """

    target: Target
    arguments: msgspec.Raw
    isolated: bool = False
    secrets: list[str] = []

    def __repr__(self) -> str:
        """Without the values: it may get into a log."""
        return outline(self, "arguments", "secrets")


Work = Spawn | Call


class Hello(msgspec.Struct, tag="hello", tag_field="order", frozen=True):
    """A daemon's first line.

    Attributes:
        version: `LINK_VERSION`.
        instance: the runner's instance whose events it has had, or None.
        after: the number of the last event of that instance that it has applied.
        orphan_timeout: seconds for which the runner goes on with its jobs after it has lost this
            daemon, unless another one comes.
    """

    version: int
    instance: str | None = None
    after: int = 0
    orphan_timeout: float = 3600.0


class Start(msgspec.Struct, tag="start", tag_field="order"):
    """Run an attempt of a job.

    Attributes:
        owner: whose it is, for the process' environment.
        grace: seconds it has to end when all jobs are told to, or its time is over.
        output_bytes: how much of its output is kept.
        timeout: seconds that it may run, those not counted in which it is paused; then it is asked
            to stop, and ends as `timeout`. None: as long as it takes.
    """

    job: int
    attempt: int
    task: str
    owner: str
    work: Work
    output_bytes: int
    grace: float = 10.0
    timeout: float | None = None


class Stop(msgspec.Struct, tag="stop", tag_field="order", frozen=True):
    """Ask an attempt to end, and kill it after `grace` seconds. A further one may shorten that.

    One that the runner has never had is answered with its end: it was stopped before it began.
    """

    job: int
    attempt: int
    grace: float


class Pause(msgspec.Struct, tag="pause", tag_field="order", frozen=True):
    """Suspend all processes of an attempt, and those that come, until `Resume` or `Stop`.

    Answered with `Paused` when nothing of it runs any more. One that has ended, or is being
    stopped, is not paused: its end is the answer.
    """

    job: int
    attempt: int


class Resume(msgspec.Struct, tag="resume", tag_field="order", frozen=True):
    """Have a paused attempt go on: answered with `Resumed`, where it was not paused too."""

    job: int
    attempt: int


class Forget(msgspec.Struct, tag="forget", tag_field="order", frozen=True):
    """Events up to `number` are applied: they need not be kept."""

    number: int


class Quit(msgspec.Struct, tag="quit", tag_field="order", frozen=True):
    """End all jobs, each with its own grace and `grace` seconds at most, then the runner."""

    grace: float


Order = Hello | Start | Stop | Pause | Resume | Forget | Quit


class Welcome(msgspec.Struct, tag="welcome", tag_field="event", frozen=True):
    """A runner's answer to `Hello`.

    Attributes:
        version: its `LINK_VERSION`.
        instance: its id.
        pid: its process.
        running: the job and attempt of each process it holds.
    """

    version: int
    instance: str
    pid: int
    running: tuple[tuple[int, int], ...] = ()


class Started(msgspec.Struct, tag="started", tag_field="event", frozen=True):
    """An attempt has a process.

    Attributes:
        time: seconds since the epoch.
    """

    number: int
    job: int
    attempt: int
    pid: int
    time: float


class Progressed(
    msgspec.Struct, tag="progress", tag_field="event", frozen=True, omit_defaults=True
):
    """How far an attempt is now."""

    job: int
    attempt: int
    fraction: float | None = None
    message: str | None = None


class Paused(msgspec.Struct, tag="paused", tag_field="event", frozen=True):
    """Nothing of an attempt runs, until it is resumed or stopped.

    Attributes:
        time: since when, in seconds since the epoch.
    """

    job: int
    attempt: int
    time: float


class Resumed(msgspec.Struct, tag="resumed", tag_field="event", frozen=True):
    """An attempt is not paused.

    Attributes:
        time: when it was resumed, or asked for that; in seconds since the epoch.
    """

    job: int
    attempt: int
    time: float


class Ended(msgspec.Struct, tag="ended", tag_field="event", frozen=True, omit_defaults=True):
    """An attempt has ended.

    Attributes:
        status: `done`, `error`, `stopped`, `timeout` or `interrupted`.
        message: for people; None leaves the last message of its progress.
        exit: the exit code, or the negative number of a signal.
        result: what its task returned, as JSON.
        fraction: the last progress.
        time: seconds since the epoch.
    """

    number: int
    job: int
    attempt: int
    status: Status
    time: float
    message: str | None = None
    exit: int | None = None
    result: msgspec.Raw = NOTHING_RETURNED
    fraction: float | None = None


Report = Started | Progressed | Paused | Resumed | Ended
"""An event of an attempt."""
Event = Welcome | Report

decode_order = msgspec.json.Decoder(Order).decode
decode_event = msgspec.json.Decoder(Event).decode
encode = msgspec.json.Encoder().encode
