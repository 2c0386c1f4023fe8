"""The catalog: what there is, what cannot run, and the work that a start is."""

import msgspec
import pytest

from aptask.errors import InvalidArguments
from aptask.model.arguments import Argument
from aptask.model.description import Description, Kind, Target, Template
from aptask.model.orders import Call, Spawn
from aptask.tasks.catalog import CACHED, Catalog

WIDTH = Argument("width", "int", False, 42, minimum=0, maximum=9999)
RESIZE = Description(
    "resize",
    "Resizes pictures.",
    (Argument("source", "str", help="..."), WIDTH),
    "x.py",
    template=Template(("convert", "{source}", "-w{width}")),
    requires=("convert", "identify"),
)
TARGET = Target(Kind.TASK, "module", "Count")
COUNT = Description("count", "", (WIDTH,), "x.py", target=TARGET, isolated=True, privileged=True)


class System:
    def __init__(self):
        self.installed = {"convert", "identify"}
        self.asked = []
        self.now = 0.0

    def which(self, program):
        self.asked.append(program)
        return f"/bin/{program}" if program in self.installed else None

    def clock(self):
        return self.now


@pytest.fixture
def system():
    return System()


@pytest.fixture
def catalog(system):
    return Catalog([RESIZE, COUNT], system.which, system.clock)


def everything(description):
    return True


def test_tasks_are_known_by_name(catalog):
    assert catalog.get("resize") is RESIZE
    assert catalog.get("nothing") is None
    assert catalog.names() == ["count", "resize"]


def test_index_shows_what_is_allowed_as_the_protocol_says(catalog):
    assert catalog.entries(lambda description: not description.privileged) == [
        {
            "name": "resize",
            "help": "Resizes pictures.",
            "arguments": [
                {"name": "source", "type": "str", "required": True, "help": "..."},
                {"name": "width", "type": "int", "default": 42, "minimum": 0, "maximum": 9999},
            ],
        }
    ]
    assert [entry["name"] for entry in catalog.entries(everything)] == ["count", "resize"]


def test_index_adds_schemas_where_asked(catalog):
    count, _ = catalog.entries(everything, with_schema=True)
    assert count["schema"]["properties"]["width"]["maximum"] == 9999
    assert "schema" not in catalog.entries(everything)[0]


def test_a_task_without_its_program_is_unavailable_until_it_is_installed(catalog, system):
    system.installed = {"convert"}
    assert catalog.unavailable(RESIZE) == "identify is not installed"
    assert catalog.unavailable(COUNT) is None
    _, resize = catalog.entries(everything)
    assert resize["unavailable"] == "identify is not installed"
    system.installed.add("identify")
    system.now = CACHED - 0.1
    assert catalog.unavailable(RESIZE) == "identify is not installed"
    assert system.asked == ["convert", "identify"]
    system.now = CACHED
    assert catalog.unavailable(RESIZE) is None
    assert "unavailable" not in catalog.entries(everything)[1]


def test_the_nearest_names_are_those_that_are_allowed(catalog):
    assert catalog.nearest("resise", everything) == ["resize"]
    assert catalog.nearest("cuont", everything) == ["count"]
    assert catalog.nearest("cuont", lambda description: not description.privileged) == []
    assert catalog.nearest("x" * 1_000_000, everything) == []


def test_a_template_becomes_a_program_to_spawn(catalog):
    values = catalog.accept(RESIZE, {"source": "a b"})
    assert catalog.work(RESIZE, values) == Spawn(["convert", "a b", "-w42"])


def test_a_target_becomes_a_call_with_its_values(catalog):
    values = catalog.accept(COUNT, ["7"])
    assert catalog.work(COUNT, values) == Call(TARGET, msgspec.Raw(b'{"width":7}'), True)


def test_work_can_be_had_for_a_description_of_an_earlier_catalog(catalog):
    earlier = msgspec.structs.replace(RESIZE, template=Template(("old", "{source}")))
    gone = msgspec.structs.replace(earlier, name="gone")
    for description in (earlier, gone):
        assert catalog.work(description, {"source": "x", "width": 1}).command == ["old", "x"]


def test_values_that_make_no_program_are_refused_before_anything_is_queued(system):
    anything = Description(
        "x", "", (Argument("command", "list"),), "x", template=Template(("{command}",))
    )
    catalog = Catalog([anything], system.which, system.clock)
    for command in ([], [None], [[]]):
        with pytest.raises(InvalidArguments):
            catalog.accept(anything, [command])


def test_a_wrong_template_is_refused_with_its_task(system):
    with pytest.raises(ValueError, match="resize: command"):
        Catalog(
            [msgspec.structs.replace(RESIZE, template=Template(("{x}",)))],
            system.which,
            system.clock,
        )
    with pytest.raises(ValueError, match="neither"):
        Catalog([Description("x", "", (), "x")], system.which, system.clock)


def test_privileged_programs_are_not_pointed_into_the_data_folder(system, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    program = Description(
        "program",
        "",
        (Argument("command", "list"), Argument("cwd", "str", False)),
        "x",
        template=Template(("{command}",), cwd="{cwd}"),
        privileged=True,
    )
    catalog = Catalog([program], system.which, system.clock, str(tmp_path / "link"))
    for command, cwd in [
        (["ls"], str(data)),
        (["ls"], "data/results"),
        (["ls"], "x/../data"),
        (["ls"], str(tmp_path / "link")),
        (["cat", str(data / "local.key")], None),
        (["cat", "data/local.key"], None),
        (["cat", "../data/local.key"], str(tmp_path / "other")),
    ]:
        with pytest.raises(InvalidArguments, match="data folder"):
            catalog.accept(program, {"command": command, "cwd": cwd})
    for command, cwd in [(["ls", "data"], "/"), (["/bin/ls", f"{data}base"], str(tmp_path))]:
        catalog.accept(program, {"command": command, "cwd": cwd})
