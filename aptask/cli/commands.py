"""The table of commands, and those that ask about tasks or end them.

A command is a row of `COMMANDS`: what it is for, an example, its options, what runs it, and the
requests whose responses `--json` prints. A new command is a new row.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any, NamedTuple

from aptask.cli import following, keys, numbers, past, running, show, starting, statistics
from aptask.cli.session import Session
from aptask.errors import AptaskError
from aptask.model import messages
from aptask.model.messages import ActiveResponse, Request


class Command(NamedTuple):
    """A command.

    Attributes:
        help: what it does, in a few words.
        example: a command line that shows it, and what comes of it.
        options: adds what it takes to its parser.
        run: does it, and returns the exit status.
        answers: the requests whose responses are its answer, as `--json` prints them.
        stays: whether it goes on with the next daemon where its own has gone.
    """

    help: str
    example: str
    options: Callable[[ArgumentParser], None]
    run: Callable[[Session], int]
    answers: tuple[type[Request], ...]
    stays: bool = False


def index_options(parser: ArgumentParser) -> None:
    """What `aptask index` takes."""
    parser.add_argument("name", metavar="NAME", nargs="?", help="only this task, in full")


def index(session: Session) -> int:
    """What can be run."""
    entries = session.client.index()
    name = session.options.name
    if name is None:
        if not session.screen.is_terminal:
            session.screen.table(show.INDEX_TITLES, [show.index_row(entry) for entry in entries])
            return 0
        for entry in entries:
            _show_summary(session, entry)
        session.screen.note("`aptask index NAME` tells more of one of them")
        return 0
    for entry in entries:
        if entry["name"] == name:
            _show_entry(session, entry)
            return 0
    session.screen.note(
        f"aptask: no task `{name}` that you may start: see `aptask index`", even_quiet=True
    )
    return following.FAILED


def _show_summary(session: Session, entry: dict[str, Any]) -> None:
    """A task in two lines: a table of all would be too wide for a terminal."""
    session.screen.line(" ".join(show.index_row(entry)[:2]).removesuffix(" -"))
    said = (entry.get("help") or "").partition("\n")[0]
    if entry.get("unavailable"):
        said += f" It cannot run here: {entry['unavailable']}."
    if said:
        session.screen.line(f"    {said}")


def _show_entry(session: Session, entry: dict[str, Any]) -> None:
    screen = session.screen
    if screen.is_terminal:
        screen.line(" ".join(["aptask start", *show.index_row(entry)[:2]]).removesuffix(" -"))
        for line in str(entry.get("help") or "").splitlines():
            screen.line(f"  {line}")
        if entry.get("unavailable"):
            screen.line(f"  It cannot run here: {entry['unavailable']}")
        if entry["arguments"]:
            screen.line("")
    screen.table(show.ARGUMENT_TITLES, [show.argument_row(one) for one in entry["arguments"]])


def active_options(parser: ArgumentParser) -> None:
    """What `aptask active` takes."""
    parser.add_argument("--owner", metavar="NAME", help="for admins: whose; `*`: everyone's")
    parser.add_argument(
        "--limit", type=numbers.count, metavar="N", default=1000, help="at most N (1000)"
    )
    parser.add_argument(
        "--offset", type=numbers.count, metavar="N", default=0, help="pass over the first N"
    )
    parser.add_argument(
        "--watch", action="store_true", help="go on, live, with every change and new task"
    )


def active(session: Session) -> int:
    """The tasks that have not ended."""
    options = session.options
    if options.watch:
        following.watch_all(session, options.owner)
        return 0
    request = messages.Active(limit=options.limit, offset=options.offset, owner=options.owner)
    answer = session.client.ask(request, ActiveResponse)
    titles, rows = show.task_table(answer.active, with_owner=options.owner is not None)
    session.screen.table(titles, rows)
    left = answer.total - options.offset - len(answer.active)
    if left > 0:
        session.screen.note(f"and {left} more: see --limit and --offset")
    return 0


def ids_options(parser: ArgumentParser) -> None:
    """What a command about certain tasks takes."""
    parser.add_argument("taskids", metavar="ID", nargs="+", help="what `aptask start` printed")


def show_tasks(session: Session) -> int:
    """All that is known of some tasks."""
    first = True

    def show_one(taskid: str) -> None:
        nonlocal first
        task = session.client.show(taskid)
        if not first:
            session.screen.line("")
        first = False
        session.screen.fields(show.task_fields(task))

    return _each(session, show_one)


def wait(session: Session) -> int:
    """Stay with some tasks until their end."""
    return following.exit_of_tasks(following.wait(session, session.options.taskids))


def stop_options(parser: ArgumentParser) -> None:
    """What `aptask stop` takes."""
    ids_options(parser)
    parser.add_argument(
        "--grace",
        type=numbers.seconds,
        metavar="SECONDS",
        help="from being asked to stop until being killed (default: the task's own, or 10)",
    )


def stop(session: Session) -> int:
    """Abort some tasks."""

    def stop_one(taskid: str) -> None:
        session.client.stop(taskid, session.options.grace)

    return _each(session, stop_one)


def output_options(parser: ArgumentParser) -> None:
    """What `aptask output` takes."""
    parser.add_argument("taskid", metavar="ID", help="what `aptask start` printed")
    parser.add_argument("--follow", action="store_true", help="go on until the task's end")


def output(session: Session) -> int:
    """What a task wrote, as far as it is there; or live until its end."""
    taskid = session.options.taskid
    if session.options.follow:
        return following.exit_of_tasks([following.follow(session, taskid)])
    following.print_output(session.screen, session.client.read_output(taskid))
    return 0


def no_options(parser: ArgumentParser) -> None:
    """What a command takes that takes nothing."""


def _each(session: Session, do: Callable[[str], None]) -> int:
    """Do something for each task that was named; one that fails does not keep off the others."""
    status = 0
    for taskid in session.options.taskids:
        try:
            do(taskid)
        except AptaskError as failure:
            session.screen.note(f"aptask: {failure}")
            status = following.FAILED
    return status


_STAYING = (messages.Start, messages.Output, messages.Wait)

COMMANDS: dict[str, Command] = {
    "index": Command(
        "what can be run, with its arguments",
        "aptask index copy\n    what `copy` does, and what each of its arguments means",
        index_options,
        index,
        (messages.Index,),
    ),
    "start": Command(
        "queue a task; prints its ID",
        "aptask start copy /srv/films target=/mnt/films delete=true --wait\n"
        "    mirrors a folder, and shows how that goes",
        starting.start_options,
        starting.start,
        _STAYING,
        stays=True,
    ),
    "run": Command(
        "queue any program, in this folder; prints its ID",
        "aptask run --wait --env LANG -- rsync -a --info=progress2 films/ backup/\n"
        "    runs rsync as a task, shows how it goes, and exits as rsync did",
        starting.run_options,
        starting.run,
        _STAYING,
        stays=True,
    ),
    "active": Command(
        "the tasks that have not ended",
        "aptask active --watch\n    what runs, how far it is, and what waits for its turn, live",
        active_options,
        active,
        (messages.Active, messages.Watch),
        stays=True,
    ),
    "show": Command(
        "all that is known of tasks",
        "aptask show 17\n    its arguments, times, progress and result",
        ids_options,
        show_tasks,
        (messages.Show,),
    ),
    "wait": Command(
        "stay with tasks until they have ended",
        "aptask wait 17 18\n    shows how they go; the exit status says whether both went well",
        ids_options,
        wait,
        (messages.Wait,),
        stays=True,
    ),
    "stop": Command(
        "abort tasks",
        "aptask stop 17 --grace 30\n    asks it to stop, and kills it where it has not in 30 s",
        stop_options,
        stop,
        (messages.Stop,),
    ),
    "output": Command(
        "what a task wrote",
        "aptask output 17 --follow | grep -i error\n    looks for errors as long as it runs",
        output_options,
        output,
        _STAYING,
        stays=True,
    ),
    "history": Command(
        "the tasks that have ended, the last first",
        "aptask history --since 1d --status error\n    what went wrong since yesterday",
        past.history_options,
        past.history,
        (messages.History,),
    ),
    "log": Command(
        "the event log, for admins",
        "aptask log --follow --level client\n    shows each request that is refused, as it comes",
        past.log_options,
        past.log,
        (messages.Log,),
        stays=True,
    ),
    "stats": Command(
        "how the daemon is, for admins",
        "aptask stats | grep disk\n    how many bytes it takes, and how many are free",
        no_options,
        statistics.stats,
        (messages.Stats,),
    ),
    "limits": Command(
        "how many tasks run at once, for admins",
        "aptask limits --slots 8\n    runs eight at once, from now on and after a restart\n"
        "  aptask limits --pause\n    starts no more; `--resume` does again",
        running.limits_options,
        running.limits,
        (messages.Limits,),
    ),
    "reload": Command(
        "read the configuration and the tasks again, for admins",
        "aptask reload\n    what is different now; or what is wrong, and then nothing is",
        no_options,
        running.reload,
        (messages.Reload,),
    ),
    "drain": Command(
        "take no new tasks, and run what is queued, for admins",
        "aptask drain\n    what is queued is run, and `start` is refused",
        running.drain_options,
        running.drain,
        (messages.Drain,),
    ),
    "keys": Command(
        "who may ask; make a key, or take one back, for admins",
        "(umask 077; aptask keys add bob --tasks copy,primes > bob.key)\n"
        "    makes a key, which is shown this once, for one who may start two tasks\n"
        "  aptask keys revoke bob\n    takes it back: it is good for nothing from now on",
        keys.keys_options,
        keys.keys,
        (messages.Keys, messages.AddKey, messages.Revoke),
    ),
    "shutdown": Command(
        "stop the daemon, for admins",
        "aptask shutdown --grace 60\n    running tasks have a minute to stop by themselves",
        running.shutdown_options,
        running.shutdown,
        (messages.Shutdown,),
    ),
}
"""The commands, by their names."""
