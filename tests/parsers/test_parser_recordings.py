"""Every parser on what the real programs wrote (tests/record.py), however it is cut."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aptask.parsers import NAMES, make_parser
from tests.parsers.feeding import RECORDINGS, bytewise, feed, fractions, pieces
from tests.record import CASES


@dataclass(frozen=True)
class Recording:
    """What is expected of one recording.

    Attributes:
        name: of its file.
        rising: the least number of different fractions when it is fed byte by byte.
        message: an expression that the last message matches.
        final: the last fraction; None where the program never tells how much there is.
        command: what the parser is told of the program's command.
    """

    name: str
    rising: int
    message: str
    final: float | None = 1.0
    command: tuple[str, ...] = ()

    @property
    def parser(self) -> str:
        """The name of the parser for it."""
        return max((name for name in NAMES if self.name.startswith(f"{name}-")), key=len)

    @property
    def data(self) -> bytes:
        """The bytes."""
        return (RECORDINGS / f"{self.name}.bin").read_bytes()


TWO = ("http://127.0.0.1/a", "http://127.0.0.1/b")
PART = ("ffmpeg", "-y", "-ss", "10", "-i", "source.mkv", "-t", "60", "target.mp4")
MANIFEST = [
    Recording("rsync-whole", 20, r"20,971,520, [\d.]+MB/s"),
    Recording("rsync-whole-terminal", 20, r"20,971,520, [\d.]+MB/s"),
    Recording("rsync-whole-names", 20, r"part2/file029.dat, 15,728,640, "),
    Recording("rsync-whole-planned", 20, r"20.97M, [\d.]+MB/s"),
    Recording("rsync-many-folders", 10, r"[\d,]+, [\d.]+[kM]B/s"),
    Recording("rsync-files", 20, r"part2/file024.dat, 1,048,576, "),
    Recording("rsync-files-terminal", 20, r"part2/file024.dat, 1,048,576, "),
    Recording("rsync-one-file", 4, r"source.dat, 31,457,280, "),
    Recording("rsync-two-files", 4, r"source.dat, 12,582,912, "),
    Recording("ffmpeg-encode", 8, r"00:01:30 of 00:01:30, speed [\d.]+x"),
    Recording("ffmpeg-encode-terminal", 8, r"00:01:30 of 00:01:30, speed [\d.]+x"),
    Recording("ffmpeg-keys", 8, r"00:01:30 of 00:01:30"),
    Recording("ffmpeg-part", 6, r"00:01:00 of 00:01:00", command=PART),
    Recording("ffmpeg-copy", 2, r"00:00:19 of 00:00:20"),
    Recording("curl-meter", 5, r"11.4MB of 11.4MB, \d+kB/s"),
    Recording("curl-meter-terminal", 5, r"11.4MB of 11.4MB, \d+kB/s"),
    Recording("curl-bar", 20, r"100.0%"),
    Recording("curl-bar-terminal", 20, r"100.0%"),
    Recording("curl-two", 5, r"5859kB of 5859kB, ", command=("curl", *TWO)),
    Recording("curl-parallel", 5, r"14.3MB, ", command=("curl", "-Z", *TWO)),
    Recording("curl-unknown", 0, r"5859kB, \d+kB/s", None),
    Recording("wget-dots", 50, r"8750K, "),
    Recording("wget-bar", 10, r"file.dat, 8.58M, "),
    Recording("wget-bar-terminal", 10, r"target, 8.58M, "),
    Recording("wget-mega", 15, r"58368K, "),
    Recording("wget-two", 10, r"b, 3.81M, ", command=("wget", *TWO)),
    Recording("git-clone", 200, r"Updating files 700 of 700"),
    Recording("git-clone-terminal", 200, r"Updating files 700 of 700"),
    Recording("git-fetch", 200, r"Resolving deltas \d+ of \d+"),
    Recording("git-push", 200, r"Resolving deltas \d+ of \d+"),
    Recording("git-gc", 100, r"[A-Z].* \d of \d"),
    Recording("pv-bar", 2, r"12.0MiB, [\d.]+MiB/s"),
    Recording("pv-bar-terminal", 2, r"12.0MiB, [\d.]+MiB/s"),
    Recording("pv-numbers", 8, r"", command=("pv", "-n", "source.dat")),
    Recording("pv-named", 8, r"apples, 12.0MiB, [\d.]+MiB/s"),
    Recording("pv-unknown", 0, r"9.00MiB, [\d.]+MiB/s", None),
    Recording("dd-file", 4, r"42 MB, [\d.]+ MB/s", command=("dd", "bs=64k", "count=640")),
    Recording("dd-file-terminal", 4, r"42 MB, [\d.]+ MB/s", command=("dd", "bs=64k", "count=640")),
    Recording("tqdm-items", 40, r"apples, 60 of 60, [\d.]+it/s, ETA 00:00"),
    Recording("tqdm-items-terminal", 40, r"apples, 60 of 60, [\d.]+it/s, ETA 00:00"),
    Recording("tqdm-bytes", 10, r"5.00M of 5.00M, [\d.]+MB/s"),
    Recording("tqdm-unknown", 0, r"30 it, [\d.]+it/s", None),
    Recording("tqdm-nested", 30, r"epochs, 4 of 4, "),
    Recording("tqdm-nested-terminal", 30, r"epochs, 4 of 4, "),
    Recording("pip-raw", 6, r"Successfully downloaded apple berry cherry"),
    Recording("pip-on", 4, r"Successfully downloaded apple berry cherry"),
    Recording("pip-on-terminal", 6, r"Successfully downloaded apple berry cherry"),
    Recording("7z-add", 8, r"Everything is Ok"),
    Recording("7z-add-terminal", 8, r"Everything is Ok"),
    Recording("7z-extract", 8, r"Everything is Ok"),
    Recording("restic-backup", 6, r"snapshot \w+ saved"),
    Recording("restic-backup-terminal", 6, r"snapshot \w+ saved"),
    Recording("restic-json", 6, r"snapshot \w+"),
    Recording("borg-create", 0, r"[\d.]+ k?M?B read, \d+ files, source", None),
    Recording("borg-create-terminal", 0, r"[\d.]+ k?M?B read, \d+ files, source", None),
    Recording("borg-extract", 50, r"Extracting: source/part5/file059.dat", 0.983),
    Recording("borg-extract-terminal", 50, r"Extracting: source/part5/file059.dat", 0.983),
    Recording("borg-json", 50, r"Extracting: source/part5/file059.dat"),
    Recording("borg-check", 6, r"Checking archives", 0.5),
    Recording("borg-check-terminal", 6, r"Checking archives", 0.5),
    Recording("aria2c-file", 4, r"\d+MiB of 14MiB, 2.\dMiB/s"),
    Recording("aria2c-file-terminal", 4, r"\d+MiB of 14MiB, 2.\dMiB/s"),
    Recording("aria2c-two-terminal", 5, r"2 files, 2.\dMiB/s"),
    Recording("yt-dlp-file", 8, r"film \[film\].mp4, 100% of 3.81MiB"),
    Recording("yt-dlp-file-terminal", 8, r"film \[film\].mp4, 100% of 3.81MiB"),
    Recording("yt-dlp-bar", 8, r"film \[film\].mp4, 100% of 3.81MiB"),
    Recording("yt-dlp-two", 16, r"audio.m4a, 100% of 1.00MiB"),
    Recording("ninja-build", 17, r"MAKE out\d+"),
    Recording("ninja-build-terminal", 17, r"MAKE out\d+"),
    Recording("pytest-suite", 100, r"3 failed, 157 passed in "),
    Recording("pytest-suite-terminal", 100, r"3 failed, 157 passed in "),
    Recording("pytest-names", 90, r"3 failed, 157 passed in "),
    Recording("zstd-file", 10, r"source.dat : [\d.]+%"),
    Recording("zstd-file-terminal", 10, r"source.dat : [\d.]+%"),
    Recording("zstd-files", 3, r"6 files compressed"),
]
each_recording = pytest.mark.parametrize("recording", MANIFEST, ids=lambda one: one.name)
NOISE = sorted((RECORDINGS / "noise").glob("*.bin"))
each_noise = pytest.mark.parametrize("path", NOISE, ids=lambda path: path.stem)
random_cuts = st.lists(st.integers(0, 2**20), max_size=60)


def test_every_recording_is_expected_and_can_be_recorded_anew() -> None:
    names = sorted(recording.name for recording in MANIFEST)
    assert names == sorted(path.stem for path in RECORDINGS.glob("*.bin"))
    assert names == sorted(case.name for case in CASES)


def test_every_program_of_the_table_has_a_recording() -> None:
    general = {"auto", "percent", "count", "json"}
    assert {recording.parser for recording in MANIFEST} == set(NAMES) - general


def test_recordings_are_small_and_neutral() -> None:
    for path in RECORDINGS.rglob("*.bin"):
        data = path.read_bytes()
        assert len(data) < 60_000, path
        assert b"/root" not in data, path
        assert b"/home/" not in data.replace(b"/tmp/aptask-recording/home/", b""), path


@each_recording
def test_a_recording_fed_byte_by_byte_rises_to_its_end(recording: Recording) -> None:
    said = feed(make_parser(recording.parser, recording.command), bytewise(recording.data))
    found = fractions(said)
    assert found == sorted(set(found))
    assert len(found) >= recording.rising
    assert (found[-1] if found else None) == recording.final
    assert re.match(recording.message, said[-1].message or "")


@each_recording
def test_a_recording_says_nothing_is_done_before_it_is(recording: Recording) -> None:
    parser = make_parser(recording.parser, recording.command)
    data = recording.data
    early = fractions(
        report for piece in bytewise(data[: len(data) // 5]) if (report := parser.feed(piece))
    )
    assert 1.0 not in early


@each_recording
def test_a_recording_ends_the_same_fed_whole_or_byte_by_byte(recording: Recording) -> None:
    whole = feed(make_parser(recording.parser, recording.command), [recording.data])
    apart = feed(make_parser(recording.parser, recording.command), bytewise(recording.data))
    assert whole[-1] == apart[-1]


@each_recording
def test_a_recording_ends_the_same_however_it_is_cut(recording: Recording) -> None:
    data = recording.data
    whole = feed(make_parser(recording.parser, recording.command), [data])

    @settings(max_examples=15, deadline=None)
    @given(cuts=random_cuts)
    def check(cuts: list[int]) -> None:
        cut = feed(make_parser(recording.parser, recording.command), pieces(data, cuts))
        assert cut[-1] == whole[-1]
        assert fractions(cut) == sorted(fractions(cut))

    check()


@each_recording
def test_auto_recognises_a_recording(recording: Recording) -> None:
    data = recording.data
    for length in (1, 100, len(data)):
        said = feed(
            make_parser("auto", recording.command),
            [data[place : place + length] for place in range(0, len(data), length)],
        )
        found = fractions(said)
        assert found == sorted(set(found))
        assert (found[-1] if found else None) == recording.final
        if length == 1:
            assert len(found) >= recording.rising - 2


@each_recording
def test_auto_recognises_a_recording_however_it_is_cut(recording: Recording) -> None:
    @settings(max_examples=10, deadline=None)
    @given(cuts=random_cuts)
    def check(cuts: list[int]) -> None:
        said = feed(make_parser("auto", recording.command), pieces(recording.data, cuts))
        found = fractions(said)
        assert found == sorted(found)
        assert (found[-1] if found else None) == recording.final

    check()


def test_there_are_twenty_recordings_without_progress() -> None:
    assert len(NOISE) >= 20


@each_noise
def test_auto_says_nothing_of_percentages_that_are_no_progress(path: Path) -> None:
    data = path.read_bytes()
    assert data
    for length in (1, 7, 100, len(data)):
        parts = [data[place : place + length] for place in range(0, len(data), length)]
        assert feed(make_parser("auto"), parts) == [], length


@pytest.mark.parametrize("program", sorted(set(NAMES) - {"auto", "percent", "count", "json"}))
def test_no_program_is_read_into_noise(program: str) -> None:
    for path in NOISE:
        assert fractions(feed(make_parser(program), [path.read_bytes()])) == [], path.stem
