"""Runs functions that are not to be trusted, each in a forked process of its own.

Whatever such a function does (raise, exit, crash, hang, close descriptors, leave processes behind)
is worth one sentence, and nothing else: neither the others nor the caller notice.

- What does not answer within its time is killed, with all that it has started.
- Few are begun at once, so that many do not slow each other down; but one that is slow already
  does not hold up the others, so that the times of those that hang do not add up.
- Their output and input is the null device.
"""

from __future__ import annotations

import ctypes
import math
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

AT_ONCE = 4
"""How many quick ones run at the same time."""
SLOW_AFTER = 1.0
"""Seconds after which one does not count among these any more."""
AT_MOST = 32
"""How many run at the same time, slow or not."""

_PR_SET_PDEATHSIG = 1
_POLL = 0.05
_LENGTH = 8


def end_with_parent(parent: int) -> None:
    """Have this process killed when the one that started it ends, however it does.

    Args:
        parent: its process id; where it has ended already, this one does now.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


class Fault(Exception):
    """Why a function gave nothing: a sentence without a subject."""


def run_apart(functions: Sequence[Callable[[], bytes]], timeout: float) -> list[bytes | Fault]:
    """Run functions apart.

    Args:
        functions: each gives what is to be handed back.
        timeout: seconds that each of them has.

    Returns:
        for each, in order, what it gave or why it gave nothing.
    """
    results: list[bytes | Fault] = [Fault("has not run")] * len(functions)
    waiting = list(reversed(range(len(functions))))
    children: list[_Child] = []
    try:
        while waiting or children:
            now = time.monotonic()
            while waiting and len(children) < AT_MOST:
                if sum(now - child.started < SLOW_AFTER for child in children) >= AT_ONCE:
                    break
                index = waiting.pop()
                children.append(_Child(index, functions[index], timeout))
            _wait(children)
            for child in list(children):
                result = child.result()
                if result is not None:
                    results[child.index] = result
                    children.remove(child)
                    child.end()
    finally:
        for child in children:
            child.end()
    return results


class _Child:
    """A process that runs one function."""

    def __init__(self, index: int, function: Callable[[], bytes], timeout: float) -> None:
        self.index = index
        self.started = time.monotonic()
        self._timeout = timeout
        self._data = bytearray()
        self.pipe, writing = os.pipe()
        self.is_open = True
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self.pipe)
            _be_child(function, writing, timeout, parent)
        os.close(writing)
        os.set_blocking(self.pipe, False)

    def result(self) -> bytes | Fault | None:
        """What came of it; None while it is under way."""
        # Looked at first: what it wrote before it ended is then in the pipe. It stays a zombie, so
        # that its number is not used again before its group is killed.
        ended = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        self._read()
        length = int.from_bytes(self._data[:_LENGTH])
        if len(self._data) >= _LENGTH + length:
            return bytes(self._data[_LENGTH : _LENGTH + length])
        if ended is not None:
            return Fault(_how_it_ended(ended))
        if time.monotonic() - self.started >= self._timeout:
            return Fault(f"has not ended within {self._timeout:g} s: it was killed")
        return None

    def end(self) -> None:
        """Leave nothing of it behind."""
        for kill in (os.killpg, os.kill):
            try:
                kill(self._pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        os.waitpid(self._pid, 0)
        os.close(self.pipe)

    def _read(self) -> None:
        while self.is_open:
            try:
                read = os.read(self.pipe, 65536)
            except BlockingIOError:
                return
            self._data += read
            self.is_open = bool(read)


def _wait(children: Sequence[_Child]) -> None:
    """Until one of them has something to say, or for a moment."""
    poll = select.poll()
    for child in children:
        if child.is_open:
            poll.register(child.pipe, select.POLLIN)
    poll.poll(_POLL * 1000)


def _be_child(function: Callable[[], bytes], writing: int, timeout: float, parent: int) -> NoReturn:
    own = os.getpid()
    try:
        os.setsid()
        # In case that whoever watches the time is killed.
        end_with_parent(parent)
        signal.alarm(math.ceil(timeout) + 2)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        answer = function()
        if os.getpid() != own:
            # The function has forked, and this is not the process that was asked.
            os._exit(0)
        left = memoryview(len(answer).to_bytes(_LENGTH) + answer)
        while left:
            left = left[os.write(writing, left) :]
        os._exit(0)
    finally:
        os._exit(70)


def _how_it_ended(ended: os.waitid_result) -> str:
    if ended.si_code == os.CLD_EXITED:
        return f"ended the process that looked at it, with exit code {ended.si_status}"
    try:
        name = signal.Signals(ended.si_status).name
    except ValueError:
        name = f"signal {ended.si_status}"
    return f"crashed the process that looked at it ({name})"
