"""A damaged store is refused with a sentence, and nothing of it is touched."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from aptask.model.event import Event, Level
from aptask.model.group import GroupSetting
from aptask.model.history import Wanted
from aptask.model.job import Change, Job, Outcome, Status, change
from aptask.model.key import Key
from aptask.storage import mark
from aptask.storage.examine import SCHEMA_VERSION

NOBODY = 65534


def prints(folder: Path) -> dict[str, str]:
    """What is in a folder, byte for byte."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.iterdir()
    }


def fill(bench: Any, store: Any, count: int = 300) -> None:
    for number in range(count):
        job = Job(
            id=0,
            task=f"task{number % 7}",
            owner="alice",
            arguments=b'{"path":"/home/alice/%d"}' % number,
            secrets=b'{"password":"hush"}' if number % 10 == 0 else None,
            created=float(number),
        )
        job.id = bench.result(store.add(job, once=f"once{number}" if number % 3 == 0 else None)).id
        if number % 5 == 1:
            change(job, Change.LAUNCH, 5.0)
            bench.result(store.update(job))
            change(job, Change.FINISH, 6.0, Outcome(Status.DONE, "well", 0, b"[1]"))
            bench.result(store.update(job))


@pytest.fixture
def closed(bench: Any) -> Path:
    """The database of a store that was closed."""
    store = bench.store()
    fill(bench, store)
    bench.result(store.log([Event(Level.ERROR, "a fault")]))
    bench.result(store.add_key(Key("amy", "user", bytes(32))))
    bench.result(store.set_group("gpu", GroupSetting(3)))
    bench.close(store)
    return bench.path


@pytest.fixture
def cut_off(bench: Any, tmp_path: Path) -> Path:
    """The database of a store of which the process was killed: it has a -wal."""
    living, folder = tmp_path / "living", tmp_path / "killed"
    living.mkdir()
    store = bench.store(path=living / "aptask.db")
    fill(bench, store, 40)
    shutil.copytree(living, folder)  # what a killed process leaves is what is there now
    bench.close(store)
    assert (folder / "aptask.db-wal").stat().st_size > 50 * 4096
    return folder / "aptask.db"


@pytest.fixture
def refused(bench: Any) -> Callable[[Path], str]:
    """The one sentence with which a store is refused, untouched."""

    def refuse(path: Path) -> str:
        before = prints(path.parent)
        sentence: str = bench.refused(path)
        assert prints(path.parent) == before
        assert str(path) in sentence
        assert "\n" not in sentence
        return sentence

    return refuse


def alter(path: Path, place: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(content)


def flip(path: Path, place: int) -> None:
    alter(path, place, bytes([path.read_bytes()[place] ^ 0x10]))


def test_what_is_whole_opens(bench: Any, closed: Path, cut_off: Path) -> None:
    for path, count in ((closed, 300), (cut_off, 40)):
        store = bench.store(path=path)
        assert bench.result(store.counts()).next == count + 1
        bench.close(store)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id)")


def a_newer_one(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def of_another_time(path: Path) -> None:
    """The state before its last transaction, as a careless backup puts it back."""
    content = mark.read(path.with_name("aptask.db-mark"))
    assert content is not None
    mark.Mark(path.with_name("aptask.db-mark"), content[0], content[1] + 1).close()


def change_value(path: Path, table: str, what: str) -> None:
    """As a flipped bit does, which SQLite does not notice."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"UPDATE {table} SET {what}")
        connection.commit()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "cut short"),
        (lambda path: path.write_bytes(b"x" * 20_000), "does not begin as a database does"),
        (lambda path: path.write_bytes(random.Random(1).randbytes(20_000)), "does not begin"),
        (lambda path: os.truncate(path, 50), "cut short"),
        (lambda path: os.truncate(path, 4096), "cut short"),
        (lambda path: os.truncate(path, path.stat().st_size - 4096), "cut short"),
        (lambda path: os.truncate(path, path.stat().st_size - 1), "cut short"),
        (lambda path: alter(path, 8192, bytes(4096)), "is damaged"),
        (a_folder, "is a folder"),
        (a_link, "special file or link"),
        (another_database, "is not a database of aptask"),
        (a_newer_one, "newer aptask"),
        (of_another_time, "transactions"),
        (lambda path: change_value(path, "log_tasking", "time = time + 1"), "event 1 is"),
        (lambda path: change_value(path, "log_tasking", "entries = '[]'"), "event 1 is"),
        (lambda path: change_value(path, "log_others", "level = 2"), "event 421 is"),
        (lambda path: change_value(path, "keys", "value = zeroblob(5000)"), "a key is"),
        (lambda path: change_value(path, "groups", "paused = 1"), "the group 'gpu' is"),
        (lambda path: change_value(path, "meta", "next_event = 3"), "its own description is"),
        (lambda path: path.with_name("aptask.db-mark").unlink(), "-mark, which belongs to"),
        (lambda path: path.with_name("aptask.db-mark").write_bytes(b"x"), "-mark is damaged"),
        (lambda path: flip(path.with_name("aptask.db-mark"), 50), "-mark is damaged"),
        (lambda path: path.with_name("aptask.db-wal").mkdir(), "-wal is a folder"),
    ],
)
def test_each_damage_is_refused_and_left_as_it_is(
    closed: Path, refused: Any, damage: Any, says: str
) -> None:
    damage(closed)
    assert says in refused(closed)


def remove_wal(wal: Path) -> None:
    wal.unlink()


def restart_wal(wal: Path) -> None:
    """A -wal with another beginning: SQLite takes nothing of it."""
    flip(wal, 20)


@pytest.mark.parametrize(
    "damage",
    [
        remove_wal,
        restart_wal,
        lambda wal: os.truncate(wal, 0),
        lambda wal: os.truncate(wal, wal.stat().st_size // 2),
        lambda wal: os.truncate(wal, wal.stat().st_size - 1),
        lambda wal: wal.write_bytes(random.Random(2).randbytes(200_000)),
        lambda wal: flip(wal, 32 + 10),
        lambda wal: flip(wal, wal.stat().st_size // 2),
        lambda wal: flip(wal, wal.stat().st_size - 1),
    ],
)
def test_a_wal_that_is_not_whole_is_missed(cut_off: Path, refused: Any, damage: Any) -> None:
    damage(cut_off.with_name("aptask.db-wal"))
    assert "transactions, since its aptask.db-wal is missing" in refused(cut_off)


def test_the_wal_of_another_store_is_refused(
    bench: Any, closed: Path, cut_off: Path, refused: Any, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    store = bench.store(path=other / "aptask.db")
    fill(bench, store, 40)
    shutil.copy(other / "aptask.db-wal", cut_off.with_name("aptask.db-wal"))
    shutil.copy(other / "aptask.db-wal", closed.with_name("aptask.db-wal"))
    bench.close(store)
    assert "do not belong together" in refused(cut_off)
    assert "nothing was changed" in refused(closed)


def test_a_person_can_accept_what_is_left(bench: Any, cut_off: Path, refused: Any) -> None:
    remove_wal(cut_off.with_name("aptask.db-wal"))
    assert f"make {cut_off}-mark an empty file" in refused(cut_off)
    cut_off.with_name("aptask.db-mark").write_bytes(b"")
    store = bench.store(path=cut_off)
    following = bench.result(store.counts()).next
    assert following < 41
    bench.close(store)
    bench.close(bench.store(path=cut_off))
    assert cut_off.with_name("aptask.db-mark").stat().st_size > 0


def test_a_flipped_bit_anywhere_is_refused_or_was_in_nothing_that_is_kept(
    bench: Any, closed: Path, tmp_path: Path
) -> None:
    store = bench.store()
    numbers = range(1, 301)

    def kept(store: Any) -> list[Any]:
        asked = store.get_many(numbers), store.read_log(0, 10_000, None), store.keys()
        return [*map(bench.result, (*asked, store.groups(), store.history(Wanted(), 1000)))]

    bench.result(store.add_key(Key("bob", "user", bytes(32), ("copy",))))
    bench.result(store.set_group("gpu", GroupSetting(3)))
    whole = kept(store)
    bench.close(store)
    pristine = {path: path.read_bytes() for path in tmp_path.glob("aptask.db*")}
    size = closed.stat().st_size
    dice = random.Random(3)
    refusals = 0
    for _ in range(300):
        place = dice.randrange(size)
        flip(closed, place)
        before = prints(tmp_path)
        again = bench.attempt()
        if again is None:
            refusals += 1
            assert prints(tmp_path) == before
        else:
            assert kept(again) == whole, place
            assert bench.result(again.add(fresh(), once="once3")).existing
            bench.close(again)
        for path, content in pristine.items():
            path.write_bytes(content)
    # The others were in pages' unused parts, and in the padding of secrets.
    assert refusals > 100


def fresh() -> Job:
    return Job(id=0, task="task0", owner="alice", arguments=b"{}", created=1.0)


# Not to be had


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Without root's rights."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def public(closed: Path) -> Iterator[Path]:
    """A database in a folder that everyone may use."""
    with tempfile.TemporaryDirectory(prefix="aptask-") as name:
        folder = Path(name)
        for path in closed.parent.glob("aptask.db*"):
            shutil.copy(path, folder)
        os.chmod(folder, 0o777)
        yield folder / "aptask.db"


@pytest.mark.parametrize("ending", ["", "-mark"])
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_without_permission_it_says_who_must_have_it(
    bench: Any, public: Path, request: pytest.FixtureRequest, ending: str, mode: int
) -> None:
    for path in public.parent.iterdir():
        path.chmod(0o666)
    before = prints(public.parent)
    public.with_name(public.name + ending).chmod(mode)
    request.getfixturevalue("as_nobody")
    sentence = bench.refused(public)
    assert f"{public}{ending} cannot be read and written: Permission denied" in sentence
    assert "account of the daemon" in sentence
    if os.getuid() == 0:
        os.seteuid(0)
    public.with_name(public.name + ending).chmod(0o666)
    assert prints(public.parent) == before


def test_a_new_one_that_cannot_be_made_says_why(bench: Any, tmp_path: Path) -> None:
    sentence = bench.refused(tmp_path / "nowhere" / "aptask.db")
    assert sentence.endswith("cannot be made: No such file or directory")


def test_another_program_that_holds_it_is_named_as_the_reason(bench: Any, closed: Path) -> None:
    with closing(sqlite3.connect(closed, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("UPDATE meta SET applied = applied")
        sentence = bench.refused(closed)
    assert "held by another program" in sentence


# Being made


def test_what_was_being_made_when_the_power_failed_is_made_anew(bench: Any) -> None:
    new = bench.path.with_name("aptask.db.new")
    new.write_bytes(b"half of it")
    new.with_name("aptask.db.new-journal").write_bytes(b"some of that")
    bench.store()
    assert not new.exists()


def test_one_that_was_made_and_never_written_to_needs_no_mark(bench: Any) -> None:
    bench.close(bench.store())
    bench.path.with_name("aptask.db-mark").unlink()
    bench.store()


def test_its_files_are_for_its_owner_alone(bench: Any) -> None:
    bench.store()
    for path in bench.path.parent.glob("aptask.db*"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def test_nothing_of_looking_stays(bench: Any, cut_off: Path) -> None:
    bench.close(bench.store(path=cut_off))
    assert {path.name for path in cut_off.parent.iterdir()} == {"aptask.db", "aptask.db-mark"}
