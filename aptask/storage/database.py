"""A connection to the database: made, moved to the present version, and opened.

Rules:

- One connection, in one thread, and no other process (`locking_mode=EXCLUSIVE`): versions of SQLite
  up to 3.51.2 can lose committed data in WAL mode when there are two.
- WAL with `synchronous=FULL`: a commit is one write and one sync, and is safe when it returns.
- A new database is made under another name, and is complete when it gets its own.
- The -wal is emptied between transactions by `checkpoint`, never by SQLite in the middle of one.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aptask.errors import ConfigurationError
from aptask.storage.examine import (
    APPLICATION_ID,
    SCHEMA_VERSION,
    beside,
    check,
    look,
    translate,
)
from aptask.storage.mark import sync
from aptask.storage.migrations import MIGRATIONS
from aptask.storage.rows import PAGE_BYTES, checksum

Connect = Callable[..., Any]
"""`sqlite3.connect`, or what a test puts in its place."""

_CACHE_KIB = 8192


def prepare(path: Path) -> None:
    """Make sure that there is a whole database of the present version.

    Args:
        path: made if nothing of a store is there.

    Raises:
        ConfigurationError: what is there is damaged, too new or not to be had, or a new one cannot
            be made; nothing is changed.
    """
    if look(path):
        check(path)
    else:
        try:
            _make(path)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigurationError(f"the database {path} cannot be made: {reason}") from None


def connect(path: Path, how: Connect = sqlite3.connect) -> Any:
    """Open a database for writing, and take it through the migrations that it lacks.

    Args:
        path: of a database that is there.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = how(
        f"file:{quote(str(path))}?mode=rw",
        uri=True,
        isolation_level=None,
        timeout=0.0,
        check_same_thread=False,
    )
    try:
        for setting in (
            "locking_mode = EXCLUSIVE",
            "synchronous = FULL",
            "secure_delete = ON",
            "wal_autocheckpoint = 0",
            f"cache_size = -{_CACHE_KIB}",
            "temp_store = MEMORY",
        ):
            connection.execute(f"PRAGMA {setting}")
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise sqlite3.OperationalError(f"the journal mode is {mode}")
        migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def open_first(path: Path, how: Connect = sqlite3.connect) -> Any:
    """`prepare` and `connect`, for a start of the daemon: every mistake is a sentence."""
    prepare(path)
    try:
        return connect(path, how)
    except sqlite3.Error as error:
        raise translate(path, error) from None


def migrate(connection: Any) -> None:
    """Take a database to the present version, all of it in one transaction."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    if version == SCHEMA_VERSION:
        return
    connection.execute("BEGIN EXCLUSIVE")
    for step in range(version, SCHEMA_VERSION):
        for statement in MIGRATIONS[step]:
            connection.execute(statement)
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")
    checkpoint(connection)


def checkpoint(connection: Any, how: str = "TRUNCATE") -> bool:
    """Carry the -wal over into the database.

    Args:
        how: TRUNCATE: make it empty, so that nothing old is left in it; RESTART: have it written
            over from its beginning.

    Returns:
        whether that succeeded; if not, the -wal holds what it held.
    """
    try:
        busy: int = connection.execute(f"PRAGMA wal_checkpoint({how})").fetchone()[0]
    except sqlite3.Error:
        return False
    return not busy


def bytes_on_disk(path: Path) -> int:
    """What the files of a store take."""
    total = 0
    for ending in ("", "-wal", "-mark"):
        try:
            total += beside(path, ending).stat().st_size
        except FileNotFoundError:
            continue
    return total


def _make(path: Path) -> None:
    new = beside(path, ".new")
    for ending in ("", "-journal", "-wal"):
        beside(new, ending).unlink(missing_ok=True)
    os.close(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    schema = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")
    meta = (secrets.token_hex(16), 0, 1, 1, None, 0)
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.executescript(f"BEGIN; {schema} COMMIT;")
        row = (1, *meta, checksum(meta))
        connection.execute("INSERT INTO meta VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        connection.execute("PRAGMA journal_mode = WAL")
    sync(new)
    new.rename(path)
    sync(path.parent)
