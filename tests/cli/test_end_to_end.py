"""The client and the command against the real daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aptask.client import Client, ConnectionFailed
from aptask.errors import Conflict, InvalidArguments, Unauthorized, UnknownTask, UnknownTaskid
from tests.cli.test_terminal import on_terminal, plain

Run = subprocess.CompletedProcess[str]


@pytest.fixture(autouse=True)
def environment(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon's data folder is this account's: the command finds socket and key in it."""
    for name in ("APTASK_SERVER", "APTASK_KEY", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("APTASK_DATA", str(daemon.data))


@pytest.fixture
def client() -> Iterator[Client]:
    with Client() as connected:
        yield connected


def words(*argv: str) -> list[str]:
    return [sys.executable, "-m", "aptask.cli.main", *argv]


def aptask(*argv: str, **options: Any) -> Run:
    return subprocess.run(words(*argv), capture_output=True, text=True, timeout=60, **options)


# The client


def test_the_local_key_makes_an_admin_over_the_local_socket_and_nobody_over_tcp(
    daemon: Any, client: Client
) -> None:
    assert client.ping().role == "admin"
    with Client(f"127.0.0.1:{daemon.port}") as stranger:
        assert stranger.ping().protocol == 1
        with pytest.raises(Unauthorized):
            stranger.index()


def test_the_daemon_tells_its_requests_and_tasks(client: Client) -> None:
    assert {"ping", "start", "stop", "active", "output"} <= client.help().keys()
    tasks = {task["name"]: task for task in client.index(schema=True)}
    assert {"primes", "sleep", "program", "copy", "transcode", "clone"} <= tasks.keys()
    assert tasks["primes"]["arguments"][0]["name"] == "below"


def test_arguments_go_by_position_by_name_and_as_text(client: Client) -> None:
    started = [
        client.start("primes", 1000),
        client.start("primes", below=1000),
        client.submit("primes", ["1000"]),
        client.submit("primes", {"below": "1000"}),
    ]
    for taskid in started:
        task = client.wait(taskid, timeout=30)
        assert task.status == "done"
        assert task.result == {"primes": 168, "largest": 997}
        assert task.arguments == {"below": 1000}
        assert task.progress == 1.0


def test_what_the_daemon_refuses_is_raised_and_the_client_goes_on(client: Client) -> None:
    with pytest.raises(UnknownTask, match="primes"):
        client.start("prines")
    with pytest.raises(InvalidArguments, match="`below`"):
        client.start("primes", below="many")
    with pytest.raises(UnknownTaskid):
        client.show("999999")
    taskid = client.start("primes", 10)
    client.wait(taskid, timeout=60)
    with pytest.raises(Conflict):
        client.stop(taskid)


def test_wait_comes_back_at_its_time_and_at_the_end(client: Client) -> None:
    taskid = client.start("sleep", 60)
    assert client.wait(taskid, timeout=0.1).state != "ended"
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(client.wait, taskid)
        assert [task.taskid for task in client.active()] == [taskid]
        client.stop(taskid)
        assert waiting.result(30).status == "stopped"
    assert client.active() == []


def test_output_is_followed_to_its_end_whole(client: Client) -> None:
    script = "for i in $(seq 1 20000); do echo line $i; done; sleep 0.2; echo é >&2"
    taskid = client.start("program", ["sh", "-c", script])
    lines = "".join(client.follow_output(taskid)).splitlines()
    assert lines == [*(f"line {number}" for number in range(1, 20001)), "é"]
    assert "".join(client.read_output(taskid)).splitlines() == lines


def test_many_threads_start_and_wait_with_one_client(client: Client) -> None:
    def one(number: int) -> tuple[int, Any]:
        task = client.wait(client.start("primes", number), timeout=60)
        return number, task.result["primes"]

    with ThreadPoolExecutor(8) as threads:
        counts = dict(threads.map(one, [10, 100, 1000, 10000] * 4))
    assert counts == {10: 4, 100: 25, 1000: 168, 10000: 1229}


def test_a_client_outlives_a_daemon_and_goes_on_with_the_next(
    daemons: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = daemons()
    monkeypatch.setenv("APTASK_DATA", str(first.data))
    with Client() as client:
        client.ping()
        first.stop()
        with pytest.raises(ConnectionFailed, match="no daemon at unix:"):
            client.ping()
        done = aptask("index")
        assert done.returncode == 3
        assert "start one with `twistd -n aptask`" in done.stderr
        second = daemons(data=first.data)
        assert client.ping().role == "admin"
        second.stop()


# The command


def test_start_prints_the_id_with_which_everything_else_goes_on() -> None:
    taskid = aptask("start", "primes", "below=1000").stdout.strip()
    waited = aptask("wait", taskid)
    assert waited.returncode == 0
    assert waited.stdout.splitlines()[-1].split("\t")[:5] == [taskid, "primes", "done", "-", "100%"]
    shown = dict(line.split("\t") for line in aptask("show", taskid).stdout.splitlines())
    assert shown["arguments"] == '{"below":1000}'
    assert shown["result"] == '{"primes":168,"largest":997}'


def test_json_is_what_the_daemon_said() -> None:
    done = aptask("start", "primes", "1000", "--wait", "--json")
    start, wait = map(json.loads, done.stdout.splitlines())
    assert start["response"] == "start"
    assert wait["task"]["result"] == {"primes": 168, "largest": 997}


def test_run_is_as_running_the_program_here(tmp_path: Path) -> None:
    script = 'echo "$PWD $FROM_HERE $SAID"; echo wrong >&2; exit 7'
    done = aptask(
        *("run", "--follow", "--env", "FROM_HERE", "--env", "SAID=a b", "--", "sh", "-c", script),
        cwd=tmp_path,
        env={**os.environ, "FROM_HERE": "yes"},
    )
    assert done.returncode == 7
    assert sorted(done.stdout.splitlines()) == sorted([f"{tmp_path} yes a b", "wrong"])


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -15 $$", 143)]
)
def test_run_and_wait_exits_as_the_program_did(script: str, status: int) -> None:
    assert aptask("run", "--wait", "--", "sh", "-c", script).returncode == status


def test_follow_prints_while_the_program_is_running(client: Client, tmp_path: Path) -> None:
    script = "echo first; while [ ! -e go ]; do sleep 0.05; done; echo second"
    with subprocess.Popen(
        words("run", "--follow", "--", "sh", "-c", script),
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "first\n"
        assert len(client.active()) == 1
        (tmp_path / "go").touch()
        assert process.stdout.read() == "second\n"
    assert process.returncode == 0


def test_a_task_that_is_stopped_is_no_success(client: Client) -> None:
    taskid = client.start("sleep", 60)
    assert aptask("stop", taskid, "--grace", "1").returncode == 0
    assert aptask("wait", taskid).returncode == 1
    again = aptask("stop", taskid)
    assert again.returncode == 1
    assert taskid in again.stderr


def test_ctrl_c_leaves_the_task_running(client: Client) -> None:
    with subprocess.Popen(
        words("start", "sleep", "60", "--wait"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        taskid = process.stdout.readline().split("\t")[0]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"`aptask wait {taskid}`" in said
    assert client.show(taskid).state != "ended"
    client.stop(taskid, grace=0)
    client.wait(taskid, timeout=60)


def test_active_shows_what_runs_and_the_places_of_what_waits(client: Client) -> None:
    # More than there are processors, and thus slots.
    taskids = [client.start("sleep", 60) for _ in range((os.cpu_count() or 1) + 2)]
    rows = [line.split("\t") for line in aptask("active").stdout.splitlines()]
    for taskid in reversed(taskids):
        client.stop(taskid, grace=0)
    for taskid in taskids:
        client.wait(taskid, timeout=60)
    assert [row[0] for row in rows] == taskids
    waiting = [row[3] for row in rows if row[2] == "queued"]
    assert len(waiting) >= 2
    assert waiting == [str(number + 1) for number in range(len(waiting))]


def test_a_live_bar_is_seen_on_a_terminal() -> None:
    status, got = on_terminal("start", "sleep", "1", "--wait")
    assert status == 0
    shown = [line for line in plain(got) if "sleep" in line]
    assert any("━" in line and "running" in line and "%" in line for line in shown)
    assert "100%" in shown[-1]
    assert "done" in shown[-1]


# How the daemon is


def test_stats_counts_what_runs_waits_and_has_ended(client: Client) -> None:
    before = client.stats()
    slots = before.slots
    taskids = [client.start("sleep", 60) for _ in range(slots + 2)]
    after = client.stats()
    assert (after.running, after.queued) == (slots, 2)
    assert after.groups["default"].queued == 2
    assert after.requests["start"] == before.requests["start"] + slots + 2
    assert after.uptime > before.uptime > 0
    assert (after.connections, after.watchers) == (1, 0)
    assert after.executors["local"].state == "ready"
    piped = dict(line.split("\t") for line in aptask("stats").stdout.splitlines())
    assert piped["running"] == str(slots)
    for taskid in reversed(taskids):
        client.stop(taskid, grace=0)
    client.wait_all(taskids, timeout=60)
    ended = client.stats()
    assert (ended.running, ended.queued) == (0, 0)
    assert ended.ended == before.ended + slots + 2
    assert ended.executors["local"].jobs == 0


def test_stats_tells_what_could_not_be_loaded_and_what_the_disk_holds(
    daemons: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("import \n")
    daemon = daemons("--tasks", str(tmp_path))
    answer = daemon.ask("stats")
    [failed] = answer["plugins"]["failed"]
    assert "broken.py" in failed["plugin"]
    assert answer["plugins"]["loaded"] == len(daemon.ask("index")["index"])
    assert (daemon.data / "aptask.db").stat().st_size <= answer["disk"]["used"] < 100 << 20
    assert answer["disk"]["free"] > 0


def test_stats_is_a_page_on_a_terminal() -> None:
    status, got = on_terminal("stats")
    assert status == 0
    assert any(line.startswith("uptime ") for line in plain(got))
