"""What is kept of output: held against a model that keeps everything."""

from __future__ import annotations

import errno
import os
import re
import struct
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.runner import output as output_module
from aptask.runner.output import Outputs, Writer, head_path, ring_path

GAP = re.compile(rb"\n\[aptask: ([\d,]+) bytes are left out here\]\n")


def check_read(outputs: Outputs, written: bytes, half: int, offset: int, limit: int) -> None:
    data, after = outputs.read(1, offset, limit)
    oldest = max(half, len(written) - half)
    head = written[offset : min(offset + limit, half)]
    expected, end = head, offset + len(head)
    if end >= half and len(head) < limit:
        start = max(end, oldest)
        tail = written[start : start + limit - len(head)]
        gap = start - end
        if gap:
            expected += f"\n[aptask: {gap:,} bytes are left out here]\n".encode()
        expected += tail
        end = start + len(tail)
    assert data == expected
    assert after == end


@settings(deadline=None, max_examples=200)
@given(
    capacity=st.integers(2, 64),
    pieces=st.lists(st.binary(min_size=0, max_size=100), max_size=12),
    reads=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), max_size=8),
)
def test_any_read_between_any_writes_gives_the_right_bytes(
    capacity: int, pieces: list[bytes], reads: list[tuple[int, int]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        writer, outputs = Writer(folder, 1, capacity), Outputs(folder)
        written = b""
        for piece in pieces:
            writer.write(piece)
            written += piece
            for offset, limit in reads:
                check_read(outputs, written, capacity // 2, offset, limit)
        writer.close()
        for offset, limit in reads:
            check_read(outputs, written, capacity // 2, offset, limit)
        assert sum(path.stat().st_size for path in folder.iterdir()) <= capacity + 16


@settings(deadline=None, max_examples=50)
@given(capacity=st.integers(2, 64), size=st.integers(0, 500), limit=st.integers(1, 100))
def test_reading_on_and_on_gives_the_first_and_the_last_half(
    capacity: int, size: int, limit: int
) -> None:
    written = bytes(n % 7 + 97 for n in range(size))
    half = capacity // 2
    with tempfile.TemporaryDirectory() as name:
        writer, outputs = Writer(Path(name), 1, capacity), Outputs(Path(name))
        writer.write(written)
        writer.close()
        whole, offset = b"", 0
        while True:
            piece, offset = outputs.read(1, offset, limit)
            if not piece:
                break
            whole += piece
    assert offset == size
    first, gap, last = (GAP.split(whole) + [b"0", b""])[:3]
    assert (
        first + last == written
        if gap == b"0"
        else (first, last)
        == (
            written[:half],
            written[-half:],
        )
    )
    assert int(gap.replace(b",", b"")) == max(0, size - 2 * half)


def test_what_is_read_while_it_is_written_is_never_torn(tmp_path: Path) -> None:
    # Each number stands at its own offset, so that any piece shows where it is from.
    capacity, total = 2048, 400_000
    whole = b"".join(struct.pack(">I", n) for n in range(total // 4))
    writer, outputs = Writer(tmp_path, 1, capacity), Outputs(tmp_path)
    done = threading.Event()

    def write() -> None:
        for place in range(0, total, 200):
            writer.write(whole[place : place + 200])
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    offset, seen = 0, 0
    while True:
        ended = done.is_set()
        data, after = outputs.read(1, offset, 512)
        # A piece may begin in the head and go on in the ring, behind what is left out.
        gap = GAP.search(data)
        before, behind = (data[: gap.start()], data[gap.end() :]) if gap else (b"", data)
        assert before == whole[offset : offset + len(before)]
        assert behind == whole[after - len(behind) : after]
        seen += len(before) + len(behind)
        if ended and after == offset:
            break
        offset = after
    thread.join()
    assert offset == total
    assert seen >= capacity


def test_bytes_that_are_about_to_be_written_over_are_not_trusted(tmp_path: Path) -> None:
    writer, outputs = Writer(tmp_path, 1, 8), Outputs(tmp_path)
    writer.write(b"abcdefgh")
    assert outputs.read(1, 4, 100) == (b"efgh", 8)
    # As a writer leaves it that stopped right before it wrote two more bytes.
    with ring_path(tmp_path, 1).open("r+b") as ring:
        ring.write(struct.pack("<QQ", 10, 8))
    data, after = outputs.read(1, 4, 100)
    assert data == b"\n[aptask: 2 bytes are left out here]\ngh"
    assert after == 8


def test_a_job_that_writes_nothing_has_no_files_and_reads_as_nothing(tmp_path: Path) -> None:
    writer, outputs = Writer(tmp_path, 1, 100), Outputs(tmp_path)
    writer.write(b"")
    writer.close()
    assert list(tmp_path.iterdir()) == []
    assert outputs.read(1, 0, 10) == (b"", 0)
    assert outputs.read(1, 1000, 10) == (b"", 1000)


def test_what_is_kept_is_listed_and_removed(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path)
    for job in (1, 12):
        writer = Writer(tmp_path, job, 8)
        writer.write(b"0123456789")
        writer.close()
    (tmp_path / "other.txt").touch()
    assert outputs.jobs() == {1, 12}
    outputs.remove(1)
    outputs.remove(1)
    assert outputs.jobs() == {12}
    assert outputs.read(1, 0, 10) == (b"", 0)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "1.head").mkdir()
    with pytest.raises(OSError, match="directory"):
        Outputs(tmp_path).read(1, 0, 10)


def test_files_belong_to_the_account_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        writer = Writer(tmp_path, 1, 8)
        writer.write(b"0123456789")
        writer.close()
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_piece_goes_on_from_the_head_into_the_ring(tmp_path: Path) -> None:
    writer = Writer(tmp_path, 1, 4096)
    whole = ("a" * 2047 + "\u00e9" + "b" * 100).encode()
    writer.write(whole)
    writer.close()
    outputs = Outputs(tmp_path)
    assert outputs.read(1, 2040, 50) == (whole[2040:2090], 2090)
    assert outputs.read(1, 2047, 1) == (whole[2047:2048], 2048)
    assert outputs.read(1, 0, 10_000) == (whole, len(whole))


# Further attempts

PIECES = st.lists(st.binary(min_size=0, max_size=100).map(lambda data: data.replace(b"[", b"(")))


@settings(deadline=None, max_examples=300)
@given(
    attempts=st.lists(st.tuples(st.integers(2, 64), PIECES), min_size=1, max_size=5),
    reads=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 200)), max_size=8),
    now=st.integers(2, 64),
)
def test_what_further_attempts_write_follows_whatever_was_kept_and_whatever_is(
    attempts: list[tuple[int, list[bytes]]], reads: list[tuple[int, int]], now: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, outputs = Path(name), Outputs(Path(name))
        written, half = b"", 0
        for number, (capacity, pieces) in enumerate(attempts, 1):
            writer = Writer(folder, 1, capacity, number)
            is_begun = False
            for piece in pieces:
                writer.write(piece)
                if piece and not is_begun:
                    is_begun = True
                    if len(written) <= half or not written:
                        half = max(capacity // 2, len(written))
                    if written:
                        written += b"" if written.endswith(b"\n") else b"\n"
                        written += b"[aptask: attempt %d]\n" % number
                written += piece
                for offset, limit in reads:
                    check_read(outputs, written, half, offset, limit)
            writer.close()
        for offset, limit in reads:
            check_read(outputs, written, half, offset, limit)


def check_pieces(outputs: Outputs, written: bytes, limit: int = 1000) -> bytes:
    """See that all that can be read is what was written; gives it, without what is left out."""
    offset, kept = 0, b""
    while True:
        data, after = outputs.read(1, offset, limit)
        gap = GAP.search(data)
        before, behind = (data[: gap.start()], data[gap.end() :]) if gap else (data, b"")
        assert before == written[offset : offset + len(before)]
        assert behind == written[after - len(behind) : after]
        if after == offset:
            return kept
        offset, kept = after, kept + before + behind


class Killed(BaseException):
    pass


class Pwrite:
    """Writes so many bytes, and fails then; and goes on after that."""

    def __init__(self, limit: int, error: BaseException) -> None:
        self.left = limit
        self.error: BaseException | None = error
        self.pwrite = os.pwrite

    def __call__(self, descriptor: int, data: bytes, place: int) -> int:
        if self.error is None:
            return self.pwrite(descriptor, data, place)
        if place == 0 and len(data) == 16 > self.left:
            self.left = 0  # the numbers of a ring are written at once
        if self.left == 0:
            error, self.error = self.error, None
            raise error
        count = self.pwrite(descriptor, data[: self.left], place)
        self.left -= count
        return count


@settings(deadline=None, max_examples=300)
@given(
    capacity=st.integers(2, 64),
    pieces=PIECES,
    limit=st.integers(0, 500),
    more=PIECES,
)
def test_behind_an_attempt_whose_runner_was_killed_all_that_is_read_was_written(
    capacity: int, pieces: list[bytes], limit: int, more: list[bytes]
) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, outputs = Path(name), Outputs(Path(name))
        writer, written = Writer(folder, 1, capacity), b""
        patch.setattr(output_module.os, "pwrite", Pwrite(limit, Killed()))
        try:
            for piece in pieces:
                written += piece
                writer.write(piece)
        except Killed:
            pass
        patch.undo()
        writer.close()
        written = written[: told_end(folder)]
        second = Writer(folder, 1, capacity, 2)
        line = b"[aptask: attempt 2]\n" if written else b""
        for piece in more:
            second.write(piece)
            if piece:
                # Where its last byte was given up to be written over, nobody knows it any more.
                newlines = second.written - len(written + line + piece)
                assert newlines in ((0, 1) if written.endswith(b"\n") or not line else (1,))
                written += b"\n" * newlines + line + piece
                line = b""
            check_pieces(outputs, written)
        second.close()


def told_end(folder: Path) -> int:
    head, ring = head_path(folder, 1), ring_path(folder, 1)
    size = head.stat().st_size if head.exists() else 0
    numbers = ring.read_bytes()[:16] if ring.exists() else b""
    return max(size, struct.unpack("<QQ", numbers)[1]) if numbers else size


def end_of(outputs: Outputs) -> int:
    offset = 0
    while (after := outputs.read(1, offset, 1000)[1]) > offset:
        offset = after
    return offset


def test_behind_output_that_lost_its_beginning_an_attempt_begins_anew(tmp_path: Path) -> None:
    writer = Writer(tmp_path, 1, 64)
    writer.write(b"x" * 100)
    writer.close()
    head_path(tmp_path, 1).unlink()
    writer = Writer(tmp_path, 1, 64, 2)
    writer.write(b"second")
    writer.close()
    text = b"[aptask: attempt 2; what was kept of those before is damaged]\nsecond"
    outputs = Outputs(tmp_path)
    assert check_pieces(outputs, text)
    assert outputs.read(1, 0, 10) == (text[:10], 10)


# A full disk

CUT = b"\n[aptask: output is cut here: No space left on device]\n"


@settings(deadline=None, max_examples=300)
@given(
    capacity=st.sampled_from([2, 64, 300, 1000]),
    attempt=st.integers(1, 2),
    pieces=PIECES,
    limit=st.integers(0, 1500),
)
def test_output_that_a_full_disk_cuts_says_so_over_its_last_bytes(
    capacity: int, attempt: int, pieces: list[bytes], limit: int
) -> None:
    full = OSError(28, "No space left on device")
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        folder, outputs = Path(name), Outputs(Path(name))
        written = b""
        if attempt == 2:
            written = b"before\n" * 3
            first = Writer(folder, 1, capacity)
            first.write(written)
            first.close()
        writer = Writer(folder, 1, capacity, attempt)
        seam = b"[aptask: attempt 2]\n" if attempt == 2 else b""
        patch.setattr(output_module.os, "pwrite", Pwrite(limit, full))
        try:
            for piece in pieces:
                if piece:
                    written, seam = written + seam + piece, b""
                writer.write(piece)
        except OSError:
            sizes = {path: path.stat().st_size for path in folder.iterdir()}
            writer.cut("No space left on device")
            assert {path: path.stat().st_size for path in folder.iterdir()} == sizes
            end = writer.written
            oldest = writer._begun - writer._half
            line = CUT[: max(0, end - (oldest if oldest > writer._half else 0))]
            written = written[: end - len(line)] + line
        patch.undo()
        writer.close()
        check_pieces(outputs, written)
        assert end_of(outputs) == len(written)


@pytest.mark.parametrize("size", [100, 70_000, 300_000])
def test_on_a_disk_that_is_really_full_the_output_says_that_it_is_cut(
    small_disk: Path, size: int
) -> None:
    # As much as is written fits twice, once, and not at all.
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes((1 << 20) - 128 * 1024))
    writer, outputs, written = Writer(small_disk, 1, 1 << 20), Outputs(small_disk), b""
    is_full = False
    while not is_full:
        piece = (b"%d " % len(written)) * (size // 4)
        written += piece
        try:
            writer.write(piece)
        except OSError as error:
            is_full = error.errno == errno.ENOSPC
    writer.cut("No space left on device")
    writer.close()
    kept = check_pieces(outputs, written[: writer.written - len(CUT)] + CUT, 100_000)
    assert kept.endswith(CUT)
    assert len(kept) > 64 * 1024
    ballast.unlink()
    further = Writer(small_disk, 1, 1 << 20, 2)
    further.write(b"again\n")
    further.close()
    assert check_end(outputs).endswith(CUT + b"[aptask: attempt 2]\nagain\n")


def check_end(outputs: Outputs) -> bytes:
    end = end_of(outputs)
    return outputs.read(1, end - 200, 200)[0]


def test_where_nothing_was_written_nothing_can_be_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path, 1, 100)
    monkeypatch.setattr(output_module.os, "pwrite", Pwrite(0, OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        writer.write(b"something")
    writer.cut("full")
    writer.close()
    assert Outputs(tmp_path).read(1, 0, 100) == (b"", 0)


def test_the_size_is_the_offset_behind_what_was_written_last(tmp_path: Path) -> None:
    outputs, writer = Outputs(tmp_path), Writer(tmp_path, 1, 100)
    assert outputs.size(1) == 0
    written = 0
    for piece in (b"x", b"x" * 48, b"x", b"x", b"x" * 1000, b"x" * 3):
        writer.write(piece)
        written += len(piece)
        assert outputs.size(1) == written
    writer.close()


def test_the_largest_offset_that_may_be_asked_for_can_be_read(tmp_path: Path) -> None:
    writer = Writer(tmp_path, 1, 100)
    writer.write(b"abc")
    writer.close()
    assert Outputs(tmp_path).read(1, 1 << 62, 1 << 20) == (b"", 1 << 62)
