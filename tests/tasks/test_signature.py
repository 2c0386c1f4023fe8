"""The arguments of configured callables, from their signatures."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Literal, Optional, Union

import pytest

from aptask.model.arguments import Argument
from aptask.tasks.signature import read_signature


def read(function, **fields):
    return read_signature(function, fields)


def test_annotations_say_types_and_defaults_make_optional():
    def build(
        text: str,
        count: int = 3,
        share: float = 1,
        deep: bool = False,
        tags: list[str] | None = None,
        table: dict[str, Any] = {},  # noqa: B006
    ): ...

    assert read(build) == (
        Argument("text", "str"),
        Argument("count", "int", False, 3),
        Argument("share", "float", False, 1.0),
        Argument("deep", "bool", False, False),
        Argument("tags", "list", False, None),
        Argument("table", "dict", False, {}),
    )


def test_without_annotation_the_default_says_the_type_or_it_is_text():
    def build(text, count=3, deep=False, name=None, other: Any = 1.5): ...

    assert [(a.name, a.type, a.default) for a in read(build)] == [
        ("text", "str", None),
        ("count", "int", 3),
        ("deep", "bool", False),
        ("name", "str", None),
        ("other", "float", 1.5),
    ]


def test_optional_needs_no_default_and_literals_are_choices():
    def build(
        one: Optional[int],  # noqa: UP045
        two: Union[str, None],  # noqa: UP007
        mode: Literal["fast", "small"] = "fast",
        noted: Annotated[int, "whatever"] = 1,
    ): ...

    one, two, mode, noted = read(build)
    assert (one, two) == (Argument("one", "int", False), Argument("two", "str", False))
    assert (mode.choices, mode.default) == (("fast", "small"), "fast")
    assert noted.type == "int"


def test_methods_partials_and_classes_can_be_read():
    class Report:
        def __init__(self, day: int): ...

        def build(self, day: int): ...

        def __call__(self, day: int): ...

    expected = (Argument("day", "int"),)
    assert read(Report) == expected
    assert read(Report(1).build) == expected
    assert read(Report(1)) == expected

    def build(kind, day: int): ...

    assert read(functools.partial(build, "x")) == expected


def test_configuration_adds_to_the_signature_and_wins():
    def build(width: int = 320, name="x"): ...

    width, name = read(build, width={"minimum": 16, "default": 64}, name={"help": "whose"})
    assert width == Argument("width", "int", False, 64, minimum=16)
    assert name.help == "whose"
    with pytest.raises(ValueError, match="no parameter `heigth`"):
        read(build, heigth={"minimum": 1})
    with pytest.raises(ValueError, match="argument `width`: its default does not fit"):
        read(build, width={"minimum": 1000})


def rejected_varargs(*items): ...
def rejected_keywords(**items): ...
def rejected_positional(item, /): ...
def rejected_annotation(path: Path): ...
def rejected_union(path: str | int): ...
def rejected_unknown(path: Nowhere): ...  # noqa: F821
def rejected_default(path=Path("/")): ...
def rejected_mismatch(count: int = "3"): ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (rejected_varargs, "`*items` takes any number"),
        (rejected_keywords, "`**items` takes any name"),
        (rejected_positional, "`item` is positional-only"),
        (rejected_annotation, "argument `path`: its annotation must be one of"),
        (rejected_union, "argument `path`: its annotation must be one of"),
        (rejected_unknown, "argument `path`: its annotation 'Nowhere' cannot be read"),
        (rejected_default, "argument `path`: its default"),
        (rejected_mismatch, "argument `count`: its default '3' is no int"),
        (dict.fromkeys, "positional-only|cannot be read"),
    ],
)
def test_what_no_json_value_can_be_given_by_name_is_refused(function, message):
    with pytest.raises((TypeError, ValueError)) as caught:
        read(function)
    assert any(part in str(caught.value) for part in message.split("|"))
