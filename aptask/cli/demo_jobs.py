"""What the demo runs: real work, made from nothing in a folder of its own.

Each task is a row of the list that `prepare` returns: its name and its arguments, just as a client
gives them. What this machine lacks is left out, and said.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

FILES, FILES_A_FOLDER = 2000, 50
LARGEST_FILE = 256 * 1024
VIDEO_SECONDS = 15

SCRIPT = """
for percent in $(seq -w 5 5 95); do
    echo "{\\"progress\\": 0.$percent, \\"message\\": \\"a shell script at $percent%\\"}" >&3
    sleep 0.2
done
echo "a shell script can do it too"
"""
"""A shell script that tells how far it is: a line of JSON to the descriptor 3."""


class Job(NamedTuple):
    """A task to be started, and its arguments by name."""

    name: str
    arguments: dict[str, Any]


def prepare(work: Path, leave_out: Callable[[str], None]) -> list[Job]:
    """Make what the tasks work on.

    Args:
        work: the folder for it, and for what comes of it.
        leave_out: is told what is left out, and why.

    Returns:
        What to start, in this order.
    """
    jobs = []
    if _installed("rsync", "copy", leave_out):
        jobs.append(_copy(work))
    if _installed("ffmpeg", "transcode", leave_out):
        jobs.append(_transcode(work))
    jobs.append(Job("primes", {"below": 300_000_000}))
    jobs.append(Job("program", {"command": ["sh", "-c", SCRIPT]}))
    jobs.append(Job("sleep", {"seconds": 3}))
    if _installed("git", "clone", leave_out):
        repository = Path(__file__).resolve().parents[2]
        if _is_repository(repository):
            target = str(work / "clone")
            jobs.append(Job("clone", {"url": f"file://{repository}", "target": target}))
        else:
            leave_out(f"{repository} is no git repository: clone is left out")
    jobs.append(Job("primes", {"below": 1_000_000_000}))
    return jobs


def _copy(work: Path) -> Job:
    """Copy a tree of 2,000 files, of half a gigabyte where there is room for it."""
    source = work / "files"
    size = min(LARGEST_FILE, shutil.disk_usage(work).free // (4 * FILES))
    content = os.urandom(size)
    for number in range(FILES):
        folder = source / f"folder-{number // FILES_A_FOLDER}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"file-{number}").write_bytes(content)
    return Job("copy", {"source": f"{source}/", "target": str(work / "copied")})


def _transcode(work: Path) -> Job:
    """Convert a video of ffmpeg's test picture."""
    source = work / "video.avi"
    picture = f"testsrc2=duration={VIDEO_SECONDS}:size=1280x720:rate=30"
    subprocess.run(
        ["ffmpeg", "-loglevel", "error", "-f", "lavfi", "-i", picture, "-vcodec", "mpeg4", source],
        stdin=subprocess.DEVNULL,
        check=True,
    )
    return Job("transcode", {"source": str(source), "target": str(work / "video.mp4")})


def _installed(program: str, task: str, leave_out: Callable[[str], None]) -> bool:
    if shutil.which(program) is not None:
        return True
    leave_out(f"{program} is not installed: {task} is left out")
    return False


def _is_repository(folder: Path) -> bool:
    """Whether git itself can clone from a folder; it refuses those of other accounts."""
    asked = subprocess.run(["git", "ls-remote", "--quiet", f"file://{folder}"], capture_output=True)
    return asked.returncode == 0
