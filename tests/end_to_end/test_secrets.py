"""A secret is in the database while its job waits, in its process' environment while it runs.

It is nowhere else, and nowhere at all once the job has ended: every byte that was written or
answered is looked through. What a job itself writes is its own, and stays in its output.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SHELL = "while [ ! -e {go} ]; do sleep 0.02; done; "
TASKS = """
import os, signal, time
from pathlib import Path
from aptask import Program, Task, argument

GO = Path({go!r})

def until_go():
    while not GO.exists():
        time.sleep(0.02)

class Keeps(Task):
    token = argument(str, secret=True, default={default!r})
    count = argument(int, default=1)
    def run(self):
        self.report(0.5, f"with {{self.token}}")
        until_go()
        return len(self.token)

class Fails(Task):
    token = argument(str, secret=True)
    def run(self):
        raise ValueError(f"cannot log in with {{self.token}} at https://host/")

class Crashes(Task):
    token = argument(str, secret=True)
    how = argument(str, default="kill")
    def run(self):
        if self.how == "exit":
            raise SystemExit(f"no {{self.token}}")
        os.kill(os.getpid(), signal.SIGKILL)

class Drives(Program):
    token = argument(str, secret=True)
    def command(self):
        return ["sh", "-c", {shell!r} + 'test -n "$TOKEN"']
    @property
    def secret_env(self):
        return {{"TOKEN": self.token}}

class Reads(Program):
    token = argument(str, secret=True)
    command = ["sh", "-c", {shell!r} + "cat | wc -c; echo $0", "of standard input"]
    stdin = "{{token}}"

class Misuses(Program):
    token = argument(str, secret=True)
    def command(self):
        return ["curl", "--header", f"Authorization: {{self.token}}"]

class Undone(Program):
    token = argument(str, secret=True)
    command = ["curl", "{{token}}"]

def visit(token="", place="here"):
    until_go()
    raise KeyError(token)
"""
CONFIG = """
slots = {slots}
log = "{log}"
task_folders = ["tasks"]
[users.alice]
key = "alices key"
[tasks.fetch]
command = ["sh", "-c", "{shell} echo $TOKEN >&2; exit 3"]
secret_env = {{ TOKEN = "{{token}}" }}
arguments.token = {{ type = "str", secret = true }}
[tasks.visit]
python = "visits:visit"
arguments.token = {{ secret = true }}
"""


class World:
    """A daemon, its tasks, and all that was ever answered."""

    def __init__(self, daemons: Callable[..., Any], tools: Any, folder: Path, **said: Any) -> None:
        self.tools = tools
        self.base = "hush" + secrets.token_hex(8)
        self.go = folder / "go"
        shell = SHELL.format(go=self.go)
        source = TASKS.format(go=str(self.go), shell=shell, default=self.secret("default"))
        (folder / "tasks").mkdir()
        (folder / "tasks" / "visits.py").write_text(source)
        config = CONFIG.format(shell=shell.replace('"', '\\"'), **said)
        self.daemon = daemons(config=config.replace('["tasks"]', json.dumps([f"{folder}/tasks"])))
        self.answers: list[str] = []

    def secret(self, kind: str) -> str:
        """A secret of its own for each kind, that no word on the machine is like."""
        return f"{self.base}-{kind}-end"

    def ask(self, request: str, key: str | None = None, **fields: Any) -> Any:
        answer = self.daemon.ask(request, key, **fields)
        self.answers.append(json.dumps(answer))
        return answer

    def start(self, name: str, kind: str, key: str | None = None, **fields: Any) -> str:
        given = {"arguments": {"token": self.secret(kind)}, **fields}
        answer = self.ask("start", key, name=name, **given)
        assert answer["status"] == "ok", answer
        taskid: str = answer["taskid"]
        return taskid

    def program(self, kind: str, script: str, **fields: Any) -> str:
        arguments = {"command": ["sh", "-c", script], "env": {"TOKEN": self.secret(kind)}}
        return self.start("program", kind, arguments=arguments, **fields)

    def task(self, taskid: str) -> Any:
        return self.ask("show", taskid=taskid)["task"]

    def end(self, taskid: str) -> Any:
        return self.ask("wait", taskid=taskid, timeout=60)["task"]

    def running(self, *taskids: str) -> None:
        for taskid in taskids:
            self.tools.wait_until(
                lambda taskid=taskid: self.task(taskid)["state"] == "active", "it runs"
            )

    def kinds(self, data: bytes) -> set[str]:
        return {found.decode() for found in re.findall(f"{self.base}-(\\w+)".encode(), data)}

    def written(self, *, output: bool = False) -> dict[str, set[str]]:
        """The kinds of secrets in each file that has some; without or of output alone."""
        found = {}
        for path in self.daemon.folder.rglob("*"):
            if path.is_file() and (path.parent.name == "output") is output:
                with contextlib.suppress(FileNotFoundError):
                    if kinds := self.kinds(path.read_bytes()):
                        found[path.name] = kinds
        return found

    def listed(self) -> set[str]:
        """The kinds of secrets that any process on the machine shows in its command."""
        return {kind for found in self._of_processes("cmdline").values() for kind in found}

    def inherited(self) -> set[str]:
        """The kinds of secrets in environments of the daemon's jobs."""
        return {
            kind
            for pid, found in self._of_processes("environ").items()
            if pid in self.daemon.processes()
            for kind in found
        }

    def _of_processes(self, file: str) -> dict[int, set[str]]:
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    if kinds := self.kinds((entry / file).read_bytes()):
                        found[int(entry.name)] = kinds
        return found

    def ask_all(self, *taskids: str) -> None:
        """Every request that tells of tasks or of what happened."""
        for taskid in taskids:
            for request in ("show", "output", "watch"):
                self.ask(request, taskid=taskid)
            self.ask("wait", taskid=taskid, timeout=0)
        self.ask("active")
        self.ask("history", owner="*")
        self.ask("tasks")
        self.ask("stats")
        self.ask("log", limit=1000)
        self.ask("index", schema=True)
        self.ask("help")

    def gone(self) -> bool:
        return not self.written()

    def answered(self) -> set[str]:
        return self.kinds("\n".join(self.answers).encode())


@pytest.fixture(params=["text", "json"])
def world(request: Any, daemons: Callable[..., Any], tools: Any, tmp_path: Path) -> Iterator[World]:
    world = World(daemons, tools, tmp_path, slots=20, log=request.param)
    yield world
    world.go.touch()


@pytest.fixture
def narrow(daemons: Callable[..., Any], tools: Any, tmp_path: Path) -> Iterator[World]:
    world = World(daemons, tools, tmp_path, slots=1, log="text")
    yield world
    world.go.touch()


def test_secrets_of_jobs_that_run_and_end_are_nowhere_but_where_they_belong(world: World) -> None:
    running = {
        "class": world.start("keeps", "class"),
        "default": world.start("keeps", "default", arguments={}),
        "driver": world.start("drives", "driver"),
        "reader": world.start("reads", "reader"),
        "table": world.start("fetch", "table"),
        "callable": world.start("visit", "callable"),
        "program": world.program("program", SHELL.format(go=world.go) + "exit 0"),
        "once": world.start("keeps", "once", once="the same"),
        "killed": world.program("killed", "trap '' TERM; while :; do sleep 1; done"),
    }
    assert world.start("keeps", "once", once="the same") == running["once"]
    short = {
        "fails": world.start("fails", "fails"),
        "crashes": world.start("crashes", "crashes"),
        "exits": world.start("crashes", "exits", arguments=[world.secret("exits"), "exit"]),
        "misuses": world.start("misuses", "misuses"),
    }
    world.running(*running.values())
    ended = {kind: world.end(taskid) for kind, taskid in short.items()}
    environment = {"driver", "table", "program", "killed"}
    world.tools.wait_until(lambda: world.inherited() >= environment, "programs have them")
    assert world.inherited() == environment
    assert not world.listed()
    world.ask_all(*running.values(), *short.values())
    waiting = world.written()
    assert waiting
    assert all(name.startswith("aptask.db") for name in waiting)
    assert set.union(*waiting.values()) >= set(running)
    assert {task["message"] for task in ended.values()} == {
        "ValueError: cannot log in with *** at https://host/",
        "its process was killed by SIGKILL (too much memory?)",
        "exited with no ***",
        "ValueError: Misuses: command: a secret argument is in it, and whoever is on the machine"
        " sees what stands there: give it by `secret_env` or `stdin`",
    }
    assert world.ask("stop", taskid=running["killed"], grace=0.1)["status"] == "ok"
    world.go.touch()
    ended = {kind: world.end(taskid) for kind, taskid in running.items()}
    assert {kind: task["status"] for kind, task in ended.items()} == {
        **dict.fromkeys(running, "done"),
        "table": "error",
        "callable": "error",
        "killed": "stopped",
    }
    assert ended["class"]["result"] == len(world.secret("class"))
    assert ended["class"]["message"] == "with ***"
    assert ended["class"]["arguments"] == {"token": None, "count": 1}
    assert ended["table"]["message"] == "exit code 3: ***"
    assert ended["callable"]["message"] == "KeyError: '***'"
    world.ask_all(*short.values(), *(running[kind] for kind in running if kind != "table"))
    world.tools.wait_until(world.gone, "secrets of what has ended are gone")
    output = world.written(output=True)
    assert set.union(*output.values()) == {"fails", "table", "callable"}  # what they wrote
    assert world.answered() <= {"fails", "callable"}
    for response in world.answers:
        if json.loads(response).get("response") != "output":
            assert not world.kinds(response.encode())


def test_what_is_refused_is_in_no_log(world: World) -> None:
    secret = world.secret("refused")
    refusals = [
        {"name": "keeps", "arguments": {"token": secret, "count": "many"}},
        {"name": "keeps", "arguments": {"token": [secret]}},
        {"name": "keeps", "arguments": {"token": secret + "\0"}},
        {"name": "keeps", "arguments": [secret, 1, secret]},
        {"name": "fetch", "arguments": {"token": {"a": secret}}},
        {"name": "fetches", "arguments": {"token": secret}},
        {"name": "program", "arguments": {"command": ["true"], "env": {"A": [secret]}}},
        {"name": "program", "arguments": {"command": ["true"], "env": {f"A={secret}": "b"}}},
        {"name": "program", "arguments": {"command": ["true"], "env": [secret]}},
        {"name": "program", "arguments": {"command": ["true"], "env": {"A": secret}, "nice": 99}},
        {"name": "keeps", "arguments": {"token": secret}, "rerun": secret},
        {"name": "keeps", "arguments": secret},
    ]
    for fields in refusals:
        assert world.ask("start", **fields)["status"] == "error"
    assert world.ask("start", "a wrong key", **refusals[0])["code"] == "unauthorized"
    assert world.ask("start", "alices key", **refusals[6])["status"] == "error"
    whole = json.dumps({"key": "alices key", "request": "start", **refusals[0]})
    for line in (
        whole.replace(":", "", 1),
        whole[:-1] + ', "name": "x"}',
        whole.replace('"many"', "9" * 30),
    ):
        world.answers.append(json.dumps(world.daemon.send(line.encode() + b"\n")))
        assert json.loads(world.answers[-1])["status"] == "error"
    digits = str(int.from_bytes(world.base.encode()))  # beyond 64 bits, whosever argument it is
    line = whole.replace(json.dumps(secret), digits).encode()
    assert digits not in json.dumps(world.daemon.send(line + b"\n"))
    world.ask_all()
    logged = world.ask("log", limit=1000, level="client")["log"]
    assert len(logged) > len(refusals)
    assert digits not in json.dumps(logged)
    assert not world.written()
    assert not world.answered()
    [failed] = world.ask("stats")["plugins"]["failed"]
    assert "Undone: command: argument `token` is secret" in failed["error"]


def test_secrets_of_what_waits_is_stopped_is_interrupted_and_runs_again(narrow: World) -> None:
    world = narrow
    rerun = world.start("keeps", "rerun", rerun=True)
    world.running(rerun)
    stopped, waits = world.start("drives", "stopped"), world.program("waits", "exit 0")
    lost = world.start("reads", "lost")
    found = world.written()
    assert found
    assert all(name.startswith("aptask.db") for name in found)
    assert set.union(*found.values()) >= {"rerun", "stopped", "waits", "lost"}
    assert world.ask("stop", taskid=stopped)["status"] == "ok"
    assert world.end(stopped)["status"] == "stopped"
    world.tools.wait_until(lambda: "stopped" not in str(world.written()), "it is forgotten")
    os.kill(world.daemon.runner, signal.SIGKILL)
    world.tools.wait_until(lambda: world.task(rerun)["attempt"] == 2, "it waits to run again")
    world.daemon.kill()
    assert set.union(*world.written().values()) == {"rerun", "waits", "lost"}
    assert not world.listed()
    world.daemon.start()
    world.tools.wait_until(
        lambda: any(task["state"] == "active" for task in world.ask("active")["active"]),
        "what waited runs",
    )
    # Both at once, while a job runs and others wait.
    runner = world.daemon.runner
    world.daemon.kill()
    os.kill(runner, signal.SIGKILL)
    kept = world.written()
    assert all(name.startswith("aptask.db") for name in kept)
    world.daemon.start()
    world.go.touch()
    for taskid in (rerun, waits, lost):
        assert world.end(taskid)["state"] == "ended"
    assert world.task(rerun)["status"] == "done"
    world.ask_all(rerun, stopped, waits, lost)
    world.tools.wait_until(world.gone, "all are gone")
    world.daemon.kill()
    assert not world.written()
    world.daemon.start()
    world.ask_all(rerun, stopped, waits, lost)
    world.daemon.stop()
    assert not world.written()
    assert not world.written(output=True)
    assert not world.answered()
