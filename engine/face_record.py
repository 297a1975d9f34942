"""What is known about one detected face: a line of the extraction log, a row of the ledger."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FaceRecord:
    """What became of one detected face: a line of the extraction log, a row of the ledger."""

    frame: int
    pts: int | None
    index: int
    """Position among the detections of its frame, left to right in detection order."""
    bbox: tuple[float, float, float, float]
    detection_score: float
    similarity: float | None
    kept: bool
    reason: str
    """One of engine.reasons."""
    file: str | None = None
    """Name under aligned/, or under review/ where the reason is one of review, where the face was written. It is for
    people: they may have changed it since."""
    track: int | None = None
    """Number of its track within the video: the same face through one shot."""
    track_similarity: float | None = None
    """What the decision rests on: `similarity` is this face's own, where it was asked."""
    yaw_degrees: float | None = None
    """Turn of the head to the side, negative to the image's left; of written faces."""
    sharpness: float | None = None
    """Of written faces: as engine.facesets.measures.sharpness measures it; larger is sharper."""
    fit_to_train: bool | None = None
    """Whether a face that was cut out is large, sharp and whole enough to train on."""
    file_index: int | None = None
    """The number in its file's name, behind the frame's: of the faces of the frame that were to be written."""
    face_id: str = ""
    """See engine.face_id; "" only where an older dfld recorded the face, and its source has no hash."""
    track_id: str = ""
    """Made of the first face of its track; "" where an older dfld recorded the face."""
