"""Keys of a real daemon: made, used, taken back, over restarts."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "running.md"

CONFIG = """
slots = 1
[users.alice]
key = "alices key"
[users.bob]
key = "bobs key"
"""


@pytest.fixture(scope="module")
def daemon(daemons: Callable[..., Any]) -> Any:
    return daemons(config=CONFIG)


def add(daemon: Any, name: str, **fields: Any) -> str:
    answer = daemon.ask("addkey", name=name, **fields)
    assert answer["status"] == "ok", answer
    key: str = answer["newkey"]
    return key


def hold(daemon: Any, key: str, taskid: str, **fields: Any) -> socket.socket:
    """A connection on which a request holds."""
    connection: socket.socket = daemon.connect()
    request = {"request": "wait", "taskid": taskid, "key": key, **fields}
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


def line(connection: socket.socket) -> Any:
    with connection.makefile("rb") as answers:
        return json.loads(answers.readline())


def files(folder: Path) -> bytes:
    """All that is in the data folder, but for the local key."""
    return b"".join(
        path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "local.key"
    )


def test_a_key_lives_over_restarts_and_is_gone_after_its_end(daemons: Callable[..., Any]) -> None:
    daemon = daemons(config=CONFIG)
    key = add(daemon, "dave", tasks=["sleep"])
    for restart in (daemon.kill, daemon.stop):
        restart()
        daemon.start()
        assert daemon.ask("ping", key)["user"] == "dave"
        assert [task["name"] for task in daemon.ask("index", key)["index"]] == ["sleep"]
    assert daemon.run("sleep", 0, key=key)["status"] == "done"
    assert daemon.ask("revoke", name="dave")["status"] == "ok"
    assert daemon.ask("index", key)["code"] == "unauthorized"
    daemon.kill()
    daemon.start()
    assert daemon.ask("index", key)["code"] == "unauthorized"
    assert "dave" not in str(daemon.ask("keys"))


def test_neither_log_nor_data_folder_has_a_key_or_the_digest_of_a_revoked_one(
    daemons: Callable[..., Any],
) -> None:
    daemon = daemons(config=CONFIG)
    key = add(daemon, "dave")
    gone = add(daemon, "erin")
    assert daemon.ask("index", "a wrong key")["code"] == "unauthorized"
    assert daemon.ask("revoke", name="erin")["status"] == "ok"
    assert '"dave"' in str(daemon.ask("log", level="request"))
    daemon.stop()
    found = files(daemon.data) + daemon.log.read_bytes()
    for text in (key, gone, "a wrong key", "alices key", daemon.admin_key):
        assert text.encode() not in found
    digest = hashlib.sha256(gone.encode()).digest()
    assert digest not in found
    assert digest.hex().encode() not in found


def test_requests_that_hold_end_when_their_key_is_revoked(daemon: Any) -> None:
    key = add(daemon, "dave")
    taskid = daemon.ask("start", key, name="sleep", arguments=[60])["taskid"]
    waiting = [hold(daemon, key, taskid) for _ in range(20)]
    following = hold(daemon, key, taskid, request="output", follow=True)
    other = hold(daemon, daemon.admin_key, taskid)
    begun = time.monotonic()
    assert daemon.ask("revoke", name="dave")["status"] == "ok"
    for connection in waiting:
        assert line(connection)["code"] == "unauthorized"
    with following, following.makefile("rb") as answers:
        codes = (json.loads(answer).get("code") for answer in answers)
        assert next(code for code in codes if code) == "unauthorized"
    assert time.monotonic() - begun < 5
    waiting[0].sendall(json.dumps({"request": "active", "key": key}).encode() + b"\n")
    assert line(waiting[0])["code"] == "unauthorized"
    for connection in waiting:
        connection.close()
    assert daemon.ask("show", taskid=taskid)["task"]["state"] != "ended"
    daemon.ask("stop", taskid=taskid, grace=0)
    with other:
        assert line(other)["ended"] is True


def test_a_reload_takes_keys_away_and_gives_them(daemons: Callable[..., Any]) -> None:
    daemon = daemons(config=CONFIG)
    old = add(daemon, "dave")
    taskid = daemon.ask("start", "bobs key", name="sleep", arguments=[60])["taskid"]
    with hold(daemon, "bobs key", taskid) as waiting:
        config = CONFIG.replace("bob", "dave")
        (daemon.folder / "aptask.toml").write_text(config)
        assert daemon.ask("reload")["status"] == "ok"
        assert line(waiting)["code"] == "unauthorized"
    shown = {key["name"]: key["source"] for key in daemon.ask("keys")["keys"]}
    assert shown == {"alice": "configuration", "dave": "configuration", "local": "local"}
    assert daemon.ask("ping", "daves key")["user"] == "dave"
    assert daemon.ask("index", old)["code"] == "unauthorized"
    daemon.ask("stop", taskid=taskid, grace=0)


def test_bad_keys_are_slowed_and_good_ones_are_not(daemon: Any) -> None:
    def guess(number: int) -> float:
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection:
            begun = time.monotonic()
            request = {"request": "index", "key": f"wrong {number}"}
            connection.sendall(json.dumps(request).encode() + b"\n")
            assert line(connection)["code"] == "unauthorized"
            return time.monotonic() - begun

    with ThreadPoolExecutor(20) as pool:
        guesses = pool.map(guess, range(40))
        longest = 0.0
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as connection:
            for _ in range(50):
                begun = time.monotonic()
                connection.sendall(b'{"request":"index","key":"alices key"}\n')
                assert line(connection)["status"] == "ok"
                longest = max(longest, time.monotonic() - begun)
                time.sleep(0.01)
        seconds = sorted(guesses)
    assert seconds[2] < 0.5
    assert seconds[-1] >= 0.99
    assert sum(each > 0.9 for each in seconds) >= 30
    assert longest < 0.9


def test_a_daemon_that_is_stopped_gives_what_it_held_back(
    daemons: Callable[..., Any], tools: Any
) -> None:
    daemon = daemons(config=CONFIG)
    for _ in range(7):
        assert daemon.ask("index", "wrong")["code"] == "unauthorized"
    with hold(daemon, "wrong", "1") as held:
        tools.wait_until(lambda: daemon.ask("stats")["requests"]["wait"], "it has come")
        os.kill(daemon.process.pid, signal.SIGTERM)
        assert line(held)["code"] == "unauthorized"
    daemon.stop()


def test_what_the_page_says_about_keys_works_as_it_stands_there(
    daemon: Any, tmp_path: Path
) -> None:
    chapter = PAGE.read_text().partition("\n## Keys\n")[2].partition("\n## ")[0]
    add, show, revoke = re.findall(r"^    (.+)$", chapter, re.M)
    [key_and_digest] = re.findall(r"^```sh\n(.+?)```", chapter, re.M | re.S)

    def type_(script: str) -> str:
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "APTASK_DATA": str(daemon.data),
        }
        typed = ["bash", "-euc", script]
        return subprocess.run(
            typed, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        ).stdout

    assert type_(add.replace("bob", "erin")) == ""
    made = tmp_path / "erin.key"
    assert made.stat().st_mode & 0o777 == 0o600
    assert daemon.ask("ping", made.read_text().strip())["user"] == "erin"
    assert "erin\tuser\tdatabase\tcopy,primes\n" in type_(show)
    type_(revoke.replace("bob", "erin"))
    assert "user" not in daemon.ask("ping", made.read_text().strip())
    assert re.fullmatch(r"[0-9a-f]{64} +-\n", type_(key_and_digest))
