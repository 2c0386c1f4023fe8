"""What is kept of output: held against a model that keeps everything."""

from __future__ import annotations

import os
import re
import struct
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.runner.output import Outputs, Writer, ring_path

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
        writer, outputs = Writer(folder, 1, capacity), Outputs(folder, capacity)
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
        writer, outputs = Writer(Path(name), 1, capacity), Outputs(Path(name), capacity)
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
    writer, outputs = Writer(tmp_path, 1, capacity), Outputs(tmp_path, capacity)
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
    writer, outputs = Writer(tmp_path, 1, 8), Outputs(tmp_path, 8)
    writer.write(b"abcdefgh")
    assert outputs.read(1, 4, 100) == (b"efgh", 8)
    # As a writer leaves it that stopped right before it wrote two more bytes.
    with ring_path(tmp_path, 1).open("r+b") as ring:
        ring.write(struct.pack("<QQ", 10, 8))
    data, after = outputs.read(1, 4, 100)
    assert data == b"\n[aptask: 2 bytes are left out here]\ngh"
    assert after == 8


def test_a_job_that_writes_nothing_has_no_files_and_reads_as_nothing(tmp_path: Path) -> None:
    writer, outputs = Writer(tmp_path, 1, 100), Outputs(tmp_path, 100)
    writer.write(b"")
    writer.close()
    assert list(tmp_path.iterdir()) == []
    assert outputs.read(1, 0, 10) == (b"", 0)
    assert outputs.read(1, 1000, 10) == (b"", 1000)


def test_what_is_kept_is_listed_and_removed(tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, 8)
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
        Outputs(tmp_path, 8).read(1, 0, 10)


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
    outputs = Outputs(tmp_path, 4096)
    assert outputs.read(1, 2040, 50) == (whole[2040:2090], 2090)
    assert outputs.read(1, 2047, 1) == (whole[2047:2048], 2048)
    assert outputs.read(1, 0, 10_000) == (whole, len(whole))
