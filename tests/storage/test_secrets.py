"""Secrets are in the files while their job has not ended, and nowhere afterwards."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from aptask.model.job import Change, Job, Outcome, Status, change
from aptask.storage import writer
from aptask.storage.rows import PADDING, PAGE_BYTES, pad, unpad


def new(secret: bytes) -> Job:
    return Job(id=0, task="t", owner="o", arguments=b'{"p":null}', secrets=secret, created=1.0)


def written(folder: Path) -> set[int]:
    """The numbers of the secrets that are in any file."""
    found: set[int] = set()
    for path in folder.glob("aptask.db*"):
        found.update(map(int, re.findall(rb"hush(\d{6})", path.read_bytes())))
    return found


def test_they_are_gone_after_the_end_whatever_was_moved_meanwhile(
    bench: Any, tmp_path: Path
) -> None:
    store = bench.store()
    dice = random.Random(4)
    living: list[Job] = []
    made = 0
    for _ in range(300):
        asked = []
        for _ in range(dice.randrange(1, 8)):
            made += 1
            job = new(b"hush%06d" % made * dice.choice((1, 3, 300, 800)))
            asked.append((job, store.add(job)))
        for job, added in asked:
            job.id = bench.result(added).id
            living.append(job)
        for _ in range(dice.randrange(0, min(9, len(living)))):
            job = living.pop(dice.randrange(len(living)))
            change(job, Change.LAUNCH, 2.0)
            change(
                job,
                Change.FINISH,
                3.0,
                Outcome(Status.DONE, result=b'"%s"' % (b"x" * dice.randrange(500))),
            )
            store.update(job)
        if dice.random() < 0.1:
            bench.result(store.prune(1e12, 100))
    expected = {int((job.secrets or b"")[4:10]) for job in living}
    bench.close(store)
    assert written(tmp_path) == expected
    store = bench.store()
    for job in living:
        change(job, Change.STOP, 3.0)
        last = store.update(job)
    bench.result(last)
    bench.close(store)
    assert written(tmp_path) == set()


@pytest.mark.parametrize("busy", [False, True])
def test_they_are_gone_soon_after_the_end_while_the_store_is_open(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    monkeypatch.setattr(writer, "SCRUB_SECONDS", 1000.0 if busy else 0.001)
    monkeypatch.setattr(writer, "GROUPS_BETWEEN_SCRUBS", 20)
    store = bench.store()
    job = new(b"hush000001")
    job.id = bench.result(store.add(job)).id
    assert written(tmp_path) == {1}
    change(job, Change.STOP, 2.0)
    bench.result(store.update(job))
    turns = 0
    while written(tmp_path):
        bench.result(store.get(job.id) if busy else store.size())
        turns += 1
        assert turns < 100_000
    bench.close(store)


@pytest.mark.parametrize("length", [0, 1, 3000, 4064, 4065, 4066, 4092, 4096, 9000, 100_000])
def test_a_secret_is_padded_beyond_its_rows_page(length: int) -> None:
    secret = b"s" * length
    stored = pad(secret)
    assert unpad(stored) == secret
    assert stored[:PADDING] == bytes(PADDING)
    # What SQLite's file format says of what stays in the row's page.
    usable = PAGE_BYTES
    for header in range(4, 15):
        payload = header + len(stored)
        least = (usable - 12) * 32 // 255 - 23
        kept = least + (payload - least) % (usable - 4)
        if kept > usable - 35:
            kept = least
        assert kept - header <= PADDING
