"""Secret arguments: where a program may be given them, and what is never told of them."""

from __future__ import annotations

import json
import pathlib
import tomllib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from aptask.errors import ConfigurationError, InvalidArguments
from aptask.model.arguments import Argument, check, describe, schema
from aptask.model.description import Kind, Target, Template
from aptask.model.orders import Call, Spawn
from aptask.tasks.catalog import Catalog
from aptask.tasks.configured import read_tasks
from aptask.tasks.declaration import arguments_of, make_argument
from aptask.tasks.describe import Configured, describe_class, describe_configured
from aptask.tasks.perform import launch
from aptask.tasks.task import Program, Task, argument
from aptask.tasks.template import compile_template

SECRET = "hunter2 and more"
TOKEN = (
    Argument("token", "str", secret=True),
    Argument("number", "int", secret=True),
    Argument("table", "dict", secret="values"),
    Argument("list", "list", secret=True),
)
HINT = "give it by `secret_env` or `stdin`"
TARGET = Target(Kind.PROGRAM, __name__, "")


class Computes(Program):
    """A driver whose command its author's code makes."""

    token = argument(str, secret=True)
    prefix = argument(str, default="--token=")

    def command(self) -> list[Any]:
        return ["curl", self.prefix + self.token]


class Proper(Program):
    """A driver that gives its secrets by the environment."""

    token = argument(str, secret=True)

    command = ("curl", "-K-")

    @property
    def secret_env(self) -> dict[str, str]:
        return {"TOKEN": self.token, "OTHER": "from a vault", "SHORT": "1"}


def fails(settings: dict[str, Any]) -> str:
    declared = {
        "token": argument(str, secret=True),
        "number": argument(int, secret=True),
        "command": ["true"],
        **settings,
    }
    with pytest.raises(ValueError) as caught:
        describe_class(type("Driver", (Program,), declared), TARGET, "file.py")
    return str(caught.value)


@pytest.mark.parametrize(
    ("setting", "template"),
    [
        ("command", Template(("curl", "{token}"))),
        ("command", Template(("curl", "--token={token}"))),
        ("command", Template(("{list}",))),
        ("command", Template(("curl", "{table}"))),
        ("cwd", Template(("x",), cwd="/{token}")),
        ("stdin", Template(("x",), stdin_file="/{token}")),
        ("nice", Template(("x",), nice="{number}")),
        ("memory_limit", Template(("x",), memory_limit="{number}")),
        ("progress", Template(("x",), progress="{token}")),
    ],
)
def test_a_template_with_a_secret_where_others_see_it_is_refused(
    setting: str, template: Template
) -> None:
    with pytest.raises(ValueError) as caught:
        compile_template(template, TOKEN)
    assert str(caught.value).startswith(f"{setting}: argument `")
    assert HINT in str(caught.value)


def test_by_environment_and_standard_input_a_program_gets_it() -> None:
    template = Template(("x",), env={"A": "{token}"}, stdin="key={token}")
    values = check(TOKEN, {"token": SECRET, "number": 1, "table": {}, "list": []})
    made = compile_template(template, TOKEN)(values)
    assert made == Spawn(["x"], env={"A": SECRET}, stdin=f"key={SECRET}", secrets=[SECRET])


@pytest.mark.parametrize(
    ("setting", "settings"),
    [
        ("command", {"command": ["curl", "{token}"]}),
        ("command", {"command": ["curl", pathlib.Path("/{token}")]}),
        ("command", {"command": argument(list, secret=True)}),
        ("cwd", {"cwd": "/{token}"}),
        ("cwd", {"cwd": argument(str, secret=True)}),
        ("stdin", {"stdin": pathlib.Path("/{token}")}),
        ("nice", {"nice": argument(int, secret=True)}),
        ("nice", {"nice": "{number}"}),
        ("memory_limit", {"memory_limit": argument(int, secret=True)}),
        ("progress", {"progress": argument(str, secret=True)}),
        # What its author has to be asked for changes nothing of it.
        ("command", {"command": ["x", "{token}"], "succeeded": lambda self, code: True}),
        ("command", {"command": ["x", "{token}"], "secret_env": {"A": "{token}"}}),
        ("cwd", {"command": lambda self: ["x"], "cwd": "/{token}"}),
    ],
)
def test_a_class_with_a_secret_where_others_see_it_is_refused_when_it_is_declared(
    setting: str, settings: dict[str, Any]
) -> None:
    message = fails(settings)
    assert message.startswith(f"Driver: {setting}: argument `")
    assert HINT in message


def test_a_class_that_gives_its_secrets_otherwise_is_taken() -> None:
    assert describe_class(Proper, TARGET, "file.py").template is None
    for settings in (
        {"stdin": argument(str, secret=True)},
        {"stdin": "{token}"},
        {"env": {"A": "{token}"}},
        {"env": argument(dict, secret=True)},
    ):
        declared = {"token": argument(str, secret=True), "command": ["true"], **settings}
        cls = type("Driver", (Program,), declared)
        assert describe_class(cls, TARGET, "file.py").template is not None


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("command", "command = ['curl', '{token}']"),
        ("cwd", "command = ['x']\ncwd = '{token}'"),
        ("stdin", "command = ['x']\nstdin = { file = '{token}' }"),
    ],
)
def test_a_table_with_a_secret_where_others_see_it_is_refused(setting: str, line: str) -> None:
    text = f"[tasks.fetch]\n{line}\narguments.token = {{ type = 'str', secret = true }}"
    with pytest.raises(ConfigurationError) as caught:
        read_tasks(tomllib.loads(text)["tasks"], "aptask.toml")
    assert str(caught.value).startswith(f"tasks.fetch.{setting}: argument `token` is secret")
    assert HINT in str(caught.value)


def test_a_table_may_have_a_secret_environment() -> None:
    text = """
        [tasks.fetch]
        command = ["fetch"]
        env = { PLAIN = "a" }
        secret_env = { TOKEN = "{token}", FIXED = "of this machine" }
        arguments.token = { type = "str", secret = true }
    """
    [description] = read_tasks(tomllib.loads(text)["tasks"], "aptask.toml").descriptions
    catalog = Catalog([description], lambda program: program, lambda: 0.0)
    assert catalog.work(description, catalog.accept(description, [SECRET])) == Spawn(
        ["fetch"],
        env={"PLAIN": "a", "TOKEN": SECRET, "FIXED": "of this machine"},
        secrets=[SECRET, "of this machine"],
    )
    for wrong in ("'{token}'", "{ A = 1 }"):
        table = text.replace('{ TOKEN = "{token}", FIXED = "of this machine" }', wrong)
        with pytest.raises(ConfigurationError, match="secret_env"):
            read_tasks(tomllib.loads(table)["tasks"], "aptask.toml")


@pytest.mark.parametrize(
    "settings",
    [
        {"secret_env": [SECRET]},
        {"secret_env": {"A": SECRET.encode()}},
        {"secret_env": {"A": SECRET + "{"}},
        {"secret_env": {"A": SECRET + "\0"}},
    ],
)
def test_what_is_wrong_with_a_secret_environment_is_said_without_it(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = type("Wrong", (Program,), {"command": ["true"], **settings})
    monkeypatch.setitem(globals(), "Wrong", cls)
    with pytest.raises((TypeError, ValueError), match="env") as caught:
        launch(msgspec.structs.replace(TARGET, attribute="Wrong"), {})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("given", [SECRET, 5, [SECRET], {"A": [SECRET]}, {"A": SECRET + "{"}])
def test_so_is_what_is_wrong_with_that_of_a_table(given: Any) -> None:
    with pytest.raises(ConfigurationError, match="env") as caught:
        read_tasks({"fetch": {"command": ["x"], "secret_env": given}}, "aptask.toml")
    assert "hunter2" not in str(caught.value)


def test_what_the_configuration_makes_secret_may_not_stand_in_the_command_of_a_class() -> None:
    class Plain(Program):
        word = argument(str)
        command = ("curl", "{word}")

    class Judges(Plain):
        def succeeded(self, code: int) -> bool:
            return True

    for cls in (Plain, Judges):
        task = Configured(
            name="t", python="a:b", origin="here", arguments={"word": {"secret": True}}
        )
        with pytest.raises(ValueError, match=HINT):
            describe_configured(task, cls, TARGET)


@pytest.mark.parametrize("prefix", ["", "--token=", "https://me:"])
def test_a_command_that_code_makes_of_a_secret_is_refused_where_it_is_made(prefix: str) -> None:
    target = msgspec.structs.replace(TARGET, attribute="Computes")
    with pytest.raises(ValueError) as caught:
        launch(target, {"token": SECRET, "prefix": prefix})
    assert str(caught.value).startswith("Computes: command: a secret argument is in it")
    assert HINT in str(caught.value)
    assert SECRET not in str(caught.value)


def test_so_is_one_of_what_only_the_configuration_calls_secret() -> None:
    target = msgspec.structs.replace(TARGET, attribute="Computes")
    with pytest.raises(ValueError, match="a secret argument is in it"):
        launch(target, {"token": "none", "prefix": SECRET}, [SECRET])


def test_a_short_secret_is_found_everywhere_and_refuses_nothing() -> None:
    target = msgspec.structs.replace(TARGET, attribute="Computes")
    assert launch(target, {"token": "url", "prefix": ""}).command == ["curl", "url"]


def test_a_driver_tells_what_is_secret_of_its_environment() -> None:
    target = msgspec.structs.replace(TARGET, attribute="Proper")
    made = launch(target, {"token": SECRET}, [SECRET])
    assert made.env == {"TOKEN": SECRET, "OTHER": "from a vault", "SHORT": "1"}
    assert made.secrets == [SECRET, "from a vault"]


def test_the_order_of_a_python_task_says_what_is_secret() -> None:
    class Uses(Task):
        token = argument(str, secret=True)
        word = argument(str, default="a word")

        def run(self) -> None:
            pass

    description = describe_class(Uses, TARGET, "file.py")
    catalog = Catalog([description], lambda program: program, lambda: 0.0)
    work = catalog.work(description, catalog.accept(description, [SECRET]))
    assert isinstance(work, Call)
    assert work.secrets == [SECRET]


MISTAKES: list[tuple[Callable[[], Any], type[Exception]]] = [
    (lambda: make_argument("x", "int", default=SECRET, secret=True), TypeError),
    (lambda: make_argument("x", "str", default=SECRET, maximum=3, secret=True), ValueError),
    (lambda: make_argument("x", "str", default=SECRET, minimum=99, secret=True), ValueError),
    (lambda: make_argument("x", "str", default=SECRET, choices=["a"], secret=True), ValueError),
    (lambda: make_argument("x", "int", choices=[SECRET], secret=True), TypeError),
    (lambda: make_argument("x", "list", default=[(SECRET,)], secret=True), TypeError),
    (lambda: check([Argument("x", "int", secret=True)], [SECRET]), InvalidArguments),
    (lambda: check([Argument("x", "bool", secret=True)], [SECRET]), InvalidArguments),
    (lambda: check([Argument("x", "list", secret=True)], [SECRET]), InvalidArguments),
    (lambda: check([Argument("x", "str", secret=True)], [[SECRET]]), InvalidArguments),
    (lambda: check([Argument("x", "str", secret=True)], [SECRET + "\0"]), InvalidArguments),
    (
        lambda: check([Argument("x", "str", secret=True, choices=("a",))], [SECRET]),
        InvalidArguments,
    ),
    (
        lambda: check([Argument("x", "str", secret=True, choices=(SECRET,))], ["a"]),
        InvalidArguments,
    ),
    (lambda: check([Argument("x", "str", secret=True, minimum=99)], [SECRET]), InvalidArguments),
    (lambda: check([Argument("x", "int", secret=True, maximum=9)], ["123456"]), InvalidArguments),
]


@pytest.mark.parametrize(("mistake", "kind"), MISTAKES)
def test_what_is_wrong_with_a_secret_is_said_without_it(
    mistake: Callable[[], Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        mistake()
    assert "hunter2" not in str(caught.value)
    assert "123456" not in str(caught.value)
    assert "more" not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        {f"A={SECRET}": "x"},
        {"A": [SECRET]},
        {"A": {"B": SECRET}},
        {"A": SECRET + "\0"},
        {"B": SECRET, "A": None},
        [SECRET],
        SECRET,
    ],
)
def test_a_wrong_environment_is_refused_without_a_value_of_it(value: Any) -> None:
    env = Argument("env", "dict", secret="values")
    fill = compile_template(Template(("x",), env="{env}"), [env])
    with pytest.raises(InvalidArguments) as caught:
        fill(check([env], [value]))
    assert "hunter2" not in str(caught.value)


def test_which_variable_is_wrong_is_said_where_only_the_values_are_secret() -> None:
    env = Argument("env", "dict", secret="values")
    with pytest.raises(InvalidArguments, match="variable A must be text or a number"):
        compile_template(Template(("x",), env="{env}"), [env])({"env": {"A": [SECRET]}})


def test_names_of_variables_are_secret_where_all_of_an_environment_is() -> None:
    env = Argument("env", "dict", secret=True)
    for value in ({"A=hunter2": "x"}, {"hunter2": None}):
        with pytest.raises(InvalidArguments) as caught:
            compile_template(Template(("x",), env="{env}"), [env])(check([env], [value]))
        assert "hunter2" not in str(caught.value)


def test_neither_default_nor_choices_of_a_secret_argument_are_described() -> None:
    class Uses(Task):
        token = argument(str, default=SECRET, choices=[SECRET, "other secret"], secret=True)
        env = argument(dict, default={"A": SECRET}, secret="values")

        def run(self) -> None:
            pass

    arguments = arguments_of(Uses)
    shown = json.dumps([[describe(each) for each in arguments], schema(arguments)])
    assert "hunter2" not in shown
    assert "other secret" not in shown
    assert check(arguments, {}) == {"token": SECRET, "env": {"A": SECRET}}
