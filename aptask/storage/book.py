"""What is read from the database and written to it: every statement, but for those of opening it.

Rules:

- Everything here runs in the writer's thread; what writes, within a transaction that the writer
  begins and ends. Where it rolls back, `restore` is called with what `snapshot` gave.
- What is held in memory beside the database (names, the next number, how many have ended) is as the
  last commit left it, or ahead of it by the transaction under way.
- What a transaction writes is handed to SQLite in few steps, most of it in one: `work` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from aptask.model.event import Event, Level, Logged
from aptask.model.group import GroupSetting
from aptask.model.history import Wanted
from aptask.model.job import Added, Counts, Job, Waiting
from aptask.model.key import Key
from aptask.storage import history, log, settings, work
from aptask.storage.rows import (
    COLUMNS,
    FRESH,
    LISTED_COLUMNS,
    STATES,
    Course,
    Entry,
    Unreadable,
    checksum,
    is_whole,
    micros,
    numbered,
    pad,
    unpack,
    unpad,
)
from aptask.storage.work import QUEUED, Totals

PRUNED_AT_ONCE = 500
"""How many jobs one call of `prune` forgets at most, so that none takes long."""
_READ_AT_ONCE = 250
"""How many jobs one statement reads."""
_PAGES_GIVEN_BACK = 1024

_BEFORE = """
    SELECT json_group_array(json_array(id, state, task)) FROM jobs
    WHERE id IN (SELECT value FROM json_each(?)) AND ended IS NULL
    """

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class Book:
    """The statements, on one connection.

    Args:
        connection: to a database of the present version.
        clock: the time, in seconds since the epoch.

    Attributes:
        identity: of the database.
        totals: as of the last commit, or of the transaction under way.
        scrub: whether the -wal still holds secrets of jobs that have ended.
    """

    def __init__(self, connection: Any, clock: Callable[[], float]) -> None:
        self._execute = connection.execute
        self._clock = clock
        self.scrub = True
        self.identity: str
        self.identity, *meta = self._one(
            "SELECT identity, commits, next, next_event, instance, applied FROM meta"
        )
        work.prepare(self._execute)
        [kept] = self._one("SELECT count(*) FROM secrets")
        [ended] = self._one("SELECT count(*) FROM jobs WHERE ended IS NOT NULL")
        commits, following, event, instance, applied = meta
        self.totals = Totals(commits, following, event, instance, applied, kept, ended)
        self._names: dict[int, str] = dict(self._execute("SELECT id, name FROM names"))
        self._numbers = {name: number for number, name in self._names.items()}

    # A transaction

    def snapshot(self) -> tuple[Totals, int]:
        """What is held in memory, before a transaction or a part of one."""
        return msgspec.structs.replace(self.totals), len(self._names)

    def restore(self, snapshot: tuple[Totals, int]) -> None:
        """All since the snapshot was rolled back."""
        self.totals, names = snapshot
        while len(self._names) > names:
            del self._numbers[self._names.popitem()[1]]

    def begin(self) -> None:
        """A transaction begins: the first of all."""
        self.totals.commits += 1

    def is_all(self, entries: Sequence[Entry], courses: Sequence[Course]) -> bool:
        """Whether `work` does all that these take, so that it can be a transaction by itself."""
        numbers = self._numbers
        return not any(
            entry.secrets is not None or entry.task not in numbers or entry.owner not in numbers
            for entry in entries
        ) and not (self.totals.secrets and any(course.ended for course in courses))

    def seal(self) -> None:
        """Enter what belongs to the transaction as a whole: the last before its commit."""
        self._do(None)

    # Writing

    def work(
        self, entries: Sequence[Entry], courses: Sequence[Course], events: Sequence[Event] = ()
    ) -> list[Added]:
        """Enter new jobs, whatever their keys, then what has become of others, and what is told.

        Args:
            courses: what has ended before is left as it is; of one job, the last counts.
            events: beside those that tell of the jobs.

        Returns:
            the numbers of the new ones.
        """
        number = self.totals.next
        plain: list[tuple[Any, ...]] = []
        others: list[tuple[Any, ...]] = []
        alike: dict[tuple[Any, ...], list[int]] = {}
        for place, entry in enumerate(entries, number):
            task = self._numbers.get(entry.task) or self._name(entry.task)
            owner = self._numbers.get(entry.owner) or self._name(entry.owner)
            sum_, course_sum = numbered(entry.sum, place), numbered(entry.course_sum, place)
            created, rerun, once, unique, within = values = entry.values
            if once is unique is None and within == 0 and entry.course is FRESH:
                text = entry.arguments
                plain.append((place, task, owner, created, rerun, sum_, course_sum, text))
            else:
                asked = place, task, owner, *values, sum_
                others.append((*asked, *entry.course, course_sum, entry.arguments))
            if entry.secrets is not None:
                self._keep_secret(place, pad(entry.secrets))
            what = entry.owner, entry.peer, entry.task, entry.course[0]
            if what in alike:
                alike[what].append(place)
            else:
                alike[what] = [place]
        self.totals.next = number + len(entries)
        became, changes = self._become(courses) if courses else ([], [])
        told = [(*what, numbers) for what, numbers in alike.items()] + changes
        count = len(entries) + len(changes)
        tasking: log.Row | None = None
        rows: list[log.Row] = []
        if count or events:
            first, now = self.totals.next_event, micros(self._clock())
            tasking, rows = log.make_rows(first, now, told, count, events)
            self.totals.next_event += count + len(events)
        changed = [(c.id, *c.values, c.sum, c.result) for c in became]
        self._do(tasking, plain, others, changed, rows)
        return [Added(place) for place in range(number, number + len(entries))]

    def _do(self, tasking: log.Row | None, *rows: list[Any]) -> None:
        work.do(self._execute, self.identity, self.totals, tasking, *rows)

    def _become(self, courses: Sequence[Course]) -> tuple[list[Course], list[log.Entry]]:
        """What has to be entered of changes, and what they tell."""
        # What would be entered anyway: the pages that are read are those that are written then.
        [text] = self._one(_BEFORE, (_encode([course.id for course in courses]).decode(),))
        rows = msgspec.json.decode(text, type=list[tuple[int, int, int]])
        before = {number: (STATES[state], self._names[task]) for number, state, task in rows}
        last: dict[int, Course] = {}
        told: list[log.Entry] = []
        for course in courses:
            if course.id not in before:
                continue
            state, task = before[course.id]
            last[course.id] = course
            if course.state is not state:
                told.append(log.change(course, task))
            before[course.id] = course.state, task
            if course.ended:
                del before[course.id]
                self.totals.ended += 1
                self._forget_secret(course.id)
        return list(last.values()), told

    def log(self, events: Sequence[Event]) -> None:
        """Enter events that belong to no change of a job."""
        self.work((), (), events)

    def enter_keyed(
        self, entries: Sequence[Entry], once: str | None, unique: str | None
    ) -> list[Added]:
        """Enter new jobs of one owner, unless there are some with one of their keys."""
        return self.existing(entries[0].owner, once, unique) or self.work(entries, ())

    def existing(self, owner: str, once: str | None, unique: str | None) -> list[Added]:
        """All jobs that were entered together with one of these keys, or none."""
        number = self._numbers.get(owner, 0)
        for condition, key in (
            ("once_key=?", once),
            ("unique_key=? AND ended IS NULL", unique),
        ):
            if key is not None:
                found = self._execute(
                    f"SELECT id - place FROM jobs WHERE owner=? AND {condition} LIMIT 1",
                    (number, key),
                ).fetchone()
                if found is not None:
                    return self._batch(found[0])
        return []

    def apply(self, instance: str, number: int) -> None:
        """Enter that a runner's events up to a number are applied."""
        self.totals.instance = instance
        self.totals.applied = number

    def prune(self, before: float, most: int) -> list[int]:
        """Forget a step's worth of old history; the numbers of what was forgotten."""
        surplus, aged = self.totals.ended - most, micros(before)
        pruned = [
            number
            for place, (ended, number) in enumerate(history.oldest(self._execute, PRUNED_AT_ONCE))
            if place < surplus or ended < aged
        ]
        marks = ",".join("?" * len(pruned))
        self._execute(f"DELETE FROM jobs WHERE id IN ({marks})", pruned)
        self.totals.ended -= len(pruned)
        self._shrink()
        return pruned

    def prune_log(self, before: float, most: int) -> int:
        """Forget a step's worth of old events; how many that were."""
        forgotten = log.prune(self._execute, self.totals.next_event, micros(before), most)
        if forgotten:
            self._shrink()
        return forgotten

    def add_key(self, key: Key, events: Sequence[Event]) -> None:
        """Enter a key, or raise Conflict."""
        settings.add_key(self._execute, key)
        self.log(events)

    def remove_key(self, name: str, events: Sequence[Event]) -> bool:
        """Forget a key; whether there was one of that name. If not, nothing is told."""
        if not settings.remove_key(self._execute, name):
            return False
        self.scrub = True
        self.log(events)
        return True

    def set_group(self, name: str, setting: GroupSetting, events: Sequence[Event]) -> None:
        """Enter what is set for a group."""
        settings.set_group(self._execute, name, setting)
        self.log(events)

    # Reading

    def get(self, number: int) -> Job | None:
        """The job of this number."""
        found = self.get_many([number])
        return found[0] if found else None

    def get_many(self, numbers: Sequence[int], listed: bool = False) -> list[Job]:
        """The jobs of these numbers, in their order."""
        jobs: dict[int, Job] = {}
        for start in range(0, len(numbers), _READ_AT_ONCE):
            part = numbers[start : start + _READ_AT_ONCE]
            marks = ",".join("?" * len(part))
            jobs.update((job.id, job) for job in self._read(f"id IN ({marks})", part, listed))
        return [jobs[number] for number in numbers if number in jobs]

    def history(self, wanted: Wanted, limit: int) -> list[Job]:
        """A page of those that have ended."""
        return self.get_many(history.page(self._execute, wanted, self._numbers, limit), listed=True)

    def read_log(self, after: int | None, limit: int, level: Level | None) -> list[Logged]:
        """Events in the order of their numbers."""
        return log.read(self._execute, after, limit, level)

    def keys(self) -> list[Key]:
        """The keys, in the order of their names."""
        return settings.keys(self._execute)

    def groups(self) -> dict[str, GroupSetting]:
        """What was set for groups."""
        return settings.groups(self._execute)

    def waiting(self, after: int, limit: int) -> list[Waiting]:
        """A step of those that wait."""
        [text] = self._one(
            "SELECT json_group_array(json_array(id, owner, task)) FROM (SELECT id, owner, task"
            f" FROM jobs WHERE state={QUEUED} AND ended IS NULL AND id > ? ORDER BY id LIMIT ?)",
            (after, limit),
        )
        rows = sorted(msgspec.json.decode(text, type=list[tuple[int, int, int]]))
        names = self._names
        return [Waiting(number, names[owner], names[task]) for number, owner, task in rows]

    def unfinished(self) -> list[Job]:
        """Those that were launched and have not ended."""
        return sorted(self._read("state > 0 AND ended IS NULL"), key=lambda job: job.id)

    def counts(self) -> Counts:
        """How many there are."""
        [total] = self._one("SELECT count(*) FROM jobs")
        [unfinished] = self._one("SELECT count(*) FROM jobs WHERE state > 0 AND ended IS NULL")
        ended = self.totals.ended
        return Counts(total - unfinished - ended, unfinished, ended, self.totals.next)

    def applied(self) -> tuple[str, int] | None:
        """The runner's instance and the number of its last event that was applied."""
        totals = self.totals
        return None if totals.instance is None else (totals.instance, totals.applied)

    # Parts

    def _one(self, question: str, values: Sequence[Any] = ()) -> Any:
        return self._execute(question, values).fetchone()

    def _read(self, which: str, values: Sequence[int] = (), listed: bool = False) -> list[Job]:
        jobs = []
        columns = LISTED_COLUMNS if listed else COLUMNS
        rows = self._execute(f"SELECT {columns} FROM jobs WHERE {which}", values)
        for row in rows.fetchall():
            if not is_whole(row, self._names, listed):
                raise Unreadable(f"what was kept of task {row[0]} is damaged")
            ended = row[13] is not None
            jobs.append(unpack(row, self._names, None if ended else self._secret(row[0])))
        return jobs

    def _batch(self, first: int) -> list[Added]:
        """All jobs that were entered together with the first of them, as far as they are there."""
        found = []
        following = self._execute("SELECT id, place FROM jobs WHERE id >= ? ORDER BY id", (first,))
        for number, place in following:
            if number - place != first:
                break
            found.append(Added(number, existing=True))
        following.close()
        return found

    def _shrink(self) -> None:
        """Give some of the file back to the disk, where a quarter of it is unused."""
        [unused] = self._one("PRAGMA freelist_count")
        [pages] = self._one("PRAGMA page_count")
        if unused > max(pages // 4, _PAGES_GIVEN_BACK):
            self._execute(f"PRAGMA incremental_vacuum({_PAGES_GIVEN_BACK})").fetchall()

    def _name(self, name: str) -> int:
        number = len(self._names) + 1
        self._execute("INSERT INTO names VALUES (?,?,?)", (number, name, checksum((number, name))))
        self._names[number] = name
        self._numbers[name] = number
        return number

    def _secret(self, number: int) -> bytes | None:
        if not self.totals.secrets:
            return None
        row = self._one("SELECT value FROM secrets WHERE job=?", (number,))
        return None if row is None else unpad(row[0])

    def _keep_secret(self, number: int, value: bytes) -> None:
        self._execute(
            "INSERT INTO secrets VALUES (?,?,?)", (number, checksum((number, value)), value)
        )
        self.totals.secrets += 1

    def _forget_secret(self, number: int) -> None:
        if not self.totals.secrets:
            return
        if self._execute("DELETE FROM secrets WHERE job=?", (number,)).rowcount:
            self.totals.secrets -= 1
            self.scrub = True
