"""dd with `status=progress`. The total comes from its operands, for dd itself never says it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aptask.model.progress import Progress
from aptask.parsers.base import FileSize, LineParser, nothing
from aptask.parsers.lines import Line
from aptask.parsers.units import sentence, share

_COPIED = re.compile(
    r"(\d+) bytes(?: \(([^()]*)\))? copied, [\d.e+-]+ s, ([\d.]+ [kMGTP]?B/s)", re.ASCII
)
_AMOUNT = re.compile(r"(\d+)([a-zA-Z]*)", re.ASCII)
_UNITS = {"": 1, "c": 1, "w": 2, "b": 512, "B": 1, "kB": 1000, "K": 1024, "KiB": 1024}
_UNITS |= {
    f"{prefix}{unit}": base**power
    for power, prefix in enumerate("MGTPE", start=2)
    for unit, base in (("", 1024), ("iB", 1024), ("B", 1000))
}
_UNITS |= {"k": 1024, "xM": 1024**2}


class DdParser(LineParser):
    """Compares the bytes copied with `count=` times `bs=`, or with the size of `if=`."""

    marks = (b" copied, ",)
    glances = True

    def __init__(self, command: Sequence[str] = (), size_of: FileSize = nothing) -> None:
        super().__init__(command, size_of)
        self._total = _total(self.command, size_of)

    def read(self, line: str) -> Progress | None:
        found = _COPIED.match(line)
        if found is None:
            return None
        sizes = found[2].split(", ")[0] if found[2] else f"{found[1]} bytes"
        return Progress(share(float(found[1]), self._total), sentence(sizes, found[3]))

    def glance(self, line: Line) -> Progress | None:
        return self.read(line.text)


def _total(command: Sequence[str], size_of: FileSize) -> float | None:
    """The bytes that will be copied, or None where the operands do not tell."""
    operands = dict(argument.partition("=")[::2] for argument in command if "=" in argument)
    block = amount(operands.get("ibs") or operands.get("bs", "512"))
    flags = operands.get("iflag", "").split(",")
    file = operands.get("if")
    size = size_of(file) if file else None
    skip = _blocks(operands.get("skip", operands.get("iseek", "0")), block, "skip_bytes" in flags)
    left = None if size is None or skip is None else max(size - skip, 0)
    if "count" not in operands:
        return left
    wanted = _blocks(operands["count"], block, "count_bytes" in flags)
    if wanted is None:
        return left
    return wanted if left is None else min(wanted, left)


def _blocks(text: str, block: int | None, plain: bool) -> int | None:
    """An operand that counts blocks, or bytes where it ends in B or a flag says so."""
    number = amount(text)
    if number is None or plain or text.endswith("B"):
        return number
    return None if block is None else number * block


def amount(text: str) -> int | None:
    """A number as dd reads it: `64k`, `1M`, `2x512`, `4kB`; None where it is none."""
    product = 1
    for factor in text.split("x"):
        found = _AMOUNT.fullmatch(factor)
        if found is None or found[2] not in _UNITS or len(found[1]) > 30:
            return None
        product *= int(found[1]) * _UNITS[found[2]]
    return product
