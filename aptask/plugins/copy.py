"""The task `copy`: rsync."""

import re

from aptask.tasks.guard import refuse_data_folder
from aptask.tasks.task import Program, argument

_REMOTE = re.compile(r"rsync://|[^/]*:")


class Copy(Program):
    """Copies a file or folder with rsync, here or from or to another machine."""

    requires = ("rsync",)
    privileged = True
    progress = "rsync"

    source = argument(str, minimum=1, help="a file or folder; with a `/` at its end: what is in it")
    target = argument(str, minimum=1, help="where to")
    delete = argument(bool, default=False, help="remove from the target what the source has not")

    def command(self) -> list[str]:
        places = (self.source, self.target)
        for place in places:
            # rsync gives what is before the colon to ssh.
            if place.startswith("-") and _REMOTE.match(place):
                raise ValueError(f"{place} names no machine")
        refuse_data_folder(*(place for place in places if not _REMOTE.match(place)))
        options = ["--delete"] if self.delete else []
        return ["rsync", "-a", "--human-readable", "--info=progress2", *options, "--", *places]
