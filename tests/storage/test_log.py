"""The event log, as every store keeps it."""

from __future__ import annotations

from typing import Any

import pytest

from aptask.model.event import NOBODY, Author, Event, Level, Logged
from aptask.model.job import Added, Change, Job, Outcome, State, Status, change
from aptask.storage import log

FAR = 1e12
ALICE = Author("alice", "127.0.0.1:5555")


def queued(task: str = "sleep", owner: str = "alice", **more: Any) -> Job:
    return Job(id=0, task=task, owner=owner, arguments=b"{}", created=1.0, **more)


def at_once(**more: Any) -> Job:
    return queued(state=State.ACTIVE, status=Status.RUNNING, started=2.0, **more)


def event(message: str, level: Level = Level.CLIENT, author: Author = NOBODY) -> Event:
    return Event(level, message, author)


@pytest.fixture
def told(result: Any) -> Any:
    """What is in a log of a level, without numbers and times."""

    def tell(store: Any, level: Level | None = Level.TASKING) -> list[tuple[str, str, str]]:
        return [
            (one.event.author.user, one.event.author.peer, one.event.message)
            for one in result(store.read_log(0, 10_000, level))
        ]

    return tell


@pytest.fixture
def messages(told: Any) -> Any:
    return lambda store, level=None: [message for _, _, message in told(store, level)]


def test_an_empty_log_has_no_events(store: Any, result: Any) -> None:
    assert store.logged == 0
    assert result(store.read_log(None, 10, None)) == []
    assert result(store.read_log(7, 10, Level.ERROR)) == []
    assert result(store.prune_log(FAR, 0)) == 0


def test_what_is_logged_comes_back_with_its_number_and_time(
    store: Any, result: Any, bench: Any
) -> None:
    first, second = event("a refusal", author=ALICE), event("a fault", Level.ERROR)
    bench.now = 1234.5
    result(store.log([first]))
    assert store.logged == 1
    bench.now = 1300.0
    result(store.log([second]))
    assert store.logged == 2
    found = result(store.read_log(None, 10, None))
    assert found == [Logged(1, 1234.5, first), Logged(2, 1300.0, second)]


def test_a_job_is_told_of_from_its_submission_to_its_end(
    store: Any, result: Any, told: Any
) -> None:
    job = queued()
    job.id = result(store.add(job, peer="10.0.0.1:7")).id
    for what, outcome, by in (
        (Change.LAUNCH, None, NOBODY),
        (Change.REPEAT, Outcome(Status.ERROR, "exited with 3"), NOBODY),
        (Change.LAUNCH, None, NOBODY),
        (Change.RETURN, None, NOBODY),
        (Change.LAUNCH, None, NOBODY),
        (Change.STOP, None, ALICE),
        (Change.FINISH, Outcome(Status.STOPPED, "on\nrequest"), ALICE),
    ):
        change(job, what, 3.0, outcome)
        result(store.update(job, by=by))
    alice, nobody = ("alice", "127.0.0.1:5555"), ("", "")
    assert told(store) == [
        ("alice", "10.0.0.1:7", "task 1 (sleep) is queued"),
        (*nobody, "task 1 (sleep) is running"),
        (*nobody, "task 1 (sleep) waits for attempt 2: exited with 3"),
        (*nobody, "task 1 (sleep) is running"),
        (*nobody, "task 1 (sleep) waits for attempt 2"),
        (*nobody, "task 1 (sleep) is running"),
        (*alice, "task 1 (sleep) is stopping"),
        (*alice, "task 1 (sleep) has ended: stopped: on\\nrequest"),
    ]


def test_a_job_that_was_never_begun_is_queued_again(store: Any, result: Any, told: Any) -> None:
    job = at_once()
    job.id = result(store.add(job)).id
    change(job, Change.RETURN, 3.0)
    result(store.update(job))
    assert [message for *_, message in told(store)] == [
        "task 1 (sleep) is running",
        "task 1 (sleep) is queued again",
    ]


def test_an_end_without_a_message_tells_its_status(store: Any, messages: Any, ended: Any) -> None:
    ended(store, job=queued())
    assert messages(store)[-1] == "task 1 (sleep) has ended: done"


def test_what_changes_no_state_is_not_told(
    store: Any, result: Any, launched: Any, messages: Any
) -> None:
    job = launched(store)
    before = store.logged
    result(store.update(job))
    stray = queued()
    stray.id = 77
    change(stray, Change.LAUNCH, 2.0)
    result(store.update(stray))
    change(job, Change.STOP, 3.0)
    result(store.update(job))
    change(job, Change.STOP, 3.0)
    result(store.update(job))
    change(job, Change.FINISH, 4.0, Outcome(Status.DONE))
    result(store.update(job))
    job.state, job.status = State.ACTIVE, Status.RUNNING
    result(store.update(job))
    job.state, job.status = State.ENDED, Status.ERROR
    result(store.update(job))
    assert store.logged == before + 2
    assert messages(store)[before:] == ["task 1 (t) is stopping", "task 1 (t) has ended: done"]


def test_all_that_happens_to_a_job_in_one_turn_is_told(
    store: Any, result: Any, added: Any, messages: Any
) -> None:
    job = added(store, queued())
    asked = []
    for what in (Change.LAUNCH, Change.REPEAT, Change.LAUNCH, Change.FINISH):
        change(job, what, 3.0, Outcome(Status.DONE))
        asked.append(store.update(job))
    for one in asked:
        result(one)
    assert messages(store)[1:] == [
        "task 1 (sleep) is running",
        "task 1 (sleep) waits for attempt 2",
        "task 1 (sleep) is running",
        "task 1 (sleep) has ended: done",
    ]
    assert result(store.get(1)) == job


def test_new_jobs_are_told_of_in_their_order_whoever_asked(
    store: Any, result: Any, told: Any
) -> None:
    """Many in one transaction, of several owners, tasks and ways."""
    asked = []
    for number in range(1, 31):
        make = at_once if number % 7 == 0 else queued
        job = make(task=f"t{number % 3}", owner=f"o{number % 2}")
        asked.append(store.add(job, peer=f"p{number % 5}"))
    asked.append(store.add_all([queued(), queued()], peer="both"))
    for one in asked:
        result(one)
    assert told(store)[:30] == [
        (
            f"o{number % 2}",
            f"p{number % 5}",
            f"task {number} (t{number % 3}) is {'queued' if number % 7 else 'running'}",
        )
        for number in range(1, 31)
    ]
    assert told(store)[30:] == [
        ("alice", "both", "task 31 (sleep) is queued"),
        ("alice", "both", "task 32 (sleep) is queued"),
    ]
    assert store.logged == 32


@pytest.mark.parametrize("keys", [{"once": "k"}, {"unique": "k"}])
def test_a_job_that_was_there_already_is_not_told_of(store: Any, result: Any, keys: Any) -> None:
    for _ in range(3):
        assert result(store.add(queued(), **keys)).id == 1
        result(store.add_all([queued()], **keys))
    assert store.logged == 1


def test_what_others_made_up_stands_in_one_line(
    store: Any, result: Any, told: Any, messages: Any
) -> None:
    wild = 'a\x1b[31m\n\0"\u202e\ud800'
    result(store.log([event(wild, author=Author(wild, wild))]))
    assert told(store, None)[0] == ('a\\x1b[31m\\n\\x00"\\u202e\\ud800',) * 3
    job = queued()
    job.id = result(store.add(job)).id
    change(job, Change.FINISH, 3.0, Outcome(Status.ERROR, "x\n" * 1000))
    result(store.update(job))
    last = messages(store)[-1]
    assert last.startswith("task 1 (sleep) has ended: error: x\\nx\\n")
    assert last.endswith("...")
    assert len(last) == 500


def test_what_is_one_transaction_is_told_in_its_order(
    bench: Any, added: Any, messages: Any
) -> None:
    """New jobs first, then each change as it came; what has ended changes no more."""
    store = bench.store()
    job = added(store, queued())
    bench.close(store)
    store = bench.store(soon=lambda hand_over: None)  # is called when it is closed
    for what in (Change.LAUNCH, Change.FINISH):
        change(job, what, 3.0, Outcome(Status.DONE))
        store.update(job)
    for job.state, job.status in ((State.ACTIVE, Status.RUNNING), (State.ENDED, Status.ERROR)):
        store.update(job)
    for number in range(4):
        store.add(queued(owner=f"o{number % 2}"))
    store.log([event("a refusal"), event("a fault", Level.ERROR)])
    bench.close(store)
    store = bench.store()
    assert messages(store) == [
        "task 1 (sleep) is queued",
        *(f"task {number} (sleep) is queued" for number in (2, 3, 4, 5)),
        "task 1 (sleep) is running",
        "task 1 (sleep) has ended: done",
        "a fault",
        "a refusal",
    ]
    assert bench.result(store.get(1)).status is Status.DONE
    assert bench.result(store.counts()).ended == 1


# Reading


def fill(store: Any, result: Any) -> None:
    """A hundred events, in rows of different lengths."""
    number = 0
    for size in (1, 3, 10, 30, 56):
        events = []
        for _ in range(size):
            number += 1
            level = Level.ERROR if number % 10 == 0 else Level.CLIENT
            events.append(event(f"{number}", level))
        result(store.log(events))


@pytest.mark.parametrize("limit", [1, 2, 7, 40, 1000])
@pytest.mark.parametrize("level", [None, Level.ERROR, Level.CLIENT, Level.STATISTICS])
def test_the_newest_are_given_oldest_of_them_first(
    store: Any, result: Any, limit: int, level: Level | None
) -> None:
    fill(store, result)
    everything = result(store.read_log(0, 1000, level))
    assert result(store.read_log(None, limit, level)) == everything[-limit:]


@pytest.mark.parametrize("limit", [1, 2, 7, 40, 1000])
@pytest.mark.parametrize("level", [None, Level.ERROR, Level.CLIENT])
def test_those_that_follow_a_number_are_read_in_steps(
    store: Any, result: Any, limit: int, level: Level | None
) -> None:
    fill(store, result)
    seen: list[Logged] = []
    while step := result(store.read_log(seen[-1].number if seen else 0, limit, level)):
        assert len(step) <= limit
        seen += step
        assert len(seen) <= 100
    assert len(seen) == {None: 100, Level.ERROR: 10, Level.CLIENT: 90}[level]
    assert [one.number for one in seen] == sorted({one.number for one in seen})
    assert {one.event.message for one in seen} >= {"10" if level is Level.ERROR else "11"}
    assert result(store.read_log(10**30, limit, level)) == []


def test_levels_are_told_apart_and_numbered_as_one(store: Any, result: Any, messages: Any) -> None:
    for level in Level:
        result(store.log([event(f"of {level}", level)]))
    result(store.add(queued()))
    for level in Level:
        expected = [f"of {level}"]
        if level is Level.TASKING:
            expected.append("task 1 (sleep) is queued")
        assert messages(store, level) == expected
    assert [one.number for one in result(store.read_log(0, 10, None))] == [1, 2, 3, 4, 5, 6]


# Forgetting


def test_old_events_are_forgotten_by_time_and_by_number(
    store: Any, result: Any, bench: Any
) -> None:
    for number in range(1, 11):
        bench.now = 100.0 * number
        result(store.log([event(f"{number}"), event(f"{number}!")]))
    assert result(store.prune_log(before=300.0, most=1000)) == 4
    assert result(store.prune_log(before=0.0, most=6)) == 10
    assert result(store.prune_log(before=0.0, most=6)) == 0
    assert [one.event.message for one in result(store.read_log(0, 10, None))] == [
        "8", "8!", "9", "9!", "10", "10!",
    ]  # fmt: skip
    assert result(store.read_log(None, 3, None))[0].number == 18


def test_numbers_of_forgotten_events_are_not_used_again(store: Any, result: Any) -> None:
    fill(store, result)
    while result(store.prune_log(FAR, 0)):
        pass
    assert result(store.read_log(0, 10, None)) == []
    assert store.logged == 100
    result(store.log([event("the next")]))
    assert [one.number for one in result(store.read_log(None, 10, None))] == [101]


def test_forgetting_goes_in_steps(store: Any, result: Any) -> None:
    for _ in range(6):
        result(store.log([event("x") for _ in range(log.PRUNED_AT_ONCE // 4)]))
    assert result(store.prune_log(FAR, 0)) == log.PRUNED_AT_ONCE
    assert result(store.prune_log(FAR, 0)) == log.PRUNED_AT_ONCE // 2
    assert result(store.prune_log(FAR, 0)) == 0


# With changes of the book


def test_a_job_that_is_refused_is_not_told_of(store: Any) -> None:
    with pytest.raises(ValueError):
        store.add_all([queued(), queued(attempt=2)])
    assert store.logged == 0


def test_the_last_number_is_known_when_a_change_is_acknowledged(store: Any, bench: Any) -> None:
    seen: list[int] = []
    asked = [store.add(queued()) for _ in range(3)]
    for one in asked:
        one.addCallback(lambda added: seen.append(store.logged) or added)
    assert bench.result(asked[-1]) == Added(3)
    assert seen == sorted(seen)
    assert all(logged >= number for number, logged in enumerate(seen, 1))
