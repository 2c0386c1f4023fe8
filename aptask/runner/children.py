"""The runner's end of one child of the nursery: its control socket and its pipes.

A child serves one target. It is somebody's from the errand that it is given until it is given back
or closed, so that what others of a job's family write after its answer is still the job's.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.error import ConnectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.model.description import Target
from aptask.runner.descriptor import Descriptor
from aptask.runner.errands import Answer, Errand, decode_answer, encode
from aptask.runner.pipe import Pipe

CHUNK = 1 << 18


class Employer(Protocol):
    """Whoever has a child do an errand: an attempt of a job."""

    def wrote(self, data: bytes) -> None:
        """Its output."""

    def reported(self, data: bytes) -> None:
        """Its reports."""

    def began(self, pid: int) -> None:
        """There is a process that does the errand."""

    def answered(self, answer: Answer) -> None:
        """The errand is done."""

    def died(self, status: int | None, why: str | None) -> None:
        """The child ended before it answered: by a status of waitpid(2), or, with None, `why`."""


class Child(Descriptor):
    """A child, from before it is forked until after it has ended.

    Args:
        reactor: reads it.
        target: what it serves.
        broke: called when it cannot be understood, and should be killed.

    Attributes:
        pid: its process; 0 until it is forked.
        employer: whose it is.
        is_busy: whether an answer of it is due.
        idle_since: seconds on the reactor's clock.

    Raises:
        OSError: there are no more descriptors.
    """

    _log = Logger()

    def __init__(self, reactor: Any, target: Target, broke: Callable[[Child], object]) -> None:
        super().__init__(reactor)
        self.target = target
        self.pid = 0
        self.employer: Employer | None = None
        self.is_busy = False
        self.idle_since = 0.0
        self._broke = broke
        self._buffer = b""
        self._pipes: list[Pipe] = []
        self._control, self._far = socket.socketpair()
        self._control.setblocking(False)
        self._descriptor = self._control.fileno()
        try:
            for receive in (self._wrote, self._reported):
                self._pipes.append(Pipe(reactor, receive))
        except OSError:
            self.close()
            raise
        self.connected = True
        self.startReading()

    def descriptors(self) -> list[int]:
        """What the process gets: control socket, output, reports."""
        return [self._far.fileno(), *(pipe.writing_end for pipe in self._pipes)]

    def handed_over(self) -> None:
        """The process has its descriptors: close them here."""
        self._far.close()
        for pipe in self._pipes:
            pipe.close_writing_end()

    def forked(self, pid: int) -> None:
        """There is a process."""
        self.pid = pid
        if self.employer is not None:
            self.employer.began(pid)

    def send(self, errand: Errand, employer: Employer) -> bool:
        """Have an errand done.

        Returns:
            whether it may be: where False, the process has gone, and nothing of it was begun.
        """
        line = encode(errand) + b"\n"
        try:
            sent = self._control.send(line)
        except BlockingIOError:
            sent = 0
        except OSError:
            return False
        if sent < len(line):
            self.write(line[sent:])
        self.employer = employer
        self.is_busy = True
        if self.pid:
            employer.began(self.pid)
        return True

    def release(self, now: float) -> None:
        """It is nobody's any more, but may be somebody's again."""
        self.employer = None
        self.idle_since = now

    def close(self) -> None:
        """Close what is open of it: a process that still runs meets the end of its errands."""
        self.employer = None
        self.is_busy = False
        if self._descriptor >= 0:
            self.stopReading()
            self.stopWriting()
            self._descriptor = -1
            self._control.close()
            self._far.close()
            for pipe in self._pipes:
                pipe.close()

    def drain(self) -> None:
        """Pass on what the process has written by now."""
        for pipe in self._pipes:
            pipe.drain()

    def fileno(self) -> int:
        """The control socket's descriptor, or -1 once it is closed."""
        return self._descriptor

    def doRead(self) -> Failure | None:
        """An answer, or a part of one: called by the reactor."""
        try:
            data = self._control.recv(CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return Failure(ConnectionDone())
        self._buffer += data
        if self._buffer.endswith(b"\n"):
            line, self._buffer = self._buffer, b""
            self._take(line)
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

    def ended(self, status: int | None, why: str | None) -> None:
        """The process has ended: see `Employer.died`."""
        if self.is_busy and self._descriptor >= 0:
            self.doRead()  # its answer may be on the way still
        self.drain()
        employer = self.employer
        if employer is None:
            self.close()
        elif self.is_busy:
            self.is_busy = False
            employer.died(status, why)

    def _take(self, line: bytes) -> None:
        try:
            answer = decode_answer(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            # Not the line itself: it may hold secrets.
            self._log.error(
                "process {pid} gave no answer, but {size} bytes", pid=self.pid, size=len(line)
            )
            self._broke(self)
            return
        self.drain()
        if self.employer is not None and self.is_busy:
            self.is_busy = False
            self.employer.answered(answer)

    def _wrote(self, data: bytes) -> None:
        if self.employer is not None:
            self.employer.wrote(data)

    def _reported(self, data: bytes) -> None:
        if self.employer is not None:
            self.employer.reported(data)
