"""The store on disks that fail, and that lose what was not synced when the power does."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from aptask.model.job import State

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WORDS = 3000
POWER_CUTS = 60


@pytest.fixture
def disk(program: Callable[[str], str], tmp_path: Path) -> Path:
    """The library that stands before the disk."""
    library = tmp_path / "disk.so"
    command = [program("cc"), "-shared", "-fPIC", "-O1", "-o", library, HERE / "disk.c", "-ldl"]
    subprocess.run(command, check=True)
    return library


def test_on_a_disk_that_fails_all_is_as_it_was_said(disk: Path, tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", folder]
    finished = subprocess.run(
        [*command, HERE / "disk_failing.py"],
        cwd=ROOT,
        env={**os.environ, "LD_PRELOAD": str(disk), "DISK_PREFIX": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout
    assert "4 passed" in finished.stdout


class Call(NamedTuple):
    """What a process did: wrote, truncated or synced a file, or said something."""

    kind: str
    name: str
    offset: int
    length: int
    content: bytes


def read_log(path: Path) -> Iterator[Call]:
    data = memoryview(path.read_bytes())
    place = 0
    while place + 2 <= len(data):
        kind, size = chr(data[place]), data[place + 1]
        name = bytes(data[place + 2 : place + 2 + size]).decode()
        place += 2 + size
        offset = int.from_bytes(data[place : place + 8], "little")
        length = int.from_bytes(data[place + 8 : place + 16], "little")
        place += 16
        content = bytes(data[place : place + length]) if kind in "wa" else b""
        place += len(content)
        yield Call(kind, name, offset, length, content)


def applied(content: bytearray, call: Call) -> None:
    if call.kind == "t":
        content[call.length :] = bytes(max(0, call.length - len(content)))
        return
    content.extend(bytes(max(0, call.offset - len(content))))
    content[call.offset : call.offset + call.length] = call.content


class Disk:
    """Files of which only what was synced is certain."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._certain = {name: bytearray(content) for name, content in files.items()}
        self._doubtful: dict[str, list[Call]] = {}

    def do(self, call: Call) -> None:
        if call.kind == "s":
            content = self._certain.setdefault(call.name, bytearray())
            for earlier in self._doubtful.pop(call.name, []):
                applied(content, earlier)
        else:
            self._doubtful.setdefault(call.name, []).append(call)

    def after_power_cut(self, dice: random.Random, keeps: float) -> dict[str, bytes]:
        """What is there, with any part of what was not synced, in any order."""
        files = {name: bytearray(content) for name, content in self._certain.items()}
        for name, calls in self._doubtful.items():
            for call in calls:
                if dice.random() < keeps:
                    applied(files.setdefault(name, bytearray()), call)
        return {name: bytes(content) for name, content in files.items()}


def test_what_was_acknowledged_survives_a_power_cut_at_any_moment(
    bench: Any, disk: Path, tmp_path: Path
) -> None:
    bench.close(bench.store())
    start = {name: Path(f"{bench.path}{name}").read_bytes() for name in ("", "-mark")}
    log = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, HERE / "adding.py", bench.path],
        cwd=ROOT,
        env={
            **os.environ,
            "LD_PRELOAD": str(disk),
            "DISK_PREFIX": str(bench.path),
            "DISK_LOG": str(log),
        },
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        for _ in range(WORDS):
            process.stdout.readline()
        process.kill()
    calls = list(read_log(log))
    assert {call.name for call in calls if call.kind == "s"} >= {"", "-wal"}, "no checkpoint"
    dice = random.Random(5)
    cuts = set(dice.sample(range(len(calls)), POWER_CUTS))
    files = Disk(start)
    said: dict[str, set[int]] = {"added": set(), "launched": set(), "ended": set()}
    for place, call in enumerate(calls):
        if call.kind == "a":
            word, number = call.content.split()
            said[word.decode()].add(int(number))
        else:
            files.do(call)
        if place not in cuts:
            continue
        folder = tmp_path / str(place)
        folder.mkdir()
        for name, content in files.after_power_cut(dice, dice.choice((0.0, 0.5, 1.0))).items():
            (folder / f"aptask.db{name}").write_bytes(content)
        store = bench.store(path=folder / "aptask.db")
        found = {job.id: job for job in bench.result(store.get_many(sorted(said["added"])))}
        assert found.keys() == said["added"]
        assert all(found[number].state is not State.QUEUED for number in said["launched"])
        assert all(found[number].state is State.ENDED for number in said["ended"])
        bench.log_tells_of_each_job(store)
        bench.close(store)
