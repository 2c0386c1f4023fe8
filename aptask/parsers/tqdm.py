"""tqdm's bars, on whatever they are written.

The first bar is the run's. Bars within it, which it waits for, move it on by their share of one of
its steps; a bar without a total gives a message only.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share, size

_BAR = re.compile(
    r"(?P<name>[^|]*?)(?:: *)?(?P<percent>\d{1,3})%\|[^|]*\| *(?P<current>[\d.]+[kMGTPEZ]?)/"
    r"(?P<total>[\d.]+[kMGTPEZ]?) \[(?P<spent>[\d:]+)<(?P<left>[\d:?]+), *(?P<speed>[^,\]]*)",
    re.ASCII,
)
_UNKNOWN = re.compile(
    r"(?:(?P<name>.*?): *)?(?P<current>[\d.]+[kMGTPEZ]?) ?(?P<unit>[^\s\[\d.]*)"
    r" \[(?P<spent>[\d:]+), *(?P<speed>[^,\]]*)",
    re.ASCII,
)
_DIGITS = re.compile(r"[\d.,]+")


class TqdmParser(LineParser):
    """Reads the bars; see the module."""

    marks = (b"[",)
    landmarks = (b" 0%|",)
    remembers = True
    glances = True
    limit = 6

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._first: tuple[str, str] | None = None
        self._steps = (0.0, 0.0)

    def read(self, line: str) -> Progress | None:
        found = _BAR.match(line)
        if found is not None:
            bar = (_DIGITS.sub("", found["name"]).strip(), found["total"])
            if self._first is None:
                self._first = bar
                self._lines.landmarks = ()
            if bar == self._first:
                self._steps = (size(found["current"]) or 0.0, size(found["total"]) or 0.0)
            return self._progress(found, bar)
        found = _UNKNOWN.match(line)
        if found is None:
            return None
        amount = f"{found['current']} {found['unit']}".strip()
        return Progress(None, sentence(found["name"], amount, _speed(found["speed"])))

    def glance(self, line: Line) -> Progress | None:
        found = _BAR.match(line.text)
        if found is None or not line.text.endswith("]"):
            return None
        return self._progress(found, (_DIGITS.sub("", found["name"]).strip(), found["total"]))

    def _progress(self, found: re.Match[str], bar: tuple[str, str]) -> Progress:
        fraction = share(size(found["current"]), size(found["total"]))
        if fraction is None:
            fraction = share(int(found["percent"]), 100)
        if self._first is not None and bar != self._first and fraction is not None:
            done, steps = self._steps
            fraction = share(min(done + fraction, steps), steps)
        left = found["left"]
        return Progress(
            fraction,
            sentence(
                found["name"],
                f"{found['current']} of {found['total']}",
                _speed(found["speed"]),
                None if "?" in left else f"ETA {left}",
            ),
        )


def _speed(text: str) -> str | None:
    """A speed, or None where tqdm does not know it yet."""
    return None if "?" in text else text.strip()
