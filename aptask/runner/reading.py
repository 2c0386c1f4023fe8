"""What an attempt's process writes: its output kept, and read for how far the job is.

Rules:

- It is told at most ten times a second, the newest only, and the last is never lost.
- A parser that raises is dropped, and the job goes on.
- Where the disk takes no more of the output, that is said at its end, and the job goes on.
- Whatever comes, the work for one piece of it is bounded, and so is what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from twisted.logger import Logger

from aptask.model.hiding import hider
from aptask.model.progress import NOTHING, Progress, advance, clean
from aptask.parsers import Parser
from aptask.runner.output import Writer

REPORT_SECONDS = 0.1
"""The least time between two times that it is told."""
LAST_LINE = 200
"""Characters of the last line of output that a message of an error quotes."""
REPORT_BYTES = 65536
"""The longest report."""
REPORTS = 64
"""The most reports that are read of one piece, the newest ones."""

_KEPT = 1024
"""Bytes among which the last line is looked for."""


class Report(msgspec.Struct):
    """A line on a job's report descriptor."""

    progress: float | None = None
    message: str | None = None


_decode_report = msgspec.json.Decoder(Report).decode


class Reading:
    """What one attempt has written so far.

    Args:
        reactor: tells the time.
        job: its number.
        writer: keeps the output.
        tell: called when there is something new to be told, which `newest` gives.

    Attributes:
        progress: how far the job is.
        cut: why its output is not kept to its end; None while it is.
        hide: takes secrets out of messages; out of output it takes nothing.
    """

    _log = Logger()

    def __init__(self, reactor: Any, job: int, writer: Writer, tell: Callable[[], object]) -> None:
        self.progress = NOTHING
        self.cut: str | None = None
        self.hide: Callable[[str], str] = hider(())
        self._reactor = reactor
        self._job = job
        self._writer: Writer | None = writer
        self._tell = tell
        self._told = NOTHING
        self._telling: Any = None
        self._parser: Parser | None = None
        self._last = b""
        self._report = b""

    def use(self, parser: Parser) -> None:
        """Read the output with a parser from now on."""
        self._parser = parser

    def wrote(self, data: bytes) -> None:
        """Take output."""
        self._last = data[-_KEPT:] if len(data) >= _KEPT else (self._last + data)[-_KEPT:]
        if self._writer is not None:
            try:
                self._writer.write(data)
            except OSError as error:
                self._log.error("output of job {job} is cut: {error}", job=self._job, error=error)
                self._cut_output(error)
        if self._parser is not None:
            self._parse(self._parser.feed, data)

    def reported(self, data: bytes) -> None:
        """Take bytes that came by the report descriptor: lines of JSON."""
        if self._report:
            data = self._report + data
        self._report = data[data.rfind(b"\n") + 1 :][-REPORT_BYTES:]
        for line in data.rsplit(b"\n", REPORTS + 1)[-REPORTS - 1 : -1]:
            self._take(line)

    def end(self) -> None:
        """Take what is unfinished as finished: the program has ended."""
        report, self._report = self._report, b""
        self._take(report)
        if self._parser is not None:
            self._parse(self._parser.end)
        self._parser = None

    def newest(self) -> Progress:
        """How far the job is, which then counts as told."""
        self._told = self.progress
        return self.progress

    def last_line(self) -> str:
        """The last line of output that says something, or nothing."""
        lines = self._last.decode(errors="replace").replace("\r", "\n").split("\n")
        for line in reversed(lines):
            text = clean(self.hide(line))
            if text:
                return text[:LAST_LINE]
        return ""

    def close(self) -> None:
        """Tell nothing more, and keep nothing more."""
        if self._telling is not None:
            self._telling.cancel()
            self._telling = None
        self._told = self.progress
        self._close_writer()

    def _parse(self, step: Callable[..., Progress | None], *data: bytes) -> None:
        try:
            report = step(*data)
        except Exception:
            self._log.failure("the parser of job {job} failed", job=self._job)
            self._parser = None
        else:
            if report is not None:
                self._advance(report)

    def _take(self, line: bytes) -> None:
        # Whether it is an object is seen at once: an exception would cost far more.
        if line.lstrip()[:1] == b"{":
            try:
                report = _decode_report(line)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                return
            self._advance(Progress(report.progress, report.message))

    def _advance(self, report: Progress) -> None:
        if report.message is not None:
            report = Progress(report.fraction, self.hide(report.message))
        after = advance(self.progress, report)
        if after is not self.progress:
            self.progress = after
            if self._telling is None:
                self._tell_newest()

    def _tell_newest(self) -> None:
        self._telling = None
        if self.progress is not self._told:
            self._telling = self._reactor.callLater(REPORT_SECONDS, self._tell_newest)
            self._tell()

    def _cut_output(self, error: OSError) -> None:
        self.cut = error.strerror or str(error)
        if self._writer is not None:
            with suppress(OSError):
                self._writer.cut(self.cut)
        self._close_writer()

    def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
