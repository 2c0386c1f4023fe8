"""Text from tasks and clients does nothing to a terminal but show."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.cli import harmless

ATTACKS = {
    "title": "\x1b]0;owned\x07",
    "title, other end": "\x1b]2;owned\x1b\\",
    "clipboard": "\x1b]52;c;b3duZWQ=\x07",
    "clear": "\x1b[2J\x1b[H",
    "report": "\x1b[6n\x1b[c\x1bZ",
    "device control": "\x1bP$qm\x1b\\",
    "8 bit": "\x9b2J\x9d0;owned\x9c",
    "reset": "\x1bc",
    "charset": "\x1b(0",
    "alternate screen": "\x1b[?1049h",
    "back": "\x08\x7f\x00\x07",
    "bidi": "\u202e\u2066",
    "lone": "\x1b",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("colours", [True, False])
def test_nothing_that_a_terminal_acts_on_passes_however_it_is_cut(
    attack: str, colours: bool
) -> None:
    text = f"before{attack}after\n"
    for cut in range(len(text)):
        output = harmless.OutputFilter(colours)
        shown = output.feed(text[:cut]) + output.feed(text[cut:])
        assert shown.startswith("before")
        assert not any(unicodedata.category(c) in ("Cc", "Cf") for c in shown if c != "\n")
        if attack != "\x1b":
            assert shown.endswith("after\n")


def test_colours_pass_where_they_may_and_however_they_are_cut() -> None:
    text = "\x1b[1;38;5;208mwarm\x1b[0m\ttab\r\n"
    for cut in range(len(text)):
        output = harmless.OutputFilter(colours=True)
        assert output.feed(text[:cut]) + output.feed(text[cut:]) == text
    assert harmless.OutputFilter(colours=False).feed(text) == "warm\ttab\r\n"


def test_a_sequence_without_an_end_does_not_swallow_all_that_follows() -> None:
    output = harmless.OutputFilter(colours=True)
    for _ in range(100):
        output.feed("\x1b]0;" + "x" * 100)
    assert output.feed("\x07seen\n").endswith("seen\n")


@given(st.lists(st.text(st.sampled_from("a\x1b[]0;mPJ\\\x07\x9c\x9b\n\r é"), max_size=12)))
def test_any_output_in_any_pieces_holds_no_escape_but_colours(pieces: list[str]) -> None:
    output = harmless.OutputFilter(colours=True)
    shown = "".join(map(output.feed, pieces))
    assert "\x1b" not in harmless._COLOUR.sub("", shown)
    assert not set(shown) & {"\x07", "\x9c", "\x9b"}


@given(st.text())
def test_a_line_is_one_line_and_printable(text: str) -> None:
    assert harmless.line(text).isprintable()


def test_what_is_not_to_be_shown_in_a_line_is_written_out() -> None:
    assert harmless.line("a\x1b[2J\tb\n\u202e\xa0é") == "a\\x1b[2J\\tb\\n\\u202e é"
