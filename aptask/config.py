"""Settings: options, configuration file and environment, read and checked once, at start.

Rules:

- An option wins over the file, that over the environment, that over the default.
- Every mistake is a `ConfigurationError`, and all that can be seen at once are told at once: one
  sentence a line, each naming file, table and field, with the nearest name for a misspelt one.
- A field is written in one place, a struct of this module; what is not in one is a mistake.
- Nothing is made here: the file is read, and the folders of tasks must be there, that is all.

What an endpoint lets in is judged from its text, by `check_endpoint`: Unix sockets and loopback are
local, `ssl:` is encrypted, anything else is open to whoever reaches it. `haproxy:` is as what it
wraps, but never local for the purposes of `authentication = false`, since others come through it.
A socket that `systemd:` hands over is judged by its address, by `check_address`, once it is there.
Kinds of endpoints that other packages add are taken to be open.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from aptask.errors import ConfigurationError
from aptask.model.limits import Limits, Positive, PositiveSeconds

DEFAULT_LISTEN = "tcp:2142:interface=127.0.0.1"
"""Where the daemon listens unless it is told, beside the socket in its data folder."""

LOCAL_OWNER = "local"
"""The name of the key that the daemon makes for its own account."""

LONGEST_SOCKET_PATH = 107
"""Bytes in the path of a Unix socket; the system takes no more."""

_LARGEST_INTEGER = 2**63 - 1
_OWNER_NAME_LENGTH = 64

T = TypeVar("T", bound=msgspec.Struct)


class Reach(StrEnum):
    """Whom an endpoint lets in."""

    LOCAL = "local"
    """those on this machine: a Unix socket, or loopback"""
    ENCRYPTED = "encrypted"
    """anyone, over TLS"""
    OPEN = "open"
    """anyone who reaches it, and on the way all can be read"""
    INHERITED = "inherited"
    """to be told from its address, once there is one"""


class Endpoint(msgspec.Struct, frozen=True):
    """Where to listen.

    Attributes:
        description: Twisted's string for it.
        reach: whom it lets in.
        proxied: whether a proxy stands before it, that others come through.
        path: of a Unix socket.
    """

    description: str
    reach: Reach
    proxied: bool = False
    path: str | None = None


class Key(msgspec.Struct, frozen=True):
    """A credential that the configuration gives.

    Attributes:
        name: the owner's.
        role: what the owner may do.
        digest: the SHA-256 of the key's UTF-8 text, 32 bytes.
        tasks: the names that the owner may start; None: all that are not privileged.
    """

    name: str
    role: Literal["user", "admin"]
    digest: bytes
    tasks: tuple[str, ...] | None = None


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that the daemon is told.

    Attributes:
        config: the configuration file, if there is one; absolute.
        data: the data folder; absolute, and maybe not made yet.
        listen: every endpoint to listen on, `local_endpoint` last.
        local_endpoint: the data folder's own socket, on which alone the local key counts.
        task_folders: private task files; absolute.
        slots: how many jobs run at once.
        log: how it is written.
        authentication: False: everyone who reaches an endpoint is an admin.
        insecure: whether endpoints beyond loopback may do without TLS.
        stop_deadline: seconds from being told to stop to having stopped.
        keys: those of the configuration.
        limits: what clients and jobs may take.
        tasks: the tables `[tasks.NAME]` by name, as they stand in the file.
        warnings: what is allowed but unwise: a sentence each, to be logged.
    """

    config: Path | None
    data: Path
    listen: tuple[Endpoint, ...]
    local_endpoint: Endpoint
    task_folders: tuple[Path, ...]
    slots: int
    log: Literal["text", "json"]
    authentication: bool
    insecure: bool
    stop_deadline: float
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
    stop_deadline: PositiveSeconds = 20.0
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
    listen, local = _listen(options, file, data, reader)
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
        local_endpoint=local,
        task_folders=folders,
        slots=slots,
        log=file.log,
        authentication=file.authentication,
        insecure=file.insecure,
        stop_deadline=file.stop_deadline,
        keys=keys,
        limits=limits,
        tasks=tasks,
        warnings=tuple(warnings),
    )


# Endpoints


def check_endpoint(description: str) -> Endpoint:
    """What an endpoint's description stands for; a Unix socket gets mode 600 unless it has one.

    Args:
        description: Twisted's string for it, as `twisted.internet.endpoints.serverFromString` takes
            it.

    Raises:
        ConfigurationError: it cannot be one; the message says what is wrong with it.
    """
    arguments, named = _split(description)
    kind = arguments.pop(0) if arguments else ""
    proxied = kind == "haproxy"
    while kind == "haproxy":
        kind = arguments.pop(0) if arguments else ""
    if kind not in _PARAMETERS:
        _check_foreign(kind, description)
        return Endpoint(description, Reach.OPEN, proxied)
    given = _bind(kind, arguments, named, description)
    if kind == "unix":
        if not re.fullmatch("[0-7]{3,4}", given.get("mode", "600")):
            raise _wrong(description, "needs an octal `mode`, such as 600")
        _check_socket_path(given["address"], f"the endpoint `{_shown(description)}`")
        mode = "" if "mode" in given else ":mode=600"
        return Endpoint(description + mode, Reach.LOCAL, proxied, given["address"])
    if kind == "systemd":
        _check_inherited(given, description)
        return Endpoint(description, Reach.INHERITED, proxied)
    if kind == "ssl":
        return Endpoint(description, Reach.ENCRYPTED, proxied)
    local = _is_loopback(given.get("interface", ""))
    return Endpoint(description, Reach.LOCAL if local else Reach.OPEN, proxied)


def is_local_address(address: IAddress) -> bool:
    """Whether only this machine reaches what listens at an address: a Unix socket, or loopback."""
    if isinstance(address, IPv4Address | IPv6Address):
        return _is_loopback(address.host)
    return isinstance(address, UNIXAddress)


def check_address(settings: Settings, endpoint: Endpoint, address: IAddress) -> None:
    """Judge an endpoint, whose description does not say where it listens, by the address it got.

    Args:
        settings: what is allowed.
        endpoint: any; one that is not `INHERITED` has been judged already, and passes.
        address: what its port listens at.

    Raises:
        ConfigurationError: it lets in whom the settings do not.
    """
    if endpoint.reach is not Reach.INHERITED:
        return
    reach = Reach.LOCAL if is_local_address(address) else Reach.OPEN
    found = Endpoint(endpoint.description, reach, endpoint.proxied)
    wrong = _not_allowed(found, settings.authentication, settings.insecure)
    if wrong:
        raise ConfigurationError(wrong)


_PARAMETERS: dict[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "systemd": ("domain", "index", "name"),
}
"""What each kind of endpoint takes, in the order of its positions; the first is always needed."""

_NUMBERS = {"port": 65535, "backlog": 2**31 - 1, "lockfile": 1, "index": 65535}
"""Which of that are numbers, and how large they can be."""


def _split(description: str) -> tuple[list[str], dict[str, str]]:
    """The arguments of an endpoint by position, its kind first, and those by name."""
    parts: list[list[str]] = [[""]]
    characters = iter(description)
    for character in characters:
        if character == "\\":
            escaped = next(characters, None)
            if escaped is None:
                raise _wrong(description, "ends in the middle of an escape, with a `\\`")
            parts[-1][-1] += escaped
        elif character == ":":
            parts.append([""])
        elif character == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        else:
            parts[-1][-1] += character
    named: dict[str, str] = {}
    for part in parts:
        if len(part) == 2 and part[0] in named:
            raise _wrong(description, f"has `{_shown(part[0])}` twice")
        if len(part) == 2:
            named[part[0]] = part[1]
    return [part[0] for part in parts if len(part) == 1], named


def _bind(
    kind: str, arguments: Sequence[str], named: Mapping[str, str], description: str
) -> dict[str, str]:
    names = _PARAMETERS[kind]
    if len(arguments) > len(names):
        raise _wrong(description, f"has more than `{kind}:` takes: {', '.join(names)}")
    given = dict(zip(names, arguments, strict=False))
    for name, value in named.items():
        if name not in names:
            raise _wrong(description, f"has an unknown `{_shown(name)}`{_nearest(name, names)}")
        if name in given:
            raise _wrong(description, f"has `{name}` twice")
        given[name] = value
    if not given.get(names[0]):
        raise _wrong(description, f"names no {names[0]}: `{kind}:{names[0].upper()}`")
    for name, most in _NUMBERS.items():
        if name in given:
            _check_number(given[name], most, name, description)
    return given


def _check_foreign(kind: str, description: str) -> None:
    """Whether a kind of endpoint is one that an installed package adds."""
    parsers = getPlugins(IStreamServerEndpointStringParser)
    if not kind or kind not in {str(parser.prefix) for parser in parsers}:
        known = [*_PARAMETERS, "haproxy"]
        hint = _nearest(kind, known) or f", such as `{DEFAULT_LISTEN}`"
        raise _wrong(description, f"is of no known kind{hint}")


def _check_inherited(given: Mapping[str, str], description: str) -> None:
    domains = ("INET", "INET6", "UNIX")
    if given["domain"] not in domains:
        raise _wrong(description, f"needs a `domain` that is one of {', '.join(domains)}")
    if ("index" in given) == ("name" in given):
        raise _wrong(description, "needs either `index` or `name`")


def _check_number(text: str, most: int, name: str, description: str) -> None:
    if not (re.fullmatch("[0-9]{1,10}", text) and int(text) <= most):
        raise _wrong(description, f"needs a number from 0 to {most} as `{name}`")


def _check_socket_path(path: str | Path, what: str) -> None:
    length = len(os.fsencode(path))
    if "\0" in str(path):
        raise ConfigurationError(f"{what} has a NUL character in its path")
    if length > LONGEST_SOCKET_PATH:
        raise ConfigurationError(
            f"{what} has a path of {length} bytes, and a Unix socket's can have"
            f" {LONGEST_SOCKET_PATH} at most: choose a shorter one"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _not_allowed(endpoint: Endpoint, authentication: bool, insecure: bool) -> str:
    """Why an endpoint may not be listened on, or empty text."""
    shown = _shown(endpoint.description)
    if endpoint.reach is Reach.INHERITED and (authentication or not endpoint.proxied):
        return ""
    if not authentication and (endpoint.proxied or endpoint.reach is not Reach.LOCAL):
        return (
            f"the endpoint `{shown}` must be a Unix socket or on loopback, and not behind a proxy,"
            " since with `authentication = false` whoever reaches it is an admin"
        )
    if endpoint.reach is Reach.OPEN and not insecure:
        return (
            f"the endpoint `{shown}` would listen beyond loopback without TLS, and keys could be"
            " read on the way: use `ssl:`, or `interface=127.0.0.1`, or set `insecure = true`"
        )
    return ""


def _wrong(description: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"the endpoint `{_shown(description)}` {what}")


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
        _check_socket_path(data / "aptask.sock", f"{source}: the socket in the data folder")
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
    mistakes.append(f"--slots must be a whole number >= 1, not `{_shown(text)}`")
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
            reader.mistakes.append(f"{source}: there is no folder `{_shown(name)}`")
    return tuple(folders)


def _check_web(options: Mapping[str, Any], reader: _Reader, file: _File) -> None:
    web = reader.struct(_Web, "web", file.web)
    if (options.get("web") or "off") != "off":
        reader.mistakes.append("--web can only be `off`: this version has no page")
    elif web.listen != "off":
        reader.wrong("web", "`listen` can only be `off`: this version has no page")


def _listen(
    options: Mapping[str, Any], file: _File, data: Path, reader: _Reader
) -> tuple[tuple[Endpoint, ...], Endpoint]:
    """Every endpoint, and among them the data folder's own."""
    given = options.get("listen")
    if given:
        source, descriptions = "--listen", given
    elif file.listen is not UNSET:
        source, descriptions = f"{reader.file}: `listen`", file.listen
    else:
        source, descriptions = f"{reader.file}: `listen`", [DEFAULT_LISTEN]
    socket = data / "aptask.sock"
    quoted = re.sub(r"([\\:=])", r"\\\1", str(socket))
    local = Endpoint(f"unix:{quoted}:mode=600", Reach.LOCAL, path=str(socket))
    found: dict[str, Endpoint] = {}
    for description in descriptions:
        try:
            endpoint = check_endpoint(description)
            wrong = _not_allowed(endpoint, file.authentication, file.insecure)
            if endpoint.description in found:
                wrong = f"the endpoint `{_shown(description)}` is there twice"
            path = Path(endpoint.path).absolute() if endpoint.path else None
            if path == data / "runner.sock" or (path == socket and endpoint.proxied):
                wrong = f"the endpoint `{_shown(description)}` is one that the daemon itself needs"
        except ConfigurationError as mistake:
            wrong = mistake.message
        if wrong:
            reader.mistakes.append(f"{source}: {wrong}")
        elif path == socket:
            local = endpoint
        else:
            found[endpoint.description] = endpoint
    return (*found.values(), local), local


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
            digest = _digest(entry, where, fields, reader)
            if digest is None:
                continue
            if digest in holders:
                reader.wrong(where, f"has the same key as [{holders[digest]}]")
            holders[digest] = where
            tasks = entry.tasks if isinstance(entry, _User) else UNSET
            keys.append(Key(name, role, digest, None if tasks is UNSET else tuple(tasks)))
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
        digest = hashlib.sha256(entry.key.encode()).digest()
    elif entry.key_sha256 is not UNSET:
        if not re.fullmatch("[0-9a-fA-F]{64}", entry.key_sha256):
            reader.wrong(where, "`key_sha256` must be 64 hexadecimal digits")
            return None
        digest = bytes.fromhex(entry.key_sha256)
    else:
        return None
    if digest == hashlib.sha256(b"").digest():
        reader.wrong(where, "has an empty key")
        return None
    return digest


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
                hint = _nearest(name, fields)
                self.wrong(where, f"{subject} no {kind} `{_shown(name)}`{hint}")
        return shape(**good)

    def tables(self, where: str, values: Mapping[str, Any]) -> Iterable[tuple[str, dict[str, Any]]]:
        """The tables of a table by their names; notes what is no table."""
        for name, value in values.items():
            if isinstance(value, dict):
                yield name, value
            else:
                self.wrong(where, f"`{_shown(name)}` must be a table, as [{_path(where, name)}]")


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
        raise ValueError(f"must be {choices}, not `{_shown(str(value))}`")
    text, _, place = text.partition(" - at `$[")
    item = f"(item {int(place.rstrip('`]')) + 1}) " if place else ""
    text = text.replace("Expected", "must be").replace(", got", ", not")
    text = text.replace("of length >= 1", "that is not empty")
    text = re.sub("`(.*?)`", lambda match: " or ".join(_kinds(match[1])), text)
    raise ValueError(item + text)


def _kinds(names: str) -> list[str]:
    return [_KINDS.get(name, name) for name in names.split(" | ")]


def _nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, if one is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def _path(table: str, name: str) -> str:
    """The dotted name of a table in a table, as TOML writes it."""
    is_bare = re.fullmatch("[A-Za-z0-9_-]+", name)
    return f"{table}.{name if is_bare else _shown(json.dumps(name, ensure_ascii=False))}"


def _shown(text: str) -> str:
    """Text of somebody's as it can stand in a sentence: short, and without control characters."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 100 else f"{text[:100]}..."
