"""The daemon: the one place that builds the rooms and connects them.

`makeService` is what `twistd aptask` calls. What can be wrong with options and configuration is
said before anything is made; what shows only at start (a port is taken, the data folder belongs to
a running daemon) stops the start. Either way it is one clear sentence, and exit status 1.
"""

# mypy: disallow-untyped-calls=False
# (Service's and Options' methods have no types.)

from __future__ import annotations

import atexit
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn, TextIO

from twisted.application.service import IService, Service
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger, jsonFileLogObserver
from twisted.python import usage
from twisted.python.failure import Failure

from aptask.config import LOCAL_OWNER, Settings, load
from aptask.endpoints import Endpoint, check_address
from aptask.errors import AptaskError, ConfigurationError, Unavailable
from aptask.execution import processes
from aptask.execution.local import LocalExecutor
from aptask.model.key import Key
from aptask.model.progress import clean
from aptask.runner import spool
from aptask.runner.output import Outputs
from aptask.scheduling.scheduler import Scheduler
from aptask.serving.context import Context
from aptask.serving.dispatch import Dispatcher
from aptask.serving.folder import MeasuredFolder
from aptask.serving.keyring import Keyring, Source, digest
from aptask.serving.tcp import RequestFactory
from aptask.storage.examine import look
from aptask.storage.folder import local_key, lock, make_folder, private_files
from aptask.storage.store import DATABASE, SQLiteStore
from aptask.system import (
    Calls,
    calm_collector,
    notify_systemd,
    raise_descriptors,
    remove_dead_socket,
    share_processor,
    steady_clock,
)
from aptask.tasks.catalog import Catalog
from aptask.tasks.configured import Configuration, read_tasks
from aptask.tasks.discover import discover
from aptask.version import __version__

LATE_SECONDS = 5.0
"""How long after `stop_deadline` the daemon ends, whatever has not."""
OUTPUT_FOLDER = "output"
MEASURED = (DATABASE, OUTPUT_FOLDER, spool.FOLDER, processes.LOG)
"""What counts as the daemon's in the data folder, by how the names begin."""
OPEN_SECONDS = 0.2
"""How long the start waits for the queue: what takes longer is waited for while clients come."""
REMOVED_AT_ONCE = 1000
"""How many outputs are held against the book at once."""
PRUNE_SECONDS = 60.0
PRUNE_AGAIN_SECONDS = 0.1
"""The pause between two steps, while there is more to be pruned."""
END_SECONDS = 3.0
"""What is left of `stop_deadline` when the last job has been killed, for everything else."""
SPARE_DESCRIPTORS = 200
"""Descriptors beyond those of clients and jobs."""
DESCRIPTORS_A_JOB = 8
"""Descriptors that the runner needs for each job, at most."""


class Options(usage.Options):
    """What `twistd aptask` takes."""

    longdesc = "Asynchronous parallel task scheduling, execution and monitoring."
    optParameters = [
        ["config", "c", None, "the configuration file (TOML); everything in it is optional"],
        ["web", None, None, "`off`: there is no page yet"],
        ["data", "d", None, "the data folder [default: $APTASK_DATA, or ~/.local/state/aptask]"],
        ["slots", "s", None, "how many tasks run at once [default: one a processor]"],
    ]
    compData = usage.Completions(
        optActions={"config": usage.CompleteFiles("*.toml"), "data": usage.CompleteDirs()}
    )

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["tasks"] = []

    def opt_listen(self, endpoint: str) -> None:
        """where to listen, as a Twisted endpoint string; may be given several times
        [default: tcp:2142:interface=127.0.0.1, and aptask.sock in the data folder]"""
        self["listen"].append(endpoint)

    def opt_tasks(self, folder: str) -> None:
        """a folder of private task files; may be given several times"""
        self["tasks"].append(folder)

    def opt_version(self) -> None:
        """show the version of aptask"""
        print(f"aptask {__version__}")
        sys.exit(0)


def makeService(options: Options) -> IService:
    """Check the settings, and make the service.

    Args:
        options: from the command line.

    Raises:
        SystemExit: with the sentences that say what is wrong.
    """
    from twisted.internet import reactor

    parent: dict[str, Any] = options.parent or {}
    try:
        settings = load(options, os.environ)
        _configured(settings)
        lock(make_folder(settings.data)).close()
    except ConfigurationError as error:
        _refuse(error.message)
    return AptaskService(
        reactor,
        settings,
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
        daemonised: whether standard error leads nowhere.
        logfile: what twistd was told to log to.
    """

    name = "aptask"
    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        daemonised: bool = False,
        logfile: str | None = None,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._daemonised = daemonised
        self._logfile = logfile
        self._ports: list[IListeningPort] = []
        self._pruning: Any = None
        self._lock: Any = None
        self._stopping = False

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
        for warning in settings.warnings:
            self._log.warn("{warning}", warning=warning)
        folder = make_folder(settings.data)
        self._lock = lock(folder)
        look(folder / DATABASE)
        before = raise_descriptors(settings.limits.connections + SPARE_DESCRIPTORS)
        calls = Calls()
        self._store = SQLiteStore(folder / DATABASE, calls, time.time, soon=calls.soon)
        opened = self._store.open()  # in its own thread, beside all that follows
        self._catalog = self._discover()
        self._executor = LocalExecutor(
            self._reactor,
            folder,
            os.environ,
            descriptors=max(before, SPARE_DESCRIPTORS + DESCRIPTORS_A_JOB * settings.slots),
            orphan_timeout=settings.orphan_timeout,
        )
        self._scheduler = Scheduler(
            store=self._store,
            executor=self._executor,
            catalog=self._catalog,
            limits=settings.limits,
            slots=settings.slots,
            clock=time.time,
        )
        (folder / OUTPUT_FOLDER).mkdir(mode=0o700, exist_ok=True)
        self._outputs = Outputs(folder / OUTPUT_FOLDER, settings.limits.output_bytes)
        self._opening: Deferred[None] = Deferred()
        self._context = Context(
            scheduler=self._scheduler,
            store=self._store,
            catalog=self._catalog,
            keyring=self._keyring(folder),
            outputs=self._outputs,
            folder=MeasuredFolder(folder, MEASURED, self._reactor, calls),
            clock=self._reactor,
            version=__version__,
            limits=settings.limits,
            opening=self._opening,
            failures=self._failures,
        )
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
        self._pruning = self._reactor.callLater(PRUNE_SECONDS, self._prune)
        calm_collector()
        Deferred.fromCoroutine(self._remove_unknown()).addErrback(self._not_pruned)
        notify_systemd("READY=1")
        self._log.info(
            "aptask {version} serves; stop it with Ctrl-C or `kill {pid}`",
            version=__version__,
            pid=os.getpid(),
        )

    def _not_opened(self, failure: Failure) -> None:
        """The queue turned out to be damaged when clients could already come."""
        if self._stopping:
            return
        if failure.check(AptaskError):
            self._log.critical("{message}", message=failure.value.message)  # type: ignore[union-attr]
        else:
            self._log.failure("the queue could not be restored", failure)
        # twistd has nothing else to have its exit status from.
        atexit.register(os._exit, 1)
        self._reactor.stop()
        self._stopping = True

    def _discover(self) -> Catalog:
        settings = self._settings
        origin = str(settings.config)
        configured = _configured(settings)
        path = [str(folder) for folder in settings.task_folders]
        if settings.config is not None:
            path.append(str(settings.config.parent))
        found = discover(
            folders=[str(folder) for folder in settings.task_folders],
            configured=configured.callables,
            known=configured.descriptions,
            path=path,
        )
        self._failures = found.failures
        for failure in found.failures:
            self._log.error(
                "a task could not be used: {plugin}: {error}",
                plugin=clean(failure.plugin),
                error=clean(failure.error),
            )
            if settings.config is not None and failure.plugin.startswith(f"{origin}: "):
                raise ConfigurationError(f"{failure.plugin}: {failure.error}")
        names = {description.name for description in found.descriptions}
        for key in settings.keys:
            for name in sorted(set(key.tasks or ()) - names):
                self._log.warn(
                    "{config}: [users.{user}] names a task that there is not: `{name}`",
                    config=settings.config,
                    user=key.name,
                    name=name,
                )
        return Catalog(found.descriptions, shutil.which, self._reactor.seconds, str(settings.data))

    def _keyring(self, folder: Path) -> Keyring:
        keyring = Keyring(self._settings.authentication)
        local = Key(LOCAL_OWNER, "admin", digest(local_key(folder)))
        keyring.replace(Source.LOCAL, [local])
        keyring.replace(Source.CONFIGURATION, self._settings.keys)
        return keyring

    def _listen(self, endpoint: Endpoint) -> IListeningPort:
        """Listen on an endpoint.

        Raises:
            ConfigurationError: it cannot be listened on.
        """
        try:
            if endpoint.path is not None:
                remove_dead_socket(endpoint.path)
            parsed = serverFromString(self._reactor, endpoint.description)
            with private_files():
                listening = parsed.listen(self._factory)
        except Exception as error:  # of OpenSSL, of a socket that systemd did not hand over, ...
            raise ConfigurationError(_cannot_listen(endpoint, f"{error}" or repr(error))) from None
        result: Any = None

        def arrived(value: Any) -> None:
            nonlocal result
            result = value

        listening.addBoth(arrived)
        if isinstance(result, Failure):
            raise ConfigurationError(_cannot_listen(endpoint, result.getErrorMessage()))
        check_address(
            endpoint,
            result.getHost(),
            authentication=self._settings.authentication,
            insecure=self._settings.insecure,
        )
        self._log.info("listening on {address}", address=_shown(result.getHost()))
        port: IListeningPort = result
        return port

    def _prune(self) -> None:
        """Forget old history: a step now, and the next soon if there was something to forget."""

        def remove(jobs: Iterable[int]) -> None:
            for job in jobs:
                self._outputs.remove(job)
            pause = PRUNE_AGAIN_SECONDS if jobs else PRUNE_SECONDS
            if not self._stopping:
                self._pruning = self._reactor.callLater(pause, self._prune)

        def failed(failure: Failure) -> None:
            self._not_pruned(failure)
            remove(())

        self._scheduler.prune().addCallbacks(remove, failed)

    async def _remove_unknown(self) -> None:
        """Remove outputs of jobs that are not in the book: a daemon may have died in between."""
        kept = sorted(await deferToThread(self._outputs.jobs))
        for start in range(0, len(kept), REMOVED_AT_ONCE):
            step = kept[start : start + REMOVED_AT_ONCE]
            known = await self._store.get_many(step)
            for number in set(step) - {job.id for job in known}:
                self._outputs.remove(number)

    def _not_pruned(self, failure: Failure) -> None:
        if not self._stopping:
            self._log.failure("old history could not be removed", failure)

    # The end

    def stopService(self) -> Deferred[None]:
        """Stop gracefully, within `stop_deadline`; a further signal ends the jobs at once."""
        super().stopService()
        notify_systemd("STOPPING=1")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled_again)
        self._log.info("stopping; a second signal ends all tasks at once")
        self._stopping = True
        if self._pruning is not None and self._pruning.active():
            self._pruning.cancel()
        self._scheduler.close()
        if not self._opening.called:
            self._opening.errback(Unavailable("the daemon is shutting down"))
            self._opening.addErrback(lambda _: None)
        parts: list[Deferred[Any]] = [
            *(maybeDeferred(port.stopListening) for port in self._ports),
            self._factory.shut_down(),
            self._end_jobs(),
        ]
        stopped: Deferred[None] = Deferred()
        # Whatever does not end in time must not hold up the end of this process.
        late = self._reactor.callLater(
            self._settings.stop_deadline + LATE_SECONDS, self._ended, None, stopped
        )
        ended = gatherResults(parts).addErrback(self._failed)
        ended.addCallback(lambda _: self._store.close()).addErrback(self._failed)
        ended.addCallback(self._ended, stopped)
        return stopped.addCallback(lambda _: late.cancel() if late.active() else None)

    def _end_jobs(self) -> Deferred[None]:
        if self._settings.keep_running:
            return self._executor.leave()
        return self._executor.stop(max(0.0, self._settings.stop_deadline - END_SECONDS))

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


def _configured(settings: Settings) -> Configuration:
    """The tasks of the configuration.

    Raises:
        ConfigurationError: one of them is wrong.
    """
    try:
        return read_tasks(settings.tasks, str(settings.config))
    except ConfigurationError as error:
        raise ConfigurationError(f"{settings.config}: {error.message}") from None


def _cannot_listen(endpoint: Endpoint, why: str) -> str:
    return f"cannot listen on {endpoint.description}: {why.rstrip('.')}"


def _shown(address: Any) -> str:
    if hasattr(address, "port"):
        return f"{address.host}:{address.port}"
    name = getattr(address, "name", address)
    return os.fsdecode(name) if isinstance(name, bytes) else str(name)
