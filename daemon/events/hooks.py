"""[[hook]]: notifies others of what happened, by an HTTP ping or a command. Never blocks and never fails the work.

Each hook has a queue of limited length and a thread of its own, so that one that hangs holds up neither the work nor
the other hooks. A ping is a POST of a JSON object; only an answer 2xx counts as received. A command runs without a
shell, with the same JSON on its standard input and the facts as DFLD_* in its environment. Facts are numbers and short
texts: file names may be among them, pictures and embeddings never are. Each call: `daemon.events.hook_calls`.
"""

from __future__ import annotations

import logging
import math
import queue
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from core.boundary import boundary
from daemon.config.sync_tables import HookConfig
from daemon.events.hook_calls import HookFailedError, HookTimeoutError, run_command, send_ping
from daemon.log import fields

HookResult = Literal["ok", "failed", "timeout", "dropped"]
Plain = str | int | float
Value = Plain | None

WAITING_MAX = 100
"""Calls that wait for one hook; when it is slower than events come, further ones are dropped and counted."""
CLOSE_LEAST_S = 2.0
"""A stopping service waits at least so long for calls under way: the end of the drain itself may be worth a call."""
KILL_WAIT_S = 5.0
"""After the end of its time a command is ended within `hook_calls.TERM_S`; more is for a busy machine."""
JOIN_S = 0.1
TEXT_MAX = 2000

log = logging.getLogger("dfld.hooks")


class HookRunner:
    """The hooks of a running service. `fire` may be called from any thread, the rest by the thread that made it."""

    def __init__(self, hooks: Sequence[HookConfig], count: Callable[[HookResult], None]) -> None:
        """`count` gets the result of every call, from the hooks' threads."""
        self._count = count
        self._callers = [_Caller(hook, count) for hook in hooks]
        self._leaving: list[_Caller] = []
        """Those of an earlier configuration that still send what waited for them."""

    def configure(self, hooks: Sequence[HookConfig]) -> None:
        """Take the hooks of a new configuration; what already waits for an old one is still sent."""
        old, new = list(self._callers), []
        for hook in hooks:
            caller = next((one for one in old if one.hook == hook), None)
            if caller is not None:
                old.remove(caller)
            new.append(caller or _Caller(hook, self._count))
        self._callers = new
        for caller in old:
            caller.end()
        self._leaving = [caller for caller in (*self._leaving, *old) if caller.thread.is_alive()]

    def fire(self, event: str, facts: Mapping[str, object]) -> None:
        """Hand `event` to every hook that listens to it; return at once. `facts` should hold a `message` for people."""
        wanted = [caller for caller in self._callers if event in caller.hook.on]
        if wanted:
            body = call_body(event, facts, host=socket.gethostname(), now=datetime.now(UTC))
            for caller in wanted:
                caller.add(body)

    def close(self, limit_s: float = CLOSE_LEAST_S, *, at_once: Callable[[], bool] = lambda: False) -> None:
        """Give calls under way the rest of their own time, but no longer than `limit_s` or until `at_once()`.

        Then commands are ended with what they started: none lives when this returns. A ping ends with the process.
        """
        callers = [*self._callers, *self._leaving]
        for caller in callers:
            caller.end()
        ends_at_s = time.monotonic() + limit_s
        for caller in callers:
            while caller.thread.is_alive() and time.monotonic() < ends_at_s and not at_once():
                caller.thread.join(JOIN_S)
        for caller in callers:
            caller.give_up()
        ends_at_s = time.monotonic() + KILL_WAIT_S
        for caller in callers:
            if caller.hook.command:
                caller.thread.join(max(0.0, ends_at_s - time.monotonic()))


def call_body(event: str, facts: Mapping[str, object], *, host: str, now: datetime) -> dict[str, Value]:
    """Return what is sent about an event: plain values only, texts cut to a length that fits everywhere. Pure."""
    body = {**facts, "event": event, "host": host, "time": now.isoformat(timespec="seconds")}
    return {name: _plain(value) for name, value in body.items() if value is None or isinstance(value, Plain)}


def _plain(value: Value) -> Value:
    """Return the value as JSON can hold it everywhere: no endless text, no half of a character, no NaN."""
    if isinstance(value, str):
        return value[:TEXT_MAX].encode("utf-8", "replace").decode()
    return value if not isinstance(value, float) or math.isfinite(value) else None


class _Caller:
    """One hook, its queue, and its thread."""

    def __init__(self, hook: HookConfig, count: Callable[[HookResult], None]) -> None:
        self.hook = hook
        self._count = count
        self._waiting: queue.Queue[dict[str, Value] | None] = queue.Queue(WAITING_MAX)
        self._ending = threading.Event()
        self._given_up = threading.Event()
        # A daemon thread: one that hangs in name resolution, which has no time limit, must not keep the process.
        self.thread = threading.Thread(target=self._run, name="hook", daemon=True)
        self.thread.start()

    def add(self, body: dict[str, Value]) -> None:
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            self._count("dropped")

    def end(self) -> None:
        """Take no more: what waits is still sent, if it is quick."""
        self._ending.set()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # the thread sees `_ending` behind the call under way

    def give_up(self) -> None:
        """End the command under way; send nothing more."""
        self._given_up.set()

    def _run(self) -> None:
        self._call_in_turn()
        with self._waiting.mutex:
            left = sum(body is not None for body in self._waiting.queue)
        if left:
            log.warning("a hook ended with %d more events not sent", left)

    def _call_in_turn(self) -> None:
        while not self._given_up.is_set() and (body := self._waiting.get()) is not None:
            result = self._call(body)
            self._count(result)
            if self._ending.is_set() and (result != "ok" or self._waiting.empty()):
                return

    def _call(self, body: dict[str, Value]) -> HookResult:
        hook, event = self.hook, body["event"]
        with boundary("thread", "a hook", event=event):
            return self._called(hook, body)
        return "failed"

    def _called(self, hook: HookConfig, body: dict[str, Value]) -> HookResult:
        event = body["event"]
        try:
            if hook.url:
                send_ping(hook.url, body, limit_s=hook.timeout_s)
            else:
                run_command(hook.command, body, limit_s=hook.timeout_s, given_up=self._given_up)
        except HookTimeoutError as error:
            log.warning("a hook was given up: %s", error.message, extra=fields(event=event))
            return "timeout"
        except HookFailedError as error:
            log.warning("a hook failed: %s", error.message, extra=fields(event=event))
            return "failed"
        return "ok"
