"""A client of a peer whose client is a Python library.

    python submit.py PEER                   obeys orders, one a line of its standard input
    python submit.py PEER CLIENTS SECONDS   as many processes submit `noop` for so long

An order is `TASK COUNT` (submit so many), or `latency TASK COUNT` (submit each when the one before
is done). It is answered with a line of JSON: the seconds that it took, or the milliseconds of each.
With clients, one line of JSON has `rate`, and `p50` and `p99` in microseconds.
"""

import importlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from typing import Any

PAUSE = 0.02
"""Seconds for which a peer is left idle before the next task of `latency`."""
LOOK = 0.0001
"""Seconds between two looks whether a task is done."""


def submitter(peer: str, task: str) -> Callable[[int], Any]:
    """What submits one task."""
    family, _, variant = peer.partition("-")
    if family == "rq":
        import redis
        import rq

        connection = redis.Redis(port=int(os.environ["BENCH_REDIS_PORT"]))
        queue = rq.Queue("default", connection=connection)
        return lambda number: queue.enqueue(f"work.{task}", number, result_ttl=0)
    if family == "huey":
        return getattr(importlib.import_module("huey_" + variant.split("-")[0]), task)
    if family == "celery":
        return getattr(importlib.import_module("celery_app"), task).delay
    return getattr(importlib.import_module("dramatiq_app"), task).send


def latencies(submit: Callable[[int], Any], count: int, has_result: bool) -> list[float]:
    """The milliseconds from submitting to the end, for each of as many tasks."""
    done = os.environ["BENCH_DONE"]
    found = []
    for number in range(count):
        time.sleep(PAUSE)
        before = os.stat(done).st_size
        start = time.perf_counter()
        result = submit(number)
        if has_result:
            result.get(timeout=30)
        while os.stat(done).st_size == before:
            time.sleep(LOOK)
            if time.perf_counter() - start > 30:
                raise TimeoutError("a task was not done within 30 s")
        found.append((time.perf_counter() - start) * 1e3)
    return found


def obey(peer: str) -> None:
    """Carry out orders until there are no more."""
    print("ready", flush=True)
    for line in sys.stdin:
        *how, task, count = line.split()
        submit = submitter(peer, task)
        if how:
            answer: Any = latencies(submit, int(count), task.endswith("_with_result"))
        else:
            start = time.perf_counter()
            for number in range(int(count)):
                submit(number)
            answer = time.perf_counter() - start
        print(json.dumps(answer), flush=True)


def client(peer: str, seconds: float, barrier: Any, results: Any) -> None:
    """Submit for so many seconds."""
    submit = submitter(peer, "noop")
    submit(0)
    barrier.wait()
    start = last = time.perf_counter()
    found = []
    while last < start + seconds:
        submit(0)
        before, last = last, time.perf_counter()
        found.append(last - before)
    results.put((start, last, found))


def compete(peer: str, clients: int, seconds: float) -> None:
    """Have as many processes submit at once, and print what came of it."""
    submitter(peer, "noop")  # imported once, before the forks
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(clients), context.Queue()
    processes = [
        context.Process(target=client, args=(peer, seconds, barrier, results))
        for _ in range(clients)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=seconds + 60) for _ in processes]
    for process in processes:
        process.join()
    times = sorted(taken for _, _, each in found for taken in each)
    whole = max(end for _, end, _ in found) - min(start for start, _, _ in found)
    print(
        json.dumps(
            {
                "requests": len(times),
                "rate": len(times) / whole,
                "p50": times[len(times) // 2] * 1e6,
                "p99": times[int(len(times) * 0.99)] * 1e6,
            }
        )
    )


if __name__ == "__main__":
    if len(sys.argv) == 2:
        obey(sys.argv[1])
    else:
        compete(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
