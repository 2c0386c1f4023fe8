"""Tasks from configuration: described, or refused with table and field."""

import tomllib

import pytest

from aptask.errors import ConfigurationError
from aptask.model.arguments import Argument
from aptask.model.description import Template
from aptask.model.orders import Spawn
from aptask.tasks.catalog import Catalog
from aptask.tasks.configured import read_tasks
from aptask.tasks.describe import Configured

EXAMPLE = """
[tasks.thumbnail]
help     = "Makes a small picture of a video"
command  = ["ffmpeg", "-y", "-i", "{source}", "-vf", "scale={width}:-1",
            "-frames:v", "1", "{target}"]
progress = "ffmpeg"
[tasks.thumbnail.arguments]
source = { type = "str" }
target = { type = "str" }
width  = { default = 320, minimum = 16, maximum = 4096 }

[tasks.nightly]
python = "reports.nightly:build"
"""


def read(text):
    return read_tasks(tomllib.loads(text)["tasks"], "aptask.toml")


def test_the_documented_example_is_read():
    configuration = read(EXAMPLE)
    (thumbnail,) = configuration.descriptions
    assert thumbnail.name == "thumbnail"
    assert thumbnail.origin == "aptask.toml: [tasks.thumbnail]"
    assert thumbnail.requires == ("ffmpeg",)
    assert thumbnail.arguments[2] == Argument("width", "int", False, 320, minimum=16, maximum=4096)
    (nightly,) = configuration.callables
    assert (nightly.name, nightly.python) == ("nightly", "reports.nightly:build")
    catalog = Catalog(configuration.descriptions, lambda program: program, lambda: 0.0)
    values = catalog.accept(thumbnail, ["a b.mp4", "-x.png"])
    assert catalog.work(thumbnail, values).command == [
        *("ffmpeg", "-y", "-i", "a b.mp4", "-vf", "scale=320:-1", "-frames:v", "1", "-x.png")
    ]


def test_every_field_of_a_program_is_taken():
    (description,) = read(
        """
        [tasks.full]
        command = ["{tool}", "{files}"]
        cwd = "/srv/{tool}"
        env = { A = "{tool}" }
        stdin = { file = "/in/{tool}" }
        nice = 5
        memory_limit = "{limit}"
        progress = '(?P<percent>\\d{1,3})%'
        grace = 2
        isolated = true
        requires = ["one", "two"]
        privileged = true
        [tasks.full.arguments]
        tool = { type = "str", choices = ["one", "two"], help = "which" }
        files = { type = "list", maximum = 3 }
        limit = { type = "int", required = false }
        table = { type = "dict", default = {}, secret = "values" }
        """
    ).descriptions
    assert description.template == Template(
        ("{tool}", "{files}"),
        "/srv/{tool}",
        {"A": "{tool}"},
        None,
        "/in/{tool}",
        5,
        "{limit}",
        r"(?P<percent>\d{1,3})%",
    )
    assert (description.grace, description.isolated, description.privileged) == (2.0, True, True)
    assert description.requires == ("one", "two")
    assert description.arguments[2] == Argument("limit", "int", False)
    assert description.arguments[3].secret == "values"
    catalog = Catalog([description], lambda program: program, lambda: 0.0)
    assert catalog.work(description, catalog.accept(description, ["one", ["x"]])) == Spawn(
        ["one", "x"],
        "/srv/one",
        {"A": "one"},
        stdin_file="/in/one",
        nice=5,
        progress=r"(?P<percent>\d{1,3})%",
    )


def test_a_callable_table_is_passed_on_for_discovery():
    (task,) = read(
        """
        [tasks.nightly]
        python = "reports:Builder.build"
        help = "x"
        isolated = false
        arguments.day = { help = "which", required = false }
        """
    ).callables
    assert task == Configured(
        name="nightly",
        python="reports:Builder.build",
        origin="aptask.toml: [tasks.nightly]",
        help="x",
        isolated=False,
        arguments={"day": {"help": "which", "default": None}},
    )


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("x = 1", "x: must be a table"),
        ("'a b'.command = ['x']", "a b: name must be"),
        ("x.help = 'x'", "x: must have one of `command` and `python`"),
        ("x = { command = ['x'], python = 'a:b' }", "x: must have one of"),
        ("x = { command = ['x'], comand = 1 }", "x.comand: there is no such field"),
        ("x.command = 'ls -l'", "x.command: must be a list of texts"),
        ("x.command = []", "x.command: must hold a program"),
        ("x.command = ['a', 1]", "x.command: must be a list of texts"),
        ("x.command = ['a', '{b}']", "x.command: `{b}` names no argument; the arguments are: none"),
        ("x.command = ['a', '{']", "x.command: a single `{`"),
        ("x = { command = ['x'], help = 1 }", "x.help: must be text"),
        ("x = { command = ['x'], cwd = 1 }", "x.cwd: must be text"),
        ("x = { command = ['x'], cwd = '{y}' }", "x.cwd: `{y}` names no argument"),
        ("x = { command = ['x'], env = 1 }", "x.env: must be a table"),
        ("x = { command = ['x'], env.A = 1 }", "x.env.A: must be text"),
        ("x = { command = ['x'], env.A = '{y}' }", "x.env.A: `{y}` names no argument"),
        ("x = { command = ['x'], stdin = 1 }", "x.stdin: must be text, or"),
        ("x = { command = ['x'], stdin.fle = 'a' }", "x.stdin: must be text, or"),
        ("x = { command = ['x'], nice = 1.5 }", "x.nice: must be a whole number"),
        ("x = { command = ['x'], nice = 99 }", "x.nice: must be from -20 to 19"),
        ("x = { command = ['x'], memory_limit = true }", "x.memory_limit: must be a whole"),
        ("x = { command = ['x'], progress = 'rsnyc' }", "x.progress: "),
        ("x = { command = ['x'], progress = 5 }", "x.progress: must be text"),
        ("x = { command = ['x'], grace = -1 }", "x.grace: must be seconds"),
        ("x = { command = ['x'], grace = nan }", "x.grace: must be seconds"),
        ("x = { command = ['x'], isolated = 1 }", "x.isolated: must be true or false"),
        ("x = { command = ['x'], privileged = 'no' }", "x.privileged: must be true or false"),
        ("x = { command = ['x'], requires = 'git' }", "x.requires: must be a list of texts"),
        ("x = { command = ['x'], arguments = [] }", "x.arguments: must be a table"),
        ("x = { command = ['x'], arguments.w = 1 }", "x.arguments.w: must be a table"),
        ("x = { command = ['x'], arguments.w = {} }", "x.arguments.w: needs a type"),
        ("x = { command = ['x'], arguments.w.tpye = 'int' }", "x.arguments.w.tpye: there is no"),
        (
            "x = { command = ['x'], arguments.w.type = 'integer' }",
            "x.arguments.w.type: must be one",
        ),
        ("x = { command = ['x'], arguments.w.type = [] }", "x.arguments.w.type: must be one"),
        (
            "x = { command = ['x'], arguments.w = { type = 'int', default = '3' } }",
            "x.arguments.w: its default '3' is no int",
        ),
        (
            "x = { command = ['x'], arguments.w = { default = 3, minimum = 4 } }",
            "x.arguments.w: its default does not fit",
        ),
        (
            "x = { command = ['x'], arguments.w.default = 1979-05-27 }",
            "x.arguments.w: needs a type",
        ),
        (
            "x = { command = ['x'], arguments.w = { type = 'int', required = true } }",
            "x.arguments.w.required: is false for",
        ),
        ("x = { command = ['x'], arguments.'a-b'.type = 'int' }", "x.arguments.a-b: its name must"),
        ("x.python = 'reports.nightly'", "x.python: must be `module:callable`"),
        ("x.python = 'reports:build()'", "x.python: must be `module:callable`"),
        ("x.python = 5", "x.python: must be text"),
        ("x = { python = 'a:b', progress = 'auto' }", "x.progress: goes with `command`"),
        ("x = { python = 'a:b', arguments.w.minimun = 1 }", "x.arguments.w.minimun: there is no"),
        (
            "x = { python = 'a:b', arguments.w = { default = 3, minimum = 4 } }",
            "x.arguments.w: its default does not fit",
        ),
    ],
)
def test_a_wrong_table_is_refused_with_its_field(table, message):
    with pytest.raises(ConfigurationError) as caught:
        read("[tasks]\n" + table)
    assert str(caught.value).startswith("tasks." + message)
