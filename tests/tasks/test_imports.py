"""What is imported, and what is not."""

import subprocess
import sys

import pytest

import aptask


def modules_after(code):
    shown = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return set(shown.split())


def test_importing_aptask_imports_nothing_of_it():
    assert not [name for name in modules_after("import aptask") if name.startswith("aptask.")]


def test_authors_names_are_those_of_the_tasks_room():
    from aptask.errors import AptaskError
    from aptask.tasks import task

    for name in ("Task", "Program", "Stopped", "argument"):
        assert getattr(aptask, name) is getattr(task, name)
    assert aptask.AptaskError is AptaskError
    assert aptask.__version__
    assert set(aptask.__all__) <= set(dir(aptask))
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = aptask.nothing_of_that_name


@pytest.mark.parametrize(
    "code",
    [
        "from aptask import Task, Program, argument, Stopped",
        "import aptask.tasks.perform",
        "import aptask.tasks.perform, aptask.plugins.primes, aptask.plugins.copy",
        "import aptask.tasks.catalog, aptask.tasks.configured, aptask.tasks.discover",
    ],
)
def test_neither_authors_nor_jobs_processes_import_twisted(code):
    assert not [name for name in modules_after(code) if name.partition(".")[0] == "twisted"]


def test_a_job_process_asks_a_driver_without_importing_parsers_or_zope():
    modules = modules_after(
        "from aptask.tasks.perform import *\n"
        "from aptask.model.description import *\n"
        "launch(Target(Kind.PROGRAM, 'aptask.plugins.copy', 'Copy'), "
        "{'source': 'a', 'target': 'b'})"
    )
    assert "aptask.parsers" not in modules
    assert "zope.interface" not in modules
