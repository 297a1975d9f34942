from __future__ import annotations

import json

import numpy as np
import pytest

from engine.clip.resume_state import Carry, carry_from_json, carry_to_json
from engine.errors import InputError
from engine.faces.quality import FaceQuality
from engine.frames.shots import ShotState
from engine.search.scout import ScoutState
from engine.tracks.review_tracks import ReviewTrack
from engine.tracks.track import Sample, Sighting, Track
from engine.tracks.verdicts import Gallery
from engine.types import Face


def full_carry() -> Carry:
    rng = np.random.default_rng(1)
    quality = FaceQuality(101.25, 12.5, 1 / 3)
    sightings = (
        Sighting(7, Face(rng.normal(size=4), 0.7, rng.normal(size=(5, 2))), 700),
        Sighting(9, Face(rng.normal(size=4), 0.1 + 0.2), None),
    )
    track = Track(3, 2, sightings, (Sample(7, rng.normal(size=128).astype(np.float32), 1 / 3, quality),))
    thumbnail = rng.integers(0, 255, (36, 64), dtype=np.uint8)
    rows = tuple(rng.normal(size=(3, 128)).astype(np.float32))
    return Carry(
        ScoutState(4, 2, (track,), 8, 9, thumbnail, 5, 1),
        ShotState(thumbnail, 0.1 + 0.2),
        Gallery(rows[:2], rows[2:]),
        (ReviewTrack(3, rows[0], 0.35, 0.4),),
        frozenset({3}),
    )


OF_0_1_0 = (
    '{"format":2,"next_track":5,"shot":1,"interval":2,"last_look":7,"last_full_look":6,"last_whole_l'
    'ook":null,"look_thumbnail":["uint8",[2,3],"AAECAwQF"],"glanced":null,"studied":null,"doubtful_l'
    'ooks":0,"live":[{"id":4,"shot":1,"sightings":[[7,280,0.9,["float32",[4],"AACAPwAAAEAAAPBBAAAgQg'
    '=="],["float32",[5,2],"AAAAAAAAgD8AAABAAABAQAAAgEAAAKBAAADAQAAA4EAAAABBAAAQQQ=="]]],"samples":['
    '[7,1.0,["float32",[2],"mpkZP83MTD8="],{"width_px":100,"detection_score":0.9,"sharpness":0.05,"b'
    'rightness":120,"contrast":200,"yaw_degrees":0,"roll_degrees":0,"outside":0}]]}],"thumbnail":["u'
    'int8",[2,3],"CQkJCQkJ"],"usual_change":1.5,"positives":[["float32",[2],"mpkZP83MTD8="]],"negati'
    'ves":[],"accepted":[4],"waiting":[[3,["float32",[2],"mpkZP83MTD8="],0.35,0.4]]}'
)
"""As dfld 0.1.0 left it in the ledger. Never edit it: half-done clips hold such texts."""


def test_what_an_older_dfld_left_half_done_is_read() -> None:
    found = carry_from_json(OF_0_1_0)
    assert (found.scout.next_track, found.scout.last_look, found.accepted) == (5, 7, frozenset({4}))
    assert [(one.id, one.shot, len(one.sightings), len(one.samples)) for one in found.scout.live] == [(4, 1, 1, 1)]
    assert found.scout.live[0].samples[0].quality.width_px == 100
    assert found.waiting[0].track == 3


def test_what_a_newer_dfld_adds_is_passed_over() -> None:
    """A value with a default may be added without another format: going back to this dfld reads on."""
    text = json.dumps({**json.loads(OF_0_1_0), "added_later": [1, 2]})
    assert carry_to_json(carry_from_json(text)) == carry_to_json(carry_from_json(OF_0_1_0))


def test_a_carry_comes_back_bit_for_bit() -> None:
    text = carry_to_json(full_carry())
    again = carry_from_json(text)
    assert carry_to_json(again) == text
    before, after = full_carry().scout.live[0], again.scout.live[0]
    np.testing.assert_array_equal(after.samples[0].embedding, before.samples[0].embedding)
    assert after.samples[0].embedding.dtype == np.float32
    np.testing.assert_array_equal(after.sightings[0].face.bbox, before.sightings[0].face.bbox)
    assert after.sightings[1].face.landmarks_5 is None
    assert (after.sightings[0].pts, after.sightings[1].pts) == (700, None)
    assert after.sightings[1].face.detection_score == 0.1 + 0.2


def test_the_start_of_a_video_carries_nothing() -> None:
    start = carry_from_json("")
    assert start.shot is None
    assert start.scout.live == ()
    assert carry_to_json(carry_from_json(carry_to_json(start))) == carry_to_json(start)


@pytest.mark.parametrize("text", ["{", "[]", '{"format": 99}', "null", '{"format": 1}'])
def test_a_damaged_carry_is_refused_in_words(text: str) -> None:
    with pytest.raises(InputError, match="saved state of an interrupted extraction"):
        carry_from_json(text)


def test_an_array_of_objects_is_refused() -> None:
    data = json.loads(carry_to_json(full_carry()))
    data["thumbnail"][0] = "object"
    with pytest.raises(InputError, match="object"):
        carry_from_json(json.dumps(data))


def test_what_an_earlier_dfld_measured_besides_is_left_out() -> None:
    data = json.loads(carry_to_json(full_carry()))
    quality = data["live"][0]["samples"][0][3]
    quality |= {
        "detection_score": 0.87,
        "sharpness": 0.03,
        "brightness": 90.0,
        "contrast": 180.5,
        "roll_degrees": -3.25,
    }
    assert carry_to_json(carry_from_json(json.dumps(data))) == carry_to_json(full_carry())
