"""Any program that counts what it has done: the last `n/m` or `n of m` of a line counts."""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import LINE_LENGTH, Line
from aptask.parsers.percent import without_bar
from aptask.parsers.units import share, size

_NUMBER = r"\d[\d,]*(?:\.\d+)?"
_UNIT = r"(?: ?(?:[kKMGTP]i?)?[bB](?:ytes)?(?![A-Za-z])|[kKMGTP]i?(?![A-Za-z]))?"
_COUNT = re.compile(
    rf"(?<![\w./,:-])({_NUMBER})({_UNIT})(?:/| / | of )({_NUMBER})({_UNIT})(?![\w/]|[.,:-]\d)",
    re.ASCII,
)


def count(line: str) -> tuple[re.Match[str], float] | None:
    """The last count of a line that makes sense.

    Returns:
        where it is, and its fraction; None where there is none.
    """
    last = None
    for found in _COUNT.finditer(line):
        # `1.2/2.9 GB` means gigabytes on both sides.
        current = size(found[1] + (found[2] or found[4]))
        fraction = share(current, size(found[3] + found[4]))
        if fraction is not None:
            last = found, fraction
    return last


class CountParser(LineParser):
    """Takes the last count of a line; the line, less its bar, is the message."""

    marks = (b"/", b" of ")
    glances = True
    longest = LINE_LENGTH

    def read(self, line: str) -> Progress | None:
        found = count(line)
        return None if found is None else Progress(found[1], without_bar(line) or None)

    def glance(self, line: Line) -> Progress | None:
        if not line.rewritten:
            return None
        found = count(line.text)
        # `3/1` may yet become `3/17`: what ends with the line is not whole.
        if found is None or found[0].end() == len(line.text):
            return None
        return Progress(found[1], without_bar(line.text) or None)
