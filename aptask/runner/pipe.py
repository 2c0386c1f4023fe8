"""The reading end of a pipe that a job's process writes to."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.fdesc import setNonBlocking
from twisted.python.failure import Failure

from aptask.runner.descriptor import Descriptor

CHUNK = 65536
"""Bytes read at once: what a pipe holds."""
MOST = 64 * CHUNK
"""Bytes that `drain` reads at most, if somebody writes all the while."""


class Pipe(Descriptor):
    """A pipe, of which this process keeps the reading end.

    Args:
        reactor: reads it.
        receive: called with the bytes that came.

    Attributes:
        writing_end: a descriptor to be given to a process; -1 once it is closed here.

    Raises:
        OSError: there are no more descriptors.
    """

    def __init__(self, reactor: Any, receive: Callable[[bytes], None]) -> None:
        super().__init__(reactor)
        self._descriptor, self.writing_end = os.pipe()
        setNonBlocking(self._descriptor)
        self._receive = receive
        self.connected = True
        self.startReading()

    def fileno(self) -> int:
        """The descriptor, or -1 once it is closed."""
        return self._descriptor

    def close_writing_end(self) -> None:
        """Close this process' own writing end, once a child has it."""
        if self.writing_end >= 0:
            os.close(self.writing_end)
            self.writing_end = -1

    def doRead(self) -> Failure | None:
        """Read once: called by the reactor."""
        try:
            data = os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return None
        if not data:
            return Failure(ConnectionDone())
        self._receive(data)
        return None

    def drain(self) -> None:
        """Read what is there now, and not more than `MOST` of it."""
        left = MOST
        while left > 0 and self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            left -= len(data)
            self._receive(data)

    def connectionLost(self, reason: Failure) -> None:
        """Nobody holds the writing end any more."""
        self.close()

    def close(self) -> None:
        """Close what is open of it."""
        if self._descriptor >= 0:
            self.stopReading()
            os.close(self._descriptor)
            self._descriptor = -1
        self.close_writing_end()
