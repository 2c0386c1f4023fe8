"""The daemon: the one place that builds the rooms and connects them.

`makeService` is what `twistd aptask` calls. What can be wrong with options and configuration is
said before anything is made; what shows only at start (a port is taken, the data folder belongs to
a running daemon) stops the start. Either way it is one clear sentence, and exit status 1.
"""

# mypy: disallow-untyped-calls=False
# (Service's methods have no types.)

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TextIO

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import ILogObserver, Logger, jsonFileLogObserver
from twisted.python.failure import Failure

from aptask.config import LOCAL_OWNER, Settings
from aptask.errors import AptaskError, Unavailable
from aptask.execution import processes
from aptask.execution.local import LocalExecutor
from aptask.listening import listen
from aptask.model.event import Event, Level, visible
from aptask.model.key import Key, digest
from aptask.model.progress import clean
from aptask.model.reloaded import Reloaded
from aptask.options import Options, pin
from aptask.plan import Plan, describe, make_plan, read_settings, summarise, take_over
from aptask.reloading import Reloader
from aptask.runner import spool
from aptask.runner.output import Outputs
from aptask.scheduling.publisher import Publisher
from aptask.scheduling.scheduler import Scheduler
from aptask.serving.context import Context
from aptask.serving.dispatch import Dispatcher
from aptask.serving.folder import MeasuredFolder
from aptask.serving.keyring import Keyring, Source
from aptask.serving.tcp import RequestFactory
from aptask.storage.examine import look
from aptask.storage.folder import check_folder, local_key, lock, make_folder
from aptask.storage.store import DATABASE, SQLiteStore
from aptask.system import (
    Calls,
    calm_collector,
    in_thread,
    notify_systemd,
    raise_descriptors,
    share_processor,
    steady_clock,
)
from aptask.tasks.catalog import Catalog
from aptask.upkeep import Upkeep
from aptask.version import __version__

LATE_SECONDS = 5.0
"""How long after `stop_deadline` the daemon ends, whatever has not."""
OUTPUT_FOLDER = "output"
MEASURED = (DATABASE, OUTPUT_FOLDER, spool.FOLDER, processes.LOG)
"""What counts as the daemon's in the data folder, by how the names begin."""
OPEN_SECONDS = 0.2
"""How long the start waits for the queue: what takes longer is waited for while clients come."""
END_SECONDS = 3.0
"""What is left of `stop_deadline` when the last job has been killed, for everything else."""
SPARE_DESCRIPTORS = 200
"""Descriptors beyond those of clients."""


def makeService(options: Options) -> IService:
    """Check the settings, and make the service.

    Args:
        options: from the command line.

    Raises:
        SystemExit: with the sentences that say what is wrong; or with what a start would do, where
            that was asked.
    """
    from twisted.internet import reactor

    parent: dict[str, Any] = options.parent or {}
    again = partial(read_settings, *pin(options, os.environ))
    try:
        settings = again()
        if options["check"]:
            check_folder(settings.data)
            print(describe(make_plan(settings)))
            raise SystemExit(0)
        lock(make_folder(settings.data)).close()
    except AptaskError as error:
        _refuse(error.message)
    return AptaskService(
        reactor,
        settings,
        again,
        daemonised=not parent.get("nodaemon", True),
        logfile=parent.get("logfile"),
    )


class StartRefused(Exception):
    """The daemon cannot start: what a daemonised one tells the process that started it."""


class AptaskService(Service):
    """All rooms, connected.

    Args:
        reactor: the real one.
        settings: checked.
        again: reads the settings anew, for a reload.
        daemonised: whether standard error leads nowhere.
        logfile: what twistd was told to log to.
    """

    name = "aptask"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        again: Callable[[], Settings],
        daemonised: bool = False,
        logfile: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._again = again
        self._daemonised = daemonised
        self._logfile = logfile
        self._ports: list[IListeningPort] = []
        self._lock: Any = None
        self._stopping = False
        self._is_told_to_stop = False
        self._grace: float | None = None
        """seconds that jobs have at the end, where `shutdown` has said so"""
        self._hung_up_early = False
        """whether a SIGHUP came before the queue was there"""
        self._reloader = Reloader(self._plan_again, self._take)

    def setServiceParent(self, parent: Any) -> None:
        """Join the application; with `log = "json"`, set what twistd logs with."""
        super().setServiceParent(parent)
        if self._settings.log == "json":
            from twisted.python.log import ILogObserver as ILegacyLogObserver

            observer = jsonFileLogObserver(self._log_file(), "")
            for interface in (ILogObserver, ILegacyLogObserver):
                parent.setComponent(interface, observer)

    def _log_file(self) -> TextIO:
        """Where twistd would log to."""
        name = self._logfile or ("twistd.log" if self._daemonised else "-")
        return sys.stdout if name == "-" else open(name, "a")

    def startService(self) -> None:
        """Build everything, and listen."""
        steady_clock(self._reactor)
        try:
            self._start()
        except AptaskError as error:
            self._cannot_start(error.message)
        except OSError as error:
            self._cannot_start(f"{error.filename or 'the daemon'}: {error.strerror or error}")
        super().startService()

    def _cannot_start(self, message: str) -> NoReturn:
        self._log.critical("{message}", message=message)
        if self._daemonised:
            raise StartRefused(message)
        _refuse(message)

    def _start(self) -> None:
        settings = self._settings
        folder = make_folder(settings.data)
        self._lock = lock(folder)
        look(folder / DATABASE)
        before = raise_descriptors(settings.limits.connections + SPARE_DESCRIPTORS)
        calls = Calls()
        self._store = SQLiteStore(folder / DATABASE, calls, time.time, soon=calls.soon)
        opened = self._store.open()  # in its own thread, beside all that follows
        self._plan = make_plan(settings)
        catalog = self._catalog(self._plan)
        self._executor = LocalExecutor(
            self._reactor,
            folder,
            os.environ,
            descriptors=before,
            orphan_timeout=settings.orphan_timeout,
        )
        self._scheduler = Scheduler(
            store=self._store,
            executor=self._executor,
            catalog=catalog,
            limits=settings.limits,
            slots=settings.slots,
            clock=time.time,
            publisher=Publisher(partial(self._reactor.callLater, 0)),
        )
        (folder / OUTPUT_FOLDER).mkdir(mode=0o700, exist_ok=True)
        self._outputs = Outputs(folder / OUTPUT_FOLDER)
        self._opening: Deferred[None] = Deferred()
        self._context = Context(
            scheduler=self._scheduler,
            store=self._store,
            catalog=catalog,
            keyring=self._keyring(folder),
            outputs=self._outputs,
            folder=MeasuredFolder(folder, MEASURED, self._reactor, calls),
            clock=self._reactor,
            version=__version__,
            limits=settings.limits,
            life=self,
            opening=self._opening,
            failures=self._plan.failures,
        )
        self._upkeep = Upkeep(
            scheduler=self._scheduler,
            store=self._store,
            outputs=self._outputs,
            limits=lambda: self._context.limits,
            requests=lambda: sum(self._context.traffic.requests.values()),
            clock=self._reactor,
            wall=time.time,
            in_thread=self._in_thread,
        )
        self._tell_of(self._plan)
        self._factory = RequestFactory(Dispatcher(self._context), settings.limits, self._reactor)
        for endpoint in settings.listen:
            self._ports.append(listen(self._reactor, endpoint, self._factory, settings))
        restored = opened.addCallback(lambda _: Deferred.fromCoroutine(self._restore()))
        calls.wait_for(restored, OPEN_SECONDS)
        calls.go_on(self._reactor)
        failed = restored.result if restored.called else None
        if isinstance(failed, Failure):
            restored.addErrback(lambda _: None)
            failed.raiseException()
        calm_collector()
        share_processor()
        # Before the reactor runs, a signal would end this process without a word.
        restored.addErrback(self._not_opened)
        self._reactor.callWhenRunning(self._go_on, restored)
        signal.signal(signal.SIGHUP, self._hung_up)

    def _hung_up(self, *_: object) -> None:
        """SIGHUP: a reload."""
        self._reactor.callFromThread(self._reload_by_signal)

    async def _restore(self) -> tuple[str, int] | None:
        """Have what is in the book: who may ask, and the queue."""
        self._context.keyring.replace(Source.DATABASE, await self._store.keys())
        return await self._scheduler.restore()

    def _go_on(self, restored: Deferred[tuple[str, int] | None]) -> None:
        restored.addCallback(self._ready).addErrback(self._failed)

    def _ready(self, applied: tuple[str, int] | None) -> None:
        """The queue is there."""
        if self._stopping:
            return
        self._context.opening = None
        self._opening.callback(None)
        self._executor.start(self._scheduler, applied)
        self._upkeep.start()
        calm_collector()
        notify_systemd("READY=1")
        self._log.info(
            "aptask {version} serves; stop it with Ctrl-C or `kill {pid}`",
            version=__version__,
            pid=os.getpid(),
        )
        if self._hung_up_early:
            self._reload_by_signal()

    def _not_opened(self, failure: Failure) -> None:
        """The queue turned out to be damaged when clients could already come."""
        if self._stopping:
            return
        if isinstance(failure.value, AptaskError):
            self._log.critical("{message}", message=failure.value.message)
        else:
            self._log.failure("the queue could not be restored", failure)
        # twistd has nothing else to have its exit status from.
        atexit.register(os._exit, 1)
        self._reactor.stop()
        self._stopping = True

    def _tell_of(self, plan: Plan, before: Plan | None = None) -> None:
        """Log what is unwise or cannot be used, and was not so before."""
        known = () if before is None else (*before.warnings, *before.failures)
        for warning in plan.warnings:
            if warning not in known:
                self._log.warn("{warning}", warning=warning)
        for failure in plan.failures:
            if failure not in known:
                message = f"a task could not be used: {failure.plugin}: {failure.error}"
                self._log.error("{message}", message=clean(message))
                self._context.recorder.record(Event(Level.ERROR, visible(message)))

    def _catalog(self, plan: Plan) -> Catalog:
        folder = str(plan.settings.data)
        return Catalog(plan.tasks, shutil.which, self._reactor.seconds, folder)

    def _keyring(self, folder: Path) -> Keyring:
        keyring = Keyring(self._settings.authentication)
        local = Key(LOCAL_OWNER, "admin", digest(local_key(folder)))
        keyring.replace(Source.LOCAL, [local])
        keyring.replace(Source.CONFIGURATION, self._settings.keys)
        return keyring

    # Another configuration

    def reload(self) -> Deferred[Reloaded]:
        """Read the configuration again, and look for tasks anew; see `Reloader`."""
        return self._reloader.reload()

    def _plan_again(self) -> Deferred[Plan]:
        return self._in_thread(lambda: make_plan(self._again()))

    def _in_thread(self, function: Callable[[], Any]) -> Deferred[Any]:
        return in_thread(function, self._reactor.callFromThread)

    def _take(self, plan: Plan) -> Reloaded:
        """Be what a plan says, as far as that goes without a restart."""
        before = self._plan
        plan, reloaded = take_over(before, plan)
        settings, catalog = plan.settings, self._catalog(plan)
        self._tell_of(plan, before)
        self._plan, self._settings = plan, settings
        raise_descriptors(settings.limits.connections + SPARE_DESCRIPTORS)
        self._context.limits = self._factory.limits = settings.limits
        self._context.catalog = self._scheduler.catalog = catalog
        self._context.failures = plan.failures
        self._context.keyring.replace(Source.CONFIGURATION, settings.keys)
        self._executor.wait_for_daemon(settings.orphan_timeout)
        self._scheduler.configure(settings.limits, settings.slots)
        self._log.info("reloaded: {differences}", differences=summarise(reloaded))
        return reloaded

    def _reload_by_signal(self) -> None:
        if self._stopping:
            return
        if self._context.opening is not None:
            self._hung_up_early = True
            return
        self._context.recorder.record(Event(Level.REQUEST, "reload (SIGHUP)"))
        notify_systemd(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
        reloaded = self.reload().addErrback(self._not_reloaded)
        reloaded.addCallback(lambda _: None if self._stopping else notify_systemd("READY=1"))

    def _not_reloaded(self, failure: Failure) -> None:
        if isinstance(failure.value, AptaskError):
            for line in failure.value.message.splitlines():
                self._log.error("not reloaded: {line}", line=line)
                self._context.recorder.record(Event(Level.ERROR, visible(f"not reloaded: {line}")))
        else:
            self._log.failure("not reloaded", failure)
            fault = "not reloaded: a fault of the daemon; its log has more"
            self._context.recorder.record(Event(Level.ERROR, fault))

    # The end

    def shut_down(self, grace: float | None) -> None:
        """Stop soon, as if told by a signal.

        Args:
            grace: seconds that jobs have to stop; None: by `stop_deadline`.
        """
        if not self._is_told_to_stop:
            self._is_told_to_stop = True
            self._grace = grace
            # What has asked for it is answered first.
            self._reactor.callLater(0, self._stop_reactor)

    def _stop_reactor(self) -> None:
        if not self._stopping:
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop gracefully, within `stop_deadline`; a further signal ends the jobs at once."""
        super().stopService()
        deadline = self._settings.stop_deadline
        if self._grace is not None:
            deadline = self._grace + END_SECONDS
        # systemd waits for as long, whatever its TimeoutStopSec.
        extended = round((deadline + 2 * LATE_SECONDS) * 1e6)
        notify_systemd(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={extended}")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled_again)
        self._log.info("stopping; a second signal ends all tasks at once")
        self._stopping = self._is_told_to_stop = True
        self._reloader.close()
        self._upkeep.stop()
        self._scheduler.close()
        if not self._opening.called:
            self._opening.errback(Unavailable("the daemon is shutting down"))
            self._opening.addErrback(lambda _: None)
        parts: list[Deferred[Any]] = [
            *(maybeDeferred(port.stopListening) for port in self._ports),
            self._factory.shut_down(),
            self._end_jobs(deadline),
        ]
        stopped: Deferred[None] = Deferred()
        # Whatever does not end in time must not hold up the end of this process.
        late = self._reactor.callLater(deadline + LATE_SECONDS, self._ended, None, stopped)
        ended = gatherResults(parts).addErrback(self._failed)
        if self._context.opening is None:
            ended.addCallback(lambda _: self._upkeep.close())
        ended.addCallback(lambda _: self._store.close()).addErrback(self._failed)
        ended.addCallback(self._ended, stopped)
        return stopped.addCallback(lambda _: late.cancel() if late.active() else None)

    def _end_jobs(self, deadline: float) -> Deferred[None]:
        if self._settings.keep_running:
            return self._executor.leave()
        return self._executor.stop(max(0.0, deadline - END_SECONDS))

    def _signalled_again(self, *_: object) -> None:
        if not self._settings.keep_running:
            self._reactor.callFromThread(self._executor.stop, 0.0)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("not all parts have begun or stopped as they should", failure)

    def _ended(self, _: object, stopped: Deferred[None]) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None
            stopped.callback(None)


def _refuse(message: str) -> NoReturn:
    # twistd turns what goes to sys.stderr into lines of its log.
    for line in message.splitlines():
        print(f"aptask: {line}", file=sys.__stderr__)
    raise SystemExit(1)
