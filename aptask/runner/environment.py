"""The environment that jobs begin with: little of the account's, none of the daemon's own."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

INHERITED = ("PATH", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR")
"""What jobs have of the daemon's environment, beside HOME and LC_*."""


def home_of(environment: Mapping[str, str]) -> str:
    """The account's home, or the root where it has none."""
    home = environment.get("HOME") or _account(5)
    return home if Path(home).is_dir() else "/"


def clean(environment: Mapping[str, str], home: str) -> dict[str, str]:
    """What jobs get of the account's environment.

    Args:
        environment: the account's.
        home: becomes HOME.
    """
    cleaned = {
        name: value
        for name, value in environment.items()
        if name in INHERITED or name.startswith("LC_")
    }
    cleaned.setdefault("PATH", os.defpath)
    for name, place in (("USER", 0), ("LOGNAME", 0), ("SHELL", 6)):
        if name not in cleaned and _account(place):
            cleaned[name] = _account(place)
    cleaned["HOME"] = home
    return cleaned


def _account(place: int) -> str:
    """A field of the line that passwd(5) has of this account, or nothing."""
    try:
        return str(pwd.getpwuid(os.getuid())[place])
    except KeyError:
        return ""
