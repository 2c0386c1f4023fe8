"""What tasks write and return, through a real daemon: followed live, capped, whole."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

KEPT = 65536
CONFIG = f"slots = 8\n[limits]\noutput_bytes = {KEPT}\n"
TASKS = """
import aptask

class Long(aptask.Task):
    '''Returns a text whose JSON has a certain length.'''
    size = aptask.argument(int, help="of the JSON, in bytes")
    def run(self):
        return "x" * (self.size - 2)
"""
STEPS = (
    "import os\n"
    "attempt = os.environ['APTASK_ATTEMPT']\n"
    "print('attempt', attempt, flush=True)\n"
    "import time\n"
    "while not os.path.exists('go' + attempt): time.sleep(0.02)\n"
    "print('done', attempt, end='', flush=True)\n"
)
"""A program that says which attempt it is, and ends when there is a file for that."""


@pytest.fixture(scope="module")
def daemon(daemons: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    tasks = tmp_path_factory.mktemp("tasks")
    (tasks / "long.py").write_text(TASKS)
    return daemons("--tasks", str(tasks), config=CONFIG)


def start(daemon: Any, script: str, folder: Path, **fields: Any) -> str:
    arguments = {"command": [sys.executable, "-c", script], "cwd": str(folder)}
    taskid: str = daemon.ask("start", name="program", arguments=arguments, **fields)["taskid"]
    return taskid


class Follower:
    """One who follows a task's output.

    Attributes:
        text: what has come.
        responses: as they came.
    """

    def __init__(self, daemon: Any, taskid: str, **fields: Any) -> None:
        self.connection: socket.socket = daemon.connect()
        request = {"key": daemon.admin_key, "request": "output", "taskid": taskid, "follow": True}
        self.connection.sendall(json.dumps({**request, **fields}).encode() + b"\n")
        self._lines = self.connection.makefile("rb")
        self.text = ""
        self.responses: list[dict[str, Any]] = []

    def read(self) -> dict[str, Any]:
        """One more response."""
        response: dict[str, Any] = json.loads(self._lines.readline())
        self.responses.append(response)
        self.text += response.get("text", "")
        return response

    def until(self, text: str) -> None:
        """Read until this has come."""
        while text not in self.text:
            assert self.read()["status"] == "ok", self.responses[-1]

    def to_the_end(self) -> str:
        """Read all."""
        while not self.read()["end"]:
            pass
        return self.text

    def is_closed(self) -> bool:
        """Whether nothing more comes, since the daemon has closed the connection."""
        return self._lines.readline() == b""

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self.connection.close()


@contextlib.contextmanager
def followers(daemon: Any, taskid: str, *offsets: int) -> Iterator[list[Follower]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Follower(daemon, taskid, offset=offset)) for offset in offsets]


def test_many_follow_a_task_live_from_anywhere_to_its_end(daemon: Any, tmp_path: Path) -> None:
    taskid = start(daemon, STEPS, tmp_path)
    whole = "attempt 1\ndone 1"
    with followers(daemon, taskid, *range(len(whole) + 2)) as all_of_them:
        for offset, follower in enumerate(all_of_them[:9]):
            follower.until("attempt 1\n"[offset:])  # it has not ended yet
        (tmp_path / "go1").touch()
        for offset, follower in enumerate(all_of_them):
            assert follower.to_the_end() == whole[offset:]
            ends = [response["end"] for response in follower.responses]
            assert ends == [False] * (len(ends) - 1) + [True]


def test_a_task_that_waits_for_its_turn_is_followed_as_well(
    daemons: Callable[..., Any], tmp_path: Path
) -> None:
    own = daemons("--slots", "1")
    first, second = start(own, STEPS, tmp_path), start(own, STEPS, tmp_path)
    with Follower(own, second) as follower:
        assert follower.read()["text"] == ""
        (tmp_path / "go1").touch()
        assert follower.to_the_end() == "attempt 1\ndone 1"
    assert own.ask("show", taskid=first)["task"]["state"] == "ended"


def test_who_ends_his_sending_side_gets_all_of_it_and_then_the_end(
    daemon: Any, tmp_path: Path
) -> None:
    taskid = start(daemon, STEPS, tmp_path)
    with Follower(daemon, taskid, id="f") as follower:
        follower.connection.shutdown(socket.SHUT_WR)
        follower.until("attempt 1\n")
        (tmp_path / "go1").touch()
        assert follower.to_the_end() == "attempt 1\ndone 1"
        assert {response["id"] for response in follower.responses} == {"f"}
        assert follower.is_closed()


def test_a_follower_goes_on_into_the_next_attempt(
    daemons: Callable[..., Any], tmp_path: Path
) -> None:
    own = daemons()
    taskid = start(own, STEPS, tmp_path, rerun=True)
    with Follower(own, taskid) as follower:
        follower.until("attempt 1\n")
        os.kill(own.runner, signal.SIGKILL)
        follower.until("attempt 2\n")
        (tmp_path / "go2").touch()
        assert follower.to_the_end() == "attempt 1\n[aptask: attempt 2]\nattempt 2\ndone 2"


def test_a_daemon_that_stops_says_so_and_the_next_one_goes_on_from_there(
    daemons: Callable[..., Any], tmp_path: Path
) -> None:
    own = daemons(config="keep_running = true")
    taskid = start(own, STEPS, tmp_path)
    with Follower(own, taskid) as follower:
        follower.until("attempt 1\n")
        offset = follower.responses[-1]["offset"]
        own.process.terminate()
        assert follower.read()["code"] == "unavailable"
        assert follower.is_closed()
    own.process.wait(20)
    own.start()
    with Follower(own, taskid, offset=offset) as follower:
        (tmp_path / "go1").touch()
        assert follower.to_the_end() == "done 1"


def test_a_follower_that_does_not_read_goes_on_where_it_was_and_hears_of_what_was_left_out(
    daemon: Any, tmp_path: Path
) -> None:
    lines = "for number in range(300_000): print(f'line {number:9}')\n"
    taskid = start(daemon, STEPS + lines, tmp_path)
    with Follower(daemon, taskid) as follower:
        follower.until("attempt 1\n")
        (tmp_path / "go1").touch()
        assert daemon.ask("wait", taskid=taskid, timeout=60)["ended"]
        text = follower.to_the_end()
    assert text.startswith("attempt 1\ndone 1line         0\n")
    assert text.endswith("line    299999\n")
    gaps = re.findall(r"\n\[aptask: ([\d,]+) bytes are left out here\]\n", text)
    left_out = sum(int(gap.replace(",", "")) for gap in gaps)
    rest = re.sub(r"\n\[aptask: [\d,]+ bytes are left out here\]\n", "", text)
    total = len("attempt 1\ndone 1") + 15 * 300_000
    assert len(rest) + left_out == follower.responses[-1]["offset"] == total


@pytest.mark.parametrize("offset", [0, KEPT // 2 - 5, 1_000_000])
def test_a_task_that_writes_without_measure_leaves_both_ends_and_a_line(
    daemon: Any, offset: int
) -> None:
    size = 50_000_000
    script = f"head -c {size} /dev/zero | tr '\\0' 'x'; echo the end"
    taskid = daemon.ask("start", name="program", arguments=[["sh", "-c", script]])["taskid"]
    assert daemon.ask("wait", taskid=taskid)["task"]["status"] == "done"
    files = [daemon.data / "output" / f"{taskid}.{kind}" for kind in ("head", "ring")]
    assert KEPT <= sum(file.stat().st_size for file in files) <= KEPT + 4096
    text, place, end = "", offset, False
    while not end:
        answer = daemon.ask("output", taskid=taskid, offset=place)
        text, place, end = text + answer["text"], answer["offset"], answer["end"]
    total = size + len("the end\n")
    first = max(0, KEPT // 2 - offset)
    gap = total - KEPT // 2 - max(offset, KEPT // 2)
    last = "x" * (KEPT // 2 - len("the end\n")) + "the end\n"
    assert text == "x" * first + f"\n[aptask: {gap:,} bytes are left out here]\n" + last
    assert place == total
    with Follower(daemon, taskid, offset=offset) as follower:
        assert follower.to_the_end() == text


def test_a_result_of_a_mebibyte_is_shown_whole_and_a_longer_one_is_an_error(daemon: Any) -> None:
    largest = 1 << 20
    task = daemon.run("long", largest)
    assert (task["status"], task["result"]) == ("done", "x" * (largest - 2))
    assert daemon.ask("show", taskid=task["taskid"])["task"]["result"] == task["result"]
    task = daemon.run("long", largest + 1)
    assert (task["status"], task["result"]) == ("error", None)
    assert "1,048,577 bytes as JSON; at most 1 MiB is kept" in task["message"]
