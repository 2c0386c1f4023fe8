"""Damage is never overwritten: a daemon that finds some says so, ends, and has changed nothing."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aptask.storage.examine import SCHEMA_VERSION

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SECONDS = 60.0
NOBODY = 65534
TASKS = 150
ARGUMENT = "a long argument that is found again"
REMEDIES = (
    "put it and the files beside it back from a backup",
    "another data folder",
    "give it to",
)


class Refusal(NamedTuple):
    """How a daemon ended: its exit status, and the lines of its standard error that are its own."""

    status: int
    lines: list[str]


def prints(folder: Path) -> dict[str, str]:
    """The files of the database, byte for byte."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.glob("aptask.db*")
    }


@pytest.fixture(scope="module")
def left(daemons: Callable[..., Any], tools: Any) -> Iterator[dict[str, Path]]:
    """Data folders with tasks: of a daemon that was stopped, and of one that was killed."""
    found = {}
    for end in ("stop", "kill"):
        daemon = daemons("--slots", "1")
        lines = [
            {"request": "start", "name": "program", "arguments": [["true", f"{ARGUMENT} {n}"]]}
            for n in range(TASKS)
        ]
        with daemon.connect() as connection, connection.makefile("rb") as answers:
            for line in lines:
                message = {"key": daemon.admin_key, **line}
                connection.sendall(json.dumps(message).encode() + b"\n")
            assert all(b'"ok"' in answers.readline() for _ in lines)
        daemon.ask("wait", taskid="20", timeout=30)
        getattr(daemon, end)()
        found[end] = daemon.data
    yield found


@pytest.fixture
def folder_of(left: dict[str, Path]) -> Iterator[Callable[[str], Path]]:
    """Gives a copy of one of these data folders."""
    with tempfile.TemporaryDirectory(prefix="aptask-") as name:

        def copy(end: str) -> Path:
            folder = Path(name) / end
            folder.mkdir(mode=0o700)
            for path in left[end].glob("aptask.db*"):
                shutil.copy2(path, folder)
            shutil.copy2(left[end] / "local.key", folder)
            return folder

        yield copy


def command(tools: Any, folder: Path, *options: str) -> list[Any]:
    listen = "--listen", f"unix:{folder}/aptask.sock"
    return [*tools.twistd(), *options, "--pidfile=", "aptask", "--data", folder, *listen]


@pytest.fixture
def refused(tools: Any) -> Callable[[Path], str]:
    """The one sentence with which a real daemon refuses a data folder, untouched."""

    def refuse(folder: Path) -> str:
        before = prints(folder)
        finished = subprocess.run(
            command(tools, folder, "-n", "--logfile", folder / "log"),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert prints(folder) == before
        assert finished.returncode == 1
        [sentence] = finished.stderr.splitlines()
        assert sentence.startswith("aptask: ")
        assert str(folder) in sentence
        assert any(remedy in sentence for remedy in REMEDIES), "it does not say what to do"
        return sentence

    return refuse


def alter(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def flip(path: Path, place: int) -> None:
    alter(path, place, bytes([path.read_bytes()[place] ^ 0x10]))


def flip_in_row(path: Path) -> None:
    """A bit of an argument, which SQLite itself does not miss."""
    flip(path, path.read_bytes().index(ARGUMENT.encode()) + 5)
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def flip_in_page(path: Path) -> None:
    """The beginnings of pages: what kind they are, and what is where in them."""
    for place in range(4096, path.stat().st_size, 4096):
        alter(path, place, b"\xff\xff\xff\xff")


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def foreign(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id)")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def mark(path: Path) -> Path:
    return path.with_name("aptask.db-mark")


def wal(path: Path) -> Path:
    return path.with_name("aptask.db-wal")


STOPPED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit in its first bytes": (
        lambda path: flip(path, 3),
        "does not begin as a database",
    ),
    "a flipped bit in its header": (lambda path: flip(path, 70), "is not a database of aptask"),
    "a flipped bit in a row": (flip_in_row, "is damaged (task "),
    "damaged pages": (flip_in_page, "is damaged ("),
    "zeros": (lambda path: alter(path, 4096, bytes(8192)), "is damaged ("),
    "nothing in it": (lambda path: path.write_bytes(b""), "cut short"),
    "a cut in its header": (lambda path: os.truncate(path, 60), "cut short"),
    "a cut in its middle": (
        lambda path: os.truncate(path, path.stat().st_size // 8192 * 4096),
        "cut short",
    ),
    "a missing last byte": (lambda path: os.truncate(path, path.stat().st_size - 1), "cut short"),
    "a newer schema": (newer, "was written by a newer aptask"),
    "another program's database": (foreign, "is not a database of aptask"),
    "a folder": (a_folder, "is a folder where a file of the database belongs"),
    "nothing in its place": (lambda path: path.unlink(), "is missing, but its aptask.db-mark"),
    "no mark": (lambda path: mark(path).unlink(), "aptask.db-mark, which belongs to"),
    "a damaged mark": (lambda path: flip(mark(path), 50), "aptask.db-mark is damaged"),
    "a folder as its mark": (lambda path: a_folder(mark(path)), "is a folder"),
}

KILLED: dict[str, Callable[[Path], object]] = {
    "no -wal": lambda path: wal(path).unlink(),
    "an empty -wal": lambda path: os.truncate(wal(path), 0),
    "half a -wal": lambda path: os.truncate(wal(path), 4096 * 4),
    "a -wal with a flipped bit": lambda path: flip(wal(path), 32 + 24 + 2000),
    "another program's -wal": lambda path: wal(path).write_bytes(
        random.Random(1).randbytes(90_000)
    ),
}


@pytest.mark.parametrize("damage", STOPPED)
def test_a_damaged_queue_is_refused_and_left_as_it_is(
    folder_of: Callable[[str], Path], refused: Callable[[Path], str], damage: str
) -> None:
    folder = folder_of("stop")
    do, says = STOPPED[damage]
    do(folder / "aptask.db")
    assert says in refused(folder)


@pytest.mark.parametrize("damage", KILLED)
def test_after_a_kill_a_wal_that_is_not_whole_is_missed_and_nothing_is_changed(
    folder_of: Callable[[str], Path], refused: Callable[[Path], str], damage: str
) -> None:
    folder = folder_of("kill")
    assert wal(folder / "aptask.db").stat().st_size > 4096 * 8
    KILLED[damage](folder / "aptask.db")
    sentence = refused(folder)
    assert "transactions, since its aptask.db-wal is missing" in sentence
    assert f"make {folder}/aptask.db-mark an empty file" in sentence


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_is_whole_is_not_refused(
    folder_of: Callable[[str], Path], daemons: Callable[..., Any], end: str
) -> None:
    daemon = daemons("--slots", "1", data=folder_of(end))
    task = daemon.ask("show", taskid=f"{TASKS}")["task"]
    assert task["arguments"]["command"] == ["true", f"{ARGUMENT} {TASKS - 1}"]
    daemon.stop()


@pytest.mark.parametrize("damage", ["a newer schema", "a flipped bit in a row"])
def test_twistd_says_by_its_exit_status_that_the_daemon_it_was_to_start_has_not(
    folder_of: Callable[[str], Path], tools: Any, damage: str
) -> None:
    """Found from outside, and found by reading all of it."""
    folder = folder_of("stop")
    STOPPED[damage][0](folder / "aptask.db")
    before = prints(folder)
    finished = subprocess.run(
        command(tools, folder, "--logfile", folder / "log"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert finished.returncode == 1
    # Twisted hands over the first hundred bytes of it.
    assert f"{folder}/aptask.db" in finished.stdout + finished.stderr
    assert STOPPED[damage][1] in (folder / "log").read_text()
    tools.wait_until(lambda: not serves(folder), "the one that told it has ended")
    assert prints(folder) == before


def serves(folder: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return not probe.connect_ex(f"{folder}/aptask.sock")


def test_a_queue_without_permission_is_refused_with_the_account_that_needs_it(
    folder_of: Callable[[str], Path], tools: Any, program: Callable[[str], str]
) -> None:
    if os.geteuid() != 0:
        tools.cannot("only root can give a file away")
    folder = folder_of("stop")
    folder.parent.chmod(0o755)
    for path in (folder, *folder.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    as_nobody = [
        program("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
    ]  # fmt: skip
    may_run = [*as_nobody, sys.executable, "-c", "import aptask.service"]
    if subprocess.run(may_run, cwd=folder, capture_output=True, check=False).returncode:
        tools.cannot("another account cannot run this Python")
    for name in ("aptask.db", "aptask.db-mark"):
        os.chown(folder / name, 0, 0)
        before = prints(folder)
        finished = subprocess.run(
            [*as_nobody, *command(tools, folder, "-n", "--logfile", folder / "log")],
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert finished.returncode == 1
        assert finished.stderr == (
            f"aptask: {folder}/{name} cannot be read and written: Permission denied;"
            " give it to the account of the daemon\n"
        )
        assert prints(folder) == before
        os.chown(folder / name, NOBODY, NOBODY)


# One that is so large that clients come before all of it has been read

LATE = """
import sys, threading, time
from pathlib import Path
from aptask.storage import database
from twisted.scripts.twistd import run

def check(path, real=database.check):
    while not (path.parent / "read").exists():
        time.sleep(0.01)
    real(path)

database.check = check
sys.argv[0] = "twistd"
run()
"""


@pytest.mark.parametrize("damage", ["a flipped bit in a row", "damaged pages"])
def test_damage_that_is_found_when_clients_have_come_ends_the_daemon_and_tells_them(
    folder_of: Callable[[str], Path], tools: Any, damage: str
) -> None:
    folder = folder_of("stop")
    STOPPED[damage][0](folder / "aptask.db")
    before = prints(folder)
    words = command(tools, folder, "-n")[len(tools.twistd()) :]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", LATE, *words], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        tools.wait_until((folder / "aptask.sock").exists, "it listens")
        key = (folder / "local.key").read_text().strip()
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as answers:
            connection.settimeout(SECONDS)
            connection.connect(f"{folder}/aptask.sock")
            start = {"request": "start", "key": key, "name": "sleep", "arguments": [0]}
            ping = {"request": "ping", "key": key}
            connection.sendall(json.dumps(ping).encode() + b"\n")
            assert json.loads(answers.readline())["status"] == "ok"
            connection.sendall(json.dumps(start).encode() + b"\n")
            (folder / "read").touch()
            answer = json.loads(answers.readline())
            assert (answer["status"], answer["code"]) == ("error", "unavailable")
        assert process.wait(SECONDS) == 1
    finally:
        process.kill()
        process.wait()
    [line] = [
        line for line in (folder / "log").read_text().splitlines() if STOPPED[damage][1] in line
    ]
    assert "critical" in line
    assert any(remedy in line for remedy in REMEDIES)
    assert "Traceback" not in (folder / "log").read_text()
    assert prints(folder) == before
