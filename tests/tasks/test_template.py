"""Templates: a value never becomes two arguments, and what is wrong is said when it is compiled."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.errors import InvalidArguments
from aptask.model.arguments import Argument, check
from aptask.model.description import Template
from aptask.model.orders import Spawn
from aptask.tasks.template import compile_template, escape, first_program

ARGUMENTS = tuple(
    Argument(name, kind, required=False)
    for name, kind in [
        ("text", "str"),
        ("number", "int"),
        ("share", "float"),
        ("flag", "bool"),
        ("items", "list"),
        ("table", "dict"),
    ]
)


def fill(template, **values):
    return compile_template(template, ARGUMENTS)(check(ARGUMENTS, values))


def command(*words, **values):
    return fill(Template(("prog", *words)), **values).command[1:]


def test_a_placeholder_is_a_whole_word_or_a_part_of_one():
    assert command("{text}", "a{text}b", "{text}{number}", "x", text="a b", number=3) == [
        "a b",
        "aa bb",
        "a b3",
        "x",
    ]


def test_braces_are_written_twice():
    assert command("{{text}}", "{{{text}}}", "a}}", text="x") == ["{text}", "{x}", "a}"]


def test_values_are_shown_as_in_json():
    assert command("{number}", "{share}", "{flag}", number=-1, share=2, flag=True) == [
        "-1",
        "2.0",
        "true",
    ]
    assert command("t={table}", "{table}", table={"a": [1]}) == ['t={"a":[1]}', '{"a":[1]}']
    assert command("l={items}", items=["a", 1]) == ['l=["a",1]']


def test_a_list_as_a_whole_word_becomes_a_word_an_item():
    assert command("{items}", "end", items=["a b", 1, True]) == ["a b", "1", "true", "end"]
    assert command("{items}", "end", items=[]) == ["end"]
    for item in (None, ["a"], {"a": 1}):
        with pytest.raises(InvalidArguments, match="`items`"):
            command("{items}", items=[item])


def test_null_is_left_out_as_a_whole_word_and_empty_within_one():
    assert command("{text}", "a{text}b", "{items}") == ["ab"]
    spawn = fill(Template(("p",), cwd="{text}", env={"A": "{text}", "B": "b"}, stdin="{text}"))
    assert (spawn.cwd, spawn.env, spawn.stdin) == (None, {"B": "b"}, None)


def test_the_whole_of_a_program_may_come_from_arguments():
    template = Template(
        ("{items}",), "{text}", "{table}", "{text}", None, "{number}", "{number}", "{text}"
    )
    values = {"items": ["prog", "-x"], "text": "percent", "table": {"A": 1, "B": "b"}, "number": 5}
    assert fill(template, **values) == Spawn(
        ["prog", "-x"], "percent", {"A": "1", "B": "b"}, "percent", None, 5, 5, "percent"
    )
    assert fill(template, items=["prog"]) == Spawn(["prog"])


@pytest.mark.parametrize("items", [[], [""], None])
def test_a_command_that_values_leave_empty_is_refused(items):
    with pytest.raises(InvalidArguments, match="names no program"):
        fill(Template(("{items}",)), items=items)


@pytest.mark.parametrize("table", [{"": "a"}, {"A=B": "a"}, {"A": None}, {"A": ["a"]}])
def test_variables_that_no_program_can_be_given_are_refused(table):
    with pytest.raises(InvalidArguments, match="`table`"):
        fill(Template(("p",), env="{table}"), table=table)


def test_numbers_are_held_to_what_the_system_takes():
    with pytest.raises(InvalidArguments, match="`number` must be from -20 to 19, not 20"):
        fill(Template(("p",), nice="{number}"), number=20)
    with pytest.raises(InvalidArguments, match="`number`"):
        fill(Template(("p",), memory_limit="{number}"), number=0)


def test_an_unknown_parser_is_refused_by_its_argument():
    with pytest.raises(InvalidArguments, match="argument `text`"):
        fill(Template(("p",), progress="{text}"), text="no such parser")


def test_a_regular_expression_may_hold_braces():
    expression = r"(?P<percent>\d{1,3})%"
    assert fill(Template(("p",), progress=expression)).progress == expression


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (Template(()), "command: must hold a program"),
        (Template(("",)), "command: must hold a program"),
        (Template(("p", "{nothing}")), "command: `{nothing}` names no argument; the arguments are"),
        (Template(("p", "{")), "command: a single `{`"),
        (Template(("p", "a}b")), "command: a single `}`"),
        (Template(("p", "{print $1}")), "command: a single `{`"),
        (Template(("p", "a\0")), "command: must not hold a NUL"),
        (Template(("p",), cwd="{x}"), "cwd: `{x}` names no argument"),
        (Template(("p",), env={"A": "{x}"}), "env.A: `{x}` names no argument"),
        (Template(("p",), env={"A=": "x"}), "env: 'A=' cannot be the name"),
        (Template(("p",), env="{text}"), "env: argument `text` must be dict, not str"),
        (Template(("p",), env="text"), "env: must be one placeholder"),
        (Template(("p",), stdin="{x}"), "stdin: `{x}` names no argument"),
        (Template(("p",), nice=20), "nice: must be from -20 to 19"),
        (Template(("p",), nice="5"), "nice: must be one placeholder"),
        (Template(("p",), nice="{x}"), "nice: `{x}` names no argument"),
        (Template(("p",), memory_limit="{text}"), "memory_limit: argument `text` must be int"),
        (Template(("p",), memory_limit=True), "memory_limit: must be a whole number"),
        (Template(("p",), progress="nonsense"), "progress: "),
        (Template(("p",), progress="{x}"), "progress: `{x}` names no argument"),
    ],
)
def test_a_wrong_template_is_refused_with_its_setting(template, message):
    with pytest.raises(ValueError) as caught:
        compile_template(template, ARGUMENTS)
    assert str(caught.value).startswith(message)


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))
VALUE = TEXT | st.integers(-(2**63), 2**63 - 1) | st.booleans()
PLACE = {"str": "text", "int": "number", "bool": "flag"}


@given(VALUE, TEXT, TEXT)
def test_any_value_is_one_argument_with_nothing_lost(value, before, behind):
    name = PLACE[type(value).__name__]
    shown = value if isinstance(value, str) else json.dumps(value)
    around = f"{escape(before)}{{{name}}}{escape(behind)}"
    assert command(f"{{{name}}}", around, "end", **{name: value}) == [
        shown,
        before + shown + behind,
        "end",
    ]


@given(st.lists(VALUE), st.dictionaries(TEXT, TEXT))
def test_any_list_is_as_many_arguments_as_items_and_one_within_a_text(items, table):
    words = command("{items}", "l={items}", "{table}", items=items, table=table)
    assert len(words) == len(items) + 2
    assert msgspec.json.decode(words[-2].removeprefix("l=")) == items
    assert msgspec.json.decode(words[-1]) == table


@given(TEXT)
def test_an_escaped_text_stands_for_itself(text):
    assert command(escape(text)) == [text]
    if text:
        assert first_program(Template((escape(text),))) == text


def test_the_program_is_known_where_it_is_no_matter_of_arguments():
    assert first_program(Template(("ffmpeg", "{text}"))) == "ffmpeg"
    assert first_program(Template(("{items}",))) is None
    assert first_program(Template(("/bin/{text}",))) is None
