"""What every command works with: its options, the client, and the screen.

With `--json` the client itself prints each response as it comes, and the screen keeps quiet; the
commands are the same code either way.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Generator
from contextlib import closing

from aptask.cli.patience import PatientClient
from aptask.cli.screen import Screen
from aptask.client.answers import is_error
from aptask.client.blocking import Client
from aptask.model.messages import Request


class WrongUsage(Exception):
    """The command line asks for what cannot be: the message says what is wrong with it."""


class Session:
    """One run of one command.

    Args:
        options: the options and arguments of the command.
        answers: the requests whose responses `--json` prints; the others a command makes for
            itself, such as `start`, which looks into the index.
        stays: whether it goes on with the next daemon where its own has gone.

    Raises:
        WrongUsage: the server or the key file that was named cannot be.
    """

    def __init__(
        self, options: Namespace, answers: tuple[type[Request], ...], stays: bool = False
    ) -> None:
        self.options = options
        self.screen = Screen(quiet=options.json)
        try:
            if options.json:
                self.client: Client = _PrintingClient(options, self._say, stays, answers)
            else:
                self.client = PatientClient(options.server, options.key_file, self._say, stays)
        except ValueError as wrong:
            raise WrongUsage(str(wrong)) from None
        except OSError as failure:
            raise WrongUsage(f"cannot read the key file: {failure}") from None

    def _say(self, text: str) -> None:
        self.screen.note(f"aptask: {text}", even_quiet=True)


class _PrintingClient(PatientClient):
    def __init__(
        self,
        options: Namespace,
        say: Callable[[str], object],
        stays: bool,
        answers: tuple[type[Request], ...],
    ) -> None:
        super().__init__(options.server, options.key_file, say, stays)
        self._answers = answers

    def exchange(self, request: Request) -> bytes:
        line = super().exchange(request)
        self._print(request, line)
        return line

    def stream(self, request: Request) -> Generator[bytes]:
        with closing(super().stream(request)) as lines:
            for line in lines:
                self._print(request, line)
                yield line

    def _print(self, request: Request, line: bytes) -> None:
        if is_error(line) or isinstance(request, self._answers):
            sys.stdout.write(line.decode(errors="replace"))
            sys.stdout.flush()
