"""When those who wait are expected to start, against a slow model, and by example."""

from __future__ import annotations

from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.scheduling.starts import Lane, Runs, Starts, Waits

NEVER = float("inf")
LENGTHS = st.one_of(st.none(), st.integers(0, 9))


def slow(
    now: float, lanes: dict[str, Lane], bounds: dict[str, int], average: float | None
) -> dict[int, float]:
    """When each job starts: at every time at which anything may change, all are looked at."""

    def length(seconds: float | None) -> float:
        known = average if seconds is None else seconds
        return NEVER if known is None else known

    ends = {
        run.number: (now + length(run.left), name, run.owner)
        for name, lane in lanes.items()
        for run in lane.runs
    }
    waiting = {job.number: (name, job) for name, lane in lanes.items() for job in lane.waits}
    starts: dict[int, float] = {}

    def turn(name: str, job: Waits) -> tuple[int, bool, int, int]:
        ready = [one for one in lanes[name].waits if one.is_ready]
        rank = (-job.priority, job.number)
        if job.is_ready:
            return (ready.index(job), True, *rank)
        behind = [at for at, one in enumerate(ready) if (-one.priority, one.number) > rank]
        return (min(behind, default=len(ready)), False, *rank)

    def may_start(name: str, job: Waits) -> bool:
        running = [end for end in ends.values() if end[0] > now]
        ended = {number for number, end in ends.items() if end[0] <= now}
        return (
            not job.held
            and not lanes[name].paused
            and set(job.after) <= ended
            and (job.not_before is None or job.not_before <= now)
            and sum(end[1] == name for end in running) < lanes[name].slots
            and sum(end[2] == job.owner for end in running) < bounds.get(job.owner, NEVER)
        )

    while True:
        while ready := [(name, job) for name, job in waiting.values() if may_start(name, job)]:
            nexts = [
                min((job for group, job in ready if group == name), key=partial(turn, name))
                for name in {group for group, _ in ready}
            ]
            first = min(nexts, key=lambda job: (-job.priority, job.number))
            name, _ = waiting.pop(first.number)
            starts[first.number] = now
            ends[first.number] = now + length(first.seconds), name, first.owner
        times = [end[0] for end in ends.values()]
        times += [job.not_before for _, job in waiting.values() if job.not_before is not None]
        coming = [time for time in times if now < time < NEVER]
        if not coming:
            return starts
        now = min(coming)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, Lane], dict[str, int], float | None]:
    owners = st.sampled_from(["alice", "bob"])
    numbers = iter(draw(st.permutations(range(1, 30))))
    lanes = {}
    running = []
    names = draw(st.sampled_from([["default"], ["default", "gpu"]]))
    for name in names:
        runs = [
            Runs(next(numbers), draw(owners), draw(LENGTHS)) for _ in range(draw(st.integers(0, 3)))
        ]
        running += [run.number for run in runs]
        lanes[name] = Lane(draw(st.integers(0, 3)), runs, [], draw(st.booleans()))
    ahead = running + [99]
    for name in names:
        waits = []
        for _ in range(draw(st.integers(0, 8))):
            special: dict[str, Any] = {}
            if draw(st.booleans()):
                special["after"] = tuple(draw(st.lists(st.sampled_from(ahead), max_size=2)))
                special["not_before"] = draw(st.one_of(st.none(), st.integers(90, 120)))
                special["held"] = draw(st.sampled_from([False, False, False, True]))
            number = next(numbers)
            job = Waits(number, draw(owners), draw(LENGTHS), draw(st.integers(0, 1)), **special)
            waits.append(job)
            ahead.append(number)
        lane = lanes[name]
        lanes[name] = Lane(lane.slots, lane.runs, waits, lane.paused)
    bounds = draw(st.dictionaries(owners, st.integers(0, 2)))
    return lanes, bounds, draw(st.one_of(st.none(), st.just(4.0)))


@settings(max_examples=400)
@given(worlds())
def test_it_comes_to_what_a_slow_walk_comes_to(
    world: tuple[dict[str, Lane], dict[str, int], float | None],
) -> None:
    lanes, bounds, average = world
    starts = Starts(100.0, lanes, bounds, average)
    expected = slow(100.0, lanes, bounds, average)
    for lane in lanes.values():
        for job in lane.waits:
            time = expected.get(job.number)
            assert starts.of(job.number) == (None if time is None else time - 100.0)


def one_lane(*waits: Waits, slots: int = 1, left: float | None = None, **rest: Any) -> Starts:
    runs = [] if left is None else [Runs(1, "alice", left)]
    lanes = {"default": Lane(slots, runs, waits, rest.pop("paused", False))}
    return Starts(0.0, lanes, rest.pop("bounds", {}), rest.pop("average", None))


def test_one_starts_when_the_one_before_it_has_ended() -> None:
    starts = one_lane(Waits(2, "alice", 10.0), Waits(3, "alice", 10.0), left=5.0)
    assert (starts.of(2), starts.of(3)) == (5.0, 15.0)


def test_one_starts_now_where_there_is_a_free_slot() -> None:
    assert one_lane(Waits(2, "alice")).of(2) == 0.0


def test_of_unknown_length_is_what_takes_as_long_as_the_average() -> None:
    starts = one_lane(Waits(2, "alice"), Waits(3, "alice"), left=5.0, average=7.0)
    assert starts.of(3) == 12.0


def test_nobody_knows_where_nothing_is_known() -> None:
    starts = one_lane(Waits(2, "alice"), Waits(3, "alice"), left=5.0)
    assert (starts.of(2), starts.of(3), starts.behind("default", 3)) == (5.0, None, None)


def test_nobody_knows_of_a_paused_group_or_one_without_slots() -> None:
    for starts in (
        one_lane(Waits(2, "alice", 1.0), paused=True),
        one_lane(Waits(2, "alice", 1.0), slots=0),
    ):
        assert (starts.of(2), starts.behind("default", 2)) == (None, None)


def test_nobody_knows_of_what_is_held_or_waits_for_that() -> None:
    starts = one_lane(
        Waits(2, "alice", 1.0, held=True),
        Waits(3, "alice", 1.0, after=(2,)),
        Waits(4, "alice", 1.0, after=(77,)),
        Waits(5, "alice", 1.0),
    )
    assert [starts.of(number) for number in (2, 3, 4, 5)] == [None, None, None, 0.0]


def test_one_that_is_delayed_takes_its_turn_then_by_its_number() -> None:
    delayed = Waits(2, "alice", 1.0, not_before=4.0)
    starts = one_lane(Waits(3, "alice", 5.0), Waits(4, "alice", 5.0), delayed)
    assert [starts.of(number) for number in (3, 2, 4)] == [0.0, 5.0, 6.0]


def test_one_starts_after_the_last_end_it_waits_for_in_whatever_group() -> None:
    lanes = {
        "default": Lane(2, [Runs(1, "alice", 5.0)], [Waits(3, "alice", 1.0, after=(1, 2))]),
        "gpu": Lane(1, [Runs(2, "alice", 8.0)], []),
    }
    assert Starts(0.0, lanes, {}, None).of(3) == 8.0


def test_owners_who_may_not_have_more_running_are_passed_over() -> None:
    starts = one_lane(
        Waits(2, "alice", 3.0), Waits(3, "bob", 3.0), slots=2, left=9.0, bounds={"alice": 1}
    )
    assert (starts.of(2), starts.of(3)) == (9.0, 0.0)


def test_the_last_start_of_an_owner_is_in_the_group_whose_job_was_asked_for_first() -> None:
    lanes = {
        "default": Lane(1, [], [Waits(3, "alice", 9.0), Waits(4, "bob", 9.0)]),
        "gpu": Lane(1, [], [Waits(2, "alice", 9.0), Waits(5, "bob", 9.0)]),
    }
    starts = Starts(0.0, lanes, {"alice": 1}, None)
    assert [starts.of(number) for number in (2, 3, 4, 5)] == [0.0, 9.0, 0.0, 9.0]


def test_those_behind_start_at_the_rate_at_which_slots_are_free() -> None:
    starts = one_lane(*(Waits(number, "alice", 10.0) for number in range(2, 12)), slots=2)
    assert starts.of(11) == 40.0
    assert starts.behind("default", 1010) == 40.0 + 1000 * 10.0 / 2


def test_a_thousand_of_one_owner_who_is_bounded_start_as_many_at_a_time() -> None:
    waits = [Waits(number, "alice", 1.0) for number in range(1000)]
    starts = one_lane(*waits, bounds={"alice": 3}, slots=8)
    assert starts.of(999) == 333.0
