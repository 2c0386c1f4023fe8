"""The order of answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aptask.serving import answers
from aptask.serving.answers import Answers, Place


@given(st.lists(st.booleans(), max_size=12), st.randoms(use_true_random=False))
def test_answers_leave_in_the_order_of_their_places(kept: list[bool], random: object) -> None:
    queue, left, places = Answers(), [], []
    for number, keep in enumerate(kept):
        if keep:
            places.append((number, queue.keep_place()))
        elif not queue:
            left.append(b"%d" % number)
        else:
            queue.append(b"%d" % number)
    random.shuffle(places)  # type: ignore[attr-defined]
    for number, place in places:
        left += queue.fill(place, b"%d" % number)
    assert left == [b"%d" % number for number in range(len(kept))]
    assert not queue


def test_too_many_are_full_until_half_have_left() -> None:
    queue = Answers()
    places: list[Place] = []
    while not queue.is_full:
        places.append(queue.keep_place())
    assert len(queue) == answers.MOST
    for place in places[: answers.MOST // 2 - 1]:
        queue.fill(place, b"")
    assert queue.is_full
    queue.fill(places[answers.MOST // 2 - 1], b"")
    assert not queue.is_full


def test_too_many_bytes_behind_one_that_is_outstanding_are_full() -> None:
    queue = Answers()
    place = queue.keep_place()
    queue.append(b"x" * answers.MOST_BYTES)
    assert queue.is_full
    assert len(queue.fill(place, b"")) == 2
    assert not queue.is_full
