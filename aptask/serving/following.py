"""Following what jobs write: for any number of clients at the cost of little more than one.

Rules:

- A job is looked at only while somebody waits for what it writes: every `LOOK_SECONDS`, whether it
  has written more. One look is for all who wait; nobody waits who has not taken what there is.
- A piece is read and made into text once for all who are at the same place.
- The first response comes at once, though it may be empty: so its client knows that it is heard.
- Who follows is never left with less than everything: the end of the job is known before its last
  piece is read, and what was written before it is in that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, NamedTuple, cast

from msgspec import Raw
from msgspec.json import Encoder
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from aptask.model.job import Job, State
from aptask.model.messages import OutputResponse, Response
from aptask.serving.text import read_text

if TYPE_CHECKING:
    from aptask.serving.context import Outputs

LOOK_SECONDS = 0.04
"""How often it is looked whether a job has written more."""
WOKEN_AT_ONCE = 100
"""How many followers go on in one go, before others have their turn."""
SHARED_PIECES = 4
"""How many pieces of a job are kept for those who come to the same place a little later."""

EVERYTHING = 1 << 63
"""More than any job writes."""

_encode = Encoder().encode

Subscribe = Callable[[int, Callable[[Job], None]], Callable[[], None]]


class Piece(NamedTuple):
    """A piece of a job's output.

    Attributes:
        text: as a JSON string.
        offset: of what follows it, in bytes as written.
        end: whether nothing does.
    """

    text: Raw
    offset: int
    end: bool


class _Followed:
    """A job that somebody follows.

    Attributes:
        followers: how many do.
        size: the offset behind what it had written when it was looked at last.
        has_ended: whether it has.
        waiting: those who have all that there was.
        pieces: what was read last, by offset and limit.
        unsubscribe: ends that its changes are told of.
    """

    __slots__ = ("followers", "has_ended", "pieces", "size", "unsubscribe", "waiting")

    def __init__(self, size: int) -> None:
        self.followers = 0
        self.size = size
        self.has_ended = False
        self.waiting: dict[Deferred[None], None] = {}
        self.pieces: dict[tuple[int, int], Piece] = {}
        self.unsubscribe: Callable[[], None] = lambda: None


class Following:
    """All who follow what jobs write.

    Args:
        outputs: what they wrote.
        subscribe: has a job's changes told, from now on; gives what ends that.
        clock: calls later.
    """

    def __init__(self, outputs: Outputs, subscribe: Subscribe, clock: IReactorTime) -> None:
        self._outputs = outputs
        self._subscribe = subscribe
        self._clock = clock
        self._jobs: dict[int, _Followed] = {}
        self._woken: deque[Deferred[None]] = deque()
        self._waking: IDelayedCall | None = None
        self._looking: IDelayedCall | None = None

    def __len__(self) -> int:
        """How many jobs are followed."""
        return len(self._jobs)

    async def follow(
        self, number: int, find: Callable[[], Deferred[Job]], offset: int, limit: int
    ) -> AsyncIterator[Response]:
        """What a job writes until its end, in responses to `output`.

        Args:
            number: the job's.
            find: gives the job; raises what the follower is told where he may not see it.
            offset: where to begin, in bytes as written.
            limit: the most bytes in one response, at least `LARGEST_CHARACTER`.
        """
        followed = self._begin(number)
        try:
            # Told of its changes already: an end in between is not missed.
            if (await find()).state is State.ENDED:
                followed.has_ended = True
            if self._read(number, followed, offset, limit) is None:
                yield OutputResponse(text="", offset=offset, end=False)
            while True:
                piece = self._read(number, followed, offset, limit)
                if piece is None:
                    await self._more(followed)
                    continue
                offset = piece.offset
                text = cast("str", piece.text)
                yield OutputResponse(text=text, offset=offset, end=piece.end)
                if piece.end:
                    return
        finally:
            followed.followers -= 1
            if not followed.followers:
                followed.unsubscribe()
                del self._jobs[number]

    def _begin(self, number: int) -> _Followed:
        followed = self._jobs.get(number)
        if followed is None:
            followed = self._jobs[number] = _Followed(self._outputs.size(number))

            def note(job: Job) -> None:
                if job.state is State.ENDED:
                    followed.has_ended = True
                    self._wake(followed)

            followed.unsubscribe = self._subscribe(number, note)
        followed.followers += 1
        return followed

    def _read(self, number: int, followed: _Followed, offset: int, limit: int) -> Piece | None:
        """The piece from an offset on; None where there is nothing yet."""
        if offset >= followed.size and not followed.has_ended:
            return None
        piece = followed.pieces.get((offset, limit))
        if piece is None:
            text, after, end = read_text(
                self._outputs.read, number, offset, limit, followed.has_ended
            )
            if not text and not end:
                return None
            piece = Piece(Raw(_encode(text)), after, end)
            if len(followed.pieces) == SHARED_PIECES:
                del followed.pieces[next(iter(followed.pieces))]
            followed.pieces[offset, limit] = piece
        return piece

    async def _more(self, followed: _Followed) -> None:
        """Wait until there is more, or the job has ended."""
        woken: Deferred[None] = Deferred()
        followed.waiting[woken] = None
        if self._looking is None:
            self._looking = self._clock.callLater(LOOK_SECONDS, self._look)
        try:
            await woken
        finally:
            followed.waiting.pop(woken, None)

    def _look(self) -> None:
        """Have those go on who wait for what has been written now."""
        self._looking = None
        is_waited_for = False
        for number, followed in self._jobs.items():
            if not followed.waiting:
                continue
            is_waited_for = True
            try:
                size = self._outputs.size(number)
            except OSError:
                size = EVERYTHING  # who reads finds out what is wrong
            if size != followed.size or followed.has_ended:
                followed.size = size
                followed.pieces.clear()
                self._wake(followed)
        if is_waited_for:
            self._looking = self._clock.callLater(LOOK_SECONDS, self._look)

    def _wake(self, followed: _Followed) -> None:
        self._woken += followed.waiting
        followed.waiting.clear()
        if self._woken and self._waking is None:
            self._waking = self._clock.callLater(0, self._wake_some)

    def _wake_some(self) -> None:
        self._waking = None
        for _ in range(min(len(self._woken), WOKEN_AT_ONCE)):
            self._woken.popleft().callback(None)  # one whose client has gone takes no notice
        if self._woken:
            self._waking = self._clock.callLater(0, self._wake_some)
