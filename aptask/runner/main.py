"""The runner process: `python -m aptask.runner.main DATA INSTANCE`, started by the daemon.

It leaves the daemon's session, serves orders on `DATA/runner.sock`, says on descriptor 3 that it
does, and ends when it is told to, or when no daemon is there any more.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.logger import globalLogBeginner, textFileLogObserver

from aptask.model.orders import READY_DESCRIPTOR, RUNNER_SOCKET
from aptask.runner.link import RunnerLinkFactory
from aptask.runner.runner import Runner

ABANDONED_GRACE = 5.0
"""Seconds that jobs have to end when the daemon died."""

FIRST_SECONDS = 10.0
"""How long a daemon may take to come for the first time."""


def main(reactor: Any, folder: Path, instance: str) -> None:
    """Run until there is nothing left to do.

    Args:
        reactor: is run.
        folder: the data folder.
        instance: this runner's id.
    """
    os.setsid()
    os.umask(0o077)
    os.chdir(folder)
    globalLogBeginner.beginLoggingTo(
        [textFileLogObserver(sys.stderr)], redirectStandardIO=False, discardBuffer=True
    )
    runner = Runner(reactor, folder, instance, 2, os.environ)

    runner.gone.addCallback(lambda _: reactor.stop() if reactor.running else None)

    def abandoned() -> None:
        runner.quit(ABANDONED_GRACE, "the daemon died")

    socket = folder / RUNNER_SOCKET
    socket.unlink(missing_ok=True)
    endpoint = UNIXServerEndpoint(reactor, str(socket), mode=0o600)
    factory = RunnerLinkFactory(runner, abandoned)
    endpoint.listen(factory)
    # A daemon that died meanwhile will not come.
    reactor.callLater(FIRST_SECONDS, lambda: factory.is_empty() and abandoned())
    reactor.callWhenRunning(_say_ready)
    reactor.run()


def _say_ready() -> None:
    with contextlib.suppress(OSError):
        os.write(READY_DESCRIPTOR, b"ready\n")
        os.close(READY_DESCRIPTOR)


if __name__ == "__main__":
    from twisted.internet import reactor as the_reactor

    main(the_reactor, Path(sys.argv[1]), sys.argv[2])
