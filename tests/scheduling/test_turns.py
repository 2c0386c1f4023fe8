"""Whose turn it is: every decision against a slow model, and what the rules are for."""

from __future__ import annotations

import gc
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from aptask.scheduling import turns as module
from aptask.scheduling.turns import Turns
from tests.scheduling.slow_turns import SlowTurns, Waiter

OWNERS = st.sampled_from(["alice", "bob", "carol"])
GROUPS = st.sampled_from(["default", "gpu"])
PRIORITIES = st.integers(-1, 1)


class AnyHistory(RuleBasedStateMachine):
    """Whatever is asked, in whatever order: both say the same."""

    def __init__(self) -> None:
        super().__init__()
        self.turns = Turns()
        self.model = SlowTurns()
        self.now = 0.0
        self.last = 0
        self.running: dict[int, Waiter] = {}
        self.failed: set[int] = set()

    @initialize(slots=st.lists(st.integers(0, 3), min_size=2, max_size=2))
    def begin(self, slots: list[int]) -> None:
        for group, count in zip(["default", "gpu"], slots, strict=True):
            self.set_group(group, count, False)

    @rule(group=GROUPS, slots=st.integers(0, 3), paused=st.booleans())
    def set_group(self, group: str, slots: int, paused: bool) -> None:
        self.turns.set_group(group, slots, paused)
        self.model.slots[group] = slots
        (self.model.paused_groups.add if paused else self.model.paused_groups.discard)(group)

    @rule(owner=OWNERS, bound=st.one_of(st.none(), st.integers(0, 3)))
    def set_bound(self, owner: str, bound: int | None) -> None:
        self.turns.set_bound(owner, bound)
        self.model.bounds[owner] = bound

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.turns.pause(paused)
        self.model.paused = paused

    @rule(owner=OWNERS, group=GROUPS, priority=PRIORITIES, count=st.integers(1, 4))
    def add_plain(self, owner: str, group: str, priority: int, count: int) -> None:
        for _ in range(count):
            self.last += 1
            self.add(Waiter(self.last, owner, group, priority))

    @rule(
        data=st.data(),
        owner=OWNERS,
        group=GROUPS,
        priority=PRIORITIES,
        delay=st.one_of(st.none(), st.integers(0, 5)),
        held=st.booleans(),
    )
    def add_special(
        self,
        data: st.DataObject,
        owner: str,
        group: str,
        priority: int,
        delay: int | None,
        held: bool,
    ) -> None:
        others = sorted([*self.model.waiters, *self.running])
        after = data.draw(st.lists(st.sampled_from(others), max_size=3)) if others else []
        not_before = None if delay is None else self.now + delay
        self.last += 1
        self.add(Waiter(self.last, owner, group, priority, set(after), not_before, held))

    def add(self, waiter: Waiter) -> None:
        self.turns.add(
            waiter.number,
            waiter.owner,
            waiter.group,
            waiter.priority,
            after=sorted(waiter.after),
            not_before=waiter.not_before,
            held=waiter.held,
        )
        self.model.waiters[waiter.number] = waiter

    @precondition(lambda self: self.model.waiters)
    @rule(data=st.data(), what=st.sampled_from(["hold", "hold", "resume", "withdraw"]))
    def concern_one(self, data: st.DataObject, what: str) -> None:
        waiter = self.model.waiters[data.draw(st.sampled_from(sorted(self.model.waiters)))]
        if what == "hold":
            assert self.turns.hold(waiter.number)
            waiter.held = True
        elif what == "resume":
            assert self.turns.resume(waiter.number) == waiter.held
            waiter.held = False
        else:
            assert self.turns.withdraw(waiter.number)
            assert not self.turns.withdraw(waiter.number)
            self.tell(waiter.number, False)

    @precondition(lambda self: self.model.waiters)
    @rule(
        data=st.data(),
        priority=st.one_of(st.none(), PRIORITIES),
        group=st.one_of(st.none(), GROUPS),
    )
    def change(self, data: st.DataObject, priority: int | None, group: str | None) -> None:
        waiter = self.model.waiters[data.draw(st.sampled_from(sorted(self.model.waiters)))]
        assert self.turns.change(waiter.number, priority=priority, group=group)
        waiter.priority = waiter.priority if priority is None else priority
        waiter.group = waiter.group if group is None else group

    @rule(owner=OWNERS, group=GROUPS)
    def reserve(self, owner: str, group: str) -> None:
        reserved = self.turns.reserve(owner, group)
        assert reserved == self.model.reserve(owner, group)
        if reserved:
            self.last += 1
            self.running[self.last] = Waiter(self.last, owner, group, 0)

    @rule(most=st.integers(1, 5), seconds=st.integers(0, 2))
    def launch(self, most: int, seconds: int) -> None:
        self.now += seconds
        for _ in range(most):
            waiters = dict(self.model.waiters)
            number = self.model.launch(self.now)
            assert self.turns.launch(self.now) == number
            if number is None:
                return
            self.running[number] = waiters[number]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), done=st.booleans())
    def finish(self, data: st.DataObject, done: bool) -> None:
        waiter = self.released(data)
        self.turns.finished(waiter.number, done)
        self.tell(waiter.number, done)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), backoff=st.integers(0, 3))
    def repeat(self, data: st.DataObject, backoff: int) -> None:
        self.add(replace(self.released(data), not_before=self.now + backoff))

    def released(self, data: st.DataObject) -> Waiter:
        waiter = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.turns.release(waiter.owner, waiter.group)
        self.model.release(waiter.owner, waiter.group)
        return waiter

    def tell(self, number: int, done: bool) -> None:
        waited = {one: set(waiter.after) for one, waiter in self.model.waiters.items()}
        skipped = self.model.end(number, done)
        self.failed |= skipped if done else {number, *skipped}
        told: list[tuple[int, int]] = []
        while not self.turns.told:
            told += self.turns.tell(1)
        assert sorted(one for one, _ in told) == sorted(skipped)
        assert all(cause in waited[one] and cause in self.failed for one, cause in told)

    @invariant()
    def each_is_where_it_is(self) -> None:
        assert len(self.turns) == len(self.model.waiters)
        assert self.turns.next_time() == self.model.next_time()
        outlook = self.turns.outlook
        for group in ("default", "gpu"):
            for position, number in enumerate(self.model.expected(group), 1):
                assert number in self.turns
                assert outlook.position(number) == position
        for number in self.running:
            assert number not in self.turns
            assert outlook.position(number) == 0

    @rule(
        owner=st.one_of(st.none(), OWNERS),
        group=st.one_of(st.none(), GROUPS),
        offset=st.integers(0, 10),
        limit=st.integers(0, 10),
    )
    def a_page_is_a_part_of_all(
        self, owner: str | None, group: str | None, offset: int, limit: int
    ) -> None:
        everything = self.model.listing(owner, group)
        outlook = self.turns.outlook
        assert outlook.waiting(owner, group) == len(everything)
        page = outlook.listing(owner, group, offset, limit)
        assert page == everything[offset : offset + limit]

    @invariant()
    def a_reason_is_given_to_whom_may_not_start(self) -> None:
        startable = {waiter.number for waiter in self.model.may_start()}
        for number, waiter in self.model.waiters.items():
            why = self.turns.outlook.why(number, self.now, str)
            late = waiter.not_before is not None and waiter.not_before <= self.now
            if not late:
                assert (why is None) == (number in startable), why


def test_any_history_is_as_the_slow_model_has_it() -> None:
    run_state_machine_as_test(
        AnyHistory,
        settings=settings(max_examples=400, stateful_step_count=40, deadline=None),
    )


@pytest.fixture
def turns() -> Turns:
    turns = Turns()
    turns.set_group("default", 1)
    return turns


def run_all(turns: Turns, owners: dict[int, str], group: str = "default") -> list[int]:
    """What starts, each after the one before has ended."""
    order = []
    while (number := turns.launch(0.0)) is not None:
        order.append(number)
        turns.release(owners[number], group)
        turns.finished(number, True)
    return order


# Turns


def test_of_one_owner_who_came_first_is_first(turns: Turns) -> None:
    for number in (3, 1, 2):
        turns.add(number, "alice", "default")
    assert run_all(turns, dict.fromkeys((1, 2, 3), "alice")) == [1, 2, 3]


def test_the_higher_priority_is_first_whoever_has_it(turns: Turns) -> None:
    for number, priority in enumerate((0, -5, 7, 0, 7), 1):
        turns.add(number, "alice", "default", priority)
    assert run_all(turns, dict.fromkeys(range(6), "alice")) == [3, 5, 1, 4, 2]


def test_ten_thousand_of_one_do_not_keep_another_waiting(turns: Turns) -> None:
    for number in range(1, 10_001):
        turns.add(number, "alice", "default")
    turns.add(10_001, "bob", "default")
    assert turns.launch(0.0) == 1
    assert turns.outlook.position(10_001) == 1
    turns.release("alice", "default")
    assert turns.launch(0.0) == 10_001


def test_many_owners_take_turns(turns: Turns) -> None:
    owners = {}
    for number in range(1, 31):
        owners[number] = "alice" if number <= 20 else "bob" if number <= 25 else f"user {number}"
        turns.add(number, owners[number], "default")
    order = run_all(turns, owners)
    assert [owners[number] for number in order[:7]] == [
        "alice",
        "bob",
        *(f"user {number}" for number in range(26, 31)),
    ]
    assert [owners[number] for number in order[7:15]] == ["alice", "bob"] * 4
    assert {owners[number] for number in order[15:]} == {"alice"}


def test_who_comes_and_goes_does_not_starve_who_stays(turns: Turns) -> None:
    number = 1000
    for one in range(1, 11):
        turns.add(one, "bob", "default")
    turns.add(number, "alice", "default")
    runs = turns.launch(0.0)
    started: Counter[str] = Counter()
    for _ in range(16):
        owner = (
            "bob" if runs is not None and runs < 1000 else "alice" if number % 2 == 0 else "carol"
        )
        started[owner] += 1
        number += 1
        turns.add(number, "alice" if number % 2 == 0 else "carol", "default")
        turns.release(owner, "default")
        runs = turns.launch(0.0)
    assert started["bob"] >= 5


def test_slots_are_shared_evenly_where_one_owners_jobs_are_long(turns: Turns) -> None:
    turns.set_group("default", 4)
    for number in range(1, 101):
        turns.add(number, "alice" if number % 2 else "bob", "default")
    running = [turns.launch(0.0) for _ in range(4)]
    for _ in range(20):  # those of alice do not end, those of bob do
        ended = next(number for number in running if number is not None and number % 2 == 0)
        running.remove(ended)
        turns.release("bob", "default")
        running.append(turns.launch(0.0))
        assert sum(number is not None and number % 2 for number in running) == 2


def test_an_owner_runs_no_more_than_their_bound_over_all_groups(turns: Turns) -> None:
    turns.set_group("default", 10)
    turns.set_group("gpu", 10)
    turns.set_bound("alice", 2)
    for number in range(1, 5):
        turns.add(number, "alice", "gpu" if number % 2 else "default", 9)
    turns.add(5, "bob", "gpu")
    assert [turns.launch(0.0) for _ in range(4)] == [1, 2, 5, None]
    turns.release("alice", "gpu")
    assert [turns.launch(0.0), turns.launch(0.0)] == [3, None]
    turns.set_bound("alice", None)
    assert turns.launch(0.0) == 4


def test_each_group_has_its_own_slots(turns: Turns) -> None:
    turns.set_group("gpu", 2)
    for number in range(1, 7):
        turns.add(number, "alice", "default" if number <= 3 else "gpu")
    assert [turns.launch(0.0) for _ in range(4)] == [1, 4, 5, None]
    turns.set_group("gpu", 3)
    assert turns.launch(0.0) == 6


def test_the_order_listed_is_the_order_in_which_they_start(turns: Turns) -> None:
    turns.set_group("default", 100)
    for number in range(1, 100):
        turns.add(number, ("alice", "bob", "carol")[number % 7 % 3], "default")
    for _ in range(10):
        turns.launch(0.0)
    listed = turns.outlook.listing(None, "default", 0, 100)
    assert [position for _, position in listed] == list(range(1, 90))
    assert [turns.launch(0.0) for _ in listed] == [number for number, _ in listed]


def test_a_slot_is_reserved_only_where_nobody_is_passed(turns: Turns) -> None:
    turns.set_group("default", 2)
    assert turns.reserve("alice", "default")
    turns.add(1, "bob", "default")
    assert not turns.reserve("alice", "default")
    assert turns.launch(0.0) == 1
    assert not turns.reserve("alice", "default")
    turns.release("bob", "default")
    turns.add(2, "bob", "default", held=True)
    assert turns.reserve("alice", "default")


def test_what_runs_on_from_before_has_a_slot_though_there_are_none(turns: Turns) -> None:
    turns.occupy("alice", "default")
    turns.occupy("alice", "default")
    turns.add(3, "alice", "default")
    turns.release("alice", "default")
    assert turns.launch(0.0) is None
    turns.release("alice", "default")
    assert turns.launch(0.0) == 3


def test_a_job_waits_once(turns: Turns) -> None:
    turns.add(1, "alice", "default")
    turns.add(2, "alice", "default", held=True)
    for number in (1, 2):
        with pytest.raises(ValueError, match=f"job {number} waits already"):
            turns.add(number, "bob", "default")


# Aside


def test_a_held_job_keeps_its_place(turns: Turns) -> None:
    for number in (1, 2, 3):
        turns.add(number, "alice", "default")
    assert turns.hold(1)
    assert [turns.outlook.position(number) for number in (1, 2, 3)] == [3, 1, 2]
    assert turns.resume(1)
    assert not turns.resume(1)
    assert [turns.outlook.position(number) for number in (1, 2, 3)] == [1, 2, 3]


def test_a_delayed_job_starts_once_its_time_has_come(turns: Turns) -> None:
    turns.add(1, "alice", "default", not_before=10.0)
    turns.add(2, "alice", "default", not_before=5.0)
    assert turns.next_time() == 5.0
    assert turns.launch(4.9) is None
    assert turns.launch(5.0) == 2
    assert turns.next_time() == 10.0
    turns.release("alice", "default")
    assert turns.launch(99.0) == 1
    assert turns.next_time() is None


def test_a_delayed_job_that_is_withdrawn_has_no_time_any_more(turns: Turns) -> None:
    turns.add(1, "alice", "default", not_before=10.0)
    assert turns.withdraw(1)
    assert turns.next_time() is None
    assert turns.launch(10.0) is None


def test_very_many_whose_time_has_come_are_taken_in_step_by_step(
    turns: Turns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WOKEN_AT_ONCE", 3)
    turns.set_group("default", 10)
    for number in range(1, 8):
        turns.add(number, "alice", "default", number, not_before=float(number))
    assert turns.launch(100.0) == 3
    assert turns.next_time() == 4.0
    assert [turns.launch(100.0) for _ in range(7)] == [6, 7, 5, 4, 2, 1, None]


def test_a_job_starts_once_all_that_it_waits_for_are_done(turns: Turns) -> None:
    turns.add(9, "alice", "default", after=[7, 8, 7])
    turns.finished(7, True)
    assert turns.tell() == []
    assert turns.launch(0.0) is None
    turns.finished(8, True)
    assert turns.tell() == []
    assert turns.launch(0.0) == 9


def test_a_job_that_waits_in_vain_is_skipped_and_says_for_whom(turns: Turns) -> None:
    turns.add(2, "alice", "default", after=[1])
    turns.add(3, "bob", "default", after=[2, 1000])
    turns.add(4, "bob", "default")
    turns.finished(1, False)
    assert turns.tell() == [(2, 1), (3, 2)]
    assert turns.told
    assert len(turns) == 1
    turns.finished(1000, True)
    assert turns.told


def test_who_waits_for_a_job_that_was_withdrawn_is_skipped(turns: Turns) -> None:
    turns.add(1, "alice", "default")
    turns.add(2, "alice", "default", after=[1])
    assert turns.withdraw(1)
    assert turns.tell() == [(2, 1)]


def test_a_job_that_is_repeated_keeps_those_waiting_who_wait_for_it(turns: Turns) -> None:
    turns.add(1, "alice", "default")
    turns.add(2, "alice", "default", after=[1])
    assert turns.launch(0.0) == 1
    turns.release("alice", "default")
    turns.add(1, "alice", "default", not_before=3.0)
    assert turns.told
    assert turns.launch(2.0) is None
    assert turns.launch(3.0) == 1
    turns.finished(1, True)
    assert turns.tell() == []
    turns.release("alice", "default")
    assert turns.launch(3.0) == 2


MANY = 10_000


def test_a_chain_of_ten_thousand_is_run_one_by_one(turns: Turns) -> None:
    turns.add(1, "alice", "default")
    for number in range(2, MANY + 1):
        turns.add(number, "alice", "default", after=[number - 1])
    for number in range(1, MANY + 1):
        assert turns.launch(0.0) == number
        turns.release("alice", "default")
        turns.finished(number, True)
        assert turns.tell() == []


def test_a_chain_of_ten_thousand_is_skipped_in_steps(turns: Turns) -> None:
    for number in range(2, MANY + 1):
        turns.add(number, "alice", "default", after=[number - 1])
    turns.finished(1, False)
    skipped: list[tuple[int, int]] = []
    while not turns.told:
        step = turns.tell(100)
        assert len(step) <= 100
        skipped += step
    assert skipped == [(number, number - 1) for number in range(2, MANY + 1)]
    assert not len(turns)


@pytest.mark.parametrize("done", [True, False])
def test_a_fan_of_ten_thousand_hears_of_it_in_steps(turns: Turns, done: bool) -> None:
    for number in range(2, MANY + 2):
        turns.add(number, "alice", "default", after=[1])
    turns.finished(1, done)
    skipped: set[tuple[int, int]] = set()
    steps = 0
    while not turns.told:
        skipped |= set(turns.tell(100))
        steps += 1
    assert steps == MANY / 100
    assert skipped == (set() if done else {(number, 1) for number in range(2, MANY + 2)})
    assert turns.launch(0.0) == (2 if done else None)


def test_one_that_waits_for_ten_thousand_starts_with_the_last_of_them(turns: Turns) -> None:
    turns.add(MANY + 1, "alice", "default", after=range(1, MANY + 1))
    for number in range(1, MANY + 1):
        assert turns.launch(0.0) is None
        turns.finished(number, True)
        turns.tell()
    assert turns.launch(0.0) == MANY + 1


def test_what_is_withdrawn_between_the_steps_is_not_told_of(turns: Turns) -> None:
    for number in (2, 3, 4):
        turns.add(number, "alice", "default", after=[1])
    turns.finished(1, False)
    [(skipped, _)] = turns.tell(1)
    for number in {2, 3, 4} - {skipped}:
        assert turns.withdraw(number)
    assert turns.tell() == []
    assert turns.told
    turns.add(5, "alice", "default")
    assert turns.launch(0.0) == 5


# Why


def test_a_job_that_waits_says_why(turns: Turns) -> None:
    def why(number: int) -> str | None:
        return turns.outlook.why(number, 5.0, lambda time: f"{time:.0f} o'clock")

    turns.set_bound("bob", 1)
    turns.add(1, "alice", "default", after=[7])
    turns.add(2, "alice", "default", after=[7, 8, 9], held=True)
    turns.add(3, "alice", "default", not_before=6.0)
    turns.add(4, "alice", "nowhere")
    turns.add(5, "bob", "gpu")
    turns.add(6, "alice", "gpu")
    turns.set_group("gpu", 2)
    assert why(1) == "waiting for 7"
    assert why(2) == "held"
    assert turns.resume(2)
    assert why(2) == "waiting for 7 and 2 more"
    assert why(3) == "delayed until 6 o'clock"
    assert why(4) == "group nowhere has no slots"
    assert why(5) is None
    turns.occupy("bob", "gpu")
    assert why(5) == "bob runs 1 of 1 tasks"
    assert why(6) is None
    turns.occupy("alice", "gpu")
    assert why(6) == "group gpu is full"
    turns.set_group("gpu", 2, paused=True)
    assert why(6) == "group gpu is paused"
    turns.pause(True)
    assert why(6) == "everything is paused"
    assert why(1000) is None


def test_a_delay_that_is_over_is_no_reason(turns: Turns) -> None:
    turns.add(1, "alice", "default", not_before=6.0)
    assert turns.outlook.why(1, 6.0, str) is None


def test_the_order_is_that_of_now_whatever_was_asked_before(turns: Turns) -> None:
    outlook = turns.outlook
    for number in (1, 2, 3):
        turns.add(number, "alice", "default", held=number == 3)
    assert outlook.listing(None, None, 0, 9) == [(1, 1), (2, 2), (3, 3)]
    turns.hold(1)
    assert outlook.listing(None, None, 0, 9) == [(2, 1), (1, 2), (3, 3)]
    turns.withdraw(3)
    turns.change(1, group="gpu")
    assert outlook.listing(None, None, 0, 9) == [(2, 1), (1, 1)]


# A million


def test_a_hundred_plain_jobs_are_one_thing_to_the_collector(turns: Turns) -> None:
    gc.collect()
    before = len(gc.get_objects())
    for number in range(1, 100_001):
        turns.add(number, "alice", "default")
    assert len(gc.get_objects()) - before < 1000


def test_nothing_is_left_of_those_who_have_gone(turns: Turns) -> None:
    parts: Any = turns
    for number in range(1, 1001):
        special = {"after": [number - 1], "not_before": 1.0} if number % 3 == 0 else {}
        turns.add(number, f"user {number % 7}", f"group {number % 3}", number % 50, **special)
    for number in range(1, 1001):
        turns.withdraw(number)
        while not turns.told:
            turns.tell()
    assert not len(turns)
    places = len(parts._places._places)
    assert not any(parts._places._places)
    for number in range(2000, 2100):
        turns.add(number, "alice", f"group {number % 3}", number)
        turns.withdraw(number)
    assert len(parts._places._places) == places
    assert not parts._places._register._pages
    assert not parts._aside
    assert not parts._clock
    dependencies = parts._dependencies
    assert not dependencies._after
    assert not dependencies._missing
    assert not dependencies._dependants
    assert all(not group.turns for group in turns.groups.values())
