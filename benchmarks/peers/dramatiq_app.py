"""The tasks as dramatiq has them, with redis as the broker."""

import os

import dramatiq
import work
from dramatiq.brokers.redis import RedisBroker

dramatiq.set_broker(RedisBroker(host="127.0.0.1", port=int(os.environ["BENCH_REDIS_PORT"])))
noop = dramatiq.actor(work.noop, max_retries=0, actor_name="noop")
true = dramatiq.actor(work.true, max_retries=0, actor_name="true")
