"""How long answers to bad keys are held back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.serving import patience
from aptask.serving.patience import MOST_HOSTS, Patience
from aptask.serving.sockets import host_of


class Time:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_the_first_three_are_answered_at_once_and_then_it_takes_longer_up_to_a_second() -> None:
    patience = Patience(Time())
    delays = [patience.delay("192.0.2.1:5") for _ in range(10)]
    assert delays == [0.0, 0.0, 0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_another_host_begins_at_the_beginning_another_port_does_not() -> None:
    patience = Patience(Time())
    for port in range(3):
        patience.delay(f"192.0.2.1:{port}")
    assert patience.delay("192.0.2.1:99") == 0.1
    assert patience.delay("192.0.2.2:99") == 0.0


def test_a_minute_without_a_bad_key_is_a_new_beginning() -> None:
    time = Time()
    patience = Patience(time)
    for _ in range(9):
        patience.delay("unix")
    time.now += 59.9
    assert patience.delay("unix") == 1.0
    time.now += 60.0
    assert [patience.delay("unix") for _ in range(4)] == [0.0, 0.0, 0.0, 0.1]


def test_the_host_that_was_quiet_for_longest_is_forgotten_when_there_are_too_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("aptask.serving.patience.MOST_HOSTS", 3)
    patience = Patience(Time())
    for host in "aaabbbcccab":
        patience.delay(f"{host}:1")
    patience.delay("d:1")
    assert len(patience) == 3
    assert patience.delay("a:1") > 0
    assert patience.delay("c:1") == 0


def test_no_more_hosts_are_remembered_than_agreed() -> None:
    patience = Patience(Time())
    for number in range(MOST_HOSTS + 100):
        patience.delay(f"10.0.{number >> 8}.{number & 255}:1")
    assert len(patience) == MOST_HOSTS == 10_000


@pytest.mark.parametrize(
    ("peer", "other", "same"),
    [
        ("192.0.2.1:5", "192.0.2.1:6", True),
        ("192.0.2.1:5", "192.0.2.2:5", False),
        ("192.0.2.1:5", "::ffff:192.0.2.1:7", True),
        ("2001:db8::1:5", "2001:db8::2:5", True),
        ("2001:db8::1:5", "2001:db8:0:1::1:5", False),
        ("fe80::1%eth0:5", "fe80::1%eth0:6", True),
        ("unix", "unix", True),
        ("unix", "0.0.0.0:1", False),
        ("::1:5", "127.0.0.1:5", False),
    ],
)
def test_what_is_one_host(peer: str, other: str, same: bool) -> None:
    assert (host_of(peer) == host_of(other)) is same


@given(
    st.lists(
        st.tuples(st.sampled_from(["unix", "192.0.2.1:1", "2001:db8::1:1"]), st.floats(0, 100)),
        max_size=60,
    )
)
def test_whoever_comes_whenever_is_held_back_by_his_own_last_bad_keys_alone(
    comings: list[tuple[str, float]],
) -> None:
    """Against a slow model: the bad keys of a host since it was quiet for a minute."""
    time = Time()
    subject = Patience(time)
    history: dict[str, list[float]] = {}
    for peer, pause in comings:
        time.now += pause
        before = history.setdefault(peer, [])
        if before and time.now - before[-1] >= patience.FORGOTTEN_SECONDS:
            before.clear()
        delay = subject.delay(peer)
        assert 0.0 <= delay <= 1.0
        steps = [0.0] * 3 + [0.1, 0.2, 0.4, 0.8]
        assert delay == (steps[len(before)] if len(before) < len(steps) else 1.0)
        before.append(time.now)
