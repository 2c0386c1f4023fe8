"""git clone, fetch, pull, push, gc, checkout: everything with `--progress` or on a terminal.

Each phase is a share of the run, by its name; which phases follow is not known before, so a run is
whole only when it has ended after a main phase that was done.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_PHASE = re.compile(
    r"(?:remote: )?([A-Z][a-z]+(?: [a-z]+){0,4}): +(\d{1,3})% \((\d+)/(\d+)\)"
    r"(?:, ([\d.]+ [KMGT]?i?B)(?: \| ([\d.]+ [KMGT]?i?B/s))?)?",
    re.ASCII,
)
_SHARES = {
    "Counting objects": (0.0, 0.02),
    "Finding sources": (0.0, 0.02),
    "Compressing objects": (0.02, 0.1),
    "Receiving objects": (0.1, 0.8),
    "Unpacking objects": (0.1, 0.8),
    "Writing objects": (0.1, 0.9),
    "Resolving deltas": (0.8, 0.95),
    "Checking connectivity": (0.9, 0.95),
    "Updating files": (0.95, 1.0),
    "Checking out files": (0.95, 1.0),
    "Filtering content": (0.95, 1.0),
}
_MAIN = 0.8
"""A phase that ends here or later does what the run is for."""


class GitParser(LineParser):
    """Reads the phases; see the module."""

    marks = (b"% (", b"fatal: ", b"error: ")
    landmarks = (b", done.",)
    remembers = True
    glances = True
    limit = 24

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._done = False

    def read(self, line: str) -> Progress | None:
        if line.startswith(("fatal: ", "error: ")):
            self._done = False
            return None
        found = _PHASE.match(line)
        if found is None:
            return None
        phase = _SHARES.get(found[1])
        if phase is not None:
            self._done = phase[1] >= _MAIN and found[3] == found[4]
        return self._progress(found)

    def glance(self, line: Line) -> Progress | None:
        found = _PHASE.match(line.text)
        return None if found is None else self._progress(found)

    def conclude(self) -> Progress | None:
        return Progress(1.0) if self._done else None

    def _progress(self, found: re.Match[str]) -> Progress | None:
        name, current, total, amount, speed = found[1], found[3], found[4], found[5], found[6]
        inside = share(int(current), int(total))
        phase = _SHARES.get(name)
        fraction = None
        if inside is not None and phase is not None:
            fraction = phase[0] + (phase[1] - phase[0]) * inside
        return Progress(fraction, sentence(f"{name} {current} of {total}", amount, speed))
