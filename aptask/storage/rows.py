"""Jobs as rows, and back.

Rules:

- A state or status is stored as its place in `STATES` or `STATUSES`: new ones are added at the end
  of these, none is ever removed or moved.
- A checksum is of the values as they are read back. Those with a fraction are kept as whole
  numbers, of millionths of a second and of billionths: what passes through SQLite's JSON must come
  back as it was.
- A secret is put into pages of its own. SQLite overwrites what is deleted (`secure_delete`), but
  when it moves rows from one page to another, copies of them stay in the page they left. The part
  of a large value that does not fit into its row's page is never moved, and overwritten with zeros
  when it is deleted: so each secret begins with more padding than its row's page holds of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zlib import crc32

import msgspec

from aptask.errors import AptaskError
from aptask.model.event import NOBODY, Author
from aptask.model.history import LISTED_BYTES
from aptask.model.job import Job, State, Status
from aptask.model.progress import NOTHING, Progress

STATES = (
    State.QUEUED,
    State.ACTIVE,
    State.STOPPING,
    State.ENDED,
    State.PAUSED,
    State.HELD,
)
STATUSES = (
    Status.INITIALIZED,
    Status.RUNNING,
    Status.DONE,
    Status.ERROR,
    Status.STOPPED,
    Status.INTERRUPTED,
    Status.TIMEOUT,
    Status.SKIPPED,
)
STATE_CODES = {state: code for code, state in enumerate(STATES)}
STATUS_CODES = {status: code for code, status in enumerate(STATUSES)}
ENDED_CODES = tuple(
    code
    for status, code in STATUS_CODES.items()
    if status not in (Status.INITIALIZED, Status.RUNNING)
)
"""The statuses that a job can have ended with."""
LARGEST = 2**63 - 1
"""The largest number that can be stored."""

REQUEST = "id, task, owner, created, rerun, once_key, unique_key, place, request_sum"
COURSE = "state, status, attempt, started, ended, fraction, message, exit, course_sum"
COLUMNS = f"{REQUEST}, {COURSE}, arguments, result"
"""The columns of `jobs` in the order in which `unpack` takes them."""
LISTED_COLUMNS = (
    f"{REQUEST}, {COURSE}, substr(arguments, 1, {LISTED_BYTES + 1}),"
    f" substr(result, 1, {LISTED_BYTES + 1})"
)
"""The same, without what a list does not show."""

PAGE_BYTES = 4096
PADDING = 512
"""More than the bytes of a large value that SQLite keeps in the row's own page: see `pad`."""
_LOCAL = 489
"""The least that it keeps there, at this page size."""
_MILLION = 1e6
_FAR = 1e12
_BILLION = 1e9
_OVERFLOW = PAGE_BYTES - 4
"""What a page of the rest holds."""

_pack: Callable[[Any], bytes] = msgspec.msgpack.Encoder().encode


class Unreadable(AptaskError):
    """Something in the book is not what was written: damaged since the store was opened."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A new job, as it will be written.

    Attributes:
        peer: where the request for it came from.
        values: created, rerun, once_key, unique_key, place, as they are stored.
        sum: the checksum of what is asked for, but for the number.
        course: state, status, started, as they are stored.
        course_sum: the checksum of its course, but for the number.
    """

    task: str
    owner: str
    peer: str
    values: tuple[Any, ...]
    arguments: str
    secrets: bytes | None
    sum: int
    course: tuple[Any, ...]
    course_sum: int


class Course(msgspec.Struct, frozen=True, gc=False):
    """What has become of a job, as it will be written.

    Attributes:
        by: who brought it about.
        values: from state to exit, as in `COURSE`.
    """

    id: int
    state: State
    by: Author
    values: tuple[Any, ...]
    result: str | None
    sum: int

    @property
    def ended(self) -> bool:
        """Whether it changes no more."""
        return self.state is State.ENDED

    @property
    def attempt(self) -> int:
        """The number of its attempt."""
        attempt: int = self.values[2]
        return attempt

    @property
    def message(self) -> str | None:
        """The last message of its progress."""
        message: str | None = self.values[6]
        return message


def checksum(values: tuple[Any, ...]) -> int:
    """The checksum of some values."""
    return crc32(_pack(values))


def numbered(sum_: int, number: int) -> int:
    """A checksum that is of a job's number too."""
    return crc32(b"%d" % number, sum_)


def check_fresh(job: Job) -> None:
    """Raise ValueError for a job that is not new: queued, or launched at once."""
    if job.started is None:
        is_right = job.state is State.QUEUED and job.status is Status.INITIALIZED
    else:
        is_right = job.state is State.ACTIVE and job.status is Status.RUNNING
    if (
        not is_right
        or job.attempt != 1
        or job.progress is not NOTHING
        or job.ended is not None
        or job.exit is not None
        or job.result is not None
    ):
        raise ValueError("only a job that is queued or launched for the first time can be entered")


def entry(job: Job, once: str | None, unique: str | None, place: int = 0, peer: str = "") -> Entry:
    """A new job, as it will be written.

    Args:
        peer: where the request for it came from.
        place: its place in its batch.

    Raises:
        ValueError: it is not a fresh one, or a text of it cannot be stored.
    """
    check_fresh(job)
    if "\0" in (once or "") or "\0" in (unique or "") or b"\0" in job.arguments:
        raise ValueError("neither a key nor JSON text can hold NUL")
    values = (_micros(job.created), int(job.rerun), once, unique, place)
    begun: tuple[Any, ...] = FRESH
    begun_sum = FRESH_SUM
    if job.started is not None:
        begun = *_LAUNCHED, _micros(job.started)
        begun_sum = checksum((*_LAUNCHED, 1, begun[2], *[None] * 5))
    return Entry(
        task=job.task,
        owner=job.owner,
        peer=peer,
        values=values,
        arguments=job.arguments.decode(),
        secrets=job.secrets,
        sum=checksum((job.task, job.owner, *values, job.arguments)),
        course=begun,
        course_sum=begun_sum,
    )


def course(job: Job, by: Author = NOBODY) -> Course:
    """What has become of a job, as it will be written.

    Args:
        by: who brought it about.

    Raises:
        ValueError: a value of it cannot be stored.
    """
    if job.exit is not None and not -(2**63) <= job.exit < 2**63:
        raise ValueError(f"{job.exit} is no exit code")
    if job.result is not None and b"\0" in job.result:
        raise ValueError("JSON text cannot hold NUL")
    progress = job.progress
    message = progress.message
    if message is not None and "\0" in message:
        message = message.replace("\0", "")  # which SQLite's JSON would end it at
    values = (
        STATE_CODES[job.state],
        STATUS_CODES[job.status],
        job.attempt,
        _micros(job.started),
        _micros(job.ended),
        None if progress.fraction is None else round(progress.fraction * _BILLION),
        message,
        job.exit,
    )
    sum_ = numbered(checksum((*values, job.result)), job.id)
    result = None if job.result is None else job.result.decode()
    return Course(job.id, job.state, by, values, result, sum_)


FRESH = (STATE_CODES[State.QUEUED], STATUS_CODES[Status.INITIALIZED], None)
"""State, status and start of a job that was just queued."""
FRESH_SUM = checksum((*FRESH[:2], 1, *[None] * 6))
_LAUNCHED = (STATE_CODES[State.ACTIVE], STATUS_CODES[Status.RUNNING])


def is_whole(row: tuple[Any, ...], names: dict[int, str], listed: bool = False) -> bool:
    """Whether what stands in a row of `COLUMNS` is what was written.

    Args:
        names: those of tasks and owners, by their numbers.
        listed: whether the row is one of `LISTED_COLUMNS`: a part with a long text, which is not
            all there, is not judged then.
    """
    request = (names.get(row[1]), names.get(row[2]), *row[3:8], row[18])
    course = (*row[9:17], row[19])
    return all(
        (listed and values[-1] is not None and len(values[-1]) > LISTED_BYTES)
        or numbered(checksum(values), row[0]) == sum_
        for values, sum_ in ((request, row[8]), (course, row[17]))
    )


def unpack(row: tuple[Any, ...], names: dict[int, str], secrets: bytes | None) -> Job:
    """The job of a row of `COLUMNS`."""
    fraction, message = row[14], row[15]
    if fraction is not None:
        fraction /= _BILLION
    return Job(
        id=row[0],
        task=names[row[1]],
        owner=names[row[2]],
        created=row[3] / _MILLION,
        rerun=bool(row[4]),
        state=STATES[row[9]],
        status=STATUSES[row[10]],
        attempt=row[11],
        started=None if row[12] is None else row[12] / _MILLION,
        ended=None if row[13] is None else row[13] / _MILLION,
        progress=NOTHING if fraction is message is None else Progress(fraction, message),
        exit=row[16],
        arguments=row[18],
        result=row[19],
        secrets=secrets,
    )


def pad(secrets: bytes) -> bytes:
    """A secret as it is stored: all of it beyond what its row's page holds."""
    pages = -(-(PADDING - _LOCAL + len(secrets) + 4) // _OVERFLOW)
    # Only at this length, give or take the row's few bytes of header, is `_LOCAL` what is kept.
    whole = _LOCAL + 1 + pages * _OVERFLOW
    stored = bytes(PADDING) + len(secrets).to_bytes(4) + secrets
    return stored.ljust(whole, b"\0")


def unpad(stored: bytes) -> bytes:
    """The secret of what is stored."""
    start = PADDING + 4
    return stored[start : start + int.from_bytes(stored[PADDING:start])]


def micros(seconds: float) -> int:
    """Seconds as they are stored; what is beyond any calendar becomes the end of it."""
    return round(min(max(seconds, -_FAR), _FAR) * _MILLION)


def _micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * _MILLION)
