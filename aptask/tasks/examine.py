"""Imports one thing that may hold tasks, and describes these. Runs in a process of its own.

Nothing gets out of `examine`: what an author's code raises becomes a `Failure` with the place in
the author's file.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
from twisted.plugin import IPlugin

from aptask.interfaces import ITask
from aptask.model.description import Description, Failure, Target
from aptask.tasks.candidates import Candidate
from aptask.tasks.describe import describe_class, describe_configured
from aptask.tasks.perform import load, load_module, sources
from aptask.tasks.task import is_task

_INTERFACES: tuple[Any, ...] = (IPlugin, ITask)
_NOT_AUTHORS = ("<frozen importlib", str(Path(__file__).parent) + os.sep, importlib.__file__)


class Examined(msgspec.Struct):
    """What a candidate holds: an identity and a description of each task, and what is wrong.

    Attributes:
        code: another text where what its tasks are written in is another.
    """

    described: list[tuple[str, Description]] = []
    failures: list[Failure] = []
    code: str = ""


def examine(candidate: Candidate) -> bytes:
    """Look at a candidate.

    Returns:
        an `Examined` as JSON.
    """
    examined = Examined()
    try:
        if candidate.target.attribute:
            _examine_one(candidate, examined)
        else:
            _examine_module(candidate, examined)
        examined.code = _digest(sources(load_module(candidate.target)))
        return msgspec.json.encode(examined)
    except BaseException as error:
        # SystemExit and KeyboardInterrupt too: to exit while being imported is a mistake.
        failure = Failure(
            candidate.plugin, explain(error, candidate.target.file or candidate.location)
        )
        return msgspec.json.encode(Examined([], [*examined.failures, failure]))


def tasks_in(module: ModuleType) -> Iterator[tuple[str, type[Any]]]:
    """The task classes that are a module's own, each with its name there."""
    seen = set()
    for name, value in list(vars(module).items()):
        if not isinstance(value, type) or value in seen or value.__module__ != module.__name__:
            continue
        # What the Twisted plugin system would say of it.
        if all(interface(value, None) is value for interface in _INTERFACES):
            seen.add(value)
            yield name, value


def explain(error: BaseException, file: str | None) -> str:
    """An error as one line: the place in the author's file, and what it is.

    Args:
        error: what was raised.
        file: the author's file; where nothing of it is seen in the traceback, the innermost place
            that is neither Python's import system nor ours is taken.
    """
    what = "".join(traceback.format_exception_only(error)).strip().split("\n")[-1]
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    frames = [
        frame
        for frame in reversed(traceback.extract_tb(error.__traceback__))
        if not frame.filename.startswith(_NOT_AUTHORS)
    ]
    frame = next((one for one in frames if one.filename == file), frames[0] if frames else None)
    if isinstance(error, SystemExit):
        what = f"exits while it is imported: {what}"
    return f"{file}: {what}" if frame is None else f"{frame.filename}:{frame.lineno}: {what}"


def _examine_module(candidate: Candidate, examined: Examined) -> None:
    module = load_module(candidate.target)
    for name, cls in tasks_in(module):
        target = msgspec.structs.replace(candidate.target, attribute=name)
        _describe(candidate, cls, target, examined)


def _examine_one(candidate: Candidate, examined: Examined) -> None:
    found = load(candidate.target)
    if candidate.configured is None:
        if not is_task(found):
            raise TypeError(
                f"{candidate.target.attribute} is no task: a class derived from `Task` with `run`,"
                " or from `Program` with `command`"
            )
        _describe(candidate, found, candidate.target, examined)
        return
    description = describe_configured(candidate.configured, found, candidate.target)
    examined.described.append((candidate.location, description))


def _describe(candidate: Candidate, cls: type[Any], target: Target, examined: Examined) -> None:
    try:
        description = describe_class(cls, target, candidate.origin)
    except Exception as error:
        examined.failures.append(Failure(candidate.plugin, f"{_place_of(cls)}{error}"))
    else:
        examined.described.append((f"{cls.__module__}:{cls.__qualname__}", description))


def _digest(files: Iterable[str]) -> str:
    """What stands for the content of files."""
    digest = hashlib.sha256()
    for file in sorted(files):
        try:
            content = Path(file).read_bytes()
        except OSError:
            content = b""
        digest.update(f"{file}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


def _place_of(cls: type[Any]) -> str:
    try:
        return f"{inspect.getsourcefile(cls)}:{inspect.getsourcelines(cls)[1]}: "
    except (OSError, TypeError):
        return ""
