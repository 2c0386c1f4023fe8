"""How much of its disk the data folder takes.

It may hold a million files of output, so it is gone through in a thread of its own (2.6 s, of which
the reactor's thread notices 0.2 ms), and what was found is good for some seconds: whoever asks
meanwhile gets the same answer.
"""

# mypy: disallow-untyped-calls=False
# (Failure has no types.)

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from aptask.errors import Unavailable
from aptask.model.statistics import Disk

KEPT_SECONDS = 5.0
"""For how long an answer is good."""

KEPT_TIMES = 20
"""For how many times as long as it took to find out it is good, where that is longer."""

BLOCK_BYTES = 512
"""What stat(2) counts in."""


class MeasuredFolder:
    """The data folder.

    Args:
        path: of it.
        names: what the names begin with that count, of files and folders directly in it. There may
            be other things in it that are none of the daemon's.
        clock: seconds that never go back.
        call_in_reactor: runs a function in the reactor's thread: `reactor.callFromThread`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        names: Sequence[str],
        clock: IReactorTime,
        call_in_reactor: Callable[..., Any],
    ) -> None:
        self._path = os.fspath(path)
        self._names = tuple(names)
        self._clock = clock
        self._call_in_reactor = call_in_reactor
        self._found: Disk | None = None
        self._good_until = 0.0
        self._begun = 0.0
        self._waiting: list[Deferred[Disk]] = []

    def measure(self) -> Deferred[Disk]:
        """What it takes on its disk, and what is free there.

        Returns:
            fails with `Unavailable` where the folder cannot be looked into.
        """
        now = self._clock.seconds()
        if self._found is not None and now < self._good_until:
            return succeed(self._found)
        measured: Deferred[Disk] = Deferred()
        self._waiting.append(measured)
        if len(self._waiting) == 1:
            self._begun = now
            # Not one of the reactor's own threads: for those the end of this process would wait.
            threading.Thread(target=self._look, name="measure", daemon=True).start()
        return measured

    def _look(self) -> None:
        try:
            found: Disk | Failure = measure(self._path, self._names)
        except OSError as error:
            why = error.strerror or str(error)
            found = Failure(Unavailable(f"the data folder cannot be looked into: {why}"))
        except BaseException:
            found = Failure()
        self._call_in_reactor(self._looked, found)

    def _looked(self, found: Disk | Failure) -> None:
        if isinstance(found, Disk):
            now = self._clock.seconds()
            self._found = found
            self._good_until = now + max(KEPT_SECONDS, KEPT_TIMES * (now - self._begun))
        waiting, self._waiting = self._waiting, []
        for measured in waiting:
            measured.callback(found)


def measure(path: str, names: Sequence[str]) -> Disk:
    """Go through a folder. Blocks for as long as that takes.

    Args:
        path: of the folder.
        names: what the names begin with that count.

    Raises:
        OSError: the folder cannot be looked into.
    """
    used = 0
    for file in _files(path, tuple(names)):
        with suppress(OSError):  # it is gone already
            used += file.stat(follow_symlinks=False).st_blocks * BLOCK_BYTES
    disk = os.statvfs(path)
    return Disk(used, disk.f_bavail * disk.f_frsize)


def _files(path: str, names: tuple[str, ...]) -> Iterator[os.DirEntry[str]]:
    """All files in a folder and its folders, where the name begins with one of these."""
    with os.scandir(path) as entries:
        for entry in entries:
            if not entry.name.startswith(names):
                continue
            if entry.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError, PermissionError):
                    yield from _files(entry.path, ("",))
            else:
                yield entry
