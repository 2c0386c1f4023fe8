"""The nursery: a small process without Twisted that forks a child for each job that needs one.

Forking is cheap from here, since little is loaded. The runner asks over a socket of packets, and
hands over the child's descriptors with the request; the nursery tells the child's pid, and later
how it ended, since only a parent can know. When the runner's side of the socket closes, the
nursery kills its children and ends; when the nursery ends, the system kills its children.

Packets: `fork ID` with the descriptors of control socket, output and reports; answered with
`forked ID PID` or `failed ID WHY`; and `ended ID STATUS`, as waitpid(2) gives it.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import os
import select
import signal
import socket
import sys
from typing import NoReturn

from aptask.runner import child

_PR_SET_PDEATHSIG = 1


def main(descriptor: int, home: str) -> None:
    """Serve a runner.

    Args:
        descriptor: of the socket to it.
        home: the folder that jobs begin in.
    """
    # What this is imported from may have been found by it; jobs have a clean environment.
    os.environ.pop("PYTHONPATH", None)
    with socket.socket(fileno=descriptor) as link:
        _Nursery(link, home).serve()


class _Nursery:
    def __init__(self, link: socket.socket, home: str) -> None:
        self._link = link
        self._home = home
        self._children: dict[int, bytes] = {}
        self._pid = os.getpid()
        self._libc = ctypes.CDLL(None)
        self._woken, self._waker = socket.socketpair()

    def serve(self) -> None:
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        gc.freeze()
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        poll.register(self._woken, select.POLLIN)
        try:
            while True:
                for descriptor, _ in poll.poll():
                    if descriptor == self._woken.fileno():
                        self._woken.recv(4096)
                    elif not self._receive():
                        return
                self._reap()
        finally:
            for pid in self._children:  # none of them is reaped, so that each is still ours
                os.kill(pid, signal.SIGKILL)

    def _receive(self) -> bool:
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._link, 256, 3)
        except ConnectionResetError:
            return False
        if not packet:
            return False
        number = packet.split()[1]
        try:
            pid = os.fork()
        except OSError as error:
            self._link.send(b"failed %s %s" % (number, str(error.strerror).encode()))
        else:
            if pid == 0:
                self._become_child(*descriptors)
            self._children[pid] = number
            self._link.send(b"forked %s %d" % (number, pid))
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def _reap(self) -> None:
        while self._children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            self._link.send(b"ended %s %d" % (self._children.pop(pid), status))

    def _become_child(self, control: int, output: int, reports: int) -> NoReturn:
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != self._pid:
                os._exit(1)  # the nursery had died before that was set
            self._link.close()
            self._woken.close()
            self._waker.close()
            high = [
                fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
                for descriptor in (control, output, reports)
            ]
            for descriptor in (control, output, reports):
                os.close(descriptor)
            os.dup2(high[1], 1)
            os.dup2(high[1], 2)
            os.dup2(high[2], child.REPORT_DESCRIPTOR)
            os.close(high[1])
            os.close(high[2])
            child.serve(socket.socket(fileno=high[0]), self._home)
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
