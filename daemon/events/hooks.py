"""[[hook]]: tells others what happened, by an HTTP ping or a command. Never blocks and never fails the work.

Each hook has a queue of limited length and a thread of its own, so that one that hangs holds up neither the work nor
the other hooks. A ping is a POST of a JSON object; only an answer 2xx counts as told. A command runs without a shell,
with the same JSON on its standard input and the facts as DFLD_* in its environment. Facts are numbers and short texts:
file names may be among them, pictures and embeddings never are. How a call is made is `daemon.events.hook_calls`.
"""

from __future__ import annotations

import logging
import math
import queue
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from daemon.config.sync_tables import HookConfig
from daemon.events.hook_calls import HookFailedError, HookTimeoutError, run_command, send_ping
from daemon.log import fields

HookResult = Literal["ok", "failed", "timeout", "dropped"]
Plain = str | int | float
Value = Plain | None

WAITING_MAX = 100
"""Calls that wait for one hook; when it is slower than events come, further ones are dropped and counted."""
CLOSE_LIMIT_S = 2.0
"""A stopping service waits so long for calls under way; a hook must not hold up a shutdown."""
TEXT_MAX = 2000

log = logging.getLogger("dfld.hooks")


class HookRunner:
    """The hooks of a running service. `fire` may be called from any thread, the rest by the thread that made it."""

    def __init__(self, hooks: Sequence[HookConfig], count: Callable[[HookResult], None]) -> None:
        """`count` is told the result of every call, from the hooks' threads."""
        self._count = count
        self._callers = [_Caller(hook, count) for hook in hooks]

    def configure(self, hooks: Sequence[HookConfig]) -> None:
        """Take the hooks of a new configuration; what already waits for an old one is still told."""
        old, new = list(self._callers), []
        for hook in hooks:
            caller = next((one for one in old if one.hook == hook), None)
            if caller is not None:
                old.remove(caller)
            new.append(caller or _Caller(hook, self._count))
        self._callers = new
        for caller in old:
            caller.end()

    def fire(self, event: str, facts: Mapping[str, object]) -> None:
        """Tell every hook that listens to `event`; return at once. `facts` should hold a `message` for people."""
        wanted = [caller for caller in self._callers if event in caller.hook.on]
        if wanted:
            body = call_body(event, facts, host=socket.gethostname(), now=datetime.now(UTC))
            for caller in wanted:
                caller.add(body)

    def close(self, limit_s: float = CLOSE_LIMIT_S) -> None:
        """Give calls under way a moment, then leave them."""
        for caller in self._callers:
            caller.end()
        for caller in self._callers:
            caller.thread.join(limit_s)


def call_body(event: str, facts: Mapping[str, object], *, host: str, now: datetime) -> dict[str, Value]:
    """Return what is told about an event: plain values only, texts cut to a length that fits everywhere. Pure."""
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
        # A daemon thread: one that hangs in name resolution, which has no time limit, must not keep the process.
        self.thread = threading.Thread(target=self._run, name="hook", daemon=True)
        self.thread.start()

    def add(self, body: dict[str, Value]) -> None:
        try:
            self._waiting.put_nowait(body)
        except queue.Full:
            self._count("dropped")

    def end(self) -> None:
        """Take no more: what waits is still told, if it is quick."""
        self._ending.set()
        try:
            self._waiting.put_nowait(None)
        except queue.Full:
            return  # the thread sees `_ending` behind the call under way

    def _run(self) -> None:
        while (body := self._waiting.get()) is not None:
            result = self._call(body)
            self._count(result)
            if self._ending.is_set() and (result != "ok" or self._waiting.empty()):
                return

    def _call(self, body: dict[str, Value]) -> HookResult:
        hook, event = self.hook, body["event"]
        try:
            if hook.url:
                send_ping(hook.url, body, limit_s=hook.timeout_s)
            else:
                run_command(hook.command, body, limit_s=hook.timeout_s)
        except HookTimeoutError as error:
            log.warning("a hook was given up: %s", error.message, extra=fields(event=event))
            return "timeout"
        except HookFailedError as error:
            log.warning("a hook failed: %s", error.message, extra=fields(event=event))
            return "failed"
        return "ok"
