"""Parsers on junk and floods: nothing is raised, nothing grows, and the cost is linear."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.parsers import NAMES, make_parser
from tests.parsers.feeding import RECORDINGS, feed, fractions, pieces

EXPRESSION = r"(?P<percent>[\d.]+)%|(?P<current>\S+)/(?P<total>\S+) (?P<message>.*)"
SPECS = (*NAMES, EXPRESSION)
each_spec = pytest.mark.parametrize("spec", SPECS)
WORDS = [
    *(b"\r", b"\n", b"\b", b"\x1b[", b"\x1b[2K", b"\x1b[1A", b"\x1b]0;", b"\xff", b"\x00", b"%"),
    *(b"100", b"42", b"/", b" of ", b"|", b"[", b"]", b"{", b"}", b'{"progress": ', b"time="),
    *(b"Duration: 00:00:10.00, start", b" bytes copied, ", b"MB/s", b"0:00:01", b"\xd9\xa3"),
    *(b"[download] ", b"Destination: ", b"#", b"it/s", b"9" * 400, b"-", b".", b"1e999", b"nan"),
    *(b"Receiving objects: ", b"Downloading ", b"Progress ", b"Read: ", b"collected ", b" items"),
]
junk = st.lists(st.one_of(st.binary(max_size=20), st.sampled_from(WORDS)), max_size=40)


@each_spec
def test_junk_raises_nothing_and_never_falls(spec: str) -> None:
    @settings(max_examples=60, deadline=None)
    @given(parts=junk)
    def check(parts: list[bytes]) -> None:
        said = feed(make_parser(spec), parts)
        found = fractions(said)
        assert found == sorted(found)
        assert all(0 <= fraction <= 1 for fraction in found)
        assert all(len(report.message or "") <= 1000 for report in said)

    check()


@each_spec
def test_damaged_recordings_raise_nothing(spec: str) -> None:
    recordings = sorted(RECORDINGS.glob("*.bin"))

    @settings(max_examples=25, deadline=None)
    @given(
        path=st.sampled_from(recordings),
        cuts=st.lists(st.integers(0, 2**16), max_size=10),
        dirt=st.lists(st.sampled_from(WORDS), min_size=1, max_size=10),
    )
    def check(path, cuts: list[int], dirt: list[bytes]) -> None:
        parts = pieces(path.read_bytes()[:8000], cuts)
        mixed = [piece for pair in zip(parts, dirt, strict=False) for piece in pair]
        found = fractions(feed(make_parser(spec), mixed))
        assert found == sorted(found)

    check()


def held(value: object, seen: set[int]) -> int:
    """The bytes that an object and all it refers to hold, classes and code aside."""
    if id(value) in seen or isinstance(value, type) or callable(value):
        return 0
    seen.add(id(value))
    total = sys.getsizeof(value)
    if isinstance(value, dict):
        return total + sum(held(one, seen) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple | set):
        return total + sum(held(one, seen) for one in value)
    return total + held(getattr(value, "__dict__", None), seen)


@each_spec
def test_memory_is_bounded_however_long_a_line_is(spec: str) -> None:
    for unit in (b"x", b"apple 4% ", b"\x1b[", b'{"a":[', b"%d/9 \r"):
        parser = make_parser(spec)
        data = unit * (20_000 // len(unit))
        for _ in range(3):
            parser.feed(data)
        early = held(parser, set())
        for _ in range(12):
            parser.feed(data)
        assert held(parser, set()) <= early + 70_000, unit


@pytest.mark.parametrize("spec", NAMES)
def test_memory_is_bounded_however_many_kinds_of_lines_there_are(spec: str) -> None:
    parser = make_parser(spec)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for first in letters:
        for second in letters:
            parser.feed(f"\r{first}{second} 5% done [1/{ord(first)}] \n".encode() * 3)
    assert held(parser, set()) < 100_000


@each_spec
def test_a_flood_costs_little_for_each_line(spec: str) -> None:
    for line in (
        b"progress 42% of the work\n",
        b"\r 42%|####  | 42/100 [00:01<00:02, 20it/s]",
        b'{"percent": 42, "n": 1}\n',
        b"words and words\n",
        b"\x1b[32m[4/9]\x1b[0m apples\n",
    ):
        lines = 65536 // len(line)
        chunk = line * lines
        parser = make_parser(spec)
        parser.feed(chunk * 3)
        # A bound far above what is measured (benchmarks tell that), far below work for every line.
        seconds = min(_seconds(parser.feed, chunk) for _ in range(5))
        assert seconds / lines < 1e-6, line


def _seconds(feed_one, chunk: bytes) -> float:
    begun = time.perf_counter()
    feed_one(chunk)
    return time.perf_counter() - begun


@each_spec
def test_no_line_is_catastrophic(spec: str) -> None:
    for unit in (b"a", b" ", b"1", b"1 ", b"#", b"a b: ", b"1/", b"[", b"%", b".", b"="):
        for length in (900, 5000):
            line = (unit * length)[:length] + b"% / of { } [ copied, time= N x\n"
            seconds = min(
                _seconds(lambda data: feed(make_parser(spec), [data]), line) for _ in "12"
            )
            assert seconds < 0.1, (unit, length)
