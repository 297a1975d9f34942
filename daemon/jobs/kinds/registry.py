"""Every kind of job by its name. What a worker does for each is `daemon.worker.registry`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from daemon.jobs.kinds.contract import JobKind
from daemon.jobs.kinds.extract import ExtractKind

OF_ARRIVALS: JobKind = ExtractKind()
"""What becomes of a file that arrives in an inbox."""
KINDS: Mapping[str, JobKind] = MappingProxyType({one.name: one for one in (OF_ARRIVALS,)})
