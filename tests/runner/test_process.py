"""One program's process, with the real reactor: spawned either way, read, and its end told once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor as the_reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from aptask.model.orders import Spawn
from aptask.runner import process
from aptask.runner.process import CannotSpawn, Program, not_executed, signal_name
from aptask.runner.sessions import Sessions

reactor: Any = the_reactor
ENVIRONMENT = {"PATH": os.environ["PATH"]}


class Run:
    """A program, and what it told."""

    def __init__(self, *command: str, folder: str = "/", **plan: Any) -> None:
        self.output = b""
        self.reports = b""
        self.codes: list[int | None] = []
        self.over: Deferred[int | None] = Deferred()
        self.at_exit = b""
        self.program = Program(
            reactor,
            Spawn(list(command), **plan),
            ENVIRONMENT,
            folder,
            sessions=SESSIONS,
            wrote=self._wrote,
            reported=self._reported,
            exited=self._exited,
        )

    def _wrote(self, data: bytes) -> None:
        self.output += data

    def _reported(self, data: bytes) -> None:
        self.reports += data

    def _exited(self, code: int | None) -> None:
        self.codes.append(code)
        self.at_exit = self.output
        self.program.close()
        if len(self.codes) == 1:
            self.over.callback(code)


SESSIONS = Sessions()


@pytest.fixture(params=["by the system", "by setsid", "by setsid in a fork"])
def _either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session for each program, made in each of the ways there are."""
    monkeypatch.setattr(reactor, "_neverUseSpawn", "fork" in request.param, raising=False)
    monkeypatch.setattr(SESSIONS, "works", request.param == "by the system")


def descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_all_that_was_written_is_there_when_its_end_is_told() -> None:
    run = Run("sh", "-c", "seq 20000; echo report >&3; exit 3")
    assert await run.over == 3
    assert run.at_exit.endswith(b"20000\n")
    assert run.reports == b"report\n"


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_a_signal_is_its_negative_number() -> None:
    assert await Run("sh", "-c", "kill -9 $$").over == -9


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_it_has_its_pipes_and_nothing_else_open() -> None:
    run = Run("sh", "-c", "ls /proc/$$/fd; readlink /proc/$$/fd/0")
    assert await run.over == 0
    assert run.output.split() == [b"0", b"1", b"2", b"3", b"/dev/null"]


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_it_keeps_its_pid_and_leads_a_session() -> None:
    run = Run("sh", "-c", "echo $$; ps -o sid= -p $$")
    await run.over
    assert run.output.split() == [b"%d" % run.program.pid] * 2


@pytest.mark.usefixtures("_either_way")
@pytest.mark.parametrize(
    ("command", "plan"),
    [
        (["no-such-program"], {}),
        (["/no/such/program"], {}),
        (["/etc/passwd"], {}),
        (["/etc"], {}),
        (["true", "a\0b"], {}),
        (["true", "x" * 200_000], {}),
        (["true"], {"folder": "/no/such/folder"}),
        (["true"], {"folder": "/etc/passwd"}),
        (["true"], {"stdin_file": "/no/such/file"}),
    ],
)
def test_what_cannot_be_spawned_is_said_and_leaves_nothing_open(
    command: list[str], plan: dict[str, Any]
) -> None:
    before, folder = descriptors(), os.getcwd()
    with pytest.raises(CannotSpawn) as raised:
        Run(*command, **plan)
    assert "\n" not in str(raised.value)
    assert descriptors() == before
    assert os.getcwd() == folder


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_a_script_without_its_interpreter_is_told_from_an_exit_code(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/no/such/interpreter -x\n")
    script.chmod(0o755)
    plan = Spawn(["./script"])
    why = "./script could not be started: its interpreter /no/such/interpreter is missing"
    try:
        run = Run("./script", folder=str(tmp_path))
    except CannotSpawn as error:
        assert SESSIONS.works
        assert str(error) == why
        return
    code = await run.over
    assert code == 127
    line = run.output.decode().strip()
    assert not_executed(plan, str(tmp_path), code, line) == why
    assert not_executed(plan, str(tmp_path), 3, line) is None
    assert not_executed(plan, str(tmp_path), code, "sh: script: not found") is None
    binary = not_executed(plan, "/nowhere", code, line)
    assert binary == "./script could not be started: No such file or directory"


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_a_script_that_does_not_say_its_interpreter_is_the_shells(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo $0 $1\n")
    script.chmod(0o755)
    run = Run("./script", "argument", folder=str(tmp_path))
    assert await run.over == 0
    assert run.output == b"./script argument\n"


@pytest.mark.usefixtures("_either_way")
@pytest_twisted.ensureDeferred
async def test_a_program_leads_a_session_of_its_own() -> None:
    run = Run("sh", "-c", "ps -o sid= -p $$; echo $$")
    assert await run.over == 0
    session, pid = run.output.split()
    assert session == pid


@pytest_twisted.ensureDeferred
async def test_what_twisted_spawns_shows_whether_the_system_makes_sessions() -> None:
    class Ends(ProcessProtocol):
        def processEnded(self, reason: object) -> None:
            over.callback(None)

    over: Deferred[None] = Deferred()
    sessions, plain = Sessions(), os.posix_spawnp
    with sessions.made():
        process = reactor.spawnProcess(Ends(), "/bin/sleep", ["sleep", "0.1"], env={})
    # Where a new Twisted spawns in another way, programs go through `setsid` again: much slower.
    assert sessions.works
    assert os.getsid(process.pid) == process.pid
    assert os.posix_spawnp is plain
    await over


def test_a_system_without_sessions_for_spawns_is_known_as_such(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def without(*arguments: object, **named: object) -> int:
        if "setsid" in named:
            raise NotImplementedError
        return 4711

    monkeypatch.setattr(os, "posix_spawnp", without)
    sessions = Sessions()
    with sessions.made():
        assert os.posix_spawnp("true", ["true"], {}) == 4711
    assert not sessions.works


def test_a_folder_that_may_not_be_entered_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: str) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "chdir", refuse)
    with pytest.raises(CannotSpawn, match=r"the working folder / may not be entered"):
        Run("true")


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_when_descriptors_run_out_nothing_stays_open(
    monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    real: Callable[[], tuple[int, int]] = os.pipe
    calls = 0

    def pipe() -> tuple[int, int]:
        nonlocal calls
        calls += 1
        if calls == failing:
            raise OSError(24, "Too many open files")
        return real()

    def spawn(*_: Any, **__: Any) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    before = descriptors()
    monkeypatch.setattr(os, "pipe", pipe)
    monkeypatch.setattr(reactor, "spawnProcess", spawn)
    with pytest.raises(CannotSpawn, match=r"true could not be started: (Too many|Resource)"):
        Run("true")
    assert descriptors() == before


def test_a_tool_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    process._tool.cache_clear()
    monkeypatch.setattr(
        process.shutil, "which", lambda name, path=None: None if path is None else name
    )
    with pytest.raises(CannotSpawn, match="setsid is not installed"):
        Run("true")
    process._tool.cache_clear()


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: who reads it waits until it is opened."""
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@pytest_twisted.ensureDeferred
async def test_a_process_that_somebody_else_reaped_is_noticed(gate: Path) -> None:
    run = Run("sh", "-c", f"echo last; read line < {gate}")
    gate.write_text("go\n")
    # As a library does that waits for any child: before Twisted hears of it.
    os.waitpid(run.program.pid, 0)
    assert run.codes == []
    run.program.look_after()
    assert await run.over is None
    assert run.at_exit == b"last\n"
    run.program.look_after()
    assert run.codes == [None]


@pytest_twisted.ensureDeferred
async def test_a_process_whose_end_the_system_did_not_tell_is_reaped(gate: Path) -> None:
    run = Run("sh", "-c", f"read line < {gate}")
    gate.write_text("go\n")
    os.waitid(os.P_PID, run.program.pid, os.WEXITED | os.WNOWAIT)
    run.program.look_after()
    assert run.codes == [0]
    await run.over


@pytest_twisted.ensureDeferred
async def test_looking_after_one_that_runs_changes_nothing() -> None:
    run = Run("sleep", "1000")
    run.program.look_after()
    assert run.codes == []
    os.kill(run.program.pid, 15)
    assert await run.over == -15


@pytest_twisted.ensureDeferred
async def test_an_exit_while_it_is_spawned_is_told_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Program.connectionMade

    def wait(self: Program) -> None:
        made(self)
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(Program, "connectionMade", wait)
    run = Run("sh", "-c", "echo quick; exit 4")
    assert run.codes == []
    run.program.look_after()
    assert run.codes == []
    assert run.program.pid > 0
    assert await run.over == 4
    assert run.output == b"quick\n"


@pytest_twisted.ensureDeferred
async def test_environment_and_arguments_may_be_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "LC_ODD", "\udcff")
    run = Run("sh", "-c", 'printf "%s" "$LC_ODD$1"', "sh", "\udcfe")
    assert await run.over == 0
    assert run.output == b"\xff\xfe"


def test_a_signal_without_a_name_is_its_number() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(200) == "signal 200"
