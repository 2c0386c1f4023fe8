"""Installed in every way there is: `twistd` has the daemon, and tasks of other distributions run.

What is tested is built from a copy of the checkout, so that nothing that lies about in it counts,
and installed in one fresh environment, with its requirements from the index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent.parent
SYNOPSIS = "asynchronous parallel task scheduling, execution and monitoring"
LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".demo", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", "*.cache"
)


class Environment:
    """A fresh virtual environment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)

    def run(self, name: str, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment, in the root folder unless options say otherwise."""
        settings: dict[str, Any] = {"cwd": "/", "env": clean_environment(), "timeout": 300}
        return subprocess.run(
            [self.folder / "bin" / name, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            **(settings | options),
        )

    def pip(self, *arguments: str) -> None:
        check_done(self.run("python", "-m", "pip", "--disable-pip-version-check", *arguments))

    def install(self, *what: str | Path) -> None:
        self.pip("install", "--quiet", *map(str, what))

    def uninstall(self, *names: str) -> None:
        self.pip("uninstall", "--quiet", "--yes", *names)

    def lists_the_daemon(self) -> bool:
        """Whether `twistd --help` does; fails if that says anything else than help."""
        finished = self.run("twistd", "--help")
        assert finished.returncode == 0, finished.stderr
        assert "Usage: twistd" in finished.stdout
        assert not finished.stderr
        assert ("aptask" in finished.stdout) == (SYNOPSIS in " ".join(finished.stdout.split()))
        return "aptask" in finished.stdout


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without what would let another aptask or daemon be found."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("APTASK_", "PYTHON", "VIRTUAL_ENV"))
    }
    return kept | more


def check_done(finished: subprocess.CompletedProcess[str]) -> None:
    """Fail where pip, or a build, has failed; skip where that is for want of the package index."""
    said = finished.stdout + finished.stderr
    is_offline = "Could not find a version that satisfies the requirement" in said
    if finished.returncode and is_offline and not os.environ.get("APTASK_REQUIRE_ALL"):
        pytest.skip("the package index cannot be reached")
    assert finished.returncode == 0, said[-5000:]


def build(folder: Path, outdir: Path, *options: str) -> None:
    """Build what can be published of a folder."""
    check_done(
        subprocess.run(
            [sys.executable, "-m", "build", *options, "--outdir", outdir, folder],
            capture_output=True,
            text=True,
            timeout=300,
        )
    )


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as a fresh clone would be, committed."""
    copy = tmp_path_factory.mktemp("source") / "aptask"
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
    for command in (
        ["init", "--quiet"],
        ["add", "--all"],
        ["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "copy"],
    ):
        subprocess.run(["git", *command], cwd=copy, check=True)
    return copy


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel and the sdist that it was built from."""
    folder = tmp_path_factory.mktemp("built")
    build(source, folder)
    [wheel], [sdist] = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="module")
def environment(
    built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Environment]:
    """A fresh environment with what aptask requires, and aptask taken out again."""
    made = Environment(tmp_path_factory.mktemp("environment") / "venv")
    made.install(built["wheel"])
    made.uninstall("aptask")
    return made


@pytest.fixture
def installed(built: dict[str, Path], environment: Environment) -> Iterator[Environment]:
    """The environment with the wheel in it."""
    environment.install(built["wheel"])
    yield environment
    environment.uninstall("aptask")


def members(archive: Path) -> set[str]:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return set(wheel.namelist())
    with tarfile.open(archive) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


def files_of(folder: Path, *roots: str) -> set[str]:
    """The committed files below some folders."""
    listed = subprocess.run(
        ["git", "ls-files", *roots], cwd=folder, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.split("\n")) - {""}


def test_the_wheel_holds_the_code_the_units_and_nothing_else(
    source: Path, built: dict[str, Path]
) -> None:
    held = {name for name in members(built["wheel"]) if ".dist-info/" not in name}
    data = {name for name in held if ".data/" in name}
    assert held - data == files_of(source, "aptask", "twisted")
    installed = {name.partition(".data/data/share/aptask/")[2] for name in data}
    assert installed == {name.removeprefix("docs/") for name in files_of(source, "docs/systemd")}
    assert [name for name in members(built["wheel"]) if name.endswith("/LICENSE")]


def test_the_sdist_holds_what_is_needed_to_test_and_to_change_it(
    source: Path, built: dict[str, Path]
) -> None:
    held = members(built["sdist"])
    wanted = files_of(source, "aptask", "twisted", "tests", "docs", ".ci")
    wanted |= {"CHANGELOG.md", "LICENSE", "Makefile", "README.md", "pyproject.toml", "setup.cfg"}
    assert sorted(wanted - held) == []
    assert [name for name in held if name.endswith((".pyc", "dropin.cache"))] == []


@pytest.mark.parametrize("way", ["wheel", "sdist", "editable"])
def test_twistd_has_the_daemon_for_as_long_as_it_is_installed(
    way: str, source: Path, built: dict[str, Path], environment: Environment
) -> None:
    assert not environment.lists_the_daemon()
    environment.install(*(["--editable", source] if way == "editable" else [built[way]]))
    try:
        for _ in ("first", "with the cache that the first one wrote"):
            assert environment.lists_the_daemon()
        usage = environment.run("twistd", "aptask", "--help")
        assert usage.returncode == 0, usage.stderr
        assert "--listen" in usage.stdout
    finally:
        environment.uninstall("aptask")
    for _ in ("first", "with the cache that the first one wrote"):
        assert not environment.lists_the_daemon()
    assert list(environment.folder.glob("lib/python*/site-packages/*aptask*")) == []
    assert list(environment.folder.glob("bin/aptask*")) == []


def test_an_editable_install_and_its_use_leave_the_checkout_clean(
    source: Path, environment: Environment
) -> None:
    environment.install("--editable", source)
    try:
        assert environment.lists_the_daemon()
        assert environment.run("aptask", "--version").returncode == 0
    finally:
        environment.uninstall("aptask")
    state = subprocess.run(
        ["git", "status", "--porcelain"], cwd=source, check=True, capture_output=True, text=True
    )
    assert state.stdout == ""


def test_the_command_tells_its_version_at_once(installed: Environment) -> None:
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        finished = installed.run("aptask", "--version")
        seconds.append(time.perf_counter() - begin)
        assert finished.returncode == 0, finished.stderr
        version = installed.run("python", "-c", "import aptask; print(aptask.__version__)").stdout
        assert finished.stdout == f"aptask {version}"
    assert min(seconds) < 0.5


# Tasks of other distributions


class Server:
    """The daemon of an environment, and the command that asks it."""

    def __init__(self, environment: Environment, folder: Path) -> None:
        self.environment = environment
        self.variables = clean_environment(APTASK_DATA=str(folder / "data"))
        self.log = folder / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [environment.folder / "bin" / "twistd", "-n", "--pidfile=", "aptask"]
                + ["--data", str(folder / "data"), "--listen", f"unix:{folder}/other.sock"],
                cwd="/",
                env=self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def aptask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.environment.run("aptask", *arguments, env=self.variables)

    def tasks(self) -> set[str]:
        """The names that `index` answers, as soon as the daemon is there."""
        deadline = time.monotonic() + 30
        while (finished := self.aptask("index", "--json")).returncode:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, finished.stderr + self.log.read_text()
            time.sleep(0.1)
        return {task["name"] for task in json.loads(finished.stdout)["index"]}

    def result(self, *arguments: str) -> Any:
        """The result of a task that is started and waited for."""
        finished = self.aptask("start", *arguments, "--wait", "--json")
        assert finished.returncode == 0, finished.stdout + finished.stderr + self.log.read_text()
        task = json.loads(finished.stdout.splitlines()[-1])["task"]
        assert task["status"] == "done"
        return task["result"]

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def serve() -> Iterator[Callable[[Environment], Server]]:
    """Starts the daemon of an environment; they end with the test."""
    servers: list[Server] = []
    with tempfile.TemporaryDirectory(prefix="aptask-", ignore_cleanup_errors=True) as folder:

        def start(environment: Environment) -> Server:
            place = Path(folder, str(len(servers)))
            place.mkdir()
            servers.append(Server(environment, place))
            return servers[-1]

        yield start
        for server in servers:
            server.stop()


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of distributions with tasks, as others would publish them."""
    wheels = {}
    for name in ("plugin_package", "entry_point_package"):
        folder = tmp_path_factory.mktemp(name)
        copy = folder / "source"
        shutil.copytree(ROOT / "tests" / "distributions" / name, copy, ignore=LEFT_OUT)
        build(copy, folder, "--wheel")
        [wheels[name]] = folder.glob("*.whl")
    return wheels


@pytest.mark.parametrize("way", ["wheel", "editable"])
def test_tasks_of_other_distributions_are_there_for_as_long_as_these_are_installed(
    way: str,
    source: Path,
    built: dict[str, Path],
    environment: Environment,
    distributions: dict[str, Path],
    serve: Callable[[Environment], Server],
) -> None:
    environment.install(*(["--editable", source] if way == "editable" else [built[way]]))
    try:
        shipped = serve(environment).tasks()
        assert {"program", "primes", "sleep"} <= shipped

        environment.install(*distributions.values())
        try:
            server = serve(environment)
            assert server.tasks() == shipped | {"count_words", "shout", "count_letters"}
            assert server.result("count_words", "one or two", "least=3") == {"words": 2}
            assert server.result("shout", "hello") is None
            assert server.result("count_letters", "Anna") == {"a": 2, "n": 2}
        finally:
            environment.uninstall("aptask-example-texts", "aptask-example-letters")
        assert serve(environment).tasks() == shipped
    finally:
        environment.uninstall("aptask")
    assert not environment.lists_the_daemon()
