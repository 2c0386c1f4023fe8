"""What a task that waits costs in memory, its arguments being about 100 bytes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from measure import Row, Settings, alternate, load, number, ratio, show
from servers import (
    PEERS,
    PYTHON,
    Aptask,
    Bare,
    Beanstalkd,
    Done,
    Failed,
    Redis,
    Server,
    peer_environment,
    resident,
)

COUNT = 100_000
PYTHON_COUNT = 10_000
"""Through the peers' Python libraries, which are slower."""

COMMAND = ["/bin/true", "x" * 84]
START = {"key": "feeder", "request": "start", "name": "program", "arguments": [COMMAND]}
OK = '{"status":"ok"'


def run(settings: Settings) -> None:
    """Measure and tell."""
    count = settings.count(COUNT)
    fewer = settings.count(PYTHON_COUNT)
    body = json.dumps(START).encode()
    put = b"put 100 0 60 %d\r\n%s\r\n" % (len(body), body)
    push = b"*3\r\n$5\r\nLPUSH\r\n$1\r\nq\r\n$%d\r\n%s\r\n" % (len(body), body)
    rows = alternate(
        "memory",
        settings,
        {
            "aptask": lambda: _fill(Aptask(slots=1), body + b"\n", OK, count),
            "bare LineReceiver": lambda: _fill(Bare(), body + b"\n", OK, count),
            "beanstalkd": lambda: _fill(Beanstalkd(), put, "INSERTED", count),
            "redis list": lambda: _fill(Redis(), push, ":", count),
            "RQ (in redis)": lambda: _library("rq", fewer),
            "Celery (in redis)": lambda: _library("celery", fewer),
        },
    )
    mine = rows.get("aptask", {}).get("bytes")
    show(
        f"memory: growth for each task that waits; {count:,} of them, {fewer:,} of RQ and Celery",
        ["", "bytes", "aptask / it"],
        [
            [
                name,
                number(row["bytes"]),
                "" if name == "aptask" else ratio(mine, row["bytes"]),
            ]
            for name, row in rows.items()
        ],
    )


def _fill(server: Server, request: bytes, expected: str, count: int) -> Row:
    with server:
        if isinstance(server, Aptask):
            server.occupy()
        load(server.port, request, expected, clients=10, depth=20, most=count // 100 + 200)
        before = resident(server.pid)
        load(server.port, request, expected, clients=10, depth=20, most=count)
        return {"bytes": (resident(server.pid) - before) / count}


def _library(peer: str, count: int) -> Row:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, Redis() as redis:
        environment = peer_environment(Path(folder), Done(Path(folder)), peer)
        before = resident(redis.pid)
        ran = subprocess.run(
            [PYTHON, str(PEERS / "submit.py"), peer],
            env={**os.environ, **environment, "BENCH_REDIS_PORT": str(redis.port)},
            input=f"noop {count}\n".encode(),
            capture_output=True,
        )
        if ran.returncode:
            raise Failed(ran.stderr.decode()[-300:])
        return {"bytes": (resident(redis.pid) - before) / count}
