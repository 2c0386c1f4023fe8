"""The `aptask` command: reads the command line, does what it asks, and says how it went.

Rules:

- The exit status is 0 where all went well; 1 where a task ended otherwise, or the daemon said no;
  2 for wrong usage; 3 where no daemon was there or the connection to it broke; 130 after Ctrl-C.
  `run --wait` and `run --follow` exit as the program did, and with 125 where aptask failed.
- Who stays with tasks waits for a daemon that has gone to come back: see `patience`.
- A key is never an argument, since others see a process' arguments.
- Nothing is imported that a command does not need: `aptask index` is to answer at once.
"""

from __future__ import annotations

import os
import sys
from argparse import REMAINDER, SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence

from aptask.cli import harmless
from aptask.cli.commands import COMMANDS
from aptask.cli.following import APTASK_FAILED, FAILED
from aptask.cli.session import Session, WrongUsage
from aptask.client.connection import ConnectionFailed
from aptask.errors import AptaskError, Unauthorized
from aptask.version import __version__

WRONG_USAGE, NO_DAEMON, PIPE_CLOSED, INTERRUPTED = 2, 3, 141, 130
"""Exit statuses; the last two are those that a shell gives for SIGPIPE and SIGINT."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what a command line asks for.

    Args:
        argv: the words behind `aptask`; by default those of this process.

    Returns:
        The exit status.
    """
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
    except SystemExit as said:
        # argparse has printed help, or what is wrong.
        return int(said.code or 0)
    try:
        status = _do(options)
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Who reads has what it wanted. Nothing may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _do(options: Namespace) -> int:
    stays_with_program = options.command == "run" and (options.wait or options.follow)
    command = COMMANDS[options.command]
    try:
        session = Session(options, command.answers, command.stays)
        with session.client:
            return command.run(session)
    except (WrongUsage, UnicodeEncodeError) as wrong:
        reason = "an argument is not UTF-8" if isinstance(wrong, UnicodeError) else str(wrong)
        _complain(f"{reason}; see `aptask {options.command} --help`")
        return WRONG_USAGE
    except ConnectionFailed as failure:
        _complain(str(failure))
        return APTASK_FAILED if stays_with_program else NO_DAEMON
    except AptaskError as failure:
        if not options.json:
            _complain(str(failure))
            if isinstance(failure, Unauthorized) and str(failure).startswith("no key"):
                _complain("give a key with --key-file or $APTASK_KEY")
        return APTASK_FAILED if stays_with_program else FAILED


def parse(argv: Sequence[str]) -> Namespace:
    """The command line as options.

    Options that every command has may stand before and after its name; a command's own options and
    arguments in any order.

    Raises:
        SystemExit: with status 2 for a wrong one, with 0 where help was asked for.
    """
    top = ArgumentParser(
        prog="aptask",
        usage="aptask [OPTION]... COMMAND ...",
        description="Runs tasks on an aptask daemon, and shows how they go.",
        epilog=_epilog(),
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    top.add_argument("--version", action="version", version=f"aptask {__version__}")
    _common_options(top)
    top.add_argument("command", metavar="COMMAND", help=SUPPRESS)
    top.add_argument("rest", nargs=REMAINDER, help=SUPPRESS).required = False
    options = top.parse_args(argv)
    if options.command not in COMMANDS:
        top.error(f"no command `{options.command}`; there are {', '.join(COMMANDS)}")

    command = COMMANDS[options.command]
    parser = ArgumentParser(
        prog=f"aptask {options.command}",
        description=f"{command.help[0].upper()}{command.help[1:]}.",
        epilog=f"example:\n  {command.example}",
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.options(parser)
    _common_options(parser, keeping=True)
    rest = options.rest
    del options.rest
    if options.command == "run":
        # What follows the program's name is the program's own.
        return parser.parse_args(rest, options)
    return parser.parse_intermixed_args(rest, options)


def _common_options(parser: ArgumentParser, keeping: bool = False) -> None:
    """Add the options that every command has; `keeping` what came before its name, if not given."""
    common = parser.add_argument_group("the daemon")
    default = SUPPRESS if keeping else None
    common.add_argument(
        "--server",
        metavar="SERVER",
        default=default,
        help="HOST:PORT, unix:PATH or tls://HOST:PORT"
        " (default: $APTASK_SERVER, or this account's own daemon)",
    )
    common.add_argument(
        "--key-file",
        metavar="FILE",
        default=default,
        help="a file with the key (default: $APTASK_KEY, or the key of this account's own daemon)",
    )
    common.add_argument(
        "--json",
        action="store_true",
        default=SUPPRESS if keeping else False,
        help="print the daemon's responses as they come, one a line",
    )


def _epilog() -> str:
    width = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:{width}}  {row.help}" for name, row in COMMANDS.items())
    return (
        f"commands:\n{listed}\n\n`aptask COMMAND --help` says more of one.\n\n"
        "example:\n  aptask start primes 100000 --wait"
    )


def _complain(text: str) -> None:
    for line in text.split("\n"):
        print(f"aptask: {harmless.line(line)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
