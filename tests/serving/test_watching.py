"""`watch`: at once and after every change, never too often, and never without the end."""

from __future__ import annotations

from collections import Counter
from copy import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.logger import LogEvent

from aptask.model.job import Change, Job, Outcome, State, Status, change
from aptask.model.progress import Progress
from aptask.serving import feeds, watching
from aptask.serving.keyring import Source
from aptask.serving.watching import WOKEN_AT_ONCE
from tests.serving import fakes
from tests.serving.fakes import Client, FakeScheduler, Front

PING = b'{"request":"ping","id":%d}'


class Lively(FakeScheduler):
    """One whose jobs run and wait as a test says.

    Attributes:
        places: the positions of jobs, by their numbers.
        looks: how often its list of jobs was asked for.
        slow: the answers to such questions that are held back, where they are.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[int, int] = {}
        self.looks = 0
        self.slow: list[Deferred[Any]] | None = None

    def new(self, owner: str = "alice", **fields: Any) -> Job:
        number = len(self.jobs) + 1
        job = Job(id=number, task="sleep", owner=owner, arguments=b"{}", created=0.0, **fields)
        self.jobs[number] = job
        self.places[number] = number
        self.publisher.publish(job)
        return job

    def launch(self, job: Job) -> None:
        change(job, Change.LAUNCH, 0.0)
        self.publisher.publish(job)

    def go(self, job: Job, fraction: float, message: str = "") -> None:
        job.progress = Progress(fraction, message)
        self.publisher.publish(job)

    def end(self, number: int) -> None:
        job = self.jobs[number]
        what = Change.FINISH if job.state is not State.ENDED else Change.STOP
        change(job, what, 1.0, Outcome(Status.DONE))
        self.publisher.publish(job)

    def position(self, job: Job) -> int:
        return self.places[job.id] if job.state is State.QUEUED else 0

    def active(
        self, owner: str | None, limit: int, offset: int
    ) -> Deferred[tuple[list[tuple[Job, int]], int]]:
        self.looks += 1
        jobs = [
            (job, self.position(job))
            for job in self.jobs.values()
            if job.state is not State.ENDED and owner in (None, job.owner)
        ]
        found = succeed((jobs[offset : offset + limit], len(jobs)))
        if self.slow is None:
            return found
        self.slow.append(Deferred())
        return self.slow[-1].addCallback(lambda given: given or found)


class TurnByTurn(Clock):
    """A clock whose calls have others called in its next turn, as those of a reactor do."""

    def advance(self, amount: float) -> None:
        self.rightNow += amount
        for call in [call for call in self.calls if call.getTime() <= self.rightNow]:
            if call.active():
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)


class Scene:
    """A front whose scheduler is lively."""

    def __init__(self) -> None:
        self.front = Front()
        self.jobs = Lively()
        self.front.scheduler = self.front.context.scheduler = self.jobs
        self.front.context.watching = watching.Watching(
            self.jobs, self.front.store, self.front.context.traffic, self.front.clock
        )
        self.clock = self.front.clock

    def watch(self, key: str = "alice-key", **fields: Any) -> Client:
        client = self.front.connect()
        client.send({"request": "watch", "key": key, **fields})
        self.turn()
        return client

    @property
    def is_quiet(self) -> bool:
        """Whether nobody watches, and nothing is left of those who did."""
        context = self.front.context
        return not (
            len(context.watching) or context.watching._calls or context.traffic.watchers
            or self.jobs.publisher.count()
        )  # fmt: skip

    def turn(self) -> None:
        """Let all that is due now be done."""
        self.clock.pump([0] * 20)

    def wait(self, seconds: float) -> None:
        """Let time pass, as a reactor does."""
        self.clock.pump([0.01] * round(seconds * 100))
        self.turn()


def tasks(client: Client) -> list[Any]:
    answers = client.answers()
    assert all((each["status"], each["response"]) == ("ok", "watch") for each in answers), answers
    return [answer["task"] for answer in answers]


def progress(client: Client) -> list[Any]:
    return [task["progress"] for task in tasks(client)]


def states(client: Client) -> list[tuple[str, str]]:
    return [(task["taskid"], task["state"]) for task in tasks(client)]


# One task


def test_a_task_is_told_at_once_after_each_change_and_at_its_end() -> None:
    scene = Scene()
    job = scene.jobs.new()
    client = scene.watch(taskid="1")
    (task,) = tasks(client)
    assert (task["state"], task["position"], "owner" in task) == ("queued", 1, False)
    scene.jobs.launch(job)
    scene.turn()
    assert states(client) == [("1", "active")]
    scene.wait(1)
    scene.jobs.go(job, 0.5, "half")
    scene.turn()
    (task,) = tasks(client)
    assert (task["progress"], task["message"]) == (0.5, "half")
    scene.wait(1)
    scene.jobs.end(1)
    scene.turn()
    (task,) = tasks(client)
    assert (task["state"], task["status"], task["progress"]) == ("ended", "done", 1.0)
    client.send(PING % 1)
    assert client.answers()[0]["id"] == 1  # the stream is over
    assert scene.is_quiet


def test_the_same_fields_are_told_as_show_shows() -> None:
    scene = Scene()
    scene.jobs.new(result=None)
    for key in ("alice-key", "ops-key"):
        shown = scene.front.ask("show", key, taskid="1")["task"]
        assert tasks(scene.watch(key, taskid="1")) == [shown]
        job = scene.jobs.jobs[1]
        client = scene.watch(key, **({} if key == "alice-key" else {"owner": "alice"}))
        assert tasks(client) == [shown]
        job.progress = Progress(None, key)
        scene.jobs.publisher.publish(job)
        scene.wait(0.5)
        assert tasks(client) == [scene.front.ask("show", key, taskid="1")["task"]]


def test_a_task_that_has_ended_is_told_once() -> None:
    scene = Scene()
    scene.jobs.launch(scene.jobs.new())
    scene.jobs.end(1)
    client = scene.watch(taskid="1", id=7)
    client.send(PING % 1)
    answer, ping = client.answers()
    assert (answer["id"], answer["task"]["state"], ping["id"]) == (7, "ended", 1)


def test_an_end_that_comes_while_the_task_is_looked_up_is_told() -> None:
    scene = Scene()
    job = scene.jobs.new()
    asked: list[Deferred[Job | None]] = []
    find = scene.jobs.find

    def slow_find(number: int) -> Deferred[Job | None]:
        asked.append(Deferred())
        return asked[-1]

    scene.jobs.find = slow_find  # type: ignore[method-assign]
    client = scene.watch(taskid="1")
    before = copy(find(1).result)
    scene.jobs.launch(job)
    scene.jobs.end(1)
    asked[0].callback(before)
    scene.turn()
    assert states(client) == [("1", "ended")]


@pytest.mark.parametrize("taskid", ["1", "99", "x", "0"])
def test_anothers_task_and_none_are_unknown(taskid: str) -> None:
    scene = Scene()
    scene.jobs.new("bob")
    (answer,) = scene.watch(taskid=taskid).answers()
    assert (answer["code"], answer["response"]) == ("unknown-taskid", "watch")
    assert answer["message"] == f"no task with the id `{taskid}`"
    assert scene.is_quiet


def test_a_task_is_told_no_more_than_ten_times_in_any_second_and_the_last_is_not_dropped() -> None:
    scene = Scene()
    job = scene.jobs.new()
    scene.jobs.launch(job)
    client = scene.watch(taskid="1")
    everyone = scene.watch()
    times: list[float] = []
    seen: list[Any] = []
    for step in range(300):
        scene.jobs.go(job, step / 300)
        scene.clock.pump([0.005, 0.005])
        got = progress(client)
        times += [scene.clock.seconds()] * len(got)
        seen += got
    assert max(sum(start <= time < start + 1 for time in times) for start in times) <= 10
    assert len(times) >= 3 * 6
    assert seen[1:] == sorted(seen[1:])
    scene.jobs.end(1)
    scene.wait(0.2)
    assert states(client) == [("1", "ended")]
    assert states(everyone)[-1] == ("1", "ended")


def test_a_short_task_is_told_to_its_end_at_once() -> None:
    scene = Scene()
    job = scene.jobs.new()
    client = scene.watch(taskid="1")
    scene.jobs.launch(job)
    scene.turn()
    scene.jobs.end(1)
    scene.turn()
    assert [state for _, state in states(client)] == ["queued", "active", "ended"]


def test_a_position_alone_is_told_once_a_second() -> None:
    scene = Scene()
    scene.jobs.new()
    scene.jobs.places[1] = 1000
    one, everyone = scene.watch(taskid="1"), scene.watch()
    assert [task["position"] for client in (one, everyone) for task in tasks(client)] == [1000] * 2
    told: dict[int, list[int]] = {0: [], 1: []}
    for _ in range(500):
        scene.jobs.places[1] -= 1
        scene.clock.pump([0.005, 0.005])
        for which, client in enumerate((one, everyone)):
            told[which] += [task["position"] for task in tasks(client)]
    for positions in told.values():
        assert len(positions) in (4, 5)
        assert positions == sorted(positions, reverse=True)
    scene.wait(1.2)
    for which, client in enumerate((one, everyone)):
        told[which] += [task["position"] for task in tasks(client)]
        assert told[which][-1] == 500
    scene.wait(5)
    assert tasks(one) == tasks(everyone) == []


def test_one_who_comes_later_does_not_keep_a_position_from_the_others() -> None:
    scene = Scene()
    scene.jobs.new()
    first = scene.watch(taskid="1")
    tasks(first)
    scene.jobs.places[1] = 0.5  # type: ignore[assignment]
    second = scene.watch(taskid="1")
    assert [task["position"] for task in tasks(second)] == [0.5]
    scene.wait(1.2)
    assert [task["position"] for task in tasks(first)] == [0.5]


# All of one's tasks


def test_all_that_have_not_ended_come_first_and_then_every_change_of_any() -> None:
    scene = Scene()
    running, waiting, _ = scene.jobs.new(), scene.jobs.new(), scene.jobs.new("bob")
    scene.jobs.launch(running)
    scene.jobs.end(scene.jobs.new().id)
    client = scene.watch(id="all")
    answers = client.answers()
    assert [(each["id"], each["task"]["taskid"]) for each in answers] == [
        ("all", "1"),
        ("all", "2"),
    ]
    scene.jobs.go(running, 0.25)
    new = scene.jobs.new()
    scene.jobs.end(3)
    scene.turn()
    assert states(client) == [("1", "active"), (str(new.id), "queued")]
    scene.jobs.end(1)
    scene.jobs.end(waiting.id)
    scene.wait(1)
    assert states(client) == [("1", "ended"), ("2", "ended")]
    client.lose()
    assert scene.is_quiet


def test_admins_see_their_own_or_anothers_or_all_with_their_owners() -> None:
    scene = Scene()
    for owner in ("alice", "bob", "ops"):
        scene.jobs.new(owner)
    for fields, owners in (
        ({}, ["ops"]),
        ({"owner": "alice"}, ["alice"]),
        ({"owner": "*"}, ["alice", "bob", "ops"]),
    ):
        client = scene.watch("ops-key", **fields)
        assert [task["owner"] for task in tasks(client)] == owners
        for job in scene.jobs.jobs.values():
            scene.jobs.publisher.publish(job)
        scene.wait(0.5)
        assert [task["owner"] for task in tasks(client)] == owners
        client.lose()


@pytest.mark.parametrize("owner", ["bob", "*"])
def test_a_user_sees_no_others(owner: str) -> None:
    scene = Scene()
    (answer,) = scene.watch(owner=owner).answers()
    assert answer["code"] == "unauthorized"
    assert tasks(scene.watch(owner="alice")) == []


def test_a_taskid_and_an_owner_together_are_malformed() -> None:
    (answer,) = Scene().watch("ops-key", taskid="1", owner="*").answers()
    assert answer["code"] == "malformed"
    assert answer["message"] == "only one of the fields `taskid` and `owner` is taken"


def test_no_more_than_a_thousand_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (feeds, watching):
        monkeypatch.setattr(module, "LISTED", 10)
    scene = Scene()
    for _ in range(15):
        scene.jobs.new()
    client = scene.watch()
    assert [task["taskid"] for task in tasks(client)] == [str(number) for number in range(1, 11)]
    scene.jobs.new()
    scene.jobs.launch(scene.jobs.jobs[15])
    scene.wait(0.5)
    assert states(client) == [("16", "queued"), ("15", "active")]
    soon_after = scene.watch()
    assert len(tasks(soon_after)) == 10
    soon_after.lose()
    for number in (1, 2):
        scene.jobs.end(number)
    scene.wait(2)
    assert states(client)[:2] == [("1", "ended"), ("2", "ended")]
    second = scene.watch()
    assert len(tasks(second)) == 10


def test_who_comes_late_is_told_of_the_first_by_rank_and_of_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (feeds, watching):
        monkeypatch.setattr(module, "LISTED", 3)
    scene = Scene()
    early = scene.watch()
    jobs = [scene.jobs.new() for _ in range(6)]
    scene.wait(2)
    scene.jobs.launch(jobs[0])
    scene.jobs.go(jobs[0], 0.5)
    scene.wait(3)
    tasks(early)
    late = scene.watch()
    scene.wait(2)
    assert {task["taskid"] for task in tasks(late)} == {"1", "2", "3"}


def test_silence_is_broken_every_thirty_seconds_and_only_there() -> None:
    scene = Scene()
    scene.jobs.new()
    everyone, one = scene.watch(id=1), scene.watch(taskid="1")
    assert len(tasks(everyone) + tasks(one)) == 2
    scene.wait(29)
    assert everyone.answers() == []
    scene.wait(2)
    assert everyone.answers() == [{"status": "ok", "response": "watch", "task": None, "id": 1}]
    scene.wait(31)
    assert tasks(everyone) == [None]
    scene.wait(15)
    scene.jobs.launch(scene.jobs.jobs[1])
    scene.wait(29)
    assert len(tasks(everyone)) == 1
    assert len(tasks(one)) == 1


def test_what_changes_while_the_list_is_made_is_told_as_it_became() -> None:
    scene = Scene()
    first, second = scene.jobs.new(), scene.jobs.new()
    scene.jobs.slow = []
    client = scene.watch()
    old = [(copy(job), 1) for job in (first, second)]
    scene.jobs.launch(first)
    scene.jobs.end(2)
    scene.wait(0.5)
    asked = scene.jobs.slow.pop()
    asked.callback((old, 2))
    scene.wait(0.5)
    assert states(client) == [("1", "active"), ("2", "ended")]


def test_a_look_that_takes_long_tells_nothing_that_is_over() -> None:
    scene = Scene()
    ends, waits = scene.jobs.new(), scene.jobs.new()
    client = scene.watch()
    assert len(tasks(client)) == 2
    scene.jobs.slow = []
    scene.jobs.places[1] = 3
    scene.wait(1.1)
    (asked,) = scene.jobs.slow
    old = [(copy(job), 7) for job in (ends, waits)]
    scene.jobs.end(1)
    scene.jobs.places[2] = 5
    scene.jobs.publisher.publish(waits)
    scene.wait(1)
    assert [(task["taskid"], task["position"]) for task in tasks(client)] == [("1", 0), ("2", 5)]
    scene.jobs.publisher.publish(waits)  # now everybody has been told of the end
    scene.wait(1)
    assert states(client) == [("2", "queued")]
    asked.callback((old, 2))
    scene.wait(0.5)
    assert tasks(client) == []


def test_a_look_tells_nothing_that_is_not_in_the_book_yet() -> None:
    scene = Scene()
    starts, ends = scene.jobs.new(), scene.jobs.new()
    client = scene.watch()
    assert len(tasks(client)) == 2
    change(starts, Change.LAUNCH, 0.0)
    scene.wait(2.5)
    assert tasks(client) == []
    scene.jobs.publisher.publish(starts)
    scene.wait(0.5)
    assert states(client) == [("1", "active")]
    client.lose()
    scene.jobs.slow = []
    client = scene.watch()
    change(ends, Change.FINISH, 0.0, Outcome(Status.DONE))
    scene.jobs.slow.pop().callback(None)
    scene.wait(0.5)
    assert states(client) == [("1", "active")]
    scene.jobs.publisher.publish(ends)
    scene.wait(0.5)
    assert states(client) == [("2", "ended")]


def test_what_a_newcomer_would_not_be_told_of_is_kept_for_who_has_not_read_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (feeds, watching):
        monkeypatch.setattr(module, "LISTED", 3)
    scene = Scene()
    for _ in range(3):
        scene.jobs.new()
    # An admin: what is kept to be shared is of no help to him.
    slow, quick = scene.watch("ops-key", owner="alice"), scene.watch()
    assert len(tasks(slow) + tasks(quick)) == 6
    slow.transport.take(0)
    for fraction in (0.1, 0.2):  # what is sent before it is seen that it does not read
        scene.jobs.go(scene.jobs.jobs[1], fraction)
        scene.wait(0.5)
    for _ in range(5):
        scene.jobs.new()
    scene.wait(3)
    assert states(quick)[2:] == [(str(number), "queued") for number in range(4, 9)]
    tasks(slow)
    slow.transport.take()
    scene.turn()
    assert states(slow) == [(str(number), "queued") for number in range(4, 9)]


def test_who_reads_between_two_tellings_is_told_nothing_twice() -> None:
    scene = Scene()
    jobs = [scene.jobs.new() for _ in range(2)]
    for job in jobs:
        scene.jobs.launch(job)
    client = scene.watch()
    scene.wait(1)
    client.transport.take(0)
    for step in range(1, 4):
        scene.jobs.go(jobs[0], step / 10)
        scene.turn()
    tasks(client)
    scene.wait(1)
    for step in range(4, 7):  # at once, once more, and then it has to wait
        scene.jobs.go(jobs[0], step / 10)
        scene.jobs.go(jobs[1], step / 10)
        scene.turn()
    client.transport.take()
    scene.wait(1)
    told = [(task["taskid"], task["progress"]) for task in tasks(client)]
    assert len(set(told)) == len(told)
    assert told[-2:] == [("1", 0.6), ("2", 0.6)]


def test_each_watcher_of_a_task_has_the_id_of_its_own_request() -> None:
    scene = Scene()
    job = scene.jobs.new()
    scene.jobs.launch(job)
    clients = {ident: scene.watch(taskid="1", id=ident) for ident in (1, "two", 3.5, 'fo"ur')}
    plain = scene.watch(taskid="1")
    scene.wait(1)
    scene.jobs.go(job, 0.5)
    scene.wait(1)
    for ident, client in clients.items():
        assert [answer["id"] for answer in client.answers()] == [ident, ident]
    assert not any("id" in answer for answer in plain.answers())


def test_a_newcomer_that_does_not_read_is_sent_little() -> None:
    scene = Scene()
    for _ in range(500):
        scene.jobs.go(scene.jobs.new(), 0.5, "x" * 900)
    client = scene.front.connect()
    client.transport.take(0)
    client.send({"request": "watch", "key": "alice-key"})
    scene.wait(1)
    assert len(client.transport.value()) < 65536 + 2 * feeds.PIECE_BYTES
    told = tasks(client)
    for _ in range(20):
        client.transport.take(0)
        scene.turn()
        told += tasks(client)
    assert [task["taskid"] for task in told] == [str(number) for number in range(1, 501)]


def test_many_positions_that_change_are_told_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "ASIDES_A_SECOND", 10)
    scene = Scene()
    for _ in range(40):
        scene.jobs.new()
    client = scene.watch()
    assert len(tasks(client)) == 40
    count = 0
    for _ in range(20):
        scene.jobs.places = {number: place + 1 for number, place in scene.jobs.places.items()}
        scene.wait(1)
        count += len(tasks(client))
    assert 40 * 3 <= count <= 20 * 10 + 40


def test_long_arguments_are_cut_as_in_lists() -> None:
    scene = Scene()
    job = scene.jobs.new()
    job.arguments = b'["' + b"x" * 5000 + b'"]'
    for client in (scene.watch(taskid="1"), scene.watch()):
        (task,) = tasks(client)
        assert (task["arguments"], task["cut"]) == (None, True)


# Who does not read, and how it ends


def test_who_does_not_read_is_coalesced_and_sees_the_newest_when_it_reads() -> None:
    scene = Scene()
    jobs = [scene.jobs.new() for _ in range(20)]
    for job in jobs:
        scene.jobs.launch(job)
    slow, quick = scene.watch(), scene.watch()
    tasks(slow)
    slow.transport.take(0)
    for step in range(1, 200):
        for job in jobs[:19] if step > 100 else jobs:
            scene.jobs.go(job, step / 200, "x" * 900)
        scene.wait(0.1)
        if step == 100:
            scene.jobs.end(20)
        assert len(slow.transport.value()) < 2 * 65536
    lines = len(tasks(quick))
    assert lines > 19 * 100
    tasks(slow)
    slow.transport.take()
    scene.turn()
    got = tasks(slow)
    assert Counter(task["taskid"] for task in got) == Counter(range(1, 21)) or len(got) <= 40
    newest = {task["taskid"]: task["progress"] for task in got}
    assert newest.pop("20") == 1.0
    assert set(newest.values()) == {199 / 200}
    assert len(tasks(scene.watch())) == 19


def test_what_ends_while_nobody_reads_is_kept_once_for_all() -> None:
    scene = Scene()
    slow = [scene.watch() for _ in range(5)]
    for client in slow:
        client.transport.take(0)
    quick = scene.watch()
    for _ in range(500):
        job = scene.jobs.new()
        scene.jobs.launch(job)
        scene.jobs.end(job.id)
        scene.wait(0.2)
    assert [state for _, state in states(quick)].count("ended") == 500
    for client in slow:
        client.transport.take()
        scene.turn()
        ended = {number for number, state in states(client) if state == "ended"}
        assert len(ended) == 500
        client.lose()
    scene.jobs.new()
    scene.turn()
    (feed,) = scene.front.context.watching._feeds.values()
    assert not feed._ended


def test_who_is_too_far_behind_is_given_the_ends_from_the_history(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeds, "KEPT_BYTES", 20_000)
    monkeypatch.setattr(watching, "MISSED_AT_ONCE", 7)
    scene = Scene()
    store = scene.front.store
    changed = scene.jobs.new()
    store.add(Job(id=0, task="sleep", owner="alice", arguments=b"{}", created=0.0))
    slow = scene.watch()
    slow.transport.take(0)
    for step in (0.1, 0.2, 0.3):
        scene.jobs.go(changed, step)
        scene.wait(0.3)
    for _ in range(1000):
        job = scene.jobs.new()
        entered = store.add(Job(id=0, task="sleep", owner="alice", arguments=b"{}", created=0.0))
        assert entered.result.id == job.id  # type: ignore[union-attr]
        scene.jobs.launch(job)
        store.update(job)
        change(job, Change.FINISH, float(job.id), Outcome(Status.DONE))
        store.update(job)
        scene.jobs.publisher.publish(job)
        scene.clock.advance(0.2)
        scene.turn()
    (feed,) = scene.front.context.watching._feeds.values()
    assert feed._bytes <= 20_000
    running = scene.jobs.new()
    slow.transport.take()
    for _ in range(300):
        scene.turn()
    got = states(slow)
    assert {number for number, state in got if state == "ended"} == {
        str(number) for number in range(2, 1002)
    }
    assert (str(running.id), "queued") in got
    assert [state for number, state in got if number == "1"][-1] == "queued"
    assert got.count(("1", "queued")) > 1


def test_a_watcher_that_goes_leaves_nothing() -> None:
    scene = Scene()
    scene.jobs.new()
    clients = [scene.watch(taskid="1"), scene.watch(), scene.watch(taskid="1")]
    assert scene.front.context.traffic.watchers == 3
    scene.jobs.go(scene.jobs.jobs[1], 0.5)
    for client in clients:
        client.lose()
    assert scene.is_quiet


def test_shutdown_ends_it_with_unavailable() -> None:
    scene = Scene()
    scene.jobs.new()
    clients = [scene.watch(taskid="1"), scene.watch(), scene.watch()]
    clients[2].transport.take(0)
    scene.front.factory.shut_down()
    assert scene.is_quiet
    for client in clients:
        assert client.answers()[-1]["code"] == "unavailable"
        client.lose()


def test_a_key_that_is_taken_back_ends_it_with_unauthorized() -> None:
    scene = Scene()
    scene.jobs.new()
    clients = [scene.watch(taskid="1"), scene.watch(), scene.watch()]
    clients[2].transport.take(0)
    scene.front.keyring.replace(Source.CONFIGURATION, [])
    scene.turn()
    assert scene.is_quiet
    for client in clients:
        client.transport.take()
        assert client.answers()[-1]["code"] == "unauthorized"


def test_stats_counts_watchers_and_no_waits() -> None:
    scene = Scene()
    scene.jobs.new()
    scene.watch()
    scene.watch(taskid="1")
    scene.front.connect().send({"request": "wait", "taskid": "1", "key": "alice-key"})
    assert scene.front.ask("stats", "ops-key")["watchers"] == 2


# Many


def test_a_change_is_encoded_once_for_all_who_watch_it(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    job = scene.jobs.new()
    scene.jobs.launch(job)
    clients = [scene.watch(**fields) for fields in ({"taskid": "1"}, {}) for _ in range(100)]
    clients += [scene.watch("ops-key", owner=owner) for owner in ("alice", "*") for _ in range(9)]
    for client in clients:
        tasks(client)
    encoded: list[Any] = []
    encode = watching._encode
    monkeypatch.setattr(
        watching, "_encode", lambda value: (encoded.append(value), encode(value))[1]
    )
    scene.jobs.go(job, 0.5)
    scene.wait(0.2)
    assert all(len(tasks(client)) == 1 for client in clients)
    assert len(encoded) == 2  # the task, and the name of its owner


def test_others_have_their_turn_while_many_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "Clock", TurnByTurn)
    scene = Scene()
    job = scene.jobs.new()
    clients = [scene.watch(taskid="1") for _ in range(WOKEN_AT_ONCE * 3)]
    scene.wait(1)
    for client in clients:
        client.transport.clear()
    scene.jobs.launch(job)
    told = []
    for _ in range(7):
        scene.clock.advance(0)
        told.append(sum(bool(client.transport.value()) for client in clients))
    steps = {after - before for before, after in pairwise(told)}
    assert steps <= {0, WOKEN_AT_ONCE}
    assert told[-1] == len(clients)


def test_where_telling_takes_long_it_is_done_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes, "Clock", TurnByTurn)
    scene = Scene()
    job = scene.jobs.new()
    scene.jobs.launch(job)
    clients = [scene.watch(taskid="1") for _ in range(WOKEN_AT_ONCE * 4)]
    scene.wait(1)
    clients[0].transport.clear()
    for step in range(100):  # a turn takes 50 ms, so to tell them all takes 200
        scene.jobs.go(job, step / 100)
        scene.clock.advance(0.05)
    lines = clients[0].transport.value().count(b"\n")
    assert 6 <= lines <= 9


def test_a_task_that_cannot_be_shown_keeps_no_other_from_being_watched(
    logged_failures: list[LogEvent],
) -> None:
    scene = Scene()
    client = scene.watch()
    broken = scene.jobs.new()
    broken.created = float("inf")
    scene.jobs.publisher.publish(broken)
    scene.jobs.new()
    scene.turn()
    assert states(client) == [("1", "queued"), ("2", "queued")]
    assert "OverflowError" in logged_failures.pop()["log_failure"].getTraceback()


def test_nobody_who_watches_means_nothing_to_do() -> None:
    scene = Scene()
    assert scene.jobs.publisher.count() == 0
    job = scene.jobs.new()
    scene.jobs.launch(job)
    assert scene.jobs.looks == 0
    assert scene.is_quiet


# Whatever happens


@st.composite
def stories(draw: st.DrawFn) -> list[tuple[str, int, int]]:
    what = st.sampled_from(
        ["new", "launch", "go", "end", "read", "stop reading", "take", "wait", "move", "watch"]
    )
    return draw(st.lists(st.tuples(what, st.integers(0, 7), st.integers(0, 60)), max_size=80))


@given(stories(), st.sampled_from([feeds.KEPT_BYTES, 3000]))
@settings(max_examples=150, deadline=None)
def test_who_reads_at_random_times_ends_with_the_newest_of_every_task(
    story: list[tuple[str, int, int]], kept: int
) -> None:
    before, feeds.KEPT_BYTES = feeds.KEPT_BYTES, kept
    try:
        tell(story)
    finally:
        feeds.KEPT_BYTES = before


def tell(story: list[tuple[str, int, int]]) -> None:
    scene = Scene()
    scheduler, store = scene.jobs, scene.front.store
    clients: list[tuple[Client, dict[str, Any]]] = []

    def watch(**fields: Any) -> None:
        clients.append((scene.watch(**fields), {}))

    def read(client: Client, seen: dict[str, Any]) -> None:
        for answer in client.answers():
            if answer["task"] is not None:
                number = answer["task"]["taskid"]
                was = seen.get(number)
                if was is not None and was["state"] == "ended":
                    assert answer["task"]["state"] == "ended"
                seen[number] = answer["task"]

    watch()
    for what, which, amount in story:
        jobs = [job for job in scheduler.jobs.values() if job.state is not State.ENDED]
        job = jobs[which % len(jobs)] if jobs else None
        client, seen = clients[which % len(clients)]
        match what:
            case "new":
                store.add(Job(id=0, task="sleep", owner="alice", arguments=b"{}", created=0.0))
                scheduler.new()
            case "launch" if job is not None and job.state is State.QUEUED:
                scheduler.launch(job)
                store.update(job)
            case "go" if job is not None and job.state is State.ACTIVE:
                scheduler.go(job, amount / 100, "x" * 20 * amount)
            case "end" if job is not None:
                change(job, Change.FINISH, scene.clock.seconds() + 1, Outcome(Status.DONE))
                store.update(job)
                scheduler.publisher.publish(job)
            case "move":
                scheduler.places = {n: place + 1 for n, place in scheduler.places.items()}
            case "read":
                read(client, seen)
                client.transport.take()
            case "take":
                client.transport.take(amount * 100)
            case "stop reading":
                client.transport.take(0)
            case "wait":
                scene.wait(amount / 20)
            case "watch" if len(clients) < 8:
                watch(**({"taskid": str(job.id)} if job is not None and which % 2 else {}))
        scene.turn()
    for client, _ in clients:
        client.transport.take()
    scene.wait(3)
    for client, seen in clients:
        read(client, seen)
        is_of_all = len(seen) != 1 or client is clients[0][0]
        for job in scheduler.jobs.values():
            told = seen.get(str(job.id))
            if told is None:
                assert not is_of_all or job.state is State.ENDED
                continue
            assert (told["state"], told["progress"], told["position"]) == (
                str(job.state),
                job.progress.fraction,
                scheduler.position(job),
            )
        if client is clients[0][0]:
            assert len(seen) == len(scheduler.jobs), "it was there from the beginning"
        client.lose()
    assert scene.is_quiet
