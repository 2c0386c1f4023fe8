"""What is to be expected of a job, from those that ended before it."""

from __future__ import annotations

import pytest

from aptask.scheduling import past as module
from aptask.scheduling.past import SPREAD_OF_SAME, Past


def past_of(*seconds: float, task: str = "copy", arguments: bytes = b"{}") -> Past:
    past = Past()
    for one in seconds:
        past.add(task, arguments, one)
    return past


def seconds(past: Past, task: str = "copy", arguments: bytes = b"{}") -> float:
    expected = past.expect(task, arguments)
    assert expected is not None
    return expected.seconds


def spread(past: Past, arguments: bytes = b"{}") -> float:
    expected = past.expect("copy", arguments)
    assert expected is not None
    return expected.spread


def test_nothing_is_expected_of_a_task_that_never_ended() -> None:
    assert past_of(1.0, task="sleep").expect("copy", b"{}") is None
    assert Past().mean is None


def test_the_same_takes_what_it_took() -> None:
    past = past_of(40.0)
    past.add("copy", b'{"source":"b"}', 4000.0)
    assert seconds(past) == pytest.approx(40.0)
    assert spread(past) == pytest.approx(SPREAD_OF_SAME)


def test_others_of_the_task_are_gone_by_where_the_arguments_are_new() -> None:
    past = past_of(10.0, 40.0)
    assert seconds(past, arguments=b'{"source":"b"}') == pytest.approx(20.0)
    assert spread(past, b'{"source":"b"}') > spread(past)


def test_many_that_took_the_same_are_a_narrow_past_and_different_ones_a_wide_one() -> None:
    same, different = past_of(*[40.0] * 20), past_of(*[10.0, 160.0] * 10)
    assert spread(same) < SPREAD_OF_SAME / 2
    assert spread(different) > 1


def test_one_that_took_a_day_among_some_of_a_minute_hardly_counts() -> None:
    assert seconds(past_of(*[60.0] * 9, 86400.0)) < 60.0 * 1.2


def test_what_takes_longer_from_some_day_on_is_soon_expected_to() -> None:
    assert seconds(past_of(*[10.0] * 100, *[30.0] * 20)) > 20.0


def test_what_took_no_time_is_no_trouble() -> None:
    assert seconds(past_of(0.0, -1.0)) > 0


def test_the_mean_is_over_all_tasks() -> None:
    past = past_of(10.0, 20.0)
    past.add("sleep", b"{}", 60.0)
    assert past.mean == pytest.approx(30.0)


def test_only_so_many_are_remembered_and_what_ran_least_lately_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    past = Past()
    for task in ("a", "b", "c", "a", "d", "e"):
        past.add(task, b"{}", 10.0)
    assert [task for task in "abcde" if past.expect(task, b"{}")] == ["a", "d", "e"]
    assert len(past) == 6
