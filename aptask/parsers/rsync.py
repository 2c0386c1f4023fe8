"""rsync, with `--info=progress2` (the whole run) or `--progress` (file by file).

While rsync still looks for files (`ir-chk`) neither its percentage nor its counts know what is to
come, and both run ahead: only half of what they say is believed until the list is whole. File by
file, the share of files that are checked off (`to-chk`) is what counts, and the percentage is that
of one file among them. Where nothing tells the two apart yet, the percentage of a run that lists
its files is not believed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aptask.model.progress import Progress
from aptask.parsers.base import FileSize, LineParser, nothing
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_PROGRESS = re.compile(
    r"([\d,.]+[KMGTP]?) +(\d{1,3})% +([\d.,]+[kKMGTP]?B/s) +(\d+:\d\d:\d\d|\?\?:\?\?:\?\?)"
    r"(?: +\(xfe?r#\d+, (ir|to)-chk=(\d+)/(\d+)\))?",
    re.ASCII,
)


class RsyncParser(LineParser):
    """Reads both kinds; see the module."""

    landmarks = (b"file list",)
    remembers = True
    glances = True
    limit = 24

    def __init__(self, command: Sequence[str] = (), size_of: FileSize = nothing) -> None:
        super().__init__(command, size_of)
        self._whole: bool | None = _is_whole(self.command) or None
        self._lists = False
        self._named = False
        self._name: str | None = None
        self._listing = False
        self._checked = (0, 0)

    def read(self, line: str) -> Progress | None:
        found = _PROGRESS.fullmatch(line)
        if found is None:
            if "%" not in line and " bytes" not in line and "total size is" not in line:
                self._lists = self._lists or line.endswith("file list")
                self._named = True
                self._name = line if not line.endswith(("/", "file list")) else None
            return None
        if found[5]:
            left, total = int(found[6]), int(found[7])
            self._listing = found[5] == "ir"
            self._checked = (total - left, total)
            if self._whole is None:
                self._whole = int(found[2]) < 100
            if left == 0 and not self._listing:
                return Progress(1.0, self._message(found))
        return self._progress(found)

    def glance(self, line: Line) -> Progress | None:
        found = _PROGRESS.match(line.text)
        # Before its count is read, a line is worth as much as one without a count: never more.
        return None if found is None or found[5] else self._progress(found)

    def _progress(self, found: re.Match[str]) -> Progress:
        fraction = share(int(found[2]), 100)
        done, total = self._checked
        if self._whole is False:
            inside = 0.0 if found[5] else fraction or 0.0
            fraction = share(done + inside, total)
        elif self._whole is None and self._lists:
            fraction = None
        if fraction is not None and (self._listing or (self._whole is None and self._named)):
            fraction /= 2
        return Progress(fraction, self._message(found))

    def _message(self, found: re.Match[str]) -> str | None:
        # Where a file has just been completed, the clock tells how long it took.
        left = None if found[5] or "?" in found[4] else f"ETA {found[4]}"
        return sentence(self._name, found[1], found[3], left)


def _is_whole(command: Sequence[str]) -> bool:
    """Whether a command asks for the progress of the whole run."""
    return any(word.startswith("--info=") and "progress2" in word for word in command)
