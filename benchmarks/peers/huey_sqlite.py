"""The tasks as huey has them, with SQLite as the storage; `BENCH_FSYNC` makes it durable."""

import os

import work
from huey import SqliteHuey

huey = SqliteHuey(
    "benchmarks",
    filename=os.path.join(os.environ["BENCH_FOLDER"], "huey.db"),
    results=False,
    store_none=False,
    fsync=bool(os.environ.get("BENCH_FSYNC")),
)
noop = huey.task()(work.noop)
true = huey.task()(work.true)
