"""Small stand-ins for the rooms that serving calls, and a daemon's front made of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.protocol import connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from zope.interface import implementer

from aptask.errors import LimitReached
from aptask.model.arguments import Argument, check
from aptask.model.description import Description, Kind, Target
from aptask.model.event import Author, Event
from aptask.model.job import Added, Change, Job, Outcome, State, Status, change
from aptask.model.key import Key, digest
from aptask.model.limits import Limits
from aptask.model.reloaded import Reloaded
from aptask.model.statistics import Disk, Executor, Group, Totals
from aptask.scheduling.groups import Groups
from aptask.serving.connection import Connection
from aptask.serving.context import Context
from aptask.serving.dispatch import Dispatcher
from aptask.serving.keyring import Identity, Keyring, Source
from aptask.serving.tcp import RequestFactory
from aptask.storage.memory import MemoryStore

KEYS = {
    "alice-key": Identity("alice"),
    "bob-key": Identity("bob"),
    "carol-key": Identity("carol", tasks=frozenset({"program"})),
    "ops-key": Identity("ops", "admin"),
}


def describe(name: str, *arguments: Argument, **more: Any) -> Description:
    target = Target(Kind.TASK, "tasks", name)
    return Description(name, f"Does {name}.", arguments, "here", target=target, **more)


DESCRIPTIONS = (
    describe("sleep", Argument("seconds", "float", required=False, default=1.0)),
    describe(
        "fetch",
        Argument("url", "str"),
        Argument("password", "str", required=False, default=None, secret=True),
    ),
    describe("program", Argument("command", "list"), privileged=True),
    describe("transcode", Argument("source", "str"), requires=("ffmpeg",)),
)


class FakeCatalog:
    def __init__(self) -> None:
        self.tasks = {each.name: each for each in DESCRIPTIONS}
        self.missing = {"transcode": "ffmpeg is not installed"}

    def get(self, name: str) -> Description | None:
        return self.tasks.get(name)

    def nearest(self, name: str, allowed: Callable[[Description], bool]) -> list[str]:
        return [each.name for each in self.tasks.values() if allowed(each)][:3]

    def entries(
        self, allowed: Callable[[Description], bool], with_schema: bool
    ) -> list[dict[str, Any]]:
        extra = {"schema": {}} if with_schema else {}
        return [{"name": each.name, **extra} for each in self.tasks.values() if allowed(each)]

    def names(self) -> list[str]:
        return list(self.tasks)

    def unavailable(self, description: Description) -> str | None:
        return self.missing.get(description.name)

    def accept(self, description: Description, given: Any) -> dict[str, Any]:
        return check(description.arguments, given)


class FakePublisher:
    def __init__(self) -> None:
        self.subscribers: dict[int | None, list[Callable[[Job], None]]] = {}

    def subscribe(self, job: int | None, subscriber: Callable[[Job], None]) -> Callable[[], None]:
        subscribers = self.subscribers.setdefault(job, [])
        subscribers.append(subscriber)
        return lambda: subscribers.remove(subscriber)

    def publish(self, job: Job) -> None:
        for key in (job.id, None):
            for subscriber in tuple(self.subscribers.get(key, ())):
                subscriber(job)

    def count(self) -> int:
        return sum(map(len, self.subscribers.values()))


class FakeScheduler:
    """Queues for ever; `late` makes acceptance wait until `commit`."""

    def __init__(self) -> None:
        self.publisher = FakePublisher()
        self.jobs: dict[int, Job] = {}
        self.late = False
        self.full = False
        self.broken: Exception | None = None
        self.stopped: list[tuple[int, float | None]] = []
        self.uncommitted: list[tuple[Deferred[Added], Job]] = []
        self.keys: dict[tuple[str, str, str | None], int] = {}
        self.totals_: Totals | Deferred[Totals] | None = None
        self.groups = Groups(4)
        self.draining = False
        self.events: list[Event] = []

    def submit(
        self,
        owner: str,
        description: Description,
        arguments: bytes,
        secrets: bytes | None,
        *,
        once: str | None = None,
        unique: str | None = None,
        rerun: bool = False,
        peer: str = "",
    ) -> Deferred[Added]:
        if self.full:
            raise LimitReached("the queue is full", 2.5)
        if self.broken is not None:
            raise self.broken
        job = Job(
            id=len(self.jobs) + 1,
            task=description.name,
            owner=owner,
            arguments=arguments,
            secrets=secrets,
            created=0.0,
            rerun=rerun,
        )
        self.jobs[job.id] = job
        self.keys[owner, "once", once] = self.keys[owner, "unique", unique] = job.id
        if not self.late:
            return succeed(Added(job.id))
        accepted: Deferred[Added] = Deferred()
        self.uncommitted.append((accepted, job))
        return accepted

    def existing(self, owner: str, once: str | None, unique: str | None) -> Deferred[list[Added]]:
        given = [("once", once), ("unique", unique)]
        found = [
            self.keys[owner, kind, key]
            for kind, key in given
            if key is not None and (owner, kind, key) in self.keys
        ]
        return succeed([Added(number, existing=True) for number in found[:1]])

    def commit(self, *order: int) -> None:
        waiting, self.uncommitted = self.uncommitted, []
        for place in order or range(len(waiting)):
            accepted, job = waiting[place]
            accepted.callback(Added(job.id))

    def find(self, number: int) -> Deferred[Job | None]:
        return succeed(self.jobs.get(number))

    def stop(self, job: Job, grace: float | None, by: Author) -> Deferred[Job]:
        change(job, Change.STOP, 0.0)
        self.stopped.append((job.id, grace))
        self.publisher.publish(job)
        return succeed(job)

    def end(self, number: int) -> None:
        job = self.jobs[number]
        change(job, Change.FINISH, 0.0, Outcome(Status.DONE))
        self.publisher.publish(job)

    def active(
        self, owner: str | None, limit: int, offset: int
    ) -> Deferred[tuple[list[tuple[Job, int]], int]]:
        jobs = [
            (job, place)
            for place, job in enumerate(self.jobs.values(), 1)
            if job.state is not State.ENDED and owner in (None, job.owner)
        ]
        return succeed((jobs[offset : offset + limit], len(jobs)))

    def position(self, job: Job) -> int:
        return job.id

    def limit(
        self, name: str, slots: int | None, paused: bool | None, events: Sequence[Event]
    ) -> Deferred[None]:
        self.groups.set(name, self.groups.asked(name, slots, paused))
        self.events.extend(events)
        return succeed(None)

    def totals(self) -> Deferred[Totals]:
        if isinstance(self.totals_, Deferred):
            return self.totals_
        return succeed(self.totals_ or TOTALS)


TOTALS = Totals(
    slots=4,
    running=2,
    queued=17,
    ended=1204,
    groups={"default": Group(slots=4, running=2, queued=17)},
    executors={"local": Executor("ready", 2)},
)


class FakeLife:
    """Notes what it is asked; `reload` is answered when the test does."""

    def __init__(self) -> None:
        self.reloads: list[Deferred[Reloaded]] = []
        self.ends: list[float | None] = []

    def reload(self) -> Deferred[Reloaded]:
        self.reloads.append(Deferred())
        return self.reloads[-1]

    def shut_down(self, grace: float | None) -> None:
        self.ends.append(grace)


class FakeFolder:
    def __init__(self) -> None:
        self.disk = Disk(used=5_000_000, free=80_000_000_000)

    def measure(self) -> Deferred[Disk]:
        return succeed(self.disk)


class FakeOutputs:
    def __init__(self) -> None:
        self.written: dict[int, bytes] = {}

    def read(self, job: int, offset: int, limit: int) -> tuple[bytes, int]:
        piece = self.written.get(job, b"")[offset : offset + limit]
        return piece, offset + len(piece)

    def size(self, job: int) -> int:
        return len(self.written.get(job, b""))


@implementer(IHalfCloseableDescriptor)
class FakeTransport(StringTransport):
    """A socket that can be half closed, with a send buffer that is full when it is told to be."""

    def __init__(self) -> None:
        super().__init__()
        self.half_closed = False
        self.aborted = False
        self.takes = 1 << 40

    def write(self, data: bytes) -> None:
        super().write(data)
        self.takes -= len(data)
        if self.takes < 0 and self.producer is not None:
            self.producer.pauseProducing()

    def take(self, size: int = 1 << 40) -> None:
        self.takes = size
        if self.producer is not None:
            self.producer.resumeProducing()

    def loseWriteConnection(self) -> None:
        self.half_closed = True

    def abortConnection(self) -> None:
        self.aborted = True

    def getHandle(self) -> None:
        return None

    @property
    def is_read(self) -> bool:
        return self.producerState == "producing"


class Front:
    """The serving room on stand-ins."""

    def __init__(self, authentication: bool = True, **limits: Any) -> None:
        self.clock = Clock()
        self.scheduler = FakeScheduler()
        self.catalog = FakeCatalog()
        self.outputs = FakeOutputs()
        self.folder = FakeFolder()
        self.life = FakeLife()
        self.limits = Limits(**limits)
        self.keyring = Keyring(authentication)
        self.keyring.replace(
            Source.CONFIGURATION,
            [
                Key(who.name, who.role, digest(key), None if who.tasks is None else (*who.tasks,))
                for key, who in KEYS.items()
            ],
        )
        self.store = MemoryStore()
        self.context = Context(
            scheduler=self.scheduler,
            store=self.store,
            catalog=self.catalog,
            keyring=self.keyring,
            outputs=self.outputs,
            folder=self.folder,
            clock=self.clock,
            version="1.2.3",
            limits=self.limits,
            life=self.life,
        )
        self.dispatcher = Dispatcher(self.context)
        self.factory = RequestFactory(self.dispatcher, self.limits, self.clock)

    def connect(self) -> Client:
        return Client(self)

    def ask(self, request: str | dict[str, Any], key: str | None = None, **fields: Any) -> Any:
        """The answer to one request, on a connection of its own."""
        client = self.connect()
        if isinstance(request, str):
            request = {"request": request, **fields}
        client.send({**request, **({} if key is None else {"key": key})})
        answers = client.answers()
        client.lose()
        assert len(answers) == 1, answers
        return answers[0]

    def start(self, key: str = "alice-key", **fields: Any) -> str:
        answer = self.ask("start", key, **{"name": "sleep", **fields})
        assert answer["status"] == "ok", answer
        return answer["taskid"]


class Client:
    """One connection to a front, seen from its client."""

    def __init__(self, front: Front) -> None:
        self._clock = front.clock
        self.transport = FakeTransport()
        protocol = front.factory.buildProtocol(None)
        assert protocol is not None
        self.protocol: Connection = protocol
        protocol.makeConnection(self.transport)

    def send(self, *requests: dict[str, Any] | bytes, ending: bytes = b"\n") -> None:
        self.protocol.dataReceived(
            b"".join(
                (each if isinstance(each, bytes) else json.dumps(each).encode()) + ending
                for each in requests
            )
        )

    def answers(self) -> list[Any]:
        """What has come since the last time, at the end of the reactor's turn."""
        self._clock.advance(0)
        lines = self.transport.value().decode().split("\n")
        assert lines.pop() == ""
        self.transport.clear()
        return [json.loads(line) for line in lines]

    def lose(self) -> None:
        self.protocol.connectionLost(connectionDone)
