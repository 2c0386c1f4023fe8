"""The errors of aptask, each with the code by which a client knows it.

A rule of the house: code that cannot do what a request asks raises one of these, with a message
for people that says what was wrong and what to do; `serving` turns it into a response, once. The
table `HTTP_STATUS` and the classes below are the only places where the codes are written.
"""

from __future__ import annotations

from typing import ClassVar


class AptaskError(Exception):
    """Anything that aptask refuses or cannot do.

    Args:
        message: for people; one sentence, naming the field, argument, file or program at fault.
    """

    code: ClassVar[str] = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Malformed(AptaskError):
    """Not a JSON object, or not of its request's shape; the message names the field."""

    code = "malformed"


class TooLarge(AptaskError):
    """A request longer or more deeply nested than the limits."""

    code = "too-large"


class Unauthorized(AptaskError):
    """No key, an unknown key, or a user's key on an admin's request."""

    code = "unauthorized"


class UnknownRequest(AptaskError):
    """There is no such request."""

    code = "unknown-request"


class UnknownTask(AptaskError):
    """No task of that name that this key may start; the message offers the nearest names."""

    code = "unknown-task"


class InvalidArguments(AptaskError):
    """An argument or option is missing, surplus, of the wrong type or out of bounds."""

    code = "invalid-arguments"


class UnknownTaskid(AptaskError):
    """No such job, or another owner's: the two cannot be told apart."""

    code = "unknown-taskid"


class Conflict(AptaskError):
    """What is asked for cannot be done in the state that the job, key or group is in."""

    code = "conflict"


class LimitReached(AptaskError):
    """The queue, the owner's share or the server is full.

    Args:
        message: for people.
        retry_after: seconds after which it is worth asking again.
    """

    code = "limit"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(AptaskError):
    """Draining, shutting down, the disk full, or the task's program not installed."""

    code = "unavailable"


class Internal(AptaskError):
    """A fault of the daemon, logged under the reference that the message gives."""

    code = "internal"


class ConfigurationError(AptaskError):
    """A wrong option, or a wrong line of the configuration; never on the wire.

    The message names the file, the table and the field.
    """


HTTP_STATUS: dict[str, int] = {
    Malformed.code: 400,
    TooLarge.code: 413,
    Unauthorized.code: 401,
    UnknownRequest.code: 400,
    UnknownTask.code: 404,
    InvalidArguments.code: 400,
    UnknownTaskid.code: 404,
    Conflict.code: 409,
    LimitReached.code: 429,
    Unavailable.code: 503,
    Internal.code: 500,
}
"""The HTTP status that stands for each code."""

BY_CODE: dict[str, type[AptaskError]] = {
    cls.code: cls
    for cls in (
        Malformed,
        TooLarge,
        Unauthorized,
        UnknownRequest,
        UnknownTask,
        InvalidArguments,
        UnknownTaskid,
        Conflict,
        LimitReached,
        Unavailable,
        Internal,
    )
}
"""The class of each code: clients raise by it what the daemon answered."""
