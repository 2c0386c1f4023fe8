"""7-Zip (`7z`), on a terminal or with `-bsp1`. It draws over its line with backspaces."""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_PROGRESS = re.compile(r"(\d{1,3})%(?: +(\d+))?(?: +(?:[-+=UTRDSA.] |Open|Write)(.*))?", re.ASCII)


class SevenZipParser(LineParser):
    """Takes the percentage and the name of the file; `Everything is Ok` ends it."""

    marks = (b"%", b"Everything is Ok")
    glances = True

    def read(self, line: str) -> Progress | None:
        if line == "Everything is Ok":
            return Progress(1.0, line)
        found = _PROGRESS.fullmatch(line)
        if found is None:
            return None
        files = f"{found[2]} files" if found[2] else None
        return Progress(share(int(found[1]), 100), sentence(found[3], files))

    def glance(self, line: Line) -> Progress | None:
        found = _PROGRESS.match(line.text)
        return None if found is None else Progress(share(int(found[1]), 100))
