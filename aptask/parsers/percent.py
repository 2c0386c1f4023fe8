"""Any program that writes percentages: the last one of a line counts."""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import LINE_LENGTH, Line

_PERCENT = re.compile(r"(?<![\w.,-])(\d{1,3}(?:[.,]\d+)?) ?%", re.ASCII)
_BAR = re.compile(r"[|\[(<][-=#>.*\s\u2500-\u259f]{3,}[|\])>]?|[-=#.*_\u2500-\u259f]{4,}[>|]?")


def percentage(line: str) -> re.Match[str] | None:
    """The last percentage of a line that is between 0 and 100, with the number as its group 1."""
    last = None
    for found in _PERCENT.finditer(line):
        if float(found[1].replace(",", ".")) <= 100:
            last = found
    return last


def without_bar(line: str) -> str:
    """A line without the bar drawn in it, its white space folded."""
    return " ".join(_BAR.sub(" ", line).split())


class PercentParser(LineParser):
    """Takes the last percentage of a line; the line, less its bar, is the message."""

    marks = (b"%",)
    glances = True
    longest = LINE_LENGTH

    def read(self, line: str) -> Progress | None:
        found = percentage(line)
        if found is None:
            return None
        return Progress(float(found[1].replace(",", ".")) / 100, without_bar(line) or None)

    def glance(self, line: Line) -> Progress | None:
        # A bar is often left without an end until the next is drawn. Other lines come whole soon.
        return self.read(line.text) if line.rewritten else None
