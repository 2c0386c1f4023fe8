"""Rounds by their sums, against going through all the turns."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aptask.scheduling.rounds import Rounds

LINES = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 9)), min_size=1, max_size=8)


def turns(lines: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Every line and how many of it were given before, turn by turn."""
    return [
        (line, at - begin)
        for at in range(30)
        for line, (begin, length) in enumerate(lines)
        if begin <= at < begin + length
    ]


@given(LINES, st.integers(0, 40), st.integers(0, 40))
def test_a_page_is_a_part_of_all_turns(
    lines: list[tuple[int, int]], offset: int, limit: int
) -> None:
    rounds = Rounds(lines)
    everything = turns(lines)
    assert rounds.total == len(everything)

    def read(line: int, offset: int, limit: int) -> list[tuple[int, int]]:
        assert limit > 0
        return [(line, offset + place) for place in range(limit)]

    assert rounds.page(offset, limit, read) == everything[offset : offset + limit]


@given(LINES, st.integers(0, 10), st.integers(0, 10))
def test_a_place_is_where_it_is_in_all_turns(
    lines: list[tuple[int, int]], offset: int, limit: int
) -> None:
    rounds = Rounds(lines)
    everything = turns(lines)
    for line, (_, length) in enumerate(lines):
        wanted = range(length)[offset : offset + limit]
        assert rounds.places(line, offset, limit) == [
            everything.index((line, one)) for one in wanted
        ]
