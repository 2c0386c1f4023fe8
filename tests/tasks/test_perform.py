"""What a job's process does: loading, running, asking drivers, noticing changed files."""

import io
import json
import os
import pathlib
import py_compile
import sys
import textwrap

import pytest

from aptask.model.description import Kind, Target
from aptask.model.orders import Spawn
from aptask.tasks import reporting
from aptask.tasks.perform import (
    changed,
    judge,
    launch,
    load,
    load_module,
    perform,
    sources,
)
from aptask.tasks.reporting import Reporter


@pytest.fixture
def author(tmp_path, monkeypatch):
    """Writes a file of an author's and gives the target of what is in it."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)

    def write(source, attribute, kind=Kind.PROGRAM, name="author"):
        file = tmp_path / f"{name}.py"
        file.write_text("from aptask import *\n" + textwrap.dedent(source))
        return Target(kind, f"aptask_task_{name}", attribute, str(file), (str(tmp_path),))

    yield write
    for name in set(sys.modules) - known:
        del sys.modules[name]
    reporting.use(None)


def silent():
    return Reporter(lambda line: None)


def test_a_task_is_run_with_its_values_and_its_last_report_is_sent(author):
    lines = []
    target = author(
        """
        class Adds(Task):
            one = argument(int)
            other = argument(int, default=2)

            def run(self):
                self.report(0.1)
                self.report(0.9, "nearly")
                return {"sum": self.one + self.other}
        """,
        "Adds",
        Kind.TASK,
    )
    assert perform(target, {"one": 1, "other": 5}, Reporter(lines.append)) == {"sum": 6}
    assert json.loads(lines[-1]) == {"progress": 0.9, "message": "nearly"}


def test_what_a_task_raises_comes_out_and_its_last_report_with_it(author):
    lines = []
    target = author(
        """
        class Fails(Task):
            def run(self):
                self.report(0.1)
                self.report(0.2)
                raise Stopped
        """,
        "Fails",
        Kind.TASK,
    )
    with pytest.raises(BaseException) as caught:
        perform(target, {}, Reporter(lines.append))
    assert type(caught.value).__name__ == "Stopped"
    assert json.loads(lines[-1]) == {"progress": 0.2}


def test_a_callable_is_called_by_name_and_may_be_a_method(author):
    target = author(
        """
        class Report:
            def build(self, day, *, deep=False):
                return [day, deep]

        report = Report()
        """,
        "report.build",
        Kind.CALLABLE,
    )
    assert perform(target, {"deep": True, "day": "x"}, silent()) == ["x", True]


def test_a_file_is_loaded_once_beside_its_folder_and_leaves_nothing_compiled(
    author, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "helper_of_author.py").write_text("VALUE = 7\n")
    target = author("import helper_of_author\nfrom dataclasses import dataclass\n", "Task")
    assert load_module(target) is load_module(target)
    assert load_module(target).helper_of_author.VALUE == 7
    assert not (tmp_path / "__pycache__").exists()
    assert sys.dont_write_bytecode is False


def test_what_is_compiled_already_is_not_taken_for_a_file(author, tmp_path):
    target = author("VALUE = 1", "VALUE")
    times = (1, 1)
    os.utime(target.file, times)
    py_compile.compile(target.file)
    author("VALUE = 2", "VALUE")
    os.utime(target.file, times)
    assert load(target) == 2


def test_a_file_named_like_a_module_of_python_takes_nothings_place(author):
    target = author("import colorsys\nfound = colorsys.rgb_to_hsv", "found", name="colorsys")
    assert load(target)(0, 0, 0) == (0, 0, 0)


def test_a_file_that_cannot_be_imported_is_not_half_there(author):
    target = author("1 / 0", "x")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            load(target)


def test_a_module_that_can_be_imported_is(author):
    target = Target(Kind.TASK, "aptask.plugins.primes", "Primes")
    assert load(target).__name__ == "Primes"
    with pytest.raises(AttributeError):
        load(Target(Kind.TASK, "aptask.plugins.primes", "Nothing"))


def test_a_driver_says_what_is_to_be_spawned(author, tmp_path):
    target = author(
        """
        import pathlib

        class Driver(Program):
            path = argument(str)
            count = argument(int, default=3)
            progress = "percent"
            nice = 5
            env = {"PLAIN": "{count}", "N": "{{}}"}

            def command(self):
                return ("prog", "--", self.path, pathlib.Path("/x"), self.count, 1.5)

            @property
            def secret_env(self):
                return {"KEY": "{path}"}

            @property
            def cwd(self):
                return pathlib.Path("/tmp/{path}")
        """,
        "Driver",
    )
    assert launch(target, {"path": "-{a} b", "count": 3}) == Spawn(
        command=["prog", "--", "-{a} b", "/x", "3", "1.5"],
        cwd="/tmp/{path}",
        env={"PLAIN": "3", "N": "{}", "KEY": "{path}"},
        nice=5,
        progress="percent",
        secrets=["{path}"],
    )


def test_settings_may_be_arguments_or_set_by_init(author):
    target = author(
        """
        class Driver(Program):
            command = argument(list)
            env = argument(dict, default={})
            secret_env = argument(dict, default={}, secret=True)
            cwd = argument(str, default=None)

            def __init__(self, **values):
                super().__init__(**values)
                self.memory_limit = 1024
        """,
        "Driver",
    )
    values = {"command": ["p", "{x}"], "env": {"A": "{y}"}, "secret_env": {"B": 2}, "cwd": None}
    assert launch(target, values) == Spawn(
        ["p", "{x}"], env={"A": "{y}", "B": "2"}, memory_limit=1024
    )


def test_plain_settings_are_filled_where_the_author_must_be_asked_anyway(author):
    target = author(
        """
        class Driver(Program):
            path = argument(str)
            command = ["prog", "{path}"]

            def succeeded(self, code):
                return code in (0, 24)
        """,
        "Driver",
    )
    assert launch(target, {"path": "a b"}) == Spawn(["prog", "a b"], judged=True)
    assert judge(target, {"path": "a b"}, 24) is True
    assert judge(target, {"path": "a b"}, 1) is False


def test_standard_input_is_text_or_a_file(author, tmp_path):
    source = """
        import pathlib

        class Driver(Program):
            kind = argument(str)

            def command(self):
                return ["cat"]

            @property
            def stdin(self):
                path = {path!r}
                return {{"text": "{{hello}}", "path": pathlib.Path(path), "file": open(path)}}[
                    self.kind
                ]
        """
    file = tmp_path / "in{put}"
    file.write_text("")
    target = author(source.format(path=str(file)), "Driver")
    assert launch(target, {"kind": "text"}).stdin == "{hello}"
    assert launch(target, {"kind": "path"}).stdin_file == str(file)
    assert launch(target, {"kind": "file"}).stdin_file == os.path.realpath(file)


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("command", "rsync -a", "command must be a list of texts, not 'rsync -a' (there is no sh"),
        ("command", None, "command must be a list of texts, not None"),
        ("command", [], "command must be a list with a program at least"),
        ("command", [""], "names no program|must hold a program"),
        ("command", ["a", None], "command must hold text, paths and numbers only, not None"),
        ("command", ["a", True], "command must hold text, paths and numbers only, not True"),
        ("command", ["a\0"], "command must not hold a NUL character"),
        ("command", ["a", b"b"], "command must hold text, paths and numbers only, not b'b'"),
        ("cwd", 5.5j, "cwd must hold text"),
        ("env", ["A"], "env must be a dict of variables"),
        ("env", {"A": None}, "env['A'] must hold text"),
        ("env", {"A=B": "x"}, "cannot be the name of a variable"),
        ("secret_env", "A", "secret_env must be a dict of variables"),
        ("stdin", io.StringIO("x"), "stdin must be text, a path or an open file"),
        ("nice", "5", "nice must be a whole number, not '5'"),
        ("nice", 30, "nice: must be from -20 to 19"),
        ("memory_limit", 1.5, "memory_limit must be a whole number"),
        ("progress", None, "progress must be the name of a parser"),
    ],
)
def test_what_is_no_program_is_refused_with_class_and_setting(author, setting, value, message):
    target = author(
        """
        class Driver(Program):
            command = ["true"]

            def __init__(self, **values):
                super().__init__(**values)
                setattr(self, *given)
        """,
        "Driver",
    )
    load_module(target).given = (setting, (lambda: value) if setting == "command" else value)
    with pytest.raises((TypeError, ValueError)) as caught:
        launch(target, {})
    shown = str(caught.value)
    assert shown.startswith("Driver: ")
    assert any(part in shown for part in message.split("|"))


def test_a_change_of_the_file_or_what_lies_beside_it_is_seen(author, tmp_path):
    helper = tmp_path / "helper_beside.py"
    helper.write_text("VALUE = 1\n")
    target = author("import helper_beside, json, msgspec, aptask.tasks.task", "Task")
    module = load_module(target)
    known = sources(module)
    assert {target.file, str(helper)} <= set(known)
    assert not [file for file in known if "site-packages" in file or "/aptask/tasks" in file]
    assert not [file for file in known if os.path.dirname(json.__file__) in file]
    assert not changed(known)
    helper.write_text("VALUE = 2\n")
    assert changed(known)
    known = sources(module)
    pathlib.Path(target.file).unlink()
    assert changed(known)


def test_a_plugin_in_our_package_is_watched_but_the_package_is_not():
    import aptask.plugins.primes as module

    assert module.__file__ in sources(module)
    assert reporting.__file__ not in sources(module)
