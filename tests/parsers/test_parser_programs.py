"""What the recordings do not hold of the programs: other versions, and what a command tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from aptask.model.progress import Progress
from aptask.parsers import make_parser
from tests.parsers.feeding import feed, fractions

COPIED = b"\r1048576 bytes (1.0 MB, 1.0 MiB) copied, 1 s, 1.0 MB/s"


@pytest.mark.parametrize(
    ("operands", "fraction"),
    [
        ("bs=1M count=4", 0.25),
        ("bs=64k count=64", 0.25),
        ("ibs=1M obs=4k count=4", 0.25),
        ("bs=2x512k count=4", 0.25),
        ("count=4MiB", 0.25),
        ("bs=1MB count=4", 1048576 / 4000000),
        ("iflag=fullblock,count_bytes count=4194304", 0.25),
        ("if=file", 0.125),
        ("if=file bs=1M skip=4", 0.25),
        ("if=file bs=1M count=99", 0.125),
        ("if=absent", None),
        ("if=absent bs=1M count=4", 0.25),
        ("bs=1Q count=4", None),
        ("of=target", None),
    ],
)
def test_dd_takes_its_total_from_its_operands(operands: str, fraction: float | None) -> None:
    sizes = {"file": 8 * 1024 * 1024}
    parser = make_parser("dd", ["dd", *operands.split(), "status=progress"], sizes.get)
    report = parser.feed(COPIED)
    assert report is not None
    assert report.fraction == (None if fraction is None else pytest.approx(fraction))
    assert report.message == "1.0 MB, 1.0 MB/s"


@pytest.mark.parametrize(
    ("options", "fraction"),
    [
        ([], 0.1),
        (["-t", "20"], 0.5),
        (["-t", "00:00:40.0"], 0.25),
        (["-ss", "50"], 0.2),
        (["-ss", "10", "-to", "30"], 0.5),
    ],
)
def test_ffmpeg_knows_what_part_is_wanted(options: list[str], fraction: float) -> None:
    parser = make_parser("ffmpeg", ["ffmpeg", *options, "-i", "a", "b"])
    parser.feed(b"  Duration: 00:01:40.00, start: 0.0, bitrate: 1 kb/s\n")
    report = parser.feed(b"frame=  1 fps=1 q=1.0 size= 1kB time=00:00:10.00 bitrate=1 speed=2x\r")
    assert report is not None
    assert report.fraction == pytest.approx(fraction)


def test_ffmpeg_finds_the_duration_in_a_flood_of_output() -> None:
    parser = make_parser("ffmpeg")
    line = b"frame=  1 fps=1 q=1.0 size= 1kB time=00:00:05.00 bitrate=1 speed=2x    \r"
    report = parser.feed(b"  Duration: 00:00:10.00, start: 0.0\n" + line * 5000)
    assert report is not None
    assert report.fraction == 0.5


def test_ffmpeg_of_a_stream_without_length_has_a_message_only() -> None:
    report = make_parser("ffmpeg").feed(
        b"  Duration: N/A, start: 0.0\nsize=  1kB time=00:00:05.00 bitrate=1 speed=2x\r"
    )
    assert report == Progress(None, "00:00:05, speed 2x")


def test_rsync_is_not_believed_while_it_looks_for_files() -> None:
    parser = make_parser("rsync", ["rsync", "--info=progress2"])
    early = b"\r  500 90%  1.00MB/s    0:00:00 (xfr#9, ir-chk=1000/1100)"
    assert fractions(feed(parser, [early])) == [0.45]


def test_rsync_of_a_single_file_is_believed_at_once() -> None:
    report = make_parser("rsync").feed(b"\r  500 40%  1.00MB/s    0:00:01  \r")
    assert report == Progress(0.4, "500, 1.00MB/s, ETA 0:00:01")
    command = ["rsync", "-v", "--info=name0,progress2"]
    parser = make_parser("rsync", command)
    parser.feed(b"sending incremental file list\na\n")
    report = parser.feed(b"\r  500 40%  1.00MB/s    0:00:01  \r")
    assert report == Progress(0.4, "a, 500, 1.00MB/s, ETA 0:00:01")


def test_rsync_file_by_file_does_not_believe_the_first_file() -> None:
    parser = make_parser("rsync")
    parser.feed(b"sending incremental file list\na\n")
    report = parser.feed(b"\r  500 100%  1.00MB/s    0:00:01  \r")
    assert report == Progress(None, "a, 500, 1.00MB/s, ETA 0:00:01")
    report = parser.feed(b"  500 100%  1.00MB/s    0:00:01 (xfr#1, to-chk=3/4)\n")
    assert report == Progress(0.25, "a, 500, 1.00MB/s")


def test_rsync_with_nothing_left_to_check_is_done_whatever_its_percentage() -> None:
    line = b"\r  500 3%  1.00MB/s    0:00:01 (xfr#1, to-chk=0/4)\n"
    assert make_parser("rsync").feed(line) == Progress(1.0, "500, 1.00MB/s")


def test_curl_does_not_take_the_body_of_a_redirection_for_the_end() -> None:
    parser = make_parser("curl")
    head = b"  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
    small = b"\r100   178  100   178    0     0    890      0 --:--:-- --:--:-- --:--:--   890"
    part = b"\r 50 11.4M   50 5.7M    0     0  2549k      0  0:00:04  0:00:02  0:00:02 2540k"
    assert fractions(feed(parser, [head, small, part])) == [0.5]
    assert fractions(feed(make_parser("curl"), [head, small])) == [1.0]


def test_curl_reads_an_upload() -> None:
    line = b"\r 50 11.4M    0     0   50 5.7M      0  2549k  0:00:04  0:00:02  0:00:02 2540k\r"
    assert make_parser("curl").feed(line) == Progress(0.5, "5.7MB of 11.4MB, 2540kB/s, ETA 0:00:02")


def test_curl_does_not_count_addresses_that_it_does_not_fetch() -> None:
    line = b"\r 50 11.4M   50 5.7M    0     0  2549k      0  0:00:04  0:00:02  0:00:02 2540k\r"
    command = ["curl", "-x", "http://proxy", "-e", "http://r", "-o", "a", "http://h/a"]
    assert fractions(feed(make_parser("curl", command), [line])) == [0.5]


def test_wget_that_tries_again_is_still_at_the_same_file() -> None:
    saving = "Saving to: \u2018a\u2019\n".encode()
    bar = b"\ra    50%[==>   ]   1.53M  3.82MB/s               \r"
    parser = make_parser("wget", ["wget", "http://h/a", "http://h/b"])
    assert fractions(feed(parser, [saving, bar, saving, bar])) == [0.25]


def test_several_bars_of_curl_share_the_run() -> None:
    command = ["curl", "-#", "-O", "http://h/a", "-O", "http://h/b"]
    said = feed(
        make_parser("curl", command), [b"\r## 50.0%\r#### 100.0%\n\r## 50.0%\r### 100.0%\n"]
    )
    assert fractions(said) == [1.0]
    parser = make_parser("curl", command)
    found = [parser.feed(b"\r## 50.0%"), parser.feed(b"\r#### 100.0%\n"), parser.feed(b"\r# 40.0%")]
    assert [report.fraction for report in found if report] == [0.25, 0.5, 0.7]


def test_git_that_fails_after_receiving_is_not_done() -> None:
    data = b"Receiving objects: 100% (9/9), 1 KiB | 1 KiB/s, done.\nfatal: no space left\n"
    assert fractions(feed(make_parser("git"), [data])) == [0.8]


def test_git_phases_rise_from_one_to_the_next() -> None:
    phases = ["remote: Counting objects", "Receiving objects", "Resolving deltas", "Updating files"]
    parser = make_parser("git")
    said = [
        parser.feed(f"{phase}: {part}% ({part}/100)\r".encode())
        for phase in phases
        for part in (1, 50, 100)
    ]
    found = fractions(report for report in said if report is not None)
    assert len(found) == 12
    assert found == sorted(found)
    assert 0.75 < found[5] < 0.85


def test_tqdm_without_a_size_it_knows_keeps_to_messages() -> None:
    report = make_parser("tqdm").feed(b"\rapples: 12it [00:01, 9.9it/s]\r")
    assert report == Progress(None, "apples, 12 it, 9.9it/s")


def test_tqdm_moves_on_by_the_bars_within_its_first() -> None:
    parser = make_parser("tqdm")
    parser.feed(b"\repochs:   0%|     | 0/4 [00:00<?, ?it/s]\n")
    report = parser.feed(b"\rbatches:  50%|##   | 5/10 [00:00<00:00, 9it/s]\x1b[A\n")
    assert report is not None
    assert report.fraction == 0.125
    assert (
        parser.feed(b"\rbatches: 100%|#####| 10/10 [00:00<00:00, 9it/s]\x1b[A\n").fraction == 0.25
    )


def test_pip_reads_the_bar_of_older_versions() -> None:
    parser = make_parser("pip")
    parser.feed(b"  Downloading http://h/apple-1.0-py3-none-any.whl (3.1 MB)\n")
    bar = "     \u2501\u2501\u2501\u2578\u2501\u2501 1.5/3.0 MB 4.3 MB/s eta 0:00:01\n".encode()
    assert parser.feed(bar) == Progress(
        0.225, "apple-1.0-py3-none-any.whl, 1.5 of 3.0 MB, 4.3 MB/s, ETA 0:00:01"
    )


def test_restic_of_the_present_writes_percentages_with_its_words() -> None:
    line = b"[0:05] 12.50%  29 files 30 MiB, total 60 files 240 MiB, 2 errors ETA 0:10\n"
    report = make_parser("restic").feed(line)
    assert report == Progress(0.125, "29 files 30 MiB, total 60 files 240 MiB, 2 errors, ETA 0:10")


def test_restic_is_not_done_before_its_summary() -> None:
    report = make_parser("restic").feed(b'{"message_type":"status","percent_done":1}\n')
    assert report == Progress(0.99)


def test_yt_dlp_gives_the_picture_most_of_the_run() -> None:
    parser = make_parser("yt-dlp")
    parser.feed(b"[info] film: Downloading 1 format(s): 137+140\n[download] Destination: a.mp4\n")
    assert parser.feed(b"\r[download] 100% of 3.0MiB in 00:00:01 at 3MiB/s\n").fraction == 0.8
    parser.feed(b"[download] Destination: a.m4a\n")
    report = parser.feed(b"\r[download] 50.0% of 1.0MiB at 3MiB/s ETA 00:01\r")
    assert report is not None
    assert report.fraction == pytest.approx(0.9)


def test_yt_dlp_shares_a_list_among_its_items() -> None:
    parser = make_parser("yt-dlp")
    parser.feed(b"[download] Downloading item 2 of 4\n[download] Destination: b.mp4\n")
    report = parser.feed(b"[download]  50.0% of ~ 1.0MiB at 3MiB/s ETA 00:01 (frag 1/2)\n")
    assert report is not None
    assert report.fraction == pytest.approx(0.375)


def test_pytest_counts_the_dots_of_a_line_that_is_not_full() -> None:
    parser = make_parser("pytest")
    parser.feed(b"collected 10 items\n\n")
    assert parser.feed(b"test_a.py ..") == Progress(0.2, "10 tests")
    assert parser.feed(b".F") == Progress(0.4, "10 tests")


def test_pytest_under_xdist_names_the_test() -> None:
    report = make_parser("pytest").feed(b"[gw1] [ 42%] PASSED test_a.py::test_b \n")
    assert report == Progress(0.42, "test_a.py::test_b")


def test_zstd_does_not_take_the_ratio_for_progress() -> None:
    report = make_parser("zstd").feed(b"\rRead: 4.00 MiB / 16.0 MiB ==> 90%\r")
    assert report == Progress(0.25, "4.00 MiB of 16.0 MiB")


def test_aria2c_counts_what_is_complete() -> None:
    parser = make_parser("aria2c")
    parser.feed(b"1/1 [NOTICE] Downloading 2 item(s)\n")
    assert parser.feed(b"[#aaaaaa 1.0MiB/2.0MiB(50%) CN:1]\n").fraction == 0.25
    assert parser.feed(b"1/1 [NOTICE] Download complete: a\n").fraction == 0.5
    assert parser.feed(b"[#bbbbbb 1.0MiB/2.0MiB(50%) CN:1]\n").fraction == 0.75


def test_no_parser_imports_a_reactor_a_clock_or_files() -> None:
    for path in (Path(__file__).parents[2] / "aptask" / "parsers").glob("*.py"):
        for line in path.read_text().splitlines():
            if line.startswith(("import ", "from ")):
                name = line.split()[1].partition(".")[0]
                assert name in {
                    *("__future__", "aptask", "collections", "itertools", "math", "msgspec"),
                    *("re", "typing"),
                }, (path.name, line)
