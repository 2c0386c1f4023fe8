"""The order of those who wait, against a list that is obviously right."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.scheduling.queue import Line, Queue


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(1, 60)),
            st.tuples(st.just("withdraw"), st.integers(1, 60)),
            st.tuples(st.just("take"), st.just(0)),
        ),
        max_size=200,
    )
)
def test_a_line_is_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    line, model = Line(), []
    for step, number in steps:
        if step == "add" and number not in model:
            line.add(number)
            model = sorted([*model, number])
        elif step == "withdraw":
            assert line.withdraw(number) == (number in model)
            model = [other for other in model if other != number]
        elif step == "take" and model:
            assert line.take() == model.pop(0)
        assert len(line) == len(model)
        assert [line.position(number) for number in model] == list(range(1, len(model) + 1))
        assert line.position(99) == 0
        assert list(line.slice(0, 1000)) == model
        assert list(line.slice(1, 2)) == model[1:3]


def test_taking_from_an_empty_line_is_an_error() -> None:
    with pytest.raises(IndexError):
        Line().take()


def test_a_long_line_forgets_those_who_were_taken() -> None:
    line = Line()
    for number in range(100_000):
        line.add(number)
    for number in range(99_000):
        assert line.take() == number
    assert len(line._numbers) < 20_000
    assert line.position(99_000) == 1
    assert list(line.slice(0, 2)) == [99_000, 99_001]


def test_the_queue_launches_in_order_as_many_as_there_are_slots() -> None:
    queue = Queue(slots=2)
    for number in (1, 2, 3):
        queue.line.add(number)
    assert [queue.launch(), queue.launch(), queue.launch()] == [1, 2, None]
    queue.release()
    assert queue.launch() == 3
    queue.release()
    assert queue.launch() is None


def test_a_paused_queue_and_one_without_slots_launch_and_reserve_nothing() -> None:
    queue = Queue(slots=1)
    queue.paused = True
    assert not queue.reserve()
    queue.line.add(1)
    assert queue.launch() is None
    queue.paused = False
    queue.slots = 0
    assert queue.launch() is None
    queue.slots = 1
    assert queue.launch() == 1


def test_with_fewer_slots_than_run_none_is_launched_until_enough_have_ended() -> None:
    queue = Queue(slots=3)
    for number in range(1, 6):
        queue.line.add(number)
    assert [queue.launch() for _ in range(3)] == [1, 2, 3]
    queue.slots = 2
    queue.release()
    assert queue.launch() is None
    queue.release()
    assert queue.launch() == 4
