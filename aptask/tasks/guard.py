"""Keeps the tasks that ship out of the data folder, where keys and secrets are.

It guards against mistakes, and against a client that has been allowed one of these tasks and no
more. A program that itself reads what it is told to cannot be held by it.
"""

from __future__ import annotations

import os


def home() -> str:
    """The folder in which a job's program runs."""
    return os.path.expanduser("~")


def refuse_data_folder(*paths: str) -> None:
    """Refuse paths that lead into the data folder, or that hold it, by whatever links.

    Args:
        paths: as the program is given them: relative to the account's home.

    Raises:
        ValueError: one does.
    """
    data = os.environ.get("APTASK_DATA")
    if not data:
        return
    real_data = os.path.realpath(data)
    for path in paths:
        real = os.path.realpath(os.path.join(home(), path))
        if is_within(real, real_data):
            raise ValueError(f"{path} is in aptask's own data folder")
        if is_within(real_data, real):
            raise ValueError(f"{path} holds aptask's own data folder, where keys are: {real_data}")


def join(folder: str, path: str) -> str:
    """A path as seen from a folder, without `.` and `..`: by its text alone."""
    return os.path.normpath(os.path.join(folder, path))


def is_within(path: str, folder: str) -> bool:
    """Whether a path is a folder or something in it, by its text alone."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def plain(path: str) -> str:
    """A path that no program takes for an option."""
    return f"./{path}" if path.startswith("-") else path
