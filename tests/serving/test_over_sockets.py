"""What only real sockets show: half-close, resets, unread input, and memory under pressure."""

from __future__ import annotations

import json
import resource
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from aptask.serving import connection as connection_module
from aptask.serving.connection import Connection
from aptask.serving.dispatch import Dispatcher
from aptask.serving.sockets import is_gone
from aptask.serving.tcp import RequestFactory
from tests.serving.fakes import Front

WAIT = b'{"request":"wait","taskid":"1","key":"alice-key"}\n'


class Served:
    """A front on a port of loopback, or on a Unix socket."""

    def __init__(self, reactor: Any, path: Path | None) -> None:
        self.reactor = reactor
        self.front = Front()
        self.front.context.clock = reactor
        self.factory = RequestFactory(Dispatcher(self.front.context), self.front.limits, reactor)
        self.made: list[Connection] = []
        build = self.factory.buildProtocol

        def remember(address: Any) -> Connection | None:
            made = build(address)
            assert made is not None
            self.made.append(made)
            return made

        self.factory.buildProtocol = remember  # type: ignore[method-assign]
        if path is None:
            self.port = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
            self.address: Any = ("127.0.0.1", self.port.getHost().port)
        else:
            self.port = reactor.listenUNIX(str(path), self.factory)
            self.address = str(path)

    def connect(self) -> socket.socket:
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        client = socket.socket(family)
        client.settimeout(20)
        client.connect(self.address)
        return client

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(2000):
            if condition():
                return
            await deferLater(self.reactor, 0.005)
        raise AssertionError("that never came true")


@pytest_twisted.async_yield_fixture(params=["tcp", "unix"])
async def served(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Served]:
    from twisted.internet import reactor

    made = Served(reactor, None if request.param == "tcp" else tmp_path / "socket")
    yield made
    await made.port.stopListening()
    await made.factory.shut_down()


def read_all(client: socket.socket) -> list[Any]:
    with client, client.makefile("rb") as lines:
        return [json.loads(line) for line in lines]


@pytest_twisted.ensureDeferred
async def test_a_request_that_is_followed_at_once_by_half_close_is_answered(
    served: Served,
) -> None:
    for _ in range(20):
        client = served.connect()
        client.sendall(b'{"request":"ping"}')
        client.shutdown(socket.SHUT_WR)
        (answer,) = await deferToThread(read_all, client)
        assert answer["status"] == "ok"


@pytest_twisted.ensureDeferred
async def test_a_half_closed_client_gets_the_answer_to_its_wait(served: Served) -> None:
    served.front.start()
    client = served.connect()
    client.sendall(WAIT)
    client.shutdown(socket.SHUT_WR)
    answers = deferToThread(read_all, client)
    await served.until(lambda: served.made and served.made[0]._input_ended)
    assert not is_gone(served.made[0].transport)
    served.front.scheduler.end(1)
    assert [answer["ended"] for answer in await answers] == [True]


@pytest_twisted.ensureDeferred
async def test_a_client_that_resets_while_it_waits_ends_its_wait(served: Served) -> None:
    served.front.start()
    client = served.connect()
    client.sendall(WAIT)
    publisher = served.front.scheduler.publisher
    await served.until(publisher.count)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    await served.until(lambda: not publisher.count())


@pytest_twisted.ensureDeferred
async def test_a_half_closed_client_that_goes_while_it_waits_is_found_out(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "GONE_SECONDS", 0.02)
    served.front.start()
    client = served.connect()
    client.sendall(WAIT)
    client.shutdown(socket.SHUT_WR)
    publisher = served.front.scheduler.publisher
    await served.until(lambda: publisher.count() and served.made[0]._input_ended)
    assert publisher.count()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    await served.until(lambda: not publisher.count())


@pytest_twisted.ensureDeferred
async def test_an_error_arrives_although_a_megabyte_behind_it_is_unread(served: Served) -> None:
    def send_and_read() -> list[Any]:
        client = served.connect()
        try:
            client.sendall(b"nonsense" + b"x" * (1 << 20))
        except OSError:
            pass
        return read_all(client)

    for _ in range(20):
        (error,) = await deferToThread(send_and_read)
        assert error["code"] == "malformed"


@pytest_twisted.ensureDeferred
async def test_shutdown_answers_a_wait_and_closes(served: Served) -> None:
    served.front.start()
    client = served.connect()
    client.sendall(WAIT)
    await served.until(served.front.scheduler.publisher.count)
    answers = deferToThread(read_all, client)
    await served.factory.shut_down()
    assert [answer["code"] for answer in await answers] == ["unavailable"]
    assert served.factory.connections == 0


@pytest_twisted.ensureDeferred
async def test_a_tcp_client_that_is_silent_is_probed(served: Served) -> None:
    client = served.connect()
    await served.until(lambda: served.made)
    handle = served.made[0].transport.getHandle()
    if handle.family == socket.AF_INET:
        assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        idle, interval, probes = (
            handle.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * probes == 60
    client.close()
    await served.until(lambda: not served.factory.connections)


# A client of 100,000 requests, in a process of its own: only the daemon's memory is measured here.

FLOOD = """
import json, socket, sys, threading
client = socket.create_connection(json.loads(sys.argv[1]))
count = 100_000
def send():
    for start in range(0, count, 1000):
        client.sendall(b"".join(
            b'{"request":"ping","id":%d}\\n' % n for n in range(start, start + 1000)))
    client.shutdown(socket.SHUT_WR)
threading.Thread(target=send).start()
sys.stdin.readline()
ids = [json.loads(line)["id"] for line in client.makefile("rb")]
print("all" if ids == list(range(count)) else f"{len(ids)} answers")
"""


class Collected(ProcessProtocol):
    """Gathers what a process writes, until it ends."""

    def __init__(self) -> None:
        self.written = b""
        self.ended: Deferred[str] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.written += data

    def errReceived(self, data: bytes) -> None:
        self.written += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(self.written.decode().strip())


def resident() -> int:
    """Bytes of memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("served", ["tcp"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_100_000_requests_that_nobody_reads_cost_little_and_all_are_answered(
    served: Served,
) -> None:
    before = resident()
    collected = Collected()
    flood = served.reactor.spawnProcess(
        collected, sys.executable, [sys.executable, "-c", FLOOD, json.dumps(served.address)]
    )
    await served.until(lambda: served.made and not served.made[0]._reading)
    # It is not read any more, so that nothing can be added.
    assert resident() - before < 20_000_000
    flood.write(b"\n")
    assert await collected.ended == "all"
    assert resident() - before < 20_000_000
