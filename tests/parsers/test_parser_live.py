"""Parsers on programs as they run: rising values while they work, then 1.0.

Each run is throttled to a second or two. The programs and the local server are those of
tests/record.py; with APTASK_REQUIRE_ALL=1 a missing program is a failure, not a skip.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from aptask.parsers import make_parser
from tests import record
from tests.parsers.feeding import fractions

Find = Callable[[str], str]
MEBIBYTE = 1024 * 1024


def run(folder: Path, command: Sequence[str], spec: str, stdin: int | None = None) -> list[float]:
    """Runs a program on a pipe and returns the fractions that its parser gave."""

    def size_of(path: str) -> int | None:
        file = folder / path
        return file.stat().st_size if file.exists() else None

    parser = make_parser(spec, command, size_of)
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "GIT_PROGRESS_DELAY": "0"},
        stdin=subprocess.DEVNULL if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with process.stdout:
        said = []
        while data := os.read(process.stdout.fileno(), 65536):
            said.append(parser.feed(data))
    assert process.wait(30) == 0
    said.append(parser.end())
    return fractions(report for report in said if report is not None)


def assert_rises_to_the_end(found: list[float], least: int = 6) -> None:
    assert found == sorted(set(found))
    assert len(found) >= least, found
    assert found[-1] == 1.0
    assert found[-2] < 1.0


both = pytest.mark.parametrize("spec", ["named", "auto"])


@both
def test_rsync(program: Find, tmp_path: Path, spec: str) -> None:
    program("rsync")
    record.write_tree(tmp_path / "source", 30, MEBIBYTE // 4)
    command = ["rsync", "-a", "--bwlimit=6m", "--info=progress2", "source/", "target/"]
    assert_rises_to_the_end(run(tmp_path, command, "rsync" if spec == "named" else spec))


@both
def test_ffmpeg(program: Find, tmp_path: Path, spec: str) -> None:
    program("ffmpeg")
    record.write_video(tmp_path / "source.mkv", 40)
    command = ["ffmpeg", "-readrate", "25", "-i", "source.mkv", "-c:v", "mpeg4"]
    command += ["-stats_period", "0.1", "target.mp4"]
    assert_rises_to_the_end(run(tmp_path, command, "ffmpeg" if spec == "named" else spec))


@both
def test_curl(program: Find, tmp_path: Path, spec: str) -> None:
    program("curl")
    with record.serving() as address:
        command = ["curl", "-#", "-o", "target", f"{address}/3000000/3000000/file.dat"]
        assert_rises_to_the_end(run(tmp_path, command, "curl" if spec == "named" else spec))


def test_curl_with_its_meter(program: Find, tmp_path: Path) -> None:
    program("curl")
    with record.serving() as address:
        command = ["curl", "-o", "target", f"{address}/5500000/1000000/file.dat"]
        assert_rises_to_the_end(run(tmp_path, command, "curl"), least=5)


@both
def test_git(program: Find, tmp_path: Path, spec: str) -> None:
    program("git")
    record.write_repository(tmp_path / "origin", 150)
    command = ["git", "clone", "--progress", f"file://{tmp_path}/origin", "copy"]
    assert_rises_to_the_end(run(tmp_path, command, "git" if spec == "named" else spec))


@both
def test_pv(program: Find, tmp_path: Path, spec: str) -> None:
    program("pv")
    record.write_data(tmp_path / "source.dat", 4 * MEBIBYTE)
    command = ["sh", "-c", "pv -f -i 0.1 -L 4m source.dat > target"]
    assert_rises_to_the_end(run(tmp_path, command, "pv" if spec == "named" else spec))


def test_dd(program: Find, tmp_path: Path) -> None:
    program("dd")
    # dd reports once a second, so this takes six. What it reads comes as slowly as that.
    writer = (
        "import os, time\n"
        "for n in range(68):\n    os.write(1, bytes(65536))\n    time.sleep(0.09)\n"
    )
    with subprocess.Popen([sys.executable, "-c", writer], stdout=subprocess.PIPE) as source:
        assert source.stdout is not None
        command = ["dd", "of=target", "bs=64k", "count=68", "iflag=fullblock", "status=progress"]
        found = run(tmp_path, command, "dd", source.stdout.fileno())
    assert_rises_to_the_end(found)


@both
def test_tqdm(tmp_path: Path, spec: str) -> None:
    pytest.importorskip("tqdm")
    script = "import time, tqdm\nfor _ in tqdm.tqdm(range(40)): time.sleep(0.03)\n"
    command = [sys.executable, "-c", script]
    assert_rises_to_the_end(run(tmp_path, command, "tqdm" if spec == "named" else spec))
