"""curl, with its meter, its bar (`-#`) or the meter of parallel transfers (`-Z`).

Where the command names several addresses, which curl fetches one after the other, each has an equal
share. Of a file of unknown length the meter says 100 % all the time: that is not believed. Nor is,
until curl has ended, what it says of a few bytes: they may be the body of a redirection.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aptask.model.progress import Progress
from aptask.parsers.base import FileSize, LineParser, nothing
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share, urls

_SIZE = r"[\d.]+[kKMGTP]?"
_CLOCK = r"(?:--:--:--|\d+:\d\d:\d\d|\d+d \d+h|\d+h? ?\d*m?)"
_METER = re.compile(
    rf"(\d+) +({_SIZE}) +(\d+) +({_SIZE}) +(\d+) +({_SIZE}) +{_SIZE} +{_SIZE} +{_CLOCK}"
    rf" +{_CLOCK} +({_CLOCK}) +({_SIZE})",
    re.ASCII,
)
_BAR = re.compile(r"#* *(\d{1,3}\.\d)%", re.ASCII)
_PARALLEL = re.compile(
    rf"(\d+|--) +(\d+|--) +({_SIZE}) +({_SIZE}) +(\d+) +(\d+) +{_CLOCK}"
    rf" +{_CLOCK} +({_CLOCK}) +({_SIZE})",
    re.ASCII,
)


class CurlParser(LineParser):
    """Reads all three; see the module."""

    landmarks = (b"% Received",)
    remembers = True
    glances = True
    limit = 16

    def __init__(self, command: Sequence[str] = (), size_of: FileSize = nothing) -> None:
        super().__init__(command, size_of)
        self._transfers = urls(self.command)
        self._index = -1
        self._last = 0.0
        self._small: Progress | None = None

    def read(self, line: str) -> Progress | None:
        if line.startswith("% Total"):
            self._index += 1
            return None
        found = _BAR.fullmatch(line)
        if found is not None:
            fraction = float(found[1]) / 100
            self._index = self._bar_index(fraction)
            self._last = fraction
            return self._placed(fraction, f"{found[1]}%", self._index)
        found = _METER.fullmatch(line)
        if found is not None:
            report = self._meter(found)
            self._small = report if _is_small(found) else None
            return report if self._small is None else Progress(None, self._small.message)
        return self._parallel(line)

    def glance(self, line: Line) -> Progress | None:
        found = _BAR.fullmatch(line.text)
        if found is not None:
            fraction = float(found[1]) / 100
            return self._placed(fraction, None, self._bar_index(fraction))
        found = _METER.fullmatch(line.text)
        if found is None or _is_small(found):
            return None
        # The speed is the last field, and its last digit may be missing: messages can wait.
        return Progress(self._meter(found).fraction)

    def conclude(self) -> Progress | None:
        return self._small

    def _bar_index(self, fraction: float) -> int:
        """The transfer of a bar. Bars have no heading: one that starts again is the next one's."""
        return self._index + (self._index < 0 or fraction < self._last)

    def _placed(self, fraction: float | None, message: str | None, index: int) -> Progress:
        """What is said of one transfer as said of the whole run."""
        if fraction is None or fraction > 1:
            return Progress(None, message)
        before = min(max(index, 0), self._transfers - 1)
        return Progress((before + fraction) / self._transfers, message)

    def _parallel(self, line: str) -> Progress | None:
        found = _PARALLEL.fullmatch(line)
        if found is None:
            return None
        message = sentence(f"{found[3]}B", f"{found[8]}B/s", _left(found[7]))
        if found[1] == "--":
            return Progress(None, message)
        # Transfers that have not begun are not in its total.
        begun = min(int(found[5]) / self._transfers, 1.0)
        return Progress(share(int(found[1]) * begun, 100), message)

    def _meter(self, found: re.Match[str]) -> Progress:
        percent, total, received, down, sent, up, left, speed = found.groups()
        if total == "0":
            return Progress()
        known = max(int(received), int(sent)) > 0 or int(percent) < 100
        moved = down if int(received) or not int(sent) else up
        size = f"{moved}B of {total}B" if known else f"{down}B"
        message = sentence(size, f"{speed}B/s", _left(left))
        return self._placed(share(int(percent), 100) if known else None, message, self._index)


def _is_small(found: re.Match[str]) -> bool:
    """Whether a line of the meter is about a few bytes: perhaps the body of a redirection only."""
    return found[2].isdigit()


def _left(clock: str) -> str | None:
    """The time that is left as a text, or None where curl does not know it."""
    return None if clock.startswith("--") else f"ETA {clock}"
