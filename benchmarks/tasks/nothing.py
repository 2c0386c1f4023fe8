"""The task of the table `noop`: it leaves one byte, as the peers' do."""

import os

from aptask import Task, argument

_opened: dict[str, int] = {}


class Nothing(Task):
    """Leaves one byte in a file, and does nothing else."""

    file = argument(str, help="the file")

    def run(self) -> None:
        """Append the byte; the file stays open for the next job."""
        if self.file not in _opened:
            _opened[self.file] = os.open(self.file, os.O_WRONLY | os.O_APPEND)
        os.write(_opened[self.file], b".")
