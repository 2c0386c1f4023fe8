"""Discovery: finds what there is, survives every mistake of an author, says what it was."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import aptask.plugins
from aptask.errors import AptaskError
from aptask.model.description import Description, Kind, Target, Template
from aptask.tasks import discover as module
from aptask.tasks.candidates import SHIPPED, Level
from aptask.tasks.describe import Configured
from aptask.tasks.discover import Found, choose, discover
from aptask.tasks.perform import load

DISTRIBUTIONS = Path(__file__).parents[1] / "distributions"
GOOD = """
from aptask import Task, Program, argument

class Good{0}(Task):
    '''Does good.

        Indeed.
    '''
    path = argument(str, help="which")
    def run(self):
        pass
"""


@pytest.fixture
def folder(tmp_path):
    """A task folder with one good task and whatever else a test writes."""

    class Folder:
        path = tmp_path / "tasks"

        def write(self, name, source):
            self.path.mkdir(exist_ok=True)
            file = self.path / name
            file.write_text(source)
            return str(file)

    made = Folder()
    made.write("good.py", GOOD.format(""))
    return made


def by_name(found):
    return {description.name: description for description in found.descriptions}


def test_what_ships_is_found_with_nothing_to_complain_of():
    start = time.monotonic()
    found = discover()
    assert time.monotonic() - start < 4
    assert found.failures == ()
    assert [each.name for each in found.descriptions] == sorted(each for each in SHIPPED)
    files = {file.stem for file in Path(aptask.plugins.__file__).parent.glob("*.py")}
    assert files - {"__init__"} == SHIPPED


def test_a_task_folder_is_read_and_its_tasks_can_be_loaded(folder):
    folder.write("_helper.py", "1 / 0")
    folder.write("notes.txt", "no task")
    description = by_name(discover([str(folder.path)]))["good"]
    file = str(folder.path / "good.py")
    assert description.help == "Does good.\n\nIndeed."
    assert description.origin == file
    assert description.target.kind is Kind.TASK
    assert (description.target.file, description.target.path) == (file, (str(folder.path),))
    assert load(description.target)(path="x").path == "x"
    del sys.modules[description.target.module]
    assert not (folder.path / "__pycache__").exists()


def test_the_other_files_of_a_folder_may_be_imported_but_their_tasks_count_once(folder):
    folder.write("_base.py", GOOD.format("Base"))
    folder.write("more.py", "from _base import GoodBase\nclass Mine(GoodBase): pass\nAlias = Mine")
    found = discover([str(folder.path)])
    assert found.failures == ()
    assert {"good", "mine"} < set(by_name(found))
    assert "good_base" not in by_name(found)


MISTAKES = [
    ("\nimport nothing_of_that_name", ":2: ", "ModuleNotFoundError: No module named"),
    ("\n\n1 / 0", ":3: ", "ZeroDivisionError: division by zero"),
    ("def f(:\n  pass", ":1: ", "SyntaxError: "),
    ("x = '\0'", ": ", "null bytes"),
    ("import sys\nsys.exit(3)", ":2: ", "exits while it is imported: SystemExit: 3"),
    ("raise KeyboardInterrupt", ":1: ", "KeyboardInterrupt"),
    ("import os\nos._exit(0)", ": ", "exit code 0"),
    ("import os\nos.kill(os.getpid(), 11)", ": ", "SIGSEGV"),
    ("import os\nos.abort()", ": ", "SIGABRT"),
    ("while True: pass", ": ", "has not ended within 2 s"),
    ("import time\ntime.sleep(99)", ": ", "has not ended within 2 s"),
    ("def f(): f()\nf()", ":1: ", "RecursionError"),
    ("import os\nos.closerange(0, 100)\nos._exit(1)", ": ", "exit code 1"),
    (
        "from aptask import *\nclass A(Task):\n  x = argument(int, default='a')\n"
        "  def run(self): pass",
        ":2: ",
        "A: argument `x`: its default 'a' is no int",
    ),
    (
        "from aptask import *\nclass A(Program):\n  command = ['true', '{nothing}']",
        ":2: ",
        "A: command: `{nothing}` names no argument",
    ),
    (
        "from aptask import *\nclass A(Program):\n  command = 'true'",
        ":2: ",
        "A: command must be a list of texts",
    ),
    (
        "from aptask import *\nclass A(Program):\n  progress = 'rsnyc'\n  def command(self): pass",
        ":2: ",
        "A: ",
    ),
    (
        "from aptask import *\nclass A(Task):\n  name = 'no name'\n  def run(self): pass",
        ":2: ",
        "A: name must be up to 100 letters",
    ),
    (
        "from aptask import *\nclass A(Task):\n  requires = 'git'\n  def run(self): pass",
        ":2: ",
        "A: requires must be a list",
    ),
    (
        "from aptask import *\nclass A(Task):\n  grace = 'long'\n  def run(self): pass",
        ":2: ",
        "A: grace must be seconds",
    ),
    (
        "from aptask import *\nclass A(Task):\n  isolated = 1\n  def run(self): pass",
        ":2: ",
        "A: isolated must be True or False",
    ),
]


@pytest.fixture(scope="module")
def mistakes(tmp_path_factory):
    """A folder with a file for each mistake, and what discovery says of it."""
    folder = tmp_path_factory.mktemp("mistakes")
    for number, (source, _, _) in enumerate(MISTAKES):
        (folder / f"bad{number}.py").write_text(source)
    (folder / "good.py").write_text(GOOD.format(""))
    return folder, discover([str(folder)], timeout=2)


@pytest.mark.parametrize("number", range(len(MISTAKES)))
def test_each_mistake_is_reported_with_file_and_reason(mistakes, number):
    folder, found = mistakes
    _, place, message = MISTAKES[number]
    file = str(folder / f"bad{number}.py")
    (failure,) = [each for each in found.failures if each.plugin == file]
    assert failure.error.startswith(file + place)
    assert message in failure.error


def test_mistakes_cost_no_other_task(mistakes):
    _, found = mistakes
    assert {"good", *SHIPPED} == set(by_name(found))
    assert len(found.failures) == len(MISTAKES)


def test_a_broken_class_costs_not_even_its_neighbours(folder):
    broken = "class Broken(Task):\n  x = argument(bytes)\n  def run(self): pass\n"
    folder.write("mixed.py", GOOD.format("Neighbour") + broken)
    found = discover([str(folder.path)])
    assert "good_neighbour" in by_name(found)
    assert "Broken: argument `x`" in found.failures[0].error


def test_what_modules_print_and_leave_running_disturbs_nobody(folder):
    folder.write(
        "loud.py",
        "import os, subprocess, sys\n"
        "print('{}', flush=True)\nos.write(1, b'noise')\nsys.stderr.write('noise')\n"
        "subprocess.Popen(['sleep', '30'])\nos.fork()\n" + GOOD.format("Loud"),
    )
    start = time.monotonic()
    found = discover([str(folder.path)])
    assert "good_loud" in by_name(found)
    assert found.failures == ()
    assert time.monotonic() - start < 10


def test_a_folder_that_cannot_be_read_is_a_failure(tmp_path):
    found = discover([str(tmp_path / "nothing")])
    assert found.failures[0].plugin == str(tmp_path / "nothing")
    assert "primes" in by_name(found)


def test_two_tasks_of_one_name_in_folders_are_a_mistake_and_the_first_stays(folder, tmp_path):
    second = tmp_path / "second"
    second.mkdir()
    (second / "again.py").write_text(GOOD.format(""))
    found = discover([str(folder.path), str(second)])
    assert by_name(found)["good"].origin == str(folder.path / "good.py")
    (failure,) = found.failures
    assert failure.plugin == str(second / "again.py")
    assert "`good` already, from " + str(folder.path / "good.py") in failure.error


def test_a_folder_wins_over_what_ships_and_configuration_over_both(folder):
    folder.write("own.py", GOOD.format("") + "    name = 'sleep'\n")
    found = discover([str(folder.path)])
    assert found.failures == ()
    assert by_name(found)["sleep"].origin == str(folder.path / "own.py")
    mine = Description("sleep", "", (), "aptask.toml", template=Template(("true",)))
    found = discover([str(folder.path)], known=[mine])
    assert found.failures == ()
    assert by_name(found)["sleep"] == mine


def test_levels_decide_before_order_and_the_same_thing_found_twice_is_one():
    def found(level, plugin, identity):
        description = Description("x", "", (), plugin, target=Target(Kind.TASK, "m", "X"))
        return Found(level, plugin, identity, description)

    chosen = choose(
        [
            found(Level.SHIPPED, "shipped", "a"),
            found(Level.INSTALLED, "plugin", "b"),
            found(Level.INSTALLED, "entry point", "b"),
            found(Level.INSTALLED, "other", "c"),
        ]
    )
    assert [each.origin for each in chosen.descriptions] == ["plugin"]
    assert [failure.plugin for failure in chosen.failures] == ["other"]


@pytest.fixture
def environment(monkeypatch):
    """Puts folders on the path of discovery's child."""

    def put(*folders):
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(str(each) for each in folders))

    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    return put


def test_a_distribution_adds_plugins_and_without_it_they_are_gone(environment):
    environment(DISTRIBUTIONS / "plugin_package")
    found = discover()
    assert found.failures == ()
    description = by_name(found)["count_words"]
    assert description.target.module == "aptask.plugins.example_texts"
    assert by_name(found)["shout"].target.kind is Kind.PROGRAM
    environment()
    assert "count_words" not in by_name(discover())


def metadata(folder, name, entry_points):
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points)


def test_entry_points_name_classes(environment, tmp_path):
    metadata(tmp_path, "letters", "[aptask.tasks]\nx = letter_count.tasks:CountLetters\n")
    environment(DISTRIBUTIONS / "entry_point_package", tmp_path)
    found = discover()
    assert found.failures == ()
    description = by_name(found)["count_letters"]
    assert description.target == Target(Kind.TASK, "letter_count.tasks", "CountLetters")
    assert description.origin.startswith("letters 1.0: entry point x")


def test_each_wrong_entry_point_is_a_failure_of_its_own(environment, tmp_path):
    metadata(tmp_path, "garbage", "[aptask.tasks]\nnonsense\n")
    metadata(
        tmp_path,
        "letters",
        "[aptask.tasks]\n"
        "gone = letter_count.tasks:Gone\n"
        "missing = letter_count.missing:X\n"
        "module = letter_count.tasks\n"
        "no_task = collections:Counter\n"
        "x = letter_count.tasks:CountLetters\n",
    )
    environment(DISTRIBUTIONS / "entry_point_package", tmp_path)
    found = discover()
    assert "count_letters" in by_name(found)
    errors = {failure.plugin.partition(" =")[0]: failure.error for failure in found.failures}
    assert "AttributeError" in errors["letters 1.0: entry point gone"]
    assert "ModuleNotFoundError" in errors["letters 1.0: entry point missing"]
    assert errors["letters 1.0: entry point module"] == "must be `module:Class`"
    assert "Counter is no task" in errors["letters 1.0: entry point no_task"]
    assert "cannot be read" in errors["garbage 1.0"]


def test_a_module_hidden_by_another_distributions_is_a_failure(environment, tmp_path):
    for name in ("one", "two"):
        plugins = tmp_path / name / "aptask" / "plugins"
        plugins.mkdir(parents=True)
        (plugins / "same.py").write_text(GOOD.format(name.title()))
    environment(tmp_path / "one", tmp_path / "two")
    found = discover()
    assert "good_one" in by_name(found)
    assert [failure.plugin for failure in found.failures] == [
        str(tmp_path / "two" / "aptask" / "plugins" / "same.py")
    ]


REPORTS = """
from aptask import Task, argument

def build(day: str, deep: bool = False):
    '''Builds a report.'''

class Nightly(Task):
    '''Of a class.'''
    day = argument(str)
    def run(self): pass

def wrong(*days): pass
number = 5
"""


def test_configured_callables_are_described_from_their_signatures(tmp_path):
    (tmp_path / "reports_of_test.py").write_text(REPORTS)

    def table(name, attribute, **fields):
        python = f"reports_of_test:{attribute}"
        return Configured(name=name, python=python, origin=f"aptask.toml: {name}", **fields)

    found = discover(
        configured=[
            table("plain", "build"),
            table(
                "said",
                "build",
                help="Said.",
                grace=2.0,
                isolated=True,
                privileged=True,
                requires=("git",),
                arguments={"day": {"help": "which", "default": "today"}},
            ),
            table("of-class", "Nightly", arguments={"day": {"minimum": 1}}),
            table("broken", "wrong"),
            table("uncallable", "number"),
            table("missing", "nothing"),
            table("sleep", "build"),
        ],
        path=[str(tmp_path)],
    )
    tasks = by_name(found)
    plain, said, of_class = tasks["plain"], tasks["said"], tasks["of-class"]
    assert plain.help == "Builds a report."
    assert plain.origin == "aptask.toml: plain"
    assert [argument.type for argument in plain.arguments] == ["str", "bool"]
    assert plain.target == Target(Kind.CALLABLE, "reports_of_test", "build", path=(str(tmp_path),))
    assert (said.help, said.grace, said.isolated, said.privileged, said.requires) == (
        "Said.",
        2.0,
        True,
        True,
        ("git",),
    )
    assert (said.arguments[0].required, said.arguments[0].default) == (False, "today")
    assert (of_class.help, of_class.target.kind) == ("Of a class.", Kind.TASK)
    assert (of_class.arguments[0].required, of_class.arguments[0].minimum) == (True, 1)
    assert tasks["sleep"].origin == "aptask.toml: sleep"
    errors = {failure.plugin: failure.error for failure in found.failures}
    assert "`*days`" in errors["aptask.toml: broken"]
    assert "cannot be called" in errors["aptask.toml: uncallable"]
    assert "AttributeError" in errors["aptask.toml: missing"]
    assert len(errors) == 3


def test_a_package_of_a_configured_callable_that_exits_or_hangs_is_a_failure(tmp_path):
    for name, source in (("exits", "raise SystemExit(2)"), ("hangs", "while True: pass")):
        (tmp_path / f"package_{name}").mkdir()
        (tmp_path / f"package_{name}" / "__init__.py").write_text(source)
    found = discover(
        configured=[
            Configured(name=name, python=f"package_{name}.inner:build", origin=name)
            for name in ("exits", "hangs")
        ],
        path=[str(tmp_path)],
        timeout=1,
    )
    errors = {failure.plugin: failure.error for failure in found.failures}
    assert "__init__.py:1: exits while it is imported" in errors["exits"]
    assert errors["hangs"].startswith("package_hangs.inner:build: has not ended within 1 s")


def test_what_lies_in_the_current_folder_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "twisted.py").write_text("1 / 0")
    (tmp_path / "json.py").write_text("1 / 0")
    monkeypatch.chdir(tmp_path)
    assert "primes" in by_name(discover())


def test_a_child_that_comes_to_grief_is_one_clear_error(folder, monkeypatch):
    folder.write("killer.py", "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)")
    with pytest.raises(AptaskError, match="looking for tasks failed, with exit code -9"):
        discover([str(folder.path)])
    monkeypatch.setattr(module, "_BEGIN", "raise ImportError('of no use')")
    with pytest.raises(AptaskError, match="exit code 1: ImportError: of no use"):
        discover()
    monkeypatch.setattr(sys, "executable", "/nothing/python")
    with pytest.raises(AptaskError, match="cannot look for tasks"):
        discover()


def test_the_module_can_be_run_by_itself():
    ran = subprocess.run(
        [sys.executable, "-m", "aptask.tasks.discover"],
        input=b"{}",
        capture_output=True,
        check=True,
        cwd=Path(aptask.plugins.__file__).parents[2],
    )
    assert b'"name":"primes"' in ran.stdout
