"""A program's process: spawned, read, and its end told once.

Rules:

- A program is spawned in a session of its own: by the system, or where that cannot be had by
  `setsid`, which keeps its pid. The folder it begins in is the runner's own for the moment of the
  spawn: that keeps Twisted on posix_spawn, three times faster than a fork, and needs no further
  program in between.
- What can be wrong is looked for first, or understood from what the programs in front of it say: an
  exit code alone could as well be the program's own.
- Its standard output and error share one pipe, so that their order is kept.
- It has ended when it has exited, whoever else holds its pipes. They stay open until `close`: those
  of its family who have the rest of a grace may still write.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.process import unregisterReapProcessHandler
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from aptask.model.orders import Spawn
from aptask.runner import family
from aptask.runner.pipe import Pipe
from aptask.runner.sessions import Sessions

REPORT_DESCRIPTOR = 3
"""Where a job's process writes reports; also in `APTASK_REPORT_FD`."""

STRING_BYTES = 32 * 4096
"""Linux' limit for one argument, or one variable of the environment with its name."""
ALL_BYTES = 2 * 1024 * 1024
"""Linux' limit for all of them, with the usual limit of the stack of 8 MiB."""

_CANNOT_EXECUTE = (126, 127)
"""The exit codes with which `setsid`, `nice` and `prlimit` say that they could not execute."""


class CannotSpawn(Exception):
    """The program cannot be started, as the message for people says."""


class Program(ProcessProtocol):
    """One program that runs.

    Args:
        reactor: spawns it.
        plan: what to run.
        environment: all of its environment.
        folder: where it begins.
        sessions: makes sessions.
        wrote: called with what it writes.
        reported: called with what it writes to its report descriptor.
        exited: called once, with its exit code, the negative number of the signal that ended it,
            or None where nobody knows. All that it wrote by then has been passed on.

    Attributes:
        pid: its process, which leads a session.
        pipe: the name of the pipe that it writes to.

    Raises:
        CannotSpawn: nothing was started.
    """

    def __init__(
        self,
        reactor: Any,
        plan: Spawn,
        environment: Mapping[str, str],
        folder: str,
        *,
        sessions: Sessions,
        wrote: Callable[[bytes], None],
        reported: Callable[[bytes], None],
        exited: Callable[[int | None], None],
    ) -> None:
        self.pid = 0
        self._reactor = reactor
        self._sessions = sessions
        self._exited: Callable[[int | None], None] | None = exited
        self._is_spawned = False
        self._process: Any = None
        """Twisted's; its pid is None once it is reaped"""
        self._pipes: list[Pipe] = []
        _check_texts(plan.command, environment)
        try:
            for receive in (wrote, reported):
                self._pipes.append(Pipe(reactor, receive))
            self._spawn_in(folder, plan, environment)
        except (OSError, ValueError, TypeError) as error:
            self.close()
            raise CannotSpawn(_spawn_error(plan, folder, error)) from None
        except CannotSpawn:
            self.close()
            raise
        self.pipe = family.pipe_name(self._pipes[0].fileno())
        for pipe in self._pipes:
            pipe.close_writing_end()
        self._is_spawned = True

    def _spawn_in(self, folder: str, plan: Spawn, environment: Mapping[str, str]) -> None:
        back = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _enter(folder)
            program = _find_program(plan.command[0], environment.get("PATH", os.defpath))
            stdin = _standard_input(plan)
            try:
                self._spawn(plan, program, environment, stdin)
            finally:
                os.close(stdin)
        finally:
            os.fchdir(back)
            os.close(back)

    def _spawn(self, plan: Spawn, program: str, environment: Mapping[str, str], stdin: int) -> None:
        command = _command(plan)
        if not self._sessions.works:
            self._spawn_as(_tool("setsid"), [_tool("setsid"), "--", *command], environment, stdin)
            return
        executable = program if command == plan.command else command[0]
        with self._sessions.made():
            try:
                self._spawn_as(executable, command, environment, stdin)
            except OSError as error:
                # A script that does not say what it is written for is the shell's.
                if error.errno != errno.ENOEXEC:
                    raise
                self._spawn_as("/bin/sh", ["sh", program, *command[1:]], environment, stdin)

    def _spawn_as(
        self, executable: str, command: list[str], environment: Mapping[str, str], stdin: int
    ) -> None:
        output, reports = (pipe.writing_end for pipe in self._pipes)
        # As bytes, since what is no text in the account's environment must not disturb.
        self._reactor.spawnProcess(
            self,
            executable,
            [os.fsencode(word) for word in command],
            env={os.fsencode(name): os.fsencode(environment[name]) for name in environment},
            childFDs={0: stdin, 1: output, 2: output, REPORT_DESCRIPTOR: reports},
        )

    def connectionMade(self) -> None:
        """It is spawned: called by Twisted, before it looks whether it has exited."""
        transport: Any = self.transport
        self._process = transport
        self.pid = transport.pid

    def processExited(self, reason: Failure) -> None:
        """The program has exited: called by Twisted, which reaped it, maybe while it spawns."""
        if not self._is_spawned:
            self._reactor.callLater(0, self.processExited, reason)
        elif reason.check(ProcessDone):
            self._end(0)
        elif reason.check(ProcessTerminated):
            ended: Any = reason.value
            self._end(ended.exitCode if ended.signal is None else -ended.signal)
        else:
            self._end(None)

    def look_after(self) -> None:
        """See whether the process is still there, in case that nobody told of its end."""
        if self._exited is None or self._process.pid is None:
            return
        try:
            # Leaves it to Twisted to reap it.
            found = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            unregisterReapProcessHandler(self.pid, self._process)
            self._end(None)
        else:
            if found is not None:
                self._process.reapProcess()

    def _end(self, code: int | None) -> None:
        exited, self._exited = self._exited, None
        if exited is not None:
            for pipe in self._pipes:
                pipe.drain()
            exited(code)

    def close(self) -> None:
        """Read what there is still, and close the pipes."""
        for pipe in self._pipes:
            pipe.drain()
            pipe.close()


def _check_texts(command: list[str], environment: Mapping[str, str]) -> None:
    """Raise `CannotSpawn` for what no program can be given."""
    size = 0
    for name, value in environment.items():
        size += len(name) + len(value)
        if "\0" in value or "\0" in name or "=" in name or not name:
            raise CannotSpawn(f"{name!r} cannot be set in an environment to what was given")
    for word in command:
        size += len(word)
        if "\0" in word:
            raise CannotSpawn(f"an argument holds a NUL character: {word[:100]!r}")
    if 4 * size >= STRING_BYTES:  # a character is four bytes at most
        texts = [*command, *(f"{name}={value}" for name, value in environment.items())]
        sizes = [len(os.fsencode(text)) + 1 for text in texts]
        if max(sizes) > STRING_BYTES or sum(sizes) + 8 * len(sizes) > ALL_BYTES:
            raise CannotSpawn("the arguments and the environment are too long for one program")


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        what = "is not a folder" if os.path.exists(folder) else "is not there"
        raise CannotSpawn(f"the working folder {folder} {what}") from None
    except PermissionError:
        raise CannotSpawn(f"the working folder {folder} may not be entered") from None
    except (OSError, ValueError) as error:
        raise CannotSpawn(f"the working folder {folder!r} cannot be used: {error}") from None


def _find_program(name: str, path: str) -> str:
    """The file that a command's first word means, from the folder that the runner is in."""
    if "/" in name:
        if not os.path.exists(name):
            raise CannotSpawn(f"there is no program {name}")
        if os.path.isdir(name):
            raise CannotSpawn(f"{name} is a folder, not a program")
        if not os.access(name, os.X_OK):
            raise CannotSpawn(f"{name} is not executable")
        return name
    found = shutil.which(name, path=path) if name else None
    if found is not None:
        # What is found in the folder itself must not be looked for in PATH again.
        return found if "/" in found else f"./{found}"
    places = path.split(os.pathsep)
    if name and any(os.path.isfile(os.path.join(place, name)) for place in places):
        raise CannotSpawn(f"{name} is not executable")
    raise CannotSpawn(f"there is no program `{name}` (looked in {path})")


def _standard_input(plan: Spawn) -> int:
    """An open descriptor of what the program reads."""
    if plan.stdin is not None:
        # A file in memory: unlike a pipe it is done with at once, however the program reads it.
        descriptor = os.memfd_create("stdin")
        with open(descriptor, "wb", closefd=False) as file:
            file.write(plan.stdin.encode())
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    name = plan.stdin_file or os.devnull
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY
    try:
        # Without O_NONBLOCK a named pipe would hold up the whole runner until somebody writes.
        descriptor = os.open(name, flags | (os.O_NONBLOCK if plan.stdin_file else 0))
        mode = os.fstat(descriptor).st_mode
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise CannotSpawn(f"its standard input {name!r} cannot be read: {why}") from None
    if not (stat.S_ISREG(mode) or stat.S_ISCHR(mode)):
        os.close(descriptor)
        raise CannotSpawn(f"its standard input {name} is not a file")
    os.set_blocking(descriptor, True)
    return descriptor


def _command(plan: Spawn) -> list[str]:
    """The command, with what it takes to run it as nicely and in as little memory as it should."""
    command = list(plan.command)
    if plan.memory_limit is not None:
        command = [_tool("prlimit"), f"--as={plan.memory_limit}", "--", *command]
    if plan.nice:
        command = [_tool("nice"), "-n", str(plan.nice), "--", *command]
    return command


@cache
def _tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise CannotSpawn(f"{name} is not installed; it comes with every Linux's base system")
    return os.path.abspath(found)


def _spawn_error(plan: Spawn, folder: str, error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.E2BIG:
        return "the arguments and the environment are too long for one program"
    why = (isinstance(error, OSError) and error.strerror) or str(error)
    return _not_started(plan.command[0], folder, why)


def not_executed(plan: Spawn, folder: str, code: int, last_line: str) -> str | None:
    """Why a program was never executed, or None where it was.

    What `_check_program` cannot see: a script whose interpreter is missing, and the like.

    Args:
        plan: what should have run.
        folder: where it should have begun.
        code: the exit code.
        last_line: of its output.
    """
    if code not in _CANNOT_EXECUTE:
        return None
    tool, _, said = last_line.partition(": ")
    name = plan.command[0]
    if os.path.basename(tool) not in ("setsid", "nice", "prlimit") or name not in said:
        return None
    return _not_started(name, folder, said.rpartition(": ")[2])


def _not_started(name: str, folder: str, why: str) -> str:
    """Why a program that is there could not be started: often its first line tells more."""
    found = shutil.which(os.path.join(folder, name) if "/" in name else name)
    try:
        with open(found or name, "rb") as script:
            first = script.readline(256)
    except (OSError, ValueError):
        first = b""
    if first.startswith(b"#!"):
        interpreter = first[2:].decode(errors="replace").split()
        if interpreter and not os.access(interpreter[0], os.X_OK):
            why = f"its interpreter {interpreter[0]} is missing"
    return f"{name} could not be started: {why}"


def signal_name(number: int) -> str:
    """`SIGKILL` and the like, or the number where it has no name."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
