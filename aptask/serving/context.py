"""What handlers work with: the rooms that they call, as they see them.

The scheduler and the catalog are one each; they are written down here by their shape, so that
handlers are tested with small stand-ins and mypy holds the real ones to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from aptask.interfaces import IStore
from aptask.model.description import Description, Failure
from aptask.model.event import Author, Event
from aptask.model.job import Added, Job
from aptask.model.limits import Limits
from aptask.model.messages import REQUESTS
from aptask.model.reloaded import Reloaded
from aptask.model.statistics import Disk, Totals
from aptask.serving.following import Following
from aptask.serving.keyring import Keyring
from aptask.serving.recorder import Recorder
from aptask.serving.watching import Watching


class Publisher(Protocol):
    """Tells of changes."""

    def subscribe(
        self, job: int | None, subscriber: Callable[[Job], None], /
    ) -> Callable[[], None]:
        """Have it called after each change of a job, None: of any; what is returned ends that."""


class Groups(Protocol):
    """How many jobs run at once."""

    def names(self) -> list[str]:
        """The groups that there are."""

    def slots(self, name: str) -> int:
        """How many of its jobs run at once."""

    def paused(self, name: str) -> bool:
        """Whether none of those that wait is started."""


class Scheduler(Protocol):
    """The clerk who runs the line of jobs.

    Attributes:
        draining: whether new jobs are refused.
    """

    draining: bool

    @property
    def groups(self) -> Groups:
        """What is said of each group."""

    @property
    def publisher(self) -> Publisher:
        """Who tells of changes of its jobs."""

    def submit(
        self,
        owner: str,
        description: Description,
        arguments: bytes,
        secrets: bytes | None,
        *,
        once: str | None,
        unique: str | None,
        rerun: bool,
        peer: str,
    ) -> Deferred[Added]:
        """Accept a job; fires when it is safe. Raises LimitReached or Unavailable."""

    def existing(
        self, owner: str, once: str | None, unique: str | None, /
    ) -> Deferred[list[Added]]:
        """The jobs that one with these keys would be the same as."""

    def find(self, number: int, /) -> Deferred[Job | None]:
        """The job of that number, active or ended."""

    def stop(self, job: Job, grace: float | None, by: Author, /) -> Deferred[Job]:
        """Have a job end. Raises Conflict where it has."""

    def active(
        self, owner: str | None, limit: int, offset: int
    ) -> Deferred[tuple[list[tuple[Job, int]], int]]:
        """Jobs that have not ended, each with its position, and how many there are in all."""

    def position(self, job: Job) -> int:
        """The place of a job among those that wait, or 0."""

    def limit(
        self, name: str, slots: int | None, paused: bool | None, events: Sequence[Event], /
    ) -> Deferred[None]:
        """Set the slots of a group. Fails with InvalidArguments where there is none to be read."""

    def totals(self) -> Deferred[Totals]:
        """How much there is to do, and was; found out without going through the jobs."""


class Catalog(Protocol):
    """The tasks that there are."""

    def get(self, name: str) -> Description | None:
        """The task of that name."""

    def names(self) -> list[str]:
        """The names of all tasks."""

    def nearest(self, name: str, allowed: Callable[[Description], bool]) -> list[str]:
        """Names like this one, among those that are allowed."""

    def entries(
        self, allowed: Callable[[Description], bool], with_schema: bool, /
    ) -> list[dict[str, Any]]:
        """The tasks that are allowed, as `index` shows them."""

    def unavailable(self, description: Description) -> str | None:
        """Why a task cannot run here, or None."""

    def accept(
        self, description: Description, given: Sequence[Any] | Mapping[str, Any]
    ) -> dict[str, Any]:
        """The values that a client's arguments are. Raises InvalidArguments."""


class Outputs(Protocol):
    """What jobs wrote."""

    def read(self, job: int, offset: int, limit: int, /) -> tuple[bytes, int]:
        """At most `limit` bytes from `offset` on, and the offset of the byte behind them."""

    def size(self, job: int, /) -> int:
        """The offset behind what it has written so far."""


class Life(Protocol):
    """What the daemon does with itself."""

    def reload(self) -> Deferred[Reloaded]:
        """Read the configuration again. Fails with InvalidArguments where that is wrong."""

    def shut_down(self, grace: float | None) -> None:
        """Stop as soon as this has been answered; jobs have `grace` seconds, None: the usual."""


class DataFolder(Protocol):
    """Where the daemon keeps what it keeps."""

    def measure(self) -> Deferred[Disk]:
        """What it takes on its disk, as it was some seconds ago at most."""


@dataclass(slots=True)
class Traffic:
    """What passes through the door.

    Attributes:
        connections: clients that are served now.
        watchers: streams of updates that are open now.
        requests: how many of each request have come, those that were refused included.
    """

    connections: int = 0
    watchers: int = 0
    requests: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REQUESTS, 0))


@dataclass(slots=True)
class Context:
    """All that a handler may use.

    Attributes:
        limits: what clients may take; may be others after a reload, as catalog and failures may.
        clock: seconds, and calls later.
        version: the daemon's.
        opening: fires when the queue is there, while it is not: nothing is asked of the scheduler
            before.
        failures: the tasks that could not be loaded.
        traffic: counted where it passes.
        begun: when this was made, in seconds of the clock.
        recorder: writes into the event log.
        following: those who follow what jobs write.
        watching: those who watch jobs.
    """

    scheduler: Scheduler
    store: IStore
    catalog: Catalog
    keyring: Keyring
    outputs: Outputs
    folder: DataFolder
    clock: IReactorTime
    version: str
    limits: Limits
    life: Life
    opening: Deferred[None] | None = None
    failures: Sequence[Failure] = ()
    traffic: Traffic = field(default_factory=Traffic)
    begun: float = field(init=False)
    recorder: Recorder = field(init=False)
    following: Following = field(init=False)
    watching: Watching = field(init=False)

    def __post_init__(self) -> None:
        self.begun = self.clock.seconds()
        self.recorder = Recorder(self.store.log, self.clock)
        subscribe = self.scheduler.publisher.subscribe
        self.following = Following(self.outputs, subscribe, self.clock)
        self.watching = Watching(self.scheduler, self.store, self.traffic, self.clock)
