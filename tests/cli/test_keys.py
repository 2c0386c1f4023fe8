"""`aptask keys`: the table, a key that is made, one that is taken back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aptask.cli.main import main
from tests.cli.test_terminal import on_terminal, plain
from tests.client.fake_daemon import FakeDaemon, refusal

Capture = pytest.CaptureFixture[str]
ONCE = "this is the only time that the key of bob is shown\n"


def entry(name: str, role: str, source: str, tasks: list[str] | None = None) -> dict[str, Any]:
    return {"name": name, "role": role, "source": source, "tasks": tasks, "novelty": 1}


@pytest.fixture
def daemon(fake: FakeDaemon) -> FakeDaemon:
    """One that has keys, and makes and takes back any."""
    listed = [
        entry("bob", "user", "database", ["copy", "primes"]),
        entry("eve", "user", "configuration", []),
        entry("local", "admin", "local"),
    ]
    fake.answers["keys"] = lambda request: {"keys": listed}
    fake.answers["addkey"] = lambda request: {"name": request["name"], "newkey": "the-new-key"}
    fake.answers["revoke"] = lambda request: {"name": request["name"]}
    return fake


def test_in_a_pipe_keys_are_a_line_each(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["keys"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bob\tuser\tdatabase\tcopy,primes",
        "eve\tuser\tconfiguration\tnone",
        "local\tadmin\tlocal\t-",
    ]
    assert daemon.requests == [{"request": "keys"}]


def test_on_a_terminal_they_are_a_table(daemon: FakeDaemon) -> None:
    status, got = on_terminal("keys")
    assert status == 0
    lines = [line.split() for line in plain(got) if line]
    assert lines[:2] == [
        ["NAME", "ROLE", "FROM", "TASKS"],
        ["bob", "user", "database", "copy,primes"],
    ]


def test_a_new_key_stands_alone_on_standard_output(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["keys", "add", "bob"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("the-new-key\n", ONCE)
    assert daemon.requests == [{"request": "addkey", "name": "bob"}]


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (["--role", "admin"], {"role": "admin"}),
        (["--tasks", "copy,primes"], {"tasks": ["copy", "primes"]}),
        (["--tasks", ""], {"tasks": []}),
    ],
)
def test_what_the_owner_may_do_is_sent(
    daemon: FakeDaemon, options: list[str], sent: dict[str, Any]
) -> None:
    assert main(["keys", "add", "bob", *options]) == 0
    assert daemon.requests == [{"request": "addkey", "name": "bob", **sent}]


@pytest.mark.parametrize(("umask", "is_warned_of"), [(0o022, True), (0o077, False)])
def test_who_lets_others_read_the_key_is_told(
    daemon: FakeDaemon, tmp_path: Path, umask: int, is_warned_of: bool
) -> None:
    command = [sys.executable, "-m", "aptask.cli.main", "keys", "add", "bob"]
    descriptor = os.open(tmp_path / "bob.key", os.O_WRONLY | os.O_CREAT, 0o666 & ~umask)
    with os.fdopen(descriptor, "w") as file:
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True, check=True)
    assert (tmp_path / "bob.key").read_text() == "the-new-key\n"
    assert done.stderr == ONCE + "others can read the file that it is in: chmod 600\n" * (
        is_warned_of
    )


def test_revoke_takes_a_key_back(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["keys", "revoke", "bob"]) == 0
    assert capsys.readouterr() == ("", "")
    assert daemon.requests == [{"request": "revoke", "name": "bob"}]


@pytest.mark.parametrize("action", [[], ["add", "bob"], ["revoke", "bob"]])
def test_json_is_the_response_as_it_came(
    daemon: FakeDaemon, capsys: Capture, action: list[str]
) -> None:
    assert main(["keys", *action, "--json"]) == 0
    assert capsys.readouterr().out.startswith('{"status":"ok","response":"')


@pytest.mark.parametrize(
    "wrong",
    [
        ["add"],
        ["revoke"],
        ["bob"],
        ["add", "bob", "--role", "root"],
        ["add", "bob", "eve"],
        ["revoke", "bob", "--tasks", "copy"],
        ["--role", "admin"],
    ],
)
def test_wrong_usage_asks_nothing_of_the_daemon(daemon: FakeDaemon, wrong: list[str]) -> None:
    assert main(["keys", *wrong]) == 2
    assert daemon.requests == []


def test_a_name_that_is_taken_is_said(daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["addkey"] = lambda request: refusal("conflict", "the database has `bob`")
    assert main(["keys", "add", "bob"]) == 1
    assert capsys.readouterr() == ("", "aptask: the database has `bob`\n")
