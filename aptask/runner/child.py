"""A child of the nursery: the process in which authors' code runs, errand after errand.

It has a session of its own, the job's pipes as its standard output and error, the report pipe as
descriptor 3, and a control socket. It may crash, loop or be killed: that costs one job. Rules:

- SIGTERM raises `Stopped` in the middle of an errand, once.
- It is not used again after an errand that left processes or threads behind, grew large, was asked
  to stop, or changed what later errands would meet and cannot be set right.
- It never ends by itself: while it lives, whatever descends from it is found through it. The
  runner closes the control socket, or kills it.
"""

from __future__ import annotations

import io
import json
import os
import re
import resource
import signal
import socket
import sys
import threading
import traceback
from typing import Any, NoReturn

import msgspec

from aptask.model.orders import NOTHING_RETURNED
from aptask.runner import family
from aptask.runner.errands import Answer, Errand, What, decode_errand, encode
from aptask.tasks import perform
from aptask.tasks.task import Reporter, Stopped

REPORT_DESCRIPTOR = 3
RESULT_BYTES = 1 << 20
"""The largest result, as JSON."""
RETIRES_AT_KIB = 256 * 1024
"""Resident memory above which a child is not used again."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
"""Strict: what is no JSON value is an error, not something like it."""

_LONG_INTEGER = re.compile(rb"\d{19}")

_decode_values = msgspec.json.Decoder(dict[str, Any]).decode


def serve(control: socket.socket, home: str) -> NoReturn:
    """Do errands until there are no more; never returns.

    Args:
        control: where errands come from.
        home: the folder each errand begins in.
    """
    family.adopt_orphans()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as the process lives
    sys.stdout = _text(1)
    sys.stderr = _text(2)
    child = _Child(home)
    signal.signal(signal.SIGTERM, child.asked_to_stop)
    status = 0
    try:
        with control.makefile("rb") as errands:
            for line in errands:
                answer = child.do(decode_errand(line))
                control.sendall(encode(answer) + b"\n")
    except OSError:
        status = 1
    os._exit(status)


def _text(descriptor: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        open(descriptor, "wb", closefd=False),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


class _Child:
    def __init__(self, home: str) -> None:
        self._home = home
        self._environment = dict(os.environ)
        self._sources: dict[str, tuple[int, int]] | None = None
        self._raises = False
        self._asked = False
        self._is_broken = False
        self._umask = os.umask(0o077)
        os.umask(self._umask)
        self._nice = os.getpriority(os.PRIO_PROCESS, 0)
        self._streams = sys.stdout, sys.stderr
        self._descriptors = {each: _identity(each) for each in (0, 1, 2, REPORT_DESCRIPTOR)}

    def asked_to_stop(self, *_: object) -> None:
        """SIGTERM."""
        self._asked = True
        if self._raises:
            self._raises = False
            raise Stopped

    def do(self, errand: Errand) -> Answer:
        """Do one errand; whatever the author's code does, there is an answer."""
        if self._sources is not None and perform.changed(self._sources):
            return Answer(well=False, stale=True)
        reporter = Reporter(_report)
        try:
            self._begin(errand)
            try:
                self._raises = True
                if self._asked:
                    raise Stopped
                answer = self._author(errand, reporter)
            finally:
                self._raises = False
        except Stopped:
            answer = Answer(well=False, stopped=True)
        except SystemExit as exit_:
            code = 0 if exit_.code is None else exit_.code
            answer = Answer(well=code == 0, message=None if code == 0 else f"exited with {code}")
        except BaseException as error:
            _print_traceback(error)
            answer = Answer(well=False, message=_last_line(error))
        self._end(reporter)
        answer.retire = self._asked or self._is_broken or self._is_used_up()
        return answer

    def _author(self, errand: Errand, reporter: Reporter) -> Answer:
        values = _decode_values(errand.values)
        if self._sources is None:
            self._sources = perform.sources(perform.load_module(errand.target))
        match errand.what:
            case What.PERFORM:
                return _answer(perform.perform(errand.target, values, reporter))
            case What.LAUNCH:
                spawn = perform.launch(errand.target, values, errand.secrets)
                return Answer(well=True, spawn=spawn)
            case What.JUDGE:
                return Answer(well=bool(perform.judge(errand.target, values, errand.code)))

    def _begin(self, errand: Errand) -> None:
        wanted = {**self._environment, **errand.environment}
        if os.environ != wanted:
            os.environ.clear()
            os.environ.update(wanted)
        os.chdir(self._home)
        os.umask(self._umask)
        sys.stdout, sys.stderr = self._streams
        _end_alarms()

    def _end(self, reporter: Reporter) -> None:
        """See what it wrote last out, and whether what the next one needs is still there."""
        _end_alarms()
        sys.stdout, sys.stderr = self._streams
        for flush in (reporter.flush, sys.stdout.flush, sys.stderr.flush):
            try:
                flush()
            except (OSError, ValueError):
                self._is_broken = True
        for descriptor, identity in self._descriptors.items():
            if _identity(descriptor) != identity:
                self._is_broken = True

    def _is_used_up(self) -> bool:
        return (
            threading.active_count() > 1
            or signal.getsignal(signal.SIGTERM) != self.asked_to_stop
            or os.getpriority(os.PRIO_PROCESS, 0) != self._nice
            or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > RETIRES_AT_KIB
            or _has_children()
        )


def _answer(result: Any) -> Answer:
    if result is None:
        return Answer(well=True)
    try:
        text = _ENCODER.encode(result).encode()
        if _LONG_INTEGER.search(text):
            _check_integers(result)
    except (TypeError, ValueError, RecursionError) as error:
        return Answer(well=False, message=f"what the task returned is no JSON value: {error}")
    if len(text) > RESULT_BYTES:
        return Answer(
            well=False,
            message=f"what the task returned is {len(text):,} bytes as JSON; at most 1 MiB is kept",
        )
    return Answer(well=True, result=NOTHING_RETURNED if text == b"null" else msgspec.Raw(text))


def _check_integers(value: Any) -> None:
    """Raise ValueError for an integer that the wire does not carry."""
    if isinstance(value, dict):
        for item in value.values():
            _check_integers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_integers(item)
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer in it is beyond 64 bits")


def _last_line(error: BaseException) -> str:
    """What it is and the last line of what it says, which may be long."""
    first, *others = traceback.format_exception_only(error)[-1].strip().splitlines() or [""]
    if not others:
        return first
    kind, _, _ = first.partition(":")
    return f"{kind}: {others[-1].strip()}"


def _report(line: bytes) -> None:
    try:
        os.write(REPORT_DESCRIPTOR, line)
    except OSError:
        pass  # its author closed it: that is seen at the end


def _identity(descriptor: int) -> tuple[int, int] | None:
    """What a descriptor leads to, or None where it is closed."""
    try:
        status = os.fstat(descriptor)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _end_alarms() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _print_traceback(error: BaseException) -> None:
    """The traceback from the author's code on, without the frames that called it."""
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    plugins = os.path.join(ours, "plugins")
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        name = frames.tb_frame.f_code.co_filename
        if not name.startswith(ours) or name.startswith(plugins):
            break
        frames = frames.tb_next
    try:
        traceback.print_exception(error.with_traceback(frames))
    except (OSError, ValueError):
        pass


def _has_children() -> bool:
    """Whether a process that the errand started lives on: reaps those that do not."""
    try:
        while True:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return True
    except ChildProcessError:
        return False
