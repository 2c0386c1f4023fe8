"""A session of its own for what Twisted spawns, without a program in between.

The system's posix_spawn can begin a process in a new session; Twisted, which calls it, has no word
for that. So for the moment of a spawn its call is completed with that word. Where Twisted forks
instead, or the system cannot, `works` stays False, and whoever spawns has to put `setsid` in front:
that costs half a millisecond more.

The runner is the only one that may do this: it has one thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Sessions:
    """Spawns into sessions.

    Attributes:
        works: whether a spawn within `made` has been seen to make one.
    """

    def __init__(self) -> None:
        self.works = False

    @contextmanager
    def made(self) -> Iterator[None]:
        """Have what is spawned meanwhile begin in a session of its own, if that is possible."""
        plain = os.posix_spawnp

        def in_session(*arguments: Any, **named: Any) -> int:
            try:
                pid = plain(*arguments, **named, setsid=True)
            except NotImplementedError:
                return plain(*arguments, **named)
            self.works = True
            return pid

        os.posix_spawnp = in_session
        try:
            yield
        finally:
            os.posix_spawnp = plain
