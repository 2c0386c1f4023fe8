"""The configuration and the tasks are read again while the daemon serves."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HELLO = '''
from aptask import Task
class Hello(Task):
    """Says what it is told."""
    name = "hello"
    def run(self):
        return "one"
'''
SLOW = "import time\ntime.sleep(1.5)\n"


class Reloading:
    """A daemon whose files a test changes."""

    def __init__(self, daemons: Callable[..., Any], folder: Path, config: str = "") -> None:
        self.tasks = folder / "tasks"
        self.tasks.mkdir()
        self.base = f"task_folders = ['{self.tasks}']\n"
        self.daemon = daemons(config=self.base + config)
        self.file = self.daemon.folder / "aptask.toml"

    def configure(self, config: str) -> None:
        self.file.write_text(self.base + config)

    def reload(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.daemon.ask("reload")
        assert answer["status"] == "ok", answer
        return {name: answer[name] for name in ("added", "removed", "changed", "failed", "restart")}


@pytest.fixture
def world(daemons: Callable[..., Any], tmp_path: Path) -> Reloading:
    return Reloading(daemons, tmp_path)


def nothing(**changed: Any) -> dict[str, Any]:
    return {"added": [], "removed": [], "changed": [], "failed": [], "restart": [], **changed}


def test_a_task_file_comes_changes_breaks_and_goes(world: Reloading) -> None:
    daemon, file = world.daemon, world.tasks / "hello.py"
    assert world.reload() == nothing()
    file.write_text(HELLO)
    assert world.reload() == nothing(added=["hello"])
    assert daemon.run("hello")["result"] == "one"
    file.write_text(HELLO.replace("one", "two"))
    assert world.reload() == nothing(changed=["hello"])
    assert daemon.run("hello")["result"] == "two"
    file.write_text("def")
    broken = world.reload()
    assert (broken["removed"], [one["plugin"] for one in broken["failed"]]) == (
        ["hello"],
        [str(file)],
    )
    assert daemon.ask("stats")["plugins"]["failed"] == broken["failed"]
    assert daemon.ask("start", name="hello")["code"] == "unknown-task"
    file.write_text(HELLO)
    assert world.reload() == nothing(added=["hello"])
    file.unlink()
    assert world.reload() == nothing(removed=["hello"])


def test_a_wrong_configuration_changes_nothing_and_all_its_mistakes_are_answered(
    world: Reloading,
) -> None:
    (world.tasks / "hello.py").write_text(HELLO)
    world.configure("slots = 'x'\n[users.bob]\n")
    refused = world.daemon.ask("reload")
    assert refused["code"] == "invalid-arguments"
    assert [line.partition(": ")[2] for line in refused["message"].splitlines()] == [
        "`slots` must be a whole number, not text",
        "[users.bob] needs `key` or `key_sha256`",
    ]
    world.configure("[tasks.a]\ncommand = ['{x}']\n[tasks.b]\npython = 'nosuchmodule:f'\n")
    assert world.daemon.ask("reload")["code"] == "invalid-arguments"
    world.configure("[tasks.b]\npython = 'nosuchmodule:f'\n")
    assert "nosuchmodule" in world.daemon.ask("reload")["message"]
    world.file.rename(world.file.with_name("away"))
    assert "cannot be read" in world.daemon.ask("reload")["message"]
    assert world.daemon.ask("start", name="hello")["code"] == "unknown-task"


def test_settings_take_effect_at_once_where_they_can(world: Reloading, tools: Any) -> None:
    daemon = world.daemon
    world.configure("slots = 1\n[limits]\nqueued = 1\nrequest_bytes = 2000\nidle_seconds = 5.0\n")
    assert world.reload() == nothing()
    taskid = daemon.ask("start", name="sleep", arguments=[60])["taskid"]
    tools.wait_until(
        lambda: daemon.ask("show", taskid=taskid)["task"]["state"] == "active", "it runs"
    )
    daemon.ask("start", name="sleep", arguments=[60])
    assert daemon.ask("start", name="sleep", arguments=[60])["code"] == "limit"
    assert daemon.ask("ping", id="x" * 2000)["code"] == "too-large"
    world.configure("slots = 300\nlisten = ['tcp:1:interface=127.0.0.1']\nlog = 'json'\n")
    assert world.reload() == nothing(restart=["log"])  # --listen wins over the file
    assert daemon.ask("stats")["slots"] == 300
    assert [task["state"] for task in daemon.ask("active")["active"]] == ["active"] * 2
    limits = Path(f"/proc/{daemon.runner}/limits").read_text()
    (files,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
    assert int(files.split()[3]) >= 300 * 8
    for task in daemon.ask("active")["active"]:
        daemon.ask("stop", taskid=task["taskid"])


def test_keys_come_and_go_and_open_connections_with_them(world: Reloading) -> None:
    daemon = world.daemon
    assert daemon.ask("index", "key-of-bob")["code"] == "unauthorized"
    world.configure("[users.bob]\nkey = 'key-of-bob'\ntasks = ['sleep']\n")
    world.reload()
    assert [task["name"] for task in daemon.ask("index", "key-of-bob")["index"]] == ["sleep"]
    world.configure("[users.bob]\nkey = 'key-of-bob'\ntasks = ['sleep', 'primes']\n")
    world.reload()
    assert len(daemon.ask("index", "key-of-bob")["index"]) == 2
    taskid = daemon.ask("start", "key-of-bob", name="sleep", arguments=[60])["taskid"]
    with daemon.connect() as waits, waits.makefile("rb") as answers:
        wait = {"key": "key-of-bob", "request": "wait", "taskid": taskid}
        waits.sendall(json.dumps(wait).encode())
        world.configure("")
        world.reload()
        assert json.loads(answers.readline())["code"] == "unauthorized"
    assert daemon.ask("index", "key-of-bob")["code"] == "unauthorized"
    assert daemon.ask("show", taskid=taskid)["task"]["state"] != "ended"
    daemon.ask("stop", taskid=taskid)


def test_jobs_of_a_task_that_goes_or_changes(world: Reloading, tools: Any) -> None:
    daemon = world.daemon
    script = "[tasks.{}]\ncommand = ['sh', '-c', 'echo ready; sleep {}']\n"
    with_argument = "[tasks.a]\ncommand = ['echo', '{{{0}}}']\narguments.{0}.type = 'str'\n"
    world.configure("slots = 1\n" + script.format("gone", 60) + with_argument.format("x"))
    world.reload()
    runs, waits = (daemon.ask("start", name="gone")["taskid"] for _ in range(2))
    changed = daemon.ask("start", name="a", arguments=["1"])["taskid"]
    tools.wait_until(lambda: daemon.ask("output", taskid=runs)["text"], "it runs")
    world.configure("slots = 1\n" + with_argument.format("y"))
    assert world.reload() == nothing(removed=["gone"], changed=["a"])
    assert daemon.ask("show", taskid=runs)["task"]["status"] == "running"
    assert daemon.ask("show", taskid=waits)["task"]["state"] == "queued"
    daemon.ask("stop", taskid=runs)
    ended = daemon.ask("wait", taskid=waits, timeout=30)["task"]
    assert (ended["status"], ended["message"]) == ("error", "there is no task `gone` any more")
    ended = daemon.ask("wait", taskid=changed, timeout=30)["task"]
    assert ended["status"] == "error"
    assert "the task is another one by now: no such argument: `x`" in ended["message"]


def test_clients_notice_nothing_of_a_slow_reload_and_a_second_one_runs_anew(
    world: Reloading, tools: Any
) -> None:
    daemon = world.daemon
    (world.tasks / "slow.py").write_text(SLOW)
    answers: list[dict[str, Any]] = []

    def reload() -> None:
        answers.append(daemon.ask("reload"))

    threads = [threading.Thread(target=reload)]
    threads[0].start()
    # When the first task is looked at, all files are listed: what comes later is for the next one.
    tools.wait_until(lambda: len(discovering(daemon.process.pid)) > 1, "it looks at tasks")
    (world.tasks / "hello.py").write_text(HELLO)
    threads.append(threading.Thread(target=reload))
    threads[1].start()
    slowest, asked = 0.0, 0
    with daemon.connect() as connection, connection.makefile("rb") as lines:
        while any(thread.is_alive() for thread in threads):
            begun = time.monotonic()
            connection.sendall(b'{"request":"ping"}\n')
            lines.readline()
            slowest = max(slowest, time.monotonic() - begun)
            asked += 1
            time.sleep(0.001)
    assert asked > 100
    print(f"the slowest of {asked} answers took {slowest * 1000:.1f} ms")
    assert slowest < 0.5
    assert [answer["added"] for answer in answers] == [[], ["hello"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_daemon_that_ends_while_it_reloads_leaves_nothing(
    world: Reloading, tools: Any, number: int
) -> None:
    daemon = world.daemon
    (world.tasks / "endless.py").write_text("import time\ntime.sleep(600)\n")
    with daemon.connect() as connection, connection.makefile("rb") as answers:
        request = {"key": daemon.admin_key, "request": "reload"}
        connection.sendall(json.dumps(request).encode())
        looking = tools.wait_until(lambda: discovering(daemon.process.pid), "it looks for tasks")
        begun = time.monotonic()
        daemon.stop(number)
        assert time.monotonic() - begun < 5
        if number == signal.SIGTERM:
            assert json.loads(answers.readline())["code"] == "unavailable"
    tools.wait_until(lambda: not any(map(is_alive, looking)), "discovery has ended", 5)


def discovering(pid: int) -> list[int]:
    """The processes that look for tasks, with those that they have forked."""
    found = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == parent and b"aptask.tasks.discover" in command:
                found.append(int(entry.name))
                waiting.append(int(entry.name))
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_a_configuration_tasks_are_looked_for_all_the_same(
    daemons: Callable[..., Any], tmp_path: Path
) -> None:
    daemon = daemons("--tasks", str(tmp_path))
    (tmp_path / "hello.py").write_text(HELLO)
    assert daemon.ask("reload")["added"] == ["hello"]
    assert daemon.run("hello")["result"] == "one"


def test_systemd_is_told_of_a_hangup(daemons: Callable[..., Any]) -> None:
    daemon = daemons()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(daemon.folder / "ready"))
        notified.settimeout(20)
        daemon.process.send_signal(signal.SIGHUP)
        told = notified.recv(1000).decode().splitlines()
        assert told[0] == "RELOADING=1"
        microseconds = int(told[1].removeprefix("MONOTONIC_USEC="))
        assert 0 <= time.monotonic_ns() // 1000 - microseconds < 60e6
        assert notified.recv(1000) == b"READY=1"
        os.kill(daemon.process.pid, signal.SIGTERM)
        told = notified.recv(1000).decode().splitlines()
        assert told[0] == "STOPPING=1"
        assert int(told[1].removeprefix("EXTEND_TIMEOUT_USEC=")) >= 25_000_000


def test_the_event_log_tells_who_has_reloaded(world: Reloading, tools: Any) -> None:
    world.reload()
    world.daemon.process.send_signal(signal.SIGHUP)

    def messages() -> list[str]:
        return [one["message"] for one in world.daemon.ask("log", level="request")["log"]]

    tools.wait_until(lambda: "reload (SIGHUP)" in messages(), "it is logged")
    assert "reload" in messages()
