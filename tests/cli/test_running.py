"""The commands about the daemon itself, in a pipe."""

from __future__ import annotations

from typing import Any

import pytest

from aptask.cli.main import main
from tests.client.fake_daemon import FakeDaemon, refusal, stats

Capture = pytest.CaptureFixture[str]

GROUPS = {"default": {"slots": 4, "paused": False}, "gpu": {"slots": 1, "paused": True}}


@pytest.fixture
def daemon(fake: FakeDaemon) -> FakeDaemon:
    nothing: dict[str, Any] = {"added": [], "removed": [], "changed": [], "failed": []}
    fake.answers["limits"] = lambda request: {"limits": GROUPS}
    fake.answers["reload"] = lambda request: {**nothing, "restart": []}
    fake.answers["drain"] = lambda request: {"on": request.get("on", True)}
    fake.answers["shutdown"] = lambda request: {}
    return fake


def test_limits_are_a_line_a_group(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["limits"]) == 0
    assert capsys.readouterr().out == "default\t4\tno\ngpu\t1\tyes\n"
    assert main(["limits", "gpu"]) == 0
    assert capsys.readouterr().out == "gpu\t1\tyes\n"
    assert daemon.requests == [{"request": "limits"}, {"request": "limits", "group": "gpu"}]


@pytest.mark.parametrize(
    ("argv", "fields"),
    [
        (["--slots", "8"], {"slots": 8}),
        (["--slots", "0"], {"slots": 0}),
        (["--pause"], {"paused": True}),
        (["gpu", "--resume", "--slots", "2"], {"group": "gpu", "paused": False, "slots": 2}),
    ],
)
def test_limits_sets_what_is_given(daemon: FakeDaemon, argv: list[str], fields: Any) -> None:
    assert main(["limits", *argv]) == 0
    assert daemon.requests == [{"request": "limits", **fields}]


@pytest.mark.parametrize(
    "argv",
    [
        ["limits", "--slots", "-1"],
        ["limits", "--slots", "x"],
        ["limits", "--pause", "--resume"],
        ["drain", "now"],
        ["reload", "now"],
        ["shutdown", "--grace", "soon"],
        ["shutdown", "--grace", "-1"],
    ],
)
def test_wrong_usage_asks_for_nothing(daemon: FakeDaemon, argv: list[str]) -> None:
    assert main(argv) == 2
    assert daemon.requests == []


def test_reload_is_a_line_for_each_difference(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["reload"]) == 0
    assert capsys.readouterr() == ("", "")
    daemon.answers["reload"] = lambda request: {
        "added": ["a", "b"],
        "removed": ["c"],
        "changed": ["d"],
        "failed": [{"plugin": "x.py", "error": "line 3"}],
        "restart": ["log"],
    }
    assert main(["reload"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "added\ta",
        "added\tb",
        "removed\tc",
        "changed\td",
        "failed\tx.py: line 3",
        "restart\tlog",
    ]
    assert "next start" in printed.err


def test_each_mistake_of_a_configuration_is_a_line(daemon: FakeDaemon, capsys: Capture) -> None:
    daemon.answers["reload"] = lambda request: refusal("invalid-arguments", "one\ntwo\x1b[2J")
    assert main(["reload"]) == 1
    assert capsys.readouterr().err == "aptask: one\naptask: two\\x1b[2J\n"


def test_drain_is_turned_on_and_off(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["drain"]) == 0
    assert "aptask drain --off" in capsys.readouterr().err
    assert main(["drain", "--off"]) == 0
    assert capsys.readouterr() == ("", "")
    assert daemon.requests == [{"request": "drain"}, {"request": "drain", "on": False}]


def test_shutdown_passes_the_grace_on(daemon: FakeDaemon, capsys: Capture) -> None:
    assert main(["shutdown"]) == 0
    assert main(["shutdown", "--grace", "60"]) == 0
    assert capsys.readouterr() == ("", "")
    assert daemon.requests == [{"request": "shutdown"}, {"request": "shutdown", "grace": 60.0}]


def test_stats_say_what_the_configuration_says_and_that_the_daemon_drains(
    daemon: FakeDaemon, capsys: Capture
) -> None:
    group = {"slots": 6, "running": 0, "queued": 0, "paused": False, "configured": 4}
    daemon.answers["stats"] = lambda request: stats(groups={"default": group}, draining=True)
    assert main(["stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "groups.default.configured\t4" in lines
    assert "draining\ttrue" in lines
