"""A daemon that does what a test tells it to, over real sockets.

It speaks the wire's side of the protocol only: each request is a line, as the project's own client
sends it, and `answers` says what comes back for each name of a request.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

CLOSE = object()
"""An answer that is none: the connection is closed."""

SILENCE = object()
"""An answer that never comes."""

Answers = dict[str, Callable[[dict[str, Any]], Any]]


def task(**changed: Any) -> dict[str, Any]:
    """A task as the wire shows it."""
    return {
        "taskid": "17", "name": "primes", "status": "running", "state": "active", "position": 0,
        "progress": 0.42, "message": "so far so good", "eta": None, "starts_in": None,
        "arguments": {"below": 1000}, "created": "2026-11-24T03:46:00.120Z",
        "started": "2026-11-24T03:46:00.131Z", "ended": None, "attempt": 1, "priority": 0,
        "group": "default", "exit": None, "result": None, **changed,
    }  # fmt: skip


def ended(status: str = "done", **changed: Any) -> dict[str, Any]:
    """A task that has ended."""
    left = {"state": "ended", "status": status, "ended": "2026-11-24T03:46:12.131Z", "exit": 0}
    return task(**{**left, "progress": 1.0 if status == "done" else 0.42, **changed})


def stats(**changed: Any) -> dict[str, Any]:
    """How a daemon is, as the wire shows it."""
    return {
        "version": "0.1.0", "uptime": 273600.123, "slots": 4, "running": 2, "queued": 17,
        "ended": 1204, "groups": {"default": {"slots": 4, "running": 2, "queued": 17,
        "paused": False}}, "executors": {"local": {"state": "ready", "jobs": 2}},
        "plugins": {"loaded": 9, "failed": []}, "disk": {"used": 1610612736, "free": 126701535232},
        "connections": 3, "watchers": 0, "requests": {"ping": 0, "start": 1300, "stats": 1},
        **changed,
    }  # fmt: skip


def refusal(code: str, message: str = "no", **more: Any) -> dict[str, Any]:
    """An error response, but for the name of its request."""
    return {"status": "error", "code": code, "message": message, **more}


class FakeDaemon:
    """Listens on a TCP port and on a Unix socket until it is closed.

    Attributes:
        answers: for each request's name a function from the request to the answer: an object, to
            which what is missing of a response is added; bytes, sent as they are; CLOSE; SILENCE;
            or a list or an iterator of these.
        requests: those that came, in their order.
        connections: how many were made.
    """

    def __init__(self, folder: Path) -> None:
        self.answers: Answers = {"ping": lambda request: {"protocol": 1}}
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self.path = folder / "aptask.sock"
        self._open: list[socket.socket] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(self.path))
        self._unix.listen(100)
        self.port: int = self._tcp.getsockname()[1]
        self.tcp, self.unix = f"127.0.0.1:{self.port}", f"unix:{self.path}"
        for listening in (self._tcp, self._unix):
            threading.Thread(target=self._accept, args=(listening,), daemon=True).start()

    def names(self) -> list[str]:
        """The names of the requests that came."""
        return [request["request"] for request in self.requests]

    def goes(self, *states: dict[str, Any]) -> None:
        """Have a task go through these states, one a look, or as it is watched; the last stays."""
        left = list(states)

        def look(request: dict[str, Any]) -> dict[str, Any]:
            time.sleep(min(request.get("timeout", 0), 0.2))
            shown = left.pop(0) if len(left) > 1 else left[0]
            return {"task": shown, "ended": shown["state"] == "ended"}

        def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
            while len(left) > 1:
                yield {"task": left.pop(0)}
                time.sleep(0.2)
            yield {"task": left[0]}

        self.answers["show"] = self.answers["wait"] = look
        self.answers["watch"] = watch

    def wrote(self, text: str) -> None:
        """Have a task that has ended and wrote this."""
        self.answers["output"] = lambda request: {
            "text": text[request.get("offset", 0) :],
            "offset": len(text),
            "end": True,
        }

    def hang_up(self) -> None:
        """Close all connections, and go on listening."""
        while self._open:
            _end(self._open.pop())

    def close(self) -> None:
        """Listen no more, and close all connections."""
        for listening in (self._tcp, self._unix):
            _end(listening)
        self.hang_up()

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connected, _ = listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connected)
            threading.Thread(target=self._serve, args=(connected,), daemon=True).start()

    def _serve(self, connected: socket.socket) -> None:
        with connected, connected.makefile("rb") as lines:
            try:
                for line in lines:
                    request = json.loads(line)
                    self.requests.append(request)
                    answer = self.answers[request["request"]](request)
                    many = isinstance(answer, (list, Iterator))
                    for part in answer if many else [answer]:
                        if part is CLOSE:
                            _end(connected)
                            return
                        if part is not SILENCE:
                            connected.sendall(_encode(request, part))
            except (OSError, ValueError):
                return


def _encode(request: dict[str, Any], answer: Any) -> bytes:
    if isinstance(answer, bytes):
        return answer
    response = {"status": "ok", "response": request["request"], **answer}
    return json.dumps(response, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _end(connected: socket.socket) -> None:
    try:
        connected.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connected.close()
