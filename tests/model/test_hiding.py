"""What is secret is found in values, and taken out of messages."""

from __future__ import annotations

import json
import time
import urllib.parse

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aptask.model.arguments import Argument
from aptask.model.description import Kind, Target
from aptask.model.hiding import CUT_LENGTH, MASK, found_in, hider, secret_texts
from aptask.model.job import Job
from aptask.model.orders import Call, Spawn, Start
from aptask.model.progress import clean
from aptask.model.requests import Start as StartRequest
from aptask.runner.errands import Errand, What

SECRET = "hunter2/a+b 'c' \"d\"\\"
TEXTS = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=4, max_size=30)


def test_every_text_and_number_of_a_secret_argument_is_one() -> None:
    arguments = [
        Argument("plain", "str"),
        Argument("token", "str", secret=True),
        Argument("pin", "int", secret=True),
        Argument("flag", "bool", secret=True),
        Argument("absent", "str", required=False, secret=True),
        Argument("many", "dict", secret=True),
        Argument("env", "dict", secret="values"),
    ]
    values = {
        "plain": "not one",
        "token": "first text",
        "pin": 123456,
        "flag": True,
        "absent": None,
        "many": {"named": ["deep text", {"deeper": "abc"}], "again": "first text"},
        "env": {"VARIABLE": "its value", "OTHER": {"INNER": 1.25}},
    }
    assert sorted(secret_texts(arguments, values)) == sorted(
        ["first text", "123456", "named", "deep text", "deeper", "again"]
        + ["its value", "INNER", "1.25"]
    )


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        repr(SECRET)[1:-1],
        json.dumps(SECRET)[1:-1],
        urllib.parse.quote(SECRET, safe=""),
        f"before {SECRET} behind",
    ],
)
def test_a_secret_is_hidden_however_it_is_spelt(said: str) -> None:
    hidden = hider([SECRET])(said)
    assert "hunter2" not in hidden
    assert MASK in hidden


def test_each_line_of_a_secret_is_hidden_by_itself() -> None:
    hide = hider(["-----BEGIN KEY-----\nMIIEow/IBAAK\r\n\tABCDEF\nxy\n"])
    assert hide("ValueError: MIIEow/IBAAK is no key") == "ValueError: *** is no key"
    assert hide("-----BEGIN KEY-----\\nMIIEow/IBAAK") == r"***\n***"
    assert hide("ABCDEF, xy") == "***, xy"


def test_what_is_left_of_a_secret_where_a_message_was_cut_is_hidden() -> None:
    hide = hider(["0123456789abcdefghij"])
    long = "x" * CUT_LENGTH
    assert hide(f"6789abcdefghij {long}") == f"*** {long}"
    assert hide(f"{long} 01234567") == f"{long} ***"
    assert hide(f"{long} 012") == f"{long} 012"
    assert hide("it said 01234567") == "it said 01234567"


def test_other_words_stay_and_so_do_short_secrets() -> None:
    assert hider([])("all of it") == "all of it"
    assert hider(["abc", " x ", ""])("abc x") == "abc x"


def test_of_a_secret_that_begins_like_a_shorter_one_nothing_is_left() -> None:
    assert hider(["abcd", "abcdefgh"])("x abcdefgh y") == "x *** y"


@given(st.lists(TEXTS, max_size=4), st.text(), st.text())
def test_no_secret_is_left_in_a_message(secrets: list[str], before: str, behind: str) -> None:
    for secret in secrets:
        hidden = clean(hider(secrets)(f"{before}{secret}{behind}"))
        assert secret not in hidden or secret in MASK or secret in clean(behind + before)


def test_a_secret_is_found_within_a_word() -> None:
    assert found_in(["hunter2\n"], ["curl", "--token=hunter2"])
    assert not found_in(["hunter2"], ["curl", "--token"])
    assert not found_in([], ["curl"])


def test_no_secret_is_in_what_a_log_would_show() -> None:
    raw = msgspec.Raw(b'{"token":"hunter2"}')
    target = Target(Kind.TASK, "module", "Class")
    spawn = Spawn(["x"], env={"A": "hunter2"}, stdin="hunter2", secrets=["hunter2"])
    call = Call(target, raw, secrets=["hunter2"])
    job = Job(id=1, task="t", owner="o", arguments=b"{}", created=1.0, secrets=b'"hunter2"')
    for shown in (
        Start(1, 1, "t", "o", spawn, 4096),
        Start(1, 1, "t", "o", call, 4096),
        Errand(What.PERFORM, target, raw, {}, secrets=["hunter2"]),
        job,
        StartRequest(name="t", arguments={"token": "hunter2"}),
    ):
        assert "hunter2" not in repr(shown)
        assert "Class" in repr(shown) or "'x'" in repr(shown) or "'t'" in repr(shown)


@pytest.mark.parametrize("secret", ["x" * (1 << 20), "some words in a line\n" * 50_000])
def test_however_long_a_secret_is_hiding_it_takes_no_long(secret: str) -> None:
    hide = hider([secret])
    began = time.thread_time()
    for _ in range(10):
        assert hide("this is " + secret[:20]).startswith("this is ")
    assert time.thread_time() - began < 1.0
