"""The file by which there is one runner in a data folder: it is held, and says by whom."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

LOCK = "runner.lock"
"""The name of the file in the data folder that a runner holds for as long as it lives."""


def take(folder: Path, waits: Callable[[], object]) -> int:
    """Hold the lock, once no other runner does.

    Args:
        folder: the data folder.
        waits: called before waiting for another runner.

    Returns:
        the descriptor that holds it until it is closed. Who waits for it has no say meanwhile.

    Raises:
        OSError: the file cannot be made.
    """
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        waits()
        fcntl.flock(file, fcntl.LOCK_EX)
    os.ftruncate(file, 0)
    try:
        os.pwrite(file, b"%d\n" % os.getpid(), 0)
    except OSError:
        pass  # the disk is full: it holds all the same
    return file


def holder(folder: Path) -> int | None:
    """Who holds the lock of a data folder.

    Args:
        folder: the data folder.

    Returns:
        the pid of the runner; 0 where it is held and does not say by whom; None where it is free.
    """
    try:
        file = os.open(folder / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(file, 32, 0).strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(file)
