"""A runner's ends on the disk: read back whole, or up to where the damage is."""

from __future__ import annotations

import os
import tempfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.model.job import Status
from aptask.model.orders import Ended, encode
from aptask.runner import spool as spool_module
from aptask.runner.spool import Header, Spool, is_over, read, remove


def end(number: int, message: str | None = None) -> Ended:
    return Ended(number, number, 1, Status.DONE, 1.5, message=message, exit=0)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path, "me")
    made.renew(())
    return made


def test_its_header_tells_the_process_from_all_others(spool: Spool, tmp_path: Path) -> None:
    header, ends = read(tmp_path, "me")
    assert ends == []
    assert header is not None
    assert (header.instance, header.pid) == ("me", os.getpid())
    assert header.boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    fields = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    assert header.started == int(fields[22 - 3])


def test_what_was_added_is_read_in_its_order(spool: Spool, tmp_path: Path) -> None:
    ends = [end(1), end(2, "a message\nof two lines: ä"), end(5)]
    for each in ends:
        spool.add(each)
    spool.sync()
    assert read(tmp_path, "me")[1] == ends
    assert spool.size == (tmp_path / "spool" / "me").stat().st_size


def test_it_belongs_to_the_account_alone(spool: Spool, tmp_path: Path) -> None:
    assert (tmp_path / "spool").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "spool" / "me").stat().st_mode & 0o777 == 0o600


def test_cut_back_it_holds_its_header_and_goes_on(spool: Spool, tmp_path: Path) -> None:
    size = spool.size
    spool.add(end(1))
    spool.cut()
    assert spool.size == size
    spool.add(end(2))
    header, ends = read(tmp_path, "me")
    assert header is not None
    assert ends == [end(2)]


def test_a_new_one_takes_the_place_of_the_one_before(spool: Spool, tmp_path: Path) -> None:
    spool.add(end(1))
    spool.renew([end(2)])
    spool.add(end(3))
    assert read(tmp_path, "me")[1] == [end(2), end(3)]
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["me"]


@pytest.mark.parametrize("call", ["write", "fdatasync", "rename"])
def test_where_a_new_one_cannot_be_made_the_one_before_is_as_it_was(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    spool.add(end(1))

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(spool_module.os, call, fail)
        with pytest.raises(OSError, match="No space"):
            spool.renew([end(2)])
    assert read(tmp_path, "me")[1] == [end(1)]
    assert [path.name for path in (tmp_path / "spool").iterdir()] == ["me"]


def test_no_spool_is_no_events_and_can_be_removed(tmp_path: Path) -> None:
    assert read(tmp_path, "nobody") == (None, [])
    remove(tmp_path, "nobody")


def test_one_that_is_removed_is_gone(spool: Spool, tmp_path: Path) -> None:
    remove(tmp_path, "me")
    assert read(tmp_path, "me") == (None, [])
    assert list((tmp_path / "spool").iterdir()) == []


def test_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "spool" / "me").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        read(tmp_path, "me")


def line(payload: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(payload), payload)


def test_fields_that_are_unknown_are_passed_over(tmp_path: Path) -> None:
    header = encode(Header("me", 1, "b", 2))[:-1] + b',"more":1}'
    ended = encode(end(1))[:-1] + b',"more":[1]}'
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "me").write_bytes(line(header) + line(ended))
    assert read(tmp_path, "me") == (Header("me", 1, "b", 2), [end(1)])


def test_what_is_no_end_is_where_it_ends(tmp_path: Path) -> None:
    header = line(encode(Header("me", 1, "b", 2)))
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "me").write_bytes(
        header + line(b'{"event": "new"}') + line(encode(end(1)))
    )
    assert read(tmp_path, "me") == (Header("me", 1, "b", 2), [])


@settings(deadline=None, max_examples=200)
@given(data=st.data())
def test_however_it_is_torn_or_damaged_no_end_is_invented_or_changed(data: st.DataObject) -> None:
    ends = [end(number, "x" * number) for number in range(1, 5)]
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name), "me")
        spool.renew(ends)
        spool.close()
        path = Path(name) / "spool" / "me"
        whole = path.read_bytes()
        starts = [0]
        for each in whole.splitlines(keepends=True):
            starts.append(starts[-1] + len(each))
        place = data.draw(st.integers(0, len(whole) - 1))
        if data.draw(st.booleans()):
            path.write_bytes(whole[:place])
        else:
            damaged = bytearray(whole)
            damaged[place] ^= data.draw(st.integers(1, 255))
            path.write_bytes(damaged)
        header, found = read(Path(name), "me")
    lines = sum(start <= place for start in starts[1:])  # that are whole before the damage
    assert (header is None) == (lines == 0)
    assert found == ends[: max(0, lines - 1)]


def test_a_runner_that_ended_in_order_says_so_last(tmp_path: Path) -> None:
    spool = Spool(tmp_path, "me")
    spool.renew([end(1)])
    assert not is_over(tmp_path, "me")
    spool.finish()
    spool.close()
    assert is_over(tmp_path, "me")
    assert read(tmp_path, "me")[1] == [end(1)]
    path = tmp_path / spool_module.FOLDER / "me"
    whole = path.read_bytes()
    for damaged in (whole[:-1], whole + b"torn", whole + b"torn\n", b"x" + whole, b""):
        path.write_bytes(damaged)
        assert is_over(tmp_path, "me") is (damaged == whole + b"torn")
    assert not is_over(tmp_path, "nobody")
