"""Features of made-up faces, each measure as it lies on footage of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from engine.facesets.features import Features

Value = TypeVar("Value")


def made_features(count: int, seed: int = 0, **columns: ArrayLike) -> Features:
    """`count` faces, `columns` in place of what chance gives; ids do not follow the order of names."""
    rng = np.random.default_rng(seed)

    def around(mean: float, spread: float, *, least: float = -np.inf) -> np.ndarray:
        return np.maximum(rng.normal(mean, spread, count), least).astype(np.float32)

    picture = rng.normal(size=(count, 99))
    nf = around(-4.6, 0.25)
    made = {
        "yaw": around(0, 25), "pitch": around(0, 12), "roll": around(0, 8), "pose_error": around(0.055, 0.006),
        "mouth_open": around(0.08, 0.06, least=0), "mouth_width": around(0.9, 0.08), "eye_opening": around(0.3, 0.03),
        "light_x": around(0, 0.2), "light_y": around(0, 0.1), "brightness": around(110, 15, least=31),
        "luma_std": around(38, 5, least=13), "nf": nf, "nfdir": nf - around(0.7, 0.1),
        "upscale": rng.uniform(0.5, 2.0, count), "hull_area": np.full(count, 0.4),
        "mask_over_hull": np.full(count, np.nan), "cut_off": np.zeros(count),
        "luma_dct": picture / np.linalg.norm(picture, axis=1, keepdims=True) * 0.93,
    }  # fmt: skip
    made |= {name: np.asarray(value) for name, value in columns.items()}
    return Features(
        name=tuple(f"{number:08d}_0.jpg" for number in range(count)),
        face_id=tuple(f"{number:032x}" for number in rng.permutation(count)),
        source=("clip",) * count,
        frame=np.arange(count),
        size=np.full(count, 512, np.int32),
        has_polygons=np.asarray(made.pop("has_polygons", np.zeros(count)), np.bool_),
        **{name: np.asarray(value, np.float32) for name, value in made.items()},
    )


def chosen(features: Features, rows: Sequence[int]) -> Features:
    """The faces of these rows, in their order."""

    def of(column: Sequence[Value]) -> object:
        return column[list(rows)] if isinstance(column, np.ndarray) else tuple(column[row] for row in rows)

    return replace(features, **{one.name: of(getattr(features, one.name)) for one in fields(features)})
