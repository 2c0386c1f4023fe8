"""The daemon's rooms from its sockets to its disk, and nothing else: for tests that kill hundreds.

Each standard input line is JSON, and has one daemon made, by a fork that spares the imports. It
speaks the real protocol on `DATA/aptask.sock`, has the real scheduler, and keeps its queue in
`DATA/aptask.db`; its jobs are none: one of `note` ends as soon as it begins, one of `hold` when it
is stopped. The answers are lines of standard output: `ready <process>`, then `ended <status>`.

Fields of a line:
    data: the folder.
    limits: what differs from the defaults of `Limits`.
    wal_frames: see `transactions.WAL_FRAMES`.
    dies: the daemon kills itself when so many answers of the store, from when it serves, are due.
    fails: the disk fails from the n-th call on, with `disk.c` before the C library.
    forever: whether all calls fail from there on.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from twisted.internet import epollreactor  # noqa: F401 (imported once for all, and made by each)
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from aptask.interfaces import IExecutor
from aptask.model.arguments import Argument
from aptask.model.description import Description, Template
from aptask.model.job import Status
from aptask.model.key import Key, digest
from aptask.model.limits import Limits
from aptask.model.orders import Ended, Start, Stop
from aptask.model.reloaded import Reloaded
from aptask.model.statistics import Disk
from aptask.scheduling.scheduler import Scheduler
from aptask.serving.context import Context
from aptask.serving.dispatch import Dispatcher
from aptask.serving.keyring import Keyring, Source
from aptask.serving.tcp import RequestFactory
from aptask.storage import transactions
from aptask.storage.store import SQLiteStore
from aptask.tasks.catalog import Catalog

KEY = "key"
SLOTS = 2
PARENT_DIED = 1  # PR_SET_PDEATHSIG


def describe(name: str) -> Description:
    arguments = (
        Argument("text", "str", required=False, default=""),
        Argument("password", "str", required=False, default=None, secret=True),
    )
    return Description(name, "", arguments, "here", template=Template(("true", "{text}")))


@implementer(IExecutor)
class NoJobs:
    """Says that jobs have ended without having begun any."""

    name = "none"

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._listener: Any = None
        self._numbers = count(1)

    def start(self, listener: Any, applied: tuple[str, int] | None) -> Deferred[None]:
        self._listener = listener
        joined: Deferred[None] = listener.joined(f"{os.getpid()}")
        return joined.addCallback(lambda _: listener.ready(()))

    def make_room(self, jobs: int) -> None:
        pass

    def order(self, order: Start | Stop) -> None:
        if isinstance(order, Start) and order.task == "hold":
            return
        status = Status.DONE if isinstance(order, Start) else Status.STOPPED
        self._reactor.callLater(0, self._end, order.job, order.attempt, status)

    def _end(self, job: int, attempt: int, status: Status) -> None:
        number = next(self._numbers)
        event = Ended(number, job, attempt, status, time.time())
        self._listener.happened(event, (f"{os.getpid()}", number))

    def stop(self, grace: float) -> Deferred[None]:
        return succeed(None)

    leave = stop


class NoLife:
    def reload(self) -> Deferred[Reloaded]:
        raise NotImplementedError

    def shut_down(self, grace: float | None) -> None:
        raise NotImplementedError


class NoOutputs:
    def read(self, job: int, offset: int, limit: int) -> tuple[bytes, int]:
        return b"", offset


class NoFolder:
    def measure(self) -> Deferred[Disk]:
        return succeed(Disk(0, 0))


def serve(
    data: str,
    limits: dict[str, Any] | None = None,
    wal_frames: int = transactions.WAL_FRAMES,
    dies: int = 0,
    fails: int = 0,
    forever: bool = False,
) -> None:
    """Be a daemon, until killed."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    transactions.WAL_FRAMES = wal_frames
    left = 0

    def call(function: Callable[..., Any], *arguments: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        reactor.callFromThread(function, *arguments)

    folder = Path(data)
    kept = Limits(**limits or {})
    store = SQLiteStore(
        folder / "aptask.db",
        call,
        time.time,
        sqlite3.connect,
        lambda call: reactor.callLater(0, call),
    )
    catalog = Catalog([describe("note"), describe("hold")], lambda _: "", reactor.seconds)
    executor = NoJobs(reactor)
    scheduler = Scheduler(
        store=store, executor=executor, catalog=catalog, limits=kept, slots=SLOTS, clock=time.time
    )
    keyring = Keyring()
    keyring.replace(Source.CONFIGURATION, [Key("alice", "admin", digest(KEY))])
    context = Context(
        scheduler=scheduler,
        store=store,
        catalog=catalog,
        keyring=keyring,
        outputs=NoOutputs(),
        folder=NoFolder(),
        clock=reactor,
        version="0",
        limits=kept,
        life=NoLife(),
    )

    def restored(applied: tuple[str, int] | None) -> Deferred[None]:
        path = folder / "aptask.sock"
        path.unlink(missing_ok=True)
        reactor.listenUNIX(str(path), RequestFactory(Dispatcher(context), kept, reactor))
        return executor.start(scheduler, applied)

    def ready(_: None) -> None:
        nonlocal left
        if fails:
            ctypes.CDLL(os.environ["LD_PRELOAD"]).disk_arm(fails, forever)
        left = dies
        say(f"ready {os.getpid()}")

    def failed(failure: Any) -> None:
        say(f"failed: {failure.getErrorMessage()}")
        os._exit(1)

    opened = store.open().addCallback(lambda _: scheduler.restore()).addCallback(restored)
    # What the scheduler has written into the event log so far is not to be counted.
    opened.addCallback(lambda _: store.applied()).addCallback(ready).addErrback(failed)
    reactor.run()


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    gc.freeze()
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            ctypes.CDLL(None).prctl(PARENT_DIED, signal.SIGKILL)
            serve(**json.loads(line))
            os._exit(0)
        say(f"ended {os.waitpid(pid, 0)[1]}")


if __name__ == "__main__":
    main()
