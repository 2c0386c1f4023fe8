"""What every store promises: each is held to the same tests."""

from __future__ import annotations

from typing import Any

import pytest
from zope.interface.verify import verifyObject

from aptask.interfaces import IStore
from aptask.model.job import Added, Change, Counts, Job, Outcome, State, Status, change
from aptask.model.progress import Progress
from aptask.storage import book, memory

FAR = 1e12


def queued(task: str = "t", owner: str = "o", created: float = 1.0, **more: Any) -> Job:
    more.setdefault("arguments", b"{}")
    return Job(id=0, task=task, owner=owner, created=created, **more)


def at_once(**more: Any) -> Job:
    """A new job that is launched as it is entered."""
    return queued(state=State.ACTIVE, status=Status.RUNNING, started=2.0, **more)


def test_it_is_a_store(store: Any) -> None:
    assert verifyObject(IStore, store)


def test_an_empty_one_begins_with_number_one(store: Any, result: Any) -> None:
    assert result(store.counts()) == Counts(0, 0, 0, next=1)
    assert result(store.waiting(0, 10)) == []
    assert result(store.unfinished()) == []
    assert result(store.applied()) is None


def test_new_jobs_get_numbers_that_follow_each_other(store: Any, result: Any) -> None:
    asked = [store.add(queued()) for _ in range(1234)]
    assert [result(one) for one in asked] == [Added(number) for number in range(1, 1235)]


def test_a_job_comes_back_as_it_was_entered(store: Any, result: Any) -> None:
    job = queued("täsk", "öwner", 1.5, arguments=b'{"a":1}', secrets=b'{"b":2}', rerun=True)
    job.id = result(store.add(job)).id
    assert result(store.get(job.id)) == job
    assert result(store.get(job.id + 1)) is None


@pytest.mark.parametrize("size", [0, 1, 4000, 4092, 5000, 1_000_000])
def test_contents_of_any_size_come_back(store: Any, result: Any, size: int) -> None:
    text = b'"' + b"x" * size + b'"'
    job = queued(arguments=text, secrets=text)
    job.id = result(store.add(job)).id
    assert result(store.get(job.id)) == job
    change(job, Change.LAUNCH, 2.0)
    change(job, Change.FINISH, 3.0, Outcome(Status.DONE, result=text))
    result(store.update(job))
    assert result(store.get(job.id)) == job


def test_every_change_of_a_job_is_entered(store: Any, result: Any, added: Any) -> None:
    job = added(store)
    for what in (Change.LAUNCH, Change.STOP, Change.FINISH):
        change(job, what, 5.0, Outcome(Status.STOPPED, "enough", exit=-15, result=b"[]"))
        job.progress = Progress(0.5, job.progress.message)
        result(store.update(job))
        assert result(store.get(job.id)) == job


def test_what_is_done_to_a_job_later_is_not_in_the_book(store: Any, result: Any) -> None:
    job = queued()
    asked = store.add(job)
    job.task = "another"
    job.id = result(asked).id
    assert result(store.get(1)).task == "t"
    found = result(store.get(1))
    found.task = "a third"
    assert result(store.get(1)).task == "t"
    change(job, Change.LAUNCH, 2.0)
    asked = store.update(job)
    job.started = 7.0
    result(asked)
    assert result(store.get(1)).started == 2.0


def test_an_attempt_after_another_waits_again(store: Any, result: Any, launched: Any) -> None:
    job = launched(store)
    job.state, job.status, job.attempt, job.started = State.QUEUED, Status.INITIALIZED, 2, None
    result(store.update(job))
    assert result(store.unfinished()) == []
    assert [one.id for one in result(store.waiting(0, 10))] == [job.id]
    assert result(store.get(job.id)).attempt == 2


def test_a_job_may_be_launched_as_it_is_entered(store: Any, result: Any) -> None:
    """Among others that are queued."""
    jobs = [queued(), at_once(secrets=b'{"p":"hush"}', rerun=True), queued(), at_once()]
    asked = [store.add(job) for job in jobs]
    for job, one in zip(jobs, asked, strict=True):
        job.id = result(one).id
    assert [job.id for job in jobs] == [1, 2, 3, 4]
    assert result(store.get_many([1, 2, 3, 4])) == jobs
    assert result(store.unfinished()) == [jobs[1], jobs[3]]
    assert [one.id for one in result(store.waiting(0, 10))] == [1, 3]
    assert result(store.counts()) == Counts(queued=2, unfinished=2, ended=0, next=5)


def test_what_was_launched_as_it_was_entered_ends_as_others_do(store: Any, result: Any) -> None:
    job = at_once(secrets=b'{"p":"hush"}')
    job.id = result(store.add(job)).id
    change(job, Change.FINISH, 3.0, Outcome(Status.DONE, exit=0))
    result(store.update(job))
    assert result(store.get(job.id)) == job
    assert result(store.unfinished()) == []


def test_what_was_launched_as_it_was_entered_has_its_keys(store: Any, result: Any) -> None:
    several = [at_once(), at_once()]
    assert result(store.add_all(several, once="k", unique="u")) == [Added(1), Added(2)]
    again = [Added(number, existing=True) for number in (1, 2)]
    for make in (queued, at_once):
        assert result(store.add_all([make()], once="k")) == again
        assert result(store.add(make(), unique="u")) == again[0]
    assert [job.id for job in result(store.unfinished())] == [1, 2]
    for job, number in zip(several, (1, 2), strict=True):
        job.id = number
        change(job, Change.FINISH, 3.0, Outcome(Status.DONE))
        result(store.update(job))
    assert result(store.add(at_once(), unique="u")) == Added(3)
    assert result(store.add(at_once(), once="k")) == again[0]


def test_a_job_that_is_repeated_waits_with_its_secrets(store: Any, result: Any) -> None:
    for job in (at_once(secrets=b'{"p":"hush"}'), queued(secrets=b'{"p":"hush"}')):
        job.id = result(store.add(job)).id
        if job.state is State.QUEUED:
            change(job, Change.LAUNCH, 2.0)
            result(store.update(job))
        job.progress = Progress(0.5, "half")
        result(store.update(job))
        change(job, Change.REPEAT, 3.0)
        assert (job.state, job.attempt, job.started) == (State.QUEUED, 2, None)
        result(store.update(job))
        assert result(store.get(job.id)) == job
    assert result(store.unfinished()) == []
    assert [one.id for one in result(store.waiting(0, 10))] == [1, 2]


@pytest.mark.parametrize(
    "job",
    [
        queued(state=State.ACTIVE),
        queued(attempt=2),
        queued(started=1.0),
        queued(state=State.ACTIVE, status=Status.RUNNING, started=1.0, attempt=2),
        queued(state=State.ACTIVE, status=Status.RUNNING, started=1.0, progress=Progress(0.5)),
        queued(state=State.ACTIVE, status=Status.INITIALIZED, started=1.0),
        queued(state=State.ACTIVE, status=Status.RUNNING, started=1.0, ended=2.0),
        queued(exit=0),
        queued(result=b"1"),
    ],
)
def test_only_fresh_jobs_are_entered(store: Any, job: Job) -> None:
    with pytest.raises(ValueError, match="first time"):
        store.add(job)


def test_what_has_ended_changes_no_more(store: Any, result: Any, ended: Any) -> None:
    job = ended(store)
    before = result(store.get(job.id))
    job.status = Status.ERROR
    result(store.update(job))
    job.state = State.ACTIVE
    result(store.update(job))
    assert result(store.get(job.id)) == before
    assert result(store.counts()) == Counts(0, 0, 1, next=2)


def test_an_update_of_a_job_that_is_not_there_is_passed_over(store: Any, result: Any) -> None:
    job = queued()
    job.id = 7
    change(job, Change.LAUNCH, 2.0)
    result(store.update(job, applied=("runner", 3)))
    assert result(store.get(7)) is None
    assert result(store.applied()) == ("runner", 3)


def test_secrets_are_kept_until_the_end_and_no_longer(
    store: Any, result: Any, launched: Any
) -> None:
    job = launched(store, queued(secrets=b'{"p":"hush"}'))
    job.secrets = None
    job.progress = Progress(0.5)
    result(store.update(job))
    assert result(store.get(job.id)).secrets == b'{"p":"hush"}'
    change(job, Change.FINISH, 3.0, Outcome(Status.DONE))
    result(store.update(job))
    assert result(store.get(job.id)).secrets is None


def test_several_are_given_in_the_order_asked_for(store: Any, result: Any, added: Any) -> None:
    for _ in range(5):
        added(store)
    found = result(store.get_many([4, 9, 2, 4]))
    assert [job.id for job in found] == [4, 2, 4]
    assert result(store.get_many([])) == []


def test_the_waiting_are_read_in_steps_in_their_order(
    store: Any, result: Any, added: Any, launched: Any, ended: Any
) -> None:
    for number in range(10):
        added(store, queued(task=f"t{number}", owner=f"o{number}"))
    launched(store)
    ended(store)
    last = added(store)
    seen: list[Any] = []
    while step := result(store.waiting(seen[-1].id if seen else 0, 4)):
        assert len(step) <= 4
        seen += step
    assert [one.id for one in seen] == [*range(1, 11), last.id]
    assert (seen[3].task, seen[3].owner) == ("t3", "o3")


def test_those_that_were_launched_and_have_not_ended_are_told_apart(
    store: Any, result: Any, added: Any, launched: Any, ended: Any
) -> None:
    added(store)
    ended(store)
    active = launched(store)
    stopping = launched(store)
    change(stopping, Change.STOP, 3.0)
    result(store.update(stopping))
    assert result(store.unfinished()) == [active, stopping]
    assert result(store.counts()) == Counts(queued=1, unfinished=2, ended=1, next=5)


# The runner's events


def test_the_event_that_was_applied_is_in_the_book_with_what_it_changed(
    store: Any, result: Any, launched: Any
) -> None:
    job = launched(store)
    change(job, Change.FINISH, 3.0, Outcome(Status.DONE))
    result(store.update(job, applied=("runner", 17)))
    assert result(store.applied()) == ("runner", 17)
    result(store.update(job))
    assert result(store.applied()) == ("runner", 17)
    result(store.apply("another", 1))
    assert result(store.applied()) == ("another", 1)


# Once, and unique


def test_once_is_answered_with_the_first_also_after_its_end(
    store: Any, result: Any, ended: Any
) -> None:
    job = ended(store, once="k")
    assert result(store.add(queued(task="another"), once="k")) == Added(job.id, existing=True)
    assert result(store.counts()).next == 2


def test_once_is_forgotten_with_its_job(store: Any, result: Any, ended: Any) -> None:
    ended(store, once="k")
    result(store.prune(FAR, 0))
    assert result(store.add(queued(), once="k")) == Added(2)


def test_unique_is_answered_with_the_one_that_has_not_ended(
    store: Any, result: Any, launched: Any
) -> None:
    job = launched(store, unique="k")
    assert result(store.add(queued(), unique="k")) == Added(job.id, existing=True)
    change(job, Change.FINISH, 3.0, Outcome(Status.DONE))
    result(store.update(job))
    assert result(store.add(queued(), unique="k")) == Added(2)
    assert result(store.add(queued(), unique="k")) == Added(2, existing=True)


@pytest.mark.parametrize("keys", [{"once": "k"}, {"unique": "k"}])
def test_a_key_belongs_to_its_owner(store: Any, result: Any, keys: Any) -> None:
    assert result(store.add(queued(owner="alice"), **keys)) == Added(1)
    assert result(store.add(queued(owner="bob"), **keys)) == Added(2)
    assert result(store.add(queued(owner="alice"), **keys)) == Added(1, existing=True)


def test_once_and_unique_are_two_things(store: Any, result: Any) -> None:
    assert result(store.add(queued(), once="k")) == Added(1)
    assert result(store.add(queued(), unique="k")) == Added(2)
    assert result(store.add(queued(), once="l", unique="k")) == Added(2, existing=True)
    assert result(store.add(queued(), once="l")) == Added(3)


def test_many_with_one_key_at_the_same_time_are_one(store: Any, result: Any) -> None:
    asked = [store.add(queued(), once="k") for _ in range(100)]
    assert [result(one) for one in asked] == [Added(1), *[Added(1, existing=True)] * 99]


# Several at once


def test_several_get_numbers_that_follow_each_other(store: Any, result: Any) -> None:
    first = store.add(queued())
    several = store.add_all([queued(task=f"t{number}") for number in range(5)])
    assert result(store.add(queued())) == Added(7)
    assert result(first) == Added(1)
    assert result(several) == [Added(number) for number in range(2, 7)]
    assert result(store.get(4)).task == "t2"
    assert result(store.add_all([])) == []


def test_a_key_stands_for_all_of_them(store: Any, result: Any, added: Any) -> None:
    added(store)
    result(store.add_all([queued() for _ in range(3)], once="k", unique="u"))
    added(store)
    again = [Added(number, existing=True) for number in (2, 3, 4)]
    for keys in ({"once": "k"}, {"unique": "u"}):
        assert result(store.add_all([queued()], **keys)) == again
        assert result(store.add(queued(), **keys)) == again[0]


def test_unique_holds_until_the_last_of_them_has_ended(store: Any, result: Any) -> None:
    jobs = [queued() for _ in range(3)]
    for job, one in zip(jobs, result(store.add_all(jobs, unique="u")), strict=True):
        job.id = one.id
    for job in (jobs[0], jobs[2]):
        change(job, Change.STOP, 3.0)
        result(store.update(job))
    again = result(store.add_all([queued()], unique="u"))
    assert again == [Added(number, existing=True) for number in (1, 2, 3)]
    result(store.prune(FAR, 0))
    assert result(store.add_all([queued()], unique="u")) == [Added(2, existing=True)]
    change(jobs[1], Change.STOP, 3.0)
    result(store.update(jobs[1]))
    assert result(store.add_all([queued()], unique="u")) == [Added(4)]


def test_of_several_all_are_entered_or_none(store: Any, result: Any) -> None:
    with pytest.raises(ValueError):
        store.add_all([queued(), queued(attempt=2)])
    assert result(store.counts()).next == 1


# Pruning


def test_a_number_is_not_used_again_when_its_job_was_forgotten(
    store: Any, result: Any, ended: Any, added: Any
) -> None:
    ended(store, 5.0)
    assert result(store.prune(before=10.0, most=10)) == [1]
    assert added(store).id == 2


def test_pruning_goes_by_time_and_by_number_oldest_first(
    store: Any, result: Any, ended: Any
) -> None:
    for number in (1, 2, 3, 4):
        ended(store, number * 10.0)
    assert result(store.prune(before=15.0, most=100)) == [1]
    assert result(store.prune(before=0.0, most=2)) == [2]
    assert result(store.get(2)) is None
    assert result(store.get(3)) is not None
    assert result(store.counts()).ended == 2


def test_pruning_never_forgets_what_has_not_ended(
    store: Any, result: Any, added: Any, launched: Any
) -> None:
    added(store)
    launched(store)
    assert result(store.prune(before=FAR, most=0)) == []
    assert result(store.counts()) == Counts(1, 1, 0, next=3)


def test_pruning_goes_in_steps(store: Any, result: Any) -> None:
    assert book.PRUNED_AT_ONCE == memory.PRUNED_AT_ONCE
    jobs = [queued() for _ in range(book.PRUNED_AT_ONCE + 100)]
    for job, one in zip(jobs, result(store.add_all(jobs)), strict=True):
        job.id = one.id
        change(job, Change.STOP, 1.0)
        last = store.update(job)
    result(last)
    assert result(store.prune(before=5.0, most=10)) == list(range(1, book.PRUNED_AT_ONCE + 1))
    assert len(result(store.prune(before=5.0, most=10))) == 100
    assert result(store.prune(before=5.0, most=10)) == []


# Its end


def test_closing_finishes_what_was_asked_for(store: Any, result: Any) -> None:
    asked = store.add(queued())
    result(store.close())
    assert result(asked) == Added(1)


def test_it_knows_what_it_takes_on_the_disk(store: Any, result: Any) -> None:
    assert result(store.size()) >= 0
