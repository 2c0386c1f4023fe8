"""wget, with its bar or its dots. Several addresses of the command have an equal share each."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aptask.model.progress import Progress
from aptask.parsers.base import FileSize, LineParser, nothing
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share, urls

_BAR = re.compile(
    r"(?P<name>.*?) *(?P<percent>\d{1,3})%\[[ =>+]*\] +(?P<size>[\d.,]+[KMGT]?) +"
    r"(?P<speed>[-\d.,]+[KMGT]?B/s)(?: +(?:eta (?P<left>\d+\w*(?: \d+\w*)?)|in \S+))?",
    re.ASCII,
)
_DOTS = re.compile(
    r"(?P<size>\d+[KMGT]) [ .,]*? (?P<percent>\d{1,3})% +(?P<speed>[\d.]+[KMGT]?)"
    r"(?: (?P<left>\d+\w*)|=\S+)",
    re.ASCII,
)
_UNKNOWN = re.compile(r"(?P<size>\d+[KMGT]) [ .,]+ (?P<speed>[\d.]+[KMGT]?)(?:=\S+)?", re.ASCII)
_FILE = re.compile(r"Saving to: (.*)")


class WgetParser(LineParser):
    """Reads both; that another file is saved begins the next share, but no retry does."""

    marks = (b"%", b"K ", b"FINISHED")
    landmarks = (b"Saving to: ",)
    remembers = True
    glances = True
    limit = 12

    def __init__(self, command: Sequence[str] = (), size_of: FileSize = nothing) -> None:
        super().__init__(command, size_of)
        self._files = urls(self.command)
        self._index = -1
        self._name: str | None = None

    def read(self, line: str) -> Progress | None:
        file = _FILE.fullmatch(line)
        if file is not None:
            self._index += file[1] != self._name
            self._name = file[1]
            return None
        if line.startswith("FINISHED --"):
            return Progress(1.0)
        found = _BAR.fullmatch(line) or _DOTS.fullmatch(line)
        if found is not None:
            return self._progress(found)
        found = _UNKNOWN.fullmatch(line)
        return None if found is None else Progress(None, sentence(found["size"], found["speed"]))

    def glance(self, line: Line) -> Progress | None:
        found = _BAR.match(line.text)
        return None if found is None else Progress(self._progress(found).fraction)

    def _progress(self, found: re.Match[str]) -> Progress:
        before = min(max(self._index, 0), self._files - 1)
        fraction = share(int(found["percent"]), 100)
        left = found["left"]
        speed = found["speed"]
        return Progress(
            None if fraction is None else (before + fraction) / self._files,
            sentence(
                found.groupdict().get("name"),
                found["size"],
                speed if speed.endswith("B/s") else f"{speed}B/s",
                f"ETA {left}" if left else None,
            ),
        )
