"""yt-dlp's own downloader, one film or a list of them, each one file or two.

Of picture and sound, the first file has most of the run. A list's items have an equal share each.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_PROGRESS = re.compile(
    r"\[download\] +(\d{1,3}(?:\.\d+)?)% of +~? *([\d.]+ ?[KMGT]?i?B)"
    r"(?: +in +[\d:]+)?(?: +at +(Unknown B/s|[\d.]+ ?[KMGT]?i?B/s))?"
    r"(?: +ETA +(Unknown|[\d:]+))?(?: +\(frag \d+/\d+\))?",
    re.ASCII,
)
_FORMATS = re.compile(r"\[info\] .*: Downloading \d+ format\(s\): (\S.*)")
_FILE = re.compile(r"\[download\] (?:Destination: (.*)|(.*) has already been downloaded)")
_ITEM = re.compile(r"\[download\] Downloading (?:item|video) (\d{1,9}) of (\d{1,9})", re.ASCII)
_FIRST = 0.8
"""The share of the picture where the sound is a file of its own."""


class YtDlpParser(LineParser):
    """Reads the lines of downloads; see the module."""

    marks = (b"[download]",)
    landmarks = (b"format(s)", b"Destination: ", b"already been", b"Downloading item")
    remembers = True
    glances = True
    limit = 24

    def __init__(self, *arguments: object) -> None:
        super().__init__()
        self._shares = [1.0]
        self._index = -1
        self._item = (1, 1)
        self._name: str | None = None

    def read(self, line: str) -> Progress | None:
        found = _ITEM.match(line)
        if found is not None:
            self._item = (int(found[1]), max(int(found[2]), 1))
            self._index = -1
            return None
        found = _FORMATS.fullmatch(line)
        if found is not None:
            self._shares = _shares(found[1])
            self._index = -1
            return None
        found = _FILE.fullmatch(line)
        if found is not None:
            self._index += 1
            self._name = (found[1] or found[2]).rpartition("/")[2]
            return Progress(None, self._name)
        return self._progress(line)

    def glance(self, line: Line) -> Progress | None:
        report = self._progress(line.text)
        return None if report is None else Progress(report.fraction)

    def _progress(self, line: str) -> Progress | None:
        found = _PROGRESS.match(line)
        if found is None:
            return None
        percent, amount, speed, left = found.groups()
        unknown = speed is None or speed.startswith("Unknown")
        return Progress(
            self._fraction(share(float(percent), 100)),
            sentence(
                self._name,
                f"{percent}% of {amount}",
                None if unknown else speed,
                None if left is None or left == "Unknown" else f"ETA {left}",
            ),
        )

    def _fraction(self, inside: float | None) -> float | None:
        """The share of the run that is done when `inside` is done of the file under way."""
        if inside is None:
            return None
        place = min(max(self._index, 0), len(self._shares) - 1)
        film = sum(self._shares[:place]) + self._shares[place] * inside
        number, items = self._item
        return min((number - 1 + min(film, 1.0)) / items, 1.0)


def _shares(formats: str) -> list[float]:
    """The shares of the files that formats such as `137+140` or `22, 18` stand for."""
    groups = formats.split(",")[:1000]
    shares: list[float] = []
    for group in groups:
        files = min(group.count("+") + 1, 1000)
        first = 1.0 if files == 1 else _FIRST
        others = [(1.0 - _FIRST) / (files - 1)] * (files - 1) if files > 1 else []
        shares += [part / len(groups) for part in (first, *others)]
    return shares
