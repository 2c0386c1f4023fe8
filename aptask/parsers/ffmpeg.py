"""ffmpeg, with its usual line of statistics or with `-progress`.

The total is the longest `Duration:` of its inputs, unless the command says how much of it is wanted
(`-t`, `-to`, `-ss`, and `-sseof` is not understood). The end is known by the line that sums up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from aptask.model.progress import Progress
from aptask.parsers.base import FileSize, LineParser, nothing
from aptask.parsers.lines import Line
from aptask.parsers.units import duration, sentence

_INPUT = re.compile(r"Duration: (\d+:\d\d:\d\d\.\d+),", re.ASCII)
_TIME = re.compile(r"time= ?(\d+:\d\d:\d\d\.\d+) ", re.ASCII)
_KEY = re.compile(r"out_time=(\d+:\d\d:\d\d\.\d+)", re.ASCII)
_FIELD = re.compile(r"(fps|L?size|speed)= *(\S+)", re.ASCII)


class FfmpegParser(LineParser):
    """Compares the time written with the length of what is read."""

    marks = (b"time=", b"speed=", b"muxing overhead", b"progress=end")
    landmarks = (b"Duration: ",)
    remembers = True
    glances = True
    limit = 12

    def __init__(self, command: Sequence[str] = (), size_of: FileSize = nothing) -> None:
        super().__init__(command, size_of)
        self._length = 0.0
        self._wanted, self._start = _wanted(self.command)

    def read(self, line: str) -> Progress | None:
        found = _INPUT.match(line)
        if found is not None:
            self._length = max(self._length, duration(found[1]) or 0.0)
            return None
        if "muxing overhead" in line or line == "progress=end":
            return Progress(1.0)
        found = _KEY.fullmatch(line)
        if found is not None:
            return Progress(self._fraction(found[1]), self._message(found[1], {}))
        return self._statistics(line)

    def glance(self, line: Line) -> Progress | None:
        # The statistics are written over themselves and never end before the next.
        return self._statistics(line.text) if "speed=" in line.text else None

    def _statistics(self, line: str) -> Progress | None:
        found = _TIME.search(line)
        if found is None or not line.startswith(("frame=", "size=", "Lsize=")):
            return None
        message = self._message(found[1], dict(_FIELD.findall(line)))
        return Progress(self._fraction(found[1]), message)

    def _fraction(self, time: str) -> float | None:
        length = self._wanted or max(self._length - self._start, 0.0)
        seconds = duration(time)
        # Sound may be a little longer than its picture: the end is near, but said otherwise.
        return min(seconds / length, 0.999) if seconds is not None and length else None

    def _message(self, time: str, fields: dict[str, str]) -> str | None:
        clock = time.partition(".")[0]
        of = duration_text(self._wanted or self._length - self._start)
        speed = fields.get("speed")
        return sentence(
            f"{clock} of {of}" if of else clock,
            None if speed is None or speed == "N/A" else f"speed {speed}",
        )


def duration_text(seconds: float) -> str | None:
    """Seconds as `hours:minutes:seconds`, or None where they are not known."""
    if seconds <= 0:
        return None
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"


def _wanted(command: Sequence[str]) -> tuple[float, float]:
    """How many seconds are wanted, 0 where all are, and how many are left out at the start."""
    values = {
        option: duration(value) or 0.0
        for option, value in pairwise(command)
        if option in ("-t", "-to", "-ss")
    }
    start = values.get("-ss", 0.0)
    if "-t" in values:
        return values["-t"], start
    if "-to" in values:
        return max(values["-to"] - start, 0.0), start
    return 0.0, start
