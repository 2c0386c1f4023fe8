"""BorgBackup with `--progress`, in words or with `--log-json`.

`borg create` does not know how much it will read: there is a message, but no fraction. `borg check`
has two phases, which have half of the run each.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.json_objects import json_object, number, text
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_LEADING = re.compile(r"(\d{1,3}(?:\.\d+)?)% ([A-Z][a-z]+(?: [a-z]+)*: .*)", re.ASCII)
_TRAILING = re.compile(r"([A-Z][a-z]+(?: [a-z]+)*) +(\d{1,3}(?:\.\d+)?)%", re.ASCII)
_CREATED = re.compile(r"([\d.]+ [kMGTP]?B) O .*?([\d.]+ [kMGTP]?B) D (\d+) N ?(.*)", re.ASCII)
_LONGEST_WORDS = 1024
_PHASES = {"Checking segments": 0.0, "Checking archives": 0.5, "Verifying data": 0.5}


class BorgParser(LineParser):
    """Reads both; see the module."""

    marks = (b"%", b" N ", b"}")
    length = 16384
    longest = 16384
    glances = True

    def read(self, line: str) -> Progress | None:
        if line.startswith("{"):
            found = json_object(line)
            return None if found is None else _logged(found)
        match = _CREATED.fullmatch(line) if len(line) <= _LONGEST_WORDS else None
        if match is not None:
            return Progress(None, sentence(f"{match[1]} read", f"{match[3]} files", match[4]))
        return _percentage(line)

    def glance(self, line: Line) -> Progress | None:
        report = _percentage(line.text)
        return None if report is None else Progress(report.fraction)


def _percentage(line: str) -> Progress | None:
    if len(line) > _LONGEST_WORDS:
        return None
    match = _LEADING.fullmatch(line)
    if match is not None:
        return Progress(share(float(match[1]), 100), match[2])
    match = _TRAILING.fullmatch(line)
    if match is None:
        return None
    return Progress(_placed(match[1], share(float(match[2]), 100)), match[1])


def _placed(phase: str, inside: float | None) -> float | None:
    """The share of the run that is done when `inside` is done of a phase."""
    before = _PHASES.get(phase)
    if inside is None or before is None:
        return inside
    return before + inside / 2


def _logged(found: dict[str, object]) -> Progress | None:
    """What an object of `--log-json` says."""
    kind = found.get("type")
    if kind == "archive_progress":
        files = number(found.get("nfiles"))
        path = text(found.get("path"))
        return Progress(None, sentence(None if files is None else f"{files:.0f} files", path))
    if kind != "progress_percent":
        return None
    message = text(found.get("message"))
    said = None if message is None else _percentage(message.strip())
    if said is None:
        return None if message is None else Progress(None, message)
    inside = share(number(found.get("current")), number(found.get("total")))
    phase = said.message if said.message in _PHASES else None
    return Progress(_placed(phase or "", inside), said.message) if inside is not None else said
