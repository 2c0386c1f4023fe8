"""What is kept of a job's output: its first half in a head file, its last half in a ring.

The runner alone writes; the daemon only reads, while the job runs and after it. Rules:

- Offsets count bytes as the job wrote them, whatever has been left out since.
- `HEAD`: the first `capacity // 2` bytes. `RING`: two numbers of eight bytes, then a ring in which
  the byte at offset `n` lies at `(n - head) % ring`. Before bytes are written, the first number
  tells up to which offset; after that, the second. So a reader takes what lies before the second
  number as it was before it read, and trusts what the first, as it is afterwards, has not yet
  given up to be written over.
- There is a ring only behind a full head: so the files tell their halves, whatever the capacity
  is now.
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
    """Keeps what one attempt writes. Files are made, or gone on with, with the first byte.

    Args:
        folder: exists.
        job: its number.
        capacity: bytes kept, half of them in each file; at least 2. Where earlier attempts have
            filled more than the head, it stays what it was for them.
        attempt: its number. One that is not the first goes on behind what is there, with a line
            between that says so.

    Attributes:
        written: the offset behind what was written last.
    """

    def __init__(self, folder: Path, job: int, capacity: int, attempt: int = 1) -> None:
        self.written = 0
        self._folder = folder
        self._job = job
        self._capacity = capacity
        self._half = capacity // 2
        self._attempt = attempt
        self._is_begun = False
        self._head = -1
        self._ring = -1
        self._begun = 0
        """the first number: up to this offset, the ring may be written over"""

    def write(self, data: bytes) -> None:
        """Keep what can be kept.

        Raises:
            OSError: the disk is full, or the folder is gone. What came before it is kept.
        """
        if not data:
            return
        if not self._is_begun:
            self._is_begun = True
            if self._attempt > 1:
                data = self._go_on() + data
        if self.written < self._half:
            if self._head < 0:
                self._head = _open(head_path(self._folder, self._job), self._making)
            first = data[: self._half - self.written]
            self._put(self._head, first, self.written)
            data = data[len(first) :]
        if data:
            self._write_ring(data)

    @property
    def _making(self) -> int:
        return os.O_TRUNC if self._attempt == 1 else 0

    def _write_ring(self, data: bytes) -> None:
        if self._ring < 0:
            self._ring = _open(ring_path(self._folder, self._job), self._making)
        skipped = max(0, len(data) - self._half)
        end = self.written + len(data)
        data = data[skipped:]
        self._tell(max(self._begun, end), self.written)
        self._begun = max(self._begun, end)
        self.written += skipped
        try:
            place = self._place(self.written)
            first = data[: self._half - place]
            self._put(self._ring, first, _NUMBERS.size + place)
            if len(first) < len(data):
                self._put(self._ring, data[len(first) :], _NUMBERS.size)
        finally:
            self._tell(self._begun, self.written)

    def _place(self, offset: int) -> int:
        return (offset - self._half) % self._half

    def _tell(self, begun: int, written: int) -> None:
        _write_all(self._ring, _NUMBERS.pack(begun, written), 0)

    def _put(self, descriptor: int, data: bytes, place: int) -> None:
        """Write what follows at `written`, which counts every byte that the disk has taken."""
        view = memoryview(data)
        while view:
            count = os.pwrite(descriptor, view, place)
            self.written += count
            view = view[count:]
            place += count

    def _go_on(self) -> bytes:
        """Find the end of what earlier attempts wrote.

        Returns:
            what has to stand between that and what this one writes.
        """
        head, ring = head_path(self._folder, self._job), ring_path(self._folder, self._job)
        size, self._ring = _size(head), _open_if_there(ring, os.O_RDWR)
        self._head = _open_if_there(head, os.O_RDWR)
        if self._ring < 0:
            self.written = size
            self._half = max(self._half, size)
        else:
            self._begun, told = _numbers(self._ring)
            self._half = size
            # An attempt whose runner was killed may have told of a ring before it wrote to it.
            self.written = max(told, size)
            if size == 0 or os.fstat(self._ring).st_size < self._ring_size():
                return self._begin_anew()
        if self.written == 0:
            return b""
        seam = b"" if self._last_byte() == b"\n" else b"\n"
        return seam + b"[aptask: attempt %d]\n" % self._attempt

    def _ring_size(self) -> int:
        """The bytes that a ring has at least, by its numbers."""
        oldest = max(self._begun - self._half, self._half)
        kept = self.written - oldest
        return _NUMBERS.size + min(self._half, self._place(oldest) + kept) if kept > 0 else 0

    def _begin_anew(self) -> bytes:
        self.close()
        Outputs(self._folder).remove(self._job)
        self._half = self._capacity // 2
        self.written = self._begun = 0
        return b"[aptask: attempt %d; what was kept of those before is damaged]\n" % self._attempt

    def _last_byte(self) -> bytes:
        """What was written last, or nothing where that has been written over since."""
        last = self.written - 1
        if last < self._half:
            return os.pread(self._head, 1, last)
        if last < self._begun - self._half:
            return b""
        return os.pread(self._ring, 1, _NUMBERS.size + self._place(last))

    def cut(self, why: str) -> None:
        """Say at the end of what is kept that nothing more is: over its last bytes, since a full
        disk has no room for more. Where nothing is kept, nothing can be said.

        Raises:
            OSError: the disk does not take that either.
        """
        line = f"\n[aptask: output is cut here: {why}]\n".encode()
        if self._begun:
            self._tell(self._begun, self.written)
        # What the ring has given up to be written over is not read any more.
        oldest = self._begun - self._half
        room = self.written - (oldest if oldest > self._half else 0)
        line = line[: max(0, room)]
        start = self.written - len(line)
        first = line[: max(0, self._half - start)]
        if first:
            _write_all(self._head, first, start)
        rest = line[len(first) :]
        if rest:
            place = self._place(start + len(first))
            _write_all(self._ring, rest[: self._half - place], _NUMBERS.size + place)
            _write_all(self._ring, rest[self._half - place :], _NUMBERS.size)

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
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = os.fspath(folder)

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
        ring = _open_if_there(ring_path(self._folder, job), os.O_RDONLY)
        if ring < 0:
            data = _read(head_path(self._folder, job), offset, limit)
            return data, offset + len(data)
        try:
            half = _size(head_path(self._folder, job))
            if not half:
                return b"", offset  # removed meanwhile
            data = b""
            if offset < half:
                data = _read(head_path(self._folder, job), offset, min(limit, half - offset))
                offset += len(data)
                if offset < half or len(data) == limit:
                    return data, offset
            # On into the ring: a character may lie on both sides of the seam.
            behind, offset = _read_ring(ring, half, offset, limit - len(data))
            return data + behind, offset
        finally:
            os.close(ring)

    def size(self, job: int) -> int:
        """The offset behind what a job has written so far.

        Raises:
            OSError: a file is there but cannot be looked at.
        """
        # Asked 25 times a second of each job that is followed: making paths would take most of it.
        size = 0
        try:
            size = os.stat(f"{self._path}/{job}.head").st_size
            ring = os.open(f"{self._path}/{job}.ring", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return size
        try:
            return max(size, _numbers(ring)[1])
        finally:
            os.close(ring)

    def remove(self, job: int) -> None:
        """Remove what is kept of a job."""
        # The ring first: one without its head cannot be read.
        for path in (ring_path(self._folder, job), head_path(self._folder, job)):
            path.unlink(missing_ok=True)

    def jobs(self) -> set[int]:
        """The numbers of the jobs of which something is kept."""
        return {
            int(path.stem)
            for path in self._folder.iterdir()
            if path.suffix in (".head", ".ring") and path.stem.isdigit()
        }


def _read_ring(ring: int, half: int, offset: int, limit: int) -> tuple[bytes, int]:
    start = offset
    for _ in range(READS):
        begun, total = _numbers(ring)
        start = max(offset, begun - half, half)
        data = _pieces(ring, half, start, min(limit, max(0, total - start)))
        if start >= _numbers(ring)[0] - half:
            break
    else:
        return b"", offset  # it is written faster than read: the next one may have it
    if start > offset:
        gap = f"\n[aptask: {start - offset:,} bytes are left out here]\n".encode()
        return gap + data, start + len(data)
    return data, start + len(data)


def _pieces(ring: int, half: int, start: int, length: int) -> bytes:
    place = (start - half) % half
    first = os.pread(ring, min(length, half - place), _NUMBERS.size + place)
    rest = length - len(first)
    return first + os.pread(ring, rest, _NUMBERS.size) if rest > 0 else first


def _open(path: Path, flags: int = 0) -> int:
    return os.open(path, flags | os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _open_if_there(path: Path, flags: int) -> int:
    """A descriptor, or -1 where there is no such file."""
    try:
        return os.open(path, flags | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _size(path: Path) -> int:
    """Bytes in a file; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


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
