"""zstd with `--progress` or on a terminal.

The percentage that it writes is how far the data shrinks, so progress comes from the bytes read.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share, size

_READ = re.compile(
    r"(?:(?:Compress|Decompress): (\d+)/(\d+) files\. Current: (.*?) )?(?:\(L\d+\) )?"
    r"(?:.*?)Read ?: +([\d.]+ +[KMGT]?i?B) / +([\d.]+ +[KMGT]?i?B)",
    re.ASCII,
)
_FILE = re.compile(r"(\S.*?) +: *[\d.]+% +\( *[\d.]+ +[KMGT]?i?B => .*\)", re.ASCII)
_FILES = re.compile(r"(\d+ files compressed) : ", re.ASCII)


class ZstdParser(LineParser):
    """Reads the bytes and, of several files, the place of the one under way."""

    marks = (b"%",)
    landmarks = (b"files. Current",)
    remembers = True
    glances = True

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._several = False

    def read(self, line: str) -> Progress | None:
        if _FILES.match(line) is not None:
            return Progress(1.0, " ".join(line.split()))
        found = _READ.match(line)
        if found is not None:
            self._several = self._several or found[2] is not None
            return self._progress(found)
        found = _FILE.fullmatch(line)
        # zstd ends each file with such a line, but of several files it says the place itself.
        if found is None:
            return None
        return Progress(None if self._several else 1.0, " ".join(line.split()))

    def glance(self, line: Line) -> Progress | None:
        found = _READ.match(line.text)
        if found is None or "==>" not in line.text:
            return None
        return self._progress(found)

    def _progress(self, found: re.Match[str]) -> Progress:
        place, files, name, done, total = found.groups()
        inside = share(size(" ".join(done.split())), size(" ".join(total.split())))
        if inside is not None and files is not None:
            inside = share(max(float(place) - 1, 0.0) + inside, float(files))
        return Progress(
            inside,
            sentence(
                f"file {place} of {files}" if files else None,
                name,
                f"{' '.join(done.split())} of {' '.join(total.split())}",
            ),
        )
