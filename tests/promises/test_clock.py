"""A clock that is set changes nothing: neither daemon nor runner nor jobs wait by it.

`clock.c` puts itself between processes and the clock on the wall. What is checked last in each test
is that this works: the times that are shown have moved.
"""

from __future__ import annotations

import os
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.promises import witnessed

DAY = 86_400
GRACE = 1.5
TIMEOUT = 1.0
HEARTBEATS = 5.5
"""Seconds within which the daemon has asked the runner whether it is there: every 5."""
PATIENCE = 10.0
"""What takes longer than this waits for the clock on the wall."""

STUBBORN = "trap 'echo asked' TERM; echo ready; while :; do sleep 0.05; done"
REPORTING = (
    "cd {folder}; touch reports; for part in 1 2 3 4 5 6 7 8; do"
    " while [ ! -e $part.go ]; do sleep 0.02; done;"
    " echo '{{\"progress\": 0.'$part'}}' >&3; date +%s >> times;"
    " done"
)


class Clock:
    """The clock of the daemon, its runner, and jobs that ask for it."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._file = folder / "wrong"
        self.set(0)
        self.environment = {"LD_PRELOAD": str(library), "CLOCK_FILE": str(self._file)}

    def set(self, wrong: int) -> None:
        """Have it be wrong by so many seconds."""
        # Over what is there: it is mapped.
        file = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(file, struct.pack("q", wrong), 0)
        os.close(file)


@pytest.fixture
def clock(program: Callable[[str], str], tmp_path: Path) -> Clock:
    library, source = tmp_path / "clock.so", Path(__file__).with_name("clock.c")
    command = [program("cc"), "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return Clock(tmp_path, library)


@pytest.fixture
def daemon(tools: Any, clock: Clock) -> Iterator[Any]:
    with witnessed.home(tools, "--slots", "3", environment=clock.environment) as daemon:
        yield daemon


def start(daemon: Any, command: list[str], **fields: Any) -> str:
    answer = daemon.ask("start", name="program", arguments=[command], **fields)
    assert answer["status"] == "ok", answer
    taskid: str = answer["taskid"]
    return taskid


def shown(daemon: Any, taskid: str) -> dict[str, Any]:
    task: dict[str, Any] = daemon.ask("show", taskid=taskid)["task"]
    return task


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def how_long(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.monotonic()
    result = what()
    return time.monotonic() - began, result


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["back", "forth"])
def test_nobody_waits_longer_or_shorter_when_the_clock_is_set(
    daemon: Any, tools: Any, clock: Clock, tmp_path: Path, step: int
) -> None:
    faked = [f"{name}={value}" for name, value in clock.environment.items()]
    reporting = start(daemon, ["env", *faked, "sh", "-c", REPORTING.format(folder=tmp_path)])
    tools.wait_until((tmp_path / "reports").exists, "it runs")
    runner = daemon.runner
    stubborn = [start(daemon, ["sh", "-c", STUBBORN]) for _ in "ab"]
    for taskid in stubborn:
        tools.wait_until(
            lambda taskid=taskid: "ready" in daemon.ask("output", taskid=taskid)["text"], "it runs"
        )
    waiting = [start(daemon, ["sh", "-c", f"echo {n} >> {tmp_path}/order"]) for n in (1, 2)]

    def report(part: int) -> None:
        (tmp_path / f"{part}.go").touch()
        tools.wait_until(
            lambda: shown(daemon, reporting)["progress"] == part / 10,
            "its progress is shown",
            PATIENCE,
        )

    began = time.monotonic()
    report(1)
    # A grace and a wait, each begun before the step and after it.
    asked = time.monotonic()
    daemon.ask("stop", taskid=stubborn[0], grace=GRACE)
    with daemon.connect() as connection, connection.makefile("rb") as answers:
        connection.sendall(
            b'{"key": "%b", "request": "wait", "taskid": "%b", "timeout": %f}\n'
            % (daemon.admin_key.encode(), reporting.encode(), TIMEOUT)
        )
        report(2)
        clock.set(step)
        report(3)
        took, _ = how_long(answers.readline)
        assert took < PATIENCE
        assert time.monotonic() - asked >= TIMEOUT
    waiting += [start(daemon, ["sh", "-c", f"echo {n} >> {tmp_path}/order"]) for n in (3, 4)]
    took, answer = how_long(lambda: daemon.ask("wait", taskid=reporting, timeout=TIMEOUT))
    assert not answer["ended"]
    assert TIMEOUT <= took < PATIENCE
    task = daemon.ask("wait", taskid=stubborn[0], timeout=PATIENCE)["task"]
    assert (task["status"], task["exit"]) == ("stopped", -9)
    assert GRACE <= time.monotonic() - asked < PATIENCE
    daemon.ask("stop", taskid=stubborn[1], grace=GRACE)
    took, answer = how_long(lambda: daemon.ask("wait", taskid=stubborn[1], timeout=PATIENCE))
    assert answer["ended"]
    assert answer["task"]["exit"] == -9
    assert GRACE <= took < PATIENCE
    report(4)
    clock.set(0)
    report(5)
    waiting.append(start(daemon, ["sh", "-c", f"echo 5 >> {tmp_path}/order"]))
    assert daemon.ask("wait", taskids=waiting, timeout=PATIENCE)["ended"]
    assert (tmp_path / "order").read_text().split() == ["1", "2", "3", "4", "5"]

    time.sleep(max(0.0, began + HEARTBEATS - time.monotonic()))
    assert daemon.runner == runner
    assert shown(daemon, reporting)["state"] == "active"
    assert "has not answered" not in daemon.log.read_text()

    # That there was something to be seen: the daemon's clock, the runner's, and the job's.
    before, after = (shown(daemon, taskid) for taskid in (waiting[0], waiting[2]))
    assert seconds(after["created"]) - seconds(before["created"]) == pytest.approx(step, abs=60)
    assert seconds(after["started"]) - time.time() == pytest.approx(step, abs=60)
    times = [int(line) for line in (tmp_path / "times").read_text().split()]
    assert times[2] - times[1] == pytest.approx(step, abs=60)
    for part in (6, 7, 8):
        (tmp_path / f"{part}.go").touch()
    assert daemon.ask("wait", taskid=reporting, timeout=PATIENCE)["ended"]


@pytest.mark.parametrize("step", [-DAY, DAY], ids=["back", "forth"])
def test_a_daemon_that_comes_back_to_another_day_goes_on_as_if_it_were_the_same(
    daemon: Any, tools: Any, clock: Clock, tmp_path: Path, step: int
) -> None:
    for label in ("x", "y", "z"):
        command = witnessed.program(label, tmp_path, is_long=True)
        assert start(daemon, command)
        tools.wait_until(
            lambda label=label: witnessed.begun(tmp_path, label) == [1], "it has begun"
        )
    waiting = [start(daemon, ["sh", "-c", f"echo {n} >> {tmp_path}/order"]) for n in (1, 2)]
    runner = daemon.runner
    daemon.kill()
    clock.set(step)
    daemon.start()
    waiting += [start(daemon, ["sh", "-c", f"echo {n} >> {tmp_path}/order"]) for n in (3, 4)]
    (tmp_path / "x.go").touch()
    tools.wait_until(lambda: daemon.ask("show", taskid="1")["task"]["state"] == "ended", "it ends")
    assert daemon.ask("wait", taskids=waiting, timeout=PATIENCE)["ended"]
    assert (tmp_path / "order").read_text().split() == ["1", "2", "3", "4"]
    assert daemon.runner == runner
    (tmp_path / "go").touch()
    answer = daemon.ask("wait", taskids=["1", "2", "3"], timeout=PATIENCE)
    assert [task["status"] for task in answer["tasks"]] == ["done"] * 3
    assert [witnessed.begun(tmp_path, label) for label in ("x", "y", "z")] == [[1]] * 3
