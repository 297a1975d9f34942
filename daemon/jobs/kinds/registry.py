"""Every kind of job by its name. What a worker does for each is `daemon.worker.registry`."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from daemon.jobs.kinds.contract import JobKind
from daemon.jobs.kinds.curate import CurateKind
from daemon.jobs.kinds.extract import ExtractKind
from daemon.jobs.kinds.mask import MaskKind
from daemon.jobs.kinds.verify import VerifyKind

OF_ARRIVALS: JobKind = ExtractKind()
"""What becomes of a file that arrives in an inbox."""
OF_VERIFICATIONS: JobKind = VerifyKind()
"""What reads the faces of a done job back."""
OF_MASKS: JobKind = MaskKind()
"""What masks the faces of a done job."""
OF_CURATIONS: JobKind = CurateKind()
"""What sets aside the faces of a side of a workspace that training does not need."""
KINDS: Mapping[str, JobKind] = MappingProxyType(
    {one.name: one for one in (OF_ARRIVALS, OF_VERIFICATIONS, OF_MASKS, OF_CURATIONS)}
)
HAVE_FACESET_ALONE = tuple(name for name, one in KINDS.items() if one.has_faceset_alone)
