"""The tasks as Celery has them, with redis as the broker."""

import os

import work
from celery import Celery

URL = f"redis://127.0.0.1:{os.environ['BENCH_REDIS_PORT']}/0"

app = Celery("benchmarks", broker=URL, backend=URL)
app.conf.update(
    task_ignore_result=True,
    worker_prefetch_multiplier=16,
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
noop = app.task(work.noop, name="noop")
true = app.task(work.true, name="true")
true_with_result = app.task(work.true, name="true_with_result", ignore_result=False)
