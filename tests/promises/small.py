"""Small daemons, and a crowd of clients that notes what it was told."""

from __future__ import annotations

import contextlib
import json
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SECONDS = 30.0
PIPELINED = 20


class Small:
    """Makes small daemons, one after the other, on one data folder or several.

    Attributes:
        data: the folder of the present one.
        pid: its process.
    """

    def __init__(self, data: Path, environment: dict[str, str] | None = None) -> None:
        self.data = data
        self.pid = 0
        self._process = subprocess.Popen(
            [sys.executable, HERE / "small_daemon.py"],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            # Standard output is in the log of `disk.c`.
            stderr=subprocess.PIPE,
        )

    def start(self, data: Path | None = None, **fields: Any) -> None:
        self.data = data or self.data
        assert self._process.stdin is not None
        line = json.dumps({"data": str(self.data), **fields})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        word, number = self._read().split()
        assert word == "ready"
        self.pid = int(number)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self.ended()

    def ended(self) -> None:
        """Wait until it has died."""
        assert self._read() == f"ended {int(signal.SIGKILL)}"
        self.pid = 0

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(SECONDS)
        connection.connect(str(self.data / "aptask.sock"))
        return connection

    def ask(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        """The answers to requests on one connection."""
        with self.connect() as connection, connection.makefile("rb") as answers:
            found = []
            for first in range(0, len(requests), PIPELINED):
                step = requests[first : first + PIPELINED]
                connection.sendall(b"".join(map(encode, step)))
                found += [json.loads(answers.readline()) for _ in step]
            return found

    def close(self) -> None:
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        self._process.stdin.close()
        self._process.wait(SECONDS)
        self._process.stderr.close()

    def _read(self) -> str:
        assert self._process.stderr is not None
        ready, _, _ = select.select([self._process.stderr], [], [], SECONDS)
        assert ready, "the small daemon says nothing"
        line = self._process.stderr.readline().decode().strip()
        if not line.startswith(("ready", "ended")):
            os.set_blocking(self._process.stderr.fileno(), False)
            raise AssertionError(line + "\n" + (self._process.stderr.read() or b"").decode())
        return line


def encode(request: dict[str, Any], key: str = "key") -> bytes:
    return json.dumps({"key": key, **request}).encode() + b"\n"


class Crowd:
    """Clients that start tasks, each with a text and a `once` that no other has, and are told.

    A request that was not answered is repeated by whoever is there when there is a daemon again.

    Attributes:
        acknowledged: the text of each task by the taskid that was answered.
        repeated: how many requests were sent again.
        existing: how many of these had been carried out before.
    """

    def __init__(self, make: Callable[[str], dict[str, Any]], key: str = "key") -> None:
        self.acknowledged: dict[str, str] = {}
        self.repeated = self.existing = 0
        self._make = make
        self._key = key
        self._texts = 0
        self._unanswered: deque[str] = deque()

    def run(
        self,
        connect: Callable[[], socket.socket],
        depths: tuple[int, ...],
        stop: Callable[[], bool],
    ) -> None:
        """Start tasks until the daemon has died.

        Args:
            connect: gives a connection.
            depths: for each client, how many requests it sends ahead of answers.
            stop: is called again and again; kills the daemon, and says so by True.
        """
        with contextlib.ExitStack() as stack, selectors.DefaultSelector() as selector:
            clients = [_Client(stack.enter_context(connect()), depth) for depth in depths]
            for client in clients:
                selector.register(client.connection, selectors.EVENT_READ, client)
                self._send(client)
            stopped = False
            while selector.get_map():
                for key, _ in selector.select(0.001):
                    if not self._receive(key.data):
                        selector.unregister(key.fileobj)
                    elif not stopped:
                        self._send(key.data)
                stopped = stopped or stop()
            self._unanswered.extend(text for client in clients for text in client.sent)

    def _send(self, client: _Client) -> None:
        requests = []
        while len(client.sent) < client.depth:
            if self._unanswered:
                text = self._unanswered.popleft()
                self.repeated += 1
            else:
                self._texts += 1
                text = f"text {self._texts}"
            client.sent.append(text)
            request = {"request": "start", "once": text, **self._make(text)}
            requests.append(encode(request, self._key))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            client.connection.sendall(b"".join(requests))

    def _receive(self, client: _Client) -> bool:
        """Take answers; whether the connection lives."""
        try:
            data = client.connection.recv(65536)
        except ConnectionResetError:
            return False
        *lines, client.begun = (client.begun + data).split(b"\n")
        for line in lines:
            answer = json.loads(line)
            assert answer["status"] == "ok", answer
            self.existing += "existing" in answer
            text = client.sent.popleft()
            # Told twice, and the same: only what one client was told and repeated all the same.
            assert self.acknowledged.setdefault(answer["taskid"], text) == text
        return bool(data)

    @property
    def texts(self) -> int:
        """How many tasks were asked for."""
        return self._texts

    @property
    def unanswered(self) -> list[str]:
        return list(self._unanswered)


class _Client:
    def __init__(self, connection: socket.socket, depth: int) -> None:
        self.connection = connection
        self.depth = depth
        self.sent: deque[str] = deque()
        self.begun = b""


@contextlib.contextmanager
def small_daemons(data: Path, environment: dict[str, str] | None = None) -> Iterator[Small]:
    """Small daemons that end with the test."""
    made = Small(data, environment)
    try:
        yield made
    finally:
        made.close()


def after(seconds: float, kill: Callable[[], None]) -> Callable[[], bool]:
    """A `stop` for `Crowd.run`: kills when so much time has passed."""
    until = time.monotonic() + seconds

    def stop() -> bool:
        if time.monotonic() < until:
            return False
        kill()
        return True

    return stop
