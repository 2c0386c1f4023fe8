"""The limits, in the one place where their defaults are written.

The configuration's table `[limits]` is this struct.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Count = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]
PositiveSeconds = Annotated[float, Meta(gt=0)]


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What clients and jobs may take.

    Attributes:
        request_bytes: the longest request.
        request_depth: the deepest nesting of a request.
        request_seconds: from a request's first byte to its last.
        idle_seconds: how long a connection may be open with no request in progress; also how long
            a response may wait for its client to take it.
        connections: open at once.
        queued: tasks that wait, over all users; 0: no limit.
        output_bytes: what is kept of a task's output.
        history_days: how long tasks that have ended are kept.
        history_tasks: how many of them.
        log_days: how long events are kept.
        log_entries: how many of them.
    """

    request_bytes: Annotated[int, Meta(ge=1024, le=1 << 30)] = 65536
    request_depth: Annotated[int, Meta(ge=8, le=512)] = 64
    request_seconds: PositiveSeconds = 60.0
    idle_seconds: PositiveSeconds = 600.0
    connections: Positive = 10_000
    queued: Count = 0
    output_bytes: Annotated[int, Meta(ge=4096)] = 16 * 1024 * 1024
    history_days: PositiveSeconds = 30.0
    history_tasks: Positive = 1_000_000
    log_days: PositiveSeconds = 90.0
    log_entries: Positive = 1_000_000
