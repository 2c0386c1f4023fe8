"""pv, with its bar or with `-n`, which writes nothing but numbers."""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_BAR = re.compile(
    r"(?:(?P<name>\S.*?): +)?(?P<size>[\d.]+ ?[kKMGTP]?i?B?) +(?P<time>(?:\d+:)+\d\d)"
    r"(?: +\[ *(?P<speed>[-\d.]+ ?[kKMGTP]?i?B?/s)\])?(?: +\[[ =<>-]*\])?"
    r"(?: +(?P<percent>\d{1,3})%)?(?: +ETA (?P<left>[\d:+]+))?",
    re.ASCII,
)
_PERCENT = re.compile(r"(?:.*\] +)?(\d{1,3})%(?: +ETA ([\d:+]+))?", re.ASCII)
_NUMBER = re.compile(r"(\d{1,3})(?:\.\d+)?", re.ASCII)


class PvParser(LineParser):
    """Reads both; where the size is unknown there is only a message."""

    glances = True

    def read(self, line: str) -> Progress | None:
        found = _NUMBER.fullmatch(line)
        if found is not None:
            return Progress(share(float(line), 100))
        found = _BAR.fullmatch(line)
        if found is not None:
            percent = found["percent"]
            return Progress(
                None if percent is None else share(int(percent), 100),
                sentence(
                    found["name"],
                    found["size"],
                    found["speed"],
                    f"ETA {found['left']}" if found["left"] else None,
                ),
            )
        found = _PERCENT.fullmatch(line)
        return None if found is None else Progress(share(int(found[1]), 100))

    def glance(self, line: Line) -> Progress | None:
        return self.read(line.text) if "%" in line.text else None
