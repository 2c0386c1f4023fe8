"""`aptask history` and `aptask log`, against a daemon that answers as it is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aptask.cli import numbers
from aptask.cli.main import main
from tests.client.fake_daemon import FakeDaemon, ended

Capture = pytest.CaptureFixture[str]

REFUSED = {
    "number": 4712, "time": "2026-11-24T03:46:00.131Z", "level": "client", "user": "",
    "peer": "10.0.0.1:5", "message": "`start` was refused",
}  # fmt: skip


def test_history_is_a_line_a_task(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["history"] = lambda request: {
        "history": [ended(taskid="18", result=7), ended("error", message="no such file")],
        "next": None,
    }
    assert main(["history"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "18\tprimes\tdone\t2026-11-24T03:46:12.131Z\t12s\t7",
        "17\tprimes\terror\t2026-11-24T03:46:12.131Z\t12s\tno such file",
    ]
    assert printed.err == ""
    assert fake.requests == [{"request": "history"}]


def test_history_says_how_to_go_on_and_passes_its_filters_on(
    fake: FakeDaemon, capsys: Capture
) -> None:
    fake.answers["history"] = lambda request: {"history": [ended(owner="bob")], "next": "5-17"}
    options = ["--limit", "1", "--name", "primes", "--status", "error", "--owner", "*"]
    times = ["--since", "2026-11-24T03:46:00Z", "--until", "2026-11-24T04:46:00+01:00"]
    assert main(["history", *options, *times, "--before", "6-18"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\t")[:3] == ["17", "bob", "primes"]
    assert "--before 5-17" in printed.err
    (request,) = fake.requests
    since, until = (datetime.fromisoformat(request.pop(name)) for name in ("since", "until"))
    assert since == until == datetime(2026, 11, 24, 3, 46, tzinfo=UTC)
    assert request == {
        "request": "history", "limit": 1, "name": "primes", "status": "error", "owner": "*",
        "before": "6-18",
    }  # fmt: skip


def test_log_is_a_line_an_entry(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["log"] = lambda request: {"log": [REFUSED]}
    assert main(["log", "--after", "4711", "--level", "client", "--limit", "5"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "4712\t2026-11-24T03:46:00.131Z\tclient\t-\t10.0.0.1:5\t`start` was refused"
    ]
    assert fake.requests == [{"request": "log", "after": 4711, "level": "client", "limit": 5}]


@pytest.mark.parametrize(
    "command",
    [["history", "--status", "running"], ["log", "--level", "all"], ["log", "--limit", "x"]],
)
def test_what_is_no_filter_is_wrong_usage(
    fake: FakeDaemon, capsys: Capture, command: list[str]
) -> None:
    assert main(command) == 2
    assert command[2] in capsys.readouterr().err
    assert fake.requests == []


@pytest.mark.parametrize(
    ("text", "ago"),
    [("90s", 90), ("5m", 300), ("2h", 7200), ("3d", 259_200), ("1w", 604_800), ("0s", 0)],
)
def test_a_time_may_be_said_as_how_long_ago(text: str, ago: int) -> None:
    assert abs(datetime.now(UTC) - timedelta(seconds=ago) - numbers.time(text)) < timedelta(
        seconds=60
    )


@pytest.mark.parametrize("text", ["2026-11-24", "2026-11-24T18:30", "2026-11-24 18:30:05"])
def test_a_time_without_a_zone_is_this_machine_s(text: str) -> None:
    assert numbers.time(text) == datetime.fromisoformat(text).astimezone()
    assert numbers.time(text).tzinfo is not None


@pytest.mark.parametrize("text", ["", "h", "2 h", "yesterday", "999999999w", "2026-13-01", "-2h"])
def test_what_is_no_time_is_wrong_usage(fake: FakeDaemon, capsys: Capture, text: str) -> None:
    assert main(["history", f"--since={text}"]) == 2
    assert "not a time" in capsys.readouterr().err


def test_a_task_full_of_escape_sequences_is_harmless(fake: FakeDaemon, capsys: Capture) -> None:
    evil: dict[str, Any] = {"name": "\x1b[2Jx", "message": "a\tb\nc\x9b"}
    fake.answers["history"] = lambda request: {"history": [ended(**evil)], "next": None}
    assert main(["history"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert "\x1b" not in line
    assert "\x9b" not in line
    assert line.count("\t") == 5
