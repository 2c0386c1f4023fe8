"""A credential as the daemon knows it: never the key itself."""

from __future__ import annotations

from hashlib import sha256
from typing import Literal

import msgspec


class Key(msgspec.Struct, frozen=True):
    """A key, and what it allows.

    Attributes:
        name: its owner's.
        role: what the owner may do.
        digest: the SHA-256 of the key's UTF-8 text, 32 bytes.
        tasks: the names that the owner may start; None: all that are not privileged.
    """

    name: str
    role: Literal["user", "admin"]
    digest: bytes
    tasks: tuple[str, ...] | None = None


def digest(key: str) -> bytes:
    """What the daemon knows of a key: the SHA-256 of its UTF-8 text, 32 bytes."""
    return sha256(key.encode()).digest()
