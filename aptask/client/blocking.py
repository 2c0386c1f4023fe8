"""The blocking client: one method a request, named after it.

    with aptask.Client() as client:
        taskid = client.start("primes", below=100_000)
        print(client.wait(taskid).result)

Rules:

- A client may be used from any number of threads at once: each request has a connection for itself
  until it is answered, and connections are kept for later requests.
- What the daemon answers with an error code is raised as the class of `aptask.errors` that stands
  for it; that no daemon is there, or that a connection broke, as `ConnectionFailed`.
- A connection that has gone stale since the last request is replaced without a word. A request is
  made again only where that cannot do harm: a `start` that the daemon may have received never is.
- A client is not to be used on both sides of a fork.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from msgspec import UnsetType

from aptask.client.address import find_key, find_server
from aptask.client.answers import Answer, decode, is_error
from aptask.client.connection import Connection, ConnectionFailed
from aptask.errors import AptaskError
from aptask.model import messages
from aptask.model.messages import (
    Ended,
    GroupLimits,
    HistoryResponse,
    KeyInfo,
    LogEntry,
    LogLevel,
    LogResponse,
    OutputResponse,
    PingResponse,
    ReloadResponse,
    Request,
    StatsResponse,
    Task,
)

ONCE_ONLY = (messages.Start, messages.AddKey, messages.Revoke, messages.Shutdown)
"""Requests that are not made again where the daemon may have received them."""

OUTPUT_SO_FAR = 16 << 20
"""Bytes of a running task's output that are read without following it: what a daemon keeps."""

QUIET_SECONDS = 30.0
"""How long a daemon says nothing to one who watches, where nothing happens."""

OUTPUT_PIECE = 1 << 18
"""Bytes of output that a follower asks for at once."""


class Client:
    """A client of one daemon, as one user or admin.

    Nothing is connected before the first request.

    Args:
        server: `HOST:PORT`, `unix:PATH` or `tls://HOST:PORT`; by default `$APTASK_SERVER`, else the
            socket in the data folder of this account.
        key: the key; by default that of `key_file`, else `$APTASK_KEY`, else, over that socket
            alone, the data folder's `local.key`.
        timeout: seconds that connecting may take, and that the daemon may stay silent while it
            answers; `wait` and `reload` are not subject to it.
        key_file: the path of a file that holds the key.

    Raises:
        ValueError: `server`, or `$APTASK_SERVER`, is not an address, or the key file holds no key.
        OSError: the key file cannot be read.
    """

    def __init__(
        self,
        server: str | None = None,
        key: str | None = None,
        timeout: float = 30.0,
        *,
        key_file: str | os.PathLike[str] | None = None,
    ) -> None:
        self.address = find_server(server)
        if key is None and key_file is not None:
            key = find_key(self.address, key_file=key_file)
        self._key = key
        self._timeout = timeout
        self._idle: list[Connection] = []
        self._closed = False

    # One method a request

    def ping(self) -> PingResponse:
        """Whether the daemon is there; with a valid key also its version and who one is."""
        return self.ask(messages.Ping(), PingResponse)

    def help(self) -> dict[str, Any]:
        """The requests that the daemon knows, by name, each with its fields and an example."""
        return self.ask(messages.Help(), messages.HelpResponse).requests

    def index(self, schema: bool = False) -> list[dict[str, Any]]:
        """The tasks that this key may start, each with its arguments.

        Args:
            schema: whether to add each task's arguments as a JSON Schema object.
        """
        return self.ask(messages.Index(schema=schema), messages.IndexResponse).index

    def start(self, name: str, /, *positional: Any, **named: Any) -> str:
        """Queue a task, with its arguments as Python writes them: all by position or all by name.

        Args:
            name: the name of the task.
            positional: its arguments in their order; or
            named: its arguments by their names.

        Returns:
            The taskid: the task is queued, and the daemon will not forget it.

        Raises:
            TypeError: some arguments were given by position and some by name.
            UnknownTask, InvalidArguments, LimitReached, Unavailable: it was not queued.
            ConnectionFailed: with `received` true it may have been queued, else it was not.
        """
        if positional and named:
            raise TypeError("a task's arguments are given all by position or all by name")
        return self.submit(name, named or positional)

    def submit(
        self,
        name: str,
        arguments: Sequence[Any] | Mapping[str, Any] = (),
        *,
        once: str | None = None,
        unique: str | None = None,
        rerun: bool = False,
    ) -> str:
        """Queue a task, with its arguments as one value: what `start` does with plain data.

        Args:
            name: the name of the task.
            arguments: a sequence, by position, or a mapping, by name.
            once: where a task was started with the same text before, its taskid is the answer: so
                a request may be repeated whose answer was lost.
            unique: the same, while that task has not ended.
            rerun: queue it again where it would end as `interrupted`.

        Returns:
            The taskid, as `start` does; it raises the same.
        """
        plain = dict(arguments) if isinstance(arguments, Mapping) else list(arguments)
        request = messages.Start(name=name, arguments=plain, once=once, unique=unique, rerun=rerun)
        return self.ask(request, messages.StartResponse).taskid

    def stop(self, taskid: str, grace: float | None = None) -> str:
        """Abort a task. The answer says that the stop is under way: `wait` sees its end.

        Args:
            taskid: which.
            grace: seconds between being asked to stop and being killed; by default the task's own.

        Returns:
            The taskid.

        Raises:
            UnknownTaskid: there is none of that id.
            Conflict: it has ended already.
        """
        return self.ask(messages.Stop(taskid=taskid, grace=grace), messages.StopResponse).taskid

    def active(self, limit: int = 1000, offset: int = 0, owner: str | None = None) -> list[Task]:
        """The tasks that have not ended, running ones first, then in the order of the queue.

        Args:
            limit: how many at most, up to 10,000.
            offset: how many to pass over.
            owner: for admins: whose, or `*` for everyone's; by default one's own.
        """
        request = messages.Active(limit=limit, offset=offset, owner=owner)
        return self.ask(request, messages.ActiveResponse).active

    def show(self, taskid: str) -> Task:
        """One task, with all that is known of it.

        Raises:
            UnknownTaskid: there is none of that id.
        """
        return self.ask(messages.Show(taskid=taskid), messages.ShowResponse).task

    def wait(self, taskid: str, timeout: float | None = None) -> Task:
        """Wait until a task has ended.

        Args:
            taskid: which.
            timeout: seconds after which to come back in any case; None: as long as it takes.

        Returns:
            The task: its `state` is `ended`, unless the timeout came first.

        Raises:
            UnknownTaskid: there is none of that id.
            Unavailable: the daemon is being shut down.
        """
        return self._wait(messages.Wait(taskid=taskid, timeout=timeout), "task")[0]

    def wait_all(
        self, taskids: Sequence[str], timeout: float | None = None, *, first: bool = False
    ) -> list[Task]:
        """Wait until all of several tasks have ended, or the first of them.

        Args:
            taskids: which, 10,000 at most.
            timeout: seconds after which to come back in any case; None: as long as it takes.
            first: come back when one of them has ended.

        Returns:
            The tasks, in the order of their ids.

        Raises:
            UnknownTaskid: there is none of one of the ids.
            Unavailable: the daemon is being shut down.
        """
        request = messages.Wait(taskids=list(taskids), timeout=timeout, any=first)
        return self._wait(request, "tasks")

    def output(self, taskid: str, offset: int = 0, limit: int = 65536) -> OutputResponse:
        """A piece of what a task wrote.

        Args:
            taskid: which.
            offset: bytes from the beginning, as written: at first 0, then the `offset` of the
                response before.
            limit: bytes at most, up to 1 MiB.

        Returns:
            The `text`, the `offset` of what follows, and whether this was the `end`.
        """
        request = messages.Output(taskid=taskid, offset=offset, limit=limit)
        return self.ask(request, OutputResponse)

    def history(
        self,
        limit: int = 50,
        *,
        before: str | None = None,
        name: str | None = None,
        status: Ended | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        owner: str | None = None,
    ) -> HistoryResponse:
        """A page of the tasks that have ended, the last to end first.

        Args:
            limit: how many at most, up to 1,000.
            before: the `next` of the page before.
            name: only runs of this task.
            status: only those that ended like this.
            since, until: only those that ended at `since` or later, before `until`; with a zone.
            owner: for admins: whose, or `*` for everyone's; by default one's own.

        Returns:
            Its `history`, and `next`: what asks for the page behind it, None where there is none.

        Raises:
            InvalidArguments: `before` is not the `next` of a page.
        """
        request = messages.History(
            limit=limit,
            before=before,
            name=name,
            status=status,
            since=since,
            until=until,
            owner=owner,
        )
        return self.ask(request, HistoryResponse)

    def tasks(
        self, owner: str = messages.EVERYONE, limit: int = 1000, offset: int = 0
    ) -> list[Task]:
        """Everyone's tasks that have not ended, or one owner's, for admins; see `active`."""
        request = messages.Tasks(owner=owner, limit=limit, offset=offset)
        return self.ask(request, messages.TasksResponse).tasks

    def log(
        self, limit: int = 100, *, after: int | None = None, level: LogLevel | None = None
    ) -> list[LogEntry]:
        """Entries of the event log, in the order of their numbers, for admins.

        Args:
            limit: how many at most, up to 1,000.
            after: the number that they follow; None: the newest.
            level: only those of this level.
        """
        request = messages.Log(limit=limit, after=after, level=level)
        return self.ask(request, LogResponse).log

    def stats(self) -> StatsResponse:
        """How the daemon is, for admins: what runs and waits, its tasks, disk, connections.

        Returns:
            Numbers of them, but for `uptime`, in seconds, and what `disk` has, in bytes.

        Raises:
            Unauthorized: the key is no admin's.
        """
        return self.ask(messages.Stats(), StatsResponse)

    def limits(
        self, group: str = "default", *, slots: int | None = None, paused: bool | None = None
    ) -> dict[str, GroupLimits]:
        """Set how many tasks of a group run at once, for admins; or read that of all groups.

        Args:
            group: which is set; one that is named for the first time is made.
            slots: how many run at once, from now on and over restarts; None: as it is.
            paused: whether none of those that wait is started; None: as it is.

        Returns:
            The groups as they are now, by their names.

        Raises:
            InvalidArguments: there is no such group, and nothing to be set.
        """
        request = messages.Limits(group=group, slots=slots, paused=paused)
        return self.ask(request, messages.LimitsResponse).limits

    def reload(self) -> ReloadResponse:
        """Have the daemon read its configuration again, and look for tasks anew, for admins.

        Returns:
            The names of tasks that were `added`, `removed` and `changed`, what `failed`, and which
            settings take a `restart`.

        Raises:
            InvalidArguments: the configuration is wrong, and nothing has changed: a mistake a line.
        """
        return self.ask(messages.Reload(), ReloadResponse)

    def drain(self, on: bool = True) -> bool:
        """Have the daemon take no new tasks, and run what is queued, for admins.

        Args:
            on: False: take new tasks again.

        Returns:
            Whether it takes none now.
        """
        return self.ask(messages.Drain(on=on), messages.DrainResponse).on

    def shutdown(self, grace: float | None = None) -> None:
        """Stop the daemon, for admins. The answer comes before it does.

        Args:
            grace: seconds that running tasks have to stop; None: by the daemon's `stop_deadline`.
        """
        self.ask(messages.Shutdown(grace=grace), messages.ShutdownResponse)

    def keys(self) -> list[KeyInfo]:
        """Who has a key, and what it allows, for admins: by the names of the owners."""
        return self.ask(messages.Keys(), messages.KeysResponse).keys

    def add_key(
        self,
        name: str,
        role: Literal["user", "admin"] = "user",
        tasks: Sequence[str] | None = None,
    ) -> str:
        """Make a key, for admins.

        Args:
            name: its owner's.
            role: what the owner may do.
            tasks: the names of those that a user may start; None: all but privileged ones.

        Returns:
            The key: it is never shown again.

        Raises:
            Conflict: there is a key of that name.
            InvalidArguments: a task is not there, or `tasks` are given for an admin.
            ConnectionFailed: with `received` true it may have been made, and nobody knows it.
        """
        names = None if tasks is None else list(tasks)
        request = messages.AddKey(name=name, role=role, tasks=names)
        return self.ask(request, messages.AddKeyResponse).newkey

    def revoke(self, name: str) -> None:
        """Take a key back that `add_key` made, for admins. Its owner's tasks go on.

        Args:
            name: of its owner.

        Raises:
            Conflict: it is the configuration's, or the daemon's own.
            InvalidArguments: there is none of that name.
        """
        self.ask(messages.Revoke(name=name), messages.RevokeResponse)

    # What is made of them

    def read_output(self, taskid: str, offset: int = 0) -> Iterator[str]:
        """What a task wrote so far, piece by piece.

        Of one that still writes, at most `OUTPUT_SO_FAR` bytes: it may write faster than anybody
        reads.

        Args:
            taskid: which.
            offset: bytes to pass over.
        """
        most = offset + OUTPUT_SO_FAR
        while offset < most or self.show(taskid).state == "ended":
            piece = self.output(taskid, offset, OUTPUT_PIECE)
            offset = piece.offset
            if piece.text:
                yield piece.text
            if piece.end or not piece.text:
                return

    def follow_output(self, taskid: str, offset: int = 0) -> Iterator[str]:
        """What a task wrote and is still writing, as it comes, piece by piece until its end.

        Args:
            taskid: which.
            offset: bytes to pass over.

        Raises:
            UnknownTaskid: there is none of that id.
            Unavailable: the daemon is being shut down.
            ConnectionFailed: the connection broke; the task goes on.
        """
        request = messages.Output(taskid=taskid, offset=offset, limit=OUTPUT_PIECE, follow=True)
        with closing(self.stream(request)) as lines:
            for line in lines:
                piece = self._decode(line, OutputResponse)
                if piece.text:
                    yield piece.text
                if piece.end:
                    return

    def watch(self, taskid: str | None = None, *, owner: str | None = None) -> Iterator[Task]:
        """A task as it is, and after each change, until its end; or all of one's own tasks.

        Without `taskid` it begins with those that have not ended, the first 1,000 of them, goes on
        with each change of any, new ones as well, and does not end by itself. Long arguments and
        results are left out, as in lists: `show` has them.

        Args:
            taskid: which.
            owner: instead, for admins: whose tasks, or `*` for everyone's; by default one's own.

        Raises:
            UnknownTaskid: there is none of that id.
            Unavailable: the daemon is being shut down.
            ConnectionFailed: the connection broke; the tasks go on.
        """
        with closing(self._watch(messages.Watch(taskid=taskid, owner=owner))) as tasks:
            for task in tasks:
                if task is not None:
                    yield task

    def follow_log(
        self, after: int | None = None, level: LogLevel | None = None, limit: int = 100
    ) -> Iterator[LogEntry]:
        """Entries of the event log, and what comes, for admins: it does not end by itself.

        Args:
            after: the number that they follow; None: from the newest `limit` on.
            level: only those of this level.
            limit: how many of those that there are.

        Raises:
            Unavailable: the daemon is being shut down.
            ConnectionFailed: the connection broke.
        """
        request = messages.Log(limit=limit, after=after, level=level, follow=True)
        with closing(self.stream(request)) as lines:
            for line in lines:
                yield from self._decode(line, LogResponse).log

    def ask(self, request: Request, answer: type[Answer]) -> Answer:
        """Make any request, and have its response as a struct.

        Args:
            request: from `aptask.model.messages`; the key is added.
            answer: the class of its response.

        Raises:
            AptaskError: the daemon said no.
            ConnectionFailed: it said nothing, or nothing that can be understood.
        """
        return self._decode(self.exchange(request), answer)

    def _decode(self, line: bytes, answer: type[Answer]) -> Answer:
        try:
            return decode(line, answer)
        except msgspec.DecodeError as wrong:
            shown = line[:80].decode(errors="replace").strip()
            raise ConnectionFailed(
                f"{self.address} does not speak aptask's protocol ({wrong}): it answered `{shown}`",
                received=True,
            ) from None

    def exchange(self, request: Request) -> bytes:
        """Make any request, and have its response, be it an error, as the line that came.

        Raises:
            ConnectionFailed: none came.
        """
        connection, line = self._exchange(request)
        if self._closed or is_error(line):
            # An error may be the last that the daemon says on a connection.
            connection.close()
        else:
            self._idle.append(connection)
        return line

    def stream(self, request: Request) -> Generator[bytes]:
        """Make a request that has many responses, and have each as the line that came.

        An error is the last of them; whether another one is, depends on the request. The connection
        is this request's alone, and is closed with the generator.

        Raises:
            ConnectionFailed: the connection broke, or there was none.
        """
        connection, line = self._exchange(request)
        try:
            yield line
            while not is_error(line):
                line = connection.read(None)
                yield line
        finally:
            connection.close()

    def _exchange(self, request: Request) -> tuple[Connection, bytes]:
        """Have the first response to a request, and the connection that it came over."""
        while True:
            connection = self._reuse()
            reused = connection is not None
            if connection is None:
                connection = Connection(self.address, self._timeout)
            try:
                silence = self._silence(request)
                return connection, connection.exchange(self._encode(request), silence)
            except ConnectionFailed as failed:
                connection.close()
                harmless = not (failed.received and isinstance(request, ONCE_ONLY))
                if reused and harmless and not failed.timed_out:
                    continue
                raise
            except BaseException:
                connection.close()
                raise

    def close(self) -> None:
        """Close the connections. Requests under way in other threads get their answers."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _reuse(self) -> Connection | None:
        if self._closed:
            raise RuntimeError("this client is closed")
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if not connection.stale:
                return connection
            connection.close()

    def _encode(self, request: Request) -> bytes:
        # Looked up for each request: a daemon's first start makes the local key.
        key = find_key(self.address, self._key)
        return msgspec.json.encode(msgspec.structs.replace(request, key=key)) + b"\n"

    def _watch(self, request: messages.Watch) -> Generator[Task | None]:
        """What `watch` tells, the silence included."""
        with closing(self.stream(request)) as lines:
            for line in lines:
                task = self._decode(line, messages.WatchResponse).task
                yield task
                if request.taskid is not None and task is not None and task.state == "ended":
                    return

    def _wait(self, request: messages.Wait, field: str) -> list[Task]:
        response = self.ask(request, messages.WaitResponse)
        found: Task | list[Task] | UnsetType = getattr(response, field)
        if isinstance(found, UnsetType):
            raise AptaskError(f"the daemon's answer has no `{field}`")
        return found if isinstance(found, list) else [found]

    def _silence(self, request: Request) -> float | None:
        """Seconds that the daemon may take before it answers."""
        if isinstance(request, messages.Wait):
            return None if request.timeout is None else request.timeout + self._timeout
        if isinstance(request, messages.Reload):
            return None  # authors' modules are imported, and may take their time
        if isinstance(request, messages.Watch):
            return QUIET_SECONDS + self._timeout
        return self._timeout
