"""Keys, and what their owners may start."""

from __future__ import annotations

import pytest

from aptask.errors import Unauthorized
from aptask.serving.keyring import Identity, Keyring, digest
from tests.serving.fakes import describe

ALICE = Identity("alice")
PLAIN = describe("sleep")
PRIVILEGED = describe("program", privileged=True)


def make_keyring(**settings: bool) -> Keyring:
    return Keyring([(digest("secret"), ALICE)], **settings)


def test_a_key_identifies_its_owner() -> None:
    assert make_keyring().identify("secret") is ALICE


@pytest.mark.parametrize(("key", "said"), [("", "no key"), ("Secret", "unknown key")])
def test_no_key_and_an_unknown_key_are_unauthorized(key: str, said: str) -> None:
    with pytest.raises(Unauthorized, match=said):
        make_keyring().identify(key)


@pytest.mark.parametrize("key", ["", "unknown"])
def test_without_authentication_everyone_is_the_local_admin(key: str) -> None:
    identity = make_keyring(authentication=False).identify(key)
    assert (identity.name, identity.role) == ("local", "admin")


def test_without_authentication_a_known_key_still_is_its_owners() -> None:
    assert make_keyring(authentication=False).identify("secret") is ALICE


def test_no_key_can_be_found_in_a_keyring() -> None:
    keyring = make_keyring()
    assert "secret" not in repr(vars(keyring))
    assert digest("secret") in vars(keyring)["_identities"]
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
