"""What an admin has set for a group of jobs, over the configuration."""

from __future__ import annotations

import msgspec


class GroupSetting(msgspec.Struct, frozen=True):
    """What `limits` has set: it lasts over restarts.

    Attributes:
        slots: how many of its jobs run at once; None: as the configuration says.
        paused: whether none of those that wait is started.
    """

    slots: int | None = None
    paused: bool = False
