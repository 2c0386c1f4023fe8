"""The daemon's life, however it was started: signals, drain, shutdown."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.ways import WAYS, Background, Way

POLITE = "trap 'echo cleaned up; exit 0' TERM; echo ready; sleep 600 & wait"
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.2; done"

Start = Callable[..., Way]


@pytest.fixture(params=WAYS, ids=[way.__name__ for way in WAYS])
def start(request: Any, tools: Any) -> Iterator[Start]:
    """Starts a daemon in each of the ways; nothing of it may be left."""
    ways: list[Way] = []
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as folder:

        def begin(config: str = "") -> Way:
            ways.append(request.param(Path(folder), config))
            return ways[-1]

        try:
            yield begin
        finally:
            for way in ways:
                way.end()
        tools.wait_until(
            lambda: not tools.marked(f"APTASK_DATA={folder}/data"), "all processes have ended"
        )


def status_after(number: int) -> tuple[int | None, ...]:
    """What may be seen as the exit status after a signal: nothing, in the background."""
    return (None, -number)


def output_of(way: Way, taskid: str) -> str:
    return (way.data / "output" / f"{taskid}.head").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_what_runs_cleans_up(start: Start, number: int) -> None:
    way = start()
    taskid = way.begin(POLITE)
    way.signal(number)
    assert way.ended() in status_after(number)
    assert "cleaned up" in output_of(way, taskid)
    assert "stopping; a second signal ends all tasks at once" in way.log.read_text()


def test_what_does_not_end_is_killed_within_stop_deadline(start: Start) -> None:
    way = start("stop_deadline = 4.0")
    way.begin(STUBBORN)
    begun = time.monotonic()
    way.signal(signal.SIGTERM)
    way.ended()
    assert time.monotonic() - begun < 4.0 + 2.0


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    way = start("stop_deadline = 600.0")
    way.begin(STUBBORN)
    way.signal(signal.SIGTERM)
    way.until(lambda: "stopping; a second" in way.log.read_text(), "the first is heard")
    way.signal(signal.SIGINT)
    way.ended()


def test_a_child_that_ends_is_noticed_and_a_hangup_reads_the_configuration_again(
    start: Start,
) -> None:
    way = start()
    task = way.ask("start", name="program", arguments=[["true"]])
    assert way.ask("wait", taskid=task["taskid"], timeout=30)["task"]["status"] == "done"
    assert way.ask("start", name="hello")["code"] == "unknown-task"
    way.config.write_text("[tasks.hello]\ncommand = ['echo', 'hello']\n")
    way.signal(signal.SIGHUP)
    way.until(lambda: "reloaded: added: hello" in way.log.read_text(), "it has reloaded")
    task = way.ask("start", name="hello")
    assert way.ask("wait", taskid=task["taskid"], timeout=30)["task"]["status"] == "done"
    way.config.write_text("slots = 'x'\ncolour = 1\n")
    way.signal(signal.SIGHUP)
    way.until(lambda: way.log.read_text().count("not reloaded: ") == 2, "it says why not")
    assert way.ask("start", name="hello")["status"] == "ok"
    errors = [entry["message"] for entry in way.ask("log", level="error")["log"]]
    assert sum(message.startswith("not reloaded: ") for message in errors) == 2


def test_one_that_drains_runs_what_is_queued_and_shuts_down_with_status_0(start: Start) -> None:
    way = start("slots = 1")
    first, second = way.begin(POLITE), way.ask("start", name="sleep", arguments=[0])["taskid"]
    assert way.ask("drain")["on"] is True
    assert way.ask("stats")["draining"] is True
    assert way.ask("start", name="sleep", arguments=[0])["code"] == "unavailable"
    way.ask("stop", taskid=first)
    assert way.ask("wait", taskid=second, timeout=30)["task"]["status"] == "done"
    assert way.ask("shutdown") == {"status": "ok", "response": "shutdown"}
    assert way.ended() in (None, 0)


def test_a_shutdown_has_the_grace_that_it_is_given(start: Start) -> None:
    way = start("stop_deadline = 600.0")
    way.begin(STUBBORN)
    begun = time.monotonic()
    assert way.ask("shutdown", grace=1)["status"] == "ok"
    assert way.ended() in (None, 0)
    assert 1.0 <= time.monotonic() - begun < 1.0 + 3.0


def test_drain_is_forgotten_and_limits_are_kept_over_a_restart(start: Start) -> None:
    way = start("slots = 2")
    way.ask("drain")
    way.ask("limits", slots=1, paused=True)
    way.ask("limits", group="gpu", slots=3)
    way.ask("shutdown")
    way.ended()
    way.log.unlink()
    way.start()
    stats = way.ask("stats")
    assert stats["draining"] is False
    assert stats["groups"] == {
        "default": {"slots": 1, "running": 0, "queued": 0, "paused": True, "configured": 2},
        "gpu": {"slots": 3, "running": 0, "queued": 0, "paused": False},
    }
    taskid = way.ask("start", name="sleep", arguments=[0])["taskid"]
    assert way.ask("wait", taskid=taskid, timeout=0.5)["ended"] is False
    way.ask("limits", paused=False)
    assert way.ask("wait", taskid=taskid, timeout=30)["ended"] is True


def test_the_pid_file_of_one_in_the_background_is_gone_with_it(tools: Any) -> None:
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as folder:
        way = Background(Path(folder))
        try:
            assert (way.folder / "pid").exists()
            way.ask("shutdown")
            way.ended()
            assert not (way.folder / "pid").exists()
        finally:
            way.end()
