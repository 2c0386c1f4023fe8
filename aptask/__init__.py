"""aptask: runs tasks asynchronously, in parallel, with live progress.

What authors of tasks and clients import is here, and imported when it is asked for: a job's process
has no use for the client, and a client none for the tasks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aptask.client import Client
    from aptask.errors import AptaskError
    from aptask.tasks.task import Program, Stopped, Task, argument
    from aptask.version import __version__

__all__ = ["AptaskError", "Client", "Program", "Stopped", "Task", "__version__", "argument"]

_PLACES = {
    "AptaskError": "aptask.errors",
    "Client": "aptask.client",
    "Program": "aptask.tasks.task",
    "Stopped": "aptask.tasks.task",
    "Task": "aptask.tasks.task",
    "__version__": "aptask.version",
    "argument": "aptask.tasks.task",
}


def __getattr__(name: str) -> Any:
    try:
        place = _PLACES[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    value = getattr(import_module(place), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(globals().keys() | _PLACES.keys())
