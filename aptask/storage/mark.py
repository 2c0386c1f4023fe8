"""The mark: how many transactions the database has had, in a small file beside it.

SQLite takes a missing, cut or foreign -wal for none, and one with a flipped bit for a shorter one:
what was acknowledged would be gone without a word. The mark shows it.

Rules:

- It is written in its place after a transaction is on disk, and is synced only when it is made:
  it may say too little after a power failure, never too much, and is never half of one. So it is
  no failure that it cannot be written.
- A database with fewer transactions than its mark says has lost some, and is not opened.
- An empty mark says nothing: with one, a person accepts what the database holds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from zlib import crc32

_LINE = re.compile(rb"aptask ([0-9a-f]{32}) (\d{20}) ([0-9a-f]{8})\n")


class Mark:
    """The file, open for as long as the store is.

    Args:
        path: where it is; made if it does not exist.
        identity: of the database.
        commits: how many transactions it has had.

    Raises:
        OSError: it cannot be made or opened.
    """

    def __init__(self, path: Path, identity: str, commits: int) -> None:
        self._identity = identity
        if not path.exists() or path.stat().st_size == 0:
            _make(path, _line(identity, commits))
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.write(commits)

    def write(self, commits: int) -> None:
        """Say how many transactions are on disk."""
        with contextlib.suppress(OSError):
            os.pwrite(self._descriptor, _line(self._identity, commits), 0)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read(path: Path) -> tuple[str, int] | None:
    """The identity and the number of transactions that a mark holds.

    Returns:
        None where it is empty.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged.
    """
    content = path.read_bytes()
    if not content:
        return None
    match = _LINE.fullmatch(content)
    if match is None:
        raise ValueError("it is damaged")
    identity, commits = match[1].decode(), int(match[2])
    if _line(identity, commits) != content:
        raise ValueError("it is damaged")
    return identity, commits


def _make(path: Path, content: bytes) -> None:
    """A new file, which is there as a whole or not at all."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.pwrite(descriptor, content, 0) < len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.rename(path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on disk.

    Raises:
        OSError: they cannot be.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _line(identity: str, commits: int) -> bytes:
    text = b"aptask %s %020d" % (identity.encode(), commits)
    return b"%s %08x\n" % (text, crc32(text))
