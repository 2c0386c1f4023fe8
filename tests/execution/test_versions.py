"""A daemon and a runner of different versions: what is said here is written out, field by field."""

from __future__ import annotations

import json
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises import witnessed

SECONDS = 20.0
STAND_IN = Path(__file__).with_name("stand_in.py")


class StandIn:
    """A runner of another version, in the place of the one that a daemon had.

    Args:
        daemon: has been killed, and its runner too.
        version: of the link.
        running: what it holds.
    """

    def __init__(self, daemon: Any, version: int, running: list[list[int]]) -> None:
        [spool] = (daemon.data / "spool").iterdir()
        self.instance = spool.name
        self.version = version
        self.running = running
        self.orders: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.starts: list[Any] = []
        """all that it was ordered to start"""
        self.forgotten = 0
        """up to where it may forget its events"""
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(STAND_IN), str(daemon.data)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"serves\n"
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line != b"connected\n":
                order = json.loads(line)
                if order["order"] == "start":
                    self.starts.append(order)
                if order["order"] == "forget":
                    assert set(order) == {"order", "number"}
                    self.forgotten = order["number"]
                self.orders.put(order)

    def hear(self, kind: str) -> dict[str, Any]:
        """The next order of this kind; a `hello` after the first is answered in between."""
        until = time.monotonic() + SECONDS
        while True:
            left = max(0.0, until - time.monotonic())
            order: dict[str, Any] = self.orders.get(timeout=left)
            if order["order"] == kind:
                return order
            if order["order"] == "hello":
                self.welcome()

    def welcome(self) -> None:
        self.say(
            event="welcome",
            version=self.version,
            instance=self.instance,
            pid=self.process.pid,
            running=self.running,
        )

    def say(self, **event: Any) -> None:
        """Send an event, and with it what no version knows yet."""
        assert self.process.stdin is not None
        line = {**event, "colour": "red", "more": {"of": ["it"], "number": 1}}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._reading.join()


@pytest.fixture
def daemon(tools: Any) -> Iterator[Any]:
    with witnessed.home(tools, "--slots", "2") as daemon:
        yield daemon


@pytest.fixture
def stand_in(daemon: Any, tools: Any) -> Iterator[Callable[[int], StandIn]]:
    """Puts a stand-in in the place of the runner, which has two jobs; a third waits."""
    made: list[StandIn] = []

    def make(version: int) -> StandIn:
        for label in ("one", "two", "three"):
            command = witnessed.program(label, daemon.folder, is_long=label != "three")
            answer = daemon.ask("start", name="program", arguments=[command])
            assert answer["status"] == "ok", answer
        for label in ("one", "two"):
            tools.wait_until(
                lambda label=label: witnessed.begun(daemon.folder, label), f"{label} runs"
            )
        daemon.kill()
        witnessed.kill_runner(daemon)
        made.append(StandIn(daemon, version, [[1, 1], [2, 1]]))
        return made[-1]

    yield make
    for one in made:
        one.end()


def shown(daemon: Any, taskid: int) -> dict[str, Any]:
    task: dict[str, Any] = daemon.ask("show", taskid=str(taskid))["task"]
    return task


def ends(daemon: Any, taskid: int) -> dict[str, Any]:
    answer = daemon.ask("wait", taskid=str(taskid), timeout=SECONDS)
    assert answer["ended"], answer
    task: dict[str, Any] = answer["task"]
    return task


def test_a_runner_of_this_version_is_adopted_and_is_given_orders(
    daemon: Any, tools: Any, stand_in: Callable[[int], StandIn]
) -> None:
    runner = stand_in(3)
    daemon.start()
    hello = runner.hear("hello")
    assert (hello["instance"], hello["after"]) == (runner.instance, 0)
    runner.running = [[2, 1]]
    runner.welcome()
    runner.say(event="started", number=1, job=1, attempt=1, pid=11, time=1_600_000_000.5)
    runner.say(event="started", number=2, job=2, attempt=1, pid=12, time=1_600_000_001.5)
    ended = {
        "event": "ended",
        "number": 3,
        "job": 1,
        "attempt": 1,
        "status": "done",
        "time": 1_600_000_002.5,
        "message": "as it was",
        "exit": 0,
        "result": {"answer": 42},
        "fraction": 0.5,
    }
    runner.say(**ended)
    # What has ended is ordered once more, until its end is heard; the answer is that end.
    assert runner.hear("start")["job"] == 1
    runner.say(**{**ended, "status": "error", "message": "twice"})
    runner.say(event="sneezed", number=4)  # there may be more kinds, too
    runner.say(event="paused", job=2, attempt=1, time=1_600_000_002.5)
    runner.say(event="resumed", job=2, attempt=1, time=1_600_000_003.5)
    runner.say(event="progress", job=2, attempt=1, fraction=0.25, message="a quarter")

    task = ends(daemon, 1)
    assert (task["status"], task["message"], task["exit"]) == ("done", "as it was", 0)
    assert task["result"] == {"answer": 42}
    tools.wait_until(lambda: shown(daemon, 2)["progress"] == 0.25, "progress is heard")
    task = shown(daemon, 2)
    assert (task["message"], task["started"]) == ("a quarter", "2020-09-13T12:26:41.500Z")

    order = runner.hear("start")
    assert (order["job"], order["attempt"], order["task"]) == (3, 1, "program")
    assert order["work"]["work"] == "spawn"
    assert order["work"]["command"][:2] == ["sh", "-c"]
    assert set(order) == {
        "order",
        "job",
        "attempt",
        "task",
        "owner",
        "work",
        "output_bytes",
        "grace",
        "timeout",
    }
    tools.wait_until(lambda: runner.forgotten == 3, "it may forget that")
    runner.say(event="started", number=4, job=3, attempt=1, pid=13, time=1_600_000_003.5)
    runner.say(event="ended", number=5, job=3, attempt=1, status="done", time=1_600_000_004.5)
    assert ends(daemon, 3)["status"] == "done"

    daemon.ask("stop", taskid="2", grace=7)
    assert runner.hear("stop") == {"order": "stop", "job": 2, "attempt": 1, "grace": 7.0}
    runner.running = []
    runner.say(
        event="ended", number=6, job=2, attempt=1, status="stopped", time=1_600_000_005.5, exit=-15
    )
    assert (ends(daemon, 2)["status"], shown(daemon, 2)["exit"]) == ("stopped", -15)

    daemon.kill()
    daemon.start()
    assert runner.hear("hello")["after"] == 6
    runner.welcome()
    assert [order["job"] for order in runner.starts] == [1, 3]
    assert shown(daemon, 1)["message"] == "as it was"
    assert runner.process.poll() is None


@pytest.mark.parametrize("version", [1, 2])
def test_a_runner_of_an_earlier_version_ends_its_jobs_gets_no_others_and_is_replaced(
    daemon: Any, tools: Any, stand_in: Callable[[int], StandIn], version: int
) -> None:
    # It would run without end what has a limit of time, and not pause what is to be paused.
    runner = stand_in(version)
    daemon.start()
    runner.hear("hello")
    runner.welcome()
    runner.say(event="started", number=1, job=1, attempt=1, pid=11, time=1_600_000_000.5)
    runner.say(event="started", number=2, job=2, attempt=1, pid=12, time=1_600_000_001.5)
    runner.say(event="progress", job=2, attempt=1, fraction=0.25, message="a quarter")
    tools.wait_until(lambda: shown(daemon, 2)["progress"] == 0.25, "progress is heard")
    assert shown(daemon, 2)["started"] == "2020-09-13T12:26:41.500Z"
    runner.running = [[2, 1]]
    runner.say(
        event="ended",
        number=3,
        job=1,
        attempt=1,
        status="done",
        time=1_600_000_002.5,
        message="as it was",
        exit=0,
        result={"answer": 42},
        fraction=0.5,
    )
    task = ends(daemon, 1)
    assert (task["status"], task["message"], task["result"]) == (
        "done",
        "as it was",
        {"answer": 42},
    )
    tools.wait_until(lambda: runner.forgotten == 3, "it may forget that")

    daemon.ask("stop", taskid="2", grace=7)
    assert runner.hear("stop") == {"order": "stop", "job": 2, "attempt": 1, "grace": 7.0}
    assert shown(daemon, 3)["state"] == "queued"
    runner.running = []
    runner.say(event="ended", number=4, job=2, attempt=1, status="stopped", time=2.5, exit=-15)
    assert ends(daemon, 2)["status"] == "stopped"
    # That it holds nothing any more it says when it is asked whether it is there.
    runner.hear("hello")
    runner.welcome()
    assert runner.hear("quit") == {"order": "quit", "grace": 0.0}
    assert runner.process.wait(SECONDS) == 0
    assert ends(daemon, 3)["status"] == "done"
    assert not runner.starts
    assert daemon.runner != runner.process.pid


def test_a_runner_of_an_unknown_version_ends_its_jobs_gets_no_others_and_is_replaced(
    daemon: Any, tools: Any, stand_in: Callable[[int], StandIn]
) -> None:
    runner = stand_in(99)
    daemon.start()
    runner.hear("hello")
    runner.welcome()
    runner.say(event="started", number=1, job=1, attempt=1, moment="now")  # shapes change
    runner.running = [[2, 1]]
    runner.say(event="ended", number=3, job=1, attempt=1, status="error", time=1.5, exit=3)
    task = ends(daemon, 1)
    assert (task["status"], task["exit"]) == ("error", 3)
    tools.wait_until(lambda: runner.forgotten == 3, "it may forget that")
    assert shown(daemon, 2)["state"] == "active"

    daemon.ask("stop", taskid="2", grace=7)
    assert runner.hear("stop") == {"order": "stop", "job": 2, "attempt": 1, "grace": 7.0}
    assert shown(daemon, 3)["state"] == "queued"
    runner.running = []
    runner.say(event="ended", number=4, job=2, attempt=1, status="stopped", time=2.5)
    assert ends(daemon, 2)["status"] == "stopped"
    # That it holds nothing any more it says when it is asked whether it is there.
    runner.hear("hello")
    runner.welcome()
    assert runner.process.wait(SECONDS) == -signal.SIGKILL
    assert ends(daemon, 3)["status"] == "done"
    assert not runner.starts
    assert daemon.runner != runner.process.pid


@pytest.mark.parametrize("hello", [{"version": 1}, {"version": 2, "orphan_timeout": 60.0}])
def test_a_daemon_of_another_version_gives_a_runner_orders_with_fields_that_it_does_not_know(
    daemon: Any, tools: Any, hello: dict[str, Any]
) -> None:
    taskid = daemon.ask(
        "start",
        name="program",
        arguments=[witnessed.program("one", daemon.folder, is_long=True)],
    )["taskid"]
    tools.wait_until(lambda: witnessed.begun(daemon.folder, "one"), "it runs")
    runner = daemon.runner
    daemon.kill()
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(SECONDS)
        link.connect(str(daemon.data / "runner.sock"))
        events = link.makefile("rb")

        def say(**order: Any) -> None:
            line = {**order, "colour": "red", "more": {"of": ["it"]}}
            link.sendall(json.dumps(line).encode() + b"\n")

        def hear(kind: str, job: int | None = None) -> dict[str, Any]:
            while True:
                event: dict[str, Any] = json.loads(events.readline())
                if event["event"] == kind and job in (None, event.get("job")):
                    return event

        say(order="hello", instance=None, after=0, **hello)
        welcome = hear("welcome")
        assert (welcome["pid"], welcome["running"]) == (runner, [[int(taskid), 1]])
        say(order="sneeze")
        work = {"work": "spawn", "command": ["sh", "-c", "echo $APTASK_OWNER; exit 3"], "nap": 1}
        say(
            order="start",
            job=7,
            attempt=1,
            task="t",
            owner="o",
            work=work,
            output_bytes=1000,
            grace=1.0,
        )
        started = hear("started", 7)
        assert set(started) == {"event", "number", "job", "attempt", "pid", "time"}
        ended = hear("ended", 7)
        assert (ended["status"], ended["exit"], ended["number"]) == ("error", 3, 3)
        say(order="forget", number=3)
        say(order="stop", job=int(taskid), attempt=1, grace=5.0)
        assert hear("ended", int(taskid))["status"] == "stopped"
    daemon.start()
    assert ends(daemon, int(taskid))["status"] == "stopped"
    assert daemon.run("program", ["true"])["status"] == "done"


@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_a_daemon_orders_is_what_it_ordered_before(
    daemon: Any, stand_in: Callable[[int], StandIn], version: int
) -> None:
    runner = stand_in(version)
    daemon.start()
    hello = runner.hear("hello")
    assert set(hello) == {"order", "version", "instance", "after", "orphan_timeout"}
    runner.welcome()
    daemon.process.send_signal(signal.SIGTERM)
    assert set(runner.hear("quit")) == {"order", "grace"}
    daemon.process.wait(SECONDS)
    assert runner.process.wait(SECONDS) == 0
