"""The framing: what comes out of a stream, however it is cut."""

from __future__ import annotations

import json
import time
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aptask.errors import AptaskError, Malformed, TooLarge
from aptask.model.framing import Framer

Outcome = list[bytes | tuple[str, str]]


def outcome(pieces: list[bytes], max_bytes: int = 1000, max_depth: int = 64) -> Outcome:
    """The objects that come out, and the error that ends them if there is one."""
    framer = Framer(max_bytes, max_depth)
    found: Outcome = []
    try:
        for piece in pieces:
            framer.feed(piece)
            while (text := framer.next()) is not None:
                found.append(text)
        framer.end()
    except AptaskError as error:
        found.append((error.code, error.message))
        framer.feed(b'{"more": 1}')
        assert framer.next() is None
        assert not framer.pending
        framer.end()
    return found


def in_bytes(data: bytes) -> list[bytes]:
    return [data[place : place + 1] for place in range(len(data))]


def error_of(data: bytes, **limits: int) -> tuple[str, str]:
    whole = outcome([data], **limits)
    assert whole == outcome(in_bytes(data), **limits)
    assert isinstance(whole[-1], tuple), whole
    return whole[-1]


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b'{"a": "}"}',
        b'{"a": "\\"}"}',
        b'{"a": "\\\\"}',
        b'{"a": [{"b": [1, {}]}, []]}',
        b'{\n  "a" : 1\r\n}',
        '{"é": "\U0001f600"}'.encode(),
        b'{"a": "]"}',
        b'{"\\u007b": 1}',
    ],
)
def test_an_object_comes_out_as_it_went_in(text: bytes) -> None:
    for pieces in ([text], in_bytes(text), [text + b"\n"], [b" \r\n\t" + text]):
        assert outcome(pieces) == [text]


def test_several_objects_on_one_line_come_out_one_by_one() -> None:
    assert outcome([b'{}{"a":1} {"b":2}\n{}']) == [b"{}", b'{"a":1}', b'{"b":2}', b"{}"]


def test_what_is_not_json_but_balanced_is_left_to_its_reader() -> None:
    assert outcome([b"{nonsense}{1 2 3}"]) == [b"{nonsense}", b"{1 2 3}"]


@pytest.mark.parametrize("junk", [b"GET / HTTP/1.1", b"[]", b"1", b'"{}"', b"}", b",", b"\x00"])
def test_anything_but_white_space_before_a_brace_is_malformed(junk: bytes) -> None:
    code, message = error_of(b"{} " + junk + b"{}")
    assert code == "malformed"
    assert "begins with `{`" in message


def test_the_objects_before_an_error_come_out_first() -> None:
    assert [type(each) for each in outcome([b"{}{}x{}"])] == [bytes, bytes, tuple]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a\nb": 1}', "a raw control character (0x0a) inside a string, at byte 4"),
        (b'{"a\\\n": 1}', "a raw control character (0x0a) inside a string, at byte 5"),
        (b'{"a": ["x"}', "`}` at byte 11 of the request, where `]` is due"),
        (b"{]", "`]` at byte 2 of the request, where `}` is due"),
        (b'{"\xff": 1}', "the request is not UTF-8 text, at byte 3 of it"),
        (b'{"\xed\xa0\x80": 1}', "the request is not UTF-8 text, at byte 4 of it"),
        (b'{"\xc3"}', "the request is not UTF-8 text, at byte 4 of it"),
        (b"\xff", "not a request: this is not UTF-8 text"),
        (b"\xc3\xa9", "not a request: a request is a JSON object and begins with `{`, not with"),
        (b'{"a": "', "unfinished: the end of a string is due"),
        (b'{"a": [', "unfinished: `]` is due"),
        (b"{", "unfinished: `}` is due"),
    ],
)
def test_malformed_says_what_is_wrong_and_where(text: bytes, said: str) -> None:
    code, message = error_of(text)
    assert code == "malformed"
    assert said in message


@pytest.mark.parametrize("second", [0x22, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0])
def test_text_is_judged_alike_in_one_piece_and_byte_by_byte(second: int) -> None:
    for first in range(0x80, 0x100):
        for rest in (b'"}', b'\x80"}', b'\x80\x80"}', b'\x80\x80\x80"}'):
            stream = b'{"' + bytes([first, second]) + rest
            assert outcome([stream]) == outcome(in_bytes(stream))


def test_the_longest_object_passes_and_one_byte_more_is_too_large() -> None:
    text = b'{"a": "' + b"x" * 91 + b'"}'
    assert outcome([text], max_bytes=100) == [text]
    assert error_of(text[:-1] + b" }", max_bytes=100)[0] == "too-large"


def test_too_large_is_said_as_soon_as_it_is_certain() -> None:
    framer = Framer(10, 64)
    framer.feed(b'{"a": "xyz')
    assert framer.next() is None
    framer.feed(b"1")
    with pytest.raises(TooLarge, match="longer than 10 bytes"):
        framer.next()


def test_what_is_wrong_behind_the_longest_length_is_too_large() -> None:
    assert error_of(b'{"a": "xyz\n"}', max_bytes=10)[0] == "too-large"
    assert error_of(b'{"a": "xy\n"}', max_bytes=10)[0] == "malformed"
    assert error_of(b'{"a": "xy\xf0\x90\x80(', max_bytes=10)[0] == "too-large"


def test_the_deepest_nesting_passes_and_one_level_more_is_too_large() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert outcome([nested(5)], max_depth=5) == [nested(5)]
    assert error_of(nested(6), max_depth=5)[0] == "too-large"


def test_pending_and_idle_tell_what_is_under_way() -> None:
    framer = Framer(100, 64)
    assert framer.idle
    assert not framer.pending
    framer.feed(b' {"a"')
    assert framer.next() is None
    assert framer.pending
    assert not framer.idle
    framer.feed(b":1}")
    assert framer.next() == b'{"a":1}'
    assert framer.idle
    assert not framer.pending


def test_a_request_that_is_given_up_is_malformed_and_the_end() -> None:
    framer = Framer(100, 64)
    framer.feed(b'{"a": [')
    assert framer.next() is None
    error = framer.overdue(60.0)
    assert isinstance(error, Malformed)
    assert error.message == "the request is unfinished after 60 seconds: `]` is due"
    framer.feed(b"]}")
    assert framer.next() is None


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.builds(
    lambda value, escaped, indent: json.dumps(value, ensure_ascii=escaped, indent=indent).encode(
        "utf-8", "surrogatepass"
    ),
    st.dictionaries(st.text(max_size=4), values, max_size=3),
    st.booleans(),
    st.sampled_from([None, 1]),
)
junk = st.lists(
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b'"', b"\\", b" ", b"\n", b"\x00", b"x", b"\xff", b"\xc3", b"\xa9"]
        + [
            b"\xe2",
            b"\x82",
            b"\xed",
            b"\xa0",
            b"\xf0",
            b"\x90",
            b"\xf4",
            b'{"a":',
            b'"\\u12"',
            b"{}",
        ]
    ),
    max_size=12,
).map(b"".join)
streams = st.lists(objects | junk, max_size=6).map(b" ".join) | junk


@given(
    stream=streams,
    places=st.lists(st.integers(0, 300), max_size=8),
    max_bytes=st.integers(2, 60),
    max_depth=st.integers(1, 4),
)
@example(b'{"\xf0\x90\x80(', [], 5, 4)
@example(b"{ \xe2]", [3], 60, 4)
def test_what_comes_out_never_depends_on_the_cuts(
    stream: bytes, places: list[int], max_bytes: int, max_depth: int
) -> None:
    cuts = sorted({0, len(stream), *(place for place in places if place < len(stream))})
    pieces = [stream[a:b] for a, b in pairwise(cuts)]
    limits = {"max_bytes": max_bytes, "max_depth": max_depth}
    whole = outcome([stream], **limits)
    assert outcome(pieces, **limits) == whole
    assert outcome(in_bytes(stream), **limits) == whole


@given(st.lists(objects, max_size=5), st.sampled_from([b"", b" ", b"\n", b"\r\n"]))
def test_every_valid_object_comes_out(texts: list[bytes], between: bytes) -> None:
    assert outcome([between.join(texts)], max_bytes=100_000) == texts


@pytest.mark.parametrize("kind", ["text", "escapes", "brackets", "objects", "not ascii"])
def test_cost_is_linear_however_it_is_cut(kind: str) -> None:
    def stream(size: int) -> bytes:
        fill = {
            "text": (b'"', b"x", b'"'),
            "escapes": (b'"', b"\\\\", b'"'),
            "brackets": (b"[0", b",[]", b"]"),
            "objects": (b"[0", b',{"a":"b"}', b"]"),
            "not ascii": (b'"', "é".encode(), b'"'),
        }[kind]
        return b'{"a":' + fill[0] + fill[1] * (size // len(fill[1])) + fill[2] + b"}"

    def cost(size: int, cut: int) -> float:
        data = stream(size)
        pieces = [data[place : place + cut] for place in range(0, size + 64, cut)]
        times = []
        for _ in range(3):
            started = time.process_time()
            assert outcome(pieces, max_bytes=1 << 22) == [data]
            times.append(time.process_time() - started)
        return min(times)

    for cut in (1, 64):
        # Eight times as much: 8 if it is linear, 64 if it is not.
        assert cost(1 << 17, cut) < 24 * max(cost(1 << 14, cut), 0.0005)
