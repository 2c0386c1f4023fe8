"""The process of a runner: one that this daemon has started, or one that it has found.

Both are killed by `kill`, and tell of their end once, by `exited`.
"""

# mypy: disallow-untyped-calls=False
# (The reactor's methods have no types.)

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.model.orders import READY_DESCRIPTOR
from aptask.runner import family, lock

LOG = "runner.log"
"""The name of the runner's log in the data folder."""
LOG_BYTES = 1 << 20
"""How long it may be when a runner starts: a longer one is put aside, in the place of the last."""
COMMAND = (sys.executable, "-P", "-m", "aptask.runner.main")
"""Starts a runner. The data folder, in which it works, holds no modules (`-P`)."""

Exited = Callable[[Any, str], object]
"""Called with the process and why it has ended."""


class Spawned(ProcessProtocol):
    """A child of this process.

    Args:
        serves: called when it says that it takes connections.
        exited: called when it has ended.
    """

    def __init__(self, serves: Callable[[Spawned], object], exited: Exited) -> None:
        self._serves = serves
        self._exited = exited

    @property
    def pid(self) -> int:
        """Its process id; 0 once it has ended."""
        return getattr(self.transport, "pid", None) or 0

    def kill(self) -> None:
        """SIGKILL."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It serves."""
        self._serves(self)

    def processExited(self, reason: Failure) -> None:
        """It has ended."""
        self._exited(self, reason.getErrorMessage())


@implementer(IReadDescriptor)
class Found:
    """A process that an earlier daemon has started.

    It is held by a descriptor, so that it is never mistaken for another of the same number; see
    pidfd_open(2). The descriptor can be read when the process has ended.

    Args:
        reactor: watches it.
        pid: its number.
        exited: called when it has ended.

    Raises:
        OSError: there is none.
    """

    def __init__(self, reactor: Any, pid: int, exited: Exited) -> None:
        self.pid = pid
        self._reactor = reactor
        self._exited: Exited | None = exited
        self._descriptor = os.pidfd_open(pid)
        reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """What the log calls it."""
        return "runner"

    def kill(self) -> None:
        """SIGKILL."""
        if self._descriptor >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def doRead(self) -> None:
        """It has ended: called by the reactor."""
        self.let_go()
        exited, self._exited = self._exited, None
        if exited is not None:
            exited(self, "the process has ended")

    def let_go(self) -> None:
        """Watch it no more."""
        if self._descriptor >= 0:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1

    def connectionLost(self, reason: Failure) -> None:
        """The reactor stops, or cannot watch it."""
        self.let_go()


def spawn(
    reactor: Any,
    process: Spawned,
    command: Sequence[str],
    folder: Path,
    instance: str,
    environment: Mapping[str, str],
    descriptors: int | None,
) -> None:
    """Start a runner.

    Args:
        reactor: spawns it.
        process: is told of it.
        command: its program; the data folder and the instance are added.
        folder: the data folder.
        instance: its id.
        environment: its own.
        descriptors: how many it may have open; None: as many as this process.

    Raises:
        OSError: it cannot be started.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    _put_aside(folder / LOG)
    log = os.open(folder / LOG, flags, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    try:
        reactor.spawnProcess(
            process,
            command[0],
            [*command, str(folder), instance],
            env={**environment, family.MARK: _mark(instance)},
            childFDs={0: nothing, 1: log, 2: log, READY_DESCRIPTOR: "r"},
        )
    finally:
        os.close(log)
        os.close(nothing)
    # Take back what the daemon was allowed for its clients: jobs of `select` break.
    if descriptors is not None:
        allow_descriptors(process.pid, descriptors)


def allow_descriptors(pid: int, wanted: int) -> None:
    """Let a runner, and the jobs that it starts from now on, have so many descriptors.

    Args:
        pid: its process; 0 or one that has ended is passed over.
        wanted: where the system allows it.
    """
    if pid:
        with suppress(ProcessLookupError, PermissionError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (_lower(wanted, hard), hard))


def kill_holder(folder: Path) -> None:
    """Kill the runner that holds a data folder, whatever it does."""
    pid = lock.holder(folder)
    # Its number may be another's by now.
    if pid and (family.mark_of(pid) or "").endswith(_mark("")):
        family.send([pid], signal.SIGKILL)


def _lower(wanted: int, hard: int) -> int:
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)


def _put_aside(log: Path) -> None:
    with suppress(OSError):
        if log.stat().st_size > LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))


def _mark(instance: str) -> str:
    """What a runner carries in its own environment."""
    return f"{instance}/runner/0"
