"""The blocking client, against a daemon that answers as it is told, over real sockets."""

from __future__ import annotations

import inspect
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aptask.client import Client, ConnectionFailed
from aptask.errors import (
    BY_CODE,
    AptaskError,
    LimitReached,
    Unauthorized,
    Unavailable,
    UnknownTaskid,
)
from aptask.model.messages import REQUESTS, PingResponse, Task
from aptask.model.statistics import Executor, Group
from tests.client.fake_daemon import CLOSE, SILENCE, FakeDaemon, ended, refusal, stats, task

# One method a request


def test_there_is_a_method_for_every_request() -> None:
    for name in REQUESTS:
        assert inspect.isfunction(getattr(Client, {"addkey": "add_key"}.get(name, name)))


def test_ping_tells_version_and_user(fake: FakeDaemon, server: str) -> None:
    fake.answers["ping"] = lambda request: {
        "protocol": 1, "version": "1.0", "role": "admin", "user": "local",
    }  # fmt: skip
    with Client(server, "k") as client:
        assert client.ping() == PingResponse(protocol=1, version="1.0", role="admin", user="local")
    assert fake.requests == [{"request": "ping", "key": "k"}]


def test_help_gives_the_requests_by_name(fake: FakeDaemon) -> None:
    fake.answers["help"] = lambda request: {"requests": {"ping": {"fields": {}}}}
    with Client(fake.tcp) as client:
        assert client.help() == {"ping": {"fields": {}}}


def test_index_gives_the_tasks_with_a_schema_if_asked(fake: FakeDaemon) -> None:
    entry = {"name": "primes", "help": "", "arguments": []}
    fake.answers["index"] = lambda request: {"index": [entry]}
    with Client(fake.tcp, "k") as client:
        assert client.index() == [entry]
        client.index(schema=True)
    assert fake.requests == [
        {"request": "index", "key": "k"},
        {"request": "index", "key": "k", "schema": True},
    ]


@pytest.mark.parametrize(
    ("start", "arguments"),
    [
        (lambda client: client.start("t"), None),
        (lambda client: client.start("t", 1, ["a"]), [1, ["a"]]),
        (lambda client: client.start("t", name="x", self=None), {"name": "x", "self": None}),
        (lambda client: client.submit("t", (1, 2)), [1, 2]),
        (lambda client: client.submit("t", {"arguments": {"é": 0.5}}), {"arguments": {"é": 0.5}}),
    ],
)
def test_start_sends_arguments_by_position_or_by_name(
    fake: FakeDaemon, start: Callable[[Client], str], arguments: Any
) -> None:
    fake.answers["start"] = lambda request: {"taskid": "17"}
    with Client(fake.tcp, "k") as client:
        assert start(client) == "17"
    [sent] = fake.requests
    assert sent["name"] == "t"
    assert sent.get("arguments") == arguments


def test_submit_sends_what_is_to_become_of_it_when_it_comes_twice_or_is_lost(
    fake: FakeDaemon,
) -> None:
    fake.answers["start"] = lambda request: {"taskid": "17", "existing": True}
    with Client(fake.tcp) as client:
        assert client.submit("t", once="a", unique="b", rerun=True) == "17"
    [sent] = fake.requests
    assert (sent["once"], sent["unique"], sent["rerun"]) == ("a", "b", True)


def test_start_refuses_a_mix_of_positional_and_named(fake: FakeDaemon) -> None:
    with Client(fake.tcp) as client, pytest.raises(TypeError, match="all by position or all by"):
        client.start("t", 1, a=2)
    assert fake.requests == []


def test_stop_names_the_task_and_the_grace(fake: FakeDaemon) -> None:
    fake.answers["stop"] = lambda request: {"taskid": request["taskid"]}
    with Client(fake.tcp) as client:
        assert client.stop("17") == "17"
        assert client.stop("18", grace=0.5) == "18"
    assert fake.requests == [
        {"request": "stop", "taskid": "17"},
        {"request": "stop", "taskid": "18", "grace": 0.5},
    ]


def test_active_pages_and_gives_typed_tasks(fake: FakeDaemon) -> None:
    fake.answers["active"] = lambda request: {"active": [task(), task(cut=True)], "total": 9}
    with Client(fake.tcp) as client:
        tasks = client.active(limit=2, offset=3, owner="*")
    assert [type(one) for one in tasks] == [Task, Task]
    assert tasks[0].arguments == {"below": 1000}
    assert fake.requests == [{"request": "active", "limit": 2, "offset": 3, "owner": "*"}]


def test_show_gives_the_task_whatever_a_newer_daemon_adds(fake: FakeDaemon) -> None:
    fake.answers["show"] = lambda request: {"task": task(novelty=[1]), "more": True}
    with Client(fake.tcp) as client:
        shown = client.show("17")
    assert (shown.taskid, shown.progress, shown.result) == ("17", 0.42, None)


def test_wait_gives_the_task_when_it_has_ended(fake: FakeDaemon) -> None:
    fake.answers["wait"] = lambda request: {"task": ended(result=[1]), "ended": True}
    with Client(fake.tcp) as client:
        assert client.wait("17", timeout=5).result == [1]
    assert fake.requests == [{"request": "wait", "taskid": "17", "timeout": 5}]


def test_output_gives_one_piece(fake: FakeDaemon) -> None:
    fake.answers["output"] = lambda request: {"text": "é\n", "offset": 10, "end": False}
    with Client(fake.tcp) as client:
        piece = client.output("17", offset=7, limit=3)
    assert (piece.text, piece.offset, piece.end) == ("é\n", 10, False)
    assert fake.requests == [{"request": "output", "taskid": "17", "offset": 7, "limit": 3}]


def test_stats_is_typed_whatever_a_newer_daemon_adds(fake: FakeDaemon) -> None:
    fake.answers["stats"] = lambda request: stats(
        novelty=1, executors={"local": {"state": "resting", "jobs": 0, "load": 0.5}}
    )
    with Client(fake.tcp, "k") as client:
        answer = client.stats()
    assert (answer.uptime, answer.queued, answer.disk.free) == (273600.123, 17, 126701535232)
    assert answer.groups == {"default": Group(slots=4, running=2, queued=17, paused=False)}
    assert answer.executors == {"local": Executor("resting", 0)}
    assert answer.requests["start"] == 1300
    assert fake.requests == [{"request": "stats", "key": "k"}]


def test_stats_for_a_user_is_unauthorized(fake: FakeDaemon) -> None:
    fake.answers["stats"] = lambda request: refusal("unauthorized", "`stats` is for admins")
    with Client(fake.tcp, "k") as client, pytest.raises(Unauthorized, match="for admins"):
        client.stats()


def _written(
    text: str, known: Callable[[], int], is_over: Callable[[], bool]
) -> Callable[..., Any]:
    def output(request: dict[str, Any]) -> dict[str, Any]:
        offset = request.get("offset", 0)
        piece = text[offset : known()][: request["limit"]]
        over = is_over() and offset + len(piece) == len(text)
        return {"text": piece, "offset": offset + len(piece), "end": over}

    return output


def test_read_output_goes_on_until_there_is_no_more_for_now(fake: FakeDaemon) -> None:
    text = "0123456789" * 60_000
    fake.answers["output"] = _written(text, lambda: len(text), lambda: False)
    with Client(fake.tcp) as client:
        assert "".join(client.read_output("17", offset=5)) == text[5:]


def test_follow_output_gives_each_piece_as_it_comes_until_the_end(fake: FakeDaemon) -> None:
    fake.answers["output"] = lambda request: [
        {"text": "", "offset": 5, "end": False},
        {"text": "one ", "offset": 9, "end": False},
        {"text": "two", "offset": 12, "end": True},
        SILENCE,
    ]
    with Client(fake.tcp) as client:
        assert list(client.follow_output("17", offset=5)) == ["one ", "two"]
        assert client.ping().protocol == 1
    followed, ping = fake.requests
    assert followed.pop("limit") > 0
    assert followed == {"request": "output", "taskid": "17", "offset": 5, "follow": True}
    assert ping["request"] == "ping"


def test_a_follower_may_be_silent_for_longer_than_an_answer_may_take(fake: FakeDaemon) -> None:
    def output(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"text": "one ", "offset": 4, "end": False}
        time.sleep(0.5)
        yield {"text": "two", "offset": 7, "end": True}

    fake.answers["output"] = output
    with Client(fake.tcp, timeout=0.2) as client:
        assert list(client.follow_output("17")) == ["one ", "two"]


def test_who_follows_no_more_leaves_the_client_as_it_was(fake: FakeDaemon) -> None:
    fake.answers["output"] = lambda request: [{"text": "one ", "offset": 4, "end": False}]
    with Client(fake.tcp) as client:
        for text in client.follow_output("17"):
            assert text == "one "
            break
        assert client.ping().protocol == 1
    assert fake.connections == 2, "what comes late is not taken for another answer"


def test_a_connection_that_breaks_while_one_follows_is_a_failure(fake: FakeDaemon) -> None:
    fake.answers["output"] = lambda request: [{"text": "one ", "offset": 4, "end": False}, CLOSE]
    with Client(fake.tcp) as client:
        following = client.follow_output("17")
        assert next(following) == "one "
        with pytest.raises(ConnectionFailed) as broken:
            next(following)
    assert broken.value.received
    assert fake.names() == ["output"]


def test_an_error_while_one_follows_is_raised_as_such(fake: FakeDaemon) -> None:
    fake.answers["output"] = lambda request: [
        {"text": "one ", "offset": 4, "end": False},
        refusal("unavailable", "the daemon is shutting down"),
    ]
    with Client(fake.tcp) as client:
        following = client.follow_output("17")
        assert next(following) == "one "
        with pytest.raises(Unavailable, match="shutting down"):
            next(following)


# Errors


@pytest.mark.parametrize("code", BY_CODE)
def test_each_error_code_is_raised_as_its_exception(fake: FakeDaemon, code: str) -> None:
    fake.answers["show"] = lambda request: refusal(code, f"about {code}")
    with Client(fake.tcp) as client, pytest.raises(AptaskError, match=f"^about {code}$") as no:
        client.show("17")
    assert type(no.value) is BY_CODE[code]


def test_an_unknown_code_is_a_plain_error_that_names_it(fake: FakeDaemon) -> None:
    fake.answers["ping"] = lambda request: refusal("teapot", "short and stout")
    with Client(fake.tcp) as client, pytest.raises(AptaskError) as no:
        client.ping()
    assert type(no.value) is AptaskError
    assert str(no.value) == "short and stout (teapot)"


def test_a_limit_says_when_to_come_back(fake: FakeDaemon) -> None:
    fake.answers["start"] = lambda request: refusal("limit", "full", retry_after=7.5)
    with Client(fake.tcp) as client, pytest.raises(LimitReached) as no:
        client.start("t")
    assert no.value.retry_after == 7.5


def test_a_client_goes_on_after_an_error_on_a_fresh_connection(fake: FakeDaemon) -> None:
    fake.answers["show"] = lambda request: [refusal("unknown-taskid"), CLOSE]
    with Client(fake.tcp) as client:
        with pytest.raises(UnknownTaskid):
            client.show("17")
        assert client.ping().protocol == 1
    assert fake.connections == 2


def test_an_error_that_comes_before_the_request_was_sent_whole_is_the_answer() -> None:
    def refuse(listening: socket.socket) -> None:
        connected, _ = listening.accept()
        with connected:
            connected.recv(1000)
            connected.sendall(
                b'{"status":"error","response":null,"code":"too-large","message":"big"}\n'
            )
            connected.shutdown(socket.SHUT_WR)
            while connected.recv(1 << 16):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=refuse, args=(listening,), daemon=True).start()
        with (
            Client(f"127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(BY_CODE["too-large"], match="big"),
        ):
            client.start("t", "x" * (8 << 20))
