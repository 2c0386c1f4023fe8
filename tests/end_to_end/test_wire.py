"""The wire as clients meet it: real tools, real sockets, a real daemon."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from aptask.model.framing import Framer
from aptask.model.messages import REQUESTS

DOCS = Path(__file__).parents[2] / "docs"

CONFIG = """
slots = 1
[users.alice]
key = "alices key"
[users.bob]
key = "bobs key"
tasks = ["sleep", "program"]
[admins.ops]
key = "the operators key"
[tasks.absent]
command = ["no-such-program-anywhere"]
"""


@pytest.fixture(scope="module")
def daemon(daemons: Callable[..., Any]) -> Any:
    return daemons(config=CONFIG)


def tcp(daemon: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", daemon.port), timeout=30)


def shell(command: str, data: bytes = b"") -> bytes:
    return subprocess.run(
        ["bash", "-c", command], input=data, capture_output=True, timeout=60, check=False
    ).stdout


def everything(connection: socket.socket) -> list[Any]:
    """All responses until the daemon closes."""
    with connection.makefile("rb") as answers:
        return [json.loads(line) for line in answers]


PING = b'{"request": "ping"}'


@pytest.mark.parametrize("options", ["-N", "-q1", "-N -q1"])
def test_netcat_that_closes_its_half_at_once_gets_its_answer(
    daemon: Any, program: Any, options: str
) -> None:
    program("nc")
    answer = shell(f"nc {options} 127.0.0.1 {daemon.port}", PING)
    assert json.loads(answer)["response"] == "ping"


def test_netcat_gets_the_answer_to_a_wait_although_it_closed_its_half(
    daemon: Any, program: Any
) -> None:
    program("nc")
    start = {"key": "alices key", "request": "start", "name": "sleep", "arguments": [0.3]}
    answer = json.loads(shell(f"nc -N 127.0.0.1 {daemon.port}", json.dumps(start).encode()))
    wait = {"key": "alices key", "request": "wait", "taskid": answer["taskid"]}
    answer = json.loads(shell(f"nc -N 127.0.0.1 {daemon.port}", json.dumps(wait).encode()))
    assert (answer["ended"], answer["task"]["status"]) == (True, "done")


def test_bash_alone_can_talk_to_it(daemon: Any) -> None:
    answer = shell(
        f"exec 3<>/dev/tcp/127.0.0.1/{daemon.port};"
        """printf '{"request":"ping"}\\n' >&3; read -r answer <&3; echo "$answer" """
    )
    assert json.loads(answer)["response"] == "ping"


def test_telnet_can_talk_to_it(daemon: Any, program: Any) -> None:
    telnet = subprocess.Popen(
        [program("telnet"), "127.0.0.1", str(daemon.port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert telnet.stdin is not None
    assert telnet.stdout is not None
    with telnet:
        telnet.stdin.write(b'{\n  "request" :\n  "ping"\n}\n')
        telnet.stdin.flush()
        lines = iter(telnet.stdout.readline, b"")
        answer = next(line for line in lines if line.startswith(b"{"))
        assert json.loads(answer)["response"] == "ping"
        telnet.kill()


def indented_requests(page: str) -> list[str]:
    """The requests among a page's indented examples, each as it stands there."""
    found = []
    for block in re.findall(r"(?:^    .*\n)+", page, re.M):
        framer = Framer(65536, 64)
        framer.feed(block.encode())
        while '"request"' in block and "printf" not in block:
            text = framer.next()
            if text is None:
                break
            if b'"request"' in text:
                found.append(text.decode())
    return found


EXAMPLES = indented_requests((DOCS / "protocol.md").read_text())
ENDING = ("drain", "shutdown")
"""Requests after which a daemon is of no use to the other tests."""


def named(example: str) -> str:
    found = re.search(r'"request"\s*:\s*"(\w+)"', example)
    assert found is not None
    return found[1]


def test_the_page_has_an_example_of_every_request() -> None:
    assert {named(example) for example in EXAMPLES} == set(REQUESTS)


@pytest.mark.parametrize("pasted", EXAMPLES, ids=named)
def test_every_example_of_the_protocol_can_be_pasted_as_it_stands(
    daemon: Any, daemons: Callable[..., Any], pasted: str
) -> None:
    if named(pasted) in ENDING:
        daemon = daemons(config=CONFIG)
    key = "the operators key"
    taskid = daemon.ask("start", key, name="sleep", arguments=[0.01])["taskid"]
    text = pasted.replace("<key>", key).replace("<taskid>", taskid)
    with tcp(daemon) as connection:
        connection.sendall(text.encode())
        connection.shutdown(socket.SHUT_WR)
        answer, *others = everything(connection)
    assert not others or '"follow"' in pasted or named(pasted) == "watch"
    assert answer["response"] == named(pasted)
    assert answer["status"] == "ok" or answer["code"] == "conflict", answer


def test_an_object_that_arrives_byte_by_byte_is_answered(daemon: Any) -> None:
    with tcp(daemon) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b' {\n"request" : "ping", "id" : "}{" }':
            connection.sendall(bytes([byte]))
        with connection.makefile("rb") as answers:
            assert json.loads(answers.readline())["id"] == "}{"


def test_several_objects_on_one_line_are_answered_in_their_order(daemon: Any) -> None:
    with tcp(daemon) as connection:
        connection.sendall(b"".join(b'{"request":"ping","id":%d}' % n for n in range(50)))
        connection.shutdown(socket.SHUT_WR)
        assert [answer["id"] for answer in everything(connection)] == list(range(50))


HIDDEN = b'{"key":"alices key","request":"start","name":"sleep","arguments":[0.01]}'


@pytest.mark.parametrize(
    "head",
    [
        b"GET /?q=%s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % HIDDEN,
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\n\r\n" + HIDDEN,
        b"OPTIONS / HTTP/1.1\r\nOrigin: http://evil.example\r\n\r\n",
    ],
)
def test_a_browser_that_is_tricked_into_talking_to_the_port_gets_nothing_done(
    daemon: Any, head: bytes
) -> None:
    before = daemon.ask("start", "alices key", name="sleep", arguments=[0])["taskid"]
    with tcp(daemon) as connection:
        connection.sendall(head)
        answers = everything(connection)
    assert [answer["code"] for answer in answers] == ["malformed"]
    after = daemon.ask("start", "alices key", name="sleep", arguments=[0])["taskid"]
    assert int(after) == int(before) + 1


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (b"hello\n", "malformed", "{"),
        (b'{"request": "ping", }\n', "malformed", ""),
        (b'{"request": "ping", "request": "ping"}\n', "malformed", "request"),
        (b'{"request": "ping", "id": 9223372036854775808}\n', "malformed", ""),
        (b'{"request": "ping", "id": NaN}\n', "malformed", ""),
        (b'{"request": "ping", "id": "\xff"}\n', "malformed", "UTF-8"),
        (b'{"request": "ping", "id": "\x01"}\n', "malformed", "control"),
        (b'{"request": "ping", "colour": 1}\n', "malformed", "colour"),
        (b'{"request": "ping", "id": ' + b"[" * 80 + b"]" * 80 + b"}\n", "too-large", "64"),
        (b'{"request": "ping", "id": "' + b"x" * 70000 + b'"}\n', "too-large", "65"),
        (b'{"request": "index"}\n', "unauthorized", "no key"),
        (b'{"request": "index", "key": "guess"}\n', "unauthorized", "unknown key"),
        (b'{"request": "active", "key": "bobs key", "owner": "*"}\n', "unauthorized", "admin"),
        (b'{"request": "fly", "key": "bobs key"}\n', "unknown-request", "fly"),
        (b'{"request": "look", "key": "bobs key"}\n', "unknown-request", "look"),
        (b'{"request": "start", "key": "bobs key", "name": "slep"}\n', "unknown-task", "sleep"),
        (b'{"request": "start", "key": "alices key", "name": "program"}\n', "unknown-task", ""),
        (
            b'{"request": "start", "key": "bobs key", "name": "sleep", "arguments": ["long"]}\n',
            "invalid-arguments",
            "seconds",
        ),
        (
            b'{"request": "start", "key": "bobs key", "name": "sleep", "priority": 3}\n',
            "malformed",
            "priority",
        ),
        (b'{"request": "show", "key": "bobs key", "taskid": "x"}\n', "unknown-taskid", "x"),
        (
            b'{"request": "start", "key": "alices key", "name": "absent"}\n',
            "unavailable",
            "no-such-program-anywhere is not installed",
        ),
    ],
)
def test_each_error_has_its_code_and_says_what_was_wrong(
    daemon: Any, request_: bytes, code: str, said: str
) -> None:
    answer = daemon.send(request_)
    assert (answer["status"], answer["code"]) == ("error", code), answer
    assert said in answer["message"]


def test_a_full_queue_is_a_limit_with_a_time_to_come_back(daemons: Callable[..., Any]) -> None:
    daemon = daemons(config="slots = 1\n[limits]\nqueued = 2")
    answers = [daemon.ask("start", name="sleep", arguments=[60]) for _ in range(4)]
    assert answers[-1]["code"] == "limit"
    assert answers[-1]["retry_after"] > 0
    assert len(daemon.ask("active")["active"]) in (2, 3)  # the first may have started meanwhile


def test_stopping_what_has_ended_is_a_conflict(daemon: Any) -> None:
    task = daemon.run("sleep", 0, key="bobs key")
    answer = daemon.ask("stop", "bobs key", taskid=task["taskid"])
    assert answer["code"] == "conflict"


def test_another_users_task_and_one_that_never_was_cannot_be_told_apart(daemon: Any) -> None:
    task = daemon.run("sleep", 0, key="bobs key")
    for request in ("show", "wait", "stop", "output"):
        others = daemon.ask(request, "alices key", taskid=task["taskid"])
        absent = daemon.ask(request, "alices key", taskid="999999")
        assert others["code"] == absent["code"] == "unknown-taskid"
        assert others["message"].replace(task["taskid"], "N") == absent["message"].replace(
            "999999", "N"
        )
        assert "owner" not in others


def test_an_admin_sees_everyones_tasks_and_whose_they_are(daemon: Any) -> None:
    task = daemon.run("sleep", 0, key="bobs key")
    assert "owner" not in task
    shown = daemon.ask("show", "the operators key", taskid=task["taskid"])["task"]
    assert shown["owner"] == "bob"


def test_a_client_that_reads_nothing_costs_little_and_loses_nothing(daemon: Any) -> None:
    def resident() -> int:
        status = Path(f"/proc/{daemon.process.pid}/status").read_text()
        return int(re.findall(r"VmRSS:\s+(\d+)", status)[0])

    with tcp(daemon) as connection:
        before = resident()
        connection.setblocking(False)
        left = memoryview(
            b"".join(b'{"request":"ping","id":"%0300d"}\n' % n for n in range(100_000))
        )
        stuck_since = time.monotonic()
        while left and time.monotonic() - stuck_since < 1.0:
            try:
                left = left[connection.send(left) :]
                stuck_since = time.monotonic()
            except BlockingIOError:
                daemon.ask("ping")  # the others are served meanwhile
        assert resident() - before < 25_000  # of 66,000 that have come and are to be sent
        connection.settimeout(60)
        received = b""
        while left or received.count(b"\n") < 100_000:
            if left:
                connection.setblocking(False)
                try:
                    left = left[connection.send(left) :]
                except BlockingIOError:
                    pass
                connection.settimeout(60)
            received += connection.recv(1 << 20)
    ids = [int(json.loads(line)["id"]) for line in received.splitlines()]
    assert ids == list(range(100_000))
