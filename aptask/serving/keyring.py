"""Who asks: keys, whom they belong to, and what those may do.

Its rules:

- Keys are held and looked up as SHA-256 digests only: none can be read out of the daemon's memory
  or guessed byte by byte from how long a comparison takes.
- A name has one key. Where two sources have a key of one name, that of the source named first in
  `Source` counts, and the other is none.
- Whoever has let somebody in for longer than a moment is told when that one's key is gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, NamedTuple

from aptask.errors import Unauthorized
from aptask.model.description import Description
from aptask.model.key import Key, digest


class Source(StrEnum):
    """Where a key comes from, the one that counts first."""

    LOCAL = "local"
    """the daemon made it for its own account"""
    CONFIGURATION = "configuration"
    """a table of the configuration file"""
    DATABASE = "database"
    """`addkey` made it"""


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


class Known(NamedTuple):
    """A key that counts, and where it comes from."""

    source: Source
    key: Key


class Keyring:
    """The keys; at first there are none.

    Args:
        authentication: False: every request is allowed, without a key or with any.
    """

    def __init__(self, authentication: bool = True) -> None:
        self._authentication = authentication
        self._sources: dict[Source, dict[str, Key]] = {source: {} for source in Source}
        self._known: dict[str, Known] = {}
        self._identities: dict[bytes, Identity] = {}
        self._listeners: list[Callable[[str], None]] = []

    def identify(self, key: str) -> Identity:
        """Whom a key belongs to.

        Raises:
            Unauthorized: there is no key, or it is nobody's.
        """
        identity = self._identities.get(digest(key))
        if identity is not None:
            return identity
        if not self._authentication:
            return LOCAL
        if not key:
            raise Unauthorized("no key: put yours into the field `key`")
        raise Unauthorized("unknown key")

    def knows(self, key: str) -> bool:
        """Whether a key is somebody's."""
        return digest(key) in self._identities

    def get(self, name: str) -> Known | None:
        """The key of a name."""
        return self._known.get(name)

    def has(self, source: Source, name: str) -> bool:
        """Whether a source has a key of this name, be it that another source's counts."""
        return name in self._sources[source]

    def known(self) -> list[Known]:
        """All keys that count, in the order of their names."""
        return [self._known[name] for name in sorted(self._known)]

    def replace(self, source: Source, keys: Iterable[Key]) -> None:
        """Have these keys of a source, and no others of it.

        Who had a key that is gone now, or was an admin and is none any more, is told of to those
        who asked for that.

        Args:
            source: where they come from; the other sources' stay.
            keys: at most one of each name.
        """
        self._sources[source] = {key.name: key for key in keys}
        before = self._known
        self._count()
        for name, (_, key) in before.items():
            now = self._known.get(name)
            if now is None or (now.key.digest, now.key.role) != (key.digest, key.role):
                self._tell(name)

    def add(self, source: Source, key: Key) -> None:
        """Have one more key of a source, in the place of one of the same name."""
        self.replace(source, [*self._sources[source].values(), key])

    def remove(self, source: Source, name: str) -> None:
        """Have the key of this name no more, if the source has one."""
        self.replace(source, [key for key in self._sources[source].values() if key.name != name])

    def when_gone(self, listener: Callable[[str], None]) -> None:
        """Have a function called with each name whose key is gone, from now on."""
        self._listeners.append(listener)

    def _count(self) -> None:
        """Find out which keys count."""
        self._known = {}
        self._identities = {}
        for source in Source:
            for key in self._sources[source].values():
                if key.name not in self._known:
                    self._known[key.name] = Known(source, key)
                    self._identities.setdefault(key.digest, _identity(key))

    def _tell(self, name: str) -> None:
        for listener in self._listeners:
            listener(name)


def _identity(key: Key) -> Identity:
    return Identity(key.name, key.role, None if key.tasks is None else frozenset(key.tasks))
