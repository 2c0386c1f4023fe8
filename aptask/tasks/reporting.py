"""How a running task tells how far it is: one JSON line a report, ten a second at most.

A job's process has the number of a descriptor in `APTASK_REPORT_FD`; whoever reads it may be gone,
which must not disturb the task. Without one (an author's unit test) reports go nowhere. A process
runs one job at a time, so that there is one current reporter.

No Twisted: this is imported by jobs' processes.
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from aptask.model.progress import Progress, clean

REPORTS = 10
"""The most reports that leave a process within any second."""

_SPACING = 0.11
"""Seconds between ordinary reports: a bit less than what is allowed is left for the last ones."""

_encode = msgspec.json.Encoder().encode


class Reporter:
    """Writes reports, and holds back what comes too fast: the newest wins.

    Args:
        write: takes one whole line; an `OSError` of it is not the task's business.
        clock: seconds that never go back.
    """

    def __init__(
        self, write: Callable[[bytes], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._sent: deque[float] = deque([-math.inf] * REPORTS, maxlen=REPORTS)
        self._held = Progress()
        self._holds = False

    def report(self, progress: float | None = None, message: str | None = None) -> None:
        """Tell how it goes.

        Args:
            progress: 0.0 to 1.0.
            message: for people.

        Raises:
            TypeError: the progress is no number.
        """
        if progress is None:
            fraction = self._held.fraction
        elif isinstance(progress, (str, bytes, bool)):
            raise TypeError(f"progress must be a number from 0 to 1, not {progress!r}")
        else:
            fraction = float(progress)
            if not math.isfinite(fraction):
                fraction = self._held.fraction
        text = self._held.message if message is None else str(message)
        self._held = Progress(fraction, text)
        self._holds = True
        if self._clock() - self._sent[-1] >= _SPACING:
            self.catch_up()

    def catch_up(self) -> None:
        """Send what was held back, if that is not too much."""
        if self._holds and self._clock() - self._sent[0] >= 1.0:
            self.flush()

    def flush(self) -> None:
        """Send what was held back: for the end of a job."""
        if not self._holds:
            return
        held, self._held, self._holds = self._held, Progress(), False
        line: dict[str, Any] = {}
        if held.fraction is not None:
            line["progress"] = min(max(held.fraction, 0.0), 1.0)
        if held.message is not None:
            # A name of a file may hold what is no text: it is shown as far as it is.
            line["message"] = clean(held.message.encode("utf-8", "replace").decode())
        if line:
            self._sent.append(self._clock())
            try:
                self._write(_encode(line) + b"\n")
            except OSError:
                # Nobody reads it any more: that is no fault of the task.
                pass


def _from_environment() -> Reporter:
    try:
        descriptor = int(os.environ["APTASK_REPORT_FD"])
    except (KeyError, ValueError):
        return Reporter(lambda _line: None)
    return Reporter(lambda line: os.write(descriptor, line))


_current: Reporter | None = None


def current() -> Reporter:
    """The reporter of the job that this process runs."""
    global _current
    if _current is None:
        _current = _from_environment()
    return _current


def use(reporter: Reporter | None) -> None:
    """Make a reporter the current one; None: that of the environment, looked up anew."""
    global _current
    _current = reporter
