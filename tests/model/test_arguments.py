"""Arguments: what clients give fits, is converted, or is refused by name."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.errors import InvalidArguments
from aptask.model.arguments import (
    TYPES,
    Argument,
    check,
    check_value,
    describe,
    schema,
    secrets,
    show,
)

SOURCE = Argument("source", "str", help="a file")
WIDTH = Argument("width", "int", required=False, default=42, minimum=0, maximum=9999)
MODE = Argument("mode", "str", required=False, default="fast", choices=("fast", "small"))
RESIZE = (SOURCE, WIDTH, MODE)


def refused(arguments, given_values):
    with pytest.raises(InvalidArguments) as caught:
        check(arguments, given_values)
    return caught.value.message


def test_values_by_position_and_by_name_are_the_same_complete_object():
    complete = {"source": "a", "width": 7, "mode": "fast"}
    assert check(RESIZE, ["a", 7]) == complete
    assert check(RESIZE, {"width": 7, "source": "a"}) == complete
    assert list(check(RESIZE, {"width": 7, "source": "a"})) == ["source", "width", "mode"]


def test_a_missing_argument_is_named_with_its_help():
    assert refused(RESIZE, []) == "argument `source` is missing: str, a file"
    assert "`source`" in refused(RESIZE, {"width": 1})


def test_surplus_arguments_are_refused_with_those_that_there_are():
    assert "4 given, at most 3" in refused(RESIZE, ["a", 1, "fast", "x"])
    message = refused(RESIZE, {"source": "a", "heigth": 1})
    assert "`heigth`" in message
    assert "`width`" in message
    assert "takes none" in refused((), [1])


def test_surplus_is_found_where_an_optional_one_is_left_out():
    assert "`x`" in refused(RESIZE, {"source": "a", "width": 1, "x": 1})


@pytest.mark.parametrize(
    ("kind", "given_value", "value"),
    [
        ("int", "42", 42),
        ("int", "-1", -1),
        ("int", 3.0, 3),
        ("int", "1e3", 1000),
        ("float", "0.5", 0.5),
        ("float", 2, 2.0),
        ("bool", "true", True),
        ("bool", "false", False),
        ("str", "42", "42"),
        ("list", [1, "a"], [1, "a"]),
        ("dict", {"a": 1}, {"a": 1}),
    ],
)
def test_text_becomes_a_number_or_bool_where_one_is_meant(kind, given_value, value):
    got = check_value(Argument("x", kind), given_value)
    assert (got, type(got)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("int", "x"),
        ("int", "1.5"),
        ("int", 1.5),
        ("int", True),
        ("int", " 1"),
        ("int", "0x10"),
        ("int", "\u0661"),
        ("int", 2**63),
        ("int", "9" * 400),
        ("float", "9" * 400),
        ("float", 10**400),
        ("float", "NaN"),
        ("float", "1e999"),
        ("float", True),
        ("bool", 1),
        ("bool", "yes"),
        ("str", 1),
        ("list", "a"),
        ("dict", []),
        ("str", None),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(kind, value):
    assert "`x`" in refused([Argument("x", kind)], [value])


def test_null_is_taken_by_optional_arguments_only():
    optional = Argument("x", "int", required=False)
    assert check([optional], [None]) == {"x": None}
    assert check([optional], []) == {"x": None}
    assert "not null" in refused([WIDTH], [None])


def test_bounds_are_of_numbers_and_of_lengths():
    assert check([WIDTH], [0]) == {"width": 0}
    assert "at least 0" in refused([WIDTH], [-1])
    assert "at most 9999" in refused([WIDTH], ["10000"])
    assert "at least 2 characters" in refused([Argument("x", "str", minimum=2)], ["a"])
    assert "at most 1 items" in refused([Argument("x", "list", maximum=1)], [[1, 2]])


def test_choices_are_told():
    assert refused(RESIZE, ["a", 1, "slow"]) == (
        'argument `mode` must be one of "fast", "small", not "slow"'
    )


@pytest.mark.parametrize("value", ["a\0b", ["x", ["\0"]], {"\0": 1}, {"a": {"b": ["\0"]}}])
def test_nul_is_refused_at_any_depth(value):
    kind = next(name for name, type_ in TYPES.items() if type_ is type(value))
    assert "NUL" in refused([Argument("x", kind)], [value])


def test_a_message_never_shows_a_secret():
    for argument, value in [
        (Argument("x", "int", secret=True), "hunter2"),
        (Argument("x", "str", secret=True, choices=("a",)), "hunter2"),
        (Argument("x", "str", secret=True, maximum=3), "hunter2"),
        (Argument("x", "dict", secret="values"), ["hunter2"]),
    ]:
        assert "hunter2" not in refused([argument], [value])


def test_showing_and_secrets_together_are_the_values():
    arguments = [
        Argument("user", "str"),
        Argument("password", "str", secret=True),
        Argument("pin", "int", secret=True),
        Argument("env", "dict", secret="values"),
        Argument("more", "dict", secret="values"),
    ]
    values = check(arguments, ["a", "", 0, {"KEY": "hunter2"}, {}])
    shown = show(arguments, values)
    assert shown == {
        "user": "a",
        "password": None,
        "pin": None,
        "env": {"KEY": None},
        "more": {},
    }
    assert {**shown, **secrets(arguments, values)} == values
    assert "more" not in secrets(arguments, values)


def test_index_shows_an_argument_as_the_protocol_says():
    assert describe(SOURCE) == {
        "name": "source",
        "type": "str",
        "required": True,
        "help": "a file",
    }
    assert describe(WIDTH) == {
        "name": "width",
        "type": "int",
        "default": 42,
        "minimum": 0,
        "maximum": 9999,
    }
    assert describe(Argument("x", "str", False, "pw", secret=True)) == {
        "name": "x",
        "type": "str",
        "default": None,
        "secret": True,
    }
    env = Argument("env", "dict", False, {"A": "pw"}, secret="values")
    assert describe(env)["default"] == {"A": None}


def test_a_schema_has_the_bounds_in_json_schemas_words():
    made = schema([*RESIZE, Argument("tags", "list", False, minimum=1)])
    assert made["required"] == ["source"]
    assert made["additionalProperties"] is False
    assert made["properties"]["width"] == {
        "type": "integer",
        "minimum": 0,
        "maximum": 9999,
        "default": 42,
    }
    assert made["properties"]["mode"]["enum"] == ["fast", "small"]
    assert made["properties"]["tags"] == {
        "type": ["array", "null"],
        "minItems": 1,
        "default": None,
    }


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("1" * 400),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
ARGUMENTS = st.builds(
    Argument,
    name=st.sampled_from(["a", "b", "c"]),
    type=st.sampled_from(sorted(TYPES)),
    required=st.booleans(),
    choices=st.none() | st.just((1, "a", 2.5)),
    minimum=st.none() | st.integers(-3, 3),
    maximum=st.none() | st.integers(-3, 3),
    secret=st.booleans(),
)


@given(
    st.lists(ARGUMENTS, max_size=3, unique_by=lambda argument: argument.name),
    st.lists(JSON, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "c", "d"]), JSON),
)
def test_any_json_is_either_taken_or_refused_by_our_own_error(arguments, given_values):
    try:
        values = check(arguments, given_values)
    except InvalidArguments as error:
        assert error.message
        return
    assert list(values) == [argument.name for argument in arguments]
    msgspec.json.encode(show(arguments, values))
    assert {**show(arguments, values), **secrets(arguments, values)} == values
