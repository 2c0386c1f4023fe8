"""Progress never falls, and messages are one clean line."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from aptask.model.progress import MESSAGE_LENGTH, NOTHING, Progress, advance, clean

reports = st.builds(
    Progress, st.none() | st.floats(allow_nan=True, allow_infinity=True), st.none() | st.text()
)


@given(st.lists(reports))
def test_a_fraction_is_within_bounds_and_never_falls(given_: list[Progress]) -> None:
    known = NOTHING
    for report in given_:
        after = advance(known, report)
        if known.fraction is not None:
            assert after.fraction is not None
            assert after.fraction >= known.fraction
        assert after.fraction is None or 0.0 <= after.fraction <= 1.0
        known = after


@given(st.text())
def test_a_message_is_one_printable_line(text: str) -> None:
    cleaned = clean(text)
    assert len(cleaned) <= MESSAGE_LENGTH
    assert "\n" not in cleaned
    assert "\x1b" not in cleaned
    assert clean(cleaned) == cleaned
    cleaned.encode()


def test_white_space_becomes_spaces_and_control_characters_go() -> None:
    assert clean("a\tb\r\nc\x1b[31md\x00\u202ee ") == "a b  c[31mde"


def test_a_report_that_adds_nothing_gives_back_what_was_known() -> None:
    known = Progress(0.5, "half")
    for report in (NOTHING, Progress(0.5), Progress(0.3), Progress(None, "half\n")):
        assert advance(known, report) is known


def test_what_is_no_number_measures_nothing() -> None:
    assert advance(NOTHING, Progress(math.nan)) is NOTHING
    assert advance(NOTHING, Progress(math.inf)) is NOTHING
