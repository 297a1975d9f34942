"""The composition root: builds every part of the daemon, starts it, watches over it, and ends it in order.

    run_service(config, config_path=…)        until SIGTERM (drain), a second one (at once), or a part that died

Only this file and the command line know all parts. Signals are taken only where the caller runs in the main
thread, so that `dfld demo` and tests can run a service inside their own process.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from core.boundary import boundary, log_unforeseen
from core.errors import DfldError
from daemon.arrivals.hashing import HashingStoppedError
from daemon.averaging import Averaging
from daemon.config.load import read_config
from daemon.config.schema import Config, InboxConfig
from daemon.control.handlers import Answers
from daemon.control.server import ControlServer
from daemon.crew.gpu import VISIBLE, gpu_for, installed_gpus
from daemon.crew.local import WORKER_COMMAND, LocalCrew
from daemon.errors import DaemonError, ExitCode, ServiceError
from daemon.events.event import Level, Notify
from daemon.events.hooks import CLOSE_LEAST_S, HookRunner
from daemon.events.inbox_events import FileClaimed, InboxSlow
from daemon.events.notifier import Notifier
from daemon.events.service_events import (
    ConfigReloaded,
    ConfigWarning,
    LedgerWaits,
    LedgerWorks,
    ServiceResumed,
    ServiceStarted,
    ServiceStopped,
    ServiceStopping,
)
from daemon.health import Health
from daemon.inboxes.inbox_threads import Inboxes
from daemon.jobs.disk import DiskGuard
from daemon.jobs.dispatch import Slot
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.kinds.registry import KINDS
from daemon.jobs.runner import Runner
from daemon.jobs.tidying import Tidier
from daemon.ledger import jobs as table
from daemon.ledger.claims import Claim
from daemon.ledger.ledger import Connection, Ledger, LedgerUnavailableError
from daemon.log import LineCounter, set_level
from daemon.metrics.http import HttpServer, make_application
from daemon.metrics.registry import Metrics, new_registry
from daemon.readings import disk_reading, gpu_reading, installed, ledger_reading, names_of, progress_reading
from daemon.reload import changes, needs_restart
from daemon.scheduler import Scheduler
from daemon.signals import SignalRequests, taken_signals
from daemon.state_folder import LEDGER_NAME, StateLock, prepare_state_folder
from daemon.systemd import ServiceManager

TICK_S = 1.0
"""The main loop looks round this often; nobody waits for it but systemd."""
TIDY_EVERY_S = 15.0
FIRST_LOOK_S = 20.0
"""READY waits so long for the first look at every inbox; a dead network share must not hold up the others for ever."""
LEDGER_AT_START_S = 60.0
"""A ledger that another program has locked is waited for so long at the start; then the next start tries again."""
LEDGER_LOOK_S = 1.0
SETUP_RETRY_S = 1800.0
SETUP_REASONS = ("reference", "model", "settings", "output", "permission", "version", "worker_start", "workspace_taken")
"""Jobs that failed for these get another chance when the service or its configuration starts anew, and every
`SETUP_RETRY_S`: the share with the reference photos may be mounted by then."""

log = logging.getLogger("dfld")


@dataclass(frozen=True)
class Ready:
    """What a caller learns once the service takes files."""

    http_port: int | None
    ledger_path: Path


class Service:
    """All parts of a running daemon. Made, run and ended by one thread."""

    def __init__(
        self,
        config: Config,
        *,
        config_path: Path | None = None,
        worker_command: Sequence[str] = WORKER_COMMAND,
        service_manager: ServiceManager | None = None,
    ) -> None:
        """Build every part. Raise DaemonError when one cannot be had; those built before are ended."""
        self.config = config
        self.config_path = config_path
        self._service_manager = service_manager or ServiceManager(None)
        prepare_state_folder(config.service.state_dir)
        self.lock = StateLock(config.service.state_dir, on_wait=log.warning)
        try:
            self.ledger = Ledger(config.service.state_dir / LEDGER_NAME)
        except BaseException:
            self.lock.release()
            raise
        self.registry = new_registry()
        self.metrics = Metrics(self.registry, names_of(config))
        self.hooks = HookRunner(config.hooks, lambda result: self.metrics.add("dfld_hook_calls_total", result=result))
        self.notify: Notify = Notifier(self.metrics, self.hooks)
        self.guard = DiskGuard(config.disk)
        self.inboxes = Inboxes(self.ledger, self.notify, self._claimed)
        self.tidier = Tidier(self.ledger, self.notify, self.inboxes.forget, KINDS)
        self.queue = JobQueue(config, self.ledger, self.guard, self.inboxes.trouble)
        self.crew = LocalCrew(
            command=worker_command,
            keep_open=(self.lock.descriptor,),
            gpus=lambda slot: gpu_for(slot, os.environ.get(VISIBLE), installed_gpus()),
            on_error_line=lambda line: log.debug("worker: %s", line),
        )
        self.slots: list[Slot] = []
        self.health = Health(self.ledger, self.queue, self.inboxes, self.slots)
        self.scheduler = Scheduler(self.notify)
        self.averaging = Averaging(self.notify, self.metrics, self.scheduler)
        self.started_s = time.time()
        self._ledger_reported = ""
        self._http: HttpServer | None = None
        self._control: ControlServer | None = None
        self._reloading = threading.Lock()
        self._line_counter = LineCounter(
            lambda level: self.metrics.add("dfld_log_messages_total", level=level),
            lambda boundary: self.metrics.add("dfld_unforeseen_errors_total", boundary=boundary),
        )

    # -- the life of a service

    def start(self) -> Ready:
        """Resume what was left, arm the inboxes, start the slots. Raise DaemonError when a part cannot start."""
        logging.getLogger().addHandler(self._line_counter)
        self._resume()
        self._declare()
        address = self.config.http.address
        if address is not None:
            hosts = (*self.config.http.hosts, address[0])
            application = make_application(self.registry, self.health.live, self.health.ready, hosts=hosts)
            self._http = HttpServer(*address, application)
        self.inboxes.configure(self.config)
        self._fit_slots()
        self._control = ControlServer(self.config.service.state_dir, Answers(self))
        self.scheduler.every(TIDY_EVERY_S, "tidy", self._tidy_up, at_once=True)
        self.averaging.configure(self.config)
        self.scheduler.every(SETUP_RETRY_S, "retry-setup", self._retry_setup)
        self.scheduler.start()
        if slow := self.inboxes.wait_until_inspected(FIRST_LOOK_S):
            message = f"the first look at inbox {', '.join(slow)} takes longer than {FIRST_LOOK_S:.0f} s; it goes on"
            self.notify(InboxSlow(message))
        count = len(self.config.inboxes)
        ready = Ready(self._http.port if self._http else None, self.ledger.path)
        self.notify(ServiceStarted(f"dfld runs with {count} inboxes", pid=os.getpid(), port=ready.http_port))
        return ready

    def watch_over(self) -> str:
        """Look round once; return what cannot be lived with, "" when all is well.

        Whatever fails of it, of any type, is logged, and the rest is done: what shows how the service is does not
        decide whether it lives, nor whether systemd's watchdog is fed.
        """
        dead: list[str] = []
        with boundary("thread", "looking for dead threads", _log_foreseen):
            dead = self.health.dead_threads()
        with boundary("thread", "showing how the service is", _log_foreseen):
            self._report_ledger()
            self.health.move_gauges(self.metrics)
            self._service_manager.status(self.health.status_line())
        with boundary("thread", "feeding the watchdog", _log_foreseen):
            if self.health.turns():
                self._service_manager.watchdog()
        return f"these threads died: {', '.join(dead)}" if dead else ""

    def _report_ledger(self) -> None:
        """Say once why the ledger takes nothing, and once that it does again: every part waits for it in silence."""
        trouble = self.ledger.trouble
        if trouble and trouble != self._ledger_reported:
            self.notify(LedgerWaits(trouble))
        elif self._ledger_reported and not trouble:
            self.notify(LedgerWorks(f"{self.ledger.path}: the ledger can be written again"))
        self._ledger_reported = trouble

    def stop(self, *, at_once: Callable[[], bool] = lambda: False) -> None:
        """Drain and end every part that was started, in the order that loses nothing, whatever one of them raises."""
        self._service_manager.stopping("draining")
        self.notify(ServiceStopping("draining: the work in hand is committed, nothing new is started"))
        ends_at_s = time.monotonic() + self.config.service.drain_timeout_s  # for everything that drains, side by side
        self.queue.stopping.set()
        self.queue.wake_idle()
        self.averaging.ask_to_stop()
        with ExitStack() as rest:  # runs from its end
            rest.callback(self.lock.release)
            rest.callback(logging.getLogger().removeHandler, self._line_counter)
            rest.callback(self.notify, ServiceStopped("dfld stopped"))
            rest.callback(self._close_hooks, ends_at_s, at_once)
            rest.callback(self.ledger.close)
            if self._http is not None:
                rest.callback(self._http.close)
            if self._control is not None:
                rest.callback(self._control.close)
            rest.callback(self.averaging.stop, ends_at_s, at_once=at_once)
            rest.callback(self.scheduler.stop)
            rest.callback(self._join_slots, at_once)
            rest.callback(self.inboxes.stop)

    def _join_slots(self, at_once: Callable[[], bool]) -> None:
        for slot in self.slots:
            while slot.thread.is_alive() and not at_once():
                slot.thread.join(0.1)
            if slot.thread.is_alive():
                slot.runner.abandon()
                slot.thread.join()

    def _close_hooks(self, ends_at_s: float, at_once: Callable[[], bool]) -> None:
        self.hooks.close(max(CLOSE_LEAST_S, ends_at_s - time.monotonic()), at_once=at_once)

    def _resume(self) -> None:
        """Put what a killed service left running back into the queue, and give failures of the set-up a chance."""

        def step(writer: Connection) -> tuple[int, int]:
            return table.interrupted_to_queue(writer), table.requeue_failed(writer, SETUP_REASONS)

        ends_at_s = time.monotonic() + LEDGER_AT_START_S
        while True:
            try:
                interrupted, again = self.ledger.write(step)
            except LedgerUnavailableError as problem:
                if time.monotonic() > ends_at_s:
                    raise
                log.warning("%s", problem.message)
                self.queue.stopping.wait(LEDGER_LOOK_S)
            else:
                break
        if interrupted or again:
            message = f"{interrupted} jobs go on where they were, {again} that failed for the set-up are tried again"
            self.notify(ServiceResumed(message))

    def _declare(self) -> None:
        self.metrics.set_build_info(
            version=installed("dfld") or "unknown",
            python=platform.python_version(),
            onnxruntime=installed("onnxruntime-gpu", "onnxruntime"),
        )
        self.metrics.add_reader(
            "ledger", lambda: {**ledger_reading(self.ledger, self.inboxes.settling()), **self.averaging.reading()}
        )
        self.metrics.add_reader("disk", lambda: disk_reading(self.config, self.guard, self.ledger))
        self.metrics.add_reader("progress", lambda: progress_reading(self.health.running()))
        self.metrics.add_reader("gpu", gpu_reading)
        self.metrics.set("dfld_config_last_reload_success", 1.0)
        self.metrics.set("dfld_config_last_reload_timestamp_seconds", time.time())

    def _fit_slots(self) -> None:
        """Have as many slots as the configuration asks for."""
        self.slots[:] = [slot for slot in self.slots if slot.thread.is_alive()]
        for slot in self.slots[self.config.limits.workers :]:
            slot.retired.set()
        for number in range(len(self.slots), self.config.limits.workers):
            runner = Runner(
                slot=number,
                kinds=KINDS,
                ledger=self.ledger,
                guard=self.guard,
                notify=self.notify,
                tidier=self.tidier,
                crew=self.crew,
                on_originals_gone=self.inboxes.forget,
                stopping=self.queue.stopping,
            )
            slot = Slot(number, self.queue, runner, self.ledger, self.notify)
            slot.thread.start()
            self.slots.append(slot)
        self.queue.wake_idle()

    def _claimed(self, inbox: InboxConfig, path: bytes, claim: Claim) -> None:
        """The file at `path` in the inbox was claimed, or turned out to be known."""
        if claim.outcome == "known":
            return
        name = os.fsdecode(path)
        message = f"job {claim.job.id}: {name}: {claim.message or 'it is new, and is queued'}"
        level: Level = "warning" if claim.outcome in ("refused", "duplicate") else "info"
        self.notify(
            FileClaimed(
                message,
                inbox.name,
                claim.job.id,
                level=level,
                outcome=claim.outcome,
                file=name,
                sha256=claim.job.sha256,
            )
        )
        self.queue.wake_idle()

    def _retry_setup(self) -> None:
        with suppress(LedgerUnavailableError):  # the next time will do
            if self.ledger.write(lambda writer: table.requeue_failed(writer, SETUP_REASONS)):
                self.queue.wake_idle()

    def _tidy_up(self) -> None:
        self.tidier.tidy_all(self.config, lambda name: not self.inboxes.trouble(name), self.stop_reading)

    def stop_reading(self) -> None:
        """Raise HashingStoppedError when the service stops: for whoever reads or copies a long file."""
        if self.queue.stopping.is_set():
            raise HashingStoppedError

    def recycle_workers(self) -> None:
        """Replace every worker before its next job: people that were forgotten are in its memory."""
        for slot in self.slots:
            slot.runner.recycle.set()
        self.queue.wake_idle()

    def reload(self) -> list[str]:
        """Read the configuration anew beside the one that runs; apply it whole, or keep the old one and say why.

        Return what changed. Raise ConfigError or ServiceError, with nothing changed.
        """
        with self._reloading:
            self._service_manager.reloading()
            try:
                return self._reload()
            except DaemonError as problem:
                message = f"the configuration was not taken, the old one goes on: {problem.message}"
                self.notify(ConfigReloaded(message, level="error", result="refused"))
                raise
            finally:
                self._service_manager.ready(self.health.status_line())

    def _reload(self) -> list[str]:
        if self.config_path is None:
            raise ServiceError("this service was started without a configuration file; there is nothing to read")
        loaded = read_config(self.config_path, missing_files="warn")
        new = loaded.config
        fixed = needs_restart(self.config, new)
        if fixed:
            raise ServiceError(f"{'; '.join(fixed)} cannot change while dfld runs", hint="systemctl restart dfld")
        for text in loaded.warnings:
            self.notify(ConfigWarning(text))
        changed = changes(self.config, new)
        if new.service.log_level != self.config.service.log_level:
            set_level(new.service.log_level)
        self.config = new
        self.metrics.rename(names_of(new))
        self.inboxes.configure(new)
        self.queue.configure(new)
        self.hooks.configure(new.hooks)
        self.averaging.configure(new)
        self._fit_slots()
        self._retry_setup()
        self.queue.wake_idle()
        message = "the configuration was taken: " + ("; ".join(changed) if changed else "nothing changed")
        self.notify(ConfigReloaded(message, result="applied"))
        return changed


def _log_foreseen(error: Exception) -> None:
    """Log what a boundary takes for foreseen: not where the service looks round. Why the ledger waits is said once."""
    if isinstance(error, DfldError) and not isinstance(error, LedgerUnavailableError):
        log_unforeseen("thread", "watching over the service", error)


def run_service(
    config: Config,
    *,
    config_path: Path | None = None,
    stop: threading.Event | None = None,
    on_ready: Callable[[Ready], None] | None = None,
    worker_command: Sequence[str] = WORKER_COMMAND,
) -> ExitCode:
    """Run the daemon until `stop` is set or a signal ends it; return its exit code. Raise DaemonError at start.

    config_path: what SIGHUP reads anew; None = SIGHUP does nothing. `on_ready` is called once files are taken.
    """
    requests = SignalRequests(stop or threading.Event())
    service_manager = ServiceManager.from_environment(os.environ)
    service = Service(config, config_path=config_path, worker_command=worker_command, service_manager=service_manager)
    trouble = ""
    with taken_signals(requests):
        try:
            ready = service.start()
            service_manager.ready(service.health.status_line())
            if on_ready is not None:
                on_ready(ready)
            while not trouble and not requests.stop.wait(TICK_S):
                if requests.reload.is_set():
                    requests.reload.clear()
                    with boundary("thread", "reloading the configuration", _log_foreseen), suppress(DaemonError):
                        service.reload()  # what is suppressed was reported, and the old configuration goes on
                trouble = service.watch_over()
        finally:
            service.stop(at_once=requests.at_once.is_set)
    if trouble:
        raise ServiceError(f"the service ended itself: {trouble}", hint="the log has a traceback of what went wrong")
    return ExitCode.OK
