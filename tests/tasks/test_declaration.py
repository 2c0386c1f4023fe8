"""Declaring arguments: order, overriding, and mistakes that name class and argument."""

import math

import pytest

from aptask.tasks.declaration import arguments_of
from aptask.tasks.task import Program, Task, argument


def names(cls):
    return [each.name for each in arguments_of(cls)]


class Base(Task):
    first = argument(str, help="  the first\n    of all ")
    second = argument(int, default=2)

    def run(self):
        return (self.first, self.second)


def test_arguments_come_in_the_order_written_those_of_bases_first():
    class Derived(Base):
        third = argument(bool, default=False)

    assert names(Derived) == ["first", "second", "third"]


def test_a_subclass_overrides_in_place_or_takes_away():
    class Changed(Base):
        first = argument(float, default=1)
        second = 5

    assert names(Changed) == ["first"]
    (first,) = arguments_of(Changed)
    assert (first.type, first.default, type(first.default)) == ("float", 1.0, float)
    assert Changed().run() == (1.0, 5)
    assert names(Base) == ["first", "second"]


def test_arguments_of_a_mixin_count():
    class Mixin:
        shared = argument(str)

    class Both(Mixin, Task):
        own = argument(str)

    assert names(Both) == ["shared", "own"]


def test_help_is_cleaned_and_generic_types_are_their_origins():
    class Generic(Task):
        words = argument(list[str], help="  some\n      words")
        table = argument(dict[str, int], default={})

    words, table = arguments_of(Generic)
    assert (words.type, table.type, words.help) == ("list", "dict", "some\nwords")


def test_an_instance_has_values_and_defaults_of_its_own():
    class Lists(Task):
        items = argument(list, default=[1])

    one, other = Lists(), Lists()
    one.items.append(2)
    assert other.items == [1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Base() needs argument `first`"),
        ({"first": 1, "thrid": 2}, "Base() has no argument `thrid`"),
    ],
)
def test_an_instance_refuses_missing_and_surplus_arguments(values, message):
    with pytest.raises(TypeError) as caught:
        Base(**values)
    assert str(caught.value) == message


def test_a_value_that_init_did_not_set_is_explained():
    class Forgetful(Task):
        path = argument(str)

        def __init__(self, **values):
            pass

    with pytest.raises(AttributeError, match="super"):
        _ = Forgetful().path


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (lambda: argument(int, default="1"), "its default '1' is no int"),
        (lambda: argument(int, default=True), "its default True is no int"),
        (lambda: argument(str, default=1), "is no str"),
        (lambda: argument(int, default=5, maximum=4), "its default does not fit"),
        (lambda: argument(str, default="c", choices=["a"]), "its default does not fit"),
        (lambda: argument(str, default="\0"), "NUL"),
        (lambda: argument(float, default=math.nan), "finite"),
        (lambda: argument(list, default=[object()]), "is no JSON value"),
        (lambda: argument(list, default=[(1,)]), "is no JSON value"),
        (lambda: argument(str, choices=["a", 1]), "its choice 1 is no str"),
        (lambda: argument(str, choices=[]), "one at least"),
        (lambda: argument(str, choices="abc"), "must be a list"),
        (lambda: argument(int, minimum=3, maximum=2), "above its maximum"),
        (lambda: argument(int, minimum="3"), "its minimum must be a whole number"),
        (lambda: argument(int, minimum=0.5), "its minimum must be a whole number"),
        (lambda: argument(float, maximum=math.inf), "finite number"),
        (lambda: argument(str, minimum=-1), "must not be negative"),
        (lambda: argument(bool, minimum=0), "a bool has no minimum"),
        (lambda: argument(dict, maximum=0), "a dict has no maximum"),
        (lambda: argument(bytes), "its type must be one of"),
        (lambda: argument("int"), "its type must be one of"),
        (lambda: argument([]), "its type must be one of"),
        (lambda: argument(str, help=1), "its help must be text"),
        (lambda: argument(str, secret="values"), "its secret must be"),
        (lambda: argument(str, secret="yes"), "its secret must be"),
    ],
)
def test_a_broken_declaration_is_reported_when_its_class_is_used(declared, message):
    class Broken(Task):
        fine = argument(str, default="")
        wrong = declared()

        def run(self):
            pass

    for use in (Broken, lambda: arguments_of(Broken)):
        with pytest.raises((TypeError, ValueError)) as caught:
            use()
        assert str(caught.value).startswith("Broken: argument `wrong`: ")
        assert message in str(caught.value)


def test_names_with_a_meaning_cannot_be_arguments():
    class Reports(Task):
        report = argument(str, default="")

    class Judges(Program):
        grace = argument(float, default=1.0)

    for cls in (Reports, Judges):
        with pytest.raises(ValueError, match="meaning of its own"):
            arguments_of(cls)
