"""Where the daemon is, and by which key it knows its client: decided here and nowhere else.

Rules:

- The server is the one that was named, else that of `$APTASK_SERVER`, else the socket `aptask.sock`
  in the data folder.
- The key is the one that was given, else that of a key file, else that of `$APTASK_KEY`, else the
  data folder's `local.key`. The last one makes whoever has it an admin: it goes over the data
  folder's own socket, never over TCP nor to a socket elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

FORMS = "HOST:PORT, unix:PATH or tls://HOST:PORT"
"""How a server is written, for people."""


class Address(msgspec.Struct, frozen=True):
    """Where a daemon listens.

    Attributes:
        kind: how it is reached.
        host, port: with `tcp` and `tls`; a host is a name or an IP address, without brackets.
        path: with `unix`, the socket's.
    """

    kind: Literal["tcp", "tls", "unix"]
    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.kind == "unix":
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'tls://' if self.kind == 'tls' else ''}{host}:{self.port}"


def parse(text: str) -> Address:
    """An address from how people write it.

    Args:
        text: `HOST:PORT`, `unix:PATH` or `tls://HOST:PORT`; an IPv6 address stands in brackets.

    Raises:
        ValueError: it is none of these; the message says what was expected.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if not path:
            raise ValueError(f"not a server: `{text}` names no socket; expected {FORMS}")
        return Address("unix", path=str(Path(path).expanduser()))
    rest = text.removeprefix("tls://")
    host, colon, port = rest.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if not colon or not host or "/" in host or (":" in host and not bracketed):
        raise ValueError(f"not a server: `{text}`; expected {FORMS}")
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise ValueError(f"not a server: `{text}` has no port from 1 to 65535; expected {FORMS}")
    return Address("tcp" if rest is text else "tls", host=host, port=int(port))


def data_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the daemon that this account runs, whether or not it is there."""
    named = environment.get("APTASK_DATA")
    if named:
        return Path(named).expanduser()
    state = environment.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "aptask"


def find_server(server: str | None, environment: Mapping[str, str] = os.environ) -> Address:
    """The address to connect to.

    Args:
        server: as `parse` takes it, or None for the default.
        environment: where `$APTASK_SERVER` and the data folder are looked up.

    Raises:
        ValueError: `server`, or `$APTASK_SERVER`, is not an address.
    """
    if server:
        return parse(server)
    named = environment.get("APTASK_SERVER")
    if named:
        try:
            return parse(named)
        except ValueError as wrong:
            raise ValueError(f"$APTASK_SERVER: {wrong}") from None
    return Address("unix", path=str(data_folder(environment) / "aptask.sock"))


def find_key(
    address: Address,
    key: str | None = None,
    key_file: str | os.PathLike[str] | None = None,
    environment: Mapping[str, str] = os.environ,
) -> str:
    """The key to send to an address.

    Args:
        address: where it is going to be sent.
        key: the key itself.
        key_file: the path of a file that holds it; white space around it does not count.
        environment: where `$APTASK_KEY` and the data folder are looked up.

    Returns:
        The key, or empty text where there is none to be sent.

    Raises:
        OSError: the key file cannot be read.
        ValueError: the key file is empty, or not text.
    """
    if key is not None:
        return key
    if key_file is not None:
        return _read(Path(key_file))
    named = environment.get("APTASK_KEY")
    if named:
        return named
    folder = data_folder(environment)
    if address.kind == "unix" and _same(Path(address.path), folder / "aptask.sock"):
        try:
            return _read(folder / "local.key")
        except (OSError, ValueError):
            return ""
    return ""


def _read(path: Path) -> str:
    try:
        key = path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError(f"the key file {path} is not text") from None
    if not key:
        raise ValueError(f"the key file {path} is empty")
    return key


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)
