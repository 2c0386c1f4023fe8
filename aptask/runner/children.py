"""The runner's side of the nursery: children at work, and those that wait for more.

A child serves one target. One that has done its errand waits for the next of the same target, for
`IDLE_SECONDS` at most; at most `IDLE_CHILDREN` wait at once, the longest idle going first.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.model.description import Target
from aptask.runner.errands import Answer, Errand, decode_answer, encode
from aptask.runner.process import Pipe

IDLE_CHILDREN = 8
IDLE_SECONDS = 60.0


class Employer(Protocol):
    """Whoever has a child do an errand: an attempt of a job."""

    def wrote(self, data: bytes) -> None:
        """Its output."""

    def reported(self, data: bytes) -> None:
        """Its reports."""

    def answered(self, answer: Answer) -> None:
        """The errand is done."""

    def died(self, status: int | None, why: str | None) -> None:
        """The child ended before it answered: by a status of waitpid(2), or, with None, `why`."""


class Child(FileDescriptor):
    """A child, and the control socket to it."""

    def __init__(self, nursery: Nursery, target: Target) -> None:
        super().__init__(nursery.reactor)
        self.target = target
        self.pid = 0
        self.employer: Employer | None = None
        self.idle_since = 0.0
        self._nursery = nursery
        self._buffer = b""
        self._output = Pipe(nursery.reactor, self._wrote)
        self._reports = Pipe(nursery.reactor, self._reported)
        self._control, self._far = socket.socketpair()
        self._control.setblocking(False)
        self._descriptor = self._control.fileno()
        self.connected = True
        self.startReading()

    def descriptors(self) -> list[int]:
        """What the process gets: control socket, output, reports."""
        return [self._far.fileno(), self._output.writing_end, self._reports.writing_end]

    def handed_over(self) -> None:
        """The process has its descriptors: close them here."""
        self._far.close()
        self._output.close_writing_end()
        self._reports.close_writing_end()

    def send(self, errand: Errand, employer: Employer) -> None:
        """Have an errand done."""
        self.employer = employer
        self.write(encode(errand) + b"\n")

    def retire(self) -> None:
        """Let the process end; it has nothing to do."""
        self.employer = None
        self.close()

    def close(self) -> None:
        """Close what is open of it: a process that still runs meets the end of its errands."""
        if self._descriptor >= 0:
            self.stopReading()
            self.stopWriting()
            self._descriptor = -1
            self._control.close()
            self._far.close()
            self._output.close()
            self._reports.close()

    def drain(self) -> None:
        """Pass on what the process has written by now."""
        self._output.drain()
        self._reports.drain()

    def fileno(self) -> int:
        """The control socket's descriptor, or -1 once it is closed."""
        return self._descriptor

    def doRead(self) -> Failure | None:
        """An answer, or a part of one: called by the reactor."""
        try:
            data = self._control.recv(1 << 18)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return Failure(ConnectionDone())
        self._buffer += data
        if self._buffer.endswith(b"\n"):
            line, self._buffer = self._buffer, b""
            self._answered(decode_answer(line))
        return None

    def writeSomeData(self, data: bytes) -> int | Exception:
        """Send a part of an errand: called by the reactor."""
        try:
            return self._control.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            return ConnectionDone()

    def connectionLost(self, reason: Failure) -> None:
        """The process closed its end, or has ended: the nursery will tell how."""
        self.stopReading()
        self.stopWriting()

    def _answered(self, answer: Answer) -> None:
        self.drain()
        employer, self.employer = self.employer, None
        if employer is not None:
            employer.answered(answer)

    def _wrote(self, data: bytes) -> None:
        if self.employer is not None:
            self.employer.wrote(data)

    def _reported(self, data: bytes) -> None:
        if self.employer is not None:
            self.employer.reported(data)


class Nursery(FileDescriptor):
    """The nursery's process, and its children by their numbers.

    Args:
        reactor: spawns and reads it.
        environment: of the nursery and so of its children, beside what each errand adds.
        home: the folder that jobs begin in.
        log: a descriptor for what the nursery itself has to say.
        lost: called when the nursery has gone, with its children.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        environment: Mapping[str, str],
        home: str,
        log: int,
        lost: Callable[[], None],
    ) -> None:
        super().__init__(reactor)
        self._lost = lost
        self._next = 0
        self._children: dict[bytes, Child] = {}
        self._idle: dict[Target, list[Child]] = {}
        self._link, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.setblocking(False)
        with far, open(os.devnull, "rb") as nothing:
            self.process = reactor.spawnProcess(
                ProcessProtocol(),
                sys.executable,
                [sys.executable, "-P", "-m", "aptask.runner.nursery", "3", home],
                env=dict(environment),
                childFDs={0: nothing.fileno(), 1: log, 2: log, 3: far.fileno()},
            )
        self.pid: int = self.process.pid
        self.connected = True
        self.startReading()

    def take(self, target: Target, *, fresh: bool) -> Child:
        """A child for a target: one that waits, or a new one where none does or `fresh` is set."""
        waiting = self._idle.get(target)
        if waiting and not fresh:
            child = waiting.pop()
            if not waiting:
                del self._idle[target]
            return child
        self._next += 1
        number = b"%d" % self._next
        child = self._children[number] = Child(self, target)
        try:
            socket.send_fds(self._link, [b"fork " + number], child.descriptors())
        except OSError as error:
            why = f"no process could be made: {error.strerror}"
            self.reactor.callLater(0, self._end, number, None, why)
        child.handed_over()
        return child

    def give_back(self, child: Child) -> None:
        """Keep a child that has done its errand for the next one of its target."""
        child.idle_since = self.reactor.seconds()
        self._idle.setdefault(child.target, []).append(child)
        idle = [child for children in self._idle.values() for child in children]
        if len(idle) > IDLE_CHILDREN:
            self._retire(min(idle, key=lambda child: child.idle_since))

    def retire_idle(self) -> None:
        """Let go those that have waited for too long."""
        before = self.reactor.seconds() - IDLE_SECONDS
        for children in tuple(self._idle.values()):
            for child in tuple(children):
                if child.idle_since < before:
                    self._retire(child)

    def _retire(self, child: Child) -> None:
        waiting = self._idle.get(child.target, [])
        if child in waiting:
            waiting.remove(child)
            if not waiting:
                del self._idle[child.target]
        child.retire()

    def close(self) -> None:
        """Let the nursery kill its children and end."""
        if self.connected:
            self.connected = False
            self.stopReading()
            self._link.close()
            for child in self._children.values():
                child.close()

    def fileno(self) -> int:
        """The descriptor of the link, or -1 once it is closed."""
        return self._link.fileno()

    def doRead(self) -> Failure | None:
        """News of children: called by the reactor."""
        while True:
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
                self._children[number].pid = int(rest)
            elif what == b"failed":
                self._end(number, None, f"no process could be made: {rest.decode()}")
            else:
                self._end(number, int(rest), None)

    def connectionLost(self, reason: Failure) -> None:
        """The nursery has gone: so have its children."""
        self.stopReading()
        self._link.close()
        self.connected = False
        for number in tuple(self._children):
            self._end(number, None, "the process that held it died")
        self._lost()

    def _end(self, number: bytes, status: int | None, why: str | None) -> None:
        child = self._children.pop(number, None)
        if child is None:
            return
        if child.employer is not None:
            child.doRead()  # its answer may be on the way still
        child.drain()
        employer, child.employer = child.employer, None
        waiting = self._idle.get(child.target, [])
        if child in waiting:
            waiting.remove(child)
            if not waiting:
                del self._idle[child.target]
        child.close()
        if employer is not None:
            employer.died(status, why)
