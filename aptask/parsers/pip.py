"""pip download and install, with its bar or with `--progress-bar raw`.

How many files will be fetched is not known before, so each takes half of what is left: progress is
never at its end while more may follow. The last line, or that of the installation, says more.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share, size

_FILE = re.compile(r"Downloading (\S+?)(?: \(([\d.,]+ ?[kMGT]?B)\))?")
_RAW = re.compile(r"Progress (\d+) of (\d+)", re.ASCII)
_BAR = re.compile(
    r"[\u2501\u2578\u257a\u2500 -]* *([\d.,]+)/([\d.,]+) ([kMGT]?B|bytes)"
    r"(?: +([\d.,?]+ ?[kMGT]?B/s))?"
    r"(?: +(?:eta )?([\d:-]+))?",
    re.ASCII,
)
_DOWNLOADS = 0.9
_INSTALLING = 0.95


class PipParser(LineParser):
    """Reads both; see the module."""

    marks = (b"/", b"Progress ", b"Installing collected", b"Successfully ")
    landmarks = (b"Downloading ",)
    remembers = True
    glances = True
    limit = 24

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._index = 0
        self._name: str | None = None

    def read(self, line: str) -> Progress | None:
        found = _FILE.fullmatch(line)
        if found is not None:
            self._index += self._name is not None
            self._name = found[1].rpartition("/")[2]
            return Progress(self._fraction(0.0), sentence(self._name, found[2]))
        if line.startswith("Installing collected packages"):
            return Progress(_INSTALLING, line)
        if line.startswith(("Successfully downloaded", "Successfully installed")):
            return Progress(1.0, line)
        return self._progress(line)

    def glance(self, line: Line) -> Progress | None:
        report = self._progress(line.text) if _BAR.fullmatch(line.text) is not None else None
        return None if report is None else Progress(report.fraction)

    def _progress(self, line: str) -> Progress | None:
        found = _RAW.fullmatch(line)
        if found is not None:
            fraction = share(float(found[1]), float(found[2]))
            return Progress(self._fraction(fraction), self._name)
        found = _BAR.fullmatch(line)
        if found is None:
            return None
        current, total, unit, speed, left = found.groups()
        return Progress(
            self._fraction(share(size(current), size(total))),
            sentence(
                self._name,
                f"{current} of {total} {unit}",
                None if speed is None or "?" in speed else speed,
                None if left is None or "-" in left else f"ETA {left}",
            ),
        )

    def _fraction(self, inside: float | None) -> float | None:
        """What of the whole run is done, where `inside` is done of the file under way."""
        if inside is None or self._name is None:
            return None
        return float(_DOWNLOADS * (1 - 0.5**self._index * (1 - inside / 2)))
