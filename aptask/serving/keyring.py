"""Who asks: keys, whom they belong to, and what those may do.

Keys are held and looked up as SHA-256 digests only: none can be read out of the daemon's memory
or guessed byte by byte from how long a comparison takes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from aptask.errors import Unauthorized
from aptask.model.description import Description


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom a key belongs to.

    Attributes:
        name: the owner of what is started with the key.
        role: "user", or "admin": one who may see and stop everyone's tasks.
        tasks: the names of the tasks that a user may start; None: all but the privileged ones.
    """

    name: str
    role: Literal["user", "admin"] = "user"
    tasks: frozenset[str] | None = None

    @property
    def is_admin(self) -> bool:
        """Whether everyone's tasks are theirs to see and stop."""
        return self.role == "admin"

    def may_start(self, description: Description) -> bool:
        """Whether a task is one that they may start."""
        if self.role == "admin":
            return True
        if self.tasks is None:
            return not description.privileged
        return description.name in self.tasks


LOCAL = Identity("local", "admin")
"""Who everyone is where authentication is off."""


class Keyring:
    """The keys.

    Args:
        keys: the digest of each key, and whom it belongs to.
        authentication: False: every request is allowed, without a key or with any.
    """

    def __init__(
        self, keys: Iterable[tuple[bytes, Identity]] = (), authentication: bool = True
    ) -> None:
        self._identities = dict(keys)
        self._authentication = authentication

    def identify(self, key: str) -> Identity:
        """Whom a key belongs to.

        Raises:
            Unauthorized: there is no key, or it is nobody's.
        """
        identity = self._identities.get(sha256(key.encode()).digest())
        if identity is not None:
            return identity
        if not self._authentication:
            return LOCAL
        if not key:
            raise Unauthorized("no key: put yours into the field `key`")
        raise Unauthorized("unknown key")


def digest(key: str) -> bytes:
    """What a keyring knows of a key: its SHA-256."""
    return sha256(key.encode()).digest()
