"""Those who wait: all of them by their numbers, and whole those whose turn comes soon.

A daemon may have a million waiting. Of each it keeps sixteen bytes, in the queue's line and in its
owner's; the first thousand are kept whole, and the others are read from the store when their turn
comes, many at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from aptask.interfaces import IStore
from aptask.model.job import Job
from aptask.scheduling.queue import Line, Queue

REMEMBERED = 1000
"""How many jobs that wait are kept whole in memory."""
RESTORED_AT_ONCE = 1000
"""How many are taken over from an earlier daemon at once."""
FETCHED_AT_ONCE = 500
"""How many are read at once when their turn comes."""


class Backlog:
    """The jobs of a queue's line.

    Args:
        store: has them all.
        queue: says whose turn it is.
    """

    def __init__(self, store: IStore, queue: Queue) -> None:
        self._store = store
        self._queue = queue
        self._lines: dict[str, Line] = {}
        self._whole: dict[int, Job] = {}

    async def restore(self) -> None:
        """Take over those that waited when an earlier daemon ended, in their order."""
        last = 0
        while step := await self._store.waiting(last, RESTORED_AT_ONCE):
            last = step[-1].id
            for waiting in step:
                self._add(waiting.id, waiting.owner)

    def add(self, job: Job) -> None:
        """Have a job wait, at the place of its number."""
        if len(self._queue.line) < REMEMBERED:
            self._whole[job.id] = job
        self._add(job.id, job.owner)

    def get(self, number: int) -> Job | None:
        """The job of this number, if it is kept whole."""
        return self._whole.get(number)

    def launch(self, job: Job) -> None:
        """A job waits no more that the queue has launched."""
        self._whole.pop(job.id, None)
        self._withdraw_from_owner(job)

    def withdraw(self, job: Job) -> bool:
        """Take a job out of the line, whose turn has not come; whether it was in it."""
        self._whole.pop(job.id, None)
        return self._withdraw_from_owner(job) and self._queue.line.withdraw(job.id)

    def line(self, owner: str | None) -> Line:
        """Those of an owner, or of all, in their order."""
        return self._queue.line if owner is None else self._lines.get(owner, Line())

    def find(self, numbers: Sequence[int]) -> Deferred[list[Job]] | list[Job]:
        """Those jobs of these numbers that are there, as a list shows them, in their order."""
        absent = [number for number in numbers if number not in self._whole]

        def merge(read: list[Job]) -> list[Job]:
            found = {job.id: job for job in read}
            either = (self._whole.get(number) or found.get(number) for number in numbers)
            return [job for job in either if job is not None]

        if not absent:
            return merge([])
        return self._store.get_many(absent, listed=True).addCallback(merge)

    def fetch(self, number: int) -> Deferred[Job | None]:
        """Read a job whose turn has come, and keep some of those behind it whole."""
        behind = [
            one for one in self._queue.line.slice(0, FETCHED_AT_ONCE) if one not in self._whole
        ]

        def keep(jobs: list[Job]) -> Job | None:
            wanted = None
            for job in jobs:
                if job.id == number:
                    wanted = job
                elif job.id not in self._whole and self._queue.line.position(job.id):
                    self._whole[job.id] = job
            return wanted

        return self._store.get_many([number, *behind]).addCallback(keep)

    def _add(self, number: int, owner: str) -> None:
        self._queue.line.add(number)
        line = self._lines.get(owner)
        if line is None:
            line = self._lines[owner] = Line()
        line.add(number)

    def _withdraw_from_owner(self, job: Job) -> bool:
        line = self._lines.get(job.owner)
        if line is None:
            return False
        was_in_it = line.withdraw(job.id)
        if not line:
            del self._lines[job.owner]
        return was_in_it
