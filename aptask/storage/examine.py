"""What is looked at before a database is opened for writing.

Rules:

- Nothing is changed: the database is read through a connection that cannot write, and what SQLite
  leaves beside it for that is removed.
- A database that is damaged, cut, foreign, too new, or not all there is refused with one sentence
  that says what is wrong and what to do. Nothing begins anew over it.
- Everything is looked at: the structure of the file, its indexes, and every row by its checksums.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aptask.errors import ConfigurationError
from aptask.storage import log, mark, settings
from aptask.storage.rows import COLUMNS, checksum, is_whole

APPLICATION_ID = 0x61707461
"""`apta`: tells a store from every other SQLite database."""
SCHEMA_VERSION = 1

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_NO_ROOM = ("SQLITE_FULL", "SQLITE_IOERR_SHMSIZE")
"""What SQLite calls it when there is no room for what it puts beside a -wal to read it."""
_NOT_READ = ("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_NOMEM")
"""How its words for faults begin that are not the database's."""
_LOCK_SECONDS = 1.0
_ROWS_AT_ONCE = 200


class StoreDamaged(ConfigurationError):
    """The database is not what was written; nothing of it was changed."""

    def __init__(self, what: str, remedy: str | None = None) -> None:
        if remedy is None:
            remedy = (
                "put it and the files beside it back from a backup, or move them all away to begin"
                " with an empty queue"
            )
        super().__init__(f"{what}: nothing was changed; {remedy}")


def beside(path: Path, ending: str) -> Path:
    """A file beside the database: `-wal`, `-shm`, `-mark`."""
    return path.with_name(path.name + ending)


def look(path: Path) -> bool:
    """Look at the files, in a few milliseconds, from outside.

    Args:
        path: of the database.

    Returns:
        whether there is a database; without one, nothing else of a store is there either.

    Raises:
        ConfigurationError: it is not to be had, or was written by a newer aptask.
        StoreDamaged: it is damaged, as far as that shows from outside.
    """
    present = {ending: _usable(beside(path, ending)) for ending in ("", "-wal", "-mark")}
    if not present[""]:
        for ending in ("-wal", "-mark"):
            if present[ending]:
                raise StoreDamaged(f"{path} is missing, but its {path.name}{ending} is there")
        return False
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise StoreDamaged(f"{path} does not begin as a database does: it is damaged or cut short")
    if int.from_bytes(header[68:72]) != APPLICATION_ID:
        raise StoreDamaged(f"{path} is not a database of aptask, or its beginning is damaged")
    version = int.from_bytes(header[60:64])
    if version > SCHEMA_VERSION:
        raise _too_new(path, version)
    page = int.from_bytes(header[16:18])
    pages = int.from_bytes(header[28:32])
    size = path.stat().st_size
    # With a -wal a checkpoint may have been cut off in the middle, which SQLite mends.
    if not _has_wal(path) and (page < 512 or size % page or size < pages * page):
        raise StoreDamaged(f"{path} is cut short: it has {size} of {pages * page} bytes")
    try:
        mark.read(beside(path, "-mark"))
    except FileNotFoundError:
        pass  # whether there must be one, the database knows
    except ValueError:
        raise StoreDamaged(f"{path}-mark is damaged", _accept(path)) from None
    return True


def check(path: Path) -> None:
    """Look at everything in a database: seconds for each million jobs.

    Args:
        path: a database that `look` has found.

    Raises:
        ConfigurationError: another program holds it, or a newer aptask wrote it.
        StoreDamaged: it is damaged.
    """
    # Without a -wal, SQLite would make one, if it were not told that nothing changes.
    mode = "mode=ro" if _has_wal(path) else "immutable=1"
    shared = beside(path, "-shm")
    was_shared = shared.exists()
    try:
        with closing(
            sqlite3.connect(
                f"file:{quote(str(path))}?{mode}",
                uri=True,
                timeout=_LOCK_SECONDS,
                isolation_level=None,
                check_same_thread=False,
            )
        ) as connection:
            _check(path, connection)
    except (sqlite3.Error, OverflowError, UnicodeDecodeError) as error:
        raise translate(path, error) from None
    finally:
        if not was_shared:
            shared.unlink(missing_ok=True)


def translate(path: Path, error: Exception) -> ConfigurationError:
    """What SQLite says while a database is opened, as a sentence for people."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_BUSY"):
        return ConfigurationError(
            f"the database {path} is held by another program: end that one, and start again"
        )
    if name in _NO_ROOM:
        return ConfigurationError(
            f"the disk is full: there is no room in {path.parent} to open {path.name}: nothing was"
            " changed; make room, and start again"
        )
    if name.startswith(_NOT_READ):
        return ConfigurationError(
            f"{path} cannot be read ({error}): nothing was changed; see to the disk, and start"
            " again"
        )
    return StoreDamaged(f"{path} is damaged ({error})")


def _check(path: Path, connection: sqlite3.Connection) -> None:
    def one(question: str) -> Any:
        return connection.execute(question).fetchone()

    if one("PRAGMA application_id")[0] != APPLICATION_ID:
        raise StoreDamaged(f"{path} is not a database of aptask, or its -wal is not its own")
    version = one("PRAGMA user_version")[0]
    if version > SCHEMA_VERSION:
        raise _too_new(path, version)
    _compare_with_mark(path, one("SELECT * FROM meta"))
    fault = one("PRAGMA integrity_check(1)")[0]
    if fault != "ok":
        raise StoreDamaged(f"{path} is damaged ({' '.join(fault.split())})")
    if version == SCHEMA_VERSION:
        _check_rows(path, connection)


def _compare_with_mark(path: Path, meta: tuple[Any, ...] | None) -> None:
    if meta is None or checksum(meta[1:-1]) != meta[-1]:
        raise StoreDamaged(f"{path} is damaged (its own description is)")
    identity, commits = meta[1:3]
    try:
        found = mark.read(beside(path, "-mark"))
    except FileNotFoundError:
        if commits == 0:  # was made, and never written to
            return
        raise StoreDamaged(
            f"{path}-mark, which belongs to {path}, is missing", _accept(path)
        ) from None
    if found is None:
        return
    if found[0] != identity:
        raise StoreDamaged(
            f"{path} and the {path.name}-wal and -mark beside it do not belong together"
        )
    if found[1] > commits:
        raise StoreDamaged(
            f"{path} has {commits} of {found[1]} transactions, since its {path.name}-wal is"
            " missing, damaged or not its own",
            _accept(path),
        )


def _check_rows(path: Path, connection: sqlite3.Connection) -> None:
    names: dict[int, str] = {}
    for number, name, sum_ in connection.execute("SELECT id, name, sum FROM names"):
        names[number] = name
        if checksum((number, name)) != sum_:
            raise StoreDamaged(f"{path} is damaged (the name with number {number} is)")
    for number, value, sum_ in connection.execute("SELECT job, value, sum FROM secrets"):
        if checksum((number, value)) != sum_:
            raise StoreDamaged(f"{path} is damaged (what is kept for task {number} is)")
    for row in connection.execute("SELECT id, value, sum FROM keys"):
        if not settings.is_whole(row):
            raise StoreDamaged(f"{path} is damaged (a key is)")
    for row in connection.execute("SELECT name, slots, paused, sum FROM groups"):
        if not settings.is_whole(row):
            raise StoreDamaged(f"{path} is damaged (what is set for the group {row[0]!a} is)")
    for row in log.rows(connection.execute):
        if not log.is_whole(row):
            raise StoreDamaged(f"{path} is damaged (event {row[0]} is)")
    cursor = connection.execute(f"SELECT {COLUMNS} FROM jobs")
    while rows := cursor.fetchmany(_ROWS_AT_ONCE):
        for row in rows:
            if not is_whole(row, names):
                raise StoreDamaged(f"{path} is damaged (task {row[0]} is)")


def _usable(path: Path) -> bool:
    """Whether a file is there; raises if it is, and cannot be read and written."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be looked at: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "special file or link"
        raise StoreDamaged(
            f"{path} is a {kind} where a file of the database belongs",
            "move it away, or name another data folder",
        )
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        owner = (
            "; give it to the account of the daemon"
            if error.errno in (errno.EACCES, errno.EPERM)
            else ""
        )
        raise ConfigurationError(
            f"{path} cannot be read and written: {error.strerror}{owner}"
        ) from None
    return True


def _has_wal(path: Path) -> bool:
    try:
        return beside(path, "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def _too_new(path: Path, version: int) -> ConfigurationError:
    return ConfigurationError(
        f"{path} was written by a newer aptask (its version is {version}, this one knows"
        f" {SCHEMA_VERSION}): nothing was changed; install that one again, or name another data"
        " folder"
    )


def _accept(path: Path) -> str:
    return (
        "put it and the files beside it back from a backup, or, to go on with what it holds, make"
        f" {path}-mark an empty file"
    )
