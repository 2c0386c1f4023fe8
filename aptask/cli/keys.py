"""`aptask keys`: who may ask; a key is made, or taken back.

A new key stands alone on standard output, so that it can be led into a file, and is shown nowhere
else and never again.
"""

from __future__ import annotations

import os
import stat
import sys
from argparse import ArgumentParser

from aptask.cli import show
from aptask.cli.session import Session, WrongUsage

TITLES = ("NAME", "ROLE", "FROM", "TASKS")
"""The columns of the keys."""


def keys_options(parser: ArgumentParser) -> None:
    """What `aptask keys` takes."""
    parser.add_argument(
        "action", metavar="add|revoke", nargs="?", choices=("add", "revoke"), help="what to do"
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="of the key's owner")
    parser.add_argument(
        "--role", choices=("user", "admin"), help="with `add`: what the owner may do (user)"
    )
    parser.add_argument(
        "--tasks",
        metavar="NAME,...",
        type=_names,
        help="with `add`: all that a user may start (default: what reaches no files); '': nothing",
    )


def keys(session: Session) -> int:
    """Who may ask; or make a key, or take one back."""
    options = session.options
    if options.action is not None and options.name is None:
        raise WrongUsage(f"`keys {options.action}` needs the NAME of the key's owner")
    if options.action != "add" and (options.role is not None or options.tasks is not None):
        raise WrongUsage("--role and --tasks are for `keys add`")
    if options.action == "add":
        _add(session)
    elif options.action == "revoke":
        session.client.revoke(options.name)
    else:
        _list(session)
    return 0


def _list(session: Session) -> None:
    listed = session.client.keys()
    rows = [[one.name, one.role, one.source, _tasks(one.tasks)] for one in listed]
    session.screen.table(TITLES, rows)


def _add(session: Session) -> None:
    options, screen = session.options, session.screen
    screen.line(session.client.add_key(options.name, options.role or "user", options.tasks))
    screen.note(f"this is the only time that the key of {options.name} is shown", even_quiet=True)
    if _is_open_to_others():
        screen.note("others can read the file that it is in: chmod 600", even_quiet=True)


def _is_open_to_others() -> bool:
    """Whether what is printed goes into a file that other accounts can read."""
    try:
        mode = os.fstat(sys.stdout.fileno()).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and bool(mode & 0o077)


def _tasks(names: list[str] | None) -> str:
    """What a key's owner may start, in a cell of the table."""
    if names is None:
        return show.NOTHING
    return ",".join(names) or "none"


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]
