"""What is told of a job, or of an owner's jobs, to all who watch them: kept once, however many.

A change of a job is a line of JSON that is made once. A feed keeps the newest change of each job;
each watcher has its place in it, and is given what stands behind that. Rules:

- The changes of a feed stand in their order, and a job's newest takes the place of the one before.
  So a watcher that does not read costs its place: what it has missed is there once, for all.
- What has changed is given with the next `tell`, to all watchers: those who are at the same place
  are given the same piece, which is made once.
- A job that has ended is forgotten when everybody has been told. Of the others those are kept that
  a newcomer is told of first. Of more than `KEPT_BYTES` the oldest are forgotten: a watcher that
  had not been told of them is lost, and knows since when.

No clock and no reactor here: `watching` says when a feed is told.
"""

from __future__ import annotations

from collections.abc import Collection
from math import inf

from twisted.internet.defer import Deferred

from aptask.model.job import State
from aptask.serving.streams import Lines

PIECE_BYTES = 16_384
"""How much of what is to be told is given at once."""
LISTED = 1000
"""How many jobs that have not ended a newcomer is told of."""
SHARED_PIECES = 32
"""How many pieces are kept for those who come to the same place a little later."""
KEPT_BYTES = 16 << 20
"""How much a feed keeps for watchers that do not read."""

Aside = tuple[int, float | None, float | None]
"""What changes of a job by itself: its position, `eta` and `starts_in`."""


class Change:
    """A job as it is told since it has changed.

    Args:
        seq: the number of the change; rising.
        number: the job's.
        state: the job's.
        ended: when it ended, in seconds since the epoch; None: it has not.
        aside: what of it changes by itself.
        body: the response that tells it to users, as JSON without the closing brace.
        owner: the name of its owner, as JSON: what admins are told besides.
    """

    __slots__ = ("_body", "_owner", "aside", "ended", "number", "seq", "state")

    def __init__(
        self,
        seq: int,
        number: int,
        state: State,
        ended: float | None,
        aside: Aside,
        body: bytes,
        owner: bytes,
    ) -> None:
        self.seq = seq
        self.number = number
        self.state = state
        self.ended = ended
        self.aside = aside
        self._body = body
        self._owner = owner

    def __len__(self) -> int:
        """How many bytes it takes."""
        return len(self._body)

    def body(self, for_admin: bool) -> bytes:
        """The response that tells it, as JSON without the closing brace."""
        # The task closes the object: what stands before its brace is still the task's.
        return b'%b,"owner":%b}' % (self._body[:-1], self._owner) if for_admin else self._body


class Watcher:
    """Where one client is in a feed.

    Attributes:
        for_admin: whether it is told what admins are told.
        cursor: the number of the last change that it was given.
        joined: up to which change it is a newcomer, and is given the jobs that have not ended.
        heard: up to which change it is given no ends.
        left: how many jobs it may be given as a newcomer.
        since: None; or it has lost ends since then, in seconds since the epoch.
        is_over: whether it was given an end.
        quiet: since when it was given nothing, in seconds.
    """

    __slots__ = ("cursor", "for_admin", "heard", "is_over", "joined", "left", "quiet", "since")

    def __init__(self, for_admin: bool, cursor: int, now: float) -> None:
        self.for_admin = for_admin
        self.cursor = self.joined = self.heard = cursor
        self.left = 0
        self.since: float | None = None
        self.is_over = False
        self.quiet = now

    def begin(self, heard: int, newest: int) -> None:
        """Be a newcomer: be given, first, what there is up to a change.

        Args:
            heard: the change up to which no ends are given.
            newest: the change up to which there is something.
        """
        self.cursor, self.heard, self.joined, self.left = 0, heard, newest, LISTED


class Feed:
    """The changes of one job, or of one owner's, or of all.

    Attributes:
        key: what it is of.
        watchers: who watches.
        waiting: those of them who have been given everything that is told.
        newest: the number of the newest change.
        looks: how many looks at the jobs are under way, whose result may be older than an end.
    """

    def __init__(self, key: int | str, newest: int) -> None:
        self.key = key
        self.watchers: set[Watcher] = set()
        self.waiting: dict[Deferred[None], Watcher] = {}
        self.newest = newest
        self.looks = 0
        self._told = newest
        self._living: dict[int, Change] = {}
        self._ended: dict[int, Change] = {}
        self._bytes = 0
        self._pieces: dict[tuple[int, bool], tuple[Lines, int, bool]] = {}

    def get(self, number: int) -> Change | None:
        """The newest change of a job, if it is kept."""
        return self._living.get(number) or self._ended.get(number)

    def put(self, change: Change) -> None:
        """A job has changed."""
        self._remove(self._living, change.number)
        self._remove(self._ended, change.number)
        table = self._living if change.ended is None else self._ended
        table[change.number] = change
        self._bytes += len(change)
        self.newest = change.seq

    def tell(self) -> int:
        """Have watchers be given what has changed.

        Returns:
            how many bytes that is for each of them.
        """
        size = 0
        for table in (self._living, self._ended):
            for change in reversed(table.values()):
                if change.seq <= self._told:
                    break
                size += len(change)
        self._told = self.newest
        self._pieces.clear()
        if not self.looks:
            known = self._known_to_all()
            while (oldest := _first(self._ended)) is not None and oldest.seq <= known:
                self._remove(self._ended, oldest.number)
        if self._bytes > KEPT_BYTES:
            self._lose()
        return size

    def forget_all_but(self, numbers: Collection[int]) -> None:
        """Forget the jobs that a newcomer is not told of, once everybody has been told."""
        known = self._known_to_all()
        others = [
            change.number
            for change in self._living.values()
            if change.seq <= known and change.number not in numbers
        ]
        for number in others:
            self._remove(self._living, number)

    def take(self, watcher: Watcher) -> Lines | None:
        """What a watcher is given next; None where there is nothing that is told."""
        while watcher.cursor < watcher.joined:
            lines, watcher.cursor, _ = self._piece(watcher, watcher.joined)
            if len(lines) >= watcher.left:
                watcher.cursor = watcher.joined
            watcher.left -= len(lines)
            if lines:
                return lines
        while watcher.cursor < self._told:
            place = watcher.cursor, watcher.for_admin
            piece = self._pieces.get(place)
            if piece is None:
                piece = self._piece(watcher, self._told)
                if len(self._pieces) < SHARED_PIECES:
                    self._pieces[place] = piece
            lines, watcher.cursor, has_end = piece
            watcher.is_over |= has_end
            if lines:
                return lines
        return None

    def _piece(self, watcher: Watcher, last: int) -> tuple[Lines, int, bool]:
        """What stands behind a watcher's place.

        Args:
            watcher: whose.
            last: the change up to which it is given.

        Returns:
            lines, the place behind them, and whether there is an end among them.
        """
        found: list[Change] = []
        heard = max(watcher.cursor, watcher.heard)
        for table, begin in ((self._living, watcher.cursor), (self._ended, heard)):
            for change in reversed(table.values()):
                if change.seq <= begin:
                    break
                if change.seq <= last:
                    found.append(change)
        found.sort(key=_seq)
        if watcher.cursor < watcher.joined:
            del found[watcher.left :]
        bodies: list[bytes] = []
        room = PIECE_BYTES
        has_end = False
        for change in found:
            body = change.body(watcher.for_admin)
            room -= len(body)
            if bodies and room < 0:
                return Lines(bodies), found[len(bodies) - 1].seq, has_end
            bodies.append(body)
            has_end |= change.ended is not None
        return Lines(bodies), last, has_end

    def _known_to_all(self) -> int:
        """The change up to which every watcher was told of ends."""
        places = (max(watcher.cursor, watcher.heard) for watcher in self.watchers)
        return min(places, default=self.newest)

    def _lose(self) -> None:
        """Forget what is oldest, whoever has not been told of it."""
        lost, since = 0, inf
        while self._bytes > KEPT_BYTES:
            firsts = [first for table in (self._living, self._ended) if (first := _first(table))]
            oldest = min(firsts, key=_seq)
            self._remove(self._ended if oldest.ended is not None else self._living, oldest.number)
            lost = oldest.seq
            if oldest.ended is not None:
                since = min(since, oldest.ended)
        for watcher in self.watchers:
            if watcher.cursor < lost:
                watcher.since = min(since, inf if watcher.since is None else watcher.since)

    def _remove(self, table: dict[int, Change], number: int) -> None:
        change = table.pop(number, None)
        if change is not None:
            self._bytes -= len(change)


def _first(table: dict[int, Change]) -> Change | None:
    return next(iter(table.values()), None)


def _seq(change: Change) -> int:
    return change.seq
