"""The reasons that a face can end with, as the extraction log and the ledger hold them."""

from __future__ import annotations

ACCEPTED = "accepted"
RESCUED = "rescued"
"""A weak face (profile, blur, blink, dark) kept because its track is the person's."""
ACCEPTED_IN_VIDEO = "accepted_in_video"
"""A little under the threshold, but close to sure tracks of the same video."""
REVIEW = "review"
"""Within the review band below the threshold."""
REVIEW_UNCLEAR = "review_unclear"
"""Similar enough, but no clear view to be sure by."""
REVIEW_OTHER_AGE = "review_other_age"
"""The person, but as like the other age's references."""
NO_MATCH = "no_match"
"""Below the similarity threshold and its review band."""
NEGATIVE = "closer_to_negative"
"""A negative reference, or somebody seen beside the person, is as similar."""
ANOTHER_IN_FRAME = "another_in_frame"
"""The person was more surely somebody else in the same frame."""
LOW_CONFIDENCE = "low_confidence"
"""The detector is not sure that it is a face."""
TOO_MANY_FACES = "too_many_faces"
"""`max_faces_per_frame` more similar faces of the same frame were kept."""
NOT_VARIED = "near_duplicate"
"""Dropped by keep = "varied": a face much like it was kept."""
NOT_FIT = "not_fit_to_train"
"""Dropped by only_fit_to_train: small, blurred, or half outside the frame."""
BY_HAND = "decided_by_hand"
"""Not written: in an earlier run a hand deleted, moved or changed this face."""
REASONS = (
    ACCEPTED,
    RESCUED,
    ACCEPTED_IN_VIDEO,
    REVIEW,
    REVIEW_UNCLEAR,
    REVIEW_OTHER_AGE,
    NO_MATCH,
    NEGATIVE,
    ANOTHER_IN_FRAME,
    LOW_CONFIDENCE,
    TOO_MANY_FACES,
    NOT_VARIED,
    NOT_FIT,
    BY_HAND,
)
KEPT_REASONS = (ACCEPTED, RESCUED, ACCEPTED_IN_VIDEO)
REVIEW_REASONS = (REVIEW, REVIEW_UNCLEAR, REVIEW_OTHER_AGE, ANOTHER_IN_FRAME)
"""Reasons of faces in review/; ANOTHER_IN_FRAME also ends tracks that are rejected."""
