"""What a daemon is to be: its settings and its tasks, found out and checked, and nothing made.

A start, a reload and `--check` go by it, so that all three accept the same, and say the same of
what is wrong. It blocks for as long as discovery does: some tenths of a second, or as long as a
module that hangs may take.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from aptask.config import Settings, load
from aptask.errors import ConfigurationError
from aptask.model.description import Description, Failure
from aptask.model.progress import clean
from aptask.model.reloaded import Reloaded
from aptask.model.statistics import FailedPlugin
from aptask.tasks.configured import Configuration, read_tasks
from aptask.tasks.discover import discover

FIXED = ("data", "listen", "log", "authentication", "insecure")
"""The settings that stay what they are until a restart."""


class Plan(msgspec.Struct, frozen=True):
    """What a daemon is to be.

    Attributes:
        settings: checked.
        tasks: their descriptions, one of each name.
        code: for each task with code of its author's, by name, a text that is another one where
            the code is.
        failures: what cannot be used.
        warnings: what is allowed but unwise: a sentence each.
    """

    settings: Settings
    tasks: tuple[Description, ...]
    code: Mapping[str, str]
    failures: tuple[Failure, ...]
    warnings: tuple[str, ...]


def read_settings(options: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings, with the tasks of the configuration checked as far as that goes without code.

    Args:
        options, environment: as `aptask.config.load` takes them.

    Raises:
        ConfigurationError: there is a mistake; the message has a sentence for each, a line each.
    """
    settings = load(options, environment)
    _configured(settings)
    return settings


def make_plan(settings: Settings) -> Plan:
    """Find the tasks, too.

    Args:
        settings: of `read_settings`.

    Raises:
        ConfigurationError: a task of the configuration is wrong; a sentence for each, a line each.
        AptaskError: discovery came to grief.
    """
    configured = _configured(settings)
    folders = [str(folder) for folder in settings.task_folders]
    beside = [] if settings.config is None else [str(settings.config.parent)]
    found = discover(
        folders=folders,
        configured=configured.callables,
        known=configured.descriptions,
        path=[*folders, *beside],
    )
    wrong = [
        f"{failure.plugin}: {failure.error}"
        for failure in found.failures
        if settings.config is not None and failure.plugin.startswith(f"{settings.config}: ")
    ]
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    names = {description.name for description in found.descriptions}
    unknown = [
        f"{settings.config}: [users.{key.name}] names a task that there is not: `{name}`"
        for key in settings.keys
        for name in sorted(set(key.tasks or ()) - names)
    ]
    return Plan(
        settings,
        found.descriptions,
        found.code,
        found.failures,
        (*settings.warnings, *unknown),
    )


def take_over(before: Plan, after: Plan) -> tuple[Plan, Reloaded]:
    """What a running daemon can make of another plan.

    Args:
        before: what it is.
        after: what it is to be.

    Returns:
        the plan with what is fixed left as it is, and what is different in the other one.
    """
    fixed = {name: getattr(before.settings, name) for name in FIXED}
    restart = [name for name in FIXED if _is_other(name, before.settings, after.settings)]
    settings = msgspec.structs.replace(after.settings, **fixed)
    old = {description.name: description for description in before.tasks}
    new = {description.name: description for description in after.tasks}
    reloaded = Reloaded(
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        changed=[
            name
            for name in sorted(new.keys() & old.keys())
            if (new[name], after.code.get(name)) != (old[name], before.code.get(name))
        ],
        failed=failed(after.failures),
        restart=restart,
    )
    return msgspec.structs.replace(after, settings=settings), reloaded


def summarise(reloaded: Reloaded) -> str:
    """What is different, in one line for people."""
    parts = [
        ("added", reloaded.added),
        ("removed", reloaded.removed),
        ("changed", reloaded.changed),
        ("cannot be used", [one.plugin for one in reloaded.failed]),
        ("takes a restart", reloaded.restart),
    ]
    said = "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)
    return said or "no task and no fixed setting is another"


def failed(failures: Iterable[Failure]) -> list[FailedPlugin]:
    """What cannot be used, fit to be shown."""
    return [FailedPlugin(clean(failure.plugin), clean(failure.error)) for failure in failures]


def describe(plan: Plan) -> str:
    """What a start would do, for people: a line for each thing."""
    settings = plan.settings
    keys = [f"{key.name} ({key.role})" for key in settings.keys]
    lines = [
        ("configuration", str(settings.config or "none")),
        ("data", str(settings.data)),
        *(("listens", endpoint.description) for endpoint in settings.listen),
        ("keys", ", ".join(keys) or "none but the daemon's own"),
        ("slots", str(settings.slots)),
        ("tasks", ", ".join(description.name for description in plan.tasks)),
        *(("warning", warning) for warning in plan.warnings),
        *(("cannot be used", f"{one.plugin}: {one.error}") for one in failed(plan.failures)),
    ]
    return "\n".join(f"{name}: {value}" for name, value in lines)


def _configured(settings: Settings) -> Configuration:
    """The tasks of the configuration.

    Raises:
        ConfigurationError: some of them are wrong; a sentence for each, a line each.
    """
    wrong: list[str] = []
    for name, table in settings.tasks.items():
        try:
            read_tasks({name: table}, str(settings.config))
        except ConfigurationError as error:
            wrong.append(f"{settings.config}: {error.message}")
    if wrong:
        raise ConfigurationError("\n".join(wrong))
    return read_tasks(settings.tasks, str(settings.config))


def _is_other(name: str, before: Settings, after: Settings) -> bool:
    old, new = getattr(before, name), getattr(after, name)
    if name == "listen" and before.data != after.data:
        # The socket in the data folder, the last of them, moves with that.
        return bool(old[:-1] != new[:-1])
    return bool(old != new)
