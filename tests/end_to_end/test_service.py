"""The daemon as a service: how it starts, refuses to, and stops."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def start_and_fail(tools: Any, folder: Path, *options: str, config: str | None = None) -> Any:
    arguments = ["--data", str(folder / "data")]
    if config is not None:
        (folder / "aptask.toml").write_text(config)
        arguments += ["--config", str(folder / "aptask.toml")]
    return subprocess.run(
        [*tools.twistd(), "-n", "--pidfile=", "aptask", *arguments, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("slots = 'many'", "slots"),
        ("colour = 1", "colour"),
        ("slots = ", "is not TOML"),
        ("[users.alice]\nkey = 'x'\ntaks = []", "taks"),
        ("[users.alice]", "key"),
        ("[limits]\nrequest_bytes = 'x'", "request_bytes"),
        ("[tasks.t]\ncommand = ['echo', '{x}']", "tasks.t"),
        ("[tasks.t]\npython = 'nosuchmodule:f'", "nosuchmodule"),
        ("[web]\nlisten = 'tcp:0'", "web"),
        ("listen = ['tcp:0']", "TLS"),
        ("listen = ['udp:0']", "udp"),
        ("authentication = false\nlisten = ['ssl:0:privateKey=x:certKey=y']", "authentication"),
    ],
)
def test_a_wrong_configuration_is_refused_with_a_sentence(
    tools: Any, tmp_path: Path, config: str, said: str
) -> None:
    failed = start_and_fail(tools, tmp_path, config=config)
    assert failed.returncode in (1, 2)
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "aptask.toml" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--slots", "none"), "slots"),
        (("--web", "tcp:0:interface=127.0.0.1"), "page"),
        (("--listen", "nonsense"), "nonsense"),
        (("--tasks", "/no/such/folder"), "/no/such/folder"),
        (("--config", "/no/such/file.toml"), "/no/such/file.toml"),
        (("--data", "/proc/no"), "/proc/no"),
        (("--data", "/tmp/" + "x" * 120), "107"),
        (("--data", "/dev/null"), "/dev/null"),
    ],
)
def test_a_wrong_option_is_refused_with_a_sentence(
    tools: Any, tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    failed = start_and_fail(tools, tmp_path, *options)
    assert failed.returncode in (1, 2)
    assert said in failed.stderr
    assert "Traceback" not in failed.stderr


def test_a_port_that_is_taken_is_refused_with_a_sentence(tools: Any, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = start_and_fail(tools, folder, "--listen", f"tcp:{port}:interface=127.0.0.1")
    assert failed.returncode == 1
    assert f"cannot listen on tcp:{port}:interface=127.0.0.1" in failed.stderr
    assert "Address already in use" in failed.stderr
    assert "Traceback" not in failed.stderr + failed.stdout


def test_a_second_daemon_on_the_same_folder_is_refused_naming_the_first(
    tools: Any, folder: Path, daemon: Any
) -> None:
    failed = start_and_fail(tools, folder, "--data", str(daemon.data))
    assert failed.returncode == 1
    assert f"belongs to a running daemon (process {daemon.process.pid})" in failed.stderr
    assert daemon.ask("ping")["status"] == "ok"


def test_what_it_keeps_is_for_its_account_alone(daemon: Any) -> None:
    daemon.run("program", ["echo", "secret"])
    assert stat.S_IMODE(daemon.data.stat().st_mode) == 0o700
    for path in daemon.data.rglob("*"):
        if path.is_symlink():
            continue  # Twisted's lock of a Unix socket: it leads nowhere
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode & 0o077 == 0, f"{path}: {mode:o}"


def test_its_key_stays_the_same_over_restarts(daemons: Callable[..., Any], folder: Path) -> None:
    data = folder / "kept"
    first = daemons(data=data)
    first.stop()
    assert daemons(data=data).admin_key == first.admin_key


def test_without_authentication_everyone_is_an_admin(daemons: Callable[..., Any]) -> None:
    daemon = daemons(config="authentication = false")
    answer = daemon.send(b'{"request":"start","name":"program","arguments":[["true"]]}')
    assert answer["status"] == "ok"
    assert daemon.send(b'{"request":"active","owner":"*"}')["status"] == "ok"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_gracefully_and_leaves_nothing_running(
    tools: Any, daemons: Callable[..., Any], number: int
) -> None:
    daemon = daemons("--slots", "2")
    polite = (
        "trap 'echo asked; sleep 0.3; echo cleaned up; exit 0' TERM; echo ready; sleep 60 & wait"
    )
    taskid = daemon.ask("start", name="program", arguments=[["sh", "-c", polite]])["taskid"]
    waits = daemon.connect()
    request = {"key": daemon.admin_key, "request": "wait", "taskid": taskid}
    waits.sendall(json.dumps(request).encode())

    def is_ready() -> bool:
        return "ready" in daemon.ask("output", taskid=taskid)["text"]

    tools.wait_until(is_ready, "the job is ready")
    daemon.stop(number)
    with waits, waits.makefile("rb") as answers:
        answer = json.loads(answers.readline())
        assert answer["code"] == "unavailable"
        assert answers.readline() == b""
    output = (daemon.data / "output" / f"{taskid}.head").read_text()
    assert output.splitlines() == ["ready", "asked", "cleaned up"]


def test_what_does_not_end_is_killed_within_the_deadline(
    tools: Any, daemons: Callable[..., Any]
) -> None:
    daemon = daemons(config="stop_deadline = 4.0")
    stubborn = "trap '' TERM; echo ready; while :; do sleep 1; done"
    daemon.ask("start", name="program", arguments=[["sh", "-c", stubborn]])
    tools.wait_until(
        lambda: "ready" in daemon.ask("output", taskid="1")["text"], "the job is ready"
    )
    daemon.stop()


def test_a_second_signal_ends_all_at_once(tools: Any, daemons: Callable[..., Any]) -> None:
    daemon = daemons(config="stop_deadline = 600.0")
    stubborn = "trap '' TERM; echo ready; while :; do sleep 1; done"
    for _ in range(2):
        daemon.ask("start", name="program", arguments=[["sh", "-c", stubborn]])
    tools.wait_until(
        lambda: "ready" in daemon.ask("output", taskid="1")["text"], "the job is ready"
    )
    daemon.process.send_signal(signal.SIGTERM)
    tools.wait_until(
        lambda: "stopping" in daemon.log.read_text(), "the first signal has been heard"
    )
    daemon.stop(signal.SIGTERM)


def test_it_logs_json_lines_where_it_is_told_to(daemons: Callable[..., Any]) -> None:
    daemon = daemons(config='log = "json"')
    daemon.stop()
    lines = [json.loads(line.lstrip("\x1e")) for line in daemon.log.read_text().splitlines()]
    assert any("serves" in str(line.get("log_format")) for line in lines)


def test_it_runs_under_twist_too(tools: Any, folder: Path) -> None:
    twist = Path(sys.executable).with_name("twist")
    process = subprocess.Popen(
        [twist, "aptask", "--data", folder / "twist", "--listen", f"unix:{folder}/twist.sock"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if "serves" in line:
                break
        else:
            pytest.fail("it did not start")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(folder / "twist.sock"))
            connection.sendall(b'{"request":"ping"}')
            assert b'"ok"' in connection.recv(1000)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_a_daemonised_twistd_runs_tasks_and_stops(tools: Any, folder: Path) -> None:
    data, pidfile = folder / "background", folder / "background.pid"
    start = [*tools.twistd(), f"--pidfile={pidfile}", f"--logfile={folder}/background.log"]
    aptask = ["aptask", "--data", str(data), "--listen", f"unix:{data}/aptask.sock"]
    subprocess.run([*start, *aptask], cwd=folder, check=True, timeout=60)
    pid = int(tools.wait_until(lambda: pidfile.exists() and pidfile.read_text(), "it has a pid"))
    try:
        refused = subprocess.run(
            [*tools.twistd(), f"--pidfile={folder}/second.pid", "--logfile=-", *aptask],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert refused.returncode == 1
        assert f"process {pid}" in refused.stderr

        def ended() -> Any:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(f"{data}/aptask.sock")
                key = (data / "local.key").read_text().strip()
                start = {"key": key, "request": "start", "name": "program"}
                start["arguments"] = [["true"]]  # type: ignore[assignment]
                wait = {"key": key, "request": "wait", "taskid": "1"}
                connection.sendall(json.dumps(start).encode() + json.dumps(wait).encode())
                with connection.makefile("rb") as answers:
                    answers.readline()
                    return json.loads(answers.readline())

        assert ended()["task"]["status"] == "done"
    finally:
        os.kill(pid, signal.SIGTERM)
    tools.wait_until(lambda: not Path(f"/proc/{pid}").exists(), "it has stopped")
    assert not tools.marked(f"APTASK_DATA={data}")


def test_an_option_wins_over_the_file_and_that_over_the_environment(
    tools: Any, daemons: Callable[..., Any]
) -> None:
    daemon = daemons("--slots", "3", config="slots = 1")
    for _ in range(5):
        daemon.ask("start", name="sleep", arguments=[30])

    def states() -> list[str]:
        return [task["state"] for task in daemon.ask("active")["active"]]

    tools.wait_until(lambda: "active" in states(), "the runner is there")
    assert states() == ["active"] * 3 + ["queued"] * 2


def test_a_data_folder_that_is_open_to_others_is_refused(tools: Any, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(0o755)
    failed = start_and_fail(tools, tmp_path)
    assert failed.returncode == 1
    assert f"chmod 700 {tmp_path}/data" in failed.stderr


def test_a_closed_terminal_ends_nothing(tools: Any, daemons: Callable[..., Any]) -> None:
    daemon = daemons()
    daemon.process.send_signal(signal.SIGHUP)
    tools.wait_until(lambda: "reloaded: " in daemon.log.read_text(), "it is logged")
    assert daemon.run("sleep", 0.01)["status"] == "done"


def test_jobs_have_the_umask_and_the_limits_that_the_daemon_was_started_with(
    daemons: Callable[..., Any],
) -> None:
    before = os.umask(0o027)
    try:
        daemon = daemons("--slots", "1")
    finally:
        os.umask(before)
    task = daemon.run("program", ["sh", "-c", "umask; ulimit -Sn"])
    umask, descriptors = daemon.ask("output", taskid=task["taskid"])["text"].split()
    assert umask == "0027"
    assert int(descriptors) == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_dead_daemons_socket_does_not_keep_the_next_one_from_starting(
    daemons: Callable[..., Any], folder: Path
) -> None:
    data = folder / "crashed"
    first = daemons(data=data)
    first.process.kill()
    first.process.wait()
    (data / "aptask.sock.lock").unlink(missing_ok=True)
    (data / "aptask.sock.lock").symlink_to(str(os.getpid()))  # a number that is used again
    assert daemons(data=data).ask("ping")["status"] == "ok"


def test_a_clients_regular_expression_is_refused(daemon: Any) -> None:
    answer = daemon.ask(
        "start", name="program", arguments={"command": ["true"], "progress": "(?P<percent>(.+)+)x"}
    )
    assert answer["code"] == "invalid-arguments"
    assert "progress" in answer["message"]


def test_a_program_by_its_path_is_looked_for_where_it_will_run(
    daemons: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "build.sh").write_text("#!/bin/sh\necho built\n")
    (tmp_path / "build.sh").chmod(0o755)
    daemon = daemons(config=f"[tasks.build]\ncommand = ['./build.sh']\ncwd = '{tmp_path}'")
    assert daemon.run("build")["status"] == "done"


def test_a_task_that_is_stopped_with_the_daemon_has_its_own_grace(
    tools: Any, daemons: Callable[..., Any]
) -> None:
    config = "stop_deadline = 600.0\n[tasks.stubborn]\ngrace = 0.2\n"
    config += """command = ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"]"""
    daemon = daemons(config=config)
    daemon.ask("start", name="stubborn")
    tools.wait_until(
        lambda: "ready" in daemon.ask("output", taskid="1")["text"], "the job is ready"
    )
    daemon.stop()  # which gives up long before the deadline
