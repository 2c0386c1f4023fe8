"""A full disk fails closed: nothing acknowledged is lost, and with room again all is well."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.model.job import Status
from aptask.model.orders import Ended, encode
from aptask.runner import spool
from aptask.storage.folder import lock
from tests.promises.small import small_daemons
from tests.promises.test_acknowledged import layers, note, shown  # noqa: F401 (a fixture)

MEGABYTE = 1 << 20
FAULTS = 30
FULL = "the disk is full: there is no room"


class SmallDisk:
    """A file system of a few megabytes.

    Attributes:
        folder: its root.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, spared: int = 0) -> None:
        """Leave no byte of room, or so many."""
        left = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
        with self._ballast.open("ab", buffering=0) as file:
            try:
                for _ in range(max(0, left - spared) // 4096):
                    file.write(bytes(4096))
            except OSError:
                assert not spared

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)


@pytest.fixture
def disk(tools: Any) -> Iterator[SmallDisk]:
    with (
        tempfile.TemporaryDirectory(prefix="aptask-") as folder,
        tools.small_disk(Path(folder), "6m"),
    ):
        yield SmallDisk(Path(folder))


@pytest.fixture
def daemon(daemons: Callable[..., Any], disk: SmallDisk) -> Iterator[Any]:
    """A daemon with its data folder on the small disk."""
    made = daemons("--slots", "3", data=disk.folder / "data")
    yield made
    disk.empty()
    made.stop()


def start(daemon: Any, once: str, *command: str) -> dict[str, Any]:
    arguments = [list(command) or ["true", once, "x" * 1000]]
    answer: dict[str, Any] = daemon.ask("start", name="program", arguments=arguments, once=once)
    return answer


def start_until_refused(daemon: Any, name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """What was acknowledged, by taskid, and how the first was refused."""
    acknowledged: dict[str, str] = {}
    while True:
        once = f"{name} {len(acknowledged)}"
        answer = start(daemon, once)
        if answer["status"] == "error":
            return acknowledged, answer
        acknowledged[answer["taskid"]] = once


def check(daemon: Any, acknowledged: dict[str, str]) -> None:
    for taskid, once in acknowledged.items():
        answer = daemon.ask("show", taskid=taskid)
        assert answer["status"] == "ok", f"acknowledged, and lost: {once}"
        assert answer["task"]["arguments"]["command"][1] == once


class Job:
    """A program that writes when it is told to, and ends when it is told to."""

    def __init__(self, daemon: Any, tools: Any, folder: Path) -> None:
        self._daemon, self._tools, self._folder = daemon, tools, folder
        folder.mkdir()
        script = (
            f"cd {folder}; echo begun; echo $$ > pid; mv pid begun;"
            " while [ ! -e end ]; do"
            "  [ -e write ] && yes written | head -c $(cat write) && rm write;"
            "  sleep 0.02;"
            " done; touch ended; exit 3"
        )
        answer = start(daemon, folder.name, "sh", "-c", script)
        assert answer["status"] == "ok", answer
        self.taskid = answer["taskid"]
        self._wait_for("begun")
        self.pid = int((folder / "begun").read_text())

    def write(self, size: int) -> None:
        (self._folder / "size").write_text(f"{size}")
        (self._folder / "size").rename(self._folder / "write")
        self._tools.wait_until(lambda: not (self._folder / "write").exists(), "it has written")

    def end(self) -> None:
        (self._folder / "end").touch()
        self._wait_for("ended")

    def _wait_for(self, name: str) -> None:
        self._tools.wait_until((self._folder / name).exists, name)

    def waited(self, seconds: float) -> dict[str, Any]:
        answer: dict[str, Any] = self._daemon.ask("wait", taskid=self.taskid, timeout=seconds)
        return answer

    def output(self) -> str:
        text, offset = "", 0
        while True:
            piece = self._daemon.ask("output", taskid=self.taskid, offset=offset, limit=MEGABYTE)
            text, offset = text + piece["text"], piece["offset"]
            if piece["end"] or not piece["text"]:
                return text


def test_without_room_a_start_is_refused_and_with_room_all_is_well_without_a_restart(
    daemon: Any, disk: SmallDisk
) -> None:
    acknowledged: dict[str, str] = {}
    for turn in range(3):
        disk.fill(spared=100_000 * turn)
        more, refusal = start_until_refused(daemon, f"turn {turn}")
        acknowledged |= more
        assert refusal["code"] == "unavailable"
        assert refusal["message"] == f"{FULL} for more in {daemon.data}"
        assert start(daemon, f"turn {turn} {len(more)}")["code"] == "unavailable"
        assert daemon.ask("ping")["status"] == daemon.ask("active")["status"] == "ok"
        check(daemon, acknowledged)
        disk.empty()
        answer = start(daemon, f"turn {turn} {len(more)}")
        assert "existing" not in answer
        acknowledged[answer["taskid"]] = f"turn {turn} {len(more)}"
    last = max(acknowledged, key=int)
    assert daemon.ask("wait", taskid=last, timeout=30)["task"]["status"] == "done"
    daemon.kill()
    daemon.start()
    check(daemon, acknowledged)
    assert "existing" in start(daemon, acknowledged[last])
    assert int(last) == len(acknowledged)  # and nothing that was refused is there


def test_what_runs_goes_on_without_room_and_its_cut_output_and_its_end_are_told_when_there_is_some(
    daemon: Any, disk: SmallDisk, tools: Any, tmp_path: Path
) -> None:
    jobs = [Job(daemon, tools, tmp_path / name) for name in "ab"]
    tools.wait_until(lambda: all(job.output() == "begun\n" for job in jobs), "both have begun")
    disk.fill()
    acknowledged, _ = start_until_refused(daemon, "meanwhile")
    disk.fill()
    jobs[0].write(100_000)
    jobs[0].end()
    assert not jobs[1].waited(0)["ended"]
    disk.empty()
    answer = jobs[0].waited(30)
    assert answer["ended"]
    task = answer["task"]
    assert (task["status"], task["exit"]) == ("error", 3)
    assert "its output is cut: No space left on device" in task["message"]
    assert "[aptask: output is cut here: No space left on device]"[-20:] in jobs[0].output()
    # The other one has missed nothing.
    jobs[1].write(100_000)
    jobs[1].end()
    task = jobs[1].waited(30)["task"]
    assert (task["status"], task["exit"]) == ("error", 3)
    assert "cut" not in task["message"]
    assert jobs[1].output().startswith("begun\nwritten\nwritten\n")
    check(daemon, acknowledged)
    for taskid in acknowledged:
        assert daemon.ask("wait", taskid=taskid, timeout=30)["task"]["status"] == "done"


def test_output_that_fills_the_disk_ends_with_a_line_that_says_so(
    daemon: Any, disk: SmallDisk, tools: Any, tmp_path: Path
) -> None:
    job = Job(daemon, tools, tmp_path / "a")
    disk.fill(spared=MEGABYTE)
    job.write(8 * MEGABYTE)
    job.end()
    disk.empty()
    assert "its output is cut: No space left" in job.waited(30)["task"]["message"]
    output = job.output()
    assert output.startswith("begun\nwritten\nwritten\n")
    assert output.endswith("\n[aptask: output is cut here: No space left on device]\n")
    assert len(output) > MEGABYTE // 2


def test_an_end_without_room_and_without_a_daemon_is_recorded_by_the_next_that_has_room(
    daemon: Any, disk: SmallDisk, tools: Any, tmp_path: Path
) -> None:
    jobs = [Job(daemon, tools, tmp_path / name) for name in "ab"]
    disk.fill()
    acknowledged, _ = start_until_refused(daemon, "before")
    disk.fill()
    daemon.kill()
    jobs[0].end()
    with pytest.raises(AssertionError) as refused:
        daemon.start()
    assert daemon.process.returncode == 1
    says = str(refused.value)
    assert f"aptask: {FULL} in {daemon.data} to open aptask.db: nothing was changed;" in says
    assert "make room, and start again" in says
    assert "damaged" not in says
    disk.empty()
    daemon.start()
    task = jobs[0].waited(30)["task"]
    assert (task["status"], task["exit"], task["attempt"]) == ("error", 3, 1)
    assert not jobs[1].waited(0)["ended"]
    jobs[1].end()
    assert jobs[1].waited(30)["task"]["exit"] == 3
    check(daemon, acknowledged)


def line_of_spool(message: str) -> bytes:
    """An end that no daemon applies."""
    payload = encode(Ended(0, 999, 1, Status.DONE, 0.0, message=message, exit=0))
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def test_an_end_that_the_runner_had_no_room_for_outlives_it_too_once_there_is_some(
    daemon: Any, disk: SmallDisk, tools: Any, tmp_path: Path
) -> None:
    job = Job(daemon, tools, tmp_path / "a")
    runner, spools = daemon.runner, daemon.data / "spool"
    disk.fill()
    daemon.kill()
    # A spool has its first page already: that has to be full, too.
    [path] = spools.iterdir()
    before = path.read_bytes()
    empty = line_of_spool("")
    path.write_bytes(before + line_of_spool("x" * (4096 - len(before) - len(empty))))
    assert path.stat().st_size == 4096
    job.end()
    tools.wait_until(lambda: not Path(f"/proc/{job.pid}").exists(), "the runner has heard of it")
    disk.empty()

    def is_kept() -> bool:
        return any(end.exit == 3 for end in spool.read(daemon.data, path.name)[1])

    tools.wait_until(is_kept, "the runner has written it")
    os.kill(runner, signal.SIGKILL)
    daemon.start()
    task = job.waited(30)["task"]
    assert (task["status"], task["exit"], task["attempt"]) == ("error", 3, 1)


def test_a_daemon_that_was_stopped_starts_without_room_and_takes_tasks_when_there_is_some(
    daemon: Any, disk: SmallDisk
) -> None:
    acknowledged = {start(daemon, "kept")["taskid"]: "kept"}
    daemon.stop()
    disk.fill()
    daemon.start()
    check(daemon, acknowledged)
    more, refusal = start_until_refused(daemon, "new")
    assert refusal["message"] == f"{FULL} for more in {daemon.data}"
    disk.empty()
    answer = start(daemon, "again")
    assert answer["status"] == "ok"
    check(daemon, acknowledged | more)
    # A runner comes when it can keep what it has to, whenever that is.
    assert daemon.ask("wait", taskid=answer["taskid"], timeout=30)["task"]["status"] == "done"


def test_a_first_start_without_room_says_so_and_leaves_nothing_that_hinders_the_next(
    disk: SmallDisk, tools: Any, daemons: Callable[..., Any]
) -> None:
    data = disk.folder / "data"
    data.mkdir(mode=0o700)
    disk.fill()
    words = ["-n", "--pidfile=", "--logfile=/dev/null", "aptask", "--data", data]
    finished = subprocess.run(
        [*tools.twistd(), *words, "--listen", f"unix:{data}/aptask.sock"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == 1
    [sentence] = finished.stderr.splitlines()
    assert sentence.startswith(f"aptask: {data}/local.key cannot be written: No space left")
    disk.empty()
    daemon = daemons(data=data)
    assert start(daemon, "first")["taskid"] == "1"
    daemon.stop()


def test_who_holds_a_data_folder_needs_no_room(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to("/dev/full")
    with lock(tmp_path), (tmp_path / "lock").open() as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


# A disk of which single writes and syncs fail


@pytest.mark.parametrize("forever", [False, True], ids=["one fails", "all fail from there on"])
def test_whichever_write_or_sync_fails_nothing_that_was_acknowledged_is_missing_afterwards(
    folder: Path,
    layers: str,  # noqa: F811
    forever: bool,
) -> None:
    library = layers.split()[1]
    environment = {"LD_PRELOAD": library, "DISK_PREFIX": str(folder)}
    refusals = 0
    with small_daemons(folder, environment) as small:
        for fails in range(1, FAULTS + 1):
            data = folder / f"{fails} {forever}"
            data.mkdir()
            small.start(data, fails=fails, forever=forever)
            requests = [
                {"request": "start", "once": f"{n}", **note(f"text {n}")} for n in range(12)
            ]
            acknowledged, refused = {}, []
            for request in requests:
                [answer] = small.ask(request)
                if answer["status"] == "ok":
                    acknowledged[answer["taskid"]] = request["arguments"]["text"]
                else:
                    assert answer["code"] == "unavailable"
                    refused.append(request)
            refusals += len(refused)
            small.kill()
            small.start(data)
            for task in shown(small.ask, list(acknowledged)):
                assert task["arguments"]["text"] == acknowledged[task["taskid"]]
            repeated = small.ask(*refused)
            taskids = {answer["taskid"] for answer in repeated}
            assert len(taskids | acknowledged.keys()) == len(requests)
            # One was written whole; that it was not synced, and could not be taken back, is all.
            assert sum("existing" in answer for answer in repeated) <= forever
            small.kill()
    assert refusals > FAULTS / 4
