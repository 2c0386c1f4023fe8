"""The house: which room may know of which, held to by reading every import of the code."""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

ROOMS = [
    "version",
    "errors",
    "model",
    "parsers",
    "interfaces",
    "tasks",
    "plugins",
    "scheduling",
    "storage",
    "runner",
    "execution",
    "serving",
    "endpoints",
    "config",
    "system",
    "options",
    "plan",
    "listening",
    "reloading",
    "upkeep",
    "service",
]
"""From the ground up: a room imports only from itself and from those above it in this list."""

BESIDE = {
    "client": {"version", "errors", "model"},
    "cli": {"version", "errors", "model", "client"},
}
"""The rooms beside the house, and all that they import from."""

FRONT_DOOR = {"version", "errors", "tasks", "client"}
"""What `aptask` itself offers the names of, without importing it before it is asked."""

EXCEPTIONS = {
    # Where tasks are looked for: the folders of the package, not a task in it.
    ("aptask/tasks/candidates.py", "aptask.plugins"),
}

OTHERS: dict[str, set[str]] = {
    "__init__": set(),
    "version": set(),
    "errors": set(),
    "model": {"msgspec"},
    "parsers": {"msgspec"},
    "interfaces": {"twisted.internet.defer", "zope.interface"},
    "tasks": {"msgspec", "twisted.plugin", "twisted.python.modules", "zope.interface"},
    "plugins": set(),
    "scheduling": {
        "msgspec",
        "twisted.internet.defer",
        "twisted.logger",
        "twisted.python.failure",
        "zope.interface",
    },
    "storage": {"msgspec", "twisted.internet.defer", "twisted.logger", "zope.interface"},
    "runner": {"msgspec", "twisted", "zope.interface"},
    "execution": {"msgspec", "twisted", "zope.interface"},
    "serving": {"msgspec", "twisted", "zope.interface"},
    "endpoints": {"msgspec", "twisted"},
    "config": {"msgspec", "twisted"},
    "system": {"twisted.internet.defer", "twisted.logger", "twisted.python.failure"},
    "options": {"twisted.python"},
    "plan": {"msgspec"},
    "listening": {"twisted"},
    "reloading": {"twisted.internet.defer", "twisted.python.failure"},
    "upkeep": {"twisted"},
    "service": {"twisted"},
    "client": {"msgspec"},
    "cli": {"msgspec", "rich"},
}
"""Which of other people's packages, or parts of them, a room imports."""

INPUT_AND_OUTPUT = {
    "asyncio",
    "fcntl",
    "io",
    "logging",
    "multiprocessing",
    "os",
    "pathlib",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
}
UNKNOWN = {
    "model": INPUT_AND_OUTPUT | {"random", "secrets"},
    "parsers": INPUT_AND_OUTPUT | {"random", "secrets"},
    "interfaces": INPUT_AND_OUTPUT,
    "tasks": {"socket", "ssl", "sqlite3", "asyncio"},
    "scheduling": INPUT_AND_OUTPUT,
    "storage": {"ssl", "subprocess", "multiprocessing", "asyncio", "time"},
    "runner": {"ssl", "sqlite3", "asyncio", "multiprocessing"},
    "execution": {"subprocess", "multiprocessing", "sqlite3", "asyncio", "time"},
    "serving": {"subprocess", "multiprocessing", "sqlite3", "asyncio", "time"},
    "config": {"socket", "ssl", "subprocess", "sqlite3", "asyncio", "time"},
    "client": {"subprocess", "sqlite3", "asyncio"},
    "cli": {"sqlite3", "asyncio"},
}
"""What of the standard library a room knows nothing of."""

REACTOR = {"aptask/service.py", "aptask/runner/main.py"}
"""The modules that take the real reactor: the two processes' own."""

ACTING = {
    # Becomes one package with the folders of others, as a plugin package has to.
    "aptask/plugins/__init__.py",
}
"""The modules that do something when they are imported."""

MODULES = sorted(
    str(path.relative_to(ROOT))
    for folder in ("aptask", "twisted")
    for path in (ROOT / folder).rglob("*.py")
)


def room_of(module: str) -> str:
    """The room that a module's file, or its dotted name, belongs to."""
    parts = re.split(r"[./]", module.removesuffix(".py"))
    return parts[1] if len(parts) > 1 else "__init__"


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / module).read_text(encoding="utf-8"))


def imports_of(module: str) -> Iterator[str]:
    """The dotted name of everything that a module imports, wherever in it that stands.

    What is imported from a package that is a module itself comes as that module.
    """
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                path = ROOT / name.replace(".", "/")
                is_module = path.is_dir() or path.with_suffix(".py").exists()
                yield name if is_module or alias.name == "reactor" else str(node.module)


def within(name: str, packages: set[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


IN_HOUSE = [module for module in MODULES if module.startswith("aptask/")]


def allowed_rooms(room: str) -> set[str]:
    """The rooms that a room may import from."""
    if room == "__init__":
        return FRONT_DOOR
    if room in BESIDE:
        return BESIDE[room] | {room}
    return set(ROOMS[: ROOMS.index(room) + 1])


def is_foreign(name: str) -> bool:
    return name.split(".")[0] not in sys.stdlib_module_names | {"aptask"}


def test_every_module_is_in_a_room() -> None:
    assert {room_of(module) for module in IN_HOUSE} <= {"__init__", *ROOMS, *BESIDE}


def test_a_room_imports_only_from_rooms_above_it() -> None:
    assert not [
        (module, name)
        for module in IN_HOUSE
        for name in imports_of(module)
        if name.split(".")[0] == "aptask"
        and room_of(name) not in allowed_rooms(room_of(module))
        and (module, name) not in EXCEPTIONS
    ]


def test_a_room_uses_only_those_packages_of_others_that_it_needs() -> None:
    assert not [
        (module, name)
        for module in IN_HOUSE
        for name in imports_of(module)
        if is_foreign(name) and not within(name, OTHERS[room_of(module)])
    ]


def test_a_room_knows_nothing_of_what_is_not_its_business() -> None:
    assert not [
        (module, name)
        for module in IN_HOUSE
        for name in imports_of(module)
        if within(name, UNKNOWN.get(room_of(module), set()))
    ]


def test_only_the_processes_own_modules_take_the_real_reactor() -> None:
    taking = {module for module in MODULES if "twisted.internet.reactor" in imports_of(module)}
    assert taking <= REACTOR


def test_a_module_does_nothing_at_import() -> None:
    for module in set(MODULES) - ACTING:
        for node in tree_of(module).body:
            is_reactor = isinstance(node, ast.ImportFrom) and node.names[0].name == "reactor"
            is_call = isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
            is_action = isinstance(node, ast.For | ast.While | ast.With | ast.Try)
            acts = is_reactor or is_call or is_action
            assert not acts, f"{module}, line {node.lineno}"


def test_a_module_says_what_it_is_for() -> None:
    assert not [module for module in MODULES if not ast.get_docstring(tree_of(module))]


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("aptask", {"aptask", "msgspec", "twisted", "zope"}),
        ("aptask.model.messages", {"twisted", "zope", "asyncio", "ssl", "socket"}),
        ("aptask.client", {"twisted", "zope", "rich", "asyncio", "ssl"}),
        ("aptask.cli.main", {"twisted", "zope", "rich", "asyncio", "ssl"}),
        ("aptask.tasks.task", {"twisted", "asyncio", "ssl"}),
        ("aptask.tasks.perform", {"twisted", "asyncio", "ssl"}),
        ("aptask.runner.nursery", {"twisted", "asyncio", "ssl"}),
    ],
)
def test_what_starts_often_loads_little(module: str, absent: set[str]) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(finished.stdout.split()) - {module}
    assert not [name for name in loaded if within(name, absent)]


def test_the_plugin_names_the_daemon_without_loading_it() -> None:
    [plugin] = [module for module in MODULES if module.startswith("twisted/")]
    assert plugin == "twisted/plugins/aptask_plugin.py"
    assert set(imports_of(plugin)) == {"twisted.application.service"}


def test_the_folders_of_twisted_stay_parts_of_its_own_package() -> None:
    assert not list((ROOT / "twisted").rglob("__init__.py"))


# Packaging


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_all_packages_are_installed() -> None:
    packages = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for path in (ROOT / "aptask").rglob("__init__.py")
    }
    assert set(setup()["options"]["packages"].split()) == packages | {"twisted.plugins"}


def test_the_requirements_are_what_is_imported() -> None:
    imported = {
        name.split(".")[0] for module in MODULES for name in imports_of(module) if is_foreign(name)
    }
    required = {
        re.split(r"\W", line.lower())[0]
        for line in setup()["options"]["install_requires"].splitlines()
        if line
    }
    assert required == imported
