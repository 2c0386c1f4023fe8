"""Clients that watch, in one process: `python watchers.py PORT KEY SECONDS TASKID...`, see below.

There is a connection for each TASKID; `*` stands for all tasks of the key's owner. When all of them
have had a first response it says so in a line, and is told in one how many tasks there are; from
then on it counts, for SECONDS, what comes. Then it goes on until every watcher has seen the end of
what it watches, and prints, as JSON, what was seen. Lines are counted for all of them, and by task
for `LOOKED_AT` of them.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from collections import Counter
from itertools import pairwise

LOOKED_AT = 40
"""Of so many watchers each line is looked into."""
PIECE = 1 << 20
PATIENCE = 60.0
"""Seconds after SECONDS for which ends are waited for."""

ENDED = b'"state":"ended"'
TASKID = b'"taskid":"'


class Watcher:
    """One connection.

    Attributes:
        ends: how many ends were seen.
        lines: how many lines were counted.
        counts: the lines of each task and second that were counted, where they are looked into.
    """

    def __init__(self, port: int, key: str, taskid: str, looks: bool) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        request = {"key": key, "request": "watch"}
        if taskid != "*":
            request["taskid"] = taskid
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        self.socket.recv(1, socket.MSG_PEEK)  # more at once than wait to be accepted are held up
        self.ends = self.lines = 0
        self.counts: Counter[tuple[bytes, int]] | None = Counter() if looks else None
        self._rest = b""

    def read(self, second: int) -> None:
        """Take what has come; a second below 0 is not counted."""
        data = self._rest + self.socket.recv(PIECE)
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        self.ends += data.count(ENDED, 0, cut)
        if second < 0:
            return
        self.lines += data.count(b"\n", 0, cut)
        if self.counts is not None:
            for line in data[:cut].splitlines():
                taskid = line.partition(TASKID)[2].partition(b'"')[0]
                self.counts[taskid, second] += 1


def main() -> None:
    """Watch, and say what was seen."""
    port, key, seconds, *taskids = sys.argv[1:]
    step = max(1, len(taskids) // LOOKED_AT)
    watchers = {}
    poll = select.epoll()
    for place, taskid in enumerate(taskids):
        watcher = Watcher(int(port), key, taskid, place % step == 0)
        watchers[watcher.socket.fileno()] = watcher
        poll.register(watcher.socket, select.EPOLLIN)
        for number, _ in poll.poll(0):
            watchers[number].read(-1)
    print("all are there", flush=True)
    poll.register(sys.stdin, select.EPOLLIN)
    while sys.stdin.fileno() not in (ready := [number for number, _ in poll.poll()]):
        for number in ready:
            watchers[number].read(-1)
    poll.unregister(sys.stdin)
    tasks = int(sys.stdin.readline())
    needed = {
        number: tasks if taskid == "*" else 1
        for number, taskid in zip(watchers, taskids, strict=True)
    }
    begin = time.monotonic()
    waiting = set(watchers)
    while waiting and time.monotonic() < begin + float(seconds) + PATIENCE:
        for number, _ in poll.poll(1):
            passed = time.monotonic() - begin
            watcher = watchers[number]
            watcher.read(int(passed) if passed < float(seconds) else -1)
            if watcher.ends >= needed[number]:
                waiting.discard(number)
                poll.unregister(number)
    looked = [watcher.counts for watcher in watchers.values() if watcher.counts is not None]
    rates = [
        [counts[taskid, second] for second in range(int(float(seconds)))]
        for counts in looked
        for taskid in {taskid for taskid, _ in counts if taskid}
    ]
    pairs = [sum(pair) for rate in rates for pair in pairwise(rate)]
    seen = {
        "lines": sum(watcher.lines for watcher in watchers.values()) / float(seconds),
        "missed": len(waiting),
        "mean": sum(map(sum, rates)) / max(1, sum(map(len, rates))),
        "least": min(map(min, rates), default=0),
        "least_of_two": min(pairs, default=0),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
