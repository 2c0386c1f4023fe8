"""A daemon that kills itself at a step of a job's life, for tests of what becomes of the job then.

    python -P dying_daemon.py -n aptask --data DATA ...

is `twistd -n aptask --data DATA ...`, until there is a file `die` in the folder that it was started
in, which holds a step and a number: when it comes to that step for the so many-th time since then,
it sends itself SIGKILL. The file is `died` from then on: that happens once. Its runner is
`dying_runner.py`, whose steps stand in the environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.scripts import twistd

from aptask.execution import processes

RUNNER = Path(__file__).parent.parent / "runner" / "dying_runner.py"

PAUSE = 0.2
"""Seconds for which a daemon that dies while the book is written does what it must not."""

SUBMISSION = ("adding", "entering", "added")
"""
adding: a job was asked for, and the book knows nothing of it; entering: it is about to be written
there; added: the book has it, and who asked was not answered.
"""
LIFE = ("launching", "launched", "ordered", "started")
"""
launching: its turn has come; launched: the book has it as started, and no order went out; ordered:
the order has reached the runner; started: it was heard that it has a process.
"""
END = ("exited", "ending", "recording", "ended", "forgetting", "forgotten")
"""
exited: its end was heard; ending: that was handed to the book; recording: it is about to be
written there; ended: the book has it, and nobody was told; forgetting: the runner is about to be
told that it may forget; forgotten: it has been.
"""
RETURN = ("restored", "welcomed", "adopting", "adopted")
"""
restored: a daemon that comes back has read the book; welcomed: it has heard the runner of before;
adopting: it has heard what it missed; adopted: it has given its orders.
"""
LOSS = ("losing", "lost", "joining", "joined", "adopted")
"""
losing: a daemon that comes back sees that the runner is gone; lost: that was handed to the book;
joining: there is another runner; joined: the book knows it.
"""


def come_to(reached: str, link: Any = None, pause: float = 0.0) -> None:
    """Die, if this is where to: after a pause, and once what was sent has reached the runner."""
    try:
        step, count = Path("die").read_text().split()
    except (OSError, ValueError):
        return
    if step == reached:
        if int(count) > 1:
            Path("die").write_text(f"{step} {int(count) - 1}")
        else:
            time.sleep(pause)
            Path("die").rename("died")
            while link is not None and link.transport.dataBuffer + b"".join(
                link.transport._tempDataBuffer
            ):
                if link.transport.doWrite() is not None:
                    break  # the runner has gone
            os.kill(os.getpid(), signal.SIGKILL)


def wrap(
    owner: Any,
    name: str,
    before: str = "",
    after: str = "",
    *,
    pause: float = 0.0,
    link: Callable[[Any], Any] = lambda self: None,
    only: Callable[..., bool] = lambda *_: True,
) -> None:
    """Have a method be a step, before it is called or after."""
    method: Callable[..., Any] = getattr(owner, name)

    def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
        counts = only(*arguments)
        if before and counts:
            come_to(before, pause=pause)
        result = method(self, *arguments, **named)
        if after and counts:
            come_to(after, link(self))
        return result

    setattr(owner, name, wrapped)


def install() -> None:
    """Make the steps."""
    # What an executor starts by default is read when its class is made.
    processes.COMMAND = (sys.executable, "-P", str(RUNNER))
    from aptask.execution.link import Link
    from aptask.execution.local import LocalExecutor
    from aptask.model.orders import Ended, Start, Started
    from aptask.scheduling.scheduler import Scheduler
    from aptask.storage.store import SQLiteStore
    from aptask.storage.transactions import Transactions

    def link_of(executor: Any) -> Any:
        return executor._link

    def is_start(order: Any) -> bool:
        return isinstance(order, Start)

    def is_started(event: Any, *_: Any) -> bool:
        return isinstance(event, Started)

    def is_ended(event: Any, *_: Any) -> bool:
        return isinstance(event, Ended)

    def has_entry(operations: Any) -> bool:
        return any(operation.entry or operation.run for operation in operations)

    def has_end(operations: Any) -> bool:
        return any(operation.course and operation.applied for operation in operations)

    wrap(Transactions, "commit", before="entering", pause=PAUSE, only=has_entry)
    wrap(Transactions, "commit", before="recording", pause=PAUSE, only=has_end)
    wrap(SQLiteStore, "add", before="adding")
    wrap(Scheduler, "_entered", before="added")
    wrap(Scheduler, "_start", before="launching")
    wrap(Scheduler, "_launched", before="launched")
    wrap(LocalExecutor, "order", after="ordered", link=link_of, only=is_start)
    wrap(Scheduler, "happened", after="started", only=is_started)
    wrap(Scheduler, "happened", before="exited", after="ending", only=is_ended)
    wrap(Scheduler, "_ended", before="ended")
    wrap(Link, "_forget", before="forgetting", after="forgotten", link=lambda link: link)
    wrap(LocalExecutor, "start", before="restored")
    wrap(LocalExecutor, "welcomed", before="welcomed")
    wrap(Scheduler, "ready", before="adopting", after="adopted", link=lambda s: s._executor._link)
    wrap(Scheduler, "lost", before="losing", after="lost")
    wrap(Scheduler, "joined", before="joining")
    wrap(LocalExecutor, "_joined", before="joined")


if __name__ == "__main__":
    install()
    sys.argv[0] = "twistd"
    twistd.run()
