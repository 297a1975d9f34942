"""Aligned faces made from DeepFaceLab's mean face, turned as a head turns: landmarks as those of a real face lie."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dfl.face_tables import MEAN_FACE_3D
from dfl.geometry import face_mat, transform_points
from dfl.image import AlignedMetadata
from engine.masks.source import FaceToMask

FRAME_MIDDLE_PX = (320.0, 240.0)


def landmarks_in_frame(
    *, yaw_degrees: float = 0.0, pitch_degrees: float = 0.0, roll_degrees: float = 0.0, scale: float = 1.0
) -> NDArray[np.float64]:
    """Return (68, 2) landmarks in frame px: the mean face turned and seen from afar."""
    yaw, pitch, roll = (math.radians(one) for one in (yaw_degrees, pitch_degrees, roll_degrees))
    about_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    about_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    turned = np.array(MEAN_FACE_3D) @ (np.array(about_z) @ np.array(about_x) @ np.array(about_y)).T
    return np.asarray(turned[:, :2] * scale + FRAME_MIDDLE_PX)


def an_aligned_face(face_type: str = "whole_face", *, side_px: int = 256, **turned: float) -> FaceToMask:
    """Return a grey aligned face with the metadata that an extraction gives it; `turned` as `landmarks_in_frame`."""
    landmarks = landmarks_in_frame(**turned)
    mat = face_mat(landmarks, side_px, face_type)
    metadata = AlignedMetadata(
        face_type=face_type,
        landmarks=transform_points(landmarks, mat),
        source_filename="00000001.png",
        source_rect=np.array([200, 120, 440, 360]),
        source_landmarks=landmarks,
        image_to_face_mat=mat,
    )
    return FaceToMask(np.full((side_px, side_px, 3), 128, np.uint8), metadata)
