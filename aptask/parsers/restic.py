"""restic, in words or with `--json`.

While restic still looks for files it writes no percentage, for what it has found is not all there
is; nor is any figure believed then. With `--json` it writes one all the same, which may therefore
reach 1 too early: only the summary is believed to be the end.
"""

from __future__ import annotations

import re

from aptask.model.progress import Progress
from aptask.parsers.base import LineParser
from aptask.parsers.json_objects import json_object, number, text
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_STATUS = re.compile(
    r"\[(?:\d+:)?\d+:\d\d\](?: +(\d{1,3}\.\d+)%)? +(\d.*?)(?:, (\d+) errors)?(?: +ETA ([\d:]+))?",
    re.ASCII,
)
_END = re.compile(r"snapshot [0-9a-f]{8,} saved|Summary: Restored \d.*", re.ASCII)
_ALMOST = 0.99
_LONGEST_WORDS = 1024
_NAMES = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class ResticParser(LineParser):
    """Reads both; see the module."""

    marks = (b"[", b"}", b"snapshot ", b"Summary: ")
    length = 16384
    longest = 16384
    glances = True

    def read(self, line: str) -> Progress | None:
        if line.startswith("{"):
            found = json_object(line)
            return None if found is None else _status(found)
        if _END.fullmatch(line) is not None:
            return Progress(1.0, line)
        return _words(line)

    def glance(self, line: Line) -> Progress | None:
        report = _words(line.text)
        return None if report is None else Progress(report.fraction)


def _words(line: str) -> Progress | None:
    found = _STATUS.fullmatch(line) if len(line) <= _LONGEST_WORDS else None
    if found is None:
        return None
    percent, done, errors, left = found.groups()
    return Progress(
        None if percent is None else share(float(percent), 100),
        sentence(
            done,
            f"{errors} errors" if errors and int(errors) else None,
            f"ETA {left}" if left else None,
        ),
    )


def _status(found: dict[str, object]) -> Progress | None:
    """What an object of `--json` says."""
    kind = found.get("message_type")
    if kind == "summary":
        return Progress(1.0, text(found.get("snapshot_id")) and f"snapshot {found['snapshot_id']}")
    if kind != "status":
        return None
    fraction = share(number(found.get("percent_done")), 1)
    done = number(found.get("bytes_done", found.get("bytes_restored")))
    total = number(found.get("total_bytes"))
    return Progress(
        None if fraction is None else min(fraction, _ALMOST),
        None if done is None or total is None else f"{_size(done)} of {_size(total)}",
    )


def _size(count: float) -> str:
    """A number of bytes for people."""
    power = 0
    while count >= 1024 and power < len(_NAMES) - 1:
        count /= 1024
        power += 1
    return f"{count:.3g} {_NAMES[power]}" if count < 1000 else f"{count:.0f} {_NAMES[power]}"
