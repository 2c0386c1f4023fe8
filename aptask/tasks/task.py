"""What authors of tasks import: `Task`, `Program`, `argument` and `Stopped`.

    class CountWords(Task):
        \"\"\"Counts the words of a file.\"\"\"

        path = argument(str, help="a text file")

        def run(self):
            ...

Rules:

- Importing this is quick and brings in no Twisted: jobs' processes do it.
- The Twisted plugin system finds these classes by adapting what a module holds to `IPlugin`; that
  is answered here, when it is asked, and never by instances. A class that is only a base (its
  name begins with `_`, or it has no `run` or `command` of its own or inherited) is no plugin.
"""

from __future__ import annotations

import inspect
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

from aptask.tasks import reporting
from aptask.tasks.declaration import argument, complete
from aptask.tasks.reporting import Reporter

__all__ = ["Program", "Reporter", "Stopped", "Task", "argument", "is_task", "name_of"]

T = TypeVar("T")

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Stopped(BaseException):
    """Raised inside `run` when the job is stopped, so that `finally` and `with` clean up."""


class _Conform:
    """`__conform__` of a class, which is no attribute of its instances."""

    def __get__(self, instance: object, owner: type) -> Callable[[Any], Any]:
        if instance is not None:
            raise AttributeError("__conform__")
        return partial(_conform, owner)


def _conform(cls: type, interface: Any) -> Any:
    if not is_task(cls):
        return None
    from zope.interface import alsoProvides

    from aptask.interfaces import ITask

    # Only whoever has imported Twisted's plugin system can ask for its interface.
    plugin_system = sys.modules.get("twisted.plugin")
    wanted = [ITask] if plugin_system is None else [ITask, plugin_system.IPlugin]
    alsoProvides(cls, *(each for each in wanted if not each.providedBy(cls)))
    return cls if interface.providedBy(cls) else None


class Runnable:
    """What `Task` and `Program` have in common; nothing that an author derives from.

    Args:
        values: the arguments by name; each becomes an attribute. Their types are not checked here:
            the daemon has done so.

    Raises:
        TypeError: an argument is missing, or there is no such argument.
    """

    name: ClassVar[Any]
    """By which it is started; by default the class's name in snake_case."""
    grace: ClassVar[float] = 10.0
    """Seconds between being asked to stop and being killed."""
    isolated: ClassVar[bool] = False
    """Whether each job has a fresh process."""
    requires: ClassVar[Sequence[str]] = ()
    """Names of programs without which it cannot run: `index` says so where one is missing."""
    privileged: ClassVar[bool] = False
    """Whether it reaches whatever the daemon's account reaches, so that only admins, and users
    whose `tasks` name it, may start it."""

    _aptask_reserved: ClassVar[frozenset[str]] = frozenset(
        ("grace", "isolated", "requires", "privileged")
    )
    __conform__ = _Conform()

    def __init__(self, **values: Any) -> None:
        for name, value in complete(type(self), values).items():
            setattr(self, name, value)

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            cls.name = _WORDS.sub("_", cls.__name__).lower()


class Task(Runnable):
    """A task in Python: subclasses declare arguments and have `run`."""

    _aptask_reserved = Runnable._aptask_reserved | {"run", "report", "track"}

    def run(self) -> Any:
        """Do the work, in a process of its own: it may block, use every library, crash.

        Returns:
            the job's result: any JSON value up to 1 MiB.
        """
        raise NotImplementedError

    def report(self, progress: float | None = None, message: str | None = None) -> None:
        """Tell how it goes: as often as you like, of which ten a second are passed on.

        Args:
            progress: 0.0 to 1.0.
            message: for people.
        """
        reporting.current().report(progress, message)

    def track(
        self,
        iterable: Iterable[T],
        total: float | None = None,
        size: Callable[[T], float] | None = None,
    ) -> Iterator[T]:
        """Iterate, and report how far that is.

        Args:
            iterable: what to go through.
            total: the sum of all sizes; by default the length, where there is one and no `size`.
            size: the weight of an item in `total`; by default each counts as 1.

        Returns:
            the items.
        """
        if total is None and size is None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                pass
        if total is not None and isinstance(total, (str, bytes)):
            raise TypeError(f"total must be a number, not {total!r}")
        return iter(iterable) if not total else self._track(iterable, total, size)

    def _track(
        self, iterable: Iterable[T], total: float, size: Callable[[T], float] | None
    ) -> Iterator[T]:
        clock = time.monotonic
        done: float = 0
        due = clock()
        for item in iterable:
            yield item
            done += 1 if size is None else size(item)
            now = clock()
            if now >= due:
                due = now + 0.1
                self.report(min(done / total, 1.0))
        self.report(min(done / total, 1.0))
        reporting.current().catch_up()


class Program(Runnable):
    """A driver for an external program: subclasses declare arguments and have `command`.

    Each setting may be a plain value in which `{name}` stands for an argument, an
    `argument` itself, or a property. The class is asked for them in a process of its own, unless
    all of them are plain values or arguments: then none has to be started.
    """

    command: Any
    """The program and its arguments; there is never a shell in between. A method without
    parameters that returns them as a list, or the list itself."""
    progress: Any = "auto"
    """How its output is read: the name of a parser, or a regular expression."""
    cwd: Any = None
    """The folder that it works in; None: the account's home."""
    env: Any = {}
    """What is added to the clean environment."""
    secret_env: Any = {}
    """As `env`, for what is shown nowhere."""
    stdin: Any = None
    """Its standard input: text, a `pathlib.Path` or an open file; None: nothing."""
    nice: Any = None
    """-20 to 19, added to the daemon's own."""
    memory_limit: Any = None
    """Bytes of address space."""

    _aptask_reserved = Runnable._aptask_reserved | {"succeeded"}

    def succeeded(self, code: int) -> bool:
        """Whether the program did what it should.

        Args:
            code: its exit code, or the negative number of the signal that ended it.
        """
        return code == 0


def is_task(value: object) -> bool:
    """Whether a value is a class that can be run, and no base for others."""
    if not isinstance(value, type) or value.__name__.startswith("_") or inspect.isabstract(value):
        return False
    if issubclass(value, Task):
        return value.run is not Task.run
    return issubclass(value, Program) and hasattr(value, "command")


def name_of(cls: type[Runnable]) -> Any:
    """The name by which a class is started, also where it has an argument called `name`."""
    name = cls.name
    return name if isinstance(name, str) else _WORDS.sub("_", cls.__name__).lower()
