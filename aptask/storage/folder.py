"""The data folder: made for its owner alone, held by one daemon at a time.

Each function raises a `ConfigurationError` that says what is wrong and what to do.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from aptask.errors import ConfigurationError

LOCAL_KEY = "local.key"
LOCK = "lock"


def make_folder(folder: Path) -> Path:
    """Make the data folder, readable by its owner only.

    Raises:
        ConfigurationError: it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {folder} cannot be made: {error.strerror}"
        ) from None
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise ConfigurationError(f"the data folder {folder} belongs to another account")
    if status.st_mode & 0o077:
        raise ConfigurationError(
            f"the data folder {folder} is open to other accounts, and keys are in it:"
            f" chmod 700 {folder}"
        )
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigurationError(f"the data folder {folder} cannot be written to")
    return folder


def check_folder(folder: Path) -> None:
    """See whether a folder could be the data folder, and make nothing.

    Raises:
        ConfigurationError: it cannot be made, or not be written to.
    """
    if os.path.lexists(folder):
        make_folder(folder)
        return
    above = next(parent for parent in folder.parents if os.path.lexists(parent))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise ConfigurationError(f"the data folder {folder} cannot be made in {above}")


@contextmanager
def private_files() -> Iterator[None]:
    """Have files made for this account alone meanwhile, whatever makes them."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def lock(folder: Path) -> TextIO:
    """Hold the data folder for as long as the file that is given stays open.

    Raises:
        ConfigurationError: another daemon holds it.
    """
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"the data folder {folder} cannot be locked: {error.strerror}"
        ) from None
    file = os.fdopen(descriptor, "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = file.read().strip() or "?"
        file.close()
        raise ConfigurationError(
            f"the data folder {folder} belongs to a running daemon (process {pid}); stop that one,"
            " or name another folder with --data"
        ) from None
    with suppress(OSError):  # of a full disk: who holds it is for people only
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return file


def local_key(folder: Path) -> str:
    """The key of the daemon's own account; made on its first start.

    Raises:
        ConfigurationError: the file is there, but holds no key; or it cannot be made.
    """
    path = folder / LOCAL_KEY
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        key = path.read_text(errors="replace").strip()
        if not key:
            raise ConfigurationError(f"{path} holds no key: remove it, and start again") from None
        return key
    key = secrets.token_urlsafe(32)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(key + "\n")
    except OSError as error:
        path.unlink()
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None
    return key
