"""Live updates reach all who subscribed, whatever one of them does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aptask.model.job import Job
from aptask.scheduling.publisher import TOLD_AT_ONCE, Publisher


def job(number: int = 1) -> Job:
    return Job(id=number, task="t", owner="o", arguments=b"{}", created=0.0)


def test_a_subscriber_hears_of_its_job_only() -> None:
    publisher, heard = Publisher(), []
    publisher.subscribe(1, heard.append)
    first, second = job(1), job(2)
    publisher.publish(second)
    publisher.publish(first)
    assert heard == [first]


def test_one_who_has_unsubscribed_hears_nothing_more() -> None:
    publisher, heard = Publisher(), []
    unsubscribe = publisher.subscribe(1, heard.append)
    unsubscribe()
    unsubscribe()
    publisher.publish(job())
    assert heard == []
    assert publisher._subscribers == {}


def test_a_subscriber_that_fails_is_dropped_and_costs_the_others_nothing(
    logged_failures: list[Any],
) -> None:
    publisher, heard = Publisher(), []
    calls = []

    def fails(changed: Job) -> None:
        calls.append(changed)
        raise RuntimeError("no")

    publisher.subscribe(1, fails)
    publisher.subscribe(1, heard.append)
    publisher.publish(job())
    publisher.publish(job())
    assert len(calls) == 1
    assert len(heard) == 2
    assert "RuntimeError: no" in logged_failures.pop()["log_failure"].getTraceback()


def test_a_subscriber_may_unsubscribe_while_it_is_told() -> None:
    publisher, heard = Publisher(), []
    unsubscribe: Any = None

    def once(changed: Job) -> None:
        heard.append(changed)
        unsubscribe()

    unsubscribe = publisher.subscribe(1, once)
    publisher.subscribe(1, heard.append)
    publisher.publish(job())
    publisher.publish(job())
    assert len(heard) == 3


class Turns:
    """Calls what is to be called later, when the test says."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def turn(self) -> bool:
        calls, self.calls = self.calls, []
        for call in calls:
            call()
        return bool(calls)


def test_one_who_wants_to_know_of_all_jobs_hears_of_each() -> None:
    publisher, heard = Publisher(), []
    unsubscribe = publisher.subscribe(None, heard.append)
    first, second = job(1), job(2)
    publisher.publish(first)
    publisher.publish(second)
    assert heard == [first, second]
    unsubscribe()
    publisher.publish(first)
    assert len(heard) == 2
    assert publisher._subscribers == {}


def test_many_are_told_some_at_a_time_each_in_the_order_of_the_changes() -> None:
    turns = Turns()
    publisher = Publisher(lambda call: turns.calls.append(call))
    heard: dict[int, list[int]] = {number: [] for number in range(TOLD_AT_ONCE * 3 + 7)}
    stops = [
        publisher.subscribe(1, lambda changed, who=who: heard[who].append(changed.attempt))
        for who in heard
    ]
    changing = job()
    publisher.publish(changing)
    assert not any(heard.values())
    turns.turn()
    assert sum(map(len, heard.values())) == TOLD_AT_ONCE
    changing.attempt = 2
    publisher.publish(changing)
    stops[250]()
    changing.attempt = 3  # and this is told to nobody
    before = TOLD_AT_ONCE
    while turns.turn():
        told = sum(map(len, heard.values()))
        assert told - before <= TOLD_AT_ONCE
        before = told
    assert heard.pop(250) == []
    assert all(attempts == [1, 2] for attempts in heard.values())


def test_without_later_many_are_told_all_at_once() -> None:
    publisher, heard = Publisher(), []
    for _ in range(TOLD_AT_ONCE * 20):
        publisher.subscribe(1, heard.append)
    publisher.publish(job())
    assert len(heard) == TOLD_AT_ONCE * 20
