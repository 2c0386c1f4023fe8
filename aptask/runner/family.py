"""A job's family: its process and all that descend from it, found wherever they have gone.

A member is found by any of five ties: it is the process itself, in the session that was made for
it, a descendant of another member, it carries the job's mark in its environment, or it is an orphan
that holds the pipe of the job's output. Sessions and parents are lost by a double fork with
`setsid`, marks by `env -i`, the pipe by closing it; it takes all of them at once to get away. Pids
are used again, so that a session counts only for those who carry no other job's mark.

Linux only: it reads /proc, all of it, which takes milliseconds: for ends that are out of the
ordinary. Processes of other accounts, which a job started through a set-uid program, can be seen
but perhaps not signalled.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable, Collection, Iterable, Iterator

import msgspec

MARK = "APTASK_JOB"
"""The environment variable that marks a job's processes: `<instance>/<job>/<attempt>`."""

ROUNDS = 10
"""How often a family is looked for at once to be suspended: more may have come meanwhile."""

_PR_SET_CHILD_SUBREAPER = 36
_NURSERY = "/nursery/0"


class Process(msgspec.Struct, gc=False, frozen=True):
    """A line of the process table."""

    pid: int
    parent: int
    session: int
    state: str

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended: one that waits to be reaped has."""
        return self.state not in "ZX"

    @property
    def is_suspended(self) -> bool:
        """Whether it does nothing until SIGCONT.

        One that waits in the kernel heeds SIGSTOP before it does anything: maybe long after, where
        it waits for a child of vfork(2) that is suspended itself. One that a debugger holds may go
        on at any moment.
        """
        return self.state == "T" or (self.state == "D" and _is_pending(self.pid, signal.SIGSTOP))


def _is_pending(pid: int, number: int) -> bool:
    """Whether a process has been sent a signal that it has not heeded yet."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            pending = file.read().partition(b"\nShdPnd:")[2].split(maxsplit=1)[0]
    except (OSError, IndexError):
        return False
    return bool(int(pending, 16) >> (number - 1) & 1)


def mark(instance: str, job: int, attempt: int) -> str:
    """The value of `MARK` for an attempt's processes."""
    return f"{instance}/{job}/{attempt}"


def nursery_mark(instance: str) -> str:
    """The value of `MARK` for a nursery: what it forks carries it too, until it executes."""
    return instance + _NURSERY


class Family:
    """One job's family.

    Args:
        marked: its mark.
        leader: the job's own process, whose session was made for it; 0 while it has none.
        pipe: of the job's output, as `pipe_name` has it; empty while it has none of its own.
    """

    def __init__(self, marked: str, leader: int = 0, pipe: str = "") -> None:
        self.leader = leader
        self.pipe = pipe
        self._marked = marked

    def members(self) -> list[int]:
        """The pids of those who live, this process never among them."""
        return self._among(_living())

    def _among(self, processes: dict[int, Process]) -> list[int]:
        tied = {process.pid for process in processes.values() if self._is_tied(process)}
        return sorted(_with_descendants(tied, processes))

    def _running(self) -> list[int]:
        processes = _living()
        return [pid for pid in self._among(processes) if not processes[pid].is_suspended]

    def has(self, pid: int) -> bool:
        """Whether a process belongs to it by itself, its parents left aside."""
        process = look_up(pid)
        return process is not None and process.is_alive and self._is_tied(process)

    def _is_tied(self, process: Process) -> bool:
        marked = mark_of(process.pid)
        if marked == self._marked:
            return True
        if self.leader != 0 and self.leader in (process.pid, process.session):
            return marked is None or marked.endswith(_NURSERY)
        is_orphan = process.parent == os.getpid()
        return marked is None and is_orphan and self.pipe != "" and holds(process.pid, self.pipe)

    def ask_to_end(self) -> None:
        """SIGTERM, and SIGCONT so that a suspended process hears it."""
        send(self.members(), signal.SIGTERM, signal.SIGCONT)

    def suspend(self) -> list[int]:
        """SIGSTOP to all who are not suspended.

        Returns:
            those who were not. They may fork once more before they heed it, where they were at it.
        """
        return suspend(self._running)

    def resume(self, pids: Collection[int]) -> None:
        """SIGCONT to those of these who are members: a number may be another process' by now."""
        send([pid for pid in reversed(self.members()) if pid in pids], signal.SIGCONT)

    def kill(self) -> list[int]:
        """SIGKILL to all.

        Returns:
            those who were there.
        """
        return kill(self.members)


def look_up(pid: int) -> Process | None:
    """A process, or None where there is none; see proc(5)."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The program's name stands in parentheses and may hold anything.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[3]), fields[0].decode())


def of_instance(instance: str) -> list[int]:
    """The living processes of all jobs of a runner that is gone, and of its nursery."""
    beginning = instance + "/"
    processes = _living()
    tied = {pid for pid in processes if (mark_of(pid) or "").startswith(beginning)}
    return sorted(_with_descendants(tied, processes))


def send(pids: Collection[int], *signals: int) -> None:
    """Send signals to processes; those that have gone, or are not ours, are passed over."""
    for pid in pids:
        for number in signals:
            try:
                os.kill(pid, number)
            except (ProcessLookupError, PermissionError):
                break


def suspend(find: Callable[[], Iterable[int]]) -> list[int]:
    """SIGSTOP.

    Args:
        find: gives their pids; asked until it finds no more, but `ROUNDS` times at most.

    Returns:
        those who were there.
    """
    suspended: set[int] = set()
    for _ in range(ROUNDS):
        new = set(find()) - suspended
        if not new:
            break
        send(sorted(new), signal.SIGSTOP)
        suspended |= new
    return sorted(suspended)


def kill(find: Callable[[], Iterable[int]]) -> list[int]:
    """SIGKILL, with all of them suspended before the first dies, so that none forks meanwhile.

    Args:
        find: gives their pids, as for `suspend`.

    Returns:
        those who were there.
    """
    suspended = suspend(find)
    send(suspended, signal.SIGKILL)
    return suspended


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


def mark_of(pid: int) -> str | None:
    """The mark that a process carries, or None where it has none that can be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            environment = b"\0" + file.read()
    except OSError:
        return None
    _, found, rest = environment.partition(f"\0{MARK}=".encode())
    return rest.partition(b"\0")[0].decode(errors="replace") if found else None


def pipe_name(descriptor: int) -> str:
    """How /proc names the pipe that a descriptor of this process is an end of."""
    return f"pipe:[{os.fstat(descriptor).st_ino}]"


def holds(pid: int, name: str) -> bool:
    """Whether a process has a pipe open."""
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{number}") == name for number in os.listdir(folder))
    except OSError:  # it has ended, or is not ours
        return False


def _living() -> dict[int, Process]:
    """The processes that have not ended, by their pids, this one left out."""
    processes = {process.pid: process for process in _everyone() if process.is_alive}
    processes.pop(os.getpid(), None)
    return processes


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
