"""What parsers share: output in, progress out, in a bounded amount of work.

Rules: a parser is a pure object without reactor, clock or I/O; it says the same whatever the bytes
are cut at, never falls, and raises nothing. One that is written here gives the bytes by which its
lines are known (`marks`), and says what one line tells (`read`). Where a line has no end yet,
`glance` may say what it tells already, which must be no more than the whole line will tell, and
must not change the parser, for it is asked again with every byte.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from aptask.model.progress import NOTHING, Progress, advance
from aptask.parsers.lines import LINE_LENGTH, Line, Lines

FileSize = Callable[[str], int | None]
"""Gives the size of a file in bytes, or None where it has none: how parsers stay without I/O."""


def nothing(_path: str) -> int | None:
    """The size of no file is known."""
    return None


class Parser(Protocol):
    """Reads how far a program is from what it writes."""

    def feed(self, data: bytes) -> Progress | None:
        """Takes output as it comes.

        Args:
            data: the bytes, cut anywhere.

        Returns:
            the newest progress in or completed by these bytes, or None where they say nothing new.
        """
        ...

    def end(self) -> Progress | None:
        """Takes note that the program has ended.

        Returns:
            what an unfinished line still says, or None where it says nothing new.
        """
        ...


class LineParser:
    """A parser that reads lines.

    Attributes:
        marks: a line is read if it holds one of these; every line where there are none.
        landmarks: lines that hold one of these are read however many lines follow them.
        remembers: whether what a line says depends on those before it. Then up to `limit` lines of
            a piece of output are read in their order; else the newest that says something is.
        glances: whether `glance` says anything.
        limit: the most lines that are read of one piece of output.
        length: the most bytes of a line that are kept.
        longest: the most characters of a line that is read: no program's are longer, and
            expressions are slow on those that are.

    Args:
        command: the program's argument list.
        size_of: gives a file's size.
    """

    marks: ClassVar[tuple[bytes, ...]] = ()
    landmarks: ClassVar[tuple[bytes, ...]] = ()
    remembers: ClassVar[bool] = False
    glances: ClassVar[bool] = False
    limit: ClassVar[int] = 8
    length: ClassVar[int] = LINE_LENGTH
    longest: ClassVar[int] = 1024

    def __init__(self, command: Sequence[str] = (), size_of: FileSize = nothing) -> None:
        self.command = tuple(command)
        self.size_of = size_of
        self._lines = Lines(self.marks, self.landmarks, self.length)
        self._known = NOTHING

    def read(self, line: str) -> Progress | None:
        """What a line says, or None where it says nothing.

        Args:
            line: without colours and the white space around it, at most `longest` of it.
        """
        raise NotImplementedError

    def glance(self, line: Line) -> Progress | None:
        """What an unfinished line says already; nothing unless a parser knows better."""
        return None

    def conclude(self) -> Progress | None:
        """What the end of the program says, beyond its last line."""
        return None

    def feed(self, data: bytes) -> Progress | None:
        """Takes output as it comes; see `Parser`."""
        said = self._read(self._lines.feed(data, self.limit))
        begun = self._lines.unfinished() if self.glances and self._lines.rest else None
        if begun is None or len(begun.text) > self.longest:
            return self._advance(said)
        if (more := self.glance(begun)) is not None:
            said.append(more)
        return self._advance(said)

    def end(self) -> Progress | None:
        """Takes note that the program has ended; see `Parser`."""
        said = self._read(self._lines.finish())
        if (last := self.conclude()) is not None:
            said.append(last)
        return self._advance(said)

    def _read(self, lines: list[Line]) -> list[Progress]:
        said: list[Progress] = []
        texts = [line.text for line in lines if len(line.text) <= self.longest]
        if self.remembers:
            said += [report for text in texts if (report := self.read(text)) is not None]
        else:
            for text in reversed(texts):
                report = self.read(text)
                if report is not None:
                    said.append(report)
                    break
        return said

    def _advance(self, said: list[Progress]) -> Progress | None:
        """The progress after these reports, or None where it is as it was."""
        if not said:
            return None
        before = self._known
        if len(said) > 1:
            fractions = [report.fraction for report in said if report.fraction is not None]
            messages = [report.message for report in said if report.message is not None]
            self._known = advance(
                before,
                Progress(max(fractions, default=None), messages[-1] if messages else None),
            )
        else:
            self._known = advance(before, said[0])
        return None if self._known is before else self._known
