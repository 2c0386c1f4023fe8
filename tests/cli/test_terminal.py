"""The commands on a terminal: a pseudo-terminal, against a daemon that answers as it is told."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.client.fake_daemon import FakeDaemon, ended, refusal, stats, task

COLUMNS = 100
SILENCE_SECONDS = 60


def on_terminal(*argv: str, **environment: str) -> tuple[int, str]:
    """Run the command on a terminal of its own.

    Returns:
        Its exit status, and all that the terminal got.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, COLUMNS, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-m", "aptask.cli.main", *argv],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS), **environment},
        start_new_session=True,
    ) as process:
        os.close(theirs)
        got = b""
        while select.select([ours], [], [], SILENCE_SECONDS)[0]:
            try:
                got += os.read(ours, 65536)
            except OSError:
                # It has ended: nobody has the terminal open any more.
                break
        else:
            process.kill()
            raise AssertionError(f"nothing came for {SILENCE_SECONDS} s after {got!r}")
    os.close(ours)
    return process.returncode, got.decode()


def plain(text: str) -> list[str]:
    """What a terminal got, without its sequences, line by line."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r", "\n").split("\n")


def test_wait_shows_a_live_bar_until_the_end(fake: FakeDaemon) -> None:
    waits = task(
        state="queued", status="initialized", position=2, progress=None, message="", started=None
    )
    fake.goes(
        waits,
        task(progress=None, message="looking around"),
        task(progress=0.42, message="evil [red]\x1b]0;title\x07"),
        ended(message="168 primes"),
    )
    status, got = on_terminal("wait", "17")
    assert status == 0
    shown = plain(got)
    assert any("17 primes" in line and "queued, place 2" in line for line in shown)
    assert any("running" in line and "looking around" in line for line in shown)
    assert any("━" in line and "42%" in line and "evil [red]\\x1b]0;" in line for line in shown)
    last = [line for line in shown if "primes" in line][-1]
    assert re.search(r"━{24} +100% +12s done +168 primes", last)
    assert "\x1b]" not in got
    assert max(map(len, shown)) <= COLUMNS


def test_the_time_of_a_bar_goes_on_while_nothing_is_heard(fake: FakeDaemon) -> None:
    began = datetime.now(UTC).isoformat()

    def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"task": task(started=began)}
        time.sleep(2.5)
        yield {"task": ended()}

    fake.answers["watch"] = watch
    status, got = on_terminal("wait", "17")
    assert status == 0
    times = re.findall(r"42% +([\d.]+)s running", "\n".join(plain(got)))
    assert len(set(times)) > 3


def test_active_is_a_live_table_with_what_has_ended_above_it(fake: FakeDaemon) -> None:
    waits = task(
        taskid="19", state="queued", status="initialized", position=1, progress=None, message="",
        started=None,
    )  # fmt: skip

    def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {"task": waits}
        yield {"task": task(message="evil [red]\x1b]0;title\x07")}
        yield {"task": task(taskid="18", name="other")}
        time.sleep(1)
        yield {"task": ended(message="168 primes")}
        time.sleep(1)
        yield refusal("unauthorized", "this key has just been taken back")

    fake.answers["watch"] = watch
    status, got = on_terminal("active", "--watch", COLUMNS=str(COLUMNS))
    assert status == 1
    shown = [line.rstrip() for line in plain(got) if line.strip()]
    assert "\x1b]" not in got
    assert max(map(len, shown)) <= COLUMNS
    rows = [tuple(line.split()[:3]) for line in shown]
    table = [
        ("ID", "NAME", "STATUS"),
        ("17", "primes", "running"), ("18", "other", "running"), ("19", "primes", "queued"),
    ]  # fmt: skip
    assert any(rows[start : start + 4] == table for start in range(len(rows)))
    assert any("evil [red]\\x1b]0;" in line for line in shown)
    done = next(number for number, line in enumerate(shown) if "168 primes" in line)
    assert rows[done] == ("17", "primes", "done")
    left = [table[0], *table[2:]]
    assert any(rows[start : start + 3] == left for start in range(done, len(rows)))


def test_a_live_table_says_what_it_has_no_room_for(fake: FakeDaemon) -> None:
    def watch(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for number in range(100):
            yield {"task": task(taskid=str(number))}
        time.sleep(1)
        yield refusal("unauthorized")

    fake.answers["watch"] = watch
    _, got = on_terminal("active", "--watch", LINES="30")
    assert re.search(r"and 7\d more", "\n".join(plain(got)))


def test_start_and_wait_says_how_it_ended(fake: FakeDaemon) -> None:
    fake.answers["start"] = lambda request: {"taskid": "17"}
    fake.goes(ended("error", message="out of primes"))
    status, got = on_terminal("start", "primes", "--wait")
    assert status == 1
    assert any("42%" in line and "error" in line and "out of primes" in line for line in plain(got))


def test_a_terminal_that_cannot_move_gets_lines(fake: FakeDaemon) -> None:
    fake.goes(task(), ended())
    status, got = on_terminal("wait", "17", TERM="dumb")
    assert status == 0
    assert "\x1b" not in got
    assert [line.split("\t")[2] for line in got.splitlines()] == ["running", "done"]


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}])
def test_a_table_has_titles_columns_and_colour_unless_it_is_not_wanted(
    fake: FakeDaemon, environment: dict[str, str]
) -> None:
    fake.answers["active"] = lambda request: {
        "active": [task(name="ü", message="x" * 200), task(taskid="1800", name="漢字")],
        "total": 5,
    }
    status, got = on_terminal("active", **environment)
    assert status == 0
    assert ("\x1b[36mrunning\x1b[0m" in got) == (not environment)
    titles, first, second, more = [line for line in plain(got) if line]
    assert titles.split() == ["ID", "NAME", "STATUS", "PLACE", "DONE", "TIME", "MESSAGE"]
    assert first.index("running") == titles.index("STATUS")
    assert second.index("running") == titles.index("STATUS") - 2  # two wide characters before it
    assert first.endswith("x…")
    assert len(first) == COLUMNS
    assert more == "and 3 more: see --limit and --offset"


def test_output_keeps_its_colours_and_loses_what_would_harm(fake: FakeDaemon) -> None:
    text = "\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jéx\n"
    fake.answers["output"] = lambda request: {"text": text, "offset": 9, "end": True}
    assert on_terminal("output", "17") == (0, "\x1b[31mred\x1b[0m éx\r\n\x1b[0m")
    assert on_terminal("output", "17", NO_COLOR="1") == (0, "red éx\r\n")


def test_show_is_a_field_a_line(fake: FakeDaemon) -> None:
    fake.answers["show"] = lambda request: {"task": ended(message="a\x1b[2Jb")}
    status, got = on_terminal("show", "17")
    assert status == 0
    assert "\x1b[32mdone\x1b[0m" in got
    assert "message    a\\x1b[2Jb" in plain(got)


def test_index_of_one_task_shows_how_to_start_it(fake: FakeDaemon) -> None:
    fake.answers["index"] = lambda request: {
        "index": [
            {
                "name": "primes",
                "help": "Finds primes.\nAll of them.",
                "arguments": [{"name": "below", "type": "int", "default": 1000, "minimum": 2}],
            }
        ]
    }
    status, got = on_terminal("index", "primes")
    assert status == 0
    assert [line for line in plain(got) if line] == [
        "aptask start primes [below=1000]",
        "  Finds primes.",
        "  All of them.",
        "ARGUMENT  TYPE  DEFAULT  HELP",
        "below     int   1000     at least 2",
    ]


def test_stats_is_a_page_for_people(fake: FakeDaemon) -> None:
    failed = [{"plugin": "/tasks/a.py", "error": "line 3: \x1b]0;title\x07"}]
    fake.answers["stats"] = lambda request: stats(plugins={"loaded": 9, "failed": failed})
    status, got = on_terminal("stats")
    assert status == 0
    assert "\x1b]" not in got
    assert plain(got.replace("\r", ""))[:-1] == [
        "version      0.1.0",
        "uptime       3 d 4 h",
        "running      2 of 4",
        "queued       17",
        "ended        1,204",
        "tasks        9, 1 cannot be used",
        "disk         1.5 GiB used, 118 GiB free",
        "connections  3",
        "watchers     0",
        "",
        "GROUP    SLOTS  RUNNING  QUEUED  PAUSED",
        "default  4      2        17      no",
        "",
        "EXECUTOR  STATE  JOBS",
        "local     ready  2",
        "",
        "REQUEST  COUNT",
        "start    1,300",
        "stats    1",
        "",
        "CANNOT BE USED  BECAUSE",
        "/tasks/a.py     line 3: \\x1b]0;title\\x07",
    ]


def test_stats_says_nothing_of_failures_where_there_are_none(fake: FakeDaemon) -> None:
    fake.answers["stats"] = lambda request: stats()
    _, got = on_terminal("stats")
    assert "tasks        9\r" in re.sub(r"\x1b\[\d*m", "", got)
    assert "CANNOT" not in got


def test_a_refusal_is_one_line_without_a_traceback(fake: FakeDaemon) -> None:
    fake.answers["watch"] = lambda request: refusal("unauthorized", "unknown key")
    status, got = on_terminal("wait", "17")
    assert status == 1
    assert [line for line in plain(got) if line] == ["aptask: unknown key"]


def test_where_a_key_is_missing_it_is_said_how_to_give_one(fake: FakeDaemon) -> None:
    missing = "no key: put yours into the field `key`"
    fake.answers["watch"] = lambda request: refusal("unauthorized", missing)
    status, got = on_terminal("wait", "17")
    assert status == 1
    assert [line for line in plain(got) if line] == [
        f"aptask: {missing}",
        "aptask: give a key with --key-file or $APTASK_KEY",
    ]
