"""Text that came from tasks and clients, made safe to show on a terminal.

Rules:

- A terminal acts on control characters: whoever writes them can hide text, write elsewhere on the
  screen, set the title or have the terminal answer. None of them reaches it, but for what colours
  text and what moves on or back within the line.
- The characters that turn the direction of writing, and those that cannot be seen, count as such.
"""

from __future__ import annotations

import re
import unicodedata

_SEQUENCE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, and everything that moves the cursor
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS, SOS, PM, APC, with their end
    r"|\x1b[ -/]+[0-~]"  # an escape with characters between: sets of characters and the like
    r"|\x1b[0-OQ-WYZ\\`-~]"  # any other two characters; `[`, `]`, P, X, ^ and _ begin the above
)
_COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\x9c]*\x1b?|[ -/]*)\Z")
_LONGEST_UNFINISHED = 4096

RESET = "\x1b[0m"


def line(text: str) -> str:
    """Text as a part of one line: what is not to be shown is written as Python writes it."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else _written(character) for character in text
    )


class OutputFilter:
    """Takes out of a task's output, piece by piece, what a terminal must not get.

    Args:
        colours: whether sequences that colour text may pass.
    """

    def __init__(self, colours: bool) -> None:
        self._colours = colours
        self._unfinished = ""

    def feed(self, piece: str) -> str:
        """The next piece, as it may be shown; a sequence that it cuts is kept for the next."""
        text = self._unfinished + piece
        cut = _UNFINISHED.search(text)
        self._unfinished = cut[0] if cut else ""
        if cut:
            text = text[: cut.start()]
        if len(self._unfinished) > _LONGEST_UNFINISHED:
            self._unfinished = ""
        return "".join(self._pass(text))

    def _pass(self, text: str) -> list[str]:
        passed = []
        position = 0
        for found in _SEQUENCE.finditer(text):
            passed.append(_visible(text[position : found.start()]))
            if self._colours and _COLOUR.fullmatch(found[0]):
                passed.append(found[0])
            position = found.end()
        passed.append(_visible(text[position:]))
        return passed


def _visible(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character
        for character in text
        if character in "\n\r\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
    )


def _written(character: str) -> str:
    if unicodedata.category(character) == "Zs":
        return " "
    return character.encode("unicode_escape").decode("ascii")
