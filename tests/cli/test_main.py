"""What all commands have: `--json`, exit statuses, help, and how they end before their time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aptask.cli.commands import COMMANDS
from aptask.cli.main import main, parse
from aptask.errors import BY_CODE
from tests.client.fake_daemon import CLOSE, SILENCE, FakeDaemon, ended, refusal, task

Capture = pytest.CaptureFixture[str]


# --json


def lines(capsys: Capture) -> list[dict[str, Any]]:
    printed = capsys.readouterr()
    assert printed.err == ""
    return [json.loads(line) for line in printed.out.splitlines()]


def test_json_prints_the_response_as_it_came(fake: FakeDaemon, capsys: Capture) -> None:
    line = '{"response":"index","status":"ok",  "index":[],"novelty":1.50}\n'
    fake.answers["index"] = lambda request: line.encode()
    assert main(["--json", "index"]) == 0
    assert main(["index", "--json"]) == 0
    assert capsys.readouterr().out == line * 2


def test_json_prints_the_answers_and_not_what_led_to_them(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    daemon_with_tasks.goes(ended())
    daemon_with_tasks.answers["output"] = lambda request: [
        {"text": "a", "offset": 1, "end": False},
        {"text": "b", "offset": 2, "end": True},
    ]
    assert main(["start", "primes", "100", "--follow", "--json"]) == 0
    printed = lines(capsys)
    assert [line["response"] for line in printed] == ["start", "output", "output", "wait"]
    assert [line.get("text") for line in printed] == [None, "a", "b", None]


def test_json_of_start_and_wait_is_the_start_and_the_end(
    daemon_with_tasks: FakeDaemon, capsys: Capture
) -> None:
    daemon_with_tasks.goes(ended())
    assert main(["start", "primes", "--wait", "--json"]) == 0
    start, wait = lines(capsys)
    assert start == {"status": "ok", "response": "start", "taskid": "17"}
    assert wait["task"]["status"] == "done"


@pytest.mark.parametrize(
    "argv", [["show", "1"], ["start", "x", "y"], ["active"], ["output", "1"], ["wait", "1"]]
)
def test_json_prints_errors_too(fake: FakeDaemon, capsys: Capture, argv: list[str]) -> None:
    for name in ("index", "show", "active", "output", "wait"):
        fake.answers[name] = lambda request: refusal("unauthorized", "who are you?")
    assert main([*argv, "--json"]) == 1
    [line] = lines(capsys)
    assert (line["status"], line["code"]) == ("error", "unauthorized")


# Exit statuses, help, and what goes wrong


@pytest.mark.parametrize("code", BY_CODE)
def test_when_the_daemon_says_no_the_exit_status_is_1_and_its_words_are_shown(
    fake: FakeDaemon, capsys: Capture, code: str
) -> None:
    fake.answers["active"] = lambda request: refusal(code, "because \x1b[2J")
    assert main(["active"]) == 1
    assert capsys.readouterr().err.startswith("aptask: because \\x1b[2J\n")


def test_no_daemon_is_exit_status_3_and_says_how_to_start_one(
    own_environment: None, capsys: Capture
) -> None:
    for server in ("unix:/nowhere/aptask.sock", "127.0.0.1:1"):
        assert main(["active", "--server", server]) == 3
        said = capsys.readouterr().err
        assert said == f"aptask: no daemon at {server}: start one with `twistd -n aptask`\n"


def test_a_daemon_that_dies_is_exit_status_3(fake: FakeDaemon, capsys: Capture) -> None:
    fake.answers["active"] = lambda request: CLOSE
    assert main(["active"]) == 3
    assert "broke before the answer came" in capsys.readouterr().err


@pytest.mark.parametrize(
    "argv",
    [[], ["nothing"], ["index", "--nothing"], ["show"], ["start"], ["stop"], ["index", "a", "b"],
     ["--server"], ["--key", "k", "index"], ["active", "--limit", "many"],
     ["index", "--server", "nowhere"], ["index", "--key-file", "/nowhere"],
     ["start", "x", "\udcff"]],
)  # fmt: skip
def test_wrong_usage_is_exit_status_2_with_a_reason(
    daemon_with_tasks: FakeDaemon, capsys: Capture, argv: list[str]
) -> None:
    assert main(argv) == 2
    assert "aptask" in capsys.readouterr().err


def test_the_server_and_key_come_from_options_then_the_environment(
    fake: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.answers["index"] = lambda request: {"index": []}
    monkeypatch.setenv("APTASK_SERVER", fake.tcp)
    monkeypatch.setenv("APTASK_KEY", "from-environment")
    (tmp_path / "key").write_text("from-file\n")
    assert main(["index"]) == 0
    assert main(["--key-file", str(tmp_path / "key"), "index"]) == 0
    monkeypatch.setenv("APTASK_SERVER", "127.0.0.1:1")
    assert main(["index", "--server", fake.unix]) == 0
    assert [request["key"] for request in fake.requests] == [
        "from-environment", "from-file", "from-environment",
    ]  # fmt: skip


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_every_help_has_an_example_that_is_right(
    daemon_with_tasks: FakeDaemon, capsys: Capture, argv: list[str]
) -> None:
    assert main(argv) == 0
    printed = capsys.readouterr().out
    _, _, examples = re.sub("examples?:", "example:", printed).partition("example:\n")
    lines = re.findall(r"^  aptask (.+)$", examples, re.M)
    assert lines
    for example in lines:
        assert parse(re.split(" [|>] ", example)[0].split()).command in COMMANDS


# Signals and pipes, in a process of its own


def command(*argv: str) -> list[str]:
    return [sys.executable, "-m", "aptask.cli.main", *argv]


def test_ctrl_c_while_waiting_leaves_the_task_running_and_says_how_to_get_back(
    daemon_with_tasks: FakeDaemon,
) -> None:
    daemon_with_tasks.answers["watch"] = lambda request: [{"task": task()}, SILENCE]
    with subprocess.Popen(
        command("start", "primes", "--wait"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline().startswith("17\tprimes\trunning")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "`aptask wait 17`" in said
    assert "`aptask stop 17`" in said
    assert "Traceback" not in said
    assert "stop" not in daemon_with_tasks.names()


def test_who_reads_no_further_ends_it_without_a_word(
    fake: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Unbuffered, Python itself drops the rest of a text of which a part could be written.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    fake.wrote("line\n" * 200_000)
    with subprocess.Popen(
        command("output", "17"), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_nothing_slow_is_imported_for_a_command_that_answers_at_once(
    daemon_with_tasks: FakeDaemon,
) -> None:
    slow = "{'rich', 'ssl', 'asyncio', 'twisted', 'zope', 'subprocess', 'tempfile', 'logging'}"
    code = (
        "import sys; from aptask.cli.main import main; main(['index']);"
        f"print(sorted({slow} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_encoding_that_lacks_characters_loses_nothing_else(
    daemon_with_tasks: FakeDaemon,
) -> None:
    daemon_with_tasks.answers["index"] = lambda request: {
        "index": [{"name": "é", "help": "☃", "arguments": []}]
    }
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        command("index"), capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "\\xe9\t-\t\\u2603\n"
