"""The lazy timer."""

from __future__ import annotations

from twisted.internet.task import Clock

from aptask.serving.deadline import Deadline


def test_it_looks_at_the_earliest_time_asked_for_and_goes_on_from_there() -> None:
    clock, looked = Clock(), []

    def check() -> float:
        looked.append(clock.seconds())
        return clock.seconds() + 100

    deadline = Deadline(clock, check)
    deadline.look_by(20)
    (call,) = clock.getDelayedCalls()
    deadline.look_by(30)
    assert clock.getDelayedCalls() == [call]  # a later time leaves the timer alone
    deadline.look_by(10)
    clock.pump([10, 10, 90])
    assert looked == [10, 110]


def test_it_never_looks_again_once_it_is_cancelled() -> None:
    clock = Clock()
    deadline = Deadline(clock, lambda: 1 / 0)
    deadline.look_by(10)
    deadline.cancel()
    deadline.look_by(5)
    assert not clock.getDelayedCalls()


def test_it_may_be_cancelled_while_it_looks() -> None:
    clock = Clock()

    def check() -> float:
        deadline.cancel()
        return 0.0

    deadline = Deadline(clock, check)
    deadline.look_by(1)
    clock.advance(1)
    assert not clock.getDelayedCalls()
