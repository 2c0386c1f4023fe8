"""The runner process: `python -m aptask.runner.main DATA INSTANCE`, started by the daemon.

It leaves the daemon's session, serves orders on `DATA/runner.sock`, says on descriptor 3 that it
does, and ends when it is told to, or when no daemon is there any more. Rules:

- There is one runner in a data folder: another waits until the jobs of the one before have ended.
- What was told last reaches the daemon before the process ends.
"""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from aptask.model.orders import READY_DESCRIPTOR, RUNNER_SOCKET
from aptask.runner.link import RunnerLinkFactory
from aptask.runner.runner import Runner
from aptask.storage.folder import private_files

LOCK = "runner.lock"
"""The name of the file in the data folder that a runner holds for as long as it lives."""
ABANDONED_GRACE = 5.0
"""Seconds that jobs have to end when the daemon died, or when the runner is sent SIGTERM."""
LINK_SECONDS = 30.0
"""Within these seconds the daemon that started it has come, or has died."""

_log = Logger()


def main(reactor: Any, folder: Path, instance: str) -> None:
    """Run until there is nothing left to do.

    Args:
        reactor: is run.
        folder: the data folder.
        instance: this runner's id.
    """
    os.setsid()
    os.chdir(folder)
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr)], redirectStandardIO=False, discardBuffer=True
    )
    with private_files():
        lock = _lock(folder)
    runner = Runner(reactor, folder, instance, 2, os.environ)

    def abandoned() -> None:
        runner.quit(ABANDONED_GRACE, "the daemon died")

    def come_or_dead() -> None:
        if not links.was_linked:
            abandoned()

    def end() -> Deferred[None]:
        # Where it is already on its way, this changes nothing.
        runner.quit(ABANDONED_GRACE, "the runner was told to end")
        return over

    def stop(_: object) -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass  # it was stopped by a signal, and waits for this

    links = RunnerLinkFactory(reactor, runner, abandoned)
    over: Deferred[None] = Deferred()
    runner.gone.addCallback(lambda _: links.close()).chainDeferred(over)
    over.addErrback(lambda failure: _log.failure("the link could not be closed", failure))
    over.addCallback(stop)
    (folder / RUNNER_SOCKET).unlink(missing_ok=True)
    with private_files():
        reactor.listenUNIX(str(folder / RUNNER_SOCKET), links, mode=0o600)
    reactor.addSystemEventTrigger("before", "shutdown", end)
    reactor.callWhenRunning(_say_ready, abandoned)
    reactor.callLater(LINK_SECONDS, come_or_dead)
    reactor.run()
    lock.close()


def _lock(folder: Path) -> Any:
    """Wait until there is no other runner; the file that is given keeps others away."""
    file = open(folder / LOCK, "ab")  # noqa: SIM115 - for as long as the process lives
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info("an earlier runner is still ending its jobs")
        fcntl.flock(file, fcntl.LOCK_EX)
    return file


def _say_ready(abandoned: Any) -> None:
    try:
        os.write(READY_DESCRIPTOR, b"ready\n")
        os.close(READY_DESCRIPTOR)
    except OSError:
        abandoned()


if __name__ == "__main__":
    from twisted.internet import reactor as the_reactor

    main(the_reactor, Path(sys.argv[1]), sys.argv[2])
