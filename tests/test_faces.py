"""The nouns and their record."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.results import Face, Frame, Result, scaled


def face(**changes):
    said = {"happy": 0.7, "sad": 0.3}
    return dataclasses.replace(Face((1.0, 2.0, 3.0, 4.0), 0.9, said), **changes)


@given(st.tuples(*[st.floats(-1e4, 1e4)] * 4), st.floats(0.01, 100))
def test_a_box_scaled_and_back_is_itself(box, factor):
    assert scaled(scaled(box, factor), 1 / factor) == pytest.approx(box, abs=1e-6)


def test_the_dominant_emotion_has_the_largest_share():
    assert face().dominant_emotion == "happy"
    assert face(emotions={"happy": 0.2, "sad": 0.8}).dominant_emotion == "sad"


@pytest.mark.parametrize(
    ("thing", "field"), [(face(), "box"), (Frame(np.zeros((1, 1, 3))), "source")]
)
def test_the_nouns_are_frozen(thing, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, None)


def test_the_record_holds_what_the_contract_promises_in_its_order():
    frame = Frame(np.zeros((5, 7, 3), np.uint8), "ä.jpg", 3, 1.5, "default", "yunet")
    made = json.loads(json.dumps(Result(frame, [face(flags=("blurred",), face_id=2)]).to_dict()))
    assert list(made) == [
        "source", "frame", "seconds", "width", "height", "model", "detector", "faces",
    ]  # fmt: skip
    assert (made["width"], made["height"], made["frame"], made["seconds"]) == (7, 5, 3, 1.5)
    assert made["faces"] == [
        {
            "face_id": 2,
            "box": [1.0, 2.0, 3.0, 4.0],
            "face_confidence": 0.9,
            "emotions": {"happy": 0.7, "sad": 0.3},
            "dominant_emotion": "happy",
            "flags": ["blurred"],
            "landmarks": None,
        }
    ]


def test_a_frame_without_faces_has_an_empty_list():
    assert Result(Frame(np.zeros((1, 1, 3), np.uint8))).to_dict()["faces"] == []


def test_pixels_stay_out_of_a_frames_repr():
    assert "pixels" not in repr(Frame(np.zeros((1, 1, 3), np.uint8)))
