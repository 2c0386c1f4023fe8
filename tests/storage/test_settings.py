"""Keys, and what is set for groups, as every store keeps them."""

from __future__ import annotations

import random
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from aptask.errors import Conflict
from aptask.model.event import Author, Event, Level
from aptask.model.group import GroupSetting
from aptask.model.key import Key
from aptask.storage import writer

ROOT = Author("root", "127.0.0.1:1")


def key(name: str, number: int = 0, tasks: tuple[str, ...] | None = None) -> Key:
    return Key(name, "user", b"DIGEST%026d" % number, tasks)


def told(what: str) -> list[Event]:
    return [Event(Level.REQUEST, what, ROOT)]


def test_there_are_none_at_first(store: Any, result: Any) -> None:
    assert result(store.keys()) == []
    assert result(store.groups()) == {}


def test_keys_come_back_in_the_order_of_their_names(store: Any, result: Any) -> None:
    keys = [key("bob", 1, ()), Key("älice", "admin", bytes(32)), key("amy", 2, ("copy", "täsk"))]
    for one in keys:
        result(store.add_key(one))
    assert result(store.keys()) == [keys[2], keys[0], keys[1]]


def test_a_name_that_is_taken_is_a_conflict(store: Any, result: Any) -> None:
    result(store.add_key(key("bob", 1)))
    with pytest.raises(Conflict, match="bob"):
        result(store.add_key(key("bob", 2), told("addkey bob")))
    assert result(store.keys()) == [key("bob", 1)]
    assert store.logged == 0


def test_a_key_that_was_removed_is_no_key_and_its_name_is_free(store: Any, result: Any) -> None:
    for name in ("amy", "bob", "carol"):
        result(store.add_key(key(name)))
    assert result(store.remove_key("bob")) is True
    assert result(store.remove_key("bob", told("revoke bob"))) is False
    assert store.logged == 0
    assert [one.name for one in result(store.keys())] == ["amy", "carol"]
    result(store.add_key(key("bob", 7)))
    assert result(store.keys())[1] == key("bob", 7)


def test_what_is_set_for_a_group_stands_until_it_is_set_again(store: Any, result: Any) -> None:
    result(store.set_group("gpu", GroupSetting(2, False)))
    result(store.set_group("default", GroupSetting(None, True)))
    result(store.set_group("gpu", GroupSetting(0, True)))
    assert result(store.groups()) == {
        "default": GroupSetting(None, True),
        "gpu": GroupSetting(0, True),
    }


def test_what_is_told_of_a_change_is_in_the_log(store: Any, result: Any) -> None:
    result(store.add_key(key("bob"), told("addkey bob")))
    result(store.set_group("gpu", GroupSetting(1), told("limits gpu")))
    result(store.remove_key("bob", told("revoke bob")))
    found = result(store.read_log(None, 10, Level.REQUEST))
    assert [one.event for one in found] == [
        *told("addkey bob"),
        *told("limits gpu"),
        *told("revoke bob"),
    ]


# On disk


def test_they_are_there_after_closing(bench: Any) -> None:
    store = bench.store()
    bench.result(store.add_key(key("bob", 5, ("copy",)), told("addkey bob")))
    bench.result(store.set_group("gpu", GroupSetting(3, True)))
    bench.close(store)
    store = bench.store()
    assert bench.result(store.keys()) == [key("bob", 5, ("copy",))]
    assert bench.result(store.groups()) == {"gpu": GroupSetting(3, True)}
    assert store.logged == 1


def digests(folder: Path) -> set[int]:
    """The numbers of the digests that are in any file, in the form in which they are stored."""
    found: set[int] = set()
    for path in folder.glob("aptask.db*"):
        for text in re.findall(rb"RElHRVNU[\w+/]{35}=", path.read_bytes()):
            found.add(int(b64decode(text).decode()[6:]))
    return found


def test_keys_that_were_removed_leave_their_digests_nowhere_whatever_was_moved(
    bench: Any, tmp_path: Path
) -> None:
    store = bench.store()
    dice = random.Random(6)
    living: list[int] = []
    for number in range(400):
        tasks = ("t" * 150,) * dice.choice((0, 1, 3, 12, 25))
        bench.result(store.add_key(key(f"user{number}", number, tasks)))
        living.append(number)
        for _ in range(dice.randrange(min(5, len(living)))):
            gone = living.pop(dice.randrange(len(living)))
            assert bench.result(store.remove_key(f"user{gone}"))
    assert digests(tmp_path) >= set(living)
    bench.close(store)
    assert digests(tmp_path) == set(living)


def test_a_key_that_was_removed_is_gone_from_the_files_while_the_store_is_open(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SCRUB_SECONDS", 0.001)
    store = bench.store()
    bench.result(store.add_key(key("bob", 7)))
    while bench.path.with_name("aptask.db-wal").stat().st_size:
        bench.result(store.size())
    assert digests(tmp_path) == {7}
    bench.result(store.remove_key("bob"))
    turns = 0
    while digests(tmp_path):
        bench.result(store.size())
        turns += 1
        assert turns < 1000
    bench.close(store)
