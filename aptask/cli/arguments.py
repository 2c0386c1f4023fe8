"""What was typed behind a task's name, as the arguments that are sent.

Rules:

- `name=VALUE` is by name only where the left side is an argument of that task: any other text with
  an equals sign in it is a value like others. Where the left side is almost an argument it is taken
  for a mistake: what was meant for a secret one must not become the value of another.
- Values without a name fill the arguments in their order, from the first.
- A list or a dict is typed as JSON. Everything else is sent as the text that it is: the daemon
  knows how to read a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from aptask.cli.session import WrongUsage

_JSON_TYPES = {"list": list, "dict": dict}


def from_typed(
    typed: Sequence[str], arguments: Sequence[Mapping[str, Any]]
) -> list[Any] | dict[str, Any]:
    """The arguments to send.

    Args:
        typed: values, some of them `name=VALUE`.
        arguments: what the task takes, as `index` shows it.

    Returns:
        A list where all are by position, else an object.

    Raises:
        WrongUsage: one is given twice, there are too many, one is not the JSON that it must be, or
            a name is misspelt.
    """
    by_name = {str(argument["name"]): argument for argument in arguments}
    positional: list[str] = []
    named: dict[str, Any] = {}
    for value in typed:
        name, equals, text = value.partition("=")
        if not equals or name not in by_name:
            if equals:
                _check_spelling(name, by_name)
            positional.append(value)
        elif name in named:
            raise WrongUsage(f"argument `{name}` is given twice")
        else:
            named[name] = _value(by_name[name], text)
    values = [_value(argument, text) for argument, text in zip(arguments, positional, strict=False)]
    surplus = positional[len(arguments) :]
    if not named:
        # The daemon says better than this place what is wrong with too many.
        return [*values, *surplus]
    if surplus:
        raise WrongUsage(f"too many arguments: `{surplus[0]}` is one more than the task takes")
    for argument, value in zip(arguments, values, strict=False):
        name = str(argument["name"])
        if name in named:
            raise WrongUsage(f"argument `{name}` is given by its name and by its place")
        named[name] = value
    return named


def _check_spelling(name: str, by_name: Mapping[str, object]) -> None:
    """Raise WrongUsage where what stands before an equals sign is almost an argument's name."""
    if not name.isidentifier():
        return
    from difflib import get_close_matches

    near = get_close_matches(name, by_name, 1, cutoff=0.75)
    if near and near[0] != name:
        raise WrongUsage(
            f"no argument `{name}`; did you mean `{near[0]}`? A value that begins like this is"
            " given by the name of its argument"
        )


def _value(argument: Mapping[str, Any], text: str) -> Any:
    wanted = _JSON_TYPES.get(str(argument["type"]))
    if wanted is None:
        return text
    try:
        return msgspec.json.decode(text, type=wanted)
    except msgspec.DecodeError:
        example = '["a", "b"]' if wanted is list else '{"a": "b"}'
        raise WrongUsage(
            f"argument `{argument['name']}` must be a JSON {argument['type']}"
            f" like {example}, not `{text}`"
        ) from None
