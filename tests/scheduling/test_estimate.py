"""What is left of a job: on recorded histories of real runs, by rule, and by example."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.scheduling.estimate import LONGEST, Estimate
from aptask.scheduling.past import Expected
from tests.scheduling.histories import HISTORIES, History, errors, expected

BOUND = 0.15
"""The median absolute error over the second half of a run, as a part of the whole run, at most."""

every_history = pytest.mark.parametrize("history", HISTORIES, ids=lambda history: history.name)


def of(*programs: str) -> list[History]:
    return [history for history in HISTORIES if history.program in programs]


def near(seconds: float | None, about: float, part: float = 0.1) -> bool:
    return seconds is not None and abs(seconds - about) <= part * about


# Real runs


def test_there_are_runs_of_different_kinds_each_with_a_past() -> None:
    programs = {history.program for history in HISTORIES}
    assert programs == {"rsync", "ffmpeg", "ninja", "curl", "loop"}
    assert all(expected(history) is not None for history in HISTORIES)


@every_history
def test_a_real_run_without_a_past_is_within_the_bound(history: History) -> None:
    of_the_run, _ = errors(history, Estimate(0.0))
    assert of_the_run < BOUND


@every_history
def test_a_real_run_with_a_past_is_within_the_bound(history: History) -> None:
    of_the_run, _ = errors(history, Estimate(0.0, expected(history)))
    assert of_the_run < BOUND


@pytest.mark.parametrize("history", of("rsync"), ids=lambda history: history.name)
def test_a_steady_run_is_within_the_bound_of_what_is_left_too(history: History) -> None:
    for estimate in (Estimate(0.0), Estimate(0.0, expected(history))):
        _, of_what_is_left = errors(history, estimate)
        assert of_what_is_left < BOUND


@pytest.mark.parametrize(
    "name", ["rsync-middle", "curl-middle", "loop-middle", "ffmpeg-middle", "rsync-middle-again"]
)
def test_a_run_that_says_nothing_is_expected_to_take_what_it_took(name: str) -> None:
    [history] = [history for history in HISTORIES if history.name == name]
    of_the_run, _ = errors(replace(history, reports=[]), Estimate(0.0, expected(history)))
    assert of_the_run < BOUND


@every_history
@pytest.mark.parametrize("with_past", [False, True])
def test_a_real_run_is_not_said_to_leap(history: History, with_past: bool) -> None:
    estimate = Estimate(0.0, expected(history) if with_past else None)
    reports = [report for report in history.reports if report[0] < history.end]
    before = None
    for second in range(1, int(history.end) + 1):
        earlier = estimate.fraction
        while reports and reports[0][0] <= second:
            estimate.update(*reports.pop(0))
        left = estimate.left(second)
        if before is not None and left is not None:
            cause = (1 - estimate.fraction) / (1 - earlier) if earlier < 1 else 1
            assert cause * before / 1.5 - 1 <= left <= before * 1.5 + 1
        before = left


# Whatever comes

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["update", "ask", "pause", "resume", "restart"]),
        st.one_of(st.floats(0, 1), st.floats(0, 1e5)),
        st.one_of(st.floats(0, 1), st.floats(0, 0.01), st.just(float("nan")), st.just(2.0)),
    ),
    max_size=40,
)
PASTS = st.one_of(
    st.none(),
    st.builds(Expected, st.one_of(st.floats(0.001, 100), st.floats(0.001, 1e6)), st.floats(0.1, 2)),
)


@given(STEPS, PASTS, st.floats(-10, 10))
def test_an_answer_is_a_number_from_0_or_none(
    steps: list[tuple[str, float, float]], past: Expected | None, started: float
) -> None:
    estimate = Estimate(started, past)
    now = started
    for what, seconds, fraction in steps:
        now += seconds
        if what == "update":
            estimate.update(now, fraction)
        elif what == "pause":
            estimate.pause(now)
        elif what == "resume":
            estimate.resume(now)
        elif what == "restart":
            known = estimate.fraction
            estimate = Estimate(started, past)
            estimate.update(now, known)
        left = estimate.left(now)
        assert left is None or (0 <= left <= LONGEST and isfinite(left))


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2)), min_size=1, max_size=100),
    PASTS,
    st.floats(0, 100),
)
def test_it_leaps_neither_up_nor_down_but_by_the_progress_made(
    steps: list[tuple[float, float]], past: Expected | None, before_the_first: float
) -> None:
    estimate = Estimate(0.0, past)
    now, fraction = before_the_first, 0.0
    for seconds, part in steps:
        before = estimate.left(now)
        now += seconds
        cause = 1 - part
        fraction += part * (1 - fraction)
        estimate.update(now, fraction)
        left = estimate.left(now)
        if before is not None and left is not None:
            assert cause * before / 1.5 - 1 <= left <= before * 1.5 + 1


# One rule each


def test_nothing_is_known_without_progress_and_past() -> None:
    estimate = Estimate(100.0)
    assert estimate.left(100.0) is None
    assert estimate.left(1000.0) is None
    estimate.update(1000.0, 0.0)
    assert estimate.left(1001.0) is None


def test_a_steady_run_goes_on_as_it_went() -> None:
    estimate = Estimate(100.0)
    for second in range(1, 51):
        estimate.update(100.0 + second, second / 100)
        if second > 2:
            assert near(estimate.left(100.0 + second), 100 - second, 0.01)


def test_a_slow_start_soon_counts_for_little() -> None:
    estimate = Estimate(0.0)
    for second in range(20, 61):
        estimate.update(second, (second - 20) / 100)
    naive = 60 * 0.6 / 0.4
    assert near(estimate.left(60.0), 60, 0.2)
    assert not near(naive, 60, 0.2)


def test_what_was_there_at_once_was_not_made_by_this_run() -> None:
    estimate = Estimate(0.0)
    estimate.update(0.1, 0.5)
    for second in range(1, 26):
        estimate.update(second, 0.5 + second / 100)
    assert near(estimate.left(25.0), 25)


def test_bursts_count_like_the_even_progress_that_they_are_together() -> None:
    estimate = Estimate(0.0)
    answers = []
    for burst in range(1, 7):
        for step in range(5):
            estimate.update(burst * 10 + step * 0.1, burst * 0.1 - 0.08 + step * 0.02)
        answers += [(second, estimate.left(burst * 10 + second)) for second in (1, 3, 5, 7, 9)]
    for second, left in answers[-5:]:
        assert near(left, 40 - second, 0.15)


def test_what_is_left_passes_in_a_usual_silence_and_grows_in_a_longer_one() -> None:
    estimate = Estimate(0.0)
    for step in range(1, 6):
        estimate.update(step * 10, step / 10)
        estimate.left(step * 10)
    assert near(estimate.left(50.0), 50, 0.01)
    assert near(estimate.left(58.0), 42, 0.01)
    assert near(estimate.left(60.0), 40, 0.01)
    stalled = [estimate.left(float(second)) or 0 for second in range(61, 100)]
    assert stalled == sorted(stalled)
    assert stalled[-1] > 2 * stalled[0]


def test_it_never_comes_to_nothing_in_silence() -> None:
    estimate = Estimate(0.0)
    for step in range(1, 10):
        estimate.update(step * 10, step / 10)
        estimate.left(step * 10)
    silent = [estimate.left(90.0 + second) for second in range(30)]
    assert min(left or 0 for left in silent) >= 5 / 1.01


def test_a_leap_of_the_progress_is_followed_at_once_and_no_further() -> None:
    estimate = Estimate(0.0)
    estimate.update(10.0, 0.1)
    assert near(estimate.left(10.0), 90, 0.01)
    estimate.update(10.0, 0.9)
    assert near(estimate.left(10.0), 10, 0.01)


def test_more_than_all_is_all() -> None:
    estimate = Estimate(0.0)
    estimate.update(10.0, 0.5)
    estimate.update(20.0, 2.0)
    assert (estimate.fraction, estimate.left(20.0)) == (1.0, 0.0)


def test_what_is_left_of_all_is_nothing() -> None:
    estimate = Estimate(0.0, Expected(100.0, 0.3))
    estimate.update(10.0, 0.5)
    estimate.update(20.0, 1.0)
    assert estimate.left(20.0) == 0.0


def test_time_in_which_it_is_paused_does_not_count() -> None:
    paused, other = Estimate(0.0, Expected(90.0, 0.5)), Estimate(0.0, Expected(90.0, 0.5))
    for second in range(1, 31):
        paused.update(second, second / 100)
        other.update(second, second / 100)
    before = paused.left(30.0)
    other.left(30.0)
    paused.pause(30.0)
    assert paused.left(500.0) == before
    paused.resume(1030.0)
    assert paused.left(1030.0) == before
    paused.update(1040.0, 0.4)
    other.update(40.0, 0.4)
    assert paused.left(1041.0) == pytest.approx(other.left(41.0))


def test_the_progress_of_a_job_that_is_adopted_was_made_since_it_started() -> None:
    estimate = Estimate(1000.0)
    estimate.update(1060.0, 0.6)
    assert near(estimate.left(1060.0), 40, 0.001)


def test_a_clock_that_is_set_back_stands_still() -> None:
    estimate = Estimate(1000.0)
    estimate.update(1050.0, 0.5)
    left = estimate.left(1050.0)
    assert estimate.left(500.0) == left
    estimate.update(500.0, 0.51)
    assert near(estimate.left(500.0), 49, 0.1)


def test_the_past_alone_is_the_time_that_is_left_of_it_until_that_has_passed_twice() -> None:
    estimate = Estimate(0.0, Expected(100.0, 0.1))
    assert near(estimate.left(0.0), 100, 0.01)
    assert near(estimate.left(50.0), 50, 0.01)
    late = [estimate.left(float(second)) or 0 for second in range(90, 200)]
    assert late == sorted(late, reverse=True)
    assert late[0] < 12
    assert min(late) > 0
    assert estimate.left(200.0) is None


def test_a_narrow_past_counts_more_than_a_wide_one_and_own_progress_more_and_more() -> None:
    def after(seconds: float, spread: float) -> float:
        estimate = Estimate(0.0, Expected(100.0, spread))
        for second in range(1, int(seconds) + 1):
            estimate.update(second, second / 200)
            left = estimate.left(second)
        return left or 0

    assert near(after(20, 0.1), 80, 0.2)
    assert after(20, 0.1) < after(20, 0.5) < after(20, 2.0)
    assert near(after(190, 0.1), 10)


def test_a_past_that_was_far_off_is_soon_nothing_to_go_by() -> None:
    estimate = Estimate(0.0, Expected(1000.0, 0.3))
    for second in range(1, 51):
        estimate.update(second, second / 100)
        left = estimate.left(second)
    assert near(left, 50, 0.2)
