"""Numbers as programs write them: sizes, shares, durations, and sentences made of them.

Rules: nothing here raises on digits, however many; what makes no sense is None.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_SIZE = re.compile(r"([\d,]*\d(?:\.\d*)?) ?([kKmMgGtTpPeE]?)(i?)[bB]?(?:ytes?)?", re.ASCII)
_DURATION = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)|(\d+(?:\.\d+)?)(ms|us|s)?", re.ASCII)

_ADDRESS = re.compile(r"[a-z][a-z+]*://", re.ASCII)
_OTHER_ADDRESSES = {
    *("-x", "--proxy", "--preproxy", "-e", "--referer", "--doh-url", "-H", "--header", "-A"),
    *(
        "-d",
        "--data",
        "--data-raw",
        "--data-binary",
        "--data-urlencode",
        "--json",
        "--proxy-header",
    ),
}
"""Options whose values may be addresses that are not fetched."""


def size(text: str) -> float | None:
    """A size in bytes.

    Args:
        text: such as `12`, `1,234`, `1.2G`, `64.0 MiB` or `600kB`. All prefixes count as powers of
            1024: sizes are only ever divided by others of the same program.

    Returns:
        the number of bytes, or None where it is not a size.
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        return None
    power: int = _POWERS[found[2].lower()]
    return float(found[1].replace(",", "")) * float(1024**power)


def share(part: float | None, whole: float | None) -> float | None:
    """`part` of `whole` as a fraction, or None where that is not between 0 and 1."""
    if part is None or whole is None or not 0 <= part <= whole or whole == 0:
        return None
    fraction = part / whole
    return fraction if fraction == fraction else None


def duration(text: str) -> float | None:
    """A duration in seconds.

    Args:
        text: `[hours:]minutes:seconds` or a number with `s`, `ms`, `us` or nothing behind it.

    Returns:
        the seconds, or None where it is not a duration.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    hours, minutes, seconds, plain, unit = found.groups()
    if plain is not None:
        return float(plain) * {"ms": 1e-3, "us": 1e-6}.get(unit, 1.0)
    return float(hours or 0) * 3600 + float(minutes) * 60 + float(seconds)


def sentence(*parts: str | None) -> str | None:
    """The parts that say something, joined by commas, or None where none does."""
    said = [part.strip() for part in parts if part and part.strip()]
    return ", ".join(said) if said else None


def urls(command: Sequence[str]) -> int:
    """How many addresses a command of curl or wget fetches, at least 1."""
    return max(
        1,
        sum(
            _ADDRESS.match(argument) is not None and before not in _OTHER_ADDRESSES
            for before, argument in pairwise(("", *command))
        ),
    )
