"""What authors derive from: names, tracking, and how Twisted's plugin system sees it."""

import abc
import json
import subprocess
import sys

import pytest
from zope.interface import providedBy

from aptask.interfaces import ITask
from aptask.tasks import reporting, task
from aptask.tasks.task import Program, Stopped, Task, argument, is_task, name_of


class Reports(list):
    def install(self, monkeypatch):
        self.reporter = reporting.Reporter(lambda line: self.append(json.loads(line)))
        monkeypatch.setattr(reporting, "_current", self.reporter)
        return self


@pytest.fixture
def reports(monkeypatch):
    return Reports().install(monkeypatch)


class Plain(Task):
    def run(self):
        return None


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("CountWords", "count_words"),
        ("HTTPGet", "http_get"),
        ("Get2Files", "get2_files"),
        ("X", "x"),
        ("already_snake", "already_snake"),
    ],
)
def test_a_task_is_named_like_its_class(written, name):
    cls = type(written, (Task,), {"run": lambda self: None})
    assert cls.name == name
    assert name_of(cls) == name


def test_a_name_is_not_inherited():
    class First(Plain):
        name = "the-first"

    class Second(First):
        pass

    assert (name_of(First), name_of(Second)) == ("the-first", "second")


def test_an_argument_may_be_called_name():
    class Greet(Plain):
        name = argument(str)

    assert name_of(Greet) == "greet"
    assert Greet(name="x").name == "x"


def test_bases_are_no_tasks():
    class _Hidden(Plain):
        pass

    class Base(Task):
        pass

    class Driver(Program):
        pass

    class Abstract(Plain, abc.ABC):
        @abc.abstractmethod
        def part(self): ...

    for value in (Task, Program, _Hidden, Base, Driver, Abstract, Plain(), "x", int):
        assert not is_task(value)
    assert is_task(Plain)


def test_stopped_passes_by_those_who_catch_exceptions():
    assert not issubclass(Stopped, Exception)


def test_classes_but_not_instances_or_bases_adapt_to_itask():
    assert ITask(Plain, None) is Plain
    assert ITask in providedBy(Plain)
    assert ITask(Plain(), None) is None
    assert ITask(Task, None) is None

    class Derived(Plain):
        run = Task.run

    assert ITask(Derived, None) is None


PLUGINS = """
from aptask import Task
from aptask.tasks.task import Program

class _Base(Task):
    def run(self): pass

class Unfinished(Task):
    pass

class Listed(_Base):
    pass

class Driver(Program):
    command = ["true"]

instance = Listed()
"""

ASK = """
import sys
{before}
from twisted.plugin import getPlugins
import aptask.plugins
from aptask.interfaces import ITask
print(sorted(each.__name__ for each in getPlugins(ITask, aptask.plugins)))
"""


@pytest.mark.parametrize("before", ["", "import aptask.plugins.listed, aptask.plugins.primes"])
def test_get_plugins_lists_the_classes_of_all_distributions(tmp_path, before, monkeypatch):
    folder = tmp_path / "aptask" / "plugins"
    folder.mkdir(parents=True)
    (folder / "listed.py").write_text(PLUGINS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    shown = subprocess.run(
        [sys.executable, "-c", ASK.format(before=before)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = eval(shown)
    assert {"Listed", "Driver", "Primes", "AnyProgram", "Sleep", "Copy"} <= set(listed)
    assert not {"_Base", "Unfinished", "Task", "Program"} & set(listed)


def test_tracking_reports_the_share_of_items(reports, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(task.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(reports.reporter, "_clock", lambda: next(clock))
    assert list(Plain().track([1, 2, 3, 4])) == [1, 2, 3, 4]
    assert [report["progress"] for report in reports] == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_tracking_weighs_items_by_their_size(reports):
    list(Plain().track(iter(["a", "bbb"]), total=8, size=len))
    reports.reporter.flush()
    assert [report["progress"] for report in reports] == [0.125, 0.5]


def test_the_last_report_of_tracking_leaves_at_once_and_most_others_do_not(reports):
    list(Plain().track(range(100_000)))
    assert reports[-1] == {"progress": 1.0}
    assert len(reports) <= 10


def test_tracking_what_has_no_length_only_iterates(reports):
    assert list(Plain().track(iter("abc"))) == ["a", "b", "c"]
    assert list(Plain().track([])) == []
    assert list(Plain().track(["a"], size=len)) == ["a"]
    assert reports == []


def test_leaving_a_tracked_loop_reports_no_end_and_closes_what_is_iterated(reports):
    closed = []

    def items():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    for _ in Plain().track(items(), total=10):
        break
    reports.reporter.flush()
    assert closed == [True]
    assert reports == []


def test_tracking_with_what_is_no_total_is_refused():
    with pytest.raises(TypeError, match="total"):
        Plain().track([1], total="10")
