"""Measures aptask beside its peers: `python benchmarks/run.py`; see README.md.

The first run makes a virtual environment for the peers, compiles the programs, and installs what is
missing with apt-get where it may.
"""

from __future__ import annotations

import argparse
import configparser
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ENVIRONMENT = RESULTS / "venv"
REQUIREMENTS = ("celery >= 5.5", "redis", "rq", "huey", "dramatiq[redis]")
APT = {
    "tsp": "task-spooler",
    "beanstalkd": "beanstalkd",
    "redis-server": "redis-server",
    "parallel": "parallel",
    "gcc": "gcc",
}
"""Programs, and the packages that have them."""
TABLES = ("start", "true", "noop", "latency", "idle", "memory", "restart", "history", "watch")


def main() -> None:
    """Set everything up, and measure."""
    options = _parse()
    python = ENVIRONMENT / "bin" / "python"
    if Path(sys.prefix) != ENVIRONMENT:
        _make_environment(python)
        _install_programs()
        _compile()
        os.execv(python, [str(python), str(HERE / "run.py"), *sys.argv[1:]])
    _measure(options)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures aptask beside its peers.")
    parser.add_argument("tables", nargs="*", help=f"some of {', '.join(TABLES)}; default: all")
    parser.add_argument(
        "--peers", nargs="+", default=[], help="parts of the names of those to measure as well"
    )
    parser.add_argument("--quick", action="store_true", help="once and a tenth of it: a trial")
    options = parser.parse_args()
    for table in options.tables:
        if table not in TABLES:
            parser.error(f"no table `{table}`; there are {', '.join(TABLES)}")
    return options


def _make_environment(python: Path) -> None:
    """The peers, what aptask needs, and aptask itself as it lies here."""
    setup = configparser.ConfigParser()
    setup.read(HERE.parent / "setup.cfg")
    own = setup["options"]["install_requires"].split("\n")
    wanted = [line.strip() for line in own if line.strip()] + list(REQUIREMENTS)
    stamp = ENVIRONMENT / "requirements.txt"
    text = "\n".join(wanted) + "\n"
    if stamp.exists() and stamp.read_text() == text:
        return
    print("Installing the peers in a virtual environment ...", flush=True)
    RESULTS.mkdir(exist_ok=True)
    venv.create(ENVIRONMENT, clear=True, symlinks=True, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *wanted], check=True)
    (packages,) = ENVIRONMENT.glob("lib/python3*/site-packages")
    (packages / "aptask.pth").write_text(f"{HERE.parent}\n")
    stamp.write_text(text)


def _install_programs() -> None:
    missing = [package for program, package in APT.items() if shutil.which(program) is None]
    if not missing:
        return
    if os.getuid() == 0 and shutil.which("apt-get"):
        print(f"Installing {', '.join(missing)} ...", flush=True)
        subprocess.run(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdout=subprocess.DEVNULL,
        )
    still = [package for program, package in APT.items() if shutil.which(program) is None]
    if still:
        print(f"Not measured, since not installed: {', '.join(still)}", flush=True)


def _compile() -> None:
    folder = RESULTS / "bin"
    folder.mkdir(exist_ok=True)
    for name in ("load", "mark", "chatter"):
        source, program = HERE / f"{name}.c", folder / name
        if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)


def _measure(options: argparse.Namespace) -> None:
    # What these need is there only now.
    import importlib

    import measure
    import servers

    servers.adopt_orphans()
    settings = measure.Settings(peers=tuple(options.peers))
    if options.quick:
        settings = settings._replace(runs=1, scale=0.1)
    for line in measure.describe_machine():
        print(line)
    start = time.monotonic()
    try:
        for name in options.tables or TABLES:
            importlib.import_module(f"tables.{name}").run(settings)
    finally:
        servers.reap()
        rest = servers.descendants(os.getpid())
        del rest[os.getpid()]
        if rest:
            print(f"left behind, and now killed: {servers.names(rest)}")
            servers.kill_rest(rest)
    print(
        f"\n{time.monotonic() - start:.0f} s; the figures are in benchmarks/results/results.jsonl"
    )


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
