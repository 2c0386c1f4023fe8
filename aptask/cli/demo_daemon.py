"""The demo's daemon: started on a free port with a data folder of its own, and stopped again."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from aptask.client import Client, ConnectionFailed

CONFIGURATION = """
listen = ["tcp:{port}:interface=127.0.0.1"]
data = "data"
slots = {slots}

[admins.demo]
key = "{key}"
"""

START_SECONDS = 30.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.05
"""Between two looks whether the daemon answers already."""


class DemoFailed(Exception):
    """The demo cannot go on: the message says why."""


class RunningDaemon(NamedTuple):
    """A daemon that answers.

    Attributes:
        client: connected to it, with an admin's key.
        port: where it listens on 127.0.0.1.
        key: the admin's.
    """

    client: Client
    port: int
    key: str


@contextmanager
def running_daemon(folder: Path, slots: int) -> Iterator[RunningDaemon]:
    """Start a daemon, wait until it answers, and stop it in the end, whatever happened meanwhile.

    Args:
        folder: where its data folder and its log go.
        slots: how many tasks it runs at once.

    Raises:
        DemoFailed: it did not start, or did not stop; the message holds what it logged.
    """
    port, key, log = _free_port(), secrets.token_urlsafe(12), folder / "daemon.log"
    configuration = folder / "aptask.toml"
    configuration.touch(mode=0o600)
    configuration.write_text(CONFIGURATION.format(port=port, slots=slots, key=key))
    with log.open("wb") as written:
        process = subprocess.Popen(
            [_twistd(), "-n", "--pidfile=", "aptask", "--config", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=subprocess.STDOUT,
            env={name: value for name, value in os.environ.items() if name[:7] != "APTASK_"},
            # Ctrl-C is for the demo, which then stops the daemon.
            start_new_session=True,
        )
    try:
        with Client(f"127.0.0.1:{port}", key) as client:
            _wait_until_it_answers(client, process, log)
            yield RunningDaemon(client, port, key)
    finally:
        _stop(process, log)


def _wait_until_it_answers(client: Client, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client.ping()
            return
        except ConnectionFailed:
            pass
        try:
            status = process.wait(LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            if time.monotonic() > deadline:
                raise DemoFailed(
                    f"the daemon does not answer after {START_SECONDS:g} s:\n{_read(log)}"
                ) from None
        else:
            raise DemoFailed(f"the daemon ended with exit status {status}:\n{_read(log)}")


def _stop(process: subprocess.Popen[bytes], log: Path) -> None:
    """Stop the daemon as `kill` does, which ends its tasks and its runner first."""
    for _ in range(2):
        # A second time means: at once.
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()
    raise DemoFailed(f"the daemon did not stop and was killed:\n{_read(log)}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _twistd() -> str:
    """The `twistd` of this installation, or else the one on the path."""
    beside = Path(sys.executable).with_name("twistd")
    found = str(beside) if beside.exists() else shutil.which("twistd")
    if found is None:
        raise DemoFailed("`twistd` is not there: install aptask with `pip install .` first")
    return found


def _read(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")
