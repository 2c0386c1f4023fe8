"""Keys, where they come from, what their owners may start, and who hears that one is gone."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.errors import Unauthorized
from aptask.model.key import Key, digest
from aptask.serving.keyring import Identity, Keyring, Known, Source
from tests.serving.fakes import describe

PLAIN = describe("sleep")
PRIVILEGED = describe("program", privileged=True)


def key(
    name: str,
    text: str | None = None,
    role: Literal["user", "admin"] = "user",
    tasks: tuple[str, ...] | None = None,
) -> Key:
    return Key(name, role, digest(text or f"key of {name}"), tasks)


def make_keyring(*, authentication: bool = True, **keys: list[Key]) -> Keyring:
    keyring = Keyring(authentication)
    for source, several in (keys or {"configuration": [key("alice", "secret")]}).items():
        keyring.replace(Source(source), several)
    return keyring


def gone(keyring: Keyring) -> list[str]:
    names: list[str] = []
    keyring.when_gone(names.append)
    return names


def test_a_key_identifies_its_owner() -> None:
    keyring = make_keyring(configuration=[key("a", role="admin"), key("b", tasks=("x", "y"))])
    assert keyring.identify("key of a") == Identity("a", "admin")
    assert keyring.identify("key of b") == Identity("b", "user", frozenset({"x", "y"}))


@pytest.mark.parametrize(("text", "said"), [("", "no key"), ("Secret", "unknown key")])
def test_no_key_and_an_unknown_key_are_unauthorized(text: str, said: str) -> None:
    with pytest.raises(Unauthorized, match=said):
        make_keyring().identify(text)


@pytest.mark.parametrize("text", ["", "unknown"])
def test_without_authentication_everyone_is_the_local_admin(text: str) -> None:
    identity = make_keyring(authentication=False).identify(text)
    assert (identity.name, identity.role) == ("local", "admin")


def test_without_authentication_a_known_key_still_is_its_owners() -> None:
    assert make_keyring(authentication=False).identify("secret").name == "alice"


def test_no_key_can_be_found_in_a_keyring() -> None:
    keyring = make_keyring()
    assert "secret" not in repr(vars(keyring))
    assert list(vars(keyring)["_identities"]) == [digest("secret")]
    assert len(digest("secret")) == 32


@pytest.mark.parametrize(
    ("identity", "plain", "privileged"),
    [
        (Identity("a"), True, False),
        (Identity("a", tasks=frozenset()), False, False),
        (Identity("a", tasks=frozenset({"sleep"})), True, False),
        (Identity("a", tasks=frozenset({"program"})), False, True),
        (Identity("a", "admin"), True, True),
        (Identity("a", "admin", frozenset()), True, True),
    ],
)
def test_who_may_start_what(identity: Identity, plain: bool, privileged: bool) -> None:
    assert identity.may_start(PLAIN) is plain
    assert identity.may_start(PRIVILEGED) is privileged


def test_the_keys_of_one_source_are_replaced_and_those_of_the_others_stay() -> None:
    keyring = make_keyring(configuration=[key("a"), key("b")], database=[key("c")])
    keyring.replace(Source.CONFIGURATION, [key("b"), key("d")])
    assert [known.key.name for known in keyring.known()] == ["b", "c", "d"]
    assert not keyring.knows("key of a")
    assert keyring.knows("key of c")


def test_the_configurations_key_of_a_name_wins_over_the_databases() -> None:
    keyring = make_keyring(database=[key("a", "old")], configuration=[key("a", "new")])
    assert keyring.get("a") == Known(Source.CONFIGURATION, key("a", "new"))
    assert not keyring.knows("old")
    keyring.replace(Source.CONFIGURATION, [])
    assert keyring.get("a") == Known(Source.DATABASE, key("a", "old"))
    assert (keyring.knows("old"), keyring.knows("new")) == (True, False)


def test_the_local_key_wins_over_all() -> None:
    keyring = make_keyring(
        database=[key("local", "another")],
        configuration=[key("ops", "text")],
        local=[key("local", "text", "admin")],
    )
    assert keyring.identify("text").name == "local"
    assert not keyring.knows("another")


def test_who_asked_hears_of_each_key_that_is_gone_and_of_no_other() -> None:
    keyring = make_keyring(configuration=[key("a"), key("b")], database=[key("c"), key("d")])
    names = gone(keyring)
    keyring.remove(Source.DATABASE, "c")
    keyring.remove(Source.DATABASE, "a")
    keyring.add(Source.DATABASE, key("e"))
    keyring.replace(Source.CONFIGURATION, [key("b"), key("f")])
    assert names == ["c", "a"]


@pytest.mark.parametrize(
    ("after", "is_gone"),
    [
        (key("a", role="admin"), False),
        (key("a", "changed", "admin"), True),
        (key("a", role="user"), True),
    ],
    ids=["the same", "another key", "no admin any more"],
)
def test_a_key_is_gone_when_it_lets_nobody_in_any_more_or_to_less(
    after: Key, is_gone: bool
) -> None:
    keyring = make_keyring(configuration=[key("a", role="admin")])
    names = gone(keyring)
    keyring.replace(Source.CONFIGURATION, [after])
    assert names == (["a"] if is_gone else [])


def test_other_tasks_are_not_another_key() -> None:
    keyring = make_keyring(configuration=[key("a", tasks=("x",))])
    names = gone(keyring)
    keyring.replace(Source.CONFIGURATION, [key("a", tasks=("y",))])
    assert names == []
    assert keyring.identify("key of a").tasks == {"y"}


def test_a_databases_key_is_gone_when_the_configuration_takes_its_name() -> None:
    keyring = make_keyring(database=[key("a", "old")])
    names = gone(keyring)
    keyring.replace(Source.CONFIGURATION, [key("a", "new")])
    assert names == ["a"]


_KEYS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2", "3", "4"]))


@given(st.lists(st.tuples(st.sampled_from(list(Source)), _KEYS), max_size=8))
def test_whatever_is_replaced_what_counts_is_the_first_of_each_name(
    steps: list[tuple[Source, dict[str, str]]],
) -> None:
    keyring = Keyring()
    present: dict[Source, dict[str, str]] = {source: {} for source in Source}
    for source, texts in steps:
        keyring.replace(source, [key(name, name + text) for name, text in texts.items()])
        present[source] = texts
        expected = {
            name: text for source in reversed(Source) for name, text in present[source].items()
        }
        assert {known.key.name for known in keyring.known()} == set(expected)
        for name in "abcd":
            for text in "1234":
                assert keyring.knows(name + text) is (expected.get(name) == text)
