"""Records anew what the real programs print, for the parsers' tests.

    python tests/record.py                 every program that is installed
    python tests/record.py rsync git       the recordings of these programs
    python tests/record.py --list          the names

Rules: the programs are unmodified and run in a neutral folder, /tmp/aptask-recording, on generated
data; the downloaders talk to a throttled server of our own on 127.0.0.1 and nothing leaves the
machine. What a program writes to its output and its errors is kept byte for byte, as it came from
a pipe or, for the cases named `-terminal`, from a pseudo-terminal of 24 lines by 80 columns. A
recording is made short by making its run short, never by editing. `live` runs are started by the
tests of the same name; they share the data and the server of this module.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import http.server
import json
import os
import pty
import random
import shutil
import struct
import subprocess
import sys
import termios
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

RECORDINGS = Path(__file__).parent / "recordings"
FOLDER = Path("/tmp/aptask-recording")
MEBIBYTE = 1024 * 1024


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves `/<bytes>/<bytes a second>/<name>`, and as `/unknown/...` without saying the length.

    A package index for pip is under `/simple/`: its wheels are files of the folder `wheels`.
    """

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, *arguments: object) -> None:
        """Says nothing: a recording holds the program's words only."""

    def _answer(self, *, body: bool) -> None:
        parts = self.path.strip("/").split("/")
        wheels = FOLDER / "wheels"
        if parts[0] == "simple":
            names = [file.name for file in wheels.glob(parts[1].replace("-", "_") + "-*.whl")]
            page = "".join(f'<a href="/wheels/{name}">{name}</a><br>' for name in names).encode()
            self._send(page, "text/html", None, body=body)
        elif parts[0] == "wheels":
            data = (wheels / parts[1]).read_bytes()
            self._send(data, "application/octet-stream", 4 * MEBIBYTE, body=body)
        else:
            known = parts[0] != "unknown"
            size, rate, name = parts[-3:]
            kind = "video/mp4" if name.endswith("mp4") else "application/octet-stream"
            data = random.Random(1).randbytes(int(size))
            self._send(data, kind, int(rate), body=body, known=known)

    def _send(
        self, data: bytes, kind: str, rate: int | None, *, body: bool, known: bool = True
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header(
            "Content-Length" if known else "Connection", str(len(data)) if known else "close"
        )
        self.end_headers()
        if not body:
            return
        piece = len(data) if rate is None else max(rate // 20, 1)
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), piece):
                self.wfile.write(data[start : start + piece])
                if rate is not None:
                    time.sleep(piece / rate)
        self.close_connection = not known


@contextlib.contextmanager
def serving() -> Iterator[str]:
    """Runs the server for as long as the context lasts.

    Yields:
        its address, `http://127.0.0.1:<port>`.
    """
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_data(path: Path, size: int, *, seed: int = 1, compressible: bool = False) -> None:
    """Writes a file of `size` bytes that are the same each time, random or words."""
    source = random.Random(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    if compressible:
        words = [f"{source.randrange(10**6)} " for _ in range(5000)]
        text = "".join(source.choices(words, k=size // 6)).encode()
        path.write_bytes((text * 2)[:size])
    else:
        path.write_bytes(source.randbytes(size))


def write_tree(path: Path, count: int, size: int) -> None:
    """Writes `count` files of `size` bytes each, ten in a folder."""
    for number in range(count):
        write_data(path / f"part{number // 10}" / f"file{number:03}.dat", size, seed=number)


def write_repository(path: Path, files: int) -> None:
    """Makes a git repository of `files` files in three commits, by nobody."""
    run = [
        "git",
        "-c",
        "user.name=nobody",
        "-c",
        "user.email=nobody@example.invalid",
        "-C",
        str(path),
    ]
    path.mkdir(parents=True)
    subprocess.run([*run, "init", "-q"], env=environment(), check=True)
    for change in range(3):
        for number in range(files):
            lines = [f"{number * line} apples" for line in range(100)]
            lines[number % 100] = f"change {change}"
            (path / f"file{number:04}.txt").write_text("\n".join(lines))
        for arguments in (["add", "."], ["commit", "-q", "-m", f"change {change}"]):
            subprocess.run([*run, *arguments], env=environment(), check=True)


def write_wheel(name: str, size: int) -> None:
    """Makes an installable wheel that is about `size` bytes long."""
    file = FOLDER / "wheels" / f"{name}-1.0-py3-none-any.whl"
    file.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{name}/data", random.Random(name).randbytes(size))
        info = f"{name}-1.0.dist-info"
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def write_video(path: Path, seconds: float) -> None:
    """Makes a small film with sound."""
    subprocess.run(
        [
            *["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25"],
            *["-f", "lavfi", "-i", "sine", "-t", str(seconds), "-c:v", "mpeg4", str(path)],
        ],
        check=True,
    )


def environment() -> dict[str, str]:
    """The variables that the programs run with: nothing of the account that records."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(FOLDER / "home"),
        "LANG": "C.UTF-8",
        "PYTHONUNBUFFERED": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_PROGRESS_DELAY": "0",
        "RESTIC_PASSWORD": "none",
        "BORG_PASSPHRASE": "none",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_ROOT_USER_ACTION": "ignore",
        "PIP_NO_CACHE_DIR": "1",
    }


def capture(
    command: Sequence[str],
    *,
    terminal: bool = False,
    variables: dict[str, str] | None = None,
    limit: float = 60,
) -> Iterator[bytes]:
    """Runs a program and yields what it writes, output and errors together, as it comes.

    Args:
        command: its argument list.
        terminal: give it a pseudo-terminal of 24 lines by 80 columns instead of a pipe.
        variables: what is added to its environment.
        limit: seconds after which it is killed.
    """
    if terminal:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        extra = {"TERM": "xterm", "COLUMNS": "80"}
    else:
        ours, theirs = os.pipe()
        extra = {}
    process = subprocess.Popen(
        command,
        cwd=FOLDER,
        env=environment() | extra | (variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        # pv and git ask whether they are in the foreground of the terminal that they write to.
        preexec_fn=(lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0)) if terminal else None,
    )
    os.close(theirs)
    killer = threading.Timer(limit, process.kill)
    killer.start()
    try:
        while True:
            try:
                data = os.read(ours, 65536)
            except OSError:  # how a pseudo-terminal says that its other side is closed
                break
            if not data:
                break
            yield data
    finally:
        killer.cancel()
        os.close(ours)
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Case:
    """One recording.

    Attributes:
        name: `<program>-<case>`, the name of its file.
        command: makes the argument list from the server's address.
        prepare: makes the data in the folder; it is empty before.
        terminal: record on a pseudo-terminal.
        variables: what is added to the environment.
    """

    name: str
    command: Callable[[str], list[str]]
    prepare: Callable[[], object] = lambda: None
    terminal: bool = False
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def program(self) -> str:
        """The file that has to be found for this case."""
        return self.command("http://127.0.0.1:1")[0]


def fixed(*arguments: str) -> Callable[[str], list[str]]:
    """A command that does not need the server."""
    return lambda _address: list(arguments)


def shell(script: str) -> Callable[[str], list[str]]:
    """A command of more than one program."""
    return fixed("sh", "-c", script)


def both(
    name: str,
    command: Callable[[str], list[str]],
    prepare: Callable[[], object] = lambda: None,
    variables: dict[str, str] | None = None,
) -> list[Case]:
    """The same case on a pipe and on a terminal."""
    return [
        Case(name, command, prepare, False, variables or {}),
        Case(f"{name}-terminal", command, prepare, True, variables or {}),
    ]


def files(count: int, size: int) -> Callable[[], None]:
    """Prepares a folder `source` of files."""
    return lambda: write_tree(FOLDER / "source", count, size)


def half_copied() -> None:
    """Prepares a folder `source` of very many files, most of which `target` has already."""
    write_tree(FOLDER / "source", 2000, 100)
    for number in range(2000):
        if number % 10:
            name = f"part{number // 10}/file{number:03}.dat"
            (FOLDER / "target" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(FOLDER / "source" / name, FOLDER / "target" / name)


def one_file(size: int, *, compressible: bool = False) -> Callable[[], None]:
    """Prepares a file `source.dat`."""
    return lambda: write_data(FOLDER / "source.dat", size, compressible=compressible)


def film(seconds: float) -> Callable[[], None]:
    """Prepares a film `source.mkv`."""
    return lambda: write_video(FOLDER / "source.mkv", seconds)


def repository() -> None:
    """Prepares a git repository `origin` of enough objects that every phase is seen."""
    write_repository(FOLDER / "origin", 700)


def wheels() -> None:
    """Prepares wheels, one that needs nothing and two others."""
    for name, size in (("apple", 3 * MEBIBYTE), ("berry", 2 * MEBIBYTE), ("cherry", MEBIBYTE)):
        write_wheel(name, size)


def pip_download(style: str) -> Callable[[str], list[str]]:
    """A download of the wheels, shown by a bar of this style."""
    return lambda address: [
        *["python", "-m", "pip", "download", "--progress-bar", style, "--dest", "out"],
        *["--index-url", f"{address}/simple/", "apple", "berry", "cherry"],
    ]


def formats(address: str) -> list[str]:
    """Describes a video of two files to yt-dlp, and the command that downloads both."""
    info = {
        "id": "film",
        "title": "film",
        "extractor": "generic",
        "extractor_key": "Generic",
        "webpage_url": f"{address}/film",
        "formats": [
            {
                "format_id": name,
                "url": f"{address}/{size}/{rate}/{name}.{kind}",
                "ext": kind,
                "vcodec": "none" if name == "audio" else "h264",
                "acodec": "aac" if name == "audio" else "none",
            }
            for name, kind, size, rate in (
                ("video", "mp4", 4 * MEBIBYTE, 3 * MEBIBYTE),
                ("audio", "m4a", MEBIBYTE, MEBIBYTE),
            )
        ],
    }
    if FOLDER.exists():
        (FOLDER / "info.json").write_text(json.dumps(info))
    # Two files are kept apart: what is joined with random bytes would fail in ffmpeg.
    return [
        "yt-dlp",
        "--load-info-json",
        "info.json",
        "-f",
        "video,audio",
        "-o",
        "%(format_id)s.%(ext)s",
    ]


def restic_repository() -> None:
    """Prepares a restic repository and files to back up, which take their time to compress."""
    for number in range(40):
        path = FOLDER / "source" / f"file{number:03}.dat"
        write_data(path, MEBIBYTE, seed=number, compressible=True)
    subprocess.run(
        ["restic", "-q", "-r", "repo", "init"], cwd=FOLDER, env=environment(), check=True
    )


def borg_repository(*, archive: bool) -> None:
    """Prepares a borg repository and, in it, an archive of files where `archive` is set."""
    write_tree(FOLDER / "source", 60, MEBIBYTE)
    for arguments in (["init", "-e", "none", "repo"], ["create", "repo::first", "source"])[
        : 1 + archive
    ]:
        subprocess.run(["borg", *arguments], cwd=FOLDER, env=environment(), check=True)
    (FOLDER / "out").mkdir()


def archive() -> None:
    """Prepares an archive `target.7z` that takes its time to unpack."""
    for number in range(20):
        path = FOLDER / "source" / f"file{number:03}.dat"
        write_data(path, 2 * MEBIBYTE, seed=number, compressible=True)
    pack = ["7z", "a", "-m0=PPMd", "-ms=off", "target.7z", "source"]
    subprocess.run(pack, cwd=FOLDER, check=True, stdout=subprocess.DEVNULL)


def ninja_build() -> None:
    """Prepares a build of 17 steps."""
    steps = "".join(f"build out{number}: step\n" for number in range(17))
    (FOLDER / "build.ninja").write_text(
        "rule step\n  command = sleep 0.05 && touch $out\n  description = MAKE $out\n" + steps
    )


def suite() -> None:
    """Prepares a test suite of three files."""
    for name, count in (("test_apples", 40), ("test_berries", 90), ("test_cherries", 30)):
        (FOLDER / f"{name}.py").write_text(
            f"import pytest, time\n\n@pytest.mark.parametrize('n', range({count}))\n"
            "def test_each(n):\n    time.sleep(0.002)\n    assert n != 7\n"
        )


TQDM = (
    "import time, tqdm, sys\n"
    "for n in tqdm.tqdm(range(60), desc='apples', mininterval=0.01): time.sleep(0.02)\n"
)
TQDM_BYTES = (
    "import time, tqdm\n"
    "with tqdm.tqdm(total=5000000, unit='B', unit_scale=True) as bar:\n"
    "    for n in range(50): time.sleep(0.02); bar.update(100000)\n"
)
TQDM_UNKNOWN = (
    "import time, tqdm\nfor n in tqdm.tqdm(iter(range(30)), mininterval=0.01): time.sleep(0.02)\n"
)
TQDM_NESTED = (
    "import time, tqdm\n"
    "for n in tqdm.trange(4, desc='epochs'):\n"
    "    for m in tqdm.trange(10, desc='batches', leave=False, mininterval=0.01):\n"
    "        time.sleep(0.02)\n"
)
ENCODE_PART = ["ffmpeg", "-y", "-ss", "10", "-i", "source.mkv", "-t", "60", "-c:v", "mpeg4"]
ENCODE = ["ffmpeg", "-y", "-i", "source.mkv", "-c:v", "mpeg4"]
DD = ["dd", "of=target", "bs=64k", "count=640", "iflag=fullblock", "status=progress"]
RESTIC = ["restic", "-r", "repo", "backup", "--compression", "max"]
SLOW_RESTIC = {"RESTIC_PROGRESS_FPS": "10", "GOMAXPROCS": "1"}
RSYNC_WHOLE = ["rsync", "-a", "--bwlimit=12m", "--info=progress2"]

CASES: list[Case] = [
    *both("rsync-whole", fixed(*RSYNC_WHOLE, "source/", "target/"), files(40, MEBIBYTE // 2)),
    Case(
        "rsync-whole-names",
        fixed(*RSYNC_WHOLE, "-v", "source/", "target/"),
        files(30, MEBIBYTE // 2),
    ),
    Case(
        "rsync-whole-planned",
        fixed(*RSYNC_WHOLE, "--no-inc-recursive", "-h", "source/", "target/"),
        files(40, MEBIBYTE // 2),
    ),
    Case(
        "rsync-many-folders",
        fixed("rsync", "-a", "--info=progress2", "source/", "target/"),
        half_copied,
    ),
    *both(
        "rsync-files", fixed("rsync", "-a", "--progress", "source/", "target/"), files(25, MEBIBYTE)
    ),
    Case(
        "rsync-two-files",
        fixed("rsync", "--bwlimit=12m", "--progress", "source.dat", "build.dat", "target/"),
        lambda: (one_file(12 * MEBIBYTE)(), write_data(FOLDER / "build.dat", 12 * MEBIBYTE)),
    ),
    Case(
        "rsync-one-file",
        fixed("rsync", "--bwlimit=12m", "--progress", "source.dat", "target.dat"),
        one_file(30 * MEBIBYTE),
    ),
    *both("ffmpeg-encode", fixed(*ENCODE, "-stats_period", "0.1", "target.mp4"), film(90)),
    Case(
        "ffmpeg-keys",
        fixed(*ENCODE, "-nostats", "-progress", "pipe:1", "-stats_period", "0.1", "target.mp4"),
        film(90),
    ),
    Case("ffmpeg-part", fixed(*ENCODE_PART, "-stats_period", "0.1", "target.mp4"), film(90)),
    Case(
        "ffmpeg-copy",
        fixed("ffmpeg", "-y", "-i", "source.mkv", "-c", "copy", "target.mp4"),
        film(20),
    ),
    *both("curl-meter", lambda at: ["curl", "-o", "target", f"{at}/12000000/3000000/file.dat"]),
    *both("curl-bar", lambda at: ["curl", "-#", "-o", "target", f"{at}/9000000/3000000/file.dat"]),
    Case(
        "curl-two",
        lambda at: [
            *["curl", "-o", "one", f"{at}/6000000/3000000/a"],
            *["-o", "two", f"{at}/6000000/3000000/b"],
        ],
    ),
    Case(
        "curl-parallel",
        lambda at: [
            *["curl", "-Z", "-o", "one", f"{at}/6000000/2000000/a"],
            *["-o", "two", f"{at}/9000000/2000000/b"],
        ],
    ),
    Case("curl-unknown", lambda at: ["curl", "-o", "target", f"{at}/unknown/6000000/3000000/file"]),
    Case("wget-dots", lambda at: ["wget", "-O", "target", f"{at}/9000000/4000000/file.dat"]),
    Case(
        "wget-bar-terminal",
        lambda at: ["wget", "-O", "target", f"{at}/9000000/4000000/file.dat"],
        terminal=True,
    ),
    Case(
        "wget-bar",
        lambda at: ["wget", "--progress=bar:force", f"{at}/9000000/4000000/file.dat"],
    ),
    Case(
        "wget-mega",
        lambda at: ["wget", "--progress=dot:mega", f"{at}/60000000/30000000/file.dat"],
    ),
    Case(
        "wget-two",
        lambda at: [
            "wget",
            "--progress=bar:force",
            f"{at}/4000000/3000000/a",
            f"{at}/4000000/3000000/b",
        ],
    ),
    *both(
        "git-clone",
        fixed("git", "clone", "--progress", "file:///tmp/aptask-recording/origin", "copy"),
        repository,
    ),
    Case(
        "git-fetch",
        shell("git init -q copy && cd copy && git fetch --progress ../origin"),
        repository,
    ),
    Case("git-gc", fixed("git", "-C", "origin", "gc", "--prune=now"), repository, terminal=True),
    Case(
        "git-push",
        shell("git init -q --bare copy && cd origin && git push --progress ../copy HEAD:main"),
        repository,
    ),
    Case("pv-bar", shell("pv -f -L 6m source.dat > target"), one_file(12 * MEBIBYTE)),
    Case(
        "pv-bar-terminal",
        shell("pv -L 6m source.dat > target"),
        one_file(12 * MEBIBYTE),
        terminal=True,
    ),
    Case("pv-numbers", shell("pv -n -i 0.2 -L 6m source.dat > target"), one_file(12 * MEBIBYTE)),
    Case(
        "pv-named",
        shell("pv -f -i 0.2 -N apples -L 6m source.dat > target"),
        one_file(12 * MEBIBYTE),
    ),
    Case(
        "pv-unknown", shell("cat source.dat | pv -f -i 0.3 -L 6m > target"), one_file(9 * MEBIBYTE)
    ),
    *both(
        "dd-file",
        shell(f"pv -q -L 12m source.dat | {' '.join(DD)}"),
        one_file(40 * MEBIBYTE),
    ),
    *both("tqdm-items", fixed("python", "-c", TQDM)),
    Case("tqdm-bytes", fixed("python", "-c", TQDM_BYTES)),
    Case("tqdm-unknown", fixed("python", "-c", TQDM_UNKNOWN)),
    *both("tqdm-nested", fixed("python", "-c", TQDM_NESTED)),
    Case("pip-raw", pip_download("raw"), wheels),
    *both("pip-on", pip_download("on"), wheels),
    Case("7z-add", fixed("7z", "a", "-bsp1", "-mx=5", "target.7z", "source"), files(40, MEBIBYTE)),
    Case(
        "7z-add-terminal",
        fixed("7z", "a", "-mx=5", "target.7z", "source"),
        files(40, MEBIBYTE),
        terminal=True,
    ),
    Case("7z-extract", fixed("7z", "x", "-bsp1", "-oout", "target.7z"), archive),
    *both("restic-backup", fixed(*RESTIC, "source"), restic_repository, SLOW_RESTIC),
    Case(
        "restic-json", fixed(*RESTIC, "--json", "source"), restic_repository, variables=SLOW_RESTIC
    ),
    Case(
        "borg-create",
        fixed("borg", "create", "--progress", "-C", "zlib,9", "repo::second", "source"),
        lambda: borg_repository(archive=False),
    ),
    Case(
        "borg-create-terminal",
        fixed("borg", "create", "--progress", "-C", "zlib,9", "repo::second", "source"),
        lambda: borg_repository(archive=False),
        terminal=True,
    ),
    *both(
        "borg-extract",
        shell("cd out && borg extract --progress ../repo::first"),
        lambda: borg_repository(archive=True),
    ),
    Case(
        "borg-json",
        shell("cd out && borg --log-json extract --progress ../repo::first"),
        lambda: borg_repository(archive=True),
    ),
    *both(
        "borg-check",
        fixed("borg", "check", "--progress", "repo"),
        lambda: borg_repository(archive=True),
    ),
    *both(
        "aria2c-file",
        lambda at: [
            "aria2c",
            "--summary-interval=1",
            "-o",
            "target",
            f"{at}/15000000/3000000/file.dat",
        ],
    ),
    Case(
        "aria2c-two-terminal",
        lambda at: ["aria2c", "-Z", f"{at}/9000000/3000000/a", f"{at}/15000000/3000000/b"],
        terminal=True,
    ),
    *both("yt-dlp-file", lambda at: ["yt-dlp", "--newline", f"{at}/4000000/2000000/film.mp4"]),
    Case("yt-dlp-bar", lambda at: ["yt-dlp", f"{at}/4000000/2000000/film.mp4"]),
    Case("yt-dlp-two", formats),
    *both("ninja-build", fixed("ninja", "-j2"), ninja_build),
    *both("pytest-suite", fixed("python", "-m", "pytest", "-p", "no:cacheprovider"), suite),
    Case(
        "pytest-names",
        fixed("python", "-m", "pytest", "-v", "--tb=no", "-p", "no:cacheprovider"),
        suite,
    ),
    Case(
        "zstd-file",
        fixed("zstd", "--progress", "-17", "-f", "source.dat"),
        one_file(16 * MEBIBYTE, compressible=True),
    ),
    Case(
        "zstd-file-terminal",
        fixed("zstd", "-17", "-f", "source.dat"),
        one_file(16 * MEBIBYTE, compressible=True),
        terminal=True,
    ),
    Case("zstd-files", shell("zstd --progress -15 -f source/part0/*"), files(6, 3 * MEBIBYTE)),
]


def words(path: str, text: str) -> Callable[[], object]:
    """Prepares a file of text."""
    return lambda: (FOLDER / path).write_text(text)


def changed_repository() -> None:
    """Prepares a repository with changes that are not committed."""
    write_repository(FOLDER / "origin", 20)
    for number in range(0, 20, 3):
        (FOLDER / "origin" / f"file{number:04}.txt").write_text("100% cotton\n" * number)


FLAWED = """#include <stdio.h>
int share(int part, int whole) { int unused = 100; return part * 100 / whole; }
int main(void) { printf("%d%% of 50%%\\n", "text"); printf("25%, 50%, 75%\\n"); }
"""
PERCENTS = """import unittest
class Discounts(unittest.TestCase):
    pass
for rate in (5, 10, 15, 20, 25, 50):
    def check(self, rate=rate): f"takes {rate}% off"
    check.__doc__ = f"takes {rate}% off the price"
    setattr(Discounts, f"test_{rate:03}", check)
unittest.main(verbosity=2)
"""

NOISE: list[Case] = [
    Case("noise/df", fixed("df", "-h", "/tmp", "/dev", "/dev/shm")),
    Case("noise/free", fixed("free", "-h", "-s", "0.1", "-c", "4")),
    Case("noise/top", shell("sleep 3 & top -b -d 0.2 -n 6 -p $!")),
    Case("noise/ps", shell("sleep 1 & ps -o pid,pcpu,pmem,comm -p $$ -p $!")),
    Case("noise/vmstat", fixed("vmstat", "1", "3")),
    Case(
        "noise/ls",
        shell("cd source && touch '10%' '20%' '30%' '40%' 1of3 2of3 && ls -l"),
        files(3, 9),
    ),
    Case(
        "noise/gcc", fixed("gcc", "-Wall", "-Wextra", "-c", "flawed.c"), words("flawed.c", FLAWED)
    ),
    Case("noise/git-diff-stat", fixed("git", "-C", "origin", "diff", "--stat"), changed_repository),
    Case("noise/unittest", fixed("python", "percents.py"), words("percents.py", PERCENTS)),
    Case("noise/gzip", shell("gzip -vk source/part0/*"), files(6, 4000)),
    Case(
        "noise/coverage",
        shell(
            "python -m coverage run --source=. -m pytest -q --no-header -p no:cacheprovider"
            " > log; python -m coverage report"
        ),
        suite,
    ),
]
"""Percentages and counts that are no progress; others, in no program's words, lie beside them."""


def record(case: Case, address: str) -> bytes:
    """Runs one case in an empty folder and returns what its program wrote."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    (FOLDER / "home").mkdir(parents=True)
    case.prepare()
    pieces = capture(case.command(address), terminal=case.terminal, variables=case.variables)
    return b"".join(pieces)


def main() -> int:
    """Records the cases asked for; returns 1 where a program is missing."""
    parser = argparse.ArgumentParser(description="Records what the real programs print.")
    parser.add_argument("names", nargs="*", help="programs or cases; all where none is given")
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    options = parser.parse_args()
    wanted = [
        case
        for case in [*CASES, *NOISE]
        if not options.names or any(case.name.startswith(name) for name in options.names)
    ]
    if options.list:
        print("\n".join(case.name for case in wanted))
        return 0
    missing = False
    (RECORDINGS / "noise").mkdir(parents=True, exist_ok=True)
    with serving() as address:
        for case in wanted:
            if shutil.which(case.program, path=environment()["PATH"]) is None:
                print(f"{case.name}: {case.program} is not installed", file=sys.stderr)
                missing = True
                continue
            data = record(case, address)
            (RECORDINGS / f"{case.name}.bin").write_bytes(data)
            print(f"{case.name}: {len(data)} bytes, {hashlib.sha256(data).hexdigest()[:12]}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
