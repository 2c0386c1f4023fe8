"""`output` with `follow`: live, whole, from anywhere, and for many at the cost of one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.model.job import Change, Outcome, Status, change
from aptask.runner.output import Outputs, Writer
from aptask.serving.following import LOOK_SECONDS, WOKEN_AT_ONCE, Following
from tests.serving.fakes import Client, FakeOutputs, Front


class Counting(FakeOutputs):
    """Counts how often it is looked into."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[tuple[int, int]] = []
        self.looks: list[int] = []
        self.broken = False

    def read(self, job: int, offset: int, limit: int) -> tuple[bytes, int]:
        self.reads.append((job, offset))
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().read(job, offset, limit)

    def size(self, job: int) -> int:
        self.looks.append(job)
        if self.broken:
            raise OSError(5, "Input/output error")
        return super().size(job)


class Scene:
    """A front with one job, number 1."""

    def __init__(self, outputs: Any = None) -> None:
        self.front = Front()
        self.outputs: Any = outputs or Counting()
        self.front.context.following = Following(
            self.outputs, self.front.scheduler.publisher.subscribe, self.front.clock
        )
        self.front.start()

    def follow(self, **fields: Any) -> Client:
        client = self.front.connect()
        client.send(
            {"request": "output", "taskid": "1", "key": "alice-key", "follow": True, **fields}
        )
        return client

    def write(self, data: bytes, job: int = 1) -> None:
        self.outputs.written[job] = self.outputs.written.get(job, b"") + data
        self.look()

    def look(self) -> None:
        """Let the time pass until the next look, and all that comes of it."""
        self.front.clock.pump([LOOK_SECONDS, *[0] * 50])

    def end(self) -> None:
        self.front.scheduler.end(1)
        self.front.clock.pump([0] * 50)


def told(client: Client) -> list[tuple[str, int, bool]]:
    """What has come, but for the empty response with which it begins where there is nothing."""
    responses = client.answers()
    assert all(each["response"] == "output" for each in responses)
    pieces = [(each["text"], each["offset"], each["end"]) for each in responses]
    return [(text, offset, end) for text, offset, end in pieces if text or end]


def test_what_is_there_is_told_at_once_and_the_rest_as_it_comes_until_the_end() -> None:
    scene = Scene()
    scene.write(b"one ")
    client = scene.follow()
    assert told(client) == [("one ", 4, False)]
    scene.write(b"two ")
    assert told(client) == [("two ", 8, False)]
    scene.look()
    assert told(client) == []
    scene.end()
    assert told(client) == [("", 8, True)]
    client.send(b'{"request":"ping"}')
    assert client.answers()[0]["response"] == "ping"
    assert len(scene.front.context.following) == 0


def test_where_there_is_nothing_yet_the_first_response_says_so_at_once() -> None:
    scene = Scene()
    client = scene.follow(offset=5)
    (answer,) = client.answers()
    assert (answer["text"], answer["offset"], answer["end"]) == ("", 5, False)
    scene.look()
    assert client.answers() == []
    client.lose()


def test_what_is_written_right_before_the_end_comes_with_it() -> None:
    scene = Scene()
    client = scene.follow()
    scene.outputs.written[1] = b"last words"
    scene.end()
    assert told(client) == [("last words", 10, True)]


def test_of_a_task_that_has_ended_all_is_told_in_pieces_and_the_end_once() -> None:
    scene = Scene()
    scene.write(b"x" * 250)
    scene.end()
    client = scene.follow(limit=100)
    assert told(client) == [("x" * 100, 100, False), ("x" * 100, 200, False), ("x" * 50, 250, True)]


@pytest.mark.parametrize("offset", [0, 7])
def test_of_a_task_that_never_wrote_the_end_alone_is_told(offset: int) -> None:
    scene = Scene()
    client = scene.follow(offset=offset)
    scene.look()
    assert told(client) == []
    scene.end()
    assert told(client) == [("", offset, True)]
    assert told(scene.follow(offset=offset)) == [("", offset, True)]


def test_an_offset_that_is_not_reached_yet_is_waited_for() -> None:
    scene = Scene()
    client = scene.follow(offset=6)
    scene.write(b"0123")
    assert told(client) == []
    scene.write(b"4567")
    assert told(client) == [("67", 8, False)]
    client.lose()


def test_between_two_attempts_it_goes_on() -> None:
    scene = Scene()
    job = scene.front.scheduler.jobs[1]
    job.rerun = True
    change(job, Change.LAUNCH, 0.0)
    client = scene.follow()
    scene.write(b"first\n")
    change(job, Change.REPEAT, 0.0, Outcome(Status.INTERRUPTED))
    scene.front.scheduler.publisher.publish(job)
    scene.look()
    scene.write(b"[aptask: attempt 2]\nsecond\n")
    assert told(client) == [("first\n", 6, False), ("[aptask: attempt 2]\nsecond\n", 33, False)]
    change(job, Change.LAUNCH, 0.0)
    scene.end()
    assert told(client) == [("", 33, True)]


def test_a_character_that_is_cut_is_told_when_it_is_whole_and_replaced_at_the_end() -> None:
    scene = Scene()
    client = scene.follow()
    for byte in "aé€".encode():
        scene.write(bytes([byte]))
    assert told(client) == [("a", 1, False), ("é", 3, False), ("€", 6, False)]
    scene.write(b"\xf0\x9f")
    assert told(client) == []
    scene.end()
    assert told(client) == [("\ufffd", 8, True)]


@pytest.mark.parametrize("taskid", ["2", "x", "99"])
def test_another_owners_task_and_one_that_is_not_there_are_answered_alike(taskid: str) -> None:
    scene = Scene()
    scene.front.start("bob-key")
    client = scene.follow(taskid=taskid)
    (answer,) = client.answers()
    assert answer["code"] == "unknown-taskid"
    assert len(scene.front.context.following) == 0
    assert scene.front.scheduler.publisher.count() == 0


# What it costs


def test_one_look_and_one_reading_serve_all_who_are_at_the_same_place() -> None:
    scene = Scene()
    clients = [scene.follow(id=number) for number in range(50)]
    assert all(told(client) == [] for client in clients)
    scene.outputs.looks.clear()
    scene.outputs.reads.clear()
    scene.write(b"one ")
    assert scene.outputs.looks == [1]
    assert scene.outputs.reads == [(1, 0)]
    for number, client in enumerate(clients):
        (answer,) = client.answers()
        assert (answer["text"], answer["id"]) == ("one ", number)
        client.lose()


def test_a_job_is_looked_at_only_while_somebody_waits_for_it() -> None:
    scene = Scene()
    scene.front.start()
    assert not pending(scene)
    client, other = scene.follow(), scene.follow(taskid="2")
    scene.outputs.looks.clear()
    scene.look()
    assert scene.outputs.looks == [1, 2]
    client.lose()
    scene.look()
    assert scene.outputs.looks == [1, 2, 2]
    other.lose()
    scene.look()
    assert not pending(scene)
    assert scene.front.scheduler.publisher.count() == 0


def test_who_has_gone_is_waited_for_no_more_while_others_stay() -> None:
    scene = Scene()
    slow, gone = scene.follow(), scene.follow()
    assert told(slow) == []
    slow.transport.take(0)
    scene.write(b"a")
    scene.write(b"b")
    gone.lose()
    scene.outputs.looks.clear()
    scene.look()
    scene.look()
    assert scene.outputs.looks == []
    slow.lose()


def test_what_came_piece_by_piece_is_one_piece_for_who_comes_later() -> None:
    scene = Scene()
    first = scene.follow()
    scene.write(b"a")
    scene.write(b"b")
    assert told(first) == [("a", 1, False), ("b", 2, False)]
    later = scene.follow()
    assert told(later) == [("ab", 2, False)]
    first.lose()
    later.lose()


def pending(scene: Scene) -> list[Any]:
    """What is called later on behalf of followers."""
    return [call for call in scene.front.clock.getDelayedCalls() if "Following" in str(call.func)]


def test_a_follower_that_does_not_read_costs_nothing_and_goes_on_from_where_it_was() -> None:
    scene = Scene()
    client = scene.follow()
    assert told(client) == []
    client.transport.take(0)
    scene.write(b"a")
    scene.write(b"b")
    assert told(client) == [("a", 1, False), ("b", 2, False)]
    scene.outputs.looks.clear()
    for _ in range(100):
        scene.write(b"c")
    assert scene.outputs.looks == []
    client.transport.take()
    scene.look()
    assert told(client) == [("c" * 100, 102, False)], "what came meanwhile is one response"
    scene.end()
    assert told(client) == [("", 102, True)]


def test_many_followers_go_on_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    clock, turn = scene.front.clock, 1e-6
    clients = [scene.follow() for _ in range(2 * WOKEN_AT_ONCE + 10)]
    assert all(told(client) == [] for client in clients)
    call_later = clock.callLater
    monkeypatch.setattr(  # what is called without delay is called in the next turn
        clock, "callLater", lambda delay, *call: call_later(max(delay, turn), *call)
    )
    scene.outputs.written[1] = b"one"
    told_in_each_turn = []
    for delay in (LOOK_SECONDS, turn, turn, turn, turn):
        clock.advance(delay)
        told_in_each_turn.append(sum(1 for client in clients if client.transport.value()))
    assert told_in_each_turn == [0, 0, WOKEN_AT_ONCE, 2 * WOKEN_AT_ONCE, len(clients)]
    for client in clients:
        client.lose()


def test_a_follower_that_goes_while_it_is_woken_leaves_the_others_alone() -> None:
    scene = Scene()
    first, second = scene.follow(), scene.follow()
    scene.outputs.written[1] = b"one"
    scene.front.clock.advance(LOOK_SECONDS)
    first.lose()
    scene.look()
    assert told(second) == [("one", 3, False)]
    second.lose()


def test_what_cannot_be_read_is_a_fault_of_this_job_alone(logged_failures: list[Any]) -> None:
    scene = Scene()
    client = scene.follow()
    assert told(client) == []
    scene.outputs.broken = True
    scene.look()
    (answer,) = client.answers()
    assert answer["code"] == "internal"
    logged_failures.clear()
    scene.outputs.broken = False
    scene.front.start()
    other = scene.follow(taskid="2")
    scene.write(b"fine", job=2)
    assert told(other) == [("fine", 4, False)]
    other.lose()


# With the files that runners write


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., tuple[Scene, Writer]]:
    def make(capacity: int) -> tuple[Scene, Writer]:
        return Scene(Outputs(tmp_path)), Writer(tmp_path, 1, capacity)

    return make


def test_a_follower_in_time_has_all_of_what_is_left_out_later(
    written: Callable[..., tuple[Scene, Writer]],
) -> None:
    scene, writer = written(4096)
    client = scene.follow()
    for number in range(1000):
        writer.write(b"%9d\n" % number)
        if number % 100 == 99:
            scene.look()
    scene.end()
    assert "".join(text for text, _, _ in told(client)) == "".join(
        f"{number:9d}\n" for number in range(1000)
    )
    writer.close()


def test_a_follower_that_was_too_slow_is_told_what_was_left_out(
    written: Callable[..., tuple[Scene, Writer]],
) -> None:
    scene, writer = written(4096)
    client = scene.follow()
    writer.write(b"begun\n")
    scene.look()
    writer.write(b"x" * 1_000_000)
    writer.write(b"\nlast\n")
    scene.end()
    pieces = told(client)
    text = "".join(text for text, _, _ in pieces)
    assert text.startswith("begun\nxxx")
    assert text.count("bytes are left out here]") == 1
    assert text.endswith("x\nlast\n")
    assert pieces[-1][1:] == (1_000_012, True)
    assert [end for _, _, end in pieces].count(True) == 1
    writer.close()


@given(
    st.lists(st.text(alphabet="aé€\U0001f600\n", min_size=1, max_size=40), max_size=12),
    st.lists(st.integers(0, 60), max_size=12),
    st.integers(4, 64),
)
@settings(max_examples=60)
def test_however_it_is_written_and_followed_the_text_is_whole(
    parts: list[str], cuts: list[int], limit: int
) -> None:
    whole = "".join(parts)
    data = whole.encode()
    scene = Scene()
    client = scene.follow(limit=limit)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    for start, stop in pairwise(places):
        scene.write(data[start:stop])
    scene.end()
    pieces = told(client)
    assert "".join(text for text, _, _ in pieces) == whole
    assert [end for _, _, end in pieces] == [False] * (len(pieces) - 1) + [True]
    assert all(len(text.encode()) <= limit for text, _, _ in pieces)
    offsets = [offset for _, offset, _ in pieces]
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(data)
