"""What a reload has changed."""

from __future__ import annotations

import msgspec

from aptask.model.statistics import FailedPlugin


class Reloaded(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        added, removed: the names of tasks that came and went.
        changed: the names of those whose description or code is another.
        failed: what cannot be used.
        restart: the names of settings that have changed and take a restart.
    """

    added: list[str]
    removed: list[str]
    changed: list[str]
    failed: list[FailedPlugin]
    restart: list[str]
