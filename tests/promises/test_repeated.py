"""At most once: a request with `once` is carried out once, however often it has to be repeated."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises.small import Small, encode, small_daemons

SAME_TIME = 40
LIMIT = 20
KEYS = {"alice": "alice-key", "bob": "bob-key", "ops": "ops-key"}


def settings(programs: Path) -> str:
    return f"""
        [users.alice]
        key = "{KEYS["alice"]}"
        [users.bob]
        key = "{KEYS["bob"]}"
        [admins.ops]
        key = "{KEYS["ops"]}"
        [limits]
        queued = {LIMIT}
        [tasks.rare]
        command = ["{programs}/rare", "{{text}}"]
        requires = ["{programs}/rare"]
        [tasks.rare.arguments]
        text = {{ type = "str", default = "" }}
    """


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that can be installed and removed."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def daemon(daemons: Callable[..., Any], programs: Path) -> Any:
    """A daemon with users, one slot, and a short queue."""
    return daemons("--slots", "1", config=settings(programs))


@pytest.fixture
def own(daemons: Callable[..., Any], programs: Path) -> Any:
    """Another one, for one test alone."""
    return daemons("--slots", "1", config=settings(programs))


@pytest.fixture
def small(folder: Path, tmp_path: Path) -> Iterator[Small]:
    data = folder / tmp_path.name
    data.mkdir()
    with small_daemons(data) as made:
        made.start()
        yield made


def started(daemon: Any, owner: str = "alice", **fields: Any) -> tuple[str, bool]:
    """The taskid, and whether it is one that was there."""
    answer = daemon.ask("start", KEYS[owner], **{"name": "sleep", "arguments": [0], **fields})
    assert answer["status"] == "ok", answer
    assert answer.get("existing", True) is True
    return answer["taskid"], "existing" in answer


def refused(daemon: Any, owner: str = "alice", **fields: Any) -> tuple[str, str]:
    answer = daemon.ask("start", KEYS[owner], **{"name": "sleep", "arguments": [0], **fields})
    assert answer["status"] == "error", answer
    return answer["code"], answer["message"]


# Cut connections


def close(connection: socket.socket) -> None:
    connection.close()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half_close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_WR)
    connection.close()


Connect = Callable[[], socket.socket]


def connect_tcp(daemon: Any) -> Connect:
    return lambda: socket.create_connection(("127.0.0.1", daemon.port), 30)


def exchange(connect: Connect, line: bytes) -> bytes:
    with connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(line)
        return answers.readline()


def of_tasks(connect: Connect, key: str) -> int:
    """The highest taskid that there was before."""
    line = encode({"request": "start", "name": "sleep", "arguments": [0]}, key)
    return int(json.loads(exchange(connect, line))["taskid"])


@pytest.mark.parametrize("end", [close, reset, half_close])
def test_a_request_that_is_cut_at_any_byte_is_repeated_and_makes_one_task(
    daemons: Callable[..., Any], request: pytest.FixtureRequest, end: Any
) -> None:
    daemon = request.getfixturevalue("unlimited")
    connect = connect_tcp(daemon)
    first = of_tasks(connect, daemon.admin_key)
    answered = []
    for cut in range(len(line_of(daemon, f"{end.__name__} 100")) + 1):
        line = line_of(daemon, f"{end.__name__} {cut + 100}")
        connection = connect()
        connection.sendall(line[:cut])
        end(connection)
        answered.append(json.loads(exchange(connect, line)))
    assert all(answer["status"] == "ok" for answer in answered)
    assert of_tasks(connect, daemon.admin_key) == first + len(answered) + 1
    # All of it had come before the connection was cut.
    existing = ["existing" in answer for answer in answered]
    assert not any(existing[:-2])
    assert all(existing[-1:]) or end is reset
    for cut, answer in enumerate(answered):
        again = json.loads(exchange(connect, line_of(daemon, f"{end.__name__} {cut + 100}")))
        assert again["taskid"] == answer["taskid"]


@pytest.mark.parametrize("end", [close, reset, half_close])
def test_a_request_whose_answer_is_cut_at_any_byte_is_repeated_and_answered_the_same(
    daemons: Callable[..., Any], request: pytest.FixtureRequest, end: Any
) -> None:
    daemon = request.getfixturevalue("unlimited")
    connect = connect_tcp(daemon)
    first = of_tasks(connect, daemon.admin_key)
    whole = exchange(connect, line_of(daemon, f"{end.__name__} answer"))
    for cut in range(len(whole) + 1):
        line = line_of(daemon, f"{end.__name__} answer {cut}")
        connection = connect()
        connection.sendall(line)
        begun = b""
        while len(begun) < cut:
            begun += connection.recv(cut - len(begun))
        end(connection)
        answer = json.loads(exchange(connect, line))
        assert int(answer["taskid"]) == first + 2 + cut
        assert "existing" in answer or cut == 0
        if cut == len(whole):
            assert json.loads(begun)["taskid"] == answer["taskid"]
    assert of_tasks(connect, daemon.admin_key) == first + 3 + len(whole)


@pytest.fixture(scope="module")
def unlimited(daemons: Callable[..., Any]) -> Any:
    return daemons("--slots", "1")


def line_of(daemon: Any, once: str) -> bytes:
    fields = {"request": "start", "name": "sleep", "arguments": [0], "once": once}
    return encode(fields, daemon.admin_key)


# Daemons that die


@pytest.mark.parametrize(
    ("answers", "is_kept"),
    [(1, False), (2, True)],
    ids=["before it is kept", "after it is kept and before the answer"],
)
def test_a_daemon_that_is_killed_in_the_middle_of_a_request_leaves_one_task_when_it_is_repeated(
    small: Small, answers: int, is_kept: bool
) -> None:
    small.kill()
    for number in range(1, 11):
        small.start(dies=answers)
        request = {"request": "start", "name": "hold", "once": f"{number}"}
        with small.connect() as connection:
            connection.sendall(encode(request))
            assert connection.recv(1000) == b""
        small.ended()
        small.start()
        [answer] = small.ask(request)
        assert answer["taskid"] == str(number)
        assert ("existing" in answer) is is_kept
        assert small.ask({"request": "active"})[0]["total"] == number
        small.kill()


# At the same time


def test_of_clients_with_the_same_key_at_the_same_time_one_makes_the_task(unlimited: Any) -> None:
    connect = connect_tcp(unlimited)
    for key in ("once", "unique"):
        first = of_tasks(connect, unlimited.admin_key)
        connections = [connect() for _ in range(SAME_TIME)]
        fields = {"request": "start", "name": "sleep", "arguments": [5], key: "the same"}
        line = encode(fields, unlimited.admin_key)
        for connection in connections:
            connection.sendall(line * 2)
        answers = []
        for connection in connections:
            with connection, connection.makefile("rb") as lines:
                answers += [json.loads(lines.readline()) for _ in range(2)]
        assert {answer["taskid"] for answer in answers} == {str(first + 1)}
        assert sum("existing" not in answer for answer in answers) == 1
        assert unlimited.ask("stop", taskid=str(first + 1))["status"] == "ok"
        assert of_tasks(connect, unlimited.admin_key) == first + 2


def test_once_is_kept_while_the_same_is_started_as_the_queue_is_opened(own: Any) -> None:
    taskid, _ = started(own, once="k")
    own.kill()
    own.start()
    assert started(own, once="k") == (taskid, True)


# What the keys mean


@pytest.fixture
def busy(daemon: Any) -> Iterator[str]:
    """The one slot is taken."""
    taskid, _ = started(daemon, "ops", arguments=[1000])
    yield taskid
    daemon.ask("stop", taskid=taskid)
    daemon.ask("wait", taskid=taskid, timeout=10)


@pytest.mark.parametrize("key", ["once", "unique"])
def test_a_key_belongs_to_its_owner(daemon: Any, busy: str, key: str) -> None:
    fields = {key: f"mine, {key}"}
    alices, existed = started(daemon, "alice", **fields)
    assert not existed
    assert started(daemon, "alice", **fields) == (alices, True)
    bobs, existed = started(daemon, "bob", **fields)
    assert not existed
    assert bobs != alices
    assert started(daemon, "bob", **fields) == (bobs, True)
    for taskid in (alices, bobs):
        daemon.ask("stop", taskid=taskid)


@pytest.mark.parametrize("key", ["once", "unique"])
def test_name_and_arguments_are_not_compared(daemon: Any, busy: str, key: str) -> None:
    fields = {key: f"not compared, {key}"}
    taskid, _ = started(daemon, **fields)
    for other in (
        {"arguments": [5]},
        {"arguments": {"seconds": "no number"}},
        {"name": "primes", "arguments": [10]},
        {"name": "there is no such task"},
        {"name": "program", "arguments": [["true"]]},  # which is not for this user
        {"rerun": True},
    ):
        assert started(daemon, **fields, **other) == (taskid, True)
    daemon.ask("stop", taskid=taskid)
    code, _ = refused(daemon, **{key: "another"}, arguments={"seconds": "no number"})
    assert code == "invalid-arguments"
    assert started(daemon, **{key: "another"})[1] is False  # what was refused has no key


def test_once_is_answered_after_the_end_too_and_unique_only_before_it(daemon: Any) -> None:
    taskid, existed = started(daemon, once="o", unique="u")
    assert not existed
    assert daemon.ask("wait", KEYS["alice"], taskid=taskid, timeout=30)["ended"]
    assert started(daemon, once="o") == (taskid, True)
    assert started(daemon, once="o", unique="of none") == (taskid, True)
    second, existed = started(daemon, unique="u")
    assert not existed
    assert second != taskid


def test_once_outlives_the_daemon_and_unique_too(own: Any, tools: Any) -> None:
    running, _ = started(own, unique="u", arguments=[1000])
    waiting, _ = started(own, unique="w")
    kept, _ = started(own, once="o")

    def runs() -> bool:
        # It may be shown as active before it has begun; what has not waits for the next daemon.
        return own.ask("show", taskid=running)["task"]["progress"] is not None

    for end in (own.kill, own.stop):
        tools.wait_until(runs, "it runs")
        end()
        own.start()
        for key, taskid in (({"unique": "w"}, waiting), ({"once": "o"}, kept)):
            assert started(own, **key) == (taskid, True)
        # Told to stop, the daemon has ended what ran.
        assert (started(own, unique="u") == (running, True)) is (end == own.kill)


@pytest.mark.parametrize("key", ["once", "unique"])
def test_keys_are_looked_up_before_the_limit_of_the_queue(daemon: Any, busy: str, key: str) -> None:
    taskids = [started(daemon, **{key: f"full, {key} {n}"})[0] for n in range(LIMIT)]
    assert refused(daemon)[0] == "limit"
    assert refused(daemon, **{key: "new"})[0] == "limit"
    for number, taskid in enumerate(taskids):
        assert started(daemon, **{key: f"full, {key} {number}"}) == (taskid, True)
    for taskid in taskids:
        daemon.ask("stop", taskid=taskid)


def test_keys_are_looked_up_before_it_is_seen_whether_the_program_is_installed(
    own: Any, programs: Path
) -> None:
    rare = programs / "rare"
    rare.write_text("#!/bin/sh\n")
    rare.chmod(0o755)
    own.kill()
    own.start()  # for five seconds it is remembered that it was not there
    taskid, _ = started(own, name="rare", arguments=[], once="rare")
    rare.unlink()
    own.kill()
    own.start()
    code, message = refused(own, name="rare", arguments=[], once="another")
    assert (code, "is not installed" in message) == ("unavailable", True)
    assert started(own, name="rare", arguments=[], once="rare") == (taskid, True)


def test_what_was_not_there_does_not_say_existing(daemon: Any) -> None:
    for fields in ({}, {"once": "fresh"}, {"unique": "fresh"}):
        answer = daemon.ask("start", KEYS["bob"], name="sleep", arguments=[0], **fields)
        assert set(answer) == {"status", "response", "taskid"}


@pytest.mark.parametrize("key", ["once", "unique"])
@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("", "must not be empty"),
        ("a" * 1001, "must have at most 1000 characters"),
        ("\0", "must not hold the character NUL"),
        ("a\0b", "must not hold the character NUL"),
        ("a\n\0", "must not hold the character NUL"),
        (5, "must be text or null, not a whole number"),
        (["a"], "must be text or null, not an array"),
    ],
)
def test_a_key_that_cannot_be_kept_is_malformed(
    daemon: Any, key: str, value: Any, says: str
) -> None:
    assert refused(daemon, **{key: value}) == ("malformed", f"field `{key}` {says}")


@pytest.mark.parametrize("value", ["a" * 1000, "\U0001f600" * 1000, "a\nb\x01\x7f", " ", "'; --"])
def test_any_other_text_is_a_key(daemon: Any, value: str) -> None:
    taskid, existed = started(daemon, once=value)
    assert not existed
    assert started(daemon, once=value) == (taskid, True)
    assert not started(daemon, once=value[:-1] + "!")[1]
