"""Strict JSON: what is read, and what is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.errors import Malformed, TooLarge
from aptask.model.strict_json import NotStrict, decode_object


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b' {"a": 1}\r\n',
        b'{"a": "http://x:80/", "b": ":", "c": "\\":"}',
        b'{"a": {"a": {"a": 1}}, "b": [{"a": 1}, {"a": 2}]}',
        b'{"a": [9223372036854775807, -9223372036854775808]}',
        b'{"a": "99999999999999999999", "b": 1234567890123456789012.5}',
        b'{"a": 1e300, "b": -0.0, "c": "\\u0000"}',
        '{"é": "\U0001f600"}'.encode(),
        b'{"a": "\\ud83d\\ude00"}',
    ],
)
def test_strict_json_is_read_as_it_is(text: bytes) -> None:
    assert decode_object(text, 64) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a": 1, "a": 2}', 'the key "a" is there more than once'),
        (b'{"a": 1, "\\u0061": 2}', 'the key "a" is there more than once'),
        (b'{"x": [{"b": 1, "b": 1}], "c": ":"}', 'the key "b" is there more than once'),
        (b'{"x": {"b" : 1, "b"\n: ":"}}', 'the key "b" is there more than once'),
        (b'{"a": 9223372036854775808}', "a number of 19 digits is not an integer from -2^63"),
        (b'{"a": [-9223372036854775809]}', "of 19 digits is not an integer from -2^63"),
        (b'{"a": 123456789012345678901234567890}', "of 30 digits is not an integer from -2^63"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "out of range"),
        (b'{"a": 1e400}', "out of range"),
        (b'{"a": NaN}', "byte 6"),
        (b'{"a": Infinity}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\udc00": 1}', "not valid JSON"),
        (b'{"a": "\xed\xa0\x80"}', "not valid UTF-8"),
        (b'{"a": "\xff"}', "not valid UTF-8"),
        (b'{"a": "\n"}', "invalid character (byte 7)"),
        (b'{"a": 1,}', "trailing comma"),
        (b'{"a": 01}', "invalid number"),
        (b"{}{}", "trailing characters"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b"{\x0c}", "not valid JSON"),
        (b"", "not valid JSON"),
        (b"[]", "a request is a JSON object"),
        (b"null", "a request is a JSON object"),
    ],
)
def test_what_is_not_strict_json_is_malformed(text: bytes, said: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode_object(text, 64)
    assert said in caught.value.message


def test_what_could_be_read_without_doubt_is_kept_with_the_refusal() -> None:
    with pytest.raises(NotStrict) as caught:
        decode_object(b'{"request": "ping", "id": 7, "a": 1, "a": 2}', 64)
    assert caught.value.values == {"request": "ping", "id": 7}


def test_nesting_beyond_the_limit_is_too_large() -> None:
    def nested(depth: int) -> bytes:
        return b'{"[[[":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"

    assert decode_object(nested(10), 10)
    with pytest.raises(TooLarge, match="more than 10 levels"):
        decode_object(nested(11), 10)
    with pytest.raises(TooLarge):
        decode_object(nested(100_000), 512)


def test_many_brackets_side_by_side_are_not_deep() -> None:
    text = b'{"a": [' + b"[],{}," * 200 + b"[]]}"
    assert decode_object(text, 3) == json.loads(text)


numbers = st.integers(-(2**65), 2**65) | st.integers(-(2**63) - 2, -(2**63) + 2)
leaves = st.none() | st.booleans() | numbers | st.sampled_from([":", '":', "a", "0" * 20])
pairs = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(st.tuples(st.sampled_from(["a", "b", ":", '"']), inner), max_size=3).map(tuple)
    ),
    max_leaves=12,
)


def write(value: object) -> str:
    """JSON in which an object is a tuple of pairs, so that keys can be repeated."""
    if isinstance(value, tuple):
        return "{" + ", ".join(f"{json.dumps(k)} : {write(v)}" for k, v in value) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(write, value)) + "]"
    return json.dumps(value)


def is_strict(value: object) -> bool:
    if isinstance(value, tuple):
        keys = [key for key, _ in value]
        return len(set(keys)) == len(keys) and all(is_strict(inner) for _, inner in value)
    if isinstance(value, list):
        return all(map(is_strict, value))
    return not isinstance(value, int) or -(2**63) <= value < 2**63


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), pairs), max_size=4).map(tuple))
def test_exactly_what_is_not_strict_is_refused(value: tuple[tuple[str, object], ...]) -> None:
    text = write(value).encode()
    if is_strict(value):
        assert decode_object(text, 64) == json.loads(text)
    else:
        with pytest.raises(Malformed):
            decode_object(text, 64)
