"""pytest, quiet or with names, also under xdist: the `[ 42%]` behind what has run.

Where it has said how many tests there are, the dots of a line that is not full yet count as well.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import share

_PERCENT = re.compile(r"(.*?)\s*\[ *(\d{1,3})%\](?: +(?:PASSED|FAILED|SKIPPED|ERROR|X\w+) (.*))?")
_WORKER = re.compile(r"\[gw\d+\] *")
_COLLECTED = re.compile(r"collected (\d{1,9}) items?(?:.*? (\d{1,9}) selected)?", re.ASCII)
_DOTS = re.compile(r"(?:\S+\.\w+ )?([.FEsxXR]+)")
_RESULT = re.compile(r" (?:PASSED|FAILED|SKIPPED|ERROR|XFAIL|XPASS)(?: .*)?$")
_SUMMARY = re.compile(r"=* ?(\d+ (?:passed|failed|skipped|error|deselected|x).* in [\d.]+s.*?) ?=*")


class PytestParser(LineParser):
    """Reads what has run; see the module."""

    marks = (b"%]", b"collected ", b" in ")
    landmarks = (b"collected ",)
    remembers = True
    glances = True
    limit = 12

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._tests = 0
        self._fraction = 0.0

    def read(self, line: str) -> Progress | None:
        found = _COLLECTED.search(line)
        if found is not None:
            self._tests = int(found[2] or found[1])
            return Progress(None, f"{self._tests} tests")
        found = _PERCENT.fullmatch(line)
        if found is None:
            found = _SUMMARY.fullmatch(line)
            return None if found is None else Progress(None, found[1])
        fraction = share(int(found[2]), 100)
        if fraction is not None:
            self._fraction = max(self._fraction, fraction)
        return Progress(fraction, self._message(found[3] or _WORKER.sub("", found[1])))

    def glance(self, line: Line) -> Progress | None:
        found = _DOTS.fullmatch(line.text)
        if found is None or not self._tests:
            return None
        # Its percentages are rounded down, so this is never more than the line will say.
        return Progress(min(self._fraction + len(found[1]) / self._tests, 1.0))

    def _message(self, ran: str) -> str | None:
        name = _RESULT.sub("", ran)
        dots = _DOTS.fullmatch(name)
        return name[: -len(dots[1])].strip() or None if dots is not None else name or None
