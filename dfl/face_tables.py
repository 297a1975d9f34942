"""The numbers of DeepFaceLab's face geometry: templates, point indices, face types.

Facts of the format (DeepFaceLab commit 46fc239, facelib/LandmarksProcessor.py, facelib/FaceType.py), not for
computing: dfl.geometry does that. Landmark indices are those of the 68 iBUG points: 0..16 jaw, 17..21 and
22..26 eyebrows, 27..35 nose, 36..41 and 42..47 eyes, 48..67 mouth; image left first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class FaceTypeFacts:
    """How DeepFaceLab cuts one face type."""

    enum: int
    """The value of DeepFaceLab's FaceType, as faceset.pak stores it; larger ones show more of the head."""
    padding: float | None
    """Margin p round the template's unit square: the crop's side is 1 + 2·√2·p of its sides; None: no crop."""
    upright: bool
    """The crop is not turned with the face."""


FACE_TYPES: Mapping[str, FaceTypeFacts] = MappingProxyType(
    {
        "half_face": FaceTypeFacts(0, 0.0, False),
        "midfull_face": FaceTypeFacts(1, 0.0675, False),
        "full_face": FaceTypeFacts(2, 0.2109375, False),
        "full_face_no_align": FaceTypeFacts(3, 0.2109375, True),
        "whole_face": FaceTypeFacts(4, 0.4, False),
        "head": FaceTypeFacts(10, 0.7, False),
        "head_no_align": FaceTypeFacts(20, 0.7, True),
        "mark_only": FaceTypeFacts(100, None, False),
    }
)
"""Every face type DeepFaceLab knows, by the name its metadata uses."""

FIT_POINTS: tuple[int, ...] = (*range(17, 49), 54)
"""The landmarks that place the face: eyebrows, nose, eyes, mouth corners; neither jaw nor lips, which move."""

FIT_TARGET: tuple[tuple[float, ...], ...] = (
    (0.000213256, 0.106454),
    (0.0752622, 0.038915),
    (0.18113, 0.0187482),
    (0.29077, 0.0344891),
    (0.393397, 0.0773906),
    (0.586856, 0.0773906),
    (0.689483, 0.0344891),
    (0.799124, 0.0187482),
    (0.904991, 0.038915),
    (0.98004, 0.106454),
    (0.490127, 0.203352),
    (0.490127, 0.307009),
    (0.490127, 0.409805),
    (0.490127, 0.515625),
    (0.36688, 0.587326),
    (0.426036, 0.609345),
    (0.490127, 0.628106),
    (0.554217, 0.609345),
    (0.613373, 0.587326),
    (0.121737, 0.216423),
    (0.187122, 0.178758),
    (0.265825, 0.179852),
    (0.334606, 0.231733),
    (0.260918, 0.245099),
    (0.182743, 0.244077),
    (0.645647, 0.231733),
    (0.714428, 0.179852),
    (0.793132, 0.178758),
    (0.858516, 0.216423),
    (0.79751, 0.244077),
    (0.719335, 0.245099),
    (0.254149, 0.780233),
    (0.726104, 0.780233),
)
"""(33, 2) where FIT_POINTS lie on DeepFaceLab's mean face, in its unit square (x right, y down)."""

MEAN_FACE_3D: tuple[tuple[float, ...], ...] = (
    (-73.393524, -29.801432, 47.667534),
    (-72.77502, -10.949766, 45.909405),
    (-70.53364, 7.929818, 44.84258),
    (-66.85006, 26.07428, 43.141113),
    (-59.790188, 42.56439, 38.6353),
    (-48.368973, 56.48108, 30.750622),
    (-34.1211, 67.246994, 18.456453),
    (-17.87541, 75.05689, 3.609035),
    (0.098749, 77.06129, -0.881698),
    (17.477032, 74.758446, 5.181201),
    (32.648968, 66.92902, 19.176563),
    (46.372356, 56.31139, 30.77057),
    (57.34348, 42.419125, 37.628628),
    (64.38848, 25.45588, 40.88631),
    (68.212036, 6.990805, 42.28145),
    (70.486404, -11.666193, 44.142567),
    (71.375824, -30.36519, 47.140427),
    (-61.119408, -49.361603, 14.254422),
    (-51.287586, -58.769794, 7.268147),
    (-37.8048, -61.996155, 0.442051),
    (-24.022755, -61.033398, -6.606501),
    (-11.635713, -56.68676, -11.967398),
    (12.056636, -57.391033, -12.051204),
    (25.106256, -61.902187, -7.315098),
    (38.33859, -62.777714, -1.022953),
    (51.191006, -59.302345, 5.349435),
    (60.053852, -50.190254, 11.615746),
    (0.65394, -42.19379, -13.380835),
    (0.804809, -30.993721, -21.150852),
    (0.992204, -19.944595, -29.284037),
    (1.226783, -8.414541, -36.94806),
    (-14.772472, 2.598255, -20.132004),
    (-7.180239, 4.751589, -23.536684),
    (0.55592, 6.5629, -25.944448),
    (8.272499, 4.661005, -23.695742),
    (15.214351, 2.643046, -20.858156),
    (-46.04729, -37.471413, 7.037989),
    (-37.674686, -42.73051, 3.021217),
    (-27.883856, -42.711517, 1.353629),
    (-19.648268, -36.75474, -0.111088),
    (-28.272964, -35.134495, -0.147273),
    (-38.082417, -34.919044, 1.476612),
    (19.265867, -37.032307, -0.665746),
    (27.894192, -43.342445, 0.24766),
    (37.43753, -43.11082, 1.696435),
    (45.170807, -38.086514, 4.894163),
    (38.196453, -35.532024, 0.282961),
    (28.76499, -35.484287, -1.172675),
    (-28.916267, 28.612717, -2.24031),
    (-17.533194, 22.172188, -15.934335),
    (-6.68459, 19.02905, -22.611355),
    (0.381001, 20.721119, -23.748438),
    (8.375443, 19.03546, -22.721994),
    (18.876617, 22.39411, -15.610679),
    (28.794413, 28.079924, -3.217393),
    (19.057573, 36.29825, -14.987997),
    (8.956375, 39.634575, -22.554245),
    (0.381549, 40.395645, -23.591625),
    (-7.428895, 39.836407, -22.406107),
    (-18.160633, 36.6779, -15.121907),
    (-24.37749, 28.67777, -4.785684),
    (-6.897633, 25.475977, -20.893742),
    (0.340663, 26.014269, -22.220478),
    (8.444722, 25.326199, -21.02552),
    (24.474474, 28.323008, -5.712776),
    (8.449166, 30.596216, -20.67149),
    (0.205322, 31.408737, -21.90367),
    (-7.198266, 30.844875, -20.328022),
)
"""(68, 3) a mean head, x right, y down, z away from the camera, in its own unit; for the pose."""

MIRROR_PAIRS: tuple[tuple[int, int], ...] = (
    (0, 16),
    (1, 15),
    (2, 14),
    (3, 13),
    (4, 12),
    (5, 11),
    (6, 10),
    (7, 9),
    (17, 26),
    (18, 25),
    (19, 24),
    (20, 23),
    (21, 22),
    (36, 45),
    (37, 44),
    (38, 43),
    (39, 42),
    (40, 47),
    (41, 46),
    (31, 35),
    (32, 34),
    (50, 52),
    (49, 53),
    (48, 54),
    (59, 55),
    (58, 56),
    (67, 65),
    (60, 64),
    (61, 63),
)
"""Landmarks that change places when the image is mirrored; the others lie on the face's axis."""

HULL_PARTS: tuple[tuple[int, ...], ...] = (
    (*range(0, 9), 17),
    (*range(8, 17), 26),
    (17, 18, 19, 8),
    (24, 25, 26, 8),
    (19, 20, 21, 22, 23, 24, 8),
    (*range(17, 22), 27, *range(31, 36), 8),
    (*range(22, 27), 27, *range(31, 36), 8),
    (*range(27, 31), *range(31, 36)),
)
"""Landmarks whose convex hulls together are the face mask."""

EYE_AND_MOUTH_PARTS: tuple[tuple[int, ...], ...] = (
    tuple(range(36, 42)),
    tuple(range(42, 48)),
    tuple(range(60, 68)),
)
"""Landmarks of the left eye, the right eye (of the image) and the inner lips."""

POSE_POINTS: tuple[int, ...] = (*range(0, 27), *range(30, 36))
"""Landmarks the pose is solved from: jaw, eyebrows, lower nose."""
