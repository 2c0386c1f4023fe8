"""ninja, and others that begin a line with `[done/total]`."""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import share

_STEP = re.compile(r"\[ *(\d+)/ *(\d+)(?: [^\]]*)?\](?: +(.*))?", re.ASCII)


class NinjaParser(LineParser):
    """Takes the steps that are done, and names the one that was begun or ended."""

    marks = (b"/",)
    glances = True

    def read(self, line: str) -> Progress | None:
        found = _STEP.fullmatch(line)
        if found is None:
            return None
        return Progress(share(float(found[1]), float(found[2])), found[3])

    def glance(self, line: Line) -> Progress | None:
        report = self.read(line.text)
        return None if report is None else Progress(report.fraction)
