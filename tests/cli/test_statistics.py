"""`aptask stats` in a pipe, and how its numbers read for people."""

from __future__ import annotations

import json

import pytest

from aptask.cli import statistics
from aptask.cli.main import main
from tests.client.fake_daemon import FakeDaemon, refusal, stats

Capture = pytest.CaptureFixture[str]


def test_stats_in_a_pipe_is_a_name_and_a_value_a_line(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["stats"] = lambda request: stats()
    assert main(["stats"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "version\t0.1.0",
        "uptime\t273600.123",
        "slots\t4",
        "running\t2",
        "queued\t17",
        "ended\t1204",
        "groups.default.slots\t4",
        "groups.default.running\t2",
        "groups.default.queued\t17",
        "groups.default.paused\tfalse",
        "executors.local.state\tready",
        "executors.local.jobs\t2",
        "plugins.loaded\t9",
        "disk.used\t1610612736",
        "disk.free\t126701535232",
        "connections\t3",
        "watchers\t0",
        "requests.ping\t0",
        "requests.start\t1300",
        "requests.stats\t1",
        "draining\tfalse",
    ]
    assert fake.requests == [{"request": "stats"}]


def test_what_could_not_be_loaded_is_a_line_each(fake: FakeDaemon, capsys: Capture) -> None:
    failed = [
        {"plugin": "/tasks/a.py", "error": "line 3"},
        {"plugin": "b\x1b[2J", "error": "two\nlines\tand a tab"},
    ]
    fake.answers["stats"] = lambda request: stats(plugins={"loaded": 9, "failed": failed})
    assert main(["stats"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("plugins.")] == [
        "plugins.loaded\t9",
        "plugins.failed\t/tasks/a.py: line 3",
        "plugins.failed\tb\\x1b[2J: two\\nlines\\tand a tab",
    ]


def test_json_is_the_response_as_it_came(fake: FakeDaemon, capsys: Capture) -> None:
    line = json.dumps({"status": "ok", "response": "stats", "novelty": 1, **stats()}) + "\n"
    fake.answers["stats"] = lambda request: line.encode()
    assert main(["stats", "--json"]) == 0
    assert capsys.readouterr().out == line


def test_a_user_is_told_that_it_is_for_admins(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["stats"] = lambda request: refusal("unauthorized", "`stats` is for admins")
    assert main(["stats"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("aptask: `stats` is for admins\n")


def test_stats_takes_no_arguments(fake: FakeDaemon) -> None:
    assert main(["stats", "more"]) == 2
    assert fake.requests == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (86_400, "1 d 0 h"),
        (273_600.123, "3 d 4 h"),
        (1e8, "1157 d 9 h"),
    ],
)
def test_a_long_time_reads_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert statistics.span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (10_188, "9.9 KiB"),
        (10_189, "10 KiB"),
        (1_048_063, "1023 KiB"),
        (1_048_575, "1.0 MiB"),
        (1_610_612_736, "1.5 GiB"),
        (126_701_535_232, "118 GiB"),
        (5 << 50, "5.0 PiB"),
        (5000 << 50, "5,000.0 PiB"),
    ],
)
def test_bytes_read_in_the_unit_that_fits(count: int, text: str) -> None:
    assert statistics.size(count) == text
