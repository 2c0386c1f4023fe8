"""The task `download`: curl."""

from urllib.parse import urlsplit

from aptask.tasks.guard import plain, refuse_data_folder
from aptask.tasks.task import Program, argument

_PROTOCOLS = ("http", "https", "ftp")


class Download(Program):
    """Downloads a file with curl."""

    requires = ("curl",)
    privileged = True
    progress = "curl"

    url = argument(str, minimum=1, help="an address: http, https or ftp")
    target = argument(str, minimum=1, help="the file to write, replacing one that is there")

    def command(self) -> list[str]:
        if urlsplit(self.url).scheme.lower() not in _PROTOCOLS:
            raise ValueError(f"{self.url} is no address with http, https or ftp")
        refuse_data_folder(self.target)
        protocols = "=" + ",".join(_PROTOCOLS)
        return [
            "curl",
            "--fail",
            "--location",
            "--globoff",
            "--proto",
            protocols,
            "--proto-redir",
            protocols,
            "--output",
            plain(self.target),
            "--url",
            self.url,
        ]
