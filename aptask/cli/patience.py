"""A client that goes on with the next daemon where the one that it talks with has gone.

Jobs outlive their daemon, so who stays with them does not give up with it. Rules:

- Only a daemon that was there is waited for: where nobody answers from the beginning, that is said
  at once.
- It is waited for `PATIENCE_SECONDS`, counted from when it was missed. That, and that it is back,
  is said; if it does not come back, what went wrong last is the failure.
- What is asked again cannot be done twice: a `start` carries a `once` of its own, and the other
  requests of `REPEATABLE` only look. Output that is followed is asked for from where it broke off.
- Of tasks that are watched none is missed: what ended while no daemon was there is looked up.
- Many threads may stay with one daemon at once: what is said of it is said once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing

import msgspec

from aptask.client.answers import decode, is_error
from aptask.client.blocking import Client
from aptask.client.connection import ConnectionFailed
from aptask.errors import AptaskError, Unavailable, UnknownTaskid
from aptask.model.messages import (
    Index,
    Log,
    LogResponse,
    Output,
    OutputResponse,
    Request,
    Response,
    Show,
    Start,
    Task,
    Wait,
    Watch,
)

PATIENCE_SECONDS = 30.0
"""How long a daemon is waited for that was there."""
PAUSE_SECONDS = 0.2
"""Between two tries."""

LOOKING = (Index, Show, Wait, Watch, Output, Log)
"""Requests that change nothing: where they are answered with `unavailable`, the daemon is going."""
REPEATABLE = (*LOOKING, Start)


class PatientClient(Client):
    """A client that makes a request again until a daemon answers.

    Args:
        server, key_file: as for `Client`.
        say: is told, for people, that the daemon is missed, and that it is back.
        stays: whether it is patient at all.
    """

    def __init__(
        self,
        server: str | None,
        key_file: str | os.PathLike[str] | None,
        say: Callable[[str], object],
        stays: bool = True,
    ) -> None:
        super().__init__(server, key_file=key_file)
        self._say = say
        self._stays = stays
        self._was_there = False
        self._is_missed = False
        self._returns = 0
        """how often a daemon came back"""
        self._lock = threading.Lock()

    def exchange(self, request: Request) -> bytes:
        """Make any request, by as many daemons as it takes; see `Client`.

        Raises:
            ConnectionFailed: none came, or came back.
        """
        if not self._stays or not isinstance(request, REPEATABLE):
            return super().exchange(request)
        if isinstance(request, Start) and request.once is None:
            request = msgspec.structs.replace(request, once=f"aptask-{os.urandom(16).hex()}")
        exchange = super().exchange
        return next(self._insist(request, lambda request: iter([exchange(request)])))

    def stream(self, request: Request) -> Generator[bytes]:
        """Make a request that has many responses, by as many daemons as it takes; see `Client`.

        The next one is asked to go on behind what has come.

        Raises:
            ConnectionFailed: none came, or came back.
        """
        if not self._stays or not isinstance(request, LOOKING):
            return super().stream(request)
        return self._insist(request, super().stream)

    def _watch(self, request: Watch) -> Generator[Task | None]:
        """What `watch` tells, and those tasks that ended while nobody told of it."""
        known: set[str] = set()
        over: set[str] = set()
        returns = self._returns
        with closing(super()._watch(request)) as tasks:
            for task in tasks:
                if request.taskid is None and self._returns != returns:
                    returns = self._returns
                    for gone in self._ended(known):
                        over.add(gone.taskid)
                        yield gone
                if task is not None:
                    if task.taskid in over:
                        continue  # it was said before it was looked up, and comes only now
                    change = known.discard if task.state == "ended" else known.add
                    change(task.taskid)
                yield task

    def _ended(self, known: set[str]) -> Iterator[Task]:
        """Those tasks that have ended; they are taken out of the set."""
        for taskid in sorted(known, key=int):
            try:
                task = self.show(taskid)
            except UnknownTaskid:
                known.discard(taskid)
                continue
            if task.state == "ended":
                known.discard(taskid)
                yield task

    def _insist(
        self, request: Request, ask: Callable[[Request], Iterator[bytes]]
    ) -> Generator[bytes]:
        """The responses to a request, asked for again where they break off."""
        missed: float | None = None
        while True:
            line, failure, reason = b"", None, "the daemon is gone"
            try:
                for line in ask(request):
                    gone = _why_gone(request, line)
                    if gone is not None:
                        reason = gone
                        break
                    if missed is not None:
                        self._came_back()
                        missed = None
                    self._was_there = True
                    yield line
                    request = _behind(request, line)
                else:
                    return
            except ConnectionFailed as broken:
                failure = broken
            now = time.monotonic()
            if missed is None:
                missed = now
                if failure is not None and not self._is_worth_waiting(failure):
                    raise failure
                self._went(reason)
            elif now - missed > PATIENCE_SECONDS:
                if failure is not None:
                    raise failure
                yield line
                return
            time.sleep(PAUSE_SECONDS)

    def _went(self, reason: str) -> None:
        with self._lock:
            if not self._is_missed and not self._closed:  # else nobody waits any more
                self._is_missed = True
                self._say(f"{reason}; waiting for it to come back ...")

    def _came_back(self) -> None:
        with self._lock:
            self._returns += 1
            if self._is_missed:
                self._is_missed = False
                self._say("the daemon is back")

    def _is_worth_waiting(self, failure: ConnectionFailed) -> bool:
        """Whether a daemon was there. One that is there, and silent, was waited for already."""
        return (self._was_there or failure.received) and not failure.timed_out


def _behind(request: Request, line: bytes) -> Request:
    """What asks for the rest, where a response to it has come."""
    if isinstance(request, Output) and request.follow and not is_error(line):
        return msgspec.structs.replace(request, offset=decode(line, OutputResponse).offset)
    if isinstance(request, Log) and request.follow and not is_error(line):
        entries = decode(line, LogResponse).log
        if entries:
            return msgspec.structs.replace(request, after=entries[-1].number)
    return request


def _why_gone(request: Request, line: bytes) -> str | None:
    """What an answer says that comes from a daemon that is about to go; None where it does not."""
    if isinstance(request, LOOKING) and is_error(line):
        try:
            decode(line, Response)
        except Unavailable as going:
            return going.message
        except AptaskError:
            pass
    return None
