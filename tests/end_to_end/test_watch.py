"""`watch`, by a real daemon: live, without a key to others' tasks, and across its death."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

STEPS = (
    "import os, sys, time\n"
    "for step in range(int(sys.argv[1])):\n"
    "    os.write(1, b'%d.0%%\\n' % step)\n"
    "    time.sleep(0.01)\n"
)
WAITS = 'echo > "$1/began"; while [ ! -e "$1/go" ]; do sleep 0.02; done'


@contextmanager
def watching(
    daemon: Any, *, half: bool = False, **fields: Any
) -> Iterator[Iterator[dict[str, Any]]]:
    """The responses to a `watch`, as they come; `half` ends the sending side, as `nc -N` does."""
    with daemon.connect() as connection, connection.makefile("rb") as lines:
        request = {"key": daemon.admin_key, "request": "watch", **fields}
        connection.sendall(json.dumps(request).encode())
        if half:
            connection.shutdown(socket.SHUT_WR)
        yield (json.loads(line) for line in lines)


def start(daemon: Any, *command: str) -> str:
    answer = daemon.ask("start", name="program", arguments={"command": list(command)})
    return str(answer["taskid"])


def test_a_task_is_watched_to_its_end_with_what_it_says_on_the_way(daemon: Any) -> None:
    began = time.monotonic()
    taskid = start(daemon, sys.executable, "-c", STEPS, "80")
    with watching(daemon, half=True, taskid=taskid, id="w") as answers:
        seen = list(answers)
    most = 10 * (time.monotonic() - began) + 3
    assert {(answer["status"], answer["response"], answer["id"]) for answer in seen} == {
        ("ok", "watch", "w")
    }
    tasks = [answer["task"] for answer in seen]
    assert 4 <= len(tasks) <= most
    assert [task["state"] for task in tasks].count("ended") == 1
    fractions = [task["progress"] or 0.0 for task in tasks]
    assert fractions == sorted(fractions)
    assert tasks[-1] == daemon.ask("show", taskid=taskid)["task"]


def test_many_short_tasks_are_all_seen_to_their_ends(daemon: Any) -> None:
    with watching(daemon) as answers:
        started = {start(daemon, "true") for _ in range(200)}
        states: dict[str, list[str]] = {}
        ended: set[str] = set()
        for answer in answers:
            task = answer["task"]
            states.setdefault(task["taskid"], []).append(task["state"])
            if task["state"] == "ended":
                ended.add(task["taskid"])
            if ended == started:
                break
    order = ["queued", "active", "stopping", "ended"]
    for seen in states.values():
        assert [order.index(state) for state in seen] == sorted(order.index(s) for s in seen)


def test_many_who_watch_one_task_all_see_its_end(daemon: Any, tools: Any, tmp_path: Path) -> None:
    taskid = start(daemon, "sh", "-c", WAITS, "sh", str(tmp_path))
    with ExitStack() as stack:
        watches = []
        for _ in range(300):
            answers = stack.enter_context(watching(daemon, taskid=taskid))
            assert next(answers)["task"]["taskid"] == taskid
            watches.append(answers)
        tools.wait_until(lambda: daemon.ask("stats")["watchers"] == 300, "the last test's is gone")
        (tmp_path / "go").touch()
        for answers in watches:
            assert any(answer["task"]["state"] == "ended" for answer in answers)
    tools.wait_until(lambda: daemon.ask("stats")["watchers"] == 0, "nobody watches")


def test_shutdown_ends_a_watch_with_unavailable(daemons: Callable[..., Any]) -> None:
    daemon = daemons()
    start(daemon, "sleep", "60")
    with watching(daemon) as answers:
        assert next(answers)["task"]["state"] in ("queued", "active")
        daemon.process.terminate()
        *_, last = answers
    assert (last["response"], last["code"]) == ("watch", "unavailable")


def test_what_ends_while_the_daemon_is_dead_is_seen_by_who_watches_all(
    daemons: Callable[..., Any], tools: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = daemons("--slots", "2")
    monkeypatch.setenv("APTASK_DATA", str(daemon.data))
    folders = [tmp_path / name for name in ("ends", "stays")]
    taskids = []
    for folder in folders:
        folder.mkdir()
        taskids.append(start(daemon, "sh", "-c", WAITS, "sh", str(folder)))
    for folder in folders:
        tools.wait_until((folder / "began").exists, "it runs")
    command = [sys.executable, "-m", "aptask.cli.main", "active", "--watch"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        rows = (line.split("\t")[:3] for line in process.stdout)
        assert [next(rows), next(rows)] == [[one, "program", "running"] for one in taskids]
        daemon.kill()
        assert "gone" in process.stderr.readline()
        (folders[0] / "go").touch()
        daemon.start()
        assert next(rows) == [taskids[0], "program", "done"]
        (folders[1] / "go").touch()
        assert next(rows) == [taskids[1], "program", "done"]
        process.terminate()
