"""Texts that somebody made up, in the event log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.model.event import EVENT_LENGTH, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, ünïcode and 漢字", "plain, ünïcode and 漢字"),
        ("a\nb\r\n", r"a\nb\r\n"),
        ("\x1b[2J\x07\x00", r"\x1b[2J\x07\x00"),
        ("\u202eevil\u2028", r"\u202eevil\u2028"),
        ("\ud800", r"\ud800"),
        ("\x9b31m", r"\x9b31m"),
    ],
)
def test_what_cannot_be_seen_stands_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert visible("x" * EVENT_LENGTH) == "x" * EVENT_LENGTH
    assert visible("x" * (EVENT_LENGTH + 1)) == "x" * (EVENT_LENGTH - 3) + "..."
    assert visible("\n" * 100, 10) == r"\n\n\n\..."


@given(st.text(st.characters(exclude_categories=())), st.integers(3, 600))
def test_it_is_one_line_of_visible_characters_whatever_it_was(text: str, length: int) -> None:
    shown = visible(text, length)
    assert shown.isprintable()
    assert len(shown) <= length
    if text.isprintable() and len(text) <= length:
        assert shown == text
