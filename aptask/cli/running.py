"""The commands of admins about the daemon itself: its slots, its configuration, its end."""

from __future__ import annotations

from argparse import ArgumentParser

from aptask.cli import numbers
from aptask.cli.session import Session

LIMIT_TITLES = ("GROUP", "SLOTS", "PAUSED")
"""The columns of the groups."""


def limits_options(parser: ArgumentParser) -> None:
    """What `aptask limits` takes."""
    parser.add_argument(
        "group",
        metavar="GROUP",
        nargs="?",
        help="which group (default: all; to set something, `default`)",
    )
    parser.add_argument(
        "--slots",
        type=numbers.count,
        metavar="N",
        help="how many of its tasks run at once, from now on; 0: none is started",
    )
    paused = parser.add_mutually_exclusive_group()
    paused.add_argument(
        "--pause",
        dest="paused",
        action="store_true",
        default=None,
        help="start none of those that wait; those that run go on",
    )
    paused.add_argument(
        "--resume", dest="paused", action="store_false", help="start those that wait again"
    )


def limits(session: Session) -> int:
    """How many tasks run at once."""
    options = session.options
    group = "default" if options.group is None else options.group
    answer = session.client.limits(group, slots=options.slots, paused=options.paused)
    rows = [
        [name, str(one.slots), "yes" if one.paused else "no"]
        for name, one in answer.items()
        if options.group in (None, name)
    ]
    session.screen.table(LIMIT_TITLES, rows)
    return 0


def reload(session: Session) -> int:
    """Read the configuration again."""
    answer = session.client.reload()
    fields = [
        *(("added", name) for name in answer.added),
        *(("removed", name) for name in answer.removed),
        *(("changed", name) for name in answer.changed),
        *(("failed", f"{one.plugin}: {one.error}") for one in answer.failed),
        *(("restart", name) for name in answer.restart),
    ]
    if fields:
        session.screen.fields(fields)
    if answer.restart:
        session.screen.note("what is listed as `restart` takes effect with the next start")
    return 0


def drain_options(parser: ArgumentParser) -> None:
    """What `aptask drain` takes."""
    parser.add_argument("--off", action="store_true", help="take new tasks again")


def drain(session: Session) -> int:
    """Take no new tasks."""
    if session.client.drain(not session.options.off):
        session.screen.note("no new tasks are taken until `aptask drain --off`, or a restart")
    return 0


def shutdown_options(parser: ArgumentParser) -> None:
    """What `aptask shutdown` takes."""
    parser.add_argument(
        "--grace",
        type=numbers.seconds,
        metavar="SECONDS",
        help="that running tasks have to stop (default: by the daemon's stop_deadline)",
    )


def shutdown(session: Session) -> int:
    """Stop the daemon."""
    session.client.shutdown(session.options.grace)
    return 0
