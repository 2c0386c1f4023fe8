"""What the serving room writes into the event log: what was refused, and what admins asked for.

Rules:

- A refusal is written with who asked and why; an admin's request with its parameters. What a client
  made up stands escaped, and no key is in it.
- Nobody fills the log: the same again within `WINDOW_SECONDS` is counted and written once, at the
  end of that time, and of different refusals no more than `MOST_A_HOST` of one host and
  `MOST_A_WINDOW` in all are written.
- Nobody hides in it what others do: what admins ask for and what is at fault here is written
  whatever clients are refused, and one host's refusals take no room of another's.
- Events that belong to a change of the book are written with it; these are not, and are lost where
  the disk is full: they must not pile up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from aptask.errors import AptaskError
from aptask.model.event import Author, Event, Level, visible
from aptask.model.messages import Request
from aptask.serving.sockets import host_of

WINDOW_SECONDS = 10.0
MOST_A_HOST = 20
MOST_A_WINDOW = 200
"""How many different refusals are written within a window, of one host and of all."""
HOSTS_NAMED = 5
"""How many of the hosts are named whose refusals were too many."""

_LEFT_OUT = ("key", "id")

Write = Callable[[Sequence[Event]], Deferred[None]]


class Recorder:
    """Writes events, and counts those that are as those before.

    Args:
        write: `IStore.log`.
        clock: calls later.
    """

    _log = Logger()

    def __init__(self, write: Write, clock: IReactorTime) -> None:
        self._write = write
        self._clock = clock
        self._again: dict[tuple[Level, str, str, str], int] = {}
        """how often each came again in this window, by level, message, user and host"""
        self._last: dict[tuple[Level, str, str, str], Event] = {}
        self._refusals: Counter[str] = Counter()
        """how many different ones of each host"""
        self._more: Counter[str] = Counter()
        """refusals of this window that were not told apart any more, by host"""
        self._window: IDelayedCall | None = None
        self._is_closed = False

    def refused(self, request: str | None, error: AptaskError, author: Author) -> None:
        """A request was refused.

        Args:
            request: its name, or None where that could not be read.
            error: why.
            author: who asked.
        """
        name = "a request" if request is None else f"`{visible(request, 100)}`"
        message = f"{name} was refused: {error.code}: {visible(error.message)}"
        level = Level.ERROR if error.code == "internal" else Level.CLIENT
        self.record(Event(level, message, author))

    def asked(self, request: Request, author: Author) -> None:
        """An admin's request is carried out that writes nothing into the log by itself."""
        self.record(event_of(request, author))

    def record(self, event: Event) -> None:
        """Write an event, unless it came before in this window."""
        host = host_of(event.author.peer)
        which = event.level, event.message, event.author.user, host
        if self._window is None and not self._is_closed:
            self._window = self._clock.callLater(WINDOW_SECONDS, self._end)
        if which in self._again:
            self._again[which] += 1
            self._last[which] = event
        elif event.level is not Level.CLIENT or self._has_room(host):
            self._again[which] = 0
            self._put([event])
        else:
            self._more[host if host in self._refusals else ""] += 1

    def _has_room(self, host: str) -> bool:
        """Count one more refusal of a host; whether it is to be written."""
        if self._refusals[host] >= MOST_A_HOST or self._refusals.total() >= MOST_A_WINDOW:
            return False
        self._refusals[host] += 1
        return True

    def close(self) -> None:
        """Write what was counted; what comes later is written as it comes."""
        self._is_closed = True
        if self._window is not None:
            self._window.cancel()
            self._end()

    def _end(self) -> None:
        self._window = None
        events = [
            msgspec.structs.replace(
                event, message=f"{event.message} ({self._again[which]} times more)"
            )
            for which, event in self._last.items()
        ]
        if self._more:
            hosts = [host or "others" for host, _ in self._more.most_common(HOSTS_NAMED)]
            message = f"{self._more.total()} more refusals, of other kinds, by {', '.join(hosts)}"
            events.append(Event(Level.CLIENT, message))
        self._again.clear()
        self._last.clear()
        self._refusals.clear()
        self._more.clear()
        if events:
            self._put(events)

    def _put(self, events: Sequence[Event]) -> None:
        self._write(events).addErrback(self._not_written)

    def _not_written(self, failure: Failure) -> None:
        if not failure.check(AptaskError):
            self._log.failure("the event log could not be written", failure)


def event_of(request: Request, author: Author) -> Event:
    """The event of an admin's request, with its parameters as they were given."""
    name = str(request.__struct_config__.tag)
    given = {
        field: value
        for field, value in msgspec.to_builtins(request).items()
        if field not in ("request", *_LEFT_OUT)
    }
    parameters = f" {msgspec.json.encode(given).decode()}" if given else ""
    return Event(Level.REQUEST, visible(name + parameters), author)
