"""The table of transitions, whole."""

from __future__ import annotations

import itertools

import pytest

from aptask.errors import Conflict
from aptask.model.job import TRANSITIONS, Change, Job, Outcome, State, Status, change
from aptask.model.progress import Progress


def job(state: State = State.QUEUED, status: Status = Status.INITIALIZED) -> Job:
    return Job(
        id=1,
        task="t",
        owner="o",
        arguments=b"{}",
        secrets=b'{"s":1}',
        created=1.0,
        state=state,
        status=status,
    )


@pytest.mark.parametrize(("state", "what"), list(itertools.product(State, Change)))
def test_every_change_of_every_state_is_in_the_table_or_a_conflict(
    state: State, what: Change
) -> None:
    subject = job(state, Status.DONE if state is State.ENDED else Status.RUNNING)
    if (state, what) in TRANSITIONS:
        change(subject, what, 5.0, Outcome(Status.ERROR))
        after, status = TRANSITIONS[state, what]
        assert subject.state is after
        assert subject.status is (status or Status.ERROR)
    else:
        with pytest.raises(Conflict):
            change(subject, what, 5.0, Outcome(Status.ERROR))
        assert subject.state is state


def test_nothing_leads_out_of_the_end() -> None:
    assert not [state for state, _ in TRANSITIONS if state is State.ENDED]


def test_launching_gives_the_time_of_the_start_and_ending_that_of_the_end() -> None:
    subject = job()
    change(subject, Change.LAUNCH, 5.0)
    assert (subject.started, subject.ended) == (5.0, None)
    change(subject, Change.FINISH, 7.0, Outcome(Status.DONE, exit=0, result=b"3"))
    assert (subject.started, subject.ended, subject.exit, subject.result) == (5.0, 7.0, 0, b"3")


def test_its_end_forgets_secrets() -> None:
    subject = job()
    change(subject, Change.STOP, 5.0)
    assert subject.secrets is None


def test_an_outcome_without_a_message_leaves_the_last_one() -> None:
    subject = job(State.ACTIVE, Status.RUNNING)
    subject.progress = Progress(0.5, "half")
    change(subject, Change.FINISH, 5.0, Outcome(Status.ERROR))
    assert subject.progress == Progress(0.5, "half")


def test_one_that_is_done_is_at_one() -> None:
    subject = job(State.ACTIVE, Status.RUNNING)
    change(subject, Change.FINISH, 5.0, Outcome(Status.DONE, "all of it"))
    assert subject.progress == Progress(1.0, "all of it")


def test_finishing_needs_an_outcome() -> None:
    with pytest.raises(ValueError, match="outcome"):
        change(job(State.ACTIVE, Status.RUNNING), Change.FINISH, 5.0)
