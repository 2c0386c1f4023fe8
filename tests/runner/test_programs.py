"""Programs as a runner runs them: their surroundings, their end, and whatever can be wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from aptask.model.job import Status
from aptask.model.orders import Ended, Forget, Progressed, Spawn, Start, Started


def environment_of(runner: Any, **fields: Any) -> dict[str, str]:
    ended = runner.run(Spawn(["env", "-0"], **fields))
    assert ended.status is Status.DONE
    pairs = runner.output(ended.job).split("\0")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def test_a_program_has_the_clean_environment_and_nothing_else_of_the_daemons(runner: Any) -> None:
    found = environment_of(runner, env={"MINE": "1", "APTASK_TASKID": "forged"})
    job = str(runner._last_job)
    assert found["MINE"] == "1"
    assert found["LC_TIME"] == "C"
    assert found["TZ"] == "UTC"
    assert found["HOME"] == os.environ["HOME"]
    assert found["PYTHONUNBUFFERED"] == "1"
    assert found["APTASK_TASKID"] == job
    assert found["APTASK_TASK"] == "test"
    assert found["APTASK_OWNER"] == "somebody"
    assert found["APTASK_REPORT_FD"] == "3"
    assert found["APTASK_JOB"] == f"{runner.instance}/{job}/1"
    allowed = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "MINE"}
    assert not [
        name
        for name in found
        if name not in allowed and not name.startswith(("LC_", "APTASK_", "PYTHONUNBUFFERED"))
    ]


def test_a_program_leads_a_session_of_its_own(runner: Any) -> None:
    job = runner.start(Spawn(["sh", "-c", "ps -o pid=,pgid=,sid= -p $$"]))
    pid = runner.started(job).pid
    runner.ended(job)
    assert runner.output(job).split() == [str(pid)] * 3


def test_a_program_begins_in_the_home_of_the_account_or_where_it_is_told(
    runner: Any, tmp_path: Path
) -> None:
    home = Path(os.environ["HOME"]).resolve()
    assert runner.output(runner.run(Spawn(["pwd", "-P"])).job).strip() == str(home)
    told = runner.run(Spawn(["pwd", "-P"], cwd=str(tmp_path)))
    assert runner.output(told.job).strip() == str(tmp_path.resolve())


def test_a_program_gets_the_niceness_and_the_memory_limit_that_it_asks_for(runner: Any) -> None:
    script = "nice; ulimit -v"
    ended = runner.shell(script, nice=7, memory_limit=512 << 20)
    assert runner.output(ended.job).split() == [str(min(os.nice(0) + 7, 19)), str(512 << 10)]


def test_a_program_reads_its_text_or_nothing(runner: Any, tmp_path: Path) -> None:
    text = "ä line\n" * 100_000
    assert runner.output(runner.run(Spawn(["md5sum"], stdin=text)).job)
    ended = runner.run(Spawn(["wc", "-l"], stdin=text))
    assert runner.output(ended.job).strip() == "100000"
    assert runner.output(runner.run(Spawn(["wc", "-c"])).job).strip() == "0"
    file = tmp_path / "input"
    file.write_text("from a file")
    assert runner.output(runner.run(Spawn(["cat"], stdin_file=str(file))).job) == "from a file"


def test_a_program_that_does_not_read_its_text_ends_as_any(runner: Any) -> None:
    assert runner.run(Spawn(["true"], stdin="x" * 1_000_000)).status is Status.DONE


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what cannot be run."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "script").write_text("#!/no/such/interpreter\n")
    (folder / "script").chmod(0o755)
    (folder / "plain").write_text("text")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo")
    return folder


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"command": ["no-such-program"]}, "there is no program `no-such-program` (looked in "),
        ({"command": ["{}/missing"]}, "there is no program {}/missing"),
        ({"command": [""]}, "there is no program ``"),
        ({"command": ["{}/plain"]}, "{}/plain is not executable"),
        ({"command": ["{}/folder"]}, "{}/folder is a folder, not a program"),
        (
            {"command": ["{}/script"]},
            "{}/script could not be started: its interpreter /no/such/interpreter is missing",
        ),
        (
            {"command": ["{}/script"], "nice": 1, "memory_limit": 1 << 30},
            "{}/script could not be started: its interpreter /no/such/interpreter is missing",
        ),
        ({"command": ["true"], "cwd": "{}/none"}, "the working folder {}/none is not there"),
        ({"command": ["true"], "cwd": "{}/plain"}, "the working folder {}/plain is not a folder"),
        ({"command": ["true", "a\0b"]}, "an argument holds a NUL character: 'a\\x00b'"),
        ({"command": ["true"], "cwd": "a\0b"}, "the working folder "),
        ({"command": ["true"], "env": {"A": "b\0"}}, "'A' cannot be set in an environment to "),
        ({"command": ["true"], "env": {"A=B": ""}}, "'A=B' cannot be set in an environment to "),
        (
            {"command": ["true", "x" * 200_000]},
            "the arguments and the environment are too long for one program",
        ),
        (
            {"command": ["true", *["x" * 1000] * 3000]},
            "the arguments and the environment are too long for one program",
        ),
        (
            {"command": ["true"], "stdin_file": "{}/none"},
            "its standard input '{}/none' cannot be read: No such file or directory",
        ),
        (
            {"command": ["true"], "stdin_file": "{}/fifo"},
            "its standard input {}/fifo is not a file",
        ),
        (
            {"command": ["true"], "stdin_file": "{}/folder"},
            "its standard input {}/folder is not a file",
        ),
        ({"command": ["true"], "progress": "no parser ("}, ""),
    ],
)
def test_what_cannot_be_run_ends_with_one_clear_sentence(
    runner: Any, wrong: Path, plan: dict[str, Any], message: str
) -> None:
    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(each) for each in value]
        return value.replace("{}", str(wrong)) if isinstance(value, str) else value

    ended = runner.run(Spawn(**{name: fill(value) for name, value in plan.items()}))
    assert ended.status is Status.ERROR
    assert ended.message.startswith(fill(message))
    assert "\n" not in ended.message
    assert runner.shell("true").status is Status.DONE


def test_a_program_may_not_begin_in_the_data_folder(runner: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(runner.data)
    for folder in (runner.data, runner.data / "output", tmp_path / "link"):
        ended = runner.run(Spawn(["true"], cwd=str(folder)))
        assert ended.status is Status.ERROR
        assert "in aptask's data folder" in ended.message


def test_an_exit_code_is_told_with_the_last_line(runner: Any) -> None:
    ended = runner.shell("echo fine; echo 'it broke' >&2; echo; exit 3")
    assert (ended.status, ended.exit, ended.message) == (
        Status.ERROR,
        3,
        "exit code 3: it broke",
    )
    assert runner.shell("exit 127").message == "exit code 127"


def test_a_signal_is_told_by_its_name(runner: Any) -> None:
    ended = runner.shell("kill -SEGV $$")
    assert (ended.exit, ended.message) == (-11, "killed by SIGSEGV")
    assert runner.shell("kill -9 $$").message == "killed by SIGKILL"


def test_standard_output_and_error_are_kept_in_their_order(runner: Any) -> None:
    ended = runner.shell("for i in 1 2 3; do echo out $i; echo err $i >&2; done")
    assert runner.output(ended.job) == "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n"


def test_output_is_there_while_the_program_runs(runner: Any) -> None:
    job = runner.start(Spawn(["sh", "-c", "echo now; sleep 60"]))
    runner.wait_for_output(job, "now")
    runner.stop(job)
    assert runner.ended(job).status is Status.STOPPED


def test_of_a_flood_the_first_and_the_last_half_are_kept(runner: Any, helpers: Any) -> None:
    script = "echo first; yes | head -c 20000000; echo last"
    ended = runner.shell(script)
    kept = runner.output(ended.job)
    assert ended.status is Status.DONE
    assert kept.startswith("first\ny\n")
    assert kept.endswith("y\nlast\n")
    assert "bytes are left out here" in kept
    assert len(kept) < helpers.CAPACITY + 100
    files = (runner.data / "output").glob(f"{ended.job}.*")
    assert sum(file.stat().st_size for file in files) <= helpers.CAPACITY + 16
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)


def test_the_output_of_a_further_attempt_follows_that_of_those_before(runner: Any) -> None:
    kept = "first"
    job = runner.shell("printf first").job
    for attempt, command, follows in (
        (2, ["echo", "second"], "\n[aptask: attempt 2]\nsecond\n"),
        (3, ["true"], ""),
        (4, ["echo", "fourth"], "[aptask: attempt 4]\nfourth\n"),
    ):
        runner.start(Spawn(command), job=job, attempt=attempt)
        runner.expect(
            lambda event, attempt=attempt: isinstance(event, Ended) and event.attempt == attempt
        )
        kept += follows
        assert runner.output(job) == kept


# Reports


@pytest.mark.parametrize(
    ("interpreter", "script"),
    [
        ("sh", """echo '{"progress": 0.5, "message": "half"}' >&3"""),
        ("node", """require("fs").writeSync(3, '{"progress": 0.5, "message": "half"}\\n')"""),
        (
            "perl",
            """open(F, ">&=", $ENV{APTASK_REPORT_FD});"""
            """print F '{"progress":0.5,"message":"half"}'""",
        ),
    ],
)
def test_a_script_of_any_language_reports_on_its_descriptor(
    runner: Any, program: Any, interpreter: str, script: str
) -> None:
    option = "-c" if interpreter == "sh" else "-e"
    ended = runner.run(Spawn([program(interpreter), option, script]))
    assert ended.status is Status.DONE
    assert (ended.fraction, ended.message) == (0.5, "half")


def test_a_flood_of_reports_and_junk_keeps_the_newest(runner: Any) -> None:
    script = (
        """i=0; while [ $i -lt 3000 ]; do i=$((i+1)); """
        """echo '{"progress": 0.'$i'} {' >&3; printf '{"progress": 0.%04d}\\n\\0' $i >&3; done"""
    )
    ended = runner.shell(script)
    assert ended.fraction == 0.3
    told = [event for event in runner.events if isinstance(event, Progressed)]
    assert len([event for event in told if event.job == ended.job]) < 200


# The end


def test_a_grandchild_that_keeps_the_output_open_delays_nothing_and_is_ended(runner: Any) -> None:
    job = runner.start(Spawn(["sh", "-c", "sleep 1000 & echo done"]))
    pid = runner.started(job).pid
    assert runner.ended(job).status is Status.DONE
    assert runner.output(job) == "done\n"
    assert not runner.members(job, pid)


def test_a_grandchild_in_a_session_of_its_own_is_ended_too(runner: Any) -> None:
    job = runner.start(Spawn(["sh", "-c", "setsid sleep 1000 & setsid env -i sleep 1001 & exit 4"]))
    pid = runner.started(job).pid
    assert runner.ended(job).exit == 4
    assert not runner.members(job, pid)


# The link


def test_an_order_that_was_had_already_is_answered_and_not_carried_out_again(runner: Any) -> None:
    job = runner.start(Spawn(["sh", "-c", "echo once"]))
    first = runner.ended(job)
    runner.events.clear()
    runner.send(Start(job, 1, "test", "somebody", Spawn(["false"]), 4096))
    assert runner.ended(job) == first
    assert runner.output(job) == "once\n"


def test_hello_asks_for_what_was_missed_until_it_is_forgotten(own_runner: Any) -> None:
    runner = own_runner
    ends = [runner.shell("true") for _ in range(3)]
    runner.send(Forget(ends[0].number))
    runner.shell("true")
    runner.connect(runner.instance, ends[1].number)
    runner.events.clear()
    assert runner.ended(ends[2].job) == ends[2]
    runner.connect(runner.instance)
    runner.events.clear()
    runner.ended(ends[2].job)
    numbers = [event.number for event in runner.events if hasattr(event, "number")]
    assert numbers == sorted(numbers)
    assert ends[0].number not in numbers
    assert ends[1].number in numbers
    runner.connect("another")
    runner.events.clear()
    runner.send(Start(90, 1, "t", "o", Spawn(["true"]), 4096))
    runner.ended(90)
    assert not [event for event in runner.events if getattr(event, "job", 90) != 90]


def test_what_cannot_be_read_as_an_order_is_passed_over(own_runner: Any) -> None:
    own_runner.link.sendall(b'junk\n{"order": "start"}\n\xff\n')
    assert own_runner.shell("true").status is Status.DONE


def test_the_newest_daemon_wins(own_runner: Any) -> None:
    before = own_runner.link
    welcome = own_runner.connect()
    assert (welcome.instance, welcome.pid) == (own_runner.instance, own_runner.process.pid)
    assert before.recv(1000) == b""
    before.close()
    assert own_runner.shell("true").status is Status.DONE


def test_the_socket_and_the_output_belong_to_the_account_alone(runner: Any) -> None:
    assert (runner.data / "runner.sock").stat().st_mode & 0o777 == 0o600
    assert (runner.data / "output").stat().st_mode & 0o777 == 0o700


def test_started_comes_before_ended_with_the_pid(runner: Any) -> None:
    job = runner.start(Spawn(["sh", "-c", "echo $$"]))
    started = runner.started(job)
    ended = runner.ended(job)
    assert isinstance(started, Started)
    assert started.number < ended.number
    assert runner.output(job) == f"{started.pid}\n"
