"""What is kept of a job's output: its first half in a head file, its last half in a ring.

The runner alone writes; the daemon only reads, while the job runs and after it. Rules:

- Offsets count bytes as the job wrote them, whatever has been left out since.
- `HEAD`: the first `capacity // 2` bytes. `RING`: two numbers of eight bytes, then a ring in which
  the byte at offset `n` lies at `(n - head) % ring`. Before bytes are written, the first number
  tells up to which offset; after that, the second. So a reader takes what lies before the second
  number as it was before it read, and trusts what the first, as it is afterwards, has not yet
  given up to be written over.
- A job that writes nothing has no files.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

_NUMBERS = struct.Struct("<QQ")

READS = 100
"""How often a piece is read again that was written over meanwhile."""


def head_path(folder: Path, job: int) -> Path:
    """Where the first half of a job's output is."""
    return folder / f"{job}.head"


def ring_path(folder: Path, job: int) -> Path:
    """Where the last half of a job's output is, once there is more than the head holds."""
    return folder / f"{job}.ring"


class Writer:
    """Keeps what one job writes. Files are made with the first byte.

    Args:
        folder: exists.
        job: its number.
        capacity: bytes kept, half of them in each file; at least 2.
    """

    def __init__(self, folder: Path, job: int, capacity: int) -> None:
        self._folder = folder
        self._job = job
        self._half = capacity // 2
        self._head = -1
        self._ring = -1
        self._told = 0
        self.written = 0

    def write(self, data: bytes) -> None:
        """Keep what can be kept.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        if data and self.written < self._half:
            if self._head < 0:
                self._head = _open(head_path(self._folder, self._job), os.O_WRONLY | os.O_TRUNC)
            first = data[: self._half - self.written]
            _write_all(self._head, first, self.written)
            self.written += len(first)
            data = data[len(first) :]
        if data:
            self._write_ring(data)

    def _write_ring(self, data: bytes) -> None:
        if self._ring < 0:
            self._ring = _open(ring_path(self._folder, self._job), os.O_WRONLY | os.O_TRUNC)
        skipped = max(0, len(data) - self._half)
        self.written += skipped
        data = data[skipped:]
        end = self.written + len(data)
        _write_all(self._ring, _NUMBERS.pack(end, self._told), 0)
        place = (self.written - self._half) % self._half
        first = data[: self._half - place]
        _write_all(self._ring, first, _NUMBERS.size + place)
        if len(first) < len(data):
            _write_all(self._ring, data[len(first) :], _NUMBERS.size)
        self.written = self._told = end
        _write_all(self._ring, _NUMBERS.pack(end, end), 0)

    def close(self) -> None:
        """Close the files; what was written stays."""
        for descriptor in (self._head, self._ring):
            if descriptor >= 0:
                os.close(descriptor)
        self._head = self._ring = -1


class Outputs:
    """Reads and removes what runners keep.

    Args:
        folder: where the files are.
        capacity: as the writers have it.
    """

    def __init__(self, folder: Path, capacity: int) -> None:
        self._folder = folder
        self._half = capacity // 2

    def read(self, job: int, offset: int, limit: int) -> tuple[bytes, int]:
        """A piece of a job's output.

        Args:
            job: its number.
            offset: in bytes as written.
            limit: the most bytes to give.

        Returns:
            the bytes, and the offset behind them. Where `offset` lies in what was left out, a line
            that says so stands in their front; it counts as what it stands for.

        Raises:
            OSError: a file is there but cannot be read.
        """
        if offset < self._half:
            data = _read(head_path(self._folder, job), offset, min(limit, self._half - offset))
            offset += len(data)
            if offset < self._half or len(data) == limit:
                return data, offset
            # On into the ring: a character may lie on both sides of the seam.
            behind, offset = self._read_ring(job, offset, limit - len(data))
            return data + behind, offset
        return self._read_ring(job, offset, limit)

    def _read_ring(self, job: int, offset: int, limit: int) -> tuple[bytes, int]:
        try:
            descriptor = os.open(ring_path(self._folder, job), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return b"", offset
        try:
            start = offset
            for _ in range(READS):
                begun, total = _numbers(descriptor)
                start = max(offset, begun - self._half, self._half)
                data = self._pieces(descriptor, start, min(limit, max(0, total - start)))
                if start >= _numbers(descriptor)[0] - self._half:
                    break
            else:
                return b"", offset  # it is written faster than read: the next one may have it
        finally:
            os.close(descriptor)
        if start > offset:
            gap = f"\n[aptask: {start - offset:,} bytes are left out here]\n".encode()
            return gap + data, start + len(data)
        return data, start + len(data)

    def _pieces(self, descriptor: int, start: int, length: int) -> bytes:
        place = (start - self._half) % self._half
        first = os.pread(descriptor, min(length, self._half - place), _NUMBERS.size + place)
        rest = length - len(first)
        return first + os.pread(descriptor, rest, _NUMBERS.size) if rest > 0 else first

    def remove(self, job: int) -> None:
        """Remove what is kept of a job."""
        for path in (head_path(self._folder, job), ring_path(self._folder, job)):
            path.unlink(missing_ok=True)

    def jobs(self) -> set[int]:
        """The numbers of the jobs of which something is kept."""
        return {
            int(path.stem)
            for path in self._folder.iterdir()
            if path.suffix in (".head", ".ring") and path.stem.isdigit()
        }


def _open(path: Path, flags: int) -> int:
    return os.open(path, flags | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _write_all(descriptor: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, place)
        view = view[count:]
        place += count


def _read(path: Path, offset: int, length: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)


def _numbers(descriptor: int) -> tuple[int, int]:
    numbers = os.pread(descriptor, _NUMBERS.size, 0)
    return _NUMBERS.unpack(numbers) if len(numbers) == _NUMBERS.size else (0, 0)
