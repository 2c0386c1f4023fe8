"""A program's process: spawned, read, and its end told once.

Rules:

- A program is spawned in a session of its own by `setsid`, which keeps its pid. Its folder is the
  runner's own for the moment of the spawn: that keeps Twisted on posix_spawn, three times faster
  than a fork, and needs no further program in between.
- What can be wrong with a program or its folder is looked for first, since afterwards an exit code
  could as well be the program's own.
- Its standard output and error share one pipe, so that their order is kept.
- It has ended when it has exited. Whoever else holds the pipe delays nothing: what is in it by then
  is read, and it is closed.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone, ProcessDone, ProcessTerminated
from twisted.internet.fdesc import setNonBlocking
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.process import unregisterReapProcessHandler
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from aptask.model.orders import Spawn
from aptask.runner import family

REPORT_DESCRIPTOR = 3
"""Where a job's process writes reports; also in `APTASK_REPORT_FD`."""

CHUNK = 65536


class CannotSpawn(Exception):
    """The program cannot be started, as the message for people says."""


class Pipe(FileDescriptor):
    """The reading end of a pipe.

    Args:
        reactor: reads it.
        receive: called with the bytes that came.
    """

    def __init__(self, reactor: Any, receive: Callable[[bytes], None]) -> None:
        super().__init__(reactor)
        self._descriptor, self.writing_end = os.pipe()
        setNonBlocking(self._descriptor)
        self._receive = receive
        self.connected = True
        self.startReading()

    def fileno(self) -> int:
        """The descriptor, or -1 once it is closed."""
        return self._descriptor

    def close_writing_end(self) -> None:
        """Close this process' own writing end, once a child has it."""
        os.close(self.writing_end)
        self.writing_end = -1

    def doRead(self) -> Failure | None:
        """Read once: called by the reactor."""
        try:
            data = os.read(self._descriptor, CHUNK)
        except BlockingIOError:
            return None
        if not data:
            return Failure(ConnectionDone())
        self._receive(data)
        return None

    def drain(self, most: int = 64 * CHUNK) -> None:
        """Read what is there now, and not more than `most` bytes of it."""
        while most > 0 and self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, CHUNK)
            except BlockingIOError:
                return
            if not data:
                return
            most -= len(data)
            self._receive(data)

    def connectionLost(self, reason: Failure) -> None:
        """Nobody holds the writing end any more."""
        self.close()

    def close(self) -> None:
        """Close what is open of it."""
        if self._descriptor >= 0:
            self.stopReading()
            os.close(self._descriptor)
            self._descriptor = -1
        if self.writing_end >= 0:
            self.close_writing_end()


class Program(ProcessProtocol):
    """One program that runs.

    Args:
        reactor: spawns it.
        plan: what to run.
        environment: all of its environment.
        home: the folder where the plan names none.
        wrote: called with what it writes.
        reported: called with what it writes to its report descriptor.
        exited: called once, with its exit code, the negative number of the signal that ended it,
            or None where nobody knows.

    Raises:
        CannotSpawn: nothing was started.
    """

    def __init__(
        self,
        reactor: Any,
        plan: Spawn,
        environment: Mapping[str, str],
        home: str,
        *,
        wrote: Callable[[bytes], None],
        reported: Callable[[bytes], None],
        exited: Callable[[int | None], None],
    ) -> None:
        command = _command(plan, environment, plan.cwd or home)
        self._exited: Callable[[int | None], None] | None = exited
        self._is_spawned = False
        self._reactor = reactor
        self._output = Pipe(reactor, wrote)
        self._reports = Pipe(reactor, reported)
        try:
            self._spawn(reactor, plan, command, environment, plan.cwd or home)
        except OSError as error:
            self._output.close()
            self._reports.close()
            raise CannotSpawn(_spawn_error(plan, error)) from None
        self._output.close_writing_end()
        self._reports.close_writing_end()
        # None, where the program had ended before it was known to run
        self.pid: int = self.transport.pid or 0
        self._seen = family.look_up(self.pid)
        self._is_spawned = True

    def _spawn(
        self,
        reactor: IReactorProcess,
        plan: Spawn,
        command: list[str],
        environment: Mapping[str, str],
        folder: str,
    ) -> None:
        opened: list[int] = []
        try:
            stdin: int | str = "w"
            if plan.stdin is None:
                stdin = os.open(plan.stdin_file or os.devnull, os.O_RDONLY)
                opened.append(stdin)
            opened.append(back := os.open(".", os.O_RDONLY | os.O_DIRECTORY))
            os.chdir(folder)
            try:
                reactor.spawnProcess(
                    self,
                    command[0],
                    command,
                    env=dict(environment),
                    path=None,
                    childFDs={
                        0: stdin,
                        1: self._output.writing_end,
                        2: self._output.writing_end,
                        REPORT_DESCRIPTOR: self._reports.writing_end,
                    },
                )
            finally:
                os.fchdir(back)
        finally:
            for descriptor in opened:
                os.close(descriptor)
        if plan.stdin is not None:
            self.transport.write(plan.stdin.encode())
            self.transport.closeStdin()

    def processExited(self, reason: Failure) -> None:
        """The program has exited: called by Twisted, which reaped it, maybe while it spawns."""
        if not self._is_spawned:
            self._reactor.callLater(0, self.processExited, reason)
        elif reason.check(ProcessDone):
            self._end(0)
        elif reason.check(ProcessTerminated):
            number = reason.value.signal
            self._end(reason.value.exitCode if number is None else -number)
        else:
            self._end(None)

    def look_after(self) -> None:
        """See whether the process is still there, in case that nobody told of its end."""
        if self._exited is not None and not family.alive(self._seen):
            now = family.look_up(self.pid)
            if now is not None and self._seen is not None and now.start == self._seen.start:
                return  # a zombie: Twisted is about to reap it
            unregisterReapProcessHandler(self.pid, self.transport)
            self._end(None)

    def _end(self, code: int | None) -> None:
        exited, self._exited = self._exited, None
        if exited is not None:
            self._output.drain()
            self._reports.drain()
            self._output.close()
            self._reports.close()
            exited(code)


def _command(plan: Spawn, environment: Mapping[str, str], folder: str) -> list[str]:
    """The whole command, with what is put in front of the program.

    Raises:
        CannotSpawn: the program or the folder is not there, or may not be used.
    """
    try:
        if not stat.S_ISDIR(os.stat(folder).st_mode):
            raise CannotSpawn(f"the working folder is not a folder: {folder}")
    except OSError as error:
        raise CannotSpawn(_folder_error(folder, error)) from None
    if not os.access(folder, os.X_OK):
        raise CannotSpawn(f"the working folder may not be entered: {folder}")
    _check_program(plan.command[0], environment.get("PATH", os.defpath), folder)
    command = list(plan.command)
    if plan.memory_limit is not None:
        command = [_tool("prlimit"), f"--as={plan.memory_limit}", "--", *command]
    if plan.nice:
        command = [_tool("nice"), "-n", str(plan.nice), "--", *command]
    return [_tool("setsid"), "--", *command]


def _check_program(name: str, path: str, folder: str) -> None:
    if "/" not in name:
        if name and shutil.which(name, path=path) is not None:
            return
        found = any(os.path.isfile(os.path.join(place, name)) for place in path.split(os.pathsep))
        if name and found:
            raise CannotSpawn(f"{name} is not executable")
        raise CannotSpawn(f"there is no program `{name}` (looked in {path})")
    whole = os.path.join(folder, name)
    if not os.path.exists(whole):
        raise CannotSpawn(f"there is no program {name}")
    if os.path.isdir(whole):
        raise CannotSpawn(f"{name} is a folder, not a program")
    if not os.access(whole, os.X_OK):
        raise CannotSpawn(f"{name} is not executable")


_tools: dict[str, str] = {}


def _tool(name: str) -> str:
    if name not in _tools:
        found = shutil.which(name)
        if found is None:
            raise CannotSpawn(f"{name} is not installed; it comes with every Linux's base system")
        _tools[name] = found
    return _tools[name]


def _folder_error(folder: str, error: OSError) -> str:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return f"there is no working folder {folder}"
    return f"the working folder {folder} cannot be used: {error.strerror}"


def _spawn_error(plan: Spawn, error: OSError) -> str:
    if error.errno == errno.E2BIG:
        return "the arguments and the environment are too long for one program"
    if error.filename and plan.stdin_file and os.fspath(error.filename) == plan.stdin_file:
        return f"its standard input {plan.stdin_file} cannot be read: {error.strerror}"
    return f"{plan.command[0]} could not be started: {error.strerror}"


def signal_name(number: int) -> str:
    """`SIGKILL` and the like, or the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
