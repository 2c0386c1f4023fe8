"""aria2c's line of what is under way, on a terminal or a pipe.

Each of the items that it says it downloads has an equal share; those that are complete are no
longer in the line, and are counted.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share, size

_ITEMS = re.compile(r"\[NOTICE\] Downloading (\d{1,9}) item", re.ASCII)
_COMPLETE = re.compile(r"\[NOTICE\] Download complete: ", re.ASCII)
_ACTIVE = re.compile(
    r"#[0-9a-f]{6} ([\d.,]+(?:[KMGT]i)?B)/([\d.,]+(?:[KMGT]i)?B)(?:\((\d{1,3})%\))", re.ASCII
)
_SPEED = re.compile(r"DL:([\d.]+(?:[KMGT]i)?B)", re.ASCII)
_LEFT = re.compile(r"ETA:(\w+)", re.ASCII)


class Aria2cParser(LineParser):
    """Reads the line; see the module."""

    marks = (b"#", b"NOTICE", b"Download complete", b"(OK):")
    landmarks = (b"item(s)", b"Download complete: ")
    remembers = True
    glances = True
    limit = 24

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._items = 1
        self._complete = 0

    def read(self, line: str) -> Progress | None:
        found = _ITEMS.search(line)
        if found is not None:
            self._items = max(int(found[1]), 1)
            return None
        if _COMPLETE.search(line) is not None:
            self._complete += 1
            return Progress(share(min(self._complete, self._items), self._items))
        return self._active(line)

    def glance(self, line: Line) -> Progress | None:
        return self._active(line.text) if line.text.endswith("]") else None

    def _active(self, line: str) -> Progress | None:
        if not line.startswith("["):
            return None
        active = _ACTIVE.findall(line)
        if not active:
            return None
        fractions = sorted(
            share(size(done), size(total)) or share(int(percent), 100) or 0.0
            for done, total, percent in active
        )
        items = max(self._items, len(active) + self._complete)
        # One that has just been completed may still be in the line: then it counts once.
        under_way = fractions[: max(items - self._complete, 0)]
        speed, left = _SPEED.search(line), _LEFT.search(line)
        return Progress(
            share(self._complete + sum(under_way), items),
            sentence(
                f"{active[0][0]} of {active[0][1]}" if items == 1 else f"{items} files",
                f"{speed[1]}/s" if speed else None,
                f"ETA {left[1]}" if left else None,
            ),
        )
