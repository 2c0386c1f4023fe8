"""How a task says what its arguments are: `argument`, and what is made of it.

Rules:

- A declaration is checked when its class is used, not when it is written: a broken one must not
  keep the other tasks of its module from being imported. Whoever describes or instantiates the
  class gets a `TypeError` or `ValueError` that names class and argument.
- Arguments come in the order in which they are written, those of base classes first. A subclass
  may declare one anew, in its old place, or take it away by giving its name another value.
- No Twisted: this is imported by jobs' processes.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Iterable
from types import EllipsisType
from typing import Any, Literal, TypeVar, get_origin, overload

import msgspec

from aptask.errors import InvalidArguments
from aptask.model.arguments import TYPES, Argument, check_value

T = TypeVar("T")

_NAMES = {type_: name for name, type_ in TYPES.items()}
_MEASURED = ("int", "float", "str", "list")


class Declaration:
    """An argument as its author declared it, not yet checked.

    Args:
        kind: the type that `argument` was given.
        fields: the keyword arguments that it was given.
    """

    def __init__(self, kind: Any, fields: dict[str, Any]) -> None:
        self.kind = kind
        self.fields = fields
        self.name = "?"

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type | None = None) -> Declaration:
        # Instances hold values of their own, which win over this: see `Runnable.__init__`.
        if instance is not None:
            raise AttributeError(
                f"argument `{self.name}` has no value yet: `__init__` has to call "
                "`super().__init__(**values)` first"
            )
        return self

    def argument(self, name: str) -> Argument:
        """The argument itself.

        Raises:
            TypeError, ValueError: the declaration is wrong.
        """
        origin = get_origin(self.kind) or self.kind
        try:
            type_name = _NAMES[origin]
        except (KeyError, TypeError):
            raise TypeError(
                f"its type must be one of {', '.join(TYPES)}, not {_name_of(self.kind)}"
            ) from None
        return make_argument(name, type_name, **self.fields)


@overload
def argument(
    type: type[T],
    *,
    default: EllipsisType = ...,
    help: str = ...,
    choices: Iterable[T] | None = ...,
    minimum: float | None = ...,
    maximum: float | None = ...,
    secret: bool | Literal["values"] = ...,
) -> T: ...


@overload
def argument(
    type: type[T],
    *,
    default: None,
    help: str = ...,
    choices: Iterable[T] | None = ...,
    minimum: float | None = ...,
    maximum: float | None = ...,
    secret: bool | Literal["values"] = ...,
) -> T | None: ...


@overload
def argument(
    type: type[T],
    *,
    default: T,
    help: str = ...,
    choices: Iterable[T] | None = ...,
    minimum: float | None = ...,
    maximum: float | None = ...,
    secret: bool | Literal["values"] = ...,
) -> T: ...


def argument(
    type: Any,  # noqa: A002 - what authors write
    *,
    default: Any = ...,
    help: str = "",  # noqa: A002
    choices: Iterable[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool | Literal["values"] = False,
) -> Any:
    """Declare an argument, as a class attribute of a `Task` or `Program`.

    Args:
        type: str, int, float, bool, list or dict; `list[str]` is `list` to the daemon.
        default: its value where it is not given. Without one the argument is required; None makes
            it optional.
        help: for people.
        choices: the values it may have; those of a secret one are shown nowhere either.
        minimum, maximum: the least and the greatest number, or the bounds of the length of text
            and of lists.
        secret: True: shown nowhere; "values": a dict of which only the keys are shown.

    Returns:
        On instances, its value.
    """
    fields: dict[str, Any] = {
        "default": default,
        "help": help,
        "choices": choices,
        "minimum": minimum,
        "maximum": maximum,
        "secret": secret,
    }
    return Declaration(type, fields)


def make_argument(
    name: str,
    kind: str,
    *,
    default: Any = ...,
    help: str = "",  # noqa: A002 - as in `argument`
    choices: Iterable[Any] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    secret: bool | Literal["values"] = False,
) -> Argument:
    """A checked argument.

    Args:
        name: a Python identifier.
        kind: a name of `aptask.model.arguments.TYPES`; the others as of `argument`.

    Raises:
        TypeError, ValueError: what is wrong, as a sentence about "it".
    """
    if not name.isidentifier():
        raise ValueError("its name must be a letter, followed by letters, digits and `_`")
    if not isinstance(help, str):
        raise TypeError(f"its help must be text, not {_name_of(help)}")
    if secret not in (True, False) and not (secret == "values" and kind == "dict"):
        raise ValueError('its secret must be true or false, or "values" for a dict')
    _check_bounds(kind, minimum, maximum)
    bounds = Argument(name, kind, minimum=minimum, maximum=maximum, secret=secret)
    if choices is not None:
        if isinstance(choices, (str, dict)) or not isinstance(choices, Iterable):
            raise TypeError(f"its choices must be a list, not {_name_of(choices)}")
        choices = tuple(_fit(bounds, choice, "choice") for choice in choices)
        if not choices:
            raise ValueError("its choices must be one at least")
    if default is not ... and default is not None:
        default = _fit(msgspec.structs.replace(bounds, choices=choices), default, "default")
    return Argument(
        name,
        kind,
        required=default is ...,
        default=None if default is ... else default,
        help=inspect.cleandoc(help),
        choices=choices,
        minimum=minimum,
        maximum=maximum,
        secret=secret,
    )


def arguments_of(cls: type) -> tuple[Argument, ...]:
    """The arguments of a class, in order.

    Raises:
        TypeError, ValueError: a declaration is wrong; the message names class and argument.
    """
    known: tuple[Argument, ...] | None = vars(cls).get("_aptask_arguments")
    if known is not None:
        return known
    found: dict[str, Declaration] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if isinstance(value, Declaration):
                found[name] = value
            elif name in found:
                del found[name]
    reserved: frozenset[str] = getattr(cls, "_aptask_reserved", frozenset())
    arguments = []
    for name, declaration in found.items():
        try:
            if name in reserved:
                raise ValueError("its name has a meaning of its own here: choose another one")
            arguments.append(declaration.argument(name))
        except (TypeError, ValueError) as error:
            raise type(error)(f"{cls.__name__}: argument `{name}`: {error}") from None
    # `type.__setattr__`: a metaclass of the author's may have other ideas.
    type.__setattr__(cls, "_aptask_arguments", tuple(arguments))
    return tuple(arguments)


def complete(cls: type, values: dict[str, Any]) -> dict[str, Any]:
    """Values by name with the defaults filled in; their types are not looked at.

    Raises:
        TypeError: one is missing, or is no argument; or a declaration is wrong.
        ValueError: a declaration is wrong.
    """
    arguments = arguments_of(cls)
    filled = {}
    for argument in arguments:
        if argument.name in values:
            filled[argument.name] = values[argument.name]
        elif argument.required:
            raise TypeError(f"{cls.__name__}() needs argument `{argument.name}`")
        else:
            filled[argument.name] = copy.deepcopy(argument.default)
    if len(values) > len(arguments) or values.keys() - filled.keys():
        surplus = ", ".join(f"`{name}`" for name in sorted(values.keys() - filled.keys()))
        raise TypeError(f"{cls.__name__}() has no argument {surplus}")
    return filled


def _check_bounds(kind: str, minimum: Any, maximum: Any) -> None:
    for what, bound in (("minimum", minimum), ("maximum", maximum)):
        if bound is None:
            continue
        if kind not in _MEASURED:
            raise ValueError(f"a {kind} has no {what}")
        is_whole = isinstance(bound, int) and not isinstance(bound, bool)
        if kind == "float":
            if not is_whole and not (isinstance(bound, float) and math.isfinite(bound)):
                raise TypeError(f"its {what} must be a finite number, not {bound!r}")
        elif not is_whole:
            raise TypeError(f"its {what} must be a whole number, not {bound!r}")
        if kind in ("str", "list") and bound < 0:
            raise ValueError(f"its {what} is that of a length: it must not be negative")
    if minimum is not None and maximum is not None and minimum > maximum:
        raise ValueError(f"its minimum, {minimum}, is above its maximum, {maximum}")


def _fit(argument: Argument, value: Any, what: str) -> Any:
    """A default or choice, which must have the very type: text is no number here."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    if argument.type == "float":
        fits = is_whole or isinstance(value, float)
    elif argument.type == "int":
        fits = is_whole
    else:
        fits = isinstance(value, TYPES[argument.type])
    shown = "" if argument.secret else f" {value!r}"
    if not fits:
        raise TypeError(f"its {what}{shown} is no {argument.type}")
    try:
        is_plain = msgspec.json.decode(msgspec.json.encode(value)) == value
    except (TypeError, ValueError, OverflowError, RecursionError):
        is_plain = False
    if not is_plain and isinstance(value, (str, list, dict)):
        raise TypeError(f"its {what}{shown} is no JSON value")
    try:
        return check_value(argument, copy.deepcopy(value))
    except InvalidArguments as error:
        raise ValueError(f"its {what} does not fit: {error}") from None


def _name_of(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else repr(value)
