"""Lists what may hold tasks, without importing any of it. Runs in discovery's child process.

- Modules of the package `aptask.plugins`, as the Twisted plugin system sees it: in whatever
  distribution they are.
- Entry points of the group `aptask.tasks`, each naming a class.
- `*.py` of each task folder, but for names that begin with `_`.
- The callables that the configuration names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import IntEnum
from importlib.metadata import Distribution, distributions
from pathlib import Path

import msgspec
from twisted.python.modules import getModule

import aptask.plugins
from aptask.model.description import Failure, Kind, Target
from aptask.tasks.describe import Configured

GROUP = "aptask.tasks"
"""The group of entry points that name task classes."""

SHIPPED = frozenset(("clone", "copy", "download", "primes", "program", "sleep", "transcode"))
"""The modules in `aptask.plugins` that are aptask's own. A distribution's may lie beside them."""


class Level(IntEnum):
    """Where a task comes from: where two have one name, the lower level wins."""

    CONFIGURATION = 0
    FOLDER = 1
    INSTALLED = 2
    SHIPPED = 3


class Candidate(msgspec.Struct, frozen=True):
    """What may hold tasks.

    Attributes:
        level: how it counts.
        plugin: what it is, for people.
        origin: what its tasks have as their origin.
        target: what to import; without an `attribute` all task classes of the module are meant.
            Its kind says nothing yet.
        location: the file, or what is known of it.
        configured: the table, where the configuration names it.
    """

    level: Level
    plugin: str
    origin: str
    target: Target
    location: str
    configured: Configured | None = None


def list_candidates(
    folders: Iterable[str], configured: Iterable[Configured], path: tuple[str, ...]
) -> tuple[list[Candidate], list[Failure]]:
    """All that may hold tasks, in the order in which it counts among equals.

    Args:
        folders: of task files, absolute.
        configured: callables.
        path: folders to put before `sys.path` for these.

    Returns:
        the candidates, and what cannot be one.
    """
    candidates: list[Candidate] = []
    failures: list[Failure] = []
    for task in configured:
        module, _, attribute = task.python.partition(":")
        target = Target(Kind.CALLABLE, module, attribute, path=path)
        candidates.append(
            Candidate(Level.CONFIGURATION, task.origin, task.origin, target, task.python, task)
        )
    for folder in dict.fromkeys(folders):
        _list_folder(folder, candidates, failures)
    _list_plugins(candidates, failures)
    for distribution in distributions():
        try:
            _list_entry_points(distribution, candidates, failures)
        except Exception as error:
            # Whatever a broken distribution raises: the others are as good as before.
            failures.append(
                Failure(_name_of(distribution), f"its entry points cannot be read: {error}")
            )
    return candidates, failures


def _list_folder(folder: str, candidates: list[Candidate], failures: list[Failure]) -> None:
    try:
        files = sorted(
            file for file in Path(folder).iterdir() if file.suffix == ".py" and file.is_file()
        )
    except OSError as error:
        failures.append(Failure(folder, f"the folder of tasks cannot be read: {error.strerror}"))
        return
    for file in files:
        if file.name.startswith("_"):
            continue
        # A name that no module has: a file `copy.py` must not become Python's own `copy`.
        mark = hashlib.sha256(str(file).encode("utf-8", "surrogateescape")).hexdigest()[:8]
        name = f"aptask_task_{file.stem}_{mark}"
        target = Target(Kind.TASK, name, "", file=str(file), path=(folder,))
        candidates.append(Candidate(Level.FOLDER, str(file), str(file), target, str(file)))


def _list_plugins(candidates: list[Candidate], failures: list[Failure]) -> None:
    own = Path(aptask.plugins.__file__).parent
    found: dict[str, str] = {}
    for module in getModule("aptask.plugins").iterModules():
        file = Path(module.filePath.path)
        found[module.name] = str(file)
        is_shipped = file.parent == own and file.stem in SHIPPED
        candidates.append(
            Candidate(
                Level.SHIPPED if is_shipped else Level.INSTALLED,
                str(file),
                "aptask" if is_shipped else str(file),
                Target(Kind.TASK, module.name, ""),
                str(file),
            )
        )
    for folder in aptask.plugins.__path__:
        for file in sorted(Path(folder).glob("*.py")):
            first = found.get(f"aptask.plugins.{file.stem}", str(file))
            if first != str(file) and file.stem != "__init__":
                failures.append(
                    Failure(str(file), f"is hidden by {first}, which has the same module name")
                )


def _list_entry_points(
    distribution: Distribution, candidates: list[Candidate], failures: list[Failure]
) -> None:
    # Read before it is parsed: most distributions have nothing to do with this.
    if GROUP not in (distribution.read_text("entry_points.txt") or ""):
        return
    for entry in distribution.entry_points:
        if entry.group != GROUP:
            continue
        plugin = f"{_name_of(distribution)}: entry point {entry.name} = {entry.value}"
        module, _, attribute = entry.value.partition(":")
        if not module.strip() or not attribute.strip():
            failures.append(Failure(plugin, "must be `module:Class`"))
            continue
        target = Target(Kind.TASK, module.strip(), attribute.partition("[")[0].strip())
        known = (candidate.target for candidate in candidates if candidate.plugin == plugin)
        if target not in known:
            candidates.append(Candidate(Level.INSTALLED, plugin, plugin, target, entry.value))


def _name_of(distribution: Distribution) -> str:
    try:
        return f"{distribution.metadata['Name']} {distribution.version}"
    except Exception:
        return "an installed distribution"
