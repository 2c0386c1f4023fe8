"""A runner that kills itself at a step of a job's life, for tests of what is left then.

    APTASK_DIE_AT=spooled APTASK_DIE_COUNT=2 python -P dying_runner.py DATA INSTANCE

is `python -P -m aptask.runner.main DATA INSTANCE`, until it comes to the step the second time (1 is
the default): it sends itself SIGKILL. That happens once in a data folder: `DATA/died` says at which
step, and with that file there, or without the variable, it is a runner as any other.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aptask.runner import attempt, main, runner, spool

AFTER = ("spooled", "sent", "synced", "forgotten")
"""Steps at which it tells the end."""
STEPS = ("ordered", "spawned", "started", "begun", "exited", "ended", *AFTER)
"""
ordered: an order to start has come; spawned: it has a process, and nobody knows; started: that has
reached the daemon; begun: all that an order does is done; exited: its process has ended; ended: its
end is about to be written to the spool; spooled: it is written there and not sent; sent: it has
reached the daemon; synced: the spool is, since the daemon did not say that it has it; forgotten:
the daemon has said that.
"""


def install(step: str, count: int, folder: Path) -> None:
    """Have this process die when it comes to a step so many times."""
    left = count

    def come_to(reached: str) -> None:
        nonlocal left
        if reached == step:
            left -= 1
            if left == 0:
                try:
                    os.close(os.open(folder / "died", os.O_WRONLY | os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    return
                (folder / "died").write_text(step)
                os.kill(os.getpid(), signal.SIGKILL)

    def wrap(owner: Any, name: str, before: str = "", after: str = "", flush: bool = False) -> None:
        method: Callable[..., Any] = getattr(owner, name)

        def wrapped(self: Any, *arguments: Any, **named: Any) -> Any:
            come_to(before)
            result = method(self, *arguments, **named)
            if flush and after == step:
                flush_link(self)
            come_to(after)
            return result

        setattr(owner, name, wrapped)

    def flush_link(holder: runner.Runner) -> None:
        link: Any = holder._link
        while link is not None and (link.transport.dataBuffer or link.transport._tempDataBuffer):
            link.transport.doWrite()

    wrap(runner.Runner, "_start", before="ordered")
    wrap(attempt.Attempt, "begin", after="begun")
    wrap(runner.Runner, "started", before="spawned", after="started", flush=True)
    wrap(attempt.Attempt, "_exited", before="exited")
    wrap(spool.Spool, "add", before="ended", after="spooled")
    wrap(runner.Runner, "ended", after="sent", flush=True)
    wrap(spool.Spool, "sync", after="synced")
    wrap(runner.Ledger, "forget", after="forgotten")


def run(folder: Path, instance: str) -> None:
    """As the daemon starts it."""
    from twisted.internet import reactor

    step = os.environ.get("APTASK_DIE_AT", "")
    if step and not (folder / "died").exists():
        assert step in STEPS, step
        install(step, int(os.environ.get("APTASK_DIE_COUNT", "1")), folder)
    main.main(reactor, folder, instance)


if __name__ == "__main__":
    run(Path(sys.argv[1]).absolute(), sys.argv[2])
