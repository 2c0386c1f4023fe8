"""How the blocking client connects: failures, stale connections, size, threads and keys."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aptask.client import Client, ConnectionFailed
from tests.client.fake_daemon import CLOSE, SILENCE, FakeDaemon, ended, task

# Connections that fail


@pytest.mark.parametrize("form", ["127.0.0.1:1", "unix:{}/nothing.sock"])
def test_no_daemon_there_is_said_with_how_to_start_one(tmp_path: Path, form: str) -> None:
    server = form.format(tmp_path)
    with Client(server) as client, pytest.raises(ConnectionFailed) as no:
        client.ping()
    assert str(no.value) == f"no daemon at {server}: start one with `twistd -n aptask`"
    assert not no.value.received


def test_what_cannot_be_reached_is_said_with_the_reason(tmp_path: Path) -> None:
    with (
        Client(f"unix:{tmp_path}/{'x' * 200}") as client,
        pytest.raises(ConnectionFailed, match=r"cannot reach unix:.*too long"),
    ):
        client.ping()


def test_a_daemon_that_dies_in_the_middle_of_an_answer_is_a_failed_connection(
    fake: FakeDaemon, server: str
) -> None:
    fake.answers["show"] = lambda request: [b'{"status":"ok","task":{', CLOSE]
    with Client(server) as client, pytest.raises(ConnectionFailed, match="broke before") as no:
        client.show("17")
    assert no.value.received
    assert fake.names() == ["show"]


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 400 Bad Request\r\n", b'{"status":"ok"}\n', b"[]\n", b'\xff"\n', b"\n"],
)
def test_an_answer_that_is_no_response_is_a_failed_connection_that_shows_it(
    fake: FakeDaemon, answer: bytes
) -> None:
    fake.answers["ping"] = lambda request: answer
    with Client(fake.tcp) as client, pytest.raises(ConnectionFailed, match="does not speak") as no:
        client.ping()
    assert answer.decode(errors="replace").strip() in str(no.value)


def test_an_answer_that_does_not_come_in_time_is_a_failed_connection(fake: FakeDaemon) -> None:
    fake.answers["show"] = lambda request: SILENCE
    with Client(fake.tcp, timeout=0.1) as client:
        client.ping()
        with pytest.raises(ConnectionFailed, match=r"no answer from .* within 0\.1 s") as no:
            client.show("17")
        assert no.value.timed_out
        assert client.ping().protocol == 1
    assert fake.names() == ["ping", "show", "ping"]


def test_wait_is_not_subject_to_the_time_limit_of_answers(fake: FakeDaemon) -> None:
    def wait(request: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.3)
        return {"task": ended(), "ended": True}

    fake.answers["wait"] = wait
    with Client(fake.tcp, timeout=0.1) as client:
        assert client.wait("17").state == "ended"
        assert client.wait("17", timeout=0.3).state == "ended"


def test_a_connection_that_went_stale_is_replaced_before_anything_is_sent(
    fake: FakeDaemon, server: str
) -> None:
    fake.answers["start"] = lambda request: {"taskid": "17"}
    with Client(server) as client:
        client.ping()
        fake.hang_up()
        assert client.start("t") == "17"
    assert fake.names() == ["ping", "start"]
    assert fake.connections == 2


def test_a_start_that_may_have_been_received_is_never_sent_again(fake: FakeDaemon) -> None:
    fake.answers["start"] = lambda request: CLOSE
    with Client(fake.tcp) as client:
        client.ping()
        with pytest.raises(ConnectionFailed) as no:
            client.start("t")
    assert no.value.received
    assert fake.names() == ["ping", "start"]


def test_what_can_be_asked_twice_is_asked_again_where_a_kept_connection_broke(
    fake: FakeDaemon,
) -> None:
    answers = [CLOSE, {"task": task()}]
    fake.answers["show"] = lambda request: answers.pop(0)
    with Client(fake.tcp) as client:
        client.ping()
        assert client.show("17").taskid == "17"
    assert fake.names() == ["ping", "show", "show"]


def test_a_closed_client_says_so(fake: FakeDaemon) -> None:
    client = Client(fake.tcp)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.ping()


# Size, threads, keys


def test_an_answer_of_several_mebibytes_comes_whole(fake: FakeDaemon, server: str) -> None:
    result = ["é" * 1000] * 4000
    fake.answers["show"] = lambda request: {"task": ended(result=result)}
    with Client(server) as client:
        assert client.show("17").result == result


def test_many_threads_use_one_client_each_with_its_own_answers(fake: FakeDaemon) -> None:
    def show(request: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.001)
        return {"task": task(taskid=request["taskid"])}

    fake.answers["show"] = show
    ids = [str(number) for number in range(400)]
    with Client(fake.unix) as client, ThreadPoolExecutor(16) as threads:
        assert [shown.taskid for shown in threads.map(client.show, ids)] == ids
    assert fake.connections <= 16


def test_a_thread_that_waits_does_not_keep_off_the_others(fake: FakeDaemon) -> None:
    over = threading.Event()

    def wait(request: dict[str, Any]) -> dict[str, Any]:
        over.wait(10)
        return {"task": ended(), "ended": True}

    fake.answers["wait"] = wait
    with Client(fake.tcp) as client, ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.wait, "17")
        assert client.ping().protocol == 1
        assert not waiting.done()
        over.set()
        assert waiting.result().state == "ended"


def test_one_connection_serves_request_after_request(fake: FakeDaemon) -> None:
    with Client(fake.tcp) as client:
        for _ in range(50):
            client.ping()
    assert fake.connections == 1


def test_the_local_key_is_sent_over_the_local_socket_and_never_over_tcp(
    fake: FakeDaemon, tmp_path: Path
) -> None:
    with Client() as client:
        client.ping()
        # The daemon's first start makes the key, which may be after the client was made.
        (tmp_path / "local.key").write_text("secret\n")
        client.ping()
    with Client(fake.tcp) as client:
        client.ping()
    assert [request.get("key") for request in fake.requests] == [None, "secret", None]


def test_a_key_from_the_environment_or_a_file_goes_anywhere(
    fake: FakeDaemon, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APTASK_KEY", "from-environment")
    (tmp_path / "key").write_text("from-file\n")
    with Client(server) as client:
        client.ping()
    with Client(server, key_file=tmp_path / "key") as client:
        client.ping()
    assert [request["key"] for request in fake.requests] == ["from-environment", "from-file"]


def test_a_key_file_that_is_not_there_is_said_when_the_client_is_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Client(key_file=tmp_path / "nothing")


def test_nothing_is_sent_where_tls_was_asked_for_and_is_not_spoken(fake: FakeDaemon) -> None:
    with Client(f"tls://{fake.tcp}", timeout=5) as client, pytest.raises(ConnectionFailed):
        client.ping()
    assert fake.requests == []


def test_the_client_imports_neither_twisted_nor_what_is_slow() -> None:
    slow = "{'twisted', 'zope', 'ssl', 'rich', 'asyncio', 'argparse'}"
    code = f"import aptask.client, sys; print(sorted({slow} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout == "[]\n"
