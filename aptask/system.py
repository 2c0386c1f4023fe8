"""What the daemon asks of the system it runs on, and tells it."""

from __future__ import annotations

import gc
import os
import queue
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

T = TypeVar("T")


class Calls:
    """Calls from other threads into the reactor's, already before the reactor runs.

    What a daemon wants to know before it starts it waits for: `wait_for` makes the calls that come
    meanwhile. From `go_on` on the reactor makes them.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...]]]
        self._waiting = queue.SimpleQueue()
        self._reactor: Any = None

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Have a function called in the reactor's thread."""
        if self._reactor is None:
            self._waiting.put((function, arguments))
        else:
            self._reactor.callFromThread(function, *arguments)

    def soon(self, function: Callable[[], object]) -> None:
        """Have a function called at the end of the reactor's present turn."""
        if self._reactor is None:
            function()
        else:
            self._reactor.callLater(0, function)

    def wait_for(self, deferred: Deferred[Any], seconds: float) -> None:
        """Wait until a Deferred has fired that other threads' calls will fire, or for so long."""
        until = time.monotonic() + seconds
        while not deferred.called or deferred.paused:
            try:
                function, arguments = self._waiting.get(timeout=max(0, until - time.monotonic()))
            except queue.Empty:
                return
            function(*arguments)

    def go_on(self, reactor: Any) -> None:
        """Leave the calls to the reactor from now on."""
        self._reactor = reactor
        while not self._waiting.empty():
            function, arguments = self._waiting.get()
            reactor.callFromThread(function, *arguments)


def in_thread(function: Callable[[], T], call_in_reactor: Callable[..., object]) -> Deferred[T]:
    """Call a function in a thread of its own, for which the end of this process does not wait.

    Args:
        function: may block.
        call_in_reactor: runs a function in the reactor's thread: `reactor.callFromThread`.

    Returns:
        fires in the reactor's thread with what the function returns or raises.
    """
    done: Deferred[T] = Deferred()

    def run() -> None:
        try:
            result: T | Failure = function()
        except BaseException:
            result = Failure()
        call_in_reactor(done.callback, result)

    threading.Thread(target=run, name=function.__name__, daemon=True).start()
    return done


def raise_descriptors(wanted: int) -> int:
    """Let this process have enough descriptors for its clients, where the system allows it.

    Returns:
        how many it could have before.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = wanted
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    return soft


def calm_collector() -> None:
    """Keep the cyclic collector from walking over what stays: its pauses are clients' waiting."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


def steady_clock(reactor: Any) -> None:
    """Have a reactor go by a clock that nobody sets: else a step back by a day is a day's pause."""
    reactor.seconds = time.monotonic


def share_processor() -> None:
    """Let the thread that writes the store have its turn soon while the reactor is busy."""
    sys.setswitchinterval(0.001)


def notify_systemd(state: str) -> None:
    """Tell systemd, where it started this process; see sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            try:
                notify.connect(address.replace("@", "\0", 1) if address[0] == "@" else address)
                notify.sendall(state.encode())
            except OSError:
                Logger().failure("systemd could not be told {state}", state=state)


def remove_dead_socket(path: str) -> None:
    """Remove a Unix socket that nobody listens on any more."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            # Twisted's lock of it names a process, whose number may be another's by now.
            Path(f"{path}.lock").unlink(missing_ok=True)
        except OSError:
            return
