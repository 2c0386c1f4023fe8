"""A job's family: its process and all that descend from it, found wherever they have gone.

A member is found by any of four ties: it is the process itself, in the session that was made for
it, a descendant of another member, or it carries the job's mark in its environment. Sessions and
parents are lost by a double fork with `setsid`, marks by `env -i`; it takes all of them at once to
get away.

Linux only: it reads /proc. Processes of other accounts, which a job started through a set-uid
program, can be seen but perhaps not signalled.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Collection, Iterator

import msgspec

MARK = "APTASK_JOB"
"""The environment variable that marks a job's processes: `<instance>/<job>/<attempt>`."""

_PR_SET_CHILD_SUBREAPER = 36


class Process(msgspec.Struct, gc=False, frozen=True):
    """A line of the process table."""

    pid: int
    parent: int
    session: int
    state: str
    start: int
    """ticks since the machine started; with the pid it names a process for one boot"""


def mark(instance: str, job: int, attempt: int) -> str:
    """The value of `MARK` for an attempt's processes."""
    return f"{instance}/{job}/{attempt}"


def look_up(pid: int) -> Process | None:
    """A process, or None where there is none; see proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name stands in parentheses and may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[3]), fields[0].decode(), int(fields[19]))


def alive(process: Process | None) -> bool:
    """Whether a process that was looked up is still the same one, and no zombie."""
    if process is None:
        return False
    now = look_up(process.pid)
    return now is not None and now.start == process.start and now.state not in "ZX"


def members(pid: int, marked: str) -> list[int]:
    """The living processes of a job's family.

    Args:
        pid: the job's own process, the leader of its session; 0 where it has none.
        marked: its mark.

    Returns:
        pids, this process never among them.
    """
    processes = {process.pid: process for process in _everyone() if process.state not in "ZX"}
    processes.pop(os.getpid(), None)
    found = {
        process.pid
        for process in processes.values()
        if (pid and pid in (process.pid, process.session)) or mark_of(process.pid) == marked
    }
    return sorted(_with_descendants(found, processes))


def of_instance(instance: str) -> list[int]:
    """The living processes of all jobs of a runner that is gone, and of its nursery."""
    beginning = instance + "/"
    processes = {process.pid: process for process in _everyone() if process.state not in "ZX"}
    processes.pop(os.getpid(), None)
    found = {pid for pid in processes if (mark_of(pid) or "").startswith(beginning)}
    return sorted(_with_descendants(found, processes))


def send(pids: Collection[int], *signals: int) -> None:
    """Send signals to processes; those that have gone, or are not ours, are passed over."""
    for pid in pids:
        for number in signals:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                break


def ask_to_end(pids: Collection[int]) -> None:
    """SIGTERM, and SIGCONT so that a suspended process hears it."""
    send(pids, signal.SIGTERM, signal.SIGCONT)


def kill(pids: Collection[int]) -> None:
    """SIGKILL, with all of them suspended before the first dies, so that none forks meanwhile."""
    send(pids, signal.SIGSTOP)
    send(pids, signal.SIGKILL)


def adopt_orphans() -> bool:
    """Make this process the parent of descendants whose own has died, instead of init.

    Returns:
        whether the system can; see PR_SET_CHILD_SUBREAPER in prctl(2).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def children() -> list[int] | None:
    """The children of this process, adopted ones included; None where the system does not say."""
    try:
        found: list[int] = []
        for task in os.listdir("/proc/self/task"):
            with open(f"/proc/self/task/{task}/children", "rb") as file:
                found += map(int, file.read().split())
    except OSError:
        return None
    return found


def _everyone() -> Iterator[Process]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            process = look_up(int(name))
            if process is not None:
                yield process


def _with_descendants(found: set[int], processes: dict[int, Process]) -> set[int]:
    by_parent: dict[int, list[int]] = {}
    for process in processes.values():
        by_parent.setdefault(process.parent, []).append(process.pid)
    waiting = list(found)
    while waiting:
        for pid in by_parent.get(waiting.pop(), ()):
            if pid not in found:
                found.add(pid)
                waiting.append(pid)
    return found


def mark_of(pid: int) -> str | None:
    """The mark that a process carries, or None where it has none that can be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = b"\0" + file.read()
    except OSError:
        return None
    _, found, rest = environment.partition(f"\0{MARK}=".encode())
    return rest.partition(b"\0")[0].decode(errors="replace") if found else None
