"""Seeds that follow from where a training stands: a resume repeats and skips no random number.

Every sample has one seed. DeepFaceLab begins two Mersenne Twisters with it, one for the geometry and one for the warp;
numpy's RandomState gives the same numbers, in every version of numpy. What DeepFaceLab draws elsewhere comes from
streams of other seeds, which follow from the sample's.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

_SEEDS = 0x80000000
"""DeepFaceLab draws the seed of a sample from 0 .. 2^31 - 1."""


@dataclass(frozen=True)
class SamplePlace:
    """Where a sample stands in a training."""

    seed: int
    """Of the training."""
    rank: int
    iteration: int
    side: str
    number: int
    """In the batch of this rank, side and iteration, from 0."""


def sample_seed(place: SamplePlace) -> int:
    """Return the seed of the sample there: 0 .. 2^31 - 1, spread evenly."""
    return derived_seed(place.seed, place.rank, place.iteration, place.side, place.number)


def derived_seed(*parts: int | str) -> int:
    """Return a seed of 0 .. 2^31 - 1 that follows from these values alone."""
    digest = blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") % _SEEDS
