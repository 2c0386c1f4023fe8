"""The executor on this machine: starts a runner, links with it, and copes with losing it.

Rules:

- One runner at a time. When it is lost, so are its jobs: the listener is told once all that it
  said has been heard, which is at once; what they left alive is ended by its mark; and a new runner
  is started. One that keeps dying is started again after a growing pause.
- Each event counts once, and a fault in taking one in stays with it.
"""

from __future__ import annotations

import os
import resource
import secrets
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import Factory, ProcessProtocol, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.interfaces import IExecutor, IListener
from aptask.model.orders import (
    LINK_VERSION,
    READY_DESCRIPTOR,
    RUNNER_SOCKET,
    Ended,
    Forget,
    Hello,
    Order,
    Progressed,
    Quit,
    Start,
    Started,
    Stop,
    Welcome,
    decode_event,
    encode,
)
from aptask.runner import family

LOG = "runner.log"
"""The name of the runner's log in the data folder."""
CLEAR_SECONDS = 0.02
"""How often it is seen whether what a runner left behind has ended."""
STEADY_SECONDS = 10.0
"""A runner that lived for so long was no failed start."""
LONGEST_PAUSE = 10.0
"""The most seconds between two tries to start a runner."""
KILL_SECONDS = 5.0
"""How long after SIGKILL a process is waited for: one that waits for a disk may not die."""
HEARTBEAT_SECONDS = 5.0
"""How often the runner is asked whether it is there."""
SILENCE_SECONDS = 20.0
"""How long it may not answer before it is taken to hang."""
START_SECONDS = 60.0
"""How long it may take until it serves: it waits for one before it, whose jobs have their grace."""
END_SECONDS = 3.0
"""How much longer than its jobs' grace a runner may take to end."""


class _Link(LineOnlyReceiver):
    """The daemon's end of the link."""

    delimiter = b"\n"
    MAX_LENGTH = 1 << 31
    _log = Logger()

    def __init__(self, executor: LocalExecutor) -> None:
        self._executor = executor
        self._applied = 0
        self._forgotten = 0

    def connectionMade(self) -> None:
        self.send(Hello(LINK_VERSION))

    def send(self, order: Order) -> None:
        self.transport.write(encode(order) + b"\n")  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        LineOnlyReceiver.dataReceived(self, data)
        if self._applied > self._forgotten:
            self._forgotten = self._applied
            self.send(Forget(self._applied))

    def lineReceived(self, line: bytes) -> None:
        try:
            event = decode_event(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._log.failure("an event that cannot be read: {line}", line=line[:200])
            return
        if isinstance(event, Welcome):
            self._executor.welcomed(self, event)
            return
        if not isinstance(event, Progressed):
            if event.number <= self._applied:
                return
            self._applied = event.number
        try:
            self._executor.happened(event)
        except Exception:
            self._log.failure("an event of job {job} could not be taken in", job=event.job)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._executor.unlinked(self)


class _LinkFactory(Factory):
    """Makes the link, without a word."""

    noisy = False

    def __init__(self, executor: LocalExecutor) -> None:
        self._executor = executor

    def buildProtocol(self, addr: object) -> _Link:
        return _Link(self._executor)


class _Process(ProcessProtocol):
    """The runner's process."""

    def __init__(self, executor: LocalExecutor) -> None:
        self._executor = executor

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._executor.serves(self)

    def processExited(self, reason: Failure) -> None:
        self._executor.exited(self, reason.getErrorMessage())


@implementer(IExecutor)
class LocalExecutor:
    """A runner on this machine.

    Args:
        reactor: spawns it and links with it.
        folder: the data folder.
        environment: the account's; what jobs get of it is the runner's choice.
        descriptors: how many the runner and each of its jobs may have open; None: as this process.
    """

    name = "local"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        environment: Mapping[str, str],
        descriptors: int | None = None,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._descriptors = descriptors
        self._environment = {k: v for k, v in environment.items() if k != "APTASK_KEY"}
        self._listener: IListener | None = None
        self._instance = ""
        self._process: _Process | None = None
        self._died: str | None = None
        """why its process has ended, while what it said last has not all been read"""
        self._link: _Link | None = None
        self._heard = 0.0
        self._born = 0.0
        self._pause = 0.0
        self._stopped: Deferred[None] | None = None
        self._later: list[Any] = []
        """calls that are due only as long as this is not stopped"""

    def start(self, listener: IListener) -> None:
        """Start a runner; see `IExecutor`."""
        self._listener = listener
        self._spawn()

    def order(self, order: Start | Stop) -> None:
        """Pass on an order; see `IExecutor`. Without a runner there is nothing that it is about."""
        if self._link is not None:
            self._link.send(order)

    def stop(self, grace: float) -> Deferred[None]:
        """End the jobs and the runner; see `IExecutor`. Asked again, the sooner end counts."""
        if self._stopped is None:
            self._stopped = Deferred()
            if self._process is None and self._died is None:
                self._cancel()
                self._clear_away()
        if self._link is not None and self._process is not None:
            self._link.send(Quit(grace))
            self._call_later(grace + END_SECONDS, self._kill, self._process)
        elif self._process is not None:
            self._kill(self._process)
        return self._stopped

    # What its parts report

    def serves(self, process: _Process) -> None:
        """The runner takes connections."""
        if process is self._process:
            endpoint = UNIXClientEndpoint(self._reactor, str(self._folder / RUNNER_SOCKET))
            endpoint.connect(_LinkFactory(self)).addErrback(self._cannot_link, process)

    def welcomed(self, link: _Link, welcome: Welcome) -> None:
        """The runner takes orders, or says once more that it is there."""
        if self._process is None:
            return
        self._heard = self._reactor.seconds()
        if link is self._link:
            return
        if self._stopped is not None or not self._is_ours(welcome):
            self._kill(self._process)
            return
        self._link = link
        self._call_later(HEARTBEAT_SECONDS, self._listen_for_heart, link)
        if self._listener is not None:
            self._listener.ready()

    def _is_ours(self, welcome: Welcome) -> bool:
        if (welcome.version, welcome.instance) == (LINK_VERSION, self._instance):
            return True
        self._log.error("another runner answers: {welcome}", welcome=welcome)
        return False

    def _listen_for_heart(self, link: _Link) -> None:
        """See that the runner still answers: one that hangs holds all jobs."""
        if link is not self._link:
            return
        if self._reactor.seconds() - self._heard > SILENCE_SECONDS:
            self._log.error("the runner has not answered for {s} s", s=SILENCE_SECONDS)
            if self._process is not None:
                self._kill(self._process)
            return
        link.send(Hello(LINK_VERSION))
        self._call_later(HEARTBEAT_SECONDS, self._listen_for_heart, link)

    def happened(self, event: Started | Progressed | Ended) -> None:
        """An event of an attempt."""
        if self._listener is not None:
            self._listener.happened(event)

    def unlinked(self, link: _Link) -> None:
        """The link broke: a runner that cannot be heard is of no use."""
        if link is self._link:
            self._link = None
            if self._listener is not None:
                self._listener.paused()
            if self._process is not None:
                self._kill(self._process)
            elif self._died is not None:
                self._lost()

    def exited(self, process: _Process, why: str) -> None:
        """The runner has ended."""
        self._process = None
        self._died = why
        # With a link, its end comes too: behind what the runner has said last.
        if self._link is None:
            self._lost()

    # Its own

    def _lost(self) -> None:
        if self._stopped is None:
            self._log.error("the runner has died: {why}", why=self._died)
        self._died = None
        if self._listener is not None:
            self._listener.lost("the runner, which held its process, died")
        self._cancel()
        self._clear_away()

    def _call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        self._later.append(self._reactor.callLater(seconds, call, *arguments))

    def _cancel(self) -> None:
        for call in self._later:
            if call.active():
                call.cancel()
        self._later.clear()

    def _spawn(self) -> None:
        self._later.clear()
        self._instance = secrets.token_hex(8)
        self._born = self._reactor.seconds()
        try:
            self._process = self._spawn_process()
            self._call_later(START_SECONDS, self._kill_unlinked, self._process)
        except OSError as error:
            self._log.error("the runner cannot be started: {error}", error=error)
            self._begin_again()

    def _spawn_process(self) -> _Process:
        process = _Process(self)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        log = os.open(self._folder / LOG, flags, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._reactor.spawnProcess(
                process,
                sys.executable,
                [
                    sys.executable,
                    "-P",  # the data folder, in which it works, holds no modules
                    "-m",
                    "aptask.runner.main",
                    str(self._folder),
                    self._instance,
                ],
                env={**self._environment, family.MARK: f"{self._instance}/runner/0"},
                childFDs={0: nothing, 1: log, 2: log, READY_DESCRIPTOR: "r"},
            )
        finally:
            os.close(log)
            os.close(nothing)
        self._limit_descriptors(process)
        return process

    def _limit_descriptors(self, process: _Process) -> None:
        """Take back what the daemon was allowed for its clients: jobs of `select` break."""
        pid = getattr(process.transport, "pid", None)
        if self._descriptors is not None and pid is not None:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            with suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (min(self._descriptors, hard), hard))

    def _cannot_link(self, failure: Failure, process: _Process) -> None:
        self._log.failure("no link with the runner", failure)
        self._kill(process)

    def _kill_unlinked(self, process: _Process) -> None:
        if self._link is None and process is self._process:
            self._log.error("the runner has not come within {s} s", s=START_SECONDS)
            self._kill(process)

    def _kill(self, process: _Process) -> None:
        if process is self._process:
            with suppress(ProcessExitedAlready):
                process.transport.signalProcess("KILL")  # type: ignore[union-attr]

    def _clear_away(self, until: float | None = None) -> None:
        """End what the runner left behind, then begin again, or have stopped."""
        instance, now = self._instance, self._reactor.seconds()
        left = family.kill(lambda: family.of_instance(instance)) if instance else []
        until = now + KILL_SECONDS if until is None else until
        if left and now < until:
            self._call_later(CLEAR_SECONDS, self._clear_away, until)
            return
        if left:
            self._log.error("processes that cannot be killed are left behind: {left}", left=left)
        if self._stopped is not None:
            self._stopped.callback(None)
        else:
            self._begin_again()

    def _begin_again(self) -> None:
        steady = self._reactor.seconds() - self._born > STEADY_SECONDS
        self._pause = 0.0 if steady else min(max(0.1, 2 * self._pause), LONGEST_PAUSE)
        self._call_later(self._pause, self._spawn)
