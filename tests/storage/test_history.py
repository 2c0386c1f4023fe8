"""Pages of the history, as every store gives them."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from aptask.model.history import LISTED_BYTES, Wanted
from aptask.model.job import Change, Job, Outcome, Status, change

STATUSES = (Status.DONE, Status.ERROR, Status.STOPPED, Status.INTERRUPTED)


def queued(task: str = "t", owner: str = "o") -> Job:
    return Job(id=0, task=task, owner=owner, arguments=b"{}", created=1.0)


@pytest.fixture
def finished(bench: Any) -> Any:
    """Enters jobs that have ended, at once."""

    def enter(store: Any, ends: list[tuple[Job, Status, float]]) -> list[Job]:
        added = bench.result(store.add_all([job for job, _, _ in ends]))
        for (job, status, at), one in zip(ends, added, strict=True):
            job.id = one.id
            change(job, Change.LAUNCH, 2.0)
            change(job, Change.FINISH, at, Outcome(status, "over"))
            last = store.update(job)
        bench.result(last)
        return [job for job, _, _ in ends]

    return enter


def expected(jobs: list[Job], wanted: Wanted) -> list[Job]:
    """All that are wanted, slowly and obviously."""
    found = []
    for job in jobs:
        assert job.ended is not None
        if (
            (wanted.owner is None or job.owner == wanted.owner)
            and (wanted.task is None or job.task == wanted.task)
            and (wanted.status is None or job.status is wanted.status)
            and (wanted.since is None or job.ended >= wanted.since)
            and (wanted.until is None or job.ended < wanted.until)
            and (wanted.before is None or (job.ended, job.id) < wanted.before)
        ):
            found.append(job)
    return sorted(found, key=lambda job: (job.ended or 0.0, job.id), reverse=True)


def test_only_what_has_ended_is_history(
    store: Any, result: Any, added: Any, launched: Any, ended: Any
) -> None:
    added(store)
    launched(store)
    assert result(store.history(Wanted(), 10)) == []
    job = ended(store)
    assert result(store.history(Wanted(), 10)) == [job]


def test_the_last_to_end_comes_first_and_of_equals_the_newest(
    store: Any, result: Any, finished: Any
) -> None:
    ends = [7.0, 9.0, 5.5, 9.0, 5.5, 5.500001]
    finished(
        store, [(queued(), status, at) for at, status in zip(ends, STATUSES * 2, strict=False)]
    )
    found = result(store.history(Wanted(), 10))
    assert [job.id for job in found] == [4, 2, 1, 6, 5, 3]


@pytest.mark.parametrize(
    ("owner", "task", "status", "bounded"),
    list(
        itertools.product(
            (None, "o1", "nobody"),
            (None, "t2", "nothing"),
            (None, Status.DONE, Status.INTERRUPTED),
            (False, True),
        )
    ),
)
def test_every_choice_is_paged_through_without_loss_or_repetition(
    store: Any, result: Any, finished: Any, owner: Any, task: Any, status: Any, bounded: bool
) -> None:
    dice = random.Random(1)
    jobs = finished(
        store,
        [
            (
                queued(f"t{dice.randrange(3)}", f"o{dice.randrange(3)}"),
                dice.choice(STATUSES),
                float(dice.randrange(10, 30)),
            )
            for _ in range(300)
        ],
    )
    since, until = (15.0, 25.0) if bounded else (None, None)
    seen: list[Job] = []
    before = None
    while page := result(store.history(Wanted(owner, task, status, since, until, before), 7)):
        assert len(page) <= 7
        seen += page
        assert len(seen) <= len(jobs)
        before = page[-1].ended, page[-1].id
    assert seen == expected(jobs, Wanted(owner, task, status, since, until))


@pytest.mark.parametrize("before", [(0.0, 5), (20.0, 0), (20.0, 10**30), (1e300, 1)])
def test_a_page_may_begin_anywhere(
    store: Any, result: Any, finished: Any, before: tuple[float, int]
) -> None:
    jobs = finished(store, [(queued(), Status.DONE, at) for at in (10.0, 20.0, 20.0, 30.0)])
    wanted = Wanted(before=before)
    assert result(store.history(wanted, 10)) == expected(jobs, wanted)


def test_a_page_goes_on_where_the_last_one_ended_though_that_was_forgotten(
    store: Any, result: Any, finished: Any
) -> None:
    finished(store, [(queued(), Status.DONE, float(at)) for at in range(10, 20)])
    page = result(store.history(Wanted(until=15.0), 2))
    assert [job.ended for job in page] == [14.0, 13.0]
    assert len(result(store.prune(before=14.5, most=100))) == 5
    finished(store, [(queued(), Status.DONE, 12.5)])
    page = result(store.history(Wanted(before=(13.0, page[-1].id)), 2))
    assert [job.ended for job in page] == [12.5]


def test_pruning_takes_the_first_to_end_whatever_their_status(
    store: Any, result: Any, finished: Any
) -> None:
    finished(store, [(queued(), status, 20.0 - at) for at, status in enumerate(STATUSES)])
    assert set(result(store.prune(before=0.0, most=2))) == {3, 4}
    assert [job.id for job in result(store.history(Wanted(), 10))] == [1, 2]


def test_of_what_is_too_long_for_a_list_only_the_beginning_is_read(
    store: Any, bench: Any, result: Any
) -> None:
    long, short = b'"' + b"x" * 100_000 + b'"', b'"' + b"y" * (LISTED_BYTES - 2) + b'"'
    for arguments, returned in ((long, short), (short, long), (long, None), (short, short)):
        job = queued()
        job.arguments = arguments
        job.id = result(store.add(job)).id
        change(job, Change.LAUNCH, 2.0)
        change(job, Change.FINISH, 3.0 + job.id, Outcome(Status.DONE, result=returned))
        result(store.update(job))
    listed = result(store.get_many([1, 2, 3, 4], listed=True))
    assert listed == result(store.history(Wanted(), 10))[::-1]
    beginning = long[: LISTED_BYTES + 1]
    assert [(job.arguments, job.result) for job in listed] == [
        (beginning, short),
        (short, beginning),
        (beginning, None),
        (short, short),
    ]
    assert result(store.get(1)).arguments == long
    assert result(store.get_many([2]))[0].result == long


def test_times_beyond_any_calendar_are_the_ends_of_it(store: Any, result: Any, ended: Any) -> None:
    job = ended(store)
    far = float("inf")
    assert result(store.history(Wanted(since=far), 10)) == []
    assert result(store.history(Wanted(until=-far), 10)) == []
    assert result(store.history(Wanted(since=-far, until=far, before=(far, 1)), 10)) == [job]
