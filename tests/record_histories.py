"""Records anew how far real programs were at which time, for the tests of what is left of a job.

    python tests/record_histories.py               all of them, about five minutes
    python tests/record_histories.py rsync curl    those of these programs

Each program runs four times, on less and more of the same, and the third time once more. What it
prints goes through the parser of its name, and what that says is kept as the daemon would hear of
it: at most ten times a second, the newest only. A history is a text file: its first line says the
arguments that such a task would have had, as JSON; the next ones are `<seconds> <fraction>`, and
the last one `<seconds> end`. Programs run as nice as can be; those that mostly wait run at once.
"""

from __future__ import annotations

import argparse
import contextlib
import http.server
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from aptask.parsers import make_parser
from tests.record import environment, write_data

HISTORIES = Path(__file__).parent / "recordings" / "histories"
REPORT_SECONDS = 0.1
KIBIBYTE = 1024
SIZES = {"small": 1, "middle": 2, "large": 3, "middle-again": 2}


@dataclass(frozen=True)
class Program:
    """What is recorded.

    Attributes:
        parser: the name of the parser, which is also that of the history.
        prepare: given the folder, the size and the seed, makes the data.
        command: makes the argument list from the server's address and the size.
        alone: whether it needs a processor of its own.
    """

    parser: str
    prepare: Callable[[Path, int, int], object]
    command: Callable[[str, int], list[str]]
    alone: bool = False
    name: str = ""

    @property
    def history(self) -> str:
        return self.name or self.parser


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `/<kibibytes>/<seed>`: waits first, then sends 1 MiB a second, and stalls at times."""

    def do_GET(self) -> None:
        size, seed = (int(part) for part in self.path.strip("/").split("/"))
        time.sleep(3)
        chance = random.Random(seed)
        self.send_response(200)
        self.send_header("Content-Length", str(size * KIBIBYTE))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for _ in range(size // 64):
                self.wfile.write(bytes(64 * KIBIBYTE))
                time.sleep(chance.uniform(1, 4) if chance.random() < 0.015 else 1 / 16)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


def uneven_files(folder: Path, size: int, seed: int) -> None:
    """Many files, most of them small, `size` times 34 MiB together."""
    chance = random.Random(seed)
    count = 500 * size
    weights = [chance.lognormvariate(0, 1.5) for _ in range(count)]
    for number, weight in enumerate(weights):
        path = folder / "source" / f"part{number // 20:03}" / f"file{number:04}.dat"
        write_data(path, int(size * 34 * KIBIBYTE**2 * weight / sum(weights)), seed=number)


def film(folder: Path, size: int, seed: int) -> None:
    """A film whose scenes are harder and easier to encode, by a factor of about two."""
    seconds = 60 * size
    chance = random.Random(seed)
    scenes = [
        f"noise=alls={chance.randint(6, 14)}:allf=t:enable='between(t,{begin},{begin + 5})'"
        for begin in range(0, seconds, 5)
    ]
    picture = ",".join(["testsrc2=size=320x240:rate=25", *scenes])
    source = ["-f", "lavfi", "-i", picture, "-t", str(seconds)]
    command = ["nice", "-n19", "ffmpeg", "-v", "error", *source, "-c:v", "mpeg4", "-q:v", "3"]
    subprocess.run([*command, str(folder / "source.mkv")], check=True)


def sources(folder: Path, size: int, seed: int) -> None:
    """C files of very different lengths, and what ninja needs to build a program of them."""
    chance = random.Random(seed)
    names = [f"part{number:02}" for number in range(40 * size)]
    for name in names:
        functions = [
            f"int {name}_{number}(int *a, int n) {{ int s = {number}; for (int i = 0; i < n; i++)"
            f" {{ a[i] = a[i] * {number + 3} + s; s ^= a[i] >> {number % 7 + 1};"
            f" if (s % {number + 5} == 0) for (int k = 0; k < i; k++) s += a[k] * k; }}"
            " return s; }"
            for number in range(int(chance.lognormvariate(3.0, 1.0)) + 2)
        ]
        (folder / f"{name}.c").write_text("\n".join(functions))
    (folder / "main.c").write_text("int main(void) { return 0; }\n")
    objects = " ".join(f"{name}.o" for name in [*names, "main"])
    (folder / "build.ninja").write_text(
        "rule cc\n  command = gcc -O2 -c $in -o $out\n  description = CC $out\n"
        "rule link\n  command = gcc $in -o $out\n  description = LINK $out\n"
        + "".join(f"build {name}.o: cc {name}.c\n" for name in [*names, "main"])
        + f"build program: link {objects}\n"
    )


def nothing(_folder: Path, _size: int, _seed: int) -> None:
    """No data."""


LOOP = """RANDOM={seed}
for ((n = 1; n <= {count}; n++)); do
    echo "$n of {count}"
    sleep 0.0$((RANDOM % 10))
    if ((RANDOM % 12 == 0)); then sleep $((RANDOM % 2)).$((RANDOM % 10)); fi
done"""
"""Steps that come in bursts of some, with nothing for up to two seconds in between."""

PROGRAMS = [
    Program(
        "rsync",
        uneven_files,
        lambda _address, _size: [
            *["rsync", "-a", "--bwlimit=2m", "--info=progress2", "source/", "target/"]
        ],
    ),
    Program(
        "curl",
        nothing,
        lambda address, size: ["curl", "-o", "target", f"{address}/{size * 14 * KIBIBYTE}/{size}"],
    ),
    Program(
        "count",
        nothing,
        lambda _address, size: ["bash", "-c", LOOP.format(seed=size, count=200 * size)],
        name="loop",
    ),
    Program(
        "ffmpeg",
        film,
        lambda _address, _size: [
            *["ffmpeg", "-y", "-threads", "1", "-i", "source.mkv", "-c:v", "libx264"],
            *["-threads", "1", "-preset", "medium", "target.mp4"],
        ],
        alone=True,
    ),
    Program("ninja", sources, lambda _address, _size: ["ninja", "-j1"], alone=True),
]


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Runs the server for as long as the context lasts, and yields its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def told(said: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """What the daemon hears of: at most ten times a second, the newest only, the last always."""
    last = waits = None
    for when, fraction in said:
        if waits is not None and when >= last + REPORT_SECONDS:
            last += REPORT_SECONDS
            yield last, waits
            waits = None
        if last is None or when >= last + REPORT_SECONDS:
            last = when
            yield when, fraction
        else:
            waits = fraction
    if waits is not None:
        yield last + REPORT_SECONDS, waits


def record(program: Program, size: str, address: str) -> str:
    """Runs a program once in an empty folder, and writes its history."""
    factor = SIZES[size]
    with tempfile.TemporaryDirectory(prefix="aptask-history-") as name:
        folder = Path(name)
        program.prepare(folder, factor, factor)
        command = program.command(address, factor)
        parser = make_parser(program.parser, command)
        begin = time.monotonic()
        process = subprocess.Popen(
            ["nice", "-n19", *command],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said: list[tuple[float, float]] = []
        assert process.stdout is not None
        while data := os.read(process.stdout.fileno(), 65536):
            report = parser.feed(data)
            fraction = None if report is None else report.fraction
            if fraction is not None and (not said or fraction > said[-1][1]):
                said.append((time.monotonic() - begin, fraction))
        process.stdout.close()
        status = process.wait()
        end = time.monotonic() - begin
    if status != 0:
        raise SystemExit(f"{program.history} {size} failed")
    lines = [json.dumps({"source": size.removesuffix("-again"), "target": "copy"})]
    lines += [f"{when:.2f} {fraction:.6g}" for when, fraction in told(said) if when < end]
    path = HISTORIES / f"{program.history}-{size}.txt"
    path.write_text("\n".join([*lines, f"{end:.2f} end", ""]))
    return f"{path.name}: {end:.1f} s, {len(lines) - 1} reports"


def main() -> None:
    """Records the histories asked for."""
    parser = argparse.ArgumentParser(description="Records how far real programs are, and when.")
    parser.add_argument("names", nargs="*", help="programs; all where none is given")
    names = parser.parse_args().names
    wanted = [program for program in PROGRAMS if not names or program.history in names]
    HISTORIES.mkdir(parents=True, exist_ok=True)
    with serving() as address, ThreadPoolExecutor(4) as pool, ThreadPoolExecutor(1) as single:
        runs = [
            (single if program.alone else pool).submit(record, program, size, address)
            for program in wanted
            for size in SIZES
        ]
        for run in runs:
            print(run.result(), flush=True)


if __name__ == "__main__":
    main()
