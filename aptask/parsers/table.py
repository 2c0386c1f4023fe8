"""The parsers by their names, in the order of the documentation, and how one is made."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from aptask.errors import InvalidArguments
from aptask.parsers.aria2c import Aria2cParser
from aptask.parsers.auto import AutoParser
from aptask.parsers.base import FileSize, Parser, nothing
from aptask.parsers.borg import BorgParser
from aptask.parsers.count import CountParser
from aptask.parsers.curl import CurlParser
from aptask.parsers.dd import DdParser
from aptask.parsers.expression import ExpressionParser
from aptask.parsers.ffmpeg import FfmpegParser
from aptask.parsers.git import GitParser
from aptask.parsers.json_objects import JsonParser
from aptask.parsers.ninja import NinjaParser
from aptask.parsers.percent import PercentParser
from aptask.parsers.pip import PipParser
from aptask.parsers.pv import PvParser
from aptask.parsers.pytest import PytestParser
from aptask.parsers.restic import ResticParser
from aptask.parsers.rsync import RsyncParser
from aptask.parsers.sevenzip import SevenZipParser
from aptask.parsers.tqdm import TqdmParser
from aptask.parsers.wget import WgetParser
from aptask.parsers.yt_dlp import YtDlpParser
from aptask.parsers.zstd import ZstdParser

Maker = Callable[[Sequence[str], FileSize], Parser]

PROGRAMS: dict[str, Maker] = {
    "rsync": RsyncParser,
    "ffmpeg": FfmpegParser,
    "curl": CurlParser,
    "wget": WgetParser,
    "git": GitParser,
    "pv": PvParser,
    "dd": DdParser,
    "tqdm": TqdmParser,
    "pip": PipParser,
    "7z": SevenZipParser,
    "restic": ResticParser,
    "borg": BorgParser,
    "aria2c": Aria2cParser,
    "yt-dlp": YtDlpParser,
    "ninja": NinjaParser,
    "pytest": PytestParser,
    "zstd": ZstdParser,
}
"""The parsers of one program each."""


def _auto(command: Sequence[str], size_of: FileSize) -> Parser:
    """The parser that finds out itself which of the programs it reads."""
    return AutoParser(PROGRAMS, command, size_of)


TABLE: dict[str, Maker] = {
    "auto": _auto,
    "percent": PercentParser,
    "count": CountParser,
    "json": JsonParser,
    **PROGRAMS,
}

NAMES: tuple[str, ...] = tuple(TABLE)
"""The names of all parsers."""

_WORD = re.compile(r"[A-Za-z0-9-]+")


def make_parser(spec: str, command: Sequence[str] = (), size_of: FileSize = nothing) -> Parser:
    """Makes the parser for one run of a program.

    Args:
        spec: a name of the table; anything that is not a plain word is a regular expression with
            the groups `percent`, or `current` and `total`, and optionally `message`.
        command: the program's argument list: what it says of the total is used.
        size_of: gives the size of a file in bytes, or None.

    Returns:
        a new parser.

    Raises:
        InvalidArguments: there is no parser of that name, or the expression is wrong.
    """
    if _WORD.fullmatch(spec) is None and spec:
        return ExpressionParser(spec)
    maker = TABLE.get(spec)
    if maker is None:
        raise InvalidArguments(
            f"progress {spec!r} is neither a parser ({', '.join(NAMES)}) nor a regular expression"
            " with groups"
        )
    return maker(command, size_of)
