"""twistd with an aptask that keeps its queue in memory, to hold the durable one against."""

from __future__ import annotations

import sys
from typing import Any

from twisted.scripts.twistd import run

from aptask.storage import store
from aptask.storage.memory import MemoryStore

if __name__ == "__main__":

    def in_memory(*_: Any, **__: Any) -> MemoryStore:
        """A store in the place of the durable one."""
        return MemoryStore()

    store.SQLiteStore = in_memory  # type: ignore[assignment, misc]
    sys.argv[0] = "twistd"
    run()
