"""The runner's side of the nursery: its process, and its children by their numbers.

Rules:

- A child that has done its errand waits for the next of the same target, for `IDLE_SECONDS` at
  most; at most `IDLE_CHILDREN` wait at once, the longest idle going first.
- A nursery that has died takes its children with it; there is a new one at once, or, if it keeps
  dying, after a growing pause. Who needs a child meanwhile waits.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Mapping
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.model.description import Target
from aptask.runner import family
from aptask.runner.children import Child, Employer
from aptask.runner.descriptor import Descriptor
from aptask.runner.errands import Errand
from aptask.runner.sessions import Sessions

IDLE_CHILDREN = 8
IDLE_SECONDS = 60.0
STEADY_SECONDS = 10.0
"""A nursery that lived for so long was no failed start."""
RETRY_SECONDS = 0.1
"""How soon it is tried again to fork where the system did not let us."""
LONGEST_PAUSE = 5.0
"""The most seconds between two tries to start one."""


class Nursery(Descriptor):
    """Gives errands to children.

    Args:
        reactor: spawns and reads it.
        environment: of the nursery and so of its children, beside what each errand adds.
        home: the folder that jobs begin in.
        log: a descriptor for what the nursery itself has to say.
        sessions: make one for the nursery, and show by it whether they can.

    Attributes:
        pids: the processes of the nursery, and of those before it that are not reaped yet.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        environment: Mapping[str, str],
        home: str,
        log: int,
        sessions: Sessions,
    ) -> None:
        super().__init__(reactor)
        self._sessions = sessions
        self._system = reactor
        self.pids: set[int] = set()
        self._environment = dict(environment)
        self._home = home
        self._log_descriptor = log
        self._last = 0
        self._children: dict[bytes, Child] = {}
        self._unborn: deque[bytes] = deque()
        """numbers of the children that are still to be forked"""
        self._idle: dict[Target, list[Child]] = {}
        self._link: socket.socket | None = None
        self._born = 0.0
        self._pause = 0.0
        self._starting: Any = None
        self._retrying: Any = None
        self._start()

    def employ(self, errand: Errand, employer: Employer, *, fresh: bool) -> Child:
        """Have an errand done: by a child that waits, or a new one.

        Args:
            fresh: by a new one in any case.

        Raises:
            OSError: there are no more descriptors.
        """
        waiting = self._idle.get(errand.target)
        while waiting and not fresh:
            child = waiting.pop()
            if not waiting:
                del self._idle[errand.target]
            if child.send(errand, employer):
                return child
            child.close()
        child = Child(self.reactor, errand.target, self._kill)
        self._last += 1
        number = b"%d" % self._last
        self._children[number] = child
        child.send(errand, employer)
        self._unborn.append(number)
        self._fork()
        return child

    def withdraw(self, child: Child) -> bool:
        """Take back an errand.

        Returns:
            whether its child was not to be had yet; the employer hears nothing of it any more.
        """
        for number in self._unborn:
            if self._children[number] is child:
                self._unborn.remove(number)
                del self._children[number]
                child.close()
                return True
        return False

    def give_back(self, child: Child) -> None:
        """Keep a child that has done its errand for the next one of its target."""
        child.release(self._system.seconds())
        self._idle.setdefault(child.target, []).append(child)
        idle = [child for children in self._idle.values() for child in children]
        if len(idle) > IDLE_CHILDREN:
            self._retire(min(idle, key=lambda child: child.idle_since))

    def retire_idle(self) -> None:
        """Let go those that have waited for too long."""
        before = self._system.seconds() - IDLE_SECONDS
        for children in tuple(self._idle.values()):
            for child in tuple(children):
                if child.idle_since < before:
                    self._retire(child)

    def close(self) -> None:
        """Let the nursery kill its children and end."""
        for call in (self._starting, self._retrying):
            if call is not None and call.active():
                call.cancel()
        if self._link is not None:
            self._unlink()
        for child in self._children.values():
            child.close()

    # The link to its process

    def fileno(self) -> int:
        """The descriptor of the link, or -1 where there is none."""
        return -1 if self._link is None else self._link.fileno()

    def doRead(self) -> Failure | None:
        """News of children: called by the reactor."""
        while self._link is not None:
            try:
                packet = self._link.recv(4096)
            except BlockingIOError:
                return None
            except OSError:
                packet = b""
            if not packet:
                return Failure(ConnectionDone())
            what, number, rest = packet.split(b" ", 2)
            if what == b"forked":
                self._children[number].forked(int(rest))
            elif what == b"failed":
                self._end(number, None, f"no process could be made: {rest.decode()}")
            else:
                self._end(number, int(rest), None)
        return None

    def doWrite(self) -> None:
        """There is room again for what is to be forked: called by the reactor."""
        self.stopWriting()
        self._fork()

    def connectionLost(self, reason: Failure) -> None:
        """The nursery has gone: so have its children."""
        self._unlink()
        unborn = set(self._unborn)
        for number in [number for number in self._children if number not in unborn]:
            self._end(number, None, "the process that held it died")
        self._start_later()

    def _start_later(self) -> None:
        steady = self._system.seconds() - self._born > STEADY_SECONDS
        self._pause = 0.0 if steady else min(max(0.05, 2 * self._pause), LONGEST_PAUSE)
        self._log.error("the nursery has died; there is a new one in {pause} s", pause=self._pause)
        self._starting = self._system.callLater(self._pause, self._start)

    def _unlink(self) -> None:
        if self._link is not None:
            self.connected = False
            self.stopReading()
            self.stopWriting()
            self._link.close()
            self._link = None

    def _start(self) -> None:
        self._born = self._system.seconds()
        try:
            self._link = self._spawn()
        except OSError as error:
            self._log.error("the nursery cannot be started: {error}", error=error)
            self._start_later()
            return
        self.connected = True
        self.startReading()
        self._fork()

    def _spawn(self) -> socket.socket:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        near.setblocking(False)
        with far, open(os.devnull, "rb") as nothing, self._sessions.made():
            self._system.spawnProcess(
                _Process(self.pids),
                sys.executable,
                [sys.executable, "-P", "-m", "aptask.runner.nursery", "3", self._home],
                env=self._environment,
                childFDs={
                    0: nothing.fileno(),
                    1: self._log_descriptor,
                    2: self._log_descriptor,
                    3: far.fileno(),
                },
            )
        return near

    def _fork(self) -> None:
        """Ask for the children that are still to be forked, as far as there is room."""
        if self._retrying is not None and self._retrying.active():
            return
        while self._unborn and self._link is not None:
            child = self._children[self._unborn[0]]
            try:
                packet = b"fork " + self._unborn[0]
                socket.send_fds(self._link, [packet], child.descriptors())
            except BlockingIOError:
                self.startWriting()
                return
            except (BrokenPipeError, ConnectionResetError):
                return  # it has died: the next one has them forked
            except OSError as error:
                # More descriptors are under way than the system allows.
                self._log.error("a child has to wait: {error}", error=error)
                self._retrying = self._system.callLater(RETRY_SECONDS, self._fork)
                return
            self._unborn.popleft()
            child.handed_over()

    # The end of children

    def _retire(self, child: Child) -> None:
        self._forget_idle(child)
        child.close()

    def _forget_idle(self, child: Child) -> None:
        waiting = self._idle.get(child.target, [])
        if child in waiting:
            waiting.remove(child)
            if not waiting:
                del self._idle[child.target]

    def _end(self, number: bytes, status: int | None, why: str | None) -> None:
        child = self._children.pop(number, None)
        if child is not None:
            self._forget_idle(child)
            child.ended(status, why)

    def _kill(self, child: Child) -> None:
        if child in self._children.values() and child.pid:
            family.kill(lambda: [child.pid])


class _Process(ProcessProtocol):
    """The nursery's own process."""

    def __init__(self, pids: set[int]) -> None:
        self._pids = pids
        self._pid = 0

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._pid = transport.pid
        self._pids.add(self._pid)

    def processExited(self, reason: Failure) -> None:
        self._pids.discard(self._pid)
