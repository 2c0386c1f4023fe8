"""The command line of `twistd aptask`.

What is given with it is kept as it was, so that a reload reads the same again from wherever the
daemon is by then.
"""

# mypy: disallow-untyped-calls=False
# (Options' methods have no types.)

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from twisted.python import usage

from aptask.version import __version__


class Options(usage.Options):
    """What `twistd aptask` takes."""

    longdesc = "Asynchronous parallel task scheduling, execution and monitoring."
    optFlags = [
        ["check", None, "say what a start with these options would do, or what is wrong, and end"],
    ]
    optParameters = [
        ["config", "c", None, "the configuration file (TOML); everything in it is optional"],
        ["web", None, None, "`off`: there is no page yet"],
        ["data", "d", None, "the data folder [default: $APTASK_DATA, or ~/.local/state/aptask]"],
        ["slots", "s", None, "how many tasks run at once [default: one a processor]"],
    ]
    compData = usage.Completions(
        optActions={"config": usage.CompleteFiles("*.toml"), "data": usage.CompleteDirs()}
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["tasks"] = []

    def opt_listen(self, endpoint: str) -> None:
        """where to listen, as a Twisted endpoint string; may be given several times
        [default: tcp:2142:interface=127.0.0.1, and aptask.sock in the data folder]"""
        self["listen"].append(endpoint)

    def opt_tasks(self, folder: str) -> None:
        """a folder of private task files; may be given several times"""
        self["tasks"].append(folder)

    def opt_version(self) -> None:
        """show the version of aptask"""
        print(f"aptask {__version__}")
        sys.exit(0)


def pin(
    options: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Options and environment that mean the same in any folder: twistd may change its own.

    Args:
        options: of the command line.
        environment: of the process.
    """
    pinned = dict(options)
    for name in ("config", "data"):
        if pinned.get(name):
            pinned[name] = _absolute(pinned[name])
    pinned["tasks"] = [_absolute(folder) for folder in options.get("tasks") or ()]
    kept = dict(environment)
    for name in ("APTASK_DATA", "XDG_STATE_HOME"):
        if kept.get(name):
            kept[name] = _absolute(kept[name])
    return pinned, kept


def _absolute(path: str) -> str:
    expanded = os.path.expanduser(path)
    # Of a home folder that there is not, `config` says so.
    return path if expanded.startswith("~") else os.path.abspath(expanded)
