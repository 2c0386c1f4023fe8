"""What was: the tasks that have ended, and the event log."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence

from aptask.cli import numbers, show
from aptask.cli.session import Session
from aptask.model.messages import LOG_LEVELS, STATUSES_OF_THE_ENDED, LogEntry, Task

HISTORY_TITLES = ("ID", "NAME", "STATUS", "ENDED", "TIME", "MESSAGE")
LOG_TITLES = ("NUMBER", "TIME", "LEVEL", "USER", "PEER", "MESSAGE")
"""The columns of the two lists."""


def history_options(parser: ArgumentParser) -> None:
    """What `aptask history` takes."""
    parser.add_argument(
        "--limit", type=numbers.count, metavar="N", default=50, help="at most N (50)"
    )
    parser.add_argument("--before", metavar="NEXT", help="go on where the page before ended")
    parser.add_argument("--name", metavar="TASK", help="only runs of this task")
    parser.add_argument(
        "--status", choices=STATUSES_OF_THE_ENDED, help="only those that ended like this"
    )
    parser.add_argument(
        "--since",
        type=numbers.time,
        metavar="TIME",
        help="only those that ended later: 2h, 3d, 2026-11-24, 2026-11-24T18:30 (this machine's"
        " time), 2026-11-24T17:30Z",
    )
    parser.add_argument(
        "--until", type=numbers.time, metavar="TIME", help="only those that ended before"
    )
    parser.add_argument("--owner", metavar="NAME", help="for admins: whose; `*`: everyone's")


def history(session: Session) -> int:
    """The tasks that have ended, the last first."""
    options = session.options
    page = session.client.history(
        options.limit,
        before=options.before,
        name=options.name,
        status=options.status,
        since=options.since,
        until=options.until,
        owner=options.owner,
    )
    titles: Sequence[str] = HISTORY_TITLES
    rows = [_history_row(task) for task in page.history]
    if options.owner is not None:
        titles, rows = show.with_owners(titles, rows, page.history)
    session.screen.table(titles, rows)
    if page.next is not None:
        session.screen.note(f"there are more: --before {page.next}")
    return 0


def log_options(parser: ArgumentParser) -> None:
    """What `aptask log` takes."""
    parser.add_argument(
        "--limit", type=numbers.count, metavar="N", default=100, help="at most N (100)"
    )
    parser.add_argument(
        "--after", type=numbers.count, metavar="NUMBER", help="those behind this one"
    )
    parser.add_argument("--level", choices=LOG_LEVELS, help="only entries of this level")
    parser.add_argument("--follow", action="store_true", help="go on with what comes, until Ctrl-C")


def log(session: Session) -> int:
    """What was refused, what became of tasks, what admins asked for."""
    options, screen = session.options, session.screen
    if options.follow:
        for entry in session.client.follow_log(options.after, options.level, options.limit):
            screen.row(_log_row(entry))
        return 0
    entries = session.client.log(options.limit, after=options.after, level=options.level)
    screen.table(LOG_TITLES, [_log_row(entry) for entry in entries])
    return 0


def _history_row(task: Task) -> list[str]:
    return [
        task.taskid,
        task.name,
        show.status(task),
        task.ended or show.NOTHING,
        show.duration(show.running_time(task)) or show.NOTHING,
        show.saying(task) or show.NOTHING,
    ]


def _log_row(entry: LogEntry) -> list[str]:
    return [
        str(entry.number),
        entry.time,
        entry.level,
        entry.user or show.NOTHING,
        entry.peer or show.NOTHING,
        entry.message,
    ]
