"""curl, with its meter, its bar (`-#`) or the meter of parallel transfers (`-Z`).

Where the command names several addresses, which curl fetches one after the other, each has an equal
share. Of a file of unknown length the meter says 100 % all the time: that is not believed.
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

    def read(self, line: str) -> Progress | None:
        if line.startswith("% Total"):
            self._index += 1
            return None
        report = self._look(line)
        if report is None or report.fraction is None:
            return report
        if _BAR.fullmatch(line) is not None:
            # Bars have no heading: one that starts again belongs to the next file.
            if self._index < 0 or report.fraction < self._last:
                self._index += 1
            self._last = report.fraction
        return self._placed(report)

    def glance(self, line: Line) -> Progress | None:
        found = _BAR.fullmatch(line.text)
        if found is not None:
            report = self._look(line.text)
            if report is None or report.fraction is None:
                return None
            place = self._index + (self._index < 0 or report.fraction < self._last)
            return self._placed(report, place)
        # The speed is the last field, and its last digit may be missing: it is left out.
        report = self._look(line.text)
        return None if report is None else Progress(self._placed(report).fraction)

    def _placed(self, report: Progress, index: int | None = None) -> Progress:
        """A report of one transfer as one of the whole run."""
        if report.fraction is None:
            return report
        before = min(max(self._index if index is None else index, 0), self._transfers - 1)
        return Progress((before + report.fraction) / self._transfers, report.message)

    def _look(self, line: str) -> Progress | None:
        found = _BAR.fullmatch(line)
        if found is not None:
            return Progress(share(float(found[1]), 100), f"{found[1]}%")
        found = _METER.fullmatch(line)
        if found is not None:
            return self._meter(found)
        found = _PARALLEL.fullmatch(line)
        if found is None or found[1] == "--":
            return None
        # Transfers that have not begun are not in its total.
        begun = min(int(found[5]) / self._transfers, 1.0)
        fraction = share(int(found[1]) * begun, 100)
        return Progress(fraction, sentence(found[3], f"{found[8]}B/s", _left(found[7])))

    def _meter(self, found: re.Match[str]) -> Progress | None:
        percent, total, received, down, sent, up, left, speed = found.groups()
        if total == "0":
            return None
        known = max(int(received), int(sent)) > 0 or int(percent) < 100
        moved = down if int(received) or not int(sent) else up
        size = f"{moved}B of {total}B" if known else f"{down}B"
        return Progress(
            share(int(percent), 100) if known else None,
            sentence(size, f"{speed}B/s", _left(left)),
        )


def _left(clock: str) -> str | None:
    """The time that is left as a text, or None where curl does not know it."""
    return None if clock.startswith("--") else f"ETA {clock}"
