"""The executor on this machine: finds or starts a runner, links with it, and copes with losing it.

Rules:

- One runner at a time. One that an earlier daemon has left is adopted: its jobs go on, and what
  became of them meanwhile is heard, each event once, in its order.
- A runner is known to the book before it has an order, and of one that the book knows, its spool
  tells what it could not. One that the book does not know is ended: either it has done nothing, or
  its jobs are those of another book, whose numbers mean other jobs here.
- A runner that has ended in order has told the ends of all that it had: what else was ordered of it
  was never begun, and is ordered of the next one.
- When a runner is lost, so are its jobs: the listener is told once all that it said has been heard;
  what they left alive is ended by its mark; and a new runner is started. One that keeps dying is
  started again after a growing pause.
- A runner that speaks another version of the link gets no new jobs: it ends those that it has, and
  is replaced. Where it is the older one it is told to quit, so that it says what it never began.
"""

# mypy: disallow-untyped-calls=False
# (The endpoint has no types.)

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from aptask.execution import processes
from aptask.execution.link import Link, LinkFactory
from aptask.execution.processes import Found, Spawned
from aptask.interfaces import IExecutor, IListener
from aptask.model.orders import (
    LINK_VERSION,
    OLDEST_VERSION,
    RUNNER_SOCKET,
    Ended,
    Pause,
    Quit,
    Report,
    Resume,
    Start,
    Stop,
    Welcome,
)
from aptask.runner import family, lock, spool

CLEAR_SECONDS = 0.02
"""How often it is seen whether what a runner left behind has ended."""
SEEK_SECONDS = 0.05
"""How often it is seen whether a runner that is there serves."""
STEADY_SECONDS = 10.0
"""A runner that lived for so long was no failed start."""
LONGEST_PAUSE = 10.0
"""The most seconds between two tries to start a runner."""
KILL_SECONDS = 5.0
"""How long after SIGKILL a process is waited for: one that waits for a disk may not die."""
HEARTBEAT_SECONDS = 5.0
"""How often the runner is asked whether it is there."""
SILENCE_SECONDS = 20.0
"""How long it may not answer before it is taken to hang."""
START_SECONDS = 60.0
"""How long it may take until it serves: it waits for one before it, whose jobs have their grace."""
STRANGERS_GRACE = 5.0
"""Seconds that the jobs of a runner have that the book does not know."""
END_SECONDS = 3.0
"""How much longer than its jobs' grace a runner may take to end."""
SPARE_DESCRIPTORS = 200
"""Descriptors of the runner beyond those of jobs."""
DESCRIPTORS_A_JOB = 8
"""Descriptors that the runner needs for each job, at most."""

DIED = "the runner, which held its process, died"
RESTARTED = "the machine was restarted while it ran"


@implementer(IExecutor)
class LocalExecutor:
    """A runner on this machine.

    Args:
        reactor: spawns it and links with it.
        folder: the data folder.
        environment: the account's; what jobs get of it is the runner's choice.
        descriptors: how many the runner and each of its jobs may have open, at least; None: as many
            as this process, whatever room is made.
        orphan_timeout: seconds for which the runner goes on without a daemon.
        command: starts a runner.
    """

    name = "local"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        folder: Path,
        environment: Mapping[str, str],
        descriptors: int | None = None,
        orphan_timeout: float = 3600.0,
        command: Sequence[str] = processes.COMMAND,
    ) -> None:
        self._reactor = reactor
        self._folder = folder
        self._least_descriptors = self._descriptors = descriptors
        self._orphan_timeout = orphan_timeout
        self._command = command
        self._environment = {k: v for k, v in environment.items() if k != "APTASK_KEY"}
        self._listener: IListener | None = None
        self._applied: tuple[str, int] | None = None
        """what the book had when this began"""
        self._instance = ""
        """the runner whose attempts are under way"""
        self._seen = 0
        """the number of the last of its events that was heard, over the links before this one"""
        self._process: Spawned | Found | None = None
        self._died: str | None = None
        """why its process has ended, while what it said last has not all been read"""
        self._link: Link | None = None
        self._foreign: Collection[tuple[int, int]] | None = None
        """what a runner holds that is of another version, and gets no orders but to stop"""
        self._is_older = False
        """whether such a one is of an earlier version"""
        self._is_stranger = False
        """whether it is a runner that the book does not know"""
        self._heard = 0.0
        self._born = 0.0
        self._pause = 0.0
        self._grace: float | None = None
        self._stopped: Deferred[None] | None = None
        self._left: Deferred[None] | None = None
        self._later: list[Any] = []
        """calls that are due only as long as this is not stopped"""

    def start(self, listener: IListener, applied: tuple[str, int] | None) -> None:
        """Adopt or start a runner; see `IExecutor`."""
        self._listener = listener
        self._applied = applied
        if applied is not None:
            self._instance, self._seen = applied
        self._seek(self._reactor.seconds() + START_SECONDS)

    def make_room(self, jobs: int) -> None:
        """Let the runner have descriptors for so many jobs; see `IExecutor`."""
        if self._least_descriptors is None:
            return
        needed = SPARE_DESCRIPTORS + DESCRIPTORS_A_JOB * jobs
        self._descriptors = max(self._least_descriptors, needed)
        if self._process is not None:
            processes.allow_descriptors(self._process.pid, self._descriptors)

    def wait_for_daemon(self, seconds: float) -> None:
        """Have the runner go on for so long without a daemon, from now on."""
        self._orphan_timeout = seconds
        if self._link is not None:
            self._link.orphan_timeout = seconds
            self._link.ask()

    @property
    def can_pause(self) -> bool:
        """Whether what runs can be paused; see `IExecutor`."""
        return self._foreign is None

    def order(self, order: Start | Stop | Pause | Resume) -> None:
        """Pass on an order; see `IExecutor`. Without a runner there is nothing that it is about."""
        if self._link is not None and (self._foreign is None or isinstance(order, Stop)):
            self._link.send(order)

    def stop(self, grace: float) -> Deferred[None]:
        """End the jobs and the runner; see `IExecutor`. Asked again, the sooner end counts."""
        if self._listener is None:
            return succeed(None)
        is_first, self._grace = self._stopped is None, grace
        if self._stopped is None:
            self._stopped = Deferred()
        if self._process is not None:
            self._end(self._process)
        elif is_first and self._died is None and lock.holder(self._folder) is None:
            self._cancel()
            self._clear_away()
        return self._stopped

    def leave(self) -> Deferred[None]:
        """Leave the runner and its jobs to go on; see `IExecutor`."""
        if self._left is None:
            self._left = Deferred()
            self._cancel()
            if self._link is not None:
                self._link.transport.loseConnection()
            else:
                if self._process is not None:
                    self._process.kill()  # it has had no orders
                self._part()
        return self._left

    def _part(self) -> None:
        self._cancel()
        if isinstance(self._process, Found):
            self._process.let_go()
        if self._left is not None and not self._left.called:
            self._left.callback(None)

    def _end(self, process: Spawned | Found) -> None:
        """Have the runner end, as it is to be stopped."""
        grace = self._grace or 0.0
        if self._link is None:
            if isinstance(process, Spawned):
                process.kill()
            return
        if self._foreign is None or self._is_older:
            self._link.send(Quit(grace))
        else:
            for job, attempt in self._foreign:
                self._link.send(Stop(job, attempt, grace))
        self._call_later(grace + END_SECONDS, self._kill, process)

    # Finding a runner

    def _seek(self, until: float) -> None:
        """Link with a runner that is there already, or see that there is none."""
        if lock.holder(self._folder) is None:
            self._lost()
            return
        if self._reactor.seconds() > until:
            self._log.error("a runner is there that does not serve: it is killed")
            processes.kill_holder(self._folder)
        self._connect().addErrback(
            lambda _: self._call_later(SEEK_SECONDS, self._seek, until) if not self._left else None
        )

    def _connect(self) -> Deferred[Any]:
        endpoint = UNIXClientEndpoint(self._reactor, str(self._folder / RUNNER_SOCKET))
        known = (self._instance, self._seen) if self._instance else None
        make = LinkFactory(lambda: Link(self, self._reactor, known, self._orphan_timeout))
        connected: Deferred[Any] = endpoint.connect(make)
        return connected

    def _serves(self, process: Spawned) -> None:
        """The runner that was started takes connections."""
        if process is self._process:
            self._connect().addErrback(self._cannot_link, process)

    def welcomed(self, link: Link, welcome: Welcome) -> None:
        """The runner takes orders, or says once more that it is there."""
        self._heard = self._reactor.seconds()
        if self._left is not None:
            link.transport.loseConnection()
        elif link is self._link:
            self._still_there(link, welcome)
        elif isinstance(self._process, Spawned) and welcome.instance != self._instance:
            self._log.error("another runner answers: {welcome}", welcome=welcome)
            self._process.kill()
        else:
            self._link = link
            self._take(link, welcome)

    def _take(self, link: Link, welcome: Welcome) -> None:
        """Use this runner from now on."""
        listener = self._listener
        assert listener is not None
        if self._process is None:
            try:
                self._process = Found(self._reactor, welcome.pid, self._exited)
            except OSError:
                link.transport.loseConnection()  # it has just died
                return
            if self._descriptors is not None:
                processes.allow_descriptors(welcome.pid, self._descriptors)
        is_new = isinstance(self._process, Spawned)
        if welcome.instance != self._instance:
            self._turn_away(link, welcome)
            return
        if not OLDEST_VERSION <= welcome.version <= LINK_VERSION:
            self._log.error(
                "the runner is of another version, and finishes its jobs: {w}", w=welcome
            )
            self._foreign = welcome.running
            self._is_older = welcome.version < OLDEST_VERSION
        if self._stopped is not None:
            self._end(self._process)
            return
        self._call_later(HEARTBEAT_SECONDS, self._listen_for_heart, link)
        if is_new:
            joined = listener.joined(welcome.instance)
            joined.addCallback(self._joined, link).addErrback(
                lambda failure: self._log.failure("the runner could not be noted", failure)
            )
        elif self._foreign is None:
            jobs = len(welcome.running)
            self._log.info("the runner of before goes on, with {jobs} jobs", jobs=jobs)
            listener.ready(frozenset(welcome.running))
        else:
            self._still_there(link, welcome)

    def _turn_away(self, link: Link, welcome: Welcome) -> None:
        """End a runner that the book does not know, with its jobs."""
        jobs = len(welcome.running)
        self._log.error("a runner that the book does not know, with {n} jobs, is ended", n=jobs)
        self._give_up()
        self._instance, self._is_stranger = welcome.instance, True
        link.send(Quit(STRANGERS_GRACE))
        self._call_later(STRANGERS_GRACE + END_SECONDS, self._kill, self._process)

    def _joined(self, _: None, link: Link) -> None:
        # The book has all that those before it told, and knows them no more.
        for path in (self._folder / spool.FOLDER).glob("*"):
            if path.name != self._instance:
                spool.remove(self._folder, path.name)
        if link is self._link and self._stopped is None and self._listener is not None:
            self._listener.ready(frozenset())

    def _still_there(self, link: Link, welcome: Welcome) -> None:
        if self._foreign is None:
            return
        self._foreign = welcome.running
        if welcome.running or self._process is None:
            return
        if self._is_older:
            link.send(Quit(0.0))
            self._call_later(END_SECONDS, self._kill, self._process)
        else:
            self._process.kill()

    def _listen_for_heart(self, link: Link) -> None:
        """See that the runner still answers: one that hangs holds all jobs."""
        if link is not self._link:
            return
        if self._reactor.seconds() - self._heard > SILENCE_SECONDS:
            self._log.error("the runner has not answered for {s} s", s=SILENCE_SECONDS)
            if self._process is not None:
                self._process.kill()
            return
        link.ask()
        self._call_later(HEARTBEAT_SECONDS, self._listen_for_heart, link)

    # What it reports

    def happened(self, event: Report, source: tuple[str, int] | None) -> Deferred[None] | None:
        """An event of an attempt; see `IListener`."""
        if self._listener is None or self._is_stranger:
            return None
        return self._listener.happened(event, source)

    def unlinked(self, link: Link) -> None:
        """The link broke: a runner that cannot be heard is of no use."""
        if link is not self._link:
            return
        self._link = None
        self._seen = link.seen
        if self._listener is not None:
            self._listener.paused()
        if self._left is not None:
            self._part()
        elif self._process is not None:
            self._process.kill()
        elif self._died is not None:
            self._lost()
        else:
            self._seek(self._reactor.seconds() + START_SECONDS)

    def _exited(self, process: Spawned | Found, why: str) -> None:
        """The runner has ended."""
        if process is not self._process:
            return
        self._process = None
        self._died = why
        # With a link, its end comes too: behind what the runner has said last.
        if self._link is None and self._left is None:
            self._lost()

    # Losing it

    def _lost(self) -> None:
        if self._died is not None and self._stopped is None:
            self._log.error("the runner has died: {why}", why=self._died)
        self._died = None
        self._foreign = None
        self._is_older = False
        if not self._is_stranger:
            self._give_up()
        self._is_stranger = False
        self._cancel()
        self._clear_away()

    def _give_up(self) -> None:
        """Tell what the runner could not tell itself, and what has become of the rest."""
        listener = self._listener
        if listener is None:
            return
        header: spool.Header | None = None
        ends: list[Ended] = []
        try:
            if self._instance:
                header, ends = spool.read(self._folder, self._instance)
        except OSError as error:
            self._log.error("what the runner left cannot be read: {error}", error=error)
        for end in ends:
            if end.number > self._seen:
                listener.happened(end, (self._instance, end.number))
        if self._instance and spool.is_over(self._folder, self._instance):
            listener.over()
        elif header is None or header.boot == spool.boot_id():
            listener.lost(DIED)
        else:
            listener.lost(RESTARTED)

    def _call_later(self, seconds: float, call: Callable[..., object], *arguments: Any) -> None:
        self._later.append(self._reactor.callLater(seconds, call, *arguments))

    def _cancel(self) -> None:
        for call in self._later:
            if call.active():
                call.cancel()
        self._later.clear()

    def _clear_away(self, until: float | None = None) -> None:
        """End what the runner left behind, then begin again, or have stopped."""
        instance, now = self._instance, self._reactor.seconds()
        left = family.kill(lambda: family.of_instance(instance)) if instance else []
        until = now + KILL_SECONDS if until is None else until
        if left and now < until:
            self._call_later(CLEAR_SECONDS, self._clear_away, until)
            return
        if left:
            self._log.error("processes that cannot be killed are left behind: {left}", left=left)
        if self._stopped is not None:
            if not self._stopped.called:
                self._stopped.callback(None)
        elif self._left is None:
            self._begin_again()

    # Starting it

    def _begin_again(self) -> None:
        if not self._born:
            self._spawn()
            return
        steady = self._reactor.seconds() - self._born > STEADY_SECONDS
        self._pause = 0.0 if steady else min(max(0.1, 2 * self._pause), LONGEST_PAUSE)
        self._call_later(self._pause, self._spawn)

    def _spawn(self) -> None:
        self._later.clear()
        self._instance, self._seen = secrets.token_hex(8), 0
        self._born = self._reactor.seconds()
        self._process = process = Spawned(self._serves, self._exited)
        try:
            processes.spawn(
                self._reactor,
                process,
                self._command,
                self._folder,
                self._instance,
                self._environment,
                self._descriptors,
            )
        except OSError as error:
            self._process = None
            self._log.error("the runner cannot be started: {error}", error=error)
            self._begin_again()
        else:
            self._call_later(START_SECONDS, self._kill_unlinked, process)

    def _cannot_link(self, failure: Failure, process: Spawned) -> None:
        self._log.failure("no link with the runner", failure)
        self._kill(process)

    def _kill_unlinked(self, process: Spawned) -> None:
        if self._link is None and process is self._process:
            self._log.error("the runner has not come within {s} s", s=START_SECONDS)
            process.kill()

    def _kill(self, process: Spawned | Found) -> None:
        if process is self._process:
            process.kill()
