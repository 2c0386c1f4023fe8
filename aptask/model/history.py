"""Which ended jobs a page of the history shows."""

from __future__ import annotations

import msgspec

from aptask.model.job import Status

LISTED_BYTES = 4096
"""How many bytes of arguments, and of a result, a list shows; above that they are cut."""


class Wanted(msgspec.Struct, frozen=True):
    """What the jobs of a page have in common, and where it begins.

    Attributes:
        owner: whose; None: everyone's.
        task: runs of which task; None: of all.
        status: how they ended; None: however.
        since, until: seconds since the epoch: they ended at `since` or later, and before `until`.
        before: the end, in seconds since the epoch, and the number of the last job of the page
            before; None: from the last to end.
    """

    owner: str | None = None
    task: str | None = None
    status: Status | None = None
    since: float | None = None
    until: float | None = None
    before: tuple[float, int] | None = None
