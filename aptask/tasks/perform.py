"""What a job's process does with a task: load its code, run it, ask it what to spawn.

Rules:

- No Twisted: the nursery's processes import this.
- What an author's code raises comes out as it is.
- What was loaded from a task folder leaves no compiled file behind, and is never taken from one:
  two versions of a file written within a second could not be told apart.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from aptask.errors import InvalidArguments
from aptask.model.description import Kind, Target
from aptask.model.hiding import found_in, secret_texts
from aptask.model.orders import Spawn
from aptask.tasks import reporting
from aptask.tasks.declaration import arguments_of
from aptask.tasks.reporting import Reporter
from aptask.tasks.settings import template_of
from aptask.tasks.task import Program, Task
from aptask.tasks.template import INSTEAD, compile_template

Sources = dict[str, tuple[int, int]]
"""Files, each with its time of change in nanoseconds and its size in bytes."""


def load(target: Target) -> Any:
    """The object that a target names: a `Task` or `Program` class, or a callable.

    Raises:
        ImportError, AttributeError: there is no such module or attribute; and whatever the module
            raises when it is imported.
    """
    found: Any = load_module(target)
    for name in target.attribute.split("."):
        found = getattr(found, name)
    return found


def load_module(target: Target) -> ModuleType:
    """The module that a target names, imported once in a process. Raises as `load`."""
    # Those of files come last: a task file `email.py` must not hide Python's own `email`.
    place = 0 if target.file is None else len(sys.path)
    sys.path[place:place] = [folder for folder in target.path if folder not in sys.path]
    if target.file is None:
        return importlib.import_module(target.module)
    known = sys.modules.get(target.module)
    if known is not None:
        return known
    loader = _Loader(target.module, target.file)
    spec = importlib.util.spec_from_file_location(target.module, target.file, loader=loader)
    if spec is None:
        raise ImportError(f"cannot load {target.file}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[target.module] = module
    writes = sys.dont_write_bytecode
    sys.dont_write_bytecode = True
    try:
        loader.exec_module(module)
    except BaseException:
        del sys.modules[target.module]
        raise
    finally:
        sys.dont_write_bytecode = writes
    return module


def perform(target: Target, values: Mapping[str, Any], reporter: Reporter) -> Any:
    """Run a task of Python to its end.

    Args:
        target: of kind `TASK` or `CALLABLE`.
        values: the arguments by name, checked.
        reporter: takes its reports; the last one has been sent on return.

    Returns:
        what the task returned, as it is.
    """
    reporting.use(reporter)
    try:
        found = load(target)
        if target.kind is Kind.CALLABLE:
            return found(**values)
        instance: Task = found(**values)
        return instance.run()
    finally:
        reporter.flush()


def launch(target: Target, values: Mapping[str, Any], secrets: Sequence[str] = ()) -> Spawn:
    """Ask a driver for its program.

    Args:
        target: of kind `PROGRAM`.
        values: the arguments by name, checked.
        secrets: the texts of those that are secret.

    Raises:
        TypeError, ValueError: what it answers is no program, or a secret stands in the command; the
            message names the setting.
    """
    instance: Program = load(target)(**values)
    cls = type(instance)
    arguments = arguments_of(cls)
    own = {argument.name: _plain(getattr(instance, argument.name)) for argument in arguments}
    template = template_of(instance)
    try:
        # The runner, which makes the parser, is the one that says whether there is such a one.
        spawn = compile_template(template, arguments, check_parser=str)(own)
    except (ValueError, InvalidArguments) as error:
        raise ValueError(f"{cls.__name__}: {error}") from None
    spawn.secrets = list(dict.fromkeys([*secrets, *spawn.secrets]))
    # Not those of `secret_env`: not all that an author has there is a secret.
    declared = {*secrets, *secret_texts(arguments, own)}
    if found_in(declared, [*spawn.command, str(spawn.memory_limit)]):
        raise ValueError(f"{cls.__name__}: command: a secret argument is in it, and {INSTEAD}")
    spawn.judged = cls.succeeded is not Program.succeeded
    return spawn


def judge(target: Target, values: Mapping[str, Any], code: int) -> bool:
    """Ask a driver whether its program did what it should.

    Args:
        target: of kind `PROGRAM`.
        values: the arguments by name, checked.
        code: the exit code, or the negative number of a signal.
    """
    instance: Program = load(target)(**values)
    return bool(instance.succeeded(code))


def sources(module: ModuleType) -> Sources:
    """The files in which a loaded task is written, so that a change of them can be seen.

    They are the module's own, those of its package, and those of whatever else the process has
    imported that is not installed: what an author works on.
    """
    package = _package(module.__name__)
    found: Sources = {}
    for name, loaded in list(sys.modules.items()):
        file = getattr(loaded, "__file__", None)
        if not isinstance(file, str) or not file.endswith(".py"):
            continue
        if loaded is module or _package(name) == package or not _is_installed(file):
            stamp = _stamp(file)
            if stamp is not None:
                found[file] = stamp
    return found


def changed(sources: Sources) -> bool:
    """Whether a file is not what it was, or is gone.

    Args:
        sources: from `sources`.
    """
    return any(_stamp(file) != stamp for file, stamp in sources.items())


class _Loader(SourceFileLoader):
    """Compiles anew, whatever lies in `__pycache__`."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


_FOLDERS = {
    sysconfig.get_path(scheme) for scheme in ("stdlib", "platstdlib", "purelib", "platlib")
} | {str(Path(__file__).parents[1])}
_INSTALLED = tuple(
    folder + os.sep for each in _FOLDERS for folder in (each, os.path.realpath(each))
)
"""Where code is that nobody works on: Python's own, installed packages, aptask."""


def _package(name: str) -> str:
    # A plugin in `aptask` is its author's alone, by its whole name.
    return name if name.startswith("aptask.") else name.partition(".")[0]


def _is_installed(file: str) -> bool:
    return file.startswith(_INSTALLED) or f"{os.sep}site-packages{os.sep}" in file


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        status = Path(file).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _plain(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value
