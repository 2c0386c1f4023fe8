"""Programs to spawn as pure data, with `{argument}` in the places of arguments.

Rules of a text with placeholders:

- `{name}` stands for an argument, `{{` and `}}` for braces.
- A value never becomes two words of a command. The one exception is meant: a list that is a whole
  word of it becomes a word an item.
- A value of null is nothing: a whole word, variable or setting that is one is left out, and within
  a text it is empty.
- true and false are written so; numbers as in JSON; lists and dicts within a text, and dicts that
  are a whole word, as JSON.
- `progress` is a placeholder only as a whole: a regular expression may hold braces.
- A secret argument has its place in `env` and in the text of `stdin` only: all else of a process is
  seen by whoever is on the machine, or is told where it is wrong.

What a template asks for is checked when it is compiled, what values make of it when it is filled.
No Twisted: this is imported by jobs' processes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

from aptask.errors import InvalidArguments
from aptask.model.arguments import Argument
from aptask.model.description import Template
from aptask.model.hiding import SHORTEST, secret_texts
from aptask.model.orders import Spawn

Values = Mapping[str, Any]
Fill = Callable[[Values], Spawn]

INSTEAD = "whoever is on the machine sees what stands there: give it by `secret_env` or `stdin`"
"""What is said of secrets in the wrong place."""

_TOKEN = re.compile(r"\{\{|\}\}|\{(\w+)\}|[{}]")
_WHOLE = re.compile(r"\{(\w+)\}")


def compile_template(
    template: Template,
    arguments: Sequence[Argument],
    check_parser: Callable[[str], object] | None = None,
) -> Fill:
    """What makes a `Spawn` of values, in microseconds.

    Args:
        template: the program.
        arguments: what its placeholders may name.
        check_parser: takes a parser's name; raises `InvalidArguments` where there is none. By
            default `check_progress`.

    Returns:
        takes values from `aptask.model.arguments.check`; raises `InvalidArguments` where they make
        no program.

    Raises:
        ValueError: the template is wrong; the message names the setting.
    """
    for setting, texts in _public(template):
        refuse_secrets(setting, texts, arguments)
    types = {argument.name: argument.type for argument in arguments}
    secret = tuple(argument for argument in arguments if argument.secret)
    if not template.command or not template.command[0]:
        raise ValueError("command: must hold a program at least")
    words = [_text(types, "command", word) for word in template.command]
    cwd = _optional_text(types, "cwd", template.cwd)
    env = _environment(types, template, {each.name: each.secret for each in secret})
    stdin = _optional_text(types, "stdin", template.stdin)
    stdin_file = _optional_text(types, "stdin", template.stdin_file)
    nice = _number(types, "nice", template.nice, (-20, 19))
    memory_limit = _number(types, "memory_limit", template.memory_limit, (1, 2**63 - 1))
    progress = _progress(types, template.progress, check_parser or check_progress)

    def fill(values: Values) -> Spawn:
        command: list[str] = []
        for literal, name, parts in words:
            if literal is not None:
                command.append(literal)
            elif name is None:
                command.append(_join(parts, values))
            else:
                value = values[name]
                if type(value) is str:
                    command.append(value)
                elif isinstance(value, list):
                    command.extend(_word(name, item) for item in value)
                elif value is not None:
                    command.append(_show(value))
        if not command or not command[0]:
            raise InvalidArguments("the command is empty: it names no program")
        spawn = Spawn(
            command,
            None if cwd is None else _fill_text(cwd, values),
            env(values),
            None if stdin is None else _fill_text(stdin, values),
            None if stdin_file is None else _fill_text(stdin_file, values),
            nice(values),
            memory_limit(values),
            progress(values),
        )
        if secret:
            spawn.secrets = secret_texts(secret, values)
        for variable in template.secret_variables:
            text = spawn.env.get(variable, "")
            if len(text.strip()) >= SHORTEST and text not in spawn.secrets:
                spawn.secrets = [*spawn.secrets, text]
        return spawn

    return fill


def refuse_secrets(setting: str, texts: Iterable[object], arguments: Iterable[Argument]) -> None:
    """Refuse secret arguments in a setting that is no secret.

    Args:
        setting: its name.
        texts: what is in it; what is no text is passed over.
        arguments: those of the task.

    Raises:
        ValueError: one has its placeholder there; the message says where it belongs.
    """
    secret = {argument.name for argument in arguments if argument.secret}
    for text in texts:
        if isinstance(text, str):
            for match in _TOKEN.finditer(text):
                if match[1] in secret:
                    raise ValueError(f"{setting}: argument `{match[1]}` is secret, and {INSTEAD}")


def escape(text: str) -> str:
    """A text as a template that stands for itself."""
    return text.replace("{", "{{").replace("}", "}}")


def whole_placeholder(text: object) -> str | None:
    """The argument that a text stands for as a whole, if it does."""
    match = _WHOLE.fullmatch(text) if isinstance(text, str) else None
    return None if match is None else match[1]


def first_program(template: Template) -> str | None:
    """The program that a template runs, where that is no matter of its arguments."""
    word = template.command[0] if template.command else ""
    tokens = [match[0] for match in _TOKEN.finditer(word)]
    if not word or any(token not in ("{{", "}}") for token in tokens):
        return None
    return word.replace("{{", "{").replace("}}", "}")


@lru_cache(maxsize=256)
def check_progress(progress: str) -> None:
    """Whether a parser is known.

    Raises:
        InvalidArguments: it is neither a name nor a regular expression that can be used.
    """
    # Imported where it is needed: a job's process never does.
    from aptask.parsers import make_parser

    make_parser(progress)


def _public(template: Template) -> Iterable[tuple[str, tuple[object, ...]]]:
    """The settings in which no secret may stand."""
    return (
        ("command", template.command),
        ("cwd", (template.cwd,)),
        ("stdin", (template.stdin_file,)),
        ("nice", (template.nice,)),
        ("memory_limit", (template.memory_limit,)),
        ("progress", (template.progress,)),
    )


_Part = tuple[str | None, str | None]
_Compiled = tuple[str | None, str | None, tuple[_Part, ...]]
"""A literal, or the argument that it is as a whole, or parts: literals and arguments."""


def _text(
    types: Mapping[str, str], setting: str, text: object, *, is_secret: bool = False
) -> _Compiled:
    if not isinstance(text, str):
        raise ValueError(f"{setting}: must be text, not {text!r}")
    if "\0" in text:
        raise ValueError(f"{setting}: must not hold a NUL character")
    parts: list[_Part] = []
    literal = ""
    end = 0
    for match in _TOKEN.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        if match[0] in ("{{", "}}"):
            literal += match[0][0]
        elif match[1] is None:
            raise ValueError(
                f"{setting}: a single `{match[0]}`{'' if is_secret else f' in {text!r}'}: "
                f"a brace is written `{match[0] * 2}`, a placeholder `{{name}}`"
            )
        elif match[1] not in types:
            known = ", ".join(f"`{name}`" for name in types) or "none"
            raise ValueError(
                f"{setting}: `{{{match[1]}}}` names no argument; the arguments are: {known}"
            )
        else:
            if literal:
                parts.append((literal, None))
            parts.append((None, match[1]))
            literal = ""
    literal += text[end:]
    if not parts:
        return literal, None, ()
    if len(parts) == 1 and not literal:
        return None, parts[0][1], ()
    if literal:
        parts.append((literal, None))
    return None, None, tuple(parts)


def _optional_text(types: Mapping[str, str], setting: str, text: str | None) -> _Compiled | None:
    return None if text is None else _text(types, setting, text)


def _fill_text(compiled: _Compiled, values: Values) -> str | None:
    literal, name, parts = compiled
    if literal is not None:
        return literal
    if name is None:
        return _join(parts, values)
    value = values[name]
    return None if value is None else _show(value)


def _join(parts: Iterable[_Part], values: Values) -> str:
    text = ""
    for literal, name in parts:
        if name is None:
            text += literal or ""
        else:
            value = values[name]
            if value is not None:
                text += _show(value)
    return text


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _word(name: str, item: Any) -> str:
    if item is None or isinstance(item, (list, dict)):
        raise InvalidArguments(f"argument `{name}` must hold text and numbers only")
    return _show(item)


def _environment(
    types: Mapping[str, str],
    template: Template,
    secret: Mapping[str, bool | Literal["values"]],
) -> Callable[[Values], dict[str, str]]:
    env, is_secret = template.env, template.secret_variables.__contains__
    if not env:
        return lambda _values: {}
    if isinstance(env, str):
        name = _whole(types, "env", env, "dict")
        return lambda values: _variables(name, values[name], secret.get(name, False))
    for key in env:
        if not isinstance(key, str) or not _is_variable(key):
            raise ValueError(f"env: {key!r} cannot be the name of a variable")
    compiled = [
        (key, _text(types, f"env.{key}", text, is_secret=is_secret(key)))
        for key, text in env.items()
    ]

    def fill(values: Values) -> dict[str, str]:
        filled = {}
        for key, text in compiled:
            value = _fill_text(text, values)
            if value is not None:
                filled[key] = value
        return filled

    return fill


def _variables(
    name: str, given: Mapping[str, Any] | None, secret: bool | Literal["values"]
) -> dict[str, str]:
    if not given:
        return {}
    for key, value in given.items():
        if not _is_variable(key):
            shown = "" if secret else f", not {key!r}"
            raise InvalidArguments(f"argument `{name}` must hold names of variables{shown}")
        if value is None or isinstance(value, (list, dict)):
            shown = "a variable" if secret is True else f"variable {key}"
            raise InvalidArguments(f"argument `{name}`: {shown} must be text or a number")
    return {key: _show(value) for key, value in given.items()}


def _is_variable(key: str) -> bool:
    return bool(key) and "=" not in key and "\0" not in key


def _number(
    types: Mapping[str, str], setting: str, number: int | str | None, bounds: tuple[int, int]
) -> Callable[[Values], int | None]:
    if isinstance(number, str):
        name = _whole(types, setting, number, "int")
        lowest, highest = bounds

        def fill(values: Values) -> int | None:
            value: int | None = values[name]
            if value is not None and not lowest <= value <= highest:
                raise InvalidArguments(
                    f"argument `{name}` must be from {lowest} to {highest}, not {value}"
                )
            return value

        return fill
    if number is not None:
        if not isinstance(number, int) or isinstance(number, bool):
            raise ValueError(f"{setting}: must be a whole number, not {number!r}")
        if not bounds[0] <= number <= bounds[1]:
            raise ValueError(f"{setting}: must be from {bounds[0]} to {bounds[1]}, not {number}")
    return lambda _values: number


def _progress(
    types: Mapping[str, str], progress: str, check_parser: Callable[[str], object]
) -> Callable[[Values], str]:
    name = whole_placeholder(progress)
    if name is not None:
        _whole(types, "progress", progress, "str")
        chosen = name

        def fill(values: Values) -> str:
            value: str | None = values[chosen]
            if not value:
                return "auto"
            from aptask.parsers import NAMES

            # Not an expression: one that takes for ever would be every job's trouble.
            if value not in NAMES:
                raise InvalidArguments(
                    f"argument `{chosen}` must be one of {', '.join(NAMES)}, not `{value[:60]}`"
                )
            return value

        return fill
    try:
        check_parser(progress)
    except InvalidArguments as error:
        raise ValueError(f"progress: {error}") from None
    return lambda _values: progress


def _whole(types: Mapping[str, str], setting: str, text: str, wanted: str) -> str:
    name = whole_placeholder(text)
    if name is None:
        raise ValueError(f"{setting}: must be one placeholder, as `{{name}}`, not {text!r}")
    if name not in types:
        _text(types, setting, text)
    if types[name] != wanted:
        raise ValueError(f"{setting}: argument `{name}` must be {wanted}, not {types[name]}")
    return name
