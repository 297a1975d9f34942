from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.facesets import feature_cache
from engine.facesets.feature_cache import CachedFace, FeatureCache, cache_path
from engine.facesets.measures.face_measures import ROW
from tests.faceset_rig import face_jpeg, make_faceset


def cached(number: int) -> CachedFace:
    row = np.zeros((), ROW)
    row["nf"], row["mat"] = -number / 3, np.nan
    return CachedFace(
        (number, 100 + number, 10**18 + number), f"{number:064x}", f"{number:032x}", f"clip {number}\udcff", row
    )


def test_what_was_written_is_read_again(quick_folder: Path) -> None:
    faceset = make_faceset(quick_folder, {"a.jpg": face_jpeg(1)}, masks=False)
    assert FeatureCache.read(faceset).known_bytes == frozenset()
    cache = FeatureCache()
    for number in range(3):
        cache.add(cached(number))
    assert cache.has_changed
    cache.write(faceset)
    assert cache_path(faceset).stat().st_mode & 0o777 == 0o600
    assert cache_path(faceset).parent.stat().st_mode & 0o777 == 0o700
    found = FeatureCache.read(faceset)
    assert not found.has_changed
    one = found.by_file(cached(2).key)
    assert one is not None
    assert (one.sha256, one.face_id, one.source, one.row.tobytes()) == (
        cached(2).sha256, cached(2).face_id, cached(2).source, cached(2).row.tobytes(),
    )  # fmt: skip
    assert found.by_bytes(cached(1).sha256).key == cached(1).key
    assert found.by_file((9, 9, 9)) is None


@pytest.mark.parametrize("damage", ["cut", "changed", "empty", "text", "number", "longer"])
def test_a_damaged_cache_is_none(quick_folder: Path, damage: str) -> None:
    faceset = make_faceset(quick_folder, {"a.jpg": face_jpeg(1)}, masks=False)
    cache = FeatureCache()
    cache.add(cached(1))
    cache.write(faceset)
    path = cache_path(faceset)
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-5], "changed": data[:-5] + b"abcde", "empty": b"", "text": b"{}\n[]\n", "number": b"7\n",
            "longer": data + b"x",
        }[damage]
    )  # fmt: skip
    assert FeatureCache.read(faceset).known_bytes == frozenset()


def test_a_cache_of_other_measures_is_none(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faceset = make_faceset(quick_folder, {"a.jpg": face_jpeg(1)}, masks=False)
    cache = FeatureCache()
    cache.add(cached(1))
    cache.write(faceset)
    monkeypatch.setattr(feature_cache, "MEASURES_REVISION", feature_cache.MEASURES_REVISION + 1)
    assert FeatureCache.read(faceset).known_bytes == frozenset()


def test_faces_that_are_gone_are_given_up() -> None:
    cache = FeatureCache(cached(number) for number in range(3))
    cache.keep_only([cached(number).key for number in range(4)])
    assert not cache.has_changed
    cache.keep_only([cached(1).key])
    assert cache.has_changed
    assert cache.known_bytes == {cached(1).sha256}
