"""Waits between two tries, and what a stop does to them."""

from __future__ import annotations

import threading
import time


def pause(stop: threading.Event, seconds: float) -> None:
    """Wait between two tries. A stop ends the wait it comes in; after it the pace stays, for what must be seen out.

    What must be: a trainer that was stopped is started again. On an event that is set no wait would last, so the tries
    would be over at once; hence `sleep`.
    """
    if stop.is_set():
        time.sleep(seconds)
    else:
        stop.wait(seconds)
