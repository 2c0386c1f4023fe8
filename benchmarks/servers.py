"""Servers and workers: started on free ports of 127.0.0.1, with their data in temporary folders.

Rules:

- A server ends with its `with` block, and all that descends from it; processes are ended by pid,
  and only those that were started here.
- This process adopts what its descendants leave behind (a daemon that detaches itself), so that
  the CPU time of all is counted, and nothing stays.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
BIN = RESULTS / "bin"
PEERS = HERE / "peers"
TASKS = HERE / "tasks"
PYTHON = sys.executable
MARK = str(BIN / "mark")
CHATTER = str(BIN / "chatter")

CORES = sorted(os.sched_getaffinity(0))
LOAD_CORES = CORES[:1]
"""Where the load generator runs."""
SERVER_CORES = CORES[1:] or CORES
"""Where servers run while the load generator does."""

_TICK = os.sysconf("SC_CLK_TCK")
_PR_SET_CHILD_SUBREAPER = 36
_started: set[int] = set()


# Processes


def adopt_orphans() -> None:
    """Become the parent of descendants whose own has ended."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def process_table() -> dict[int, tuple[int, int, int]]:
    """Parent, start (ticks since the machine started), and CPU time in ticks, of every process.

    The CPU time has that of children which were waited for.
    """
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                ticks = sum(map(int, fields[11:15]))
                table[int(name)] = int(fields[1]), int(fields[19]), ticks
    return table


def descendants(root: int) -> dict[int, tuple[int, int, int]]:
    """The part of the process table that descends from a process, itself included."""
    table = process_table()
    children: dict[int, list[int]] = {}
    for pid, (parent, _, _) in table.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = {}, [root]
    while waiting:
        pid = waiting.pop()
        if pid in table:
            found[pid] = table[pid]
        waiting += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """The CPU time of a process and all that descend from it."""
    return sum(ticks for _, _, ticks in descendants(root).values()) / _TICK


def machine_cpu_seconds() -> float:
    """The CPU time of the whole machine, what is stolen from it included."""
    with open("/proc/stat") as file:
        fields = [int(field) for field in file.readline().split()[1:]]
    return (sum(fields[:3]) + sum(fields[5:8])) / _TICK


def resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    return 0


def written(name: str) -> int:
    """Bytes that the descendants of a name have written so far."""
    total = 0
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                text = Path(f"/proc/{pid}/io").read_text()
                total += int(text.partition("wchar: ")[2].split()[0])
    return total


def names(pids: Iterable[int]) -> str:
    """Processes for people: pid, state and program of each."""
    found = []
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{pid}/stat").read_text()
            state = text.rpartition(")")[2].split()[0]
            found.append(f"{pid} {state} {text.partition('(')[2].rpartition(')')[0]}")
    return ", ".join(found)


def reap() -> None:
    """Bury the adopted that have ended."""
    for pid, (parent, _, _) in descendants(os.getpid()).items():
        if parent == os.getpid() and pid not in _started:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def kill_rest(processes: dict[int, tuple[int, int, int]]) -> None:
    """Kill those of these processes that still live."""
    now = process_table()
    for pid, (_, start, _) in processes.items():
        if pid in now and now[pid][1] == start and pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    time.sleep(0.02)
    reap()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Failed(Exception):
    """A peer did not do what it should; the message says how."""


class Server:
    """A process in a session of its own, with a folder of its own.

    Args:
        cores: where it runs; None: anywhere.
    """

    patience = 8.0
    """Seconds from being asked to end to being killed."""

    def __init__(self, cores: Collection[int] | None = None) -> None:
        self.port = free_port()
        self._cores = cores
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="bench-"))
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in reversed(self._processes):
            self.end(process)
        self._processes.clear()
        if error is not None:
            self._keep_logs()
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> None:
        """Start what there is to start."""
        raise NotImplementedError

    def _keep_logs(self) -> None:
        """Keep what a failure may be seen from: results/failed/SERVER-LOG."""
        failed = RESULTS / "failed"
        failed.mkdir(exist_ok=True)
        for log in (self.folder / "log", self.folder / "data" / "runner.log"):
            with contextlib.suppress(OSError):
                shutil.copyfile(log, failed / f"{type(self).__name__.lower()}-{log.name}")

    @property
    def pid(self) -> int:
        """The first process that was started."""
        return self._processes[0].pid

    def spawn(self, command: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        """Start a process that lives as long as the server."""
        cores = self._cores
        with open(self.folder / "log", "ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
            )
        _started.add(process.pid)
        self._processes.append(process)
        return process

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """End a process and what descends from it."""
        family = descendants(process.pid)
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.patience)
        kill_rest(family)
        process.wait()
        _started.discard(process.pid)

    def wait_for_port(self) -> None:
        """Wait until somebody listens on the port.

        Raises:
            Failed: nobody does.
        """
        for _ in range(1500):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            if any(process.poll() is not None for process in self._processes):
                break
            time.sleep(0.01)
        log = (self.folder / "log").read_text(errors="replace")[-500:]
        raise Failed(f"{type(self).__name__} does not listen: {log}")


class Done:
    """Counts tasks that are done: each leaves one byte in this file.

    Args:
        folder: where to make it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "done")
        Path(self.path).touch()

    def count(self) -> int:
        """How many are done."""
        return os.stat(self.path).st_size

    def wait(self, count: int, seconds: float = 120) -> None:
        """Wait until so many are done.

        Raises:
            Failed: it takes longer.
        """
        end = time.monotonic() + seconds
        while self.count() < count:
            if time.monotonic() > end:
                raise Failed(f"{self.count()} of {count} tasks were done within {seconds:g} s")
            time.sleep(0.002)


# Servers


class Aptask(Server):
    """The daemon, with the users `feeder` and `asker`, whose keys are their names.

    Args:
        slots: how many tasks run at once.
        cores: where it runs; None: anywhere.
        synced: whether a task is on disk before it is answered: that is how aptask is.
    """

    name = "aptask"

    def __init__(
        self, slots: int = 2, cores: Collection[int] | None = None, synced: bool = True
    ) -> None:
        super().__init__(cores)
        self._slots = slots
        self._synced = synced

    def start(self) -> None:
        """Start it; it runs tasks when this returns."""
        tasks = '["program", "sleep", "nothing"]'
        users = [f'[users.{name}]\nkey = "{name}"\ntasks = {tasks}' for name in ("feeder", "asker")]
        config = self.folder / "aptask.toml"
        config.write_text("\n".join(users) + "\n")
        config.chmod(0o600)
        data = self.folder / "data"
        twistd = [str(Path(PYTHON).with_name("twistd"))]
        if not self._synced:
            twistd = [PYTHON, str(HERE / "in_memory.py")]
        listen = f"tcp:{self.port}:interface=127.0.0.1"
        arguments = ["--config", str(config), "--data", str(data), "--listen", listen]
        arguments += ["--web", "off", "--slots", str(self._slots), "--tasks", str(TASKS)]
        self._command = [*twistd, "-n", "--pidfile=", "aptask", *arguments]
        self.serve()
        self.wait_for_port()
        self.done = Done(self.folder)
        self.client = Client(self.port)
        self.client.run(self.true())
        self.done.wait(1)

    def serve(self) -> None:
        """Start the daemon, for the first time or again."""
        self.spawn(self._command)

    def kill(self) -> None:
        """Kill the daemon, and only it."""
        self.client.close()
        process = self._processes.pop()
        process.kill()
        process.wait()

    def end(self, process: subprocess.Popen[bytes]) -> None:
        """Have it end, its tasks at once."""
        with contextlib.suppress(AttributeError):
            self.client.close()
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        super().end(process)

    def true(self) -> dict[str, Any]:
        """What starts the program that does as /bin/true does."""
        return {"name": "program", "arguments": [[MARK, self.done.path]]}

    def occupy(self) -> None:
        """Have all slots taken by programs that end with the daemon."""
        for _ in range(self._slots):
            self.client.ask("start", name="program", arguments=[["sleep", "36000"]])
        for _ in range(500):
            active = self.client.ask("active")["active"]
            if [job["status"] for job in active].count("running") == self._slots:
                return
            time.sleep(0.01)
        raise Failed("the slots could not be taken")


class Client:
    """A connection to aptask.

    Args:
        port: the daemon's.
        key: the user's.
    """

    def __init__(self, port: int, key: str = "feeder") -> None:
        self._key = key
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")

    def encode(self, request: str, **fields: Any) -> bytes:
        """A request's bytes."""
        return json.dumps({"key": self._key, "request": request, **fields}).encode() + b"\n"

    def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        """Send a request, and give its answer.

        Raises:
            Failed: it is an error.
        """
        return self.send([self.encode(request, **fields)])[0]

    def send(self, requests: Sequence[bytes], at_once: int = 100) -> list[dict[str, Any]]:
        """Send requests, so many at once, and give their answers.

        Raises:
            Failed: one of them is an error.
        """
        answers: list[dict[str, Any]] = []
        for place in range(0, len(requests), at_once):
            sent = requests[place : place + at_once]
            self._socket.sendall(b"".join(sent))
            lines = [self._file.readline() for _ in sent]
            answers += [json.loads(line) for line in lines]
        for answer in answers:
            if answer["status"] != "ok":
                raise Failed(f"aptask answers {answer}")
        return answers

    def run(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Start a task, wait for its end, and give it.

        Raises:
            Failed: it is not done well.
        """
        taskid = self.ask("start", **fields)["taskid"]
        task: dict[str, Any] = self.ask("wait", taskid=taskid)["task"]
        if task["status"] != "done":
            raise Failed(f"a task of aptask is not done but {task}")
        return task

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self._socket.close()


class Bare(Server):
    """A LineReceiver in memory."""

    def start(self) -> None:
        """Start it."""
        self.spawn([PYTHON, str(HERE / "bare.py"), str(self.port)])
        self.wait_for_port()


class Redis(Server):
    """redis.

    Args:
        cores: where it runs; None: anywhere.
        synced: whether every write is on disk before it is answered.
    """

    def __init__(self, cores: Collection[int] | None = None, synced: bool = False) -> None:
        super().__init__(cores)
        self._synced = synced

    def start(self) -> None:
        """Start it."""
        address = ["--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder)]
        keep = ["--appendonly", "yes", "--appendfsync", "always"] if self._synced else []
        self.spawn(["redis-server", *address, "--save", "", *keep])
        self.wait_for_port()


class Beanstalkd(Server):
    """beanstalkd.

    Args:
        cores: where it runs; None: anywhere.
        synced: whether every write is on disk before it is answered.
    """

    def __init__(self, cores: Collection[int] | None = None, synced: bool = False) -> None:
        super().__init__(cores)
        self._synced = synced

    def start(self) -> None:
        """Start it."""
        keep = ["-b", str(self.folder), "-f0"] if self._synced else []
        self.spawn(["beanstalkd", "-l", "127.0.0.1", "-p", str(self.port), *keep])
        self.wait_for_port()


class TaskSpooler(Server):
    """task-spooler with two slots."""

    def start(self) -> None:
        """Start it: it detaches itself, and is adopted."""
        self.done = Done(self.folder)
        self._environment = {
            **os.environ,
            "TS_SOCKET": str(self.folder / "socket"),
            "TS_MAXFINISHED": "1000000",
            "TS_MAXCONN": "10000",
            "TMPDIR": str(self.folder),
        }
        self.call("-S", "2")

    def call(self, *arguments: str) -> None:
        """Call `tsp`."""
        subprocess.run(
            ["tsp", *arguments],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )

    def true(self) -> None:
        """Queue the program that does as /bin/true does."""
        self.call("-n", MARK, self.done.path)

    def __exit__(self, *exception: Any) -> None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.call("-K")
        time.sleep(0.2)
        reap()
        super().__exit__(*exception)


class Workers(Server):
    """Two workers of a peer with a Python library, their broker, and a client of it.

    Args:
        peer: `celery`, `rq`, `rq-simple`, `huey-redis`, `huey-sqlite`, `huey-sqlite-fsync`,
            `dramatiq` or `dramatiq-8` (with eight threads a process).
    """

    def __init__(self, peer: str) -> None:
        super().__init__()
        self._peer = peer
        self._stack = contextlib.ExitStack()

    def start(self) -> None:
        """Start them; they have done a task each when this returns."""
        self.done = Done(self.folder)
        self._environment = peer_environment(self.folder, self.done, self._peer)
        if "sqlite" not in self._peer:
            self.port = self._stack.enter_context(Redis()).port
            self._environment["BENCH_REDIS_PORT"] = str(self.port)
        for command in worker_commands(self._peer, self.port):
            self.spawn(command, **self._environment)
        self._client = subprocess.Popen(
            [PYTHON, str(PEERS / "submit.py"), self._peer],
            env={**os.environ, **self._environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        _started.add(self._client.pid)
        self._answer()
        time.sleep(1.0)
        self.submit("noop", 20)
        self.done.wait(20, 30)

    def submit(self, task: str, count: int) -> None:
        """Submit as many tasks."""
        self.order(f"{task} {count}")

    def order(self, order: str) -> Any:
        """Have the client do something; see peers/submit.py."""
        assert self._client.stdin is not None
        self._client.stdin.write(order.encode() + b"\n")
        self._client.stdin.flush()
        return json.loads(self._answer())

    def _answer(self) -> bytes:
        assert self._client.stdout is not None
        line = self._client.stdout.readline()
        if not line:
            raise Failed(f"the client of {self._peer} has ended")
        return line

    def __exit__(self, *exception: Any) -> None:
        client = getattr(self, "_client", None)
        if client is not None:
            client.kill()
            client.communicate()
            _started.discard(client.pid)
        super().__exit__(*exception)
        self._stack.close()


def peer_environment(folder: Path, done: Done, peer: str) -> dict[str, str]:
    """What the modules in peers/ need in their environment."""
    return {
        "PYTHONPATH": str(PEERS),
        "PYTHONWARNINGS": "ignore",
        "BENCH_FOLDER": str(folder),
        "BENCH_DONE": done.path,
        "BENCH_MARK": MARK,
        "BENCH_FSYNC": "1" if peer.endswith("fsync") else "",
    }


def worker_commands(peer: str, port: int) -> Iterable[list[str]]:
    """What starts two workers of a peer."""
    family, _, variant = peer.partition("-")
    if family == "celery":
        quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        app = ["-m", "celery", "-A", "celery_app", "worker"]
        return [[PYTHON, *app, "-c", "2", "-P", "prefork", "-l", "error", *quiet]]
    if family == "rq":
        kind = "rq.worker.SimpleWorker" if variant == "simple" else "rq.worker.Worker"
        url = f"redis://127.0.0.1:{port}/0"
        command = [PYTHON, "-m", "rq.cli", "worker", "-q", "-u", url, "-w", kind, "default"]
        return [command, command]
    if family == "huey":
        consumer = str(Path(PYTHON).with_name("huey_consumer"))
        module = "huey_" + variant.split("-")[0]
        # Its usual pauses between two looks at the queue are made shorter, to its advantage.
        options = ["-k", "process", "-w", "2", "-q", "-d", "0.002", "-m", "0.02", "-C", "-n"]
        return [[PYTHON, consumer, f"{module}.huey", *options]]
    threads = variant or "1"
    return [[PYTHON, "-m", "dramatiq", "dramatiq_app", "-p", "2", "-t", threads]]
