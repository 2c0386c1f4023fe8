"""What the pages tell a newcomer to type works as it stands there."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aptask.tasks.configured import read_tasks

ROOT = Path(__file__).parents[1]
PAGES = {
    page.name: page.read_text() for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
}


def fenced(page: str, language: str) -> list[str]:
    """The blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGES[page], re.M | re.S)


def chapter(page: str, title: str) -> str:
    """What stands under a heading."""
    return PAGES[page].partition(f"## {title}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[str]:
    """The indented lines of a text."""
    return [
        line.strip()
        for line in re.findall(r"^    (.+)$", re.sub("```.*?```", "", text, flags=re.S), re.M)
    ]


@pytest.fixture(scope="module")
def newcomer(folder: Path, tools: Any) -> Iterator[Callable[[list[str]], str]]:
    """Types commands as somebody new does: a home of one's own, and the programs installed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    work = folder / "work"
    work.mkdir()
    environment = {
        "HOME": str(folder),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
    }

    def type_(lines: list[str]) -> str:
        script = "\n".join(lines).replace("2142", str(port))
        script = script.replace(
            "twistd aptask", f"twistd aptask --listen tcp:{port}:interface=127.0.0.1"
        )
        # An ordinary file: the daemon that goes to the background would keep a pipe open.
        with (folder / "typed").open("w+") as typed:
            subprocess.run(
                ["bash", "-euc", script],
                cwd=work,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=typed,
                stderr=subprocess.STDOUT,
                timeout=60,
                check=False,
            )
            typed.seek(0)
            return typed.read()

    (work / "README.md").write_text(PAGES["README.md"])
    (work / "docs").mkdir()
    (work / "docs" / "page").write_text("text")
    yield type_
    stop_daemon(work, tools)


def stop_daemon(work: Path, tools: Any) -> None:
    pid = int((work / "twistd.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    tools.wait_until(lambda: not Path(f"/proc/{pid}/environ").exists() or is_over(pid), "its end")


def is_over(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_the_readme_works_as_it_stands(
    newcomer: Callable[[list[str]], str], program: Any, tools: Any, folder: Path
) -> None:
    program("nc")
    program("rsync")
    lines = commands(chapter("README.md", "In ten seconds, with netcat"))
    assert lines[3] == "twistd aptask"
    said = newcomer(lines[3:])  # without the installation, which tests/packaging do
    assert '"taskid":"1"' in said
    assert '"primes":78498' in said
    assert re.search(r"^primes\b", said, re.M), said
    (client,) = fenced("README.md", "python")[:1]
    (folder / "work" / "client.py").write_text(client)
    assert "done {'primes': 78498" in newcomer(["python client.py"])

    lines = commands(chapter("README.md", "What makes it different"))
    assert any("kill -9" in line for line in lines)
    said = newcomer(lines)
    assert said.endswith("the copy is whole\n"), said
    gone = said.index("the daemon is gone; waiting for it to come back ...")
    back = said.index("the daemon is back")
    assert re.search(r"^\d+\tprogram\trunning\t-\t\d+%", said[:gone], re.M), said
    rows = [line.split("\t") for line in said[back:].splitlines() if "\t" in line]
    assert len(rows) > 2, said
    assert rows[-1][2:5] == ["done", "-", "100%"]

    words = fenced("README.md", "python")[1]
    (folder / "work" / "mytasks").mkdir()
    (folder / "work" / "mytasks" / "words.py").write_text(words)
    stop_daemon(folder / "work", tools)
    said = newcomer(commands(chapter("README.md", "Your own task in ten lines")))
    assert f'"words":{len(PAGES["README.md"].split())}' in said, said


@pytest.fixture(scope="module")
def taught(daemons: Callable[..., Any], folder: Path) -> Any:
    """A daemon with the tasks of the page on writing them."""
    tasks = folder / "mytasks"
    tasks.mkdir()
    for block in fenced("tasks.md", "python"):
        name = re.match(r"# mytasks/(\w+\.py)\n", block)
        assert name is not None
        (tasks / name[1]).write_text(block)
    return daemons("--tasks", str(tasks))


def test_the_tasks_of_the_page_on_writing_them_run(
    taught: Any, program: Any, tmp_path: Path
) -> None:
    program("rsync")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "text").write_text("one two\nthree\n")
    counted = taught.run("count_words", path=str(tmp_path / "source" / "text"), least=4)
    assert counted["result"] == {"words": 1}
    mirrored = taught.run("mirror", source=f"{tmp_path}/source/", target=f"{tmp_path}/target/")
    assert mirrored["status"] == "done", mirrored
    assert (tmp_path / "target" / "text").exists()


@pytest.mark.parametrize("page", ["README.md", "tasks.md"])
def test_the_configured_tasks_of_a_page_are_accepted(page: str) -> None:
    for block in fenced(page, "toml"):
        tables = tomllib.loads(block)
        if "tasks" in tables:
            read_tasks(tables["tasks"], page)


def test_every_file_of_a_data_folder_is_on_the_page(taught: Any) -> None:
    taught.run("sleep", 0)
    table = chapter("running.md", "The data folder").partition("\n\n")[0]
    listed = set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\|([^|]+)\|", table, re.M))))
    there = {path.name + "/" * path.is_dir() for path in taught.data.iterdir()}
    assert there <= listed, there - listed
    assert listed - there <= {"runner.log.1"}


def test_the_client_of_the_page_on_running_works(taught: Any) -> None:
    for block in fenced("running.md", "python"):
        said = subprocess.run(
            [sys.executable, "-c", block],
            env={**os.environ, "APTASK_DATA": str(taught.data)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        assert said == "done\n"


def test_the_shell_of_the_protocol_page_works(taught: Any, program: Any) -> None:
    program("nc")
    lines = commands(chapter("protocol.md", "From a shell"))
    taskid = taught.run("sleep", 0)["taskid"]
    script = "\n".join(lines).replace("2142", str(taught.port)).replace('"1"', f'"{taskid}"')
    said = subprocess.run(
        ["bash", "-euc", script + '; echo "$answer"'],
        env={**os.environ, "KEY": taught.admin_key},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert '"response":"start"' in said
    assert '"status":"done"' in said


def test_the_index_of_the_protocol_page_is_what_the_daemon_answers(taught: Any) -> None:
    import json

    example = re.search(r'"index" : (\[.+?\n        \])', PAGES["protocol.md"], re.S)
    assert example is not None
    (shown,) = json.loads(example[1])
    assert shown in taught.ask("index")["index"]


def test_what_the_page_says_of_changing_a_daemon_that_runs_works(
    daemons: Callable[..., Any], tools: Any
) -> None:
    lines = commands(chapter("running.md", "Changing it while it runs"))
    (check,) = [line for line in commands(PAGES["running.md"]) if line.endswith("--check")]
    assert {line.split()[1] for line in lines if line.startswith("aptask ")} == {
        "reload",
        "limits",
        "drain",
        "shutdown",
    }
    daemon = daemons(config="slots = 1\n")
    taskid = daemon.ask("start", name="sleep", arguments=[0.5])["taskid"]
    said = subprocess.run(
        ["bash", "-euxc", "\n".join([check, *lines])],
        cwd=daemon.folder,
        env={
            **os.environ,
            "APTASK_DATA": str(daemon.data),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    assert "slots: 1" in said.stdout
    assert "default\t8\tyes\n" in said.stdout
    assert "gpu\t1\tno\n" in said.stdout
    assert daemon.process.wait(30) == 0
    daemon.start()
    assert daemon.ask("show", taskid=taskid)["task"]["status"] == "done"
