"""The task `clone`: git."""

import re
from urllib.parse import unquote, urlsplit

from aptask.tasks.guard import refuse_data_folder
from aptask.tasks.task import Program, argument

_HELPER = re.compile(r"[A-Za-z0-9+.-]*::")
_MACHINE = re.compile(r"[^/]*:")


class Clone(Program):
    """Clones a repository with git."""

    requires = ("git",)
    privileged = True
    progress = "git"
    # Nobody is there to type a password.
    env = {"GIT_TERMINAL_PROMPT": "0"}

    url = argument(str, minimum=1, help="the address of a repository")
    target = argument(str, minimum=1, help="the folder to make")

    def command(self) -> list[str]:
        if self.url.startswith("-") or self.target.startswith("-"):
            raise ValueError("neither url nor target may begin with `-`")
        # `ext::` and its like run what follows as a command.
        if _HELPER.match(self.url):
            raise ValueError(f"{self.url} names no repository: `::` is not taken")
        refuse_data_folder(self.target)
        if self.url.lower().startswith("file:"):
            refuse_data_folder(unquote(urlsplit(self.url).path))
        elif not _MACHINE.match(self.url):
            refuse_data_folder(self.url)
        return ["git", "clone", "--progress", "--", self.url, self.target]
