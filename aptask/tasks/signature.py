"""The arguments of any callable, read from its signature.

Rules: an annotation or, without one, a default says the type; a parameter with neither is text.
`T | None` makes an argument optional, `Literal["a", "b"]` gives its choices, `list[str]` is a list.
What a name and a JSON value cannot be given for (`*args`, `**kwargs`, positional-only parameters,
other types) is refused, with a sentence that names the parameter.
"""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from aptask.model.arguments import TYPES, Argument
from aptask.tasks.declaration import make_argument

_NAMES: dict[Any, str] = {type_: name for name, type_ in TYPES.items()}
_NOTHING = inspect.Parameter.empty
_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "`*{}` takes any number of values: name each argument",
    inspect.Parameter.VAR_KEYWORD: "`**{}` takes any name: name each argument",
    inspect.Parameter.POSITIONAL_ONLY: "`{}` is positional-only: arguments are given by name",
}


def read_signature(
    function: Callable[..., Any], fields: Mapping[str, Mapping[str, Any]] | None = None
) -> tuple[Argument, ...]:
    """What a callable takes.

    Args:
        function: any callable.
        fields: by argument, what is said of it elsewhere (`help`, `minimum` and so on, as
            `make_argument` takes them, and `type`): it wins over the signature.

    Raises:
        TypeError, ValueError: it cannot be called with JSON values by name; or `fields` are wrong.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise TypeError(f"its signature cannot be read: {error}") from None
    said = dict(fields or {})
    arguments = []
    for name, parameter in signature.parameters.items():
        if parameter.kind in _REFUSED:
            raise TypeError(_REFUSED[parameter.kind].format(name))
        try:
            arguments.append(_argument(function, parameter, said.pop(name, {})))
        except (TypeError, ValueError) as error:
            raise type(error)(f"argument `{name}`: {error}") from None
    if said:
        surplus = ", ".join(f"`{name}`" for name in said)
        raise ValueError(f"arguments: it has no parameter {surplus}")
    return tuple(arguments)


def _argument(
    function: Callable[..., Any], parameter: inspect.Parameter, said: Mapping[str, Any]
) -> Argument:
    fields = dict(said)
    default = ... if parameter.default is _NOTHING else parameter.default
    kind, is_optional, choices = _annotation(function, parameter, default)
    if default is ... and is_optional:
        default = None
    fields.setdefault("default", default)
    if choices is not None:
        fields.setdefault("choices", choices)
    return make_argument(parameter.name, fields.pop("type", kind), **fields)


def _annotation(
    function: Callable[..., Any], parameter: inspect.Parameter, default: Any
) -> tuple[str, bool, tuple[Any, ...] | None]:
    """The type's name, whether it may be None, and the choices."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        annotation = _evaluated(function, annotation)
    if annotation in (_NOTHING, Any):
        return _of_default(default), False, None
    is_optional = False
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [one for one in typing.get_args(annotation) if one is not types.NoneType]
        is_optional = len(members) < len(typing.get_args(annotation))
        annotation = members[0] if len(members) == 1 else annotation
    choices = None
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
        origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        choices = typing.get_args(annotation)
        annotation = type(choices[0])
        origin = None
    try:
        return _NAMES[origin or annotation], is_optional, choices
    except (KeyError, TypeError):
        shown = inspect.formatannotation(annotation)
        raise TypeError(f"its annotation must be one of {', '.join(TYPES)}, not {shown}") from None


def _of_default(default: Any) -> str:
    if default is ... or default is None:
        return "str"
    try:
        return _NAMES[type(default)]
    except KeyError:
        # Not the default itself: the configuration may say that it is secret.
        raise TypeError(f"its default, a {type(default).__name__}, is no JSON value") from None


def _evaluated(function: Callable[..., Any], annotation: str) -> Any:
    """What an annotation means that was written, or kept, as text."""
    inner = inspect.unwrap(function)
    if isinstance(inner, type):
        inner = inner.__init__  # type: ignore[misc]
    elif not hasattr(inner, "__globals__") and not inspect.ismethod(inner):
        inner = type(inner).__call__
    names = getattr(getattr(inner, "__func__", inner), "__globals__", {})
    try:
        return eval(annotation, dict(names))
    except Exception as error:
        raise TypeError(f"its annotation {annotation!r} cannot be read: {error}") from None
