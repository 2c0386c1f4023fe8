"""Where a command writes: a terminal that people read, or a pipe that programs read.

Rules:

- On a terminal a table has a title line, columns that stand under each other, and colour unless
  `NO_COLOR` is set; in a pipe it is one line a row, with a tab between the columns and no title.
- Every text goes through `harmless`, wherever it came from.
- What is asked for goes to standard output, all else to standard error.
- With `--json` nothing is written here to standard output: the responses are (see `session`).
"""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Sequence

from aptask.cli import harmless

STATUS_COLOURS = {
    "done": "32",
    "running": "36",
    "error": "31",
    "timeout": "31",
    "interrupted": "31",
    "stopped": "33",
    "stopping": "33",
    "paused": "33",
    "skipped": "33",
}
"""The SGR code of each status that has one."""

BOLD = "1"


class Screen:
    """Standard output and standard error of one command.

    Args:
        quiet: whether standard output is for something else.

    Attributes:
        is_terminal: whether people read standard output as it is written.
        moves: whether lines there can be written again, as live bars need it.
        colours: whether it may be coloured.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self.is_terminal = sys.stdout.isatty() and not quiet
        self.moves = self.is_terminal and os.environ.get("TERM", "") != "dumb"
        self.colours = self.moves and not os.environ.get("NO_COLOR")

    def line(self, text: str) -> None:
        """One line to standard output."""
        if not self._quiet:
            print(harmless.line(text), flush=True)

    def row(self, cells: Sequence[str]) -> None:
        """One line to standard output with a tab between cells."""
        if not self._quiet:
            print("\t".join(map(harmless.line, cells)), flush=True)

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Rows under titles; the last column is cut where the terminal ends.

        Args:
            titles: of the columns; one that is `STATUS` is coloured.
            rows: as many texts each as there are titles.
        """
        if not self.is_terminal:
            for cells in rows:
                self.row(cells)
            return
        shown = [[harmless.line(cell) for cell in cells] for cells in rows]
        widths = [max(map(_width, column)) for column in zip(titles, *shown, strict=True)]
        room = max(_columns() - sum(widths[:-1]) - 2 * len(widths[:-1]), 10)
        for number, cells in enumerate([list(titles), *shown]):
            written = []
            for title, cell, width in zip(titles, cells, [*widths[:-1], 0], strict=True):
                fitted = cell if title != titles[-1] else _cut(cell, room)
                padded = fitted + " " * (width - _width(fitted))
                colour = BOLD if number == 0 else STATUS_COLOURS.get(cell)
                if number == 0 or title == "STATUS":
                    padded = self._paint(padded, colour)
                written.append(padded)
            print("  ".join(written).rstrip())

    def fields(self, pairs: Sequence[tuple[str, str]]) -> None:
        """A name and a value a line."""
        if not self.is_terminal:
            for pair in pairs:
                self.row(pair)
            return
        width = max(len(name) for name, _ in pairs)
        for name, value in pairs:
            colour = STATUS_COLOURS.get(value) if name == "status" else None
            padded = self._paint(name.ljust(width), BOLD)
            print(f"{padded}  {self._paint(harmless.line(value), colour)}")

    def note(self, text: str, *, even_quiet: bool = False) -> None:
        """One line to standard error: what is worth knowing beside what was asked for.

        Args:
            text: the line.
            even_quiet: whether it is said with `--json` too: what no response says.
        """
        if not self._quiet or even_quiet:
            print(harmless.line(text), file=sys.stderr, flush=True)

    def raw(self, text: str) -> None:
        """Text to standard output as it is."""
        if not self._quiet:
            sys.stdout.write(text)
            sys.stdout.flush()

    def _paint(self, text: str, colour: str | None) -> str:
        if colour is None or not self.colours:
            return text
        return f"\x1b[{colour}m{text}{harmless.RESET}"


def _columns() -> int:
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except OSError:
        return 80


def _width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _cut(text: str, room: int) -> str:
    if _width(text) <= room:
        return text
    while _width(text) > room - 1:
        text = text[:-1]
    return text + "…"
