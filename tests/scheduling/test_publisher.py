"""Live updates reach all who subscribed, whatever one of them does."""

from __future__ import annotations

from typing import Any

from aptask.model.job import Job
from aptask.scheduling.publisher import Publisher


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
