"""The parsers that belong to no program, and how a parser is made."""

from __future__ import annotations

import pytest

from aptask.errors import InvalidArguments
from aptask.model.progress import Progress
from aptask.parsers import NAMES, make_parser
from tests.parsers.feeding import bytewise, feed, fractions


def last(spec: str, data: bytes) -> Progress | None:
    """What a parser knows at the end of some output; the same whole and byte by byte."""
    whole = feed(make_parser(spec), [data])
    assert whole[-1:] == feed(make_parser(spec), bytewise(data))[-1:]
    return whole[-1] if whole else None


def test_the_names_are_in_the_order_of_the_documentation() -> None:
    assert " ".join(NAMES) == (
        "auto percent count json rsync ffmpeg curl wget git pv dd tqdm pip 7z restic borg aria2c"
        " yt-dlp ninja pytest zstd"
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_name_makes_a_parser_that_is_silent_about_nothing(name: str) -> None:
    assert feed(make_parser(name), [b"", b"\n", b"\r\n", b"some words\n"]) == []


@pytest.mark.parametrize("name", NAMES)
def test_the_end_says_nothing_twice(name: str) -> None:
    parser = make_parser(name)
    parser.feed(b"42%|### | 21/50 [00:01<00:01, 1.0it/s]")
    parser.end()
    assert parser.end() is None


@pytest.mark.parametrize("spec", ["nonesuch", "Percent", "ytdlp", "7", ""])
def test_an_unknown_name_is_refused_with_the_known_ones(spec: str) -> None:
    with pytest.raises(InvalidArguments, match=r"auto, percent, count, json, rsync"):
        make_parser(spec)


def test_a_broken_expression_is_refused_with_the_reason() -> None:
    with pytest.raises(InvalidArguments, match="unterminated"):
        make_parser(r"(?P<percent>\d+")


@pytest.mark.parametrize("spec", [r"\d+%", r"(?P<current>\d+)/\d+", r"(?P<message>.*)", "a b"])
def test_an_expression_without_its_groups_is_refused(spec: str) -> None:
    with pytest.raises(InvalidArguments, match=r"percent.*current.*total"):
        make_parser(spec)


@pytest.mark.parametrize(
    ("spec", "data", "expected"),
    [
        (r"at (?P<percent>[\d.]+)", b"at 12.5\nat 25\n", Progress(0.25)),
        (r"at (?P<percent>\d+ ?%)", b"at 7 %", Progress(0.07)),
        (r"(?P<current>\S+) < (?P<total>\S+)", b"512K < 1M\n", Progress(0.5)),
        (
            r"(?P<percent>\d+)! (?P<message>.*)",
            b"80! \x1b[31mapples\x1b[0m\n",
            Progress(0.8, "apples"),
        ),
        (r"(?P<percent>\d+)!|now (?P<message>.*)", b"80!\nnow b\n", Progress(None, "b")),
        (r"(?P<percent>\S+)!", b"many!\n", None),
        (r"(?P<percent>\S+)!", b"101!\n", None),
    ],
)
def test_an_expression_reads_its_groups(spec: str, data: bytes, expected: Progress | None) -> None:
    assert make_parser(spec).feed(data + b"\n") == expected


@pytest.mark.parametrize(
    ("data", "fraction"),
    [
        (b"42%", 0.42),
        (b"42.5 % of it\n", 0.425),
        (b"3,5%\n", 0.035),
        (b"10% of 20%\n", 0.2),
        (b"\r 7%\r 8%\r", 0.08),
        (b"\x1b[32m55\x1b[0m%\n", 0.55),
        (b"\x1b[2K\x1b[1G12%\x1b[2K\x1b[1G34%", 0.34),
        (b"100%\nall done\n", 1.0),
        (b"\xff\xfe 33% \xff\n", 0.33),
    ],
)
def test_percent_takes_the_last_of_a_line(data: bytes, fraction: float) -> None:
    found = last("percent", data)
    assert found is not None
    assert found.fraction == pytest.approx(fraction)


@pytest.mark.parametrize("data", [b"-5%\n", b"x42%\n", b"420%\n", b"1.2.3%\n", b"%\n", b"v1.42%\n"])
def test_percent_leaves_what_is_none(data: bytes) -> None:
    assert last("percent", data) is None


def test_percent_shows_a_bar_before_the_next_is_drawn() -> None:
    parser = make_parser("percent")
    parser.feed(b"\r 10% [=>   ] apples")
    report = parser.feed(b"\r 20% [==>  ] berries")
    assert report == Progress(0.2, "20% berries")


@pytest.mark.parametrize(
    ("data", "fraction"),
    [
        (b"3/12\n", 0.25),
        (b"3 of 12 apples\n", 0.25),
        (b"[3/12] apple\n", 0.25),
        (b"(1,500 of 6,000)\n", 0.25),
        (b"600M/2.4G\n", 600 / 2.4 / 1024),
        (b"1.2/4.8 GB\n", 0.25),
        (b"512 KiB of 1 MiB\n", 0.5),
        (b"\r1/8\r2/8\r4/8", 0.5),
        (b"apple 1/2, part 3/4\n", 0.75),
    ],
)
def test_count_takes_the_last_of_a_line(data: bytes, fraction: float) -> None:
    found = last("count", data)
    assert found is not None
    assert found.fraction == pytest.approx(fraction)


@pytest.mark.parametrize(
    "data", [b"2024/05/12\n", b"a/b\n", b"4/3\n", b"0/0\n", b"/usr/1/2\n", b"http://h/1/2\n"]
)
def test_count_leaves_what_is_none(data: bytes) -> None:
    assert last("count", data) is None


def test_count_does_not_read_half_a_number() -> None:
    parser = make_parser("count")
    parser.feed(b"\r1/20\r3/4")
    assert parser.feed(b"0\r") == Progress(0.075, "3/40")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"progress": 0.4, "message": "indexing"}', Progress(0.4, "indexing")),
        (b'{"percent": 40}', Progress(0.4)),
        (b'{"current": 2, "total": 5, "name": "apple"}', Progress(0.4)),
        (b'{"message": "only words"}', Progress(None, "only words")),
        (b'log\n{"progress": 1}\nlog', Progress(1.0)),
        (b'{"progress": 0.4, "message": "' + b"x" * 9000 + b'"}', Progress(0.4, "x" * 1000)),
    ],
)
def test_json_reads_reports(data: bytes, expected: Progress) -> None:
    assert last("json", data + b"\n") == expected
    assert last("json", data) == expected


@pytest.mark.parametrize(
    "data",
    [
        b'{"progress": 40}',
        b'{"progress": -1}',
        b'{"progress": true}',
        b'{"progress": "0.4"}',
        b'{"progress": 1e999}',
        b'{"percent": 101}',
        b'{"current": 5, "total": 0}',
        b'{"current": 5}',
        b'{"level": "info", "message": "a log"}',
        b'{"progress": 0.4',
        b"[0.4]",
        b'{"progress": ' + b"9" * 5000 + b"}",
        b'{"a": ' * 2000 + b"1" + b"}" * 2000,
    ],
)
def test_json_leaves_what_is_none(data: bytes) -> None:
    assert last("json", data + b"\n") is None


def test_auto_takes_a_report_at_once() -> None:
    assert make_parser("auto").feed(b'{"progress": 0.4}\n') == Progress(0.4)


def test_auto_wants_percentages_of_unknown_programs_to_prove_themselves() -> None:
    parser = make_parser("auto")
    assert parser.feed(b"copying 10%\n") is None
    assert parser.feed(b"copying 20%\n") is None
    assert parser.feed(b"copying 30%\n") == Progress(0.3, "copying 30%")
    assert parser.feed(b"copying 50%\n") == Progress(0.5, "copying 50%")
    assert parser.feed(b"90% of the disk is full\n") is None


@pytest.mark.parametrize(
    "line",
    [
        b"\r%d%%",
        b"\r[####  ] %d%% eta 1s",
        b"[ %d%%] Building C object apple.o\n",
        b"2024-03-12 10:00:00 INFO Progress: %d%%\n",
        b"\x1b[2K\x1b[1G%d%% done",
        b"[%d/100] apple.c\n",
        b"Step %d/100 : RUN make\n",
        b"Processing file %d of 100\n",
        b'{"percent": %d, "step": "apples"}\n',
        b"\rworking: %d/100",
    ],
)
def test_auto_recognises_the_bars_and_counts_of_unknown_programs(line: bytes) -> None:
    data = b"".join(line % number for number in range(10, 101, 10))
    for parts in ([data], bytewise(data)):
        found = fractions(feed(make_parser("auto"), parts))
        assert found == sorted(found)
        assert found[-1:] == [1.0]


def test_auto_asks_more_of_a_figure_that_falls() -> None:
    rising = b"".join(b"\rnow %d%%" % figure for figure in (10, 20, 5, 30, 40, 10, 50, 60, 70))
    assert feed(make_parser("auto"), [rising]) == []


def test_auto_believes_the_name_of_the_program_in_the_command() -> None:
    for command in (["/usr/bin/pv", "-n"], ["pv"]):
        assert make_parser("auto", command).feed(b"9\n19\n") == Progress(0.19)
    assert make_parser("auto", ["python3.11", "-m", "pip"]).feed(
        b"  Downloading apple.whl (3 MB)\nProgress 1 of 2\n"
    ) == Progress(0.225, "apple.whl")
    assert make_parser("auto", ["seq", "100"]).feed(b"9\n19\n29\n39\n49\n59\n") is None
