"""A process that adds jobs to a store until it is killed, and says which are on disk.

It writes each number to standard output after the store has acknowledged it; every third job is
launched then, every sixth ended, which it says too.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from twisted.internet import reactor

from aptask.model.job import Added, Change, Job, Outcome, Status, change
from aptask.storage import transactions
from aptask.storage.store import SQLiteStore

OUTSTANDING = 20
transactions.WAL_FRAMES = 100

call_in_reactor = reactor.callFromThread  # type: ignore[attr-defined]
store = SQLiteStore(Path(sys.argv[1]), call_in_reactor, time.time)


def say(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


def add(_: Any = None) -> None:
    job = Job(id=0, task="t", owner="o", arguments=b"{}", secrets=b'{"s":"hush"}', created=1.0)
    store.add(job).addCallback(added, job)


def added(answer: Added, job: Job) -> None:
    job.id = answer.id
    say("added", job.id)
    if job.id % 3 == 0:
        change(job, Change.LAUNCH, 2.0)
        store.update(job).addCallback(launched, job)
    add()


def launched(_: None, job: Job) -> None:
    say("launched", job.id)
    if job.id % 6 == 0:
        change(job, Change.FINISH, 3.0, Outcome(Status.DONE))
        store.update(job, applied=("runner", job.id)).addCallback(lambda _: say("ended", job.id))


def opened(_: None) -> None:
    for _ in range(OUTSTANDING):
        add()


store.open().addCallback(opened)
reactor.run()  # type: ignore[attr-defined]
