"""The tasks as huey has them, with redis as the storage."""

import os

import work
from huey import RedisHuey

huey = RedisHuey(
    "benchmarks", port=int(os.environ["BENCH_REDIS_PORT"]), results=False, store_none=False
)
noop = huey.task()(work.noop)
true = huey.task()(work.true)
