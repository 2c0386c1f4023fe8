"""Settings: options, configuration file and environment, read and checked once, at start.

Rules:

- An option wins over the file, that over the environment, that over the default.
- Every mistake is a `ConfigurationError`, and all that can be seen at once are told at once: one
  sentence a line, each naming file, table and field, with the nearest name for a misspelt one.
- A field is written in one place, a struct of this module; what is not in one is a mistake.
- Nothing is made here: the file is read, and the folders of tasks must be there, that is all.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from aptask.endpoints import (
    DEFAULT_LISTEN,
    Endpoint,
    Reach,
    check_endpoint,
    check_socket_path,
    nearest,
    not_allowed,
    shown,
)
from aptask.errors import ConfigurationError
from aptask.model.key import Key, digest
from aptask.model.limits import Limits, Positive, PositiveSeconds

LOCAL_OWNER = "local"
"""The name of the key that the daemon makes for its own account."""

_LARGEST_INTEGER = 2**63 - 1
_OWNER_NAME_LENGTH = 64

T = TypeVar("T", bound=msgspec.Struct)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that the daemon is told.

    Attributes:
        config: the configuration file, if there is one; absolute.
        data: the data folder; absolute, and maybe not made yet.
        listen: every endpoint to listen on, the data folder's own socket last.
        task_folders: private task files; absolute.
        slots: how many jobs run at once.
        log: how it is written.
        authentication: False: everyone who reaches an endpoint is an admin.
        insecure: whether endpoints beyond loopback may do without TLS.
        keep_running: whether jobs go on when the daemon is told to stop.
        stop_deadline: seconds from being told to stop to having stopped.
        orphan_timeout: seconds for which jobs go on without a daemon.
        keys: those of the configuration.
        limits: what clients and jobs may take.
        tasks: the tables `[tasks.NAME]` by name, as they stand in the file.
        warnings: what is allowed but unwise: a sentence each, to be logged.
    """

    config: Path | None
    data: Path
    listen: tuple[Endpoint, ...]
    task_folders: tuple[Path, ...]
    slots: int
    log: Literal["text", "json"]
    authentication: bool
    insecure: bool
    keep_running: bool
    stop_deadline: float
    orphan_timeout: float
    keys: tuple[Key, ...]
    limits: Limits
    tasks: dict[str, dict[str, Any]]
    warnings: tuple[str, ...]


Text = Annotated[str, Meta(min_length=1)]
Table = dict[str, Any]


class _File(msgspec.Struct, kw_only=True):
    """The fields and tables of aptask.toml."""

    listen: list[Text] | UnsetType = UNSET
    data: Text | UnsetType = UNSET
    task_folders: list[Text] | UnsetType = UNSET
    slots: Positive | UnsetType = UNSET
    log: Literal["text", "json"] = "text"
    authentication: bool = True
    insecure: bool = False
    keep_running: bool = False
    stop_deadline: PositiveSeconds = 20.0
    orphan_timeout: PositiveSeconds = 3600.0
    web: Table = {}
    users: Table = {}
    admins: Table = {}
    limits: Table = {}
    tasks: Table = {}


class _Web(msgspec.Struct):
    """`[web]`: there is no page yet, which `off` says."""

    listen: str = "off"


class _Owner(msgspec.Struct):
    """What users and admins have."""

    key: str | UnsetType = UNSET
    key_sha256: str | UnsetType = UNSET


class _Admin(_Owner):
    """`[admins.NAME]`."""


class _User(_Owner):
    """`[users.NAME]`."""

    tasks: list[Text] | UnsetType = UNSET


def load(options: Mapping[str, Any], environment: Mapping[str, str]) -> Settings:
    """The settings that options, configuration file and environment come to.

    Args:
        options: what the command line gives: `config` (a path), `listen` (a list of endpoints),
            `web` (`off`), `data` (a path), `slots` (a number, or its text), `tasks` (a list of
            paths); one that is missing, None or empty was not given.
        environment: `APTASK_DATA` and `XDG_STATE_HOME` are looked up in it.

    Raises:
        ConfigurationError: there is a mistake; the message has a sentence for each, a line each.
    """
    mistakes: list[str] = []
    config = options.get("config") or None
    values, readable_by_others = _read(config) if config else ({}, False)
    reader = _Reader(config or "", mistakes)
    file = reader.struct(_File, "", values)
    base = Path(config).absolute().parent if config else Path()

    data = _data(options, file, base, environment, reader)
    slots = _slots(options, file, mistakes)
    folders = _task_folders(options, file, base, reader)
    _check_web(options, reader, file)
    keys = _keys(reader, file)
    limits = reader.struct(Limits, "limits", file.limits)
    tasks = dict(reader.tables("tasks", file.tasks))
    listen = _listen(options, file, data, reader)
    warnings = [
        f"the endpoint `{endpoint.description}` listens beyond loopback without TLS: keys, and all"
        " that tasks are given, can be read on the way"
        for endpoint in listen
        if endpoint.reach is Reach.OPEN
    ]
    if readable_by_others and _holds_a_key(file):
        warnings.append(
            f"{config}: others can read this file, and it holds keys: take that right from them"
            " (chmod o-r), or write `key_sha256` instead of `key`"
        )
    if mistakes:
        raise ConfigurationError("\n".join(mistakes))
    return Settings(
        config=Path(config).absolute() if config else None,
        data=data,
        listen=listen,
        task_folders=folders,
        slots=slots,
        log=file.log,
        authentication=file.authentication,
        insecure=file.insecure,
        keep_running=file.keep_running,
        stop_deadline=file.stop_deadline,
        orphan_timeout=file.orphan_timeout,
        keys=keys,
        limits=limits,
        tasks=tasks,
        warnings=tuple(warnings),
    )


# The parts of the settings


def _data(
    options: Mapping[str, Any],
    file: _File,
    base: Path,
    environment: Mapping[str, str],
    reader: _Reader,
) -> Path:
    source = f"{reader.file}: `data`"
    try:
        if options.get("data"):
            source, data = "--data", Path(options["data"]).expanduser().absolute()
        elif file.data is not UNSET:
            data = (base / Path(file.data).expanduser()).absolute()
        elif environment.get("APTASK_DATA"):
            source = "$APTASK_DATA"
            data = Path(environment["APTASK_DATA"]).expanduser().absolute()
        else:
            source = "the default data folder"
            state = environment.get("XDG_STATE_HOME")
            folder = Path(state) if state else Path.home() / ".local" / "state"
            data = (folder / "aptask").absolute()
        check_socket_path(data / "aptask.sock", f"{source}: the socket in the data folder")
    except RuntimeError:
        reader.mistakes.append(f"{source}: there is no such home folder; name a data folder")
        return base
    except ConfigurationError as wrong:
        reader.mistakes.append(wrong.message)
        return base
    return data


def _slots(options: Mapping[str, Any], file: _File, mistakes: list[str]) -> int:
    given = options.get("slots")
    if given is None or given == "":
        return len(os.sched_getaffinity(0)) if file.slots is UNSET else file.slots
    text = str(given)
    if re.fullmatch("[0-9]{1,9}", text) and int(text) > 0:
        return int(text)
    mistakes.append(f"--slots must be a whole number >= 1, not `{shown(text)}`")
    return 1


def _task_folders(
    options: Mapping[str, Any], file: _File, base: Path, reader: _Reader
) -> tuple[Path, ...]:
    given = options.get("tasks")
    if given:
        source, names, base = "--tasks", given, Path()
    else:
        source = f"{reader.file}: `task_folders`"
        names = [] if file.task_folders is UNSET else file.task_folders
    folders: dict[Path, None] = {}
    for name in names:
        try:
            folder = (base / Path(name).expanduser()).absolute()
            present = folder.is_dir()
        except (OSError, RuntimeError, ValueError):
            present = False
        if present:
            folders[folder] = None
        else:
            reader.mistakes.append(f"{source}: there is no folder `{shown(name)}`")
    return tuple(folders)


def _check_web(options: Mapping[str, Any], reader: _Reader, file: _File) -> None:
    web = reader.struct(_Web, "web", file.web)
    if (options.get("web") or "off") != "off":
        reader.mistakes.append("--web can only be `off`: this version has no page")
    elif web.listen != "off":
        reader.wrong("web", "`listen` can only be `off`: this version has no page")


def _listen(
    options: Mapping[str, Any], file: _File, data: Path, reader: _Reader
) -> tuple[Endpoint, ...]:
    """Every endpoint, the data folder's own last."""
    given = options.get("listen")
    if given:
        source, descriptions = "--listen", given
    elif file.listen is not UNSET:
        source, descriptions = f"{reader.file}: `listen`", file.listen
    else:
        source, descriptions = f"{reader.file}: `listen`", [DEFAULT_LISTEN]
    socket = data / "aptask.sock"
    quoted = re.sub(r"([\\:=])", r"\\\1", str(socket))
    local = Endpoint(f"unix:{quoted}:mode=600:lockfile=0", Reach.LOCAL, path=str(socket))
    found: dict[str, Endpoint] = {}
    for description in descriptions:
        try:
            endpoint = check_endpoint(description)
            wrong = not_allowed(endpoint, file.authentication, file.insecure)
            if endpoint.description in found:
                wrong = f"the endpoint `{shown(description)}` is there twice"
            path = Path(endpoint.path).absolute() if endpoint.path else None
            if path == data / "runner.sock" or (path == socket and endpoint.proxied):
                wrong = f"the endpoint `{shown(description)}` is one that the daemon itself needs"
        except ConfigurationError as mistake:
            wrong = mistake.message
        if wrong:
            reader.mistakes.append(f"{source}: {wrong}")
        elif path == socket:
            local = endpoint
        else:
            found[endpoint.description] = endpoint
    return (*found.values(), local)


def _keys(reader: _Reader, file: _File) -> tuple[Key, ...]:
    keys: list[Key] = []
    holders: dict[bytes, str] = {}
    names: set[str] = set()
    owners: list[tuple[str, Literal["user", "admin"], type[_Owner], Table]] = [
        ("users", "user", _User, file.users),
        ("admins", "admin", _Admin, file.admins),
    ]
    for table, role, shape, entries in owners:
        for name, fields in reader.tables(table, entries):
            where = _path(table, name)
            entry = reader.struct(shape, where, fields)
            _check_owner(name, where, names, reader)
            names.add(name)
            found = _digest(entry, where, fields, reader)
            if found is None:
                continue
            if found in holders:
                reader.wrong(where, f"has the same key as [{holders[found]}]")
            holders[found] = where
            tasks = entry.tasks if isinstance(entry, _User) else UNSET
            keys.append(Key(name, role, found, None if tasks is UNSET else tuple(tasks)))
    return tuple(keys)


def _check_owner(name: str, where: str, taken: Collection[str], reader: _Reader) -> None:
    if name == LOCAL_OWNER:
        reader.wrong(where, f"cannot have the name `{name}`: the daemon's own key has it")
    elif name in taken:
        reader.wrong(where, "is a user already: a name stands for one of the two")
    elif not (
        0 < len(name) <= _OWNER_NAME_LENGTH
        and all(character.isalnum() or character in "._@+-" for character in name)
    ):
        reader.wrong(
            where,
            f"needs a name of 1 to {_OWNER_NAME_LENGTH} letters, digits and characters of `._@+-`",
        )


def _digest(entry: _Owner, where: str, fields: Mapping[str, Any], reader: _Reader) -> bytes | None:
    """The digest of an owner's key, or None where there is none to be had."""
    if "key" in fields and "key_sha256" in fields:
        reader.wrong(where, "has both `key` and `key_sha256`: leave one of them out")
        return None
    if "key" not in fields and "key_sha256" not in fields:
        reader.wrong(where, "needs `key` or `key_sha256`")
        return None
    if entry.key is not UNSET:
        found = digest(entry.key)
    elif entry.key_sha256 is not UNSET:
        if not re.fullmatch("[0-9a-fA-F]{64}", entry.key_sha256):
            reader.wrong(where, "`key_sha256` must be 64 hexadecimal digits")
            return None
        found = bytes.fromhex(entry.key_sha256)
    else:
        return None
    if found == digest(""):
        reader.wrong(where, "has an empty key")
        return None
    return found


def _holds_a_key(file: _File) -> bool:
    owners = [*file.users.values(), *file.admins.values()]
    return any(isinstance(fields, dict) and "key" in fields for fields in owners)


# Reading a file


def _read(name: str) -> tuple[dict[str, Any], bool]:
    """What a configuration file holds, and whether others than its owner can read it."""
    try:
        with Path(name).open("rb") as file:
            readable_by_others = bool(os.fstat(file.fileno()).st_mode & stat.S_IROTH)
            content = file.read()
    except OSError as problem:
        raise ConfigurationError(f"{name} cannot be read: {problem.strerror}") from None
    try:
        return tomllib.loads(content.decode("utf-8").replace("\r\n", "\n")), readable_by_others
    except UnicodeDecodeError:
        raise ConfigurationError(f"{name} is not UTF-8 text") from None
    except RecursionError:
        raise ConfigurationError(f"{name} is nested too deeply") from None
    except ValueError as problem:
        raise ConfigurationError(f"{name} is not TOML: {problem}") from None


class _Reader:
    """Takes what is right out of a file's tables, and notes what is wrong.

    Args:
        file: the file's name, for people.
        mistakes: where sentences are added.
    """

    def __init__(self, file: str, mistakes: list[str]) -> None:
        self.file = file
        self.mistakes = mistakes

    def wrong(self, where: str, what: str) -> None:
        """Note a mistake.

        Args:
            where: the dotted name of its table, or empty text at the top.
            what: is wrong: the rest of the sentence.
        """
        table = f"[{where}] " if where else ""
        self.mistakes.append(f"{self.file}: {table}{what}")

    def struct(self, shape: type[T], where: str, values: Mapping[str, Any]) -> T:
        """A struct with the fields that are right, and the defaults of the others."""
        fields = {field.name: field.type for field in msgspec.structs.fields(shape)}
        good: dict[str, Any] = {}
        for name, value in values.items():
            if name in fields:
                try:
                    good[name] = _convert(value, fields[name])
                except ValueError as problem:
                    self.wrong(where, f"`{name}` {problem}")
            else:
                kind = "table" if isinstance(value, dict) else "field"
                subject = "has" if where else "there is"
                hint = nearest(name, fields)
                self.wrong(where, f"{subject} no {kind} `{shown(name)}`{hint}")
        return shape(**good)

    def tables(self, where: str, values: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
        """The tables of a table by their names; notes what is no table."""
        for name, value in values.items():
            if isinstance(value, dict):
                yield name, value
            else:
                self.wrong(where, f"`{shown(name)}` must be a table, as [{_path(where, name)}]")


_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
}


def _convert(value: Any, kind: Any) -> Any:
    """A value as a field's type; raises ValueError with the rest of a sentence."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    if isinstance(value, int) and not -_LARGEST_INTEGER <= value <= _LARGEST_INTEGER:
        raise ValueError("is too large a number")
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as problem:
        text = str(problem)
    if text.startswith("Invalid enum value"):
        choices = " or ".join(f"`{choice}`" for choice in get_args(kind))
        raise ValueError(f"must be {choices}, not `{shown(str(value))}`")
    text, _, place = text.partition(" - at `$[")
    item = f"(item {int(place.rstrip('`]')) + 1}) " if place else ""
    text = text.replace("Expected", "must be").replace(", got", ", not")
    text = text.replace("of length >= 1", "that is not empty")
    text = re.sub("`(.*?)`", lambda match: " or ".join(_kinds(match[1])), text)
    raise ValueError(item + text)


def _kinds(names: str) -> list[str]:
    return [_KINDS.get(name, name) for name in names.split(" | ")]


def _path(table: str, name: str) -> str:
    """The dotted name of a table in a table, as TOML writes it."""
    is_bare = re.fullmatch("[A-Za-z0-9_-]+", name)
    return f"{table}.{name if is_bare else shown(json.dumps(name, ensure_ascii=False))}"
