"""The runner process: `python -m aptask.runner.main DATA INSTANCE`, started by the daemon.

It leaves the daemon's session, serves orders on `DATA/runner.sock`, says on descriptor 3 that it
does, and outlives the daemon. It ends when it is told to; when the daemon that started it never
came; and without a daemon once it has no jobs, which have as long as the daemon said. Rules:

- There is one runner in a data folder: another waits until the jobs of the one before have ended.
- What was told last has reached the daemon before the process ends, or is in its spool.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from aptask.model.orders import READY_DESCRIPTOR, RUNNER_SOCKET
from aptask.runner.link import RunnerLinkFactory
from aptask.runner.lock import take
from aptask.runner.runner import ABANDONED_GRACE, Runner
from aptask.storage.folder import private_files

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
    reactor.seconds = time.monotonic  # else a clock that is set back is as long a pause
    os.setsid()
    os.chdir(folder)
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr)], redirectStandardIO=False, discardBuffer=True
    )
    lock = take(folder, lambda: _log.info("an earlier runner is still ending its jobs"))
    runner = Runner(reactor, folder, instance, 2, os.environ)

    def never_came() -> None:
        if not links.was_linked:
            runner.quit(ABANDONED_GRACE, "the daemon died")

    def end() -> Deferred[None]:
        # Where it is already on its way, this changes nothing.
        runner.quit(ABANDONED_GRACE, "the runner was told to end")
        return over

    def stop(_: object) -> None:
        try:
            reactor.stop()
        except ReactorNotRunning:
            pass  # it was stopped by a signal, and waits for this

    links = RunnerLinkFactory(reactor, runner)
    over: Deferred[None] = Deferred()
    runner.gone.addCallback(lambda _: links.close()).chainDeferred(over)
    over.addErrback(lambda failure: _log.failure("the link could not be closed", failure))
    over.addCallback(stop)
    (folder / RUNNER_SOCKET).unlink(missing_ok=True)
    with private_files():
        reactor.listenUNIX(str(folder / RUNNER_SOCKET), links, mode=0o600)
    reactor.addSystemEventTrigger("before", "shutdown", end)
    reactor.callWhenRunning(_say_ready, never_came)
    reactor.callLater(LINK_SECONDS, never_came)
    reactor.run()
    os.close(lock)


def _say_ready(never_came: Callable[[], None]) -> None:
    try:
        os.write(READY_DESCRIPTOR, b"ready\n")
        os.close(READY_DESCRIPTOR)
    except OSError:
        never_came()


if __name__ == "__main__":
    from twisted.internet import reactor as the_reactor

    main(the_reactor, Path(sys.argv[1]), sys.argv[2])
