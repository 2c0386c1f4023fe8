"""What every store promises: each is held to the same tests."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from aptask.interfaces import IStore
from aptask.model.job import Change, Job, Outcome, Status, change
from aptask.storage.memory import PRUNED_AT_ONCE, MemoryStore


@pytest.fixture(params=[MemoryStore])
def store(request: pytest.FixtureRequest) -> Any:
    return request.param()


def result(deferred: Deferred[Any]) -> Any:
    found: list[Any] = []
    deferred.addBoth(found.append)
    return found[0]


def queued(number: int) -> Job:
    return Job(id=number, task="t", owner="o", arguments=b"{}", created=float(number))


def ended(store: Any, number: int, at: float) -> Job:
    job = queued(number)
    result(store.add(job))
    change(job, Change.LAUNCH, at)
    result(store.update(job))
    change(job, Change.FINISH, at, Outcome(Status.DONE))
    result(store.update(job))
    return job


def test_it_is_a_store(store: Any) -> None:
    assert verifyObject(IStore, store)


def test_an_empty_one_begins_with_number_one(store: Any) -> None:
    assert result(store.load()) == ([], 1)


def test_it_gives_back_what_has_not_ended_in_its_order(store: Any) -> None:
    jobs = [queued(number) for number in (1, 2, 3)]
    for job in jobs:
        result(store.add(job))
    ended(store, 4, at=5.0)
    loaded, following = result(store.load())
    assert [job.id for job in loaded] == [1, 2, 3]
    assert following == 5


def test_a_number_is_not_used_again_when_its_job_was_forgotten(store: Any) -> None:
    ended(store, 1, at=5.0)
    assert result(store.prune(before=10.0, most=10)) == [1]
    assert result(store.load()) == ([], 2)


def test_it_gives_what_has_ended_by_its_number(store: Any) -> None:
    job = ended(store, 1, at=5.0)
    found = result(store.get(1))
    assert (found.id, found.status, found.ended) == (1, job.status, 5.0)
    assert result(store.get(2)) is None


def test_pruning_goes_by_time_and_by_number_oldest_first(store: Any) -> None:
    for number in (1, 2, 3, 4):
        ended(store, number, at=number * 10.0)
    assert result(store.prune(before=15.0, most=100)) == [1]
    assert result(store.prune(before=0.0, most=2)) == [2]
    assert result(store.get(2)) is None
    assert result(store.get(3)) is not None


def test_pruning_never_forgets_what_has_not_ended(store: Any) -> None:
    result(store.add(queued(1)))
    assert result(store.prune(before=1e12, most=0)) == []
    assert len(result(store.load())[0]) == 1


def test_pruning_goes_in_steps(store: Any) -> None:
    for number in range(1, PRUNED_AT_ONCE + 101):
        ended(store, number, at=1.0)
    assert len(result(store.prune(before=5.0, most=10))) == PRUNED_AT_ONCE
    assert len(result(store.prune(before=5.0, most=10))) == 100
