"""Answers what the scout asks about a frame. Pass one runs detector and recogniser here alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.backends.backend import Backend
from engine.faces.quality import clarity, measure
from engine.frames.contract import DecodedFrame, region_round
from engine.frames.shots import THUMBNAIL_WIDTH_PX
from engine.identity.embedding import embed_faces
from engine.identity.same_person import blankness
from engine.search.frame_search import find_everywhere, find_in_area, find_in_small, find_known
from engine.search.novelty import NOVELTY_WIDTH_PX
from engine.search.requests import (
    AreaRequest,
    FrameRead,
    FrameView,
    KnownFaces,
    NearRequest,
    Observation,
    Request,
    Sampled,
    SmallLookRequest,
    SmallPicture,
    SmallPictureRequest,
    StretchEnds,
    WholeRequest,
)
from engine.search.scout import Scout, step
from engine.tracks.track import Sample
from engine.types import Face, Identity, Image

CROP_REACH = 2.5
"""Face sizes round a face that a recogniser's crop may reach: dlib's chip is the widest, three faces at any roll."""


@dataclass(frozen=True, eq=False)
class Observer:
    """Looks at frames for a scout, with one backend; for one thread."""

    backend: Backend
    identity: Identity
    min_confidence: float
    """Detections scored lower are dropped, 0..1."""

    def read(self, scout: Scout, decoded: DecodedFrame, thumbnail: Image) -> Scout:
        """Show the scout a frame of its shot; return it as it is after a look, or none."""
        return self._observe(scout, FrameRead(_view(decoded, thumbnail)), decoded)

    def end_stretch(self, scout: Scout, decoded: DecodedFrame, thumbnail: Image) -> Scout:
        """Have the scout look at a frame so that nothing new up to it is left out; return it as it is then."""
        return self._observe(scout, StretchEnds(_view(decoded, thumbnail)), decoded)

    def sample(self, decoded: DecodedFrame, faces: Sequence[Face]) -> tuple[Sample, ...]:
        """Ask the recogniser about faces of a frame, in one batch; return a sample of each."""
        region = region_round([face.bbox for face in faces], CROP_REACH)
        pixels = decoded.to_frame(region).pixels
        crops = [self.backend.recognition_crop(pixels, face) for face in faces]
        samples = []
        for face, embedding in zip(faces, embed_faces(self.backend, crops), strict=True):
            quality = measure(face, frame_width=decoded.width, frame_height=decoded.height)
            clear = clarity(quality, blankness(embedding, self.identity))
            samples.append(Sample(decoded.index, embedding, clear, quality))
        return tuple(samples)

    def answer(self, request: Request, decoded: DecodedFrame) -> Observation:
        """Do what is asked about a frame."""
        backend, sure = self.backend, self.min_confidence
        if isinstance(request, SmallPictureRequest):
            return SmallPicture(decoded.luma(NOVELTY_WIDTH_PX))
        if isinstance(request, NearRequest):
            return KnownFaces(find_known(backend, decoded, request.places, sure))
        if isinstance(request, WholeRequest):
            return find_everywhere(backend, decoded, request.places, sure, turned_divisor=request.turned_divisor)
        if isinstance(request, AreaRequest):
            return find_in_area(
                backend, decoded, request.area, request.known, sure, turned_divisor=request.turned_divisor
            )
        if isinstance(request, SmallLookRequest):
            return find_in_small(backend, decoded, request.known, sure)
        return Sampled(self.sample(decoded, request.faces))

    def _observe(self, scout: Scout, seen: Observation, decoded: DecodedFrame) -> Scout:
        scout, request = step(scout, seen)
        while request is not None:
            scout, request = step(scout, self.answer(request, decoded))
        return scout


def thumbnail_of(decoded: DecodedFrame) -> Image:
    """Return the small picture by which cuts are found and looks are timed."""
    return decoded.luma(THUMBNAIL_WIDTH_PX)


def _view(decoded: DecodedFrame, thumbnail: Image) -> FrameView:
    return FrameView(decoded.index, decoded.pts, decoded.width, decoded.height, thumbnail)
