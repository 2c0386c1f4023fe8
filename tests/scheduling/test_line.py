"""The line in its pieces, and the register in its pages, against a list and a dict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.scheduling import line as module
from aptask.scheduling.line import Line
from aptask.scheduling.register import Register


@pytest.fixture(autouse=True, scope="module")
def short_pieces() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECE", 4)
        yield


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "withdraw", "take"]), st.integers(1, 60)),
    max_size=200,
)


@given(STEPS)
def test_a_line_is_a_sorted_list(steps: list[tuple[str, int]]) -> None:
    line, model = Line.of_numbers(), []
    for step, number in steps:
        if step == "add" and number not in model:
            line.add(number)
            model = sorted([*model, number])
        elif step == "withdraw":
            assert line.withdraw(number) == (number in model)
            model = [other for other in model if other != number]
        elif step == "take" and model:
            assert line.first() == model[0]
            assert line.take() == model.pop(0)
        assert len(line) == len(model)
        assert [line.position(number) for number in model] == list(range(1, len(model) + 1))
        assert line.position(99) == 0
        assert list(line) == line.slice(0, 1000) == model
        assert line.slice(2, 7) == model[2:9]
        assert line.slice(5, 0) == []


@given(st.permutations(range(200)), st.integers(1, 199))
def test_a_line_that_is_thinned_out_is_few_pieces(numbers: list[int], left: int) -> None:
    line = Line.of_numbers()
    for number in numbers:
        line.add(number)
    for number in numbers[left:]:
        assert line.withdraw(number)
    assert list(line) == sorted(numbers[:left])
    assert len(line._pieces) <= left
    assert all(len(piece) < 2 * module.PIECE for piece in line._pieces)


def test_an_empty_line_has_no_first() -> None:
    with pytest.raises(IndexError):
        Line.of_numbers().first()
    with pytest.raises(IndexError):
        Line.of_numbers().take()


def test_a_line_holds_whatever_has_an_order() -> None:
    line: Line[tuple[float, int]] = Line(list)
    for thing in ((2.5, 1), (0.5, 9), (2.5, 0)):
        line.add(thing)
    assert list(line) == [(0.5, 9), (2.5, 0), (2.5, 1)]


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 9)), max_size=100))
def test_a_register_is_a_dict(steps: list[tuple[int, int]]) -> None:
    register, model = Register(), {}
    for number, place in steps:
        if number in model:
            register.remove(number)
            del model[number]
        else:
            register.put(number, place)
            model[number] = place
        assert len(register) == len(model)
        assert all(register.get(number) == model.get(number, 0) for number in range(601))
    assert len(register._pages) == len({number >> 7 for number in model})
