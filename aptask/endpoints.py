"""Endpoints: what a description stands for, and whom it lets in.

What an endpoint lets in is judged from its text, by `check_endpoint`: Unix sockets and loopback are
local, `ssl:` is encrypted, anything else is open to whoever reaches it. `haproxy:` is as what it
wraps, but never local for the purposes of `authentication = false`, since others come through it.
A socket that `systemd:` hands over is judged by its address, by `check_address`, once it is there.
Kinds of endpoints that other packages add are taken to be open.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins

from aptask.errors import ConfigurationError

DEFAULT_LISTEN = "tcp:2142:interface=127.0.0.1"
"""Where the daemon listens unless it is told, beside the socket in its data folder."""

LONGEST_SOCKET_PATH = 107
"""Bytes in the path of a Unix socket; the system takes no more."""


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
        check_socket_path(given["address"], f"the endpoint `{shown(description)}`")
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


def check_address(
    endpoint: Endpoint, address: IAddress, *, authentication: bool, insecure: bool
) -> None:
    """Judge an endpoint, whose description does not say where it listens, by the address it got.

    Args:
        endpoint: any; one that is not `INHERITED` has been judged already, and passes.
        address: what its port listens at.
        authentication, insecure: as the settings have them.

    Raises:
        ConfigurationError: it lets in whom the settings do not.
    """
    if endpoint.reach is not Reach.INHERITED:
        return
    reach = Reach.LOCAL if is_local_address(address) else Reach.OPEN
    found = Endpoint(endpoint.description, reach, endpoint.proxied)
    wrong = not_allowed(found, authentication, insecure)
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
            raise _wrong(description, f"has `{shown(part[0])}` twice")
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
            raise _wrong(description, f"has an unknown `{shown(name)}`{nearest(name, names)}")
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
        hint = nearest(kind, known) or f", such as `{DEFAULT_LISTEN}`"
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


def check_socket_path(path: str | Path, what: str) -> None:
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


def not_allowed(endpoint: Endpoint, authentication: bool, insecure: bool) -> str:
    """Why an endpoint may not be listened on, or empty text."""
    named = shown(endpoint.description)
    if endpoint.reach is Reach.INHERITED and (authentication or not endpoint.proxied):
        return ""
    if not authentication and (endpoint.proxied or endpoint.reach is not Reach.LOCAL):
        return (
            f"the endpoint `{named}` must be a Unix socket or on loopback, and not behind a proxy,"
            " since with `authentication = false` whoever reaches it is an admin"
        )
    if endpoint.reach is Reach.OPEN and not insecure:
        return (
            f"the endpoint `{named}` would listen beyond loopback without TLS, and keys could be"
            " read on the way: use `ssl:`, or `interface=127.0.0.1`, or set `insecure = true`"
        )
    return ""


def _wrong(description: str, what: str) -> ConfigurationError:
    return ConfigurationError(f"the endpoint `{shown(description)}` {what}")


def nearest(name: str, names: Iterable[str]) -> str:
    """A hint at the name that was meant, if one is near."""
    near = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def shown(text: str) -> str:
    """Text of somebody's as it can stand in a sentence: short, and without control characters."""
    text = "".join(character if character.isprintable() else "?" for character in text)
    return text if len(text) <= 100 else f"{text[:100]}..."
