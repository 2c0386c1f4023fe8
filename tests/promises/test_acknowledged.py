"""Acknowledged means on disk: what a client was told is there, whenever the daemon was killed.

`APTASK_ROUNDS` is how often the small daemon is killed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.promises.small import Crowd, Small, after, small_daemons
from tests.storage.test_disk import Disk, read_log

HERE = Path(__file__).parent
ROUNDS = int(os.environ.get("APTASK_ROUNDS", "200"))
ROUNDS_A_BOOK = 25
"""How often one queue goes through that: what is in it is checked at each start."""
REAL_ROUNDS = 15
DEPTHS = (1, 1, 20, 3)
LONGEST = 0.03
"""Seconds that a small daemon is asked."""
TOLD = 1500
POWER_CUTS = 60


@pytest.fixture
def small(folder: Path) -> Iterator[Small]:
    with small_daemons(folder) as made:
        yield made


def note(text: str) -> dict[str, Any]:
    return {"name": "note", "arguments": {"text": text, "password": "hush"}}


def shown(ask: Callable[..., list[dict[str, Any]]], taskids: list[str]) -> list[dict[str, Any]]:
    answers = ask(*({"request": "show", "taskid": taskid} for taskid in taskids))
    missing = [
        taskid for taskid, each in zip(taskids, answers, strict=True) if each["status"] != "ok"
    ]
    assert not missing, f"acknowledged, and lost: {missing}"
    return [each["task"] for each in answers]


def check(ask: Callable[..., list[dict[str, Any]]], acknowledged: dict[str, str]) -> None:
    for task in shown(ask, list(acknowledged)):
        assert task["name"] == "note"
        assert task["arguments"]["text"] == acknowledged[task["taskid"]]


def test_no_acknowledged_task_is_missing_however_often_the_daemon_is_killed(small: Small) -> None:
    rounds, books = 0, small.data
    told = repeated = existing = 0
    while rounds < ROUNDS:
        small.data = books / str(rounds)
        small.data.mkdir()
        crowd = Crowd(note)
        kill_often(small, crowd, min(ROUNDS_A_BOOK, ROUNDS - rounds))
        rounds += ROUNDS_A_BOOK
        told += len(crowd.acknowledged)
        repeated += crowd.repeated
        existing += crowd.existing
    assert told > ROUNDS
    print(
        f"{ROUNDS} kills: {told} tasks acknowledged, none missing; {repeated} requests repeated, of"
        f" which {existing} had been carried out, each once"
    )


def kill_often(small: Small, crowd: Crowd, rounds: int) -> None:
    dice = random.Random()
    small.start()
    for _ in range(rounds):
        before = len(crowd.acknowledged)
        crowd.run(small.connect, DEPTHS, after(dice.uniform(0, LONGEST), small.kill))
        small.start()
        latest = list(crowd.acknowledged)[before:]
        check(small.ask, {taskid: crowd.acknowledged[taskid] for taskid in latest})
    unanswered = crowd.unanswered
    answers = small.ask(*({"request": "start", "once": text, **note(text)} for text in unanswered))
    for text, answer in zip(unanswered, answers, strict=True):
        crowd.acknowledged[answer["taskid"]] = text
    check(small.ask, crowd.acknowledged)
    # Each that was asked for, with an answer or at first without, is there once, and nothing else.
    assert len(crowd.acknowledged) == len(set(crowd.acknowledged.values())) == crowd.texts
    [last] = small.ask({"request": "start", **note("last")})
    assert int(last["taskid"]) == crowd.texts + 1
    small.kill()


def test_no_acknowledged_task_is_missing_when_the_whole_daemon_is_killed(
    daemons: Callable[..., Any],
) -> None:
    dice = random.Random()
    daemon = daemons("--slots", "2")
    crowd = Crowd(
        lambda text: {"name": "program", "arguments": [["sh", "-c", ":", text]]}, daemon.admin_key
    )

    def ask(*requests: dict[str, Any]) -> list[dict[str, Any]]:
        return [daemon.ask(**request) for request in requests]

    for _ in range(REAL_ROUNDS):
        crowd.run(daemon.connect, DEPTHS, after(dice.uniform(0, 0.1), daemon.kill))
        daemon.start()
    tasks = shown(ask, list(crowd.acknowledged))
    assert [task["arguments"]["command"][3] for task in tasks] == list(crowd.acknowledged.values())
    assert len(crowd.acknowledged) > REAL_ROUNDS


# Power cuts


@pytest.fixture
def layers(program: Callable[[str], str], tmp_path: Path) -> str:
    """What stands before the disk and before the sockets."""
    made = []
    for source in (HERE / "sends.c", HERE.parent / "storage" / "disk.c"):
        library = tmp_path / f"{source.stem}.so"
        command = [program("cc"), "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"]
        subprocess.run(command, check=True)
        made.append(str(library))
    return " ".join(made)


def test_what_a_client_was_told_survives_a_power_cut_at_any_moment(
    folder: Path, layers: str, tmp_path: Path
) -> None:
    data, log = folder / "certain", tmp_path / "log"
    data.mkdir()
    with small_daemons(data) as small:
        small.start()
        small.kill()
    endings = ("", "-mark")
    start = {name: (data / f"aptask.db{name}").read_bytes() for name in endings}
    # What the first daemon has left in the -wal is on disk, too.
    start["-wal"] = (data / "aptask.db-wal").read_bytes()
    environment = {
        "LD_PRELOAD": layers,
        "DISK_PREFIX": str(data / "aptask.db"),
        "DISK_LOG": str(log),
    }
    crowd = Crowd(note)
    with small_daemons(data, environment) as small:
        small.start(wal_frames=100)

        def enough() -> bool:
            if len(crowd.acknowledged) < TOLD:
                return False
            small.kill()
            return True

        crowd.run(small.connect, DEPTHS, enough)
    calls = list(read_log(log))
    assert {call.name for call in calls if call.kind == "s"} >= {"", "-wal"}, "no checkpoint"
    dice = random.Random()
    cuts = set(dice.sample(range(len(calls)), POWER_CUTS))
    files = Disk(start)
    told: dict[str, str] = {}
    with small_daemons(folder) as small:
        for place, call in enumerate(calls):
            if call.kind == "a":
                for line in call.content.splitlines():
                    taskid = json.loads(line)["taskid"]
                    # Where the client has not taken it, it is what it would have been told.
                    told[taskid] = crowd.acknowledged.get(taskid, "")
            else:
                files.do(call)
            if place not in cuts:
                continue
            cut_off = folder / f"cut at {place}"
            cut_off.mkdir()
            for name, content in files.after_power_cut(dice, dice.choice((0.0, 0.5, 1.0))).items():
                (cut_off / f"aptask.db{name}").write_bytes(content)
            small.start(cut_off)
            check(small.ask, {taskid: text for taskid, text in told.items() if text})
            small.kill()
    assert told.keys() >= crowd.acknowledged.keys()
