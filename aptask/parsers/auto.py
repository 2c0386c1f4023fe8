"""Finds out by itself whether output tells progress, and how to read it.

Rules: a wrong bar is worse than none. A program that the command names, or that shows itself by a
line only it writes, is read by its own parser from then on; a JSON object with `progress` is a
report. Anything else has to prove itself: the same kind of line with a percentage or a count that
has risen several times, more often where it has fallen, and never with a word (`cpu`, `used`,
`coverage`, ...) that belongs to figures which come and go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from aptask.model.progress import NOTHING, Progress, advance
from aptask.parsers.base import FileSize, Parser, nothing
from aptask.parsers.count import count
from aptask.parsers.json_objects import json_object, number, object_progress
from aptask.parsers.lines import Line, Lines
from aptask.parsers.percent import percentage, without_bar

_WINDOW = 8192
"""The most bytes of one piece of output that are searched once the beginning is past."""

_BEGINNING = 131072
"""The bytes at the start of the output that are searched whole: programs introduce themselves."""

_LIMIT = 32
_LIMIT_OF_FLOOD = 6
"""The most lines looked at of one piece of output, and of one that is larger than the window."""

_SIGNS: tuple[tuple[str, str], ...] = (
    ("rsync", r"(?:sending|receiving) incremental file list$"),
    ("rsync", r"[\d,.]+[KMGT]? +\d+% +[\d.]+[kMGT]?B/s +\d+:\d\d:\d\d"),
    ("ffmpeg", r"ffmpeg version \S+ Copyright"),
    ("ffmpeg", r"Duration: \d\d:\d\d:\d\d\.\d\d, "),
    ("ffmpeg", r"(?:frame|L?size)= *\d.* time=\d"),
    ("curl", r"% Total +% Received % Xferd|DL% +UL% +Dled"),
    ("curl", r"\d+ +[\d.]+[kMGT]? +\d+ +[\d.]+[kMGT]? +\d+ +\S+ +\S+ +\S+ +[-\d]+:[-\d]+:[-\d]+ "),
    ("curl", r"#{2,} +\d{1,3}\.\d%$"),
    ("wget", r"--\d{4}-\d\d-\d\d \d\d:\d\d:\d\d--  [a-z]+://"),
    ("wget", r"\S.* \d+%\[[ =>+]*\] +\S"),
    ("wget", r"\d+K [ .,]+ +\d+% +[\d.]+[KMGT]?[ =]"),
    (
        "git",
        r"(?:remote: )?(?:Enumerating|Counting|Compressing|Receiving|Writing|Unpacking) objects:",
    ),
    ("git", r"(?:Resolving deltas|Updating files|Checking out files): +\d+% \("),
    ("pv", r"(?:\S.*: +)?[\d.]+ ?[kKMGT]?i?B \d+:\d\d:\d\d \[ *[\d.]+ ?[kKMGT]?i?B/s\]"),
    ("dd", r"\d+ bytes (?:\([^()]*\) )?copied, [\d.]+ s, "),
    ("tqdm", r"[^|]*\d+%\|[^|]*\| *[\d.]+[kMGT]?/[\d.]+[kMGT]? \[[\d:]+<"),
    ("tqdm", r"(?:\S.*: )?[\d.]+[kMGT]?[A-Za-z]+ \[\d\d:\d\d, "),
    ("pip", r"Downloading \S+ \([\d.]+ [kMG]?B\)$"),
    ("pip", r"Looking in indexes: "),
    ("7z", r"7-Zip (?:\([a-z]\) )?(?:\[\d\d\] )?\d+\.\d\d"),
    ("7z", r"\d{1,3}% \d+ [-+=UT] \S"),
    ("restic", r'\{"message_type": ?"status"'),
    ("restic", r"\[(?:\d+:)?\d+:\d\d\] .*\d (?:files|snapshots|packs|index files)\b"),
    ("borg", r"\d{1,3}\.\d% Extracting: |Checking (?:segments|archives) +\d+\.\d%$"),
    ("borg", r"Calculating total archive size for the progress indicator"),
    ("borg", r"[\d.]+ [kMGT]?B O [\d.]+ [kMGT]?B C [\d.]+ [kMGT]?B D \d+ N"),
    ("borg", r'\{.*"type": "(?:progress_percent|archive_progress)"'),
    ("aria2c", r"\d\d/\d\d \d\d:\d\d:\d\d \[NOTICE\] Downloading \d+ item"),
    ("aria2c", r"\[#[0-9a-f]{6} [\d.]+(?:[KMGT]i)?B/"),
    (
        "yt-dlp",
        r"\[download\] (?:Destination: | *\d+\.\d% of )|\[info\] .*: Downloading \d+ format",
    ),
    ("pytest", r"=+ test session starts =+$"),
    ("pytest", r"\S+\.py(?:::\S+)? (?:[.FEsxX]+|PASSED|FAILED) +\[ *\d+%\]$"),
    ("zstd", r"(?:Compress: .*)?(?:\(L\d+\) )?Read ?: .* ==> *\d+%"),
)
"""What only one program writes, at the start of a line."""

_SIGN = re.compile(
    "|".join(f"(?P<_{place}>{pattern})" for place, (_, pattern) in enumerate(_SIGNS)), re.ASCII
)

_MARKS = (b"%", b"/", b" of ", b"{", b" copied, ", b" N ", b"time=", b" [")

_LANDMARKS = (
    b"% Received",
    b"file list",
    b"Duration: ",
    b"--  ",
    b" objects",
    b"7-Zip",
    b"session starts",
    b"item(s)",
    b"format(s)",
    b"Downloading ",
)
"""What only the beginning has of programs whose later lines need it."""

_PASSING = re.compile(
    r"\b(?:cpu|mem|memory|ram|swap|disk|idle|usage|used|use|busy|util\w*|load average|free"
    r"|available|battery|charg\w*|capacity|coverage|cover|humidity|volume|price|discount|off|sale"
    r"|tax|accuracy|acc|loss|lost|error|errors|success|hit|hits|miss|misses|ratio|confidence"
    r"|growth|interest|margin|probability|similarity|faster|slower|score|alpha|zoom|brightness)\b",
    re.IGNORECASE,
)
_DOING = re.compile(
    r"progress|\bdone\b|complet|finish|process|download|upload|cop[yi]|transfer|\bsen[dt]|receiv"
    r"|\bwrit|\bread|\bload(?:ed|ing)\b|extract|install|build|compil|scan|index|import|export"
    r"|convert|encod|render|pars|verif|check|sync|train|epoch|\bstep|backup|backing|restor|pack"
    r"|compress|generat|fetch|clon|updat|analy|migrat|creat|delet|remov|mov(?:ed|ing)|remaining"
    r"|\bfiles?\b|\bitems?\b|\bpages?\b|\btests?\b|\bbatch|\btasks?\b|\bchunks?\b|\bblocks?\b"
    r"|\brecords?\b|\brows?\b|\bobjects?\b|\bimages?\b|\bframes?\b|\bparts?\b",
    re.IGNORECASE,
)
_BRACKETED = re.compile(r"[\[(] *(?:\d{1,3}(?:\.\d+)? ?%|\d+ ?/ ?\d+) *[\])](?: |$)", re.ASCII)
_COUNTED = re.compile(r"(?:^|\w[:#]?|\w )[\s(\[:]*$", re.ASCII)
_NEAR = 32
_FIGURES = re.compile(r"\d[\d.,:]*(?: ?[kKMGTP]?i?[bB](?:/s)?\b)?", re.ASCII)
_LETTERS = re.compile(r"[^\W\d_]{2}")
_LONGEST = 1024
"""The most characters of a line that signs and figures are looked for in."""

_RISES = 3
_RISES_OF_BARE_NUMBERS = 5
_KINDS = 32
"""The most kinds of lines that are watched at a time."""


class _Trend:
    """How one kind of line has gone so far."""

    def __init__(self, needed: int) -> None:
        self.needed = needed
        self._rises = 0
        self._last = -1.0

    def follow(self, fraction: float) -> bool:
        """Takes the next figure; whether this kind of line is believed now."""
        if fraction < self._last:
            self.needed += 2
            self._rises = 0
        if fraction != self._last:
            self._rises += 1
        self._last = fraction
        return self._rises >= self.needed


class AutoParser:
    """Chooses a parser by what is written.

    Args:
        programs: the parsers that may be chosen, by the names of their programs.
        command: the program's argument list.
        size_of: gives a file's size.
    """

    def __init__(
        self,
        programs: Mapping[str, Callable[[Sequence[str], FileSize], Parser]],
        command: Sequence[str] = (),
        size_of: FileSize = nothing,
    ) -> None:
        self._programs = programs
        self._command = tuple(command)
        self._size_of = size_of
        self._lines = Lines(_MARKS, _LANDMARKS)
        self._seen = 0
        self._trends: dict[tuple[object, ...], _Trend] = {}
        self._believed: tuple[object, ...] | None = None
        self._known = NOTHING
        self._chosen: Parser | None = None
        named = _named(self._command, programs)
        if named is not None:
            self._choose(named)

    def feed(self, data: bytes) -> Progress | None:
        """Takes output as it comes; see `Parser`."""
        if self._chosen is not None:
            return self._take(self._chosen.feed(data))
        flood = self._seen > _BEGINNING and len(data) > _WINDOW
        if flood:
            data = data[-_WINDOW:]
        self._seen += len(data)
        before = self._lines.rest
        lines = self._lines.feed(data, _LIMIT_OF_FLOOD if flood else _LIMIT)
        chosen = self._recognise(lines)
        if chosen is not None:
            return self._take(chosen.feed(before + data))
        report = self._weigh(lines)
        begun = self._lines.unfinished() if report is None and self._believed else None
        if begun is not None and begun.rewritten and b"%" in self._lines.rest:
            kind = _kind(begun)
            if kind is not None and kind[0] == self._believed:
                report = Progress(kind[1], without_bar(begun.text))
        return self._take(report)

    def end(self) -> Progress | None:
        """Takes note that the program has ended; see `Parser`."""
        if self._chosen is None:
            rest = self._lines.rest
            lines = self._lines.finish()
            chosen = self._recognise(lines)
            if chosen is None:
                return self._take(self._weigh(lines))
            before = self._take(chosen.feed(rest))
            return self._take(chosen.end()) or before
        return self._take(self._chosen.end())

    def _take(self, report: Progress | None) -> Progress | None:
        if report is None:
            return None
        before = self._known
        self._known = advance(before, report)
        return None if self._known is before else self._known

    def _choose(self, name: str) -> Parser:
        self._chosen = self._programs[name](self._command, self._size_of)
        self._trends.clear()
        return self._chosen

    def _recognise(self, lines: Sequence[Line]) -> Parser | None:
        """Chooses the parser of the first line that shows its program."""
        for line in lines:
            found = _SIGN.match(line.text[:_LONGEST])
            if found is not None and found.lastgroup is not None:
                return self._choose(_SIGNS[int(found.lastgroup[1:])][0])
        return None

    def _weigh(self, lines: Sequence[Line]) -> Progress | None:
        """What lines of no known program say that have proved themselves."""
        newest: Progress | None = None
        for line in lines:
            if line.text.startswith("{"):
                report = self._weigh_object(line.text)
            else:
                found = _kind(line)
                report = None
                if found is not None and self._believes(*found):
                    report = Progress(found[1], without_bar(line.text) or None)
            if report is not None:
                newest = report if newest is None else advance(newest, report)
        return newest

    def _weigh_object(self, line: str) -> Progress | None:
        found = json_object(line)
        report = None if found is None else object_progress(found)
        if found is None or report is None or report.fraction is None:
            return None
        if number(found.get("progress")) is not None:
            return report
        kind = ("object", *sorted(found)[:32])
        return report if self._believes(kind, report.fraction, _RISES) else None

    def _believes(self, kind: tuple[object, ...], fraction: float, needed: int) -> bool:
        """Whether a kind of line that says `fraction` now has proved itself."""
        if self._believed is not None:
            return kind == self._believed
        trend = self._trends.pop(kind, None) or _Trend(needed)
        self._trends[kind] = trend
        if len(self._trends) > _KINDS:
            del self._trends[next(iter(self._trends))]
        if trend.follow(fraction):
            self._believed = kind
            self._trends.clear()
            return True
        return False


def _named(command: Sequence[str], programs: Mapping[str, object]) -> str | None:
    """The program of the table that a command runs, or None."""
    if not command:
        return None
    name = command[0].rpartition("/")[2]
    if re.fullmatch(r"python[\d.]*", name) and "-m" in command[1:3]:
        name = "".join(command[command.index("-m") + 1 :][:1]).replace("_", "-")
    name = {"7za": "7z", "7zz": "7z", "7zr": "7z", "py.test": "pytest", "pip3": "pip"}.get(
        name, name
    )
    return name if name in programs else None


def _kind(line: Line) -> tuple[tuple[object, ...], float, int] | None:
    """What could be progress in a line.

    Returns:
        the kind of line, its fraction, and how often it has to rise before it is believed; None
        where it is nothing of the sort.
    """
    if len(line.text) > _LONGEST or _PASSING.search(line.text) is not None:
        return None
    percent = percentage(line.text)
    if percent is not None:
        place, fraction, total = percent.span(), float(percent[1].replace(",", ".")) / 100, ""
    else:
        counted = count(line.text)
        if counted is None:
            return None
        place, fraction, total = counted[0].span(), counted[1], counted[0][3]
    before, after = line.text[: place[0]], line.text[place[1] :]
    if line.rewritten:
        return ("bar", _FIGURES.sub("#", without_bar(before)), total), fraction, _RISES
    if _BRACKETED.match(line.text) is not None and not before.strip(" [("):
        return ("bracket", line.text[0], total), fraction, _RISES
    figures = _FIGURES.sub("#", without_bar(before)), _FIGURES.sub("#", without_bar(after))
    if total:
        # What is counted stands right before the count; what follows is the thing itself.
        counts = _COUNTED.search(before[-_NEAR:]) is not None and _DOING.search(before[-_NEAR:])
        needed = _RISES if counts else 0
        figures = figures[0], ""
    elif _DOING.search(line.text) is not None:
        needed = _RISES
    else:
        needed = _RISES_OF_BARE_NUMBERS if _LETTERS.search(" ".join(figures)) is None else 0
    return (("line", *figures, total), fraction, needed) if needed else None
