"""A response's line as a struct, or as the exception that stands for it: no connection here."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from aptask.errors import BY_CODE, AptaskError, LimitReached
from aptask.model.messages import ErrorResponse, Response

Answer = TypeVar("Answer", bound=Response)


class _Head(msgspec.Struct):
    status: str


def is_error(line: bytes) -> bool:
    """Whether a response says that its request was not carried out."""
    try:
        return msgspec.json.decode(line, type=_Head).status == "error"
    except msgspec.DecodeError:
        return False


def decode(line: bytes, answer: type[Answer]) -> Answer:
    """A response as the struct that it is.

    Fields that this client does not know are passed over.

    Args:
        line: the response as it came.
        answer: its class, where it is not an error.

    Raises:
        AptaskError: it is an error; of the class that stands for its code.
        msgspec.DecodeError: it is no response to this request.
    """
    if is_error(line):
        raise _error(msgspec.json.decode(line, type=ErrorResponse))
    return msgspec.json.decode(line, type=answer)


def _error(response: ErrorResponse) -> AptaskError:
    """The exception for an error; of a code that is not known a plain one that names the code."""
    known = BY_CODE.get(response.code)
    if known is None:
        return AptaskError(f"{response.message} ({response.code})")
    if known is LimitReached and response.retry_after is not msgspec.UNSET:
        return LimitReached(response.message, response.retry_after)
    return known(response.message)
