"""What admins have set: keys, and what holds for groups.

Rules:

- There are few of either, so each question reads all of them.
- A key that is removed leaves its digest nowhere: each stands in pages of its own, as the secrets
  of jobs do, and for the same reason (see `rows`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from aptask.errors import Conflict
from aptask.model.group import GroupSetting
from aptask.model.key import Key
from aptask.storage.log import Execute
from aptask.storage.rows import Unreadable, checksum, pad, unpad


def keys(execute: Execute) -> list[Key]:
    """All keys, in the order of their names.

    Raises:
        Unreadable: one is damaged.
    """
    return sorted((key for _, key in _keys(execute)), key=lambda key: key.name)


def add_key(execute: Execute, key: Key) -> None:
    """Enter a key.

    Raises:
        Conflict: there is one of that name.
    """
    present = dict(_keys(execute))
    if any(other.name == key.name for other in present.values()):
        raise Conflict(f"there is a key of the name `{key.name}` already")
    number, value = max(present, default=0) + 1, pad(msgspec.json.encode(key))
    execute("INSERT INTO keys VALUES (?,?,?)", (number, checksum((number, value)), value))


def remove_key(execute: Execute, name: str) -> bool:
    """Forget a key; whether there was one of that name."""
    found = [number for number, key in _keys(execute) if key.name == name]
    for number in found:
        execute("DELETE FROM keys WHERE id=?", (number,))
    return bool(found)


def groups(execute: Execute) -> dict[str, GroupSetting]:
    """What was set for groups.

    Raises:
        Unreadable: a row of them is damaged.
    """
    rows = execute("SELECT name, slots, paused, sum FROM groups ORDER BY name").fetchall()
    for row in rows:
        if not is_whole(row):
            raise Unreadable(f"what was kept of the group `{row[0]}` is damaged")
    return {name: GroupSetting(slots, bool(paused)) for name, slots, paused, _ in rows}


def set_group(execute: Execute, name: str, setting: GroupSetting) -> None:
    """Enter what is set for a group."""
    row = name, setting.slots, int(setting.paused)
    execute("INSERT OR REPLACE INTO groups VALUES (?,?,?,?)", (*row, checksum(row)))


def is_whole(row: tuple[Any, ...]) -> bool:
    """Whether a row's last value is the checksum of the others."""
    sum_: int = row[-1]
    return checksum(row[:-1]) == sum_


def _keys(execute: Execute) -> Iterator[tuple[int, Key]]:
    rows = execute("SELECT id, value, sum FROM keys ORDER BY id").fetchall()
    for number, value, sum_ in rows:
        if not is_whole((number, value, sum_)):
            raise Unreadable("what was kept of a key is damaged")
        yield number, msgspec.json.decode(unpad(value), type=Key)
