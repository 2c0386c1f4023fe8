"""Classes as plain descriptions."""

import pathlib

from aptask.model.description import Kind, Target, Template
from aptask.tasks.describe import describe_class
from aptask.tasks.task import Program, Task, argument

TARGET = Target(Kind.TASK, "module", "Class")


def described(cls):
    return describe_class(cls, TARGET, "file.py")


def test_a_task_has_its_settings_and_a_target():
    class CountWords(Task):
        """Counts."""

        path = argument(str)
        grace = 3
        isolated = True
        requires = ["wc"]
        privileged = True

        def run(self):
            pass

    made = described(CountWords)
    assert (made.name, made.help, made.origin) == ("count_words", "Counts.", "file.py")
    assert (made.grace, made.isolated, made.requires, made.privileged) == (3.0, True, ("wc",), True)
    assert (made.target, made.template) == (TARGET, None)
    assert [each.name for each in made.arguments] == ["path"]


def test_a_docstring_is_not_inherited_from_task():
    class Silent(Task):
        def run(self):
            pass

    assert described(Silent).help == ""


def test_a_driver_of_plain_data_is_a_template_and_needs_its_program():
    class Mirror(Program):
        source = argument(str)
        level = argument(int, default=None)
        command = ["rsync", "-a", "--", "{source}", pathlib.Path("/backup")]
        cwd = "/srv/{source}"
        env = {"A": "{source}", "B": 1}
        stdin = pathlib.Path("/{source}")
        nice = "{level}"
        memory_limit = 1 << 30
        progress = "rsync"

    made = described(Mirror)
    assert made.target is None
    assert made.template == Template(
        ("rsync", "-a", "--", "{source}", "/backup"),
        "/srv/{source}",
        {"A": "{source}", "B": "1"},
        None,
        "/{source}",
        "{level}",
        1 << 30,
        "rsync",
    )
    assert made.requires == ("rsync",)


def test_a_driver_whose_author_must_be_asked_has_a_target():
    class Plain(Program):
        command = ["true"]

    class Method(Plain):
        def command(self):
            return ["true"]

    class Judge(Plain):
        def succeeded(self, code):
            return True

    class Folder(Plain):
        @property
        def cwd(self):
            return "/"

    class Made(Plain):
        def __init__(self, **values):
            super().__init__(**values)

    class Secret(Plain):
        secret_env = argument(dict, default={}, secret=True)

    assert described(Plain).template == Template(("true",))
    for cls in (Method, Judge, Folder, Made, Secret):
        made = described(cls)
        assert made.template is None
        assert made.target.kind is Kind.PROGRAM
