"""What an attempt writes, by a clock that is turned by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from aptask.model.hiding import hider
from aptask.model.progress import Progress
from aptask.parsers import make_parser
from aptask.runner.output import Writer
from aptask.runner.reading import Reading


class FakeWriter:
    def __init__(self) -> None:
        self.kept = b""
        self.is_full = False
        self.is_closed = False

    def write(self, data: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        self.kept += data

    def cut(self, why: str) -> None:
        self.kept += f"[{why}]".encode()

    def close(self) -> None:
        self.is_closed = True


class Told:
    """A reading, and what it told."""

    def __init__(self, writer: Any = None, is_free: bool = True) -> None:
        self.clock = Clock()
        self.writer: Any = writer or FakeWriter()
        self.is_free = is_free
        self.progress: list[Progress] = []
        self.reading = Reading(self.clock, 1, self.writer, self._tell)

    def _tell(self) -> None:
        if self.is_free:
            self.progress.append(self.reading.newest())


def report(fraction: float) -> bytes:
    return b'{"progress": %r}\n' % fraction


def test_progress_is_told_ten_times_a_second_at_most_and_the_newest_wins() -> None:
    told = Told()
    for n in range(1000):
        told.reading.reported(report(n / 1000))
        told.clock.advance(0.001)
    assert 9 <= len(told.progress) <= 11
    told.clock.advance(0.1)
    assert told.progress[-1].fraction == 0.999
    before = len(told.progress)
    told.clock.pump([0.1] * 10)
    assert len(told.progress) == before
    assert told.clock.getDelayedCalls() == []


def test_what_could_not_be_told_is_told_again() -> None:
    told = Told(is_free=False)
    told.reading.reported(report(0.5))
    told.is_free = True
    told.clock.advance(0.1)
    assert [each.fraction for each in told.progress] == [0.5]


@given(st.lists(st.integers(0, 200), max_size=8))
def test_reports_are_read_wherever_they_are_cut(cuts: list[int]) -> None:
    data = b"".join(
        [
            report(0.25),
            b"junk\n\xff\xfe\n{}\n[1]\n{\n",
            b'{"progress": "text"}\n{"progress": true}\n',
            b'{"progress": 0.5, "message": "\xc3\xa4\xc2\xa0b", "more": [1]}\n',
            b'{"progress": 1e999}\n',
            b'  {"progress": 0.75}\r\n',
        ]
    )
    told = Told()
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    for start, end in pairwise(places):
        told.reading.reported(data[start:end])
    assert told.reading.progress.fraction == 0.75
    assert told.reading.progress.message is not None
    told.reading.close()


def test_a_last_report_without_its_newline_counts() -> None:
    told = Told()
    told.reading.reported(b'{"progress": 0.5}')
    assert told.reading.progress.fraction is None
    told.reading.end()
    assert told.reading.progress.fraction == 0.5
    told.reading.close()


def test_of_a_flood_of_reports_the_newest_is_read_and_little_is_kept() -> None:
    told = Told()
    told.reading.reported(b"".join(report(n / 100_000) for n in range(100_000)))
    assert told.reading.progress.fraction == 0.99999
    told.reading.reported(b"x" * 10_000_000)
    assert len(told.reading._report) <= 65536
    told.reading.reported(b"\n" + report(1.0))
    assert told.reading.progress.fraction == 1.0
    told.reading.close()


def test_a_report_nested_without_end_is_passed_over() -> None:
    told = Told()
    told.reading.reported(b'{"a": ' + b"[" * 60_000 + b"\n" + report(0.5))
    assert told.reading.progress.fraction == 0.5
    told.reading.close()


def test_output_is_kept_and_read_by_its_parser(tmp_path: Path) -> None:
    told = Told()
    told.reading.use(make_parser("percent", ["x"], lambda _: None))
    told.reading.wrote(b"at 10%\nat 2")
    told.reading.wrote(b"0%")
    told.reading.end()
    assert told.reading.progress.fraction == 0.2
    assert told.writer.kept == b"at 10%\nat 20%"
    told.reading.close()
    assert told.writer.is_closed


def test_a_parser_that_raises_is_dropped_and_the_job_goes_on(logged_failures: list[Any]) -> None:
    class Broken:
        calls = 0

        def feed(self, data: bytes) -> None:
            self.calls += 1
            raise ZeroDivisionError

        def end(self) -> None:
            raise ZeroDivisionError

    broken, told = Broken(), Told()
    told.reading.use(broken)
    told.reading.wrote(b"one")
    told.reading.wrote(b"two")
    told.reading.end()
    assert broken.calls == 1
    assert told.writer.kept == b"onetwo"
    assert len(logged_failures) == 1
    logged_failures.clear()


def test_a_full_disk_cuts_the_output_and_nothing_else() -> None:
    told = Told()
    told.reading.wrote(b"fits\n")
    told.writer.is_full = True
    told.reading.wrote(b"does not\n")
    told.writer.is_full = False
    told.reading.wrote(b"late\n")
    assert told.writer.is_closed
    assert told.writer.kept == b"fits\n[No space left on device]"
    assert told.reading.cut == "No space left on device"
    assert told.reading.last_line() == "late"


@pytest.mark.parametrize(
    ("pieces", "line"),
    [
        ([], ""),
        ([b"one\ntwo\n\n  \n"], "two"),
        ([b"a bar\rover", b"drawn\r"], "overdrawn"),
        ([b"\x1b[31mred\x1b[0m\n", b"\x00"], "[31mred[0m"),
        ([b"x" * 5000], "x" * 200),
        ([b"\xff\xfe"], "��"),
    ],
)
def test_the_last_line_that_says_something_is_found(pieces: list[bytes], line: str) -> None:
    told = Told()
    for piece in pieces:
        told.reading.wrote(piece)
    assert told.reading.last_line() == line


def test_it_keeps_through_a_real_writer(tmp_path: Path) -> None:
    told = Told(Writer(tmp_path, 1, 100))
    told.reading.wrote(b"kept")
    told.reading.close()
    assert (tmp_path / "1.head").read_bytes() == b"kept"


def test_secrets_are_taken_out_of_messages_and_stay_in_the_output() -> None:
    told = Told()
    told.reading.hide = hider(["hunter2 and more"])
    told.reading.use(make_parser("json", ["x"], lambda path: None))
    told.reading.reported(b'{"message": "with hunter2 and more"}\n')
    told.clock.advance(0.2)
    told.reading.wrote(b'{"progress": 0.5, "message": "hunter2 and more"}\n')
    told.clock.advance(0.2)
    assert [each.message for each in told.progress] == ["with ***", "***"]
    told.reading.wrote(b"x" * 1020 + b"hunter2 and more\n")
    assert "hunter2" in told.writer.kept.decode()
    for line in (b"no hunter2 and more", b"." * 195 + b"hunter2 and more" + b"." * 2000):
        told.reading.wrote(line + b"\n")
        assert "hunter" not in told.reading.last_line()
    told.reading.wrote(b"hunter2 and more" + b"." * 1010 + b"\n")  # of the line, 1,023 bytes
    assert told.reading.last_line().startswith("***")
    told.reading.close()
