"""The ends of a runner's attempts on the disk, where they outlive it and its daemon.

`DATA/spool/<instance>` is text: a line that says whose it is, then one for each `Ended`. A line is
a checksum (CRC-32, eight hex digits), a space, and JSON. Rules:

- A line that is torn or damaged is where it ends: nothing behind it is trusted.
- A runner that ends in order says so in the last line: what is in none before it was never begun.
- What is written survives the death of any process; what is synced, that of the machine.
- After a fault the file is not written any further, since it may end in a torn line: `renew` puts
  another one in its place, whole or not at all.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from aptask.model.orders import Ended, decode_event, encode

FOLDER = "spool"
"""The name of the folder of all spools in the data folder."""

_NEW = ".new"
_OVER = b'"over"'
_STARTED = 19
"""Where proc_pid_stat(5) has the start of a process, counted from the name's closing bracket."""


class Header(msgspec.Struct, frozen=True):
    """Whose a spool is. Together, its fields tell a process from all others.

    Attributes:
        instance: the runner's id.
        pid: its process.
        boot: the id of the system's boot in which it ran.
        started: when it began, in clock ticks after that.
    """

    instance: str
    pid: int
    boot: str
    started: int


class Spool:
    """The spool of this process. Nothing is there before `renew` has come back.

    Args:
        folder: the data folder.
        instance: this runner's id: no other one, before or later, has the same.

    Attributes:
        size: of the file, in bytes.
    """

    def __init__(self, folder: Path, instance: str) -> None:
        self.size = 0
        self._path = _path(folder, instance)
        self._header = _line(encode(_header(instance)))
        self._file = -1

    def renew(self, events: Iterable[Ended]) -> None:
        """Put a new file in the place of the one before, synced.

        Args:
            events: what it holds.

        Raises:
            OSError: as the system has it; the one before is as it was.
        """
        folder = self._path.parent
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            _sync_folder(folder.parent)
        new = self._path.with_name(self._path.name + _NEW)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        file = os.open(new, flags, 0o600)
        try:
            content = self._header + b"".join(_line(encode(event)) for event in events)
            _write_all(file, content)
            os.fdatasync(file)
            os.rename(new, self._path)
            _sync_folder(folder)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                new.unlink(missing_ok=True)  # a full disk needs every block
            raise
        self.close()
        self._file, self.size = file, len(content)

    def add(self, event: Ended) -> None:
        """Write an end behind all others.

        Raises:
            OSError: the disk is full, or fails.
        """
        line = _line(encode(event))
        _write_all(self._file, line)
        self.size += len(line)

    def sync(self) -> None:
        """Have all that was written survive a power cut.

        Raises:
            OSError: nobody knows what of it would.
        """
        os.fdatasync(self._file)

    def cut(self) -> None:
        """Let go of all ends.

        Raises:
            OSError: the disk fails.
        """
        os.ftruncate(self._file, len(self._header))
        self.size = len(self._header)

    def finish(self) -> None:
        """Write that this was all, and have it survive a power cut.

        Raises:
            OSError: the disk is full, or fails.
        """
        _write_all(self._file, _line(_OVER))
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def read(folder: Path, instance: str) -> tuple[Header | None, list[Ended]]:
    """What a runner has left.

    Args:
        folder: the data folder.
        instance: the runner's id.

    Returns:
        whose process wrote it, or None where that cannot be read or there is no spool; and the
        ends, in their order. Those up to the last `Forget` may be among them.

    Raises:
        OSError: there is one, but it cannot be read.
    """
    try:
        content = _path(folder, instance).read_bytes()
    except FileNotFoundError:
        return None, []
    lines = _whole_lines(content)
    header, ends = None, []
    with suppress(msgspec.DecodeError, UnicodeDecodeError):
        for line in lines:
            if header is None:
                header = msgspec.json.decode(line, type=Header)
            else:
                event = decode_event(line)
                if isinstance(event, Ended):
                    ends.append(event)
    return header, ends


def is_over(folder: Path, instance: str) -> bool:
    """Whether a runner has ended in order, with the end of all that it began in its spool.

    Args:
        folder: the data folder.
        instance: the runner's id.
    """
    try:
        content = _path(folder, instance).read_bytes()
    except OSError:
        return False
    lines = list(_whole_lines(content))
    return len(lines) == content.count(b"\n") and lines[-1:] == [_OVER]


def remove(folder: Path, instance: str) -> None:
    """Remove a runner's spool, if there is one.

    Args:
        folder: the data folder.
        instance: the runner's id.

    Raises:
        OSError: it cannot be removed.
    """
    path = _path(folder, instance)
    path.with_name(path.name + _NEW).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def boot_id() -> str:
    """The id of the boot that the system is in; see random(4)."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _path(folder: Path, instance: str) -> Path:
    return folder / FOLDER / instance


def _header(instance: str) -> Header:
    # The program's name stands in parentheses and may hold anything.
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    return Header(instance, os.getpid(), boot_id(), int(fields[_STARTED]))


def _line(payload: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def _whole_lines(content: bytes) -> Iterator[bytes]:
    for line in content.split(b"\n")[:-1]:
        checksum, _, payload = line.partition(b" ")
        if checksum != b"%08x" % zlib.crc32(payload):
            return
        yield payload


def _write_all(file: int, data: bytes) -> None:
    written = os.write(file, data)
    while written < len(data):
        written += os.write(file, data[written:])


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
