"""Faces, frames and results: equality, serialization, cropping, display, saving."""

import base64
import copy
import csv
import dataclasses
import io
import json
import pickle
import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mien
from mien import writers
from mien.labels import EMOTIONS, EMOTIONS_AND_CONTEMPT
from mien.results import LANDMARKS, Face, Frame, Result, scale_box
from mien.visualization import notebook
from mien.writers._table import COLUMNS

SHARES = st.floats(0, 1)
NUMBERS = st.floats(-1e4, 1e4)


@st.composite
def faces(draw):
    labels = draw(st.sampled_from([EMOTIONS, EMOTIONS_AND_CONTEMPT, ("happy", "sad")]))
    emotions = st.fixed_dictionaries(dict.fromkeys(labels, SHARES))
    points = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=5, max_size=5)
    return Face(
        box=draw(st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 1e4), st.floats(0.1, 1e4))),
        face_confidence=draw(SHARES),
        emotions=draw(emotions),
        face_id=draw(st.integers(0, 99)),
        flags=draw(st.sets(st.sampled_from(["blurred", "tilted"]))),
        smoothed=draw(st.none() | emotions),
        landmarks=draw(st.none() | points),
    )


@st.composite
def results(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    pixels = np.full((height, width, 3), draw(st.integers(0, 255)), np.uint8)
    frame = Frame(pixels, draw(st.text()), draw(st.integers(0, 99)), draw(st.floats(0, 1e4)))
    return Result(frame, draw(st.lists(faces(), max_size=4)))


def face(**changes):
    emotions = {"happy": 0.7, "sad": 0.3}
    return dataclasses.replace(Face((1.0, 2.0, 3.0, 4.0), 0.9, emotions), **changes)


def result(*faces, **frame_fields):
    return Result(Frame(np.full((300, 500, 3), 90, np.uint8), "a.jpg", **frame_fields), faces)


@given(st.tuples(*[NUMBERS] * 4), st.floats(0.01, 100))
def test_scaling_a_box_is_invertible(box, factor):
    assert scale_box(scale_box(box, factor), 1 / factor) == pytest.approx(box, abs=1e-6)


def test_the_dominant_emotion_has_the_largest_share():
    assert face().dominant_emotion == "happy"
    assert face(emotions={"happy": 0.2, "sad": 0.8}).dominant_emotion == "sad"


@pytest.mark.parametrize(
    ("instance", "field"),
    [(face(), "box"), (Frame(np.zeros((1, 1, 3))), "source"), (result(), "faces")],
)
def test_data_types_are_frozen(instance, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(instance, field, None)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(happy=1.0),
        lambda d: d.__setitem__("happy", 1.0),
        lambda d: d.__delitem__("happy"),
        lambda d: d.__ior__({"happy": 1.0}),
        lambda d: d.setdefault("fear", 1.0),
        lambda d: d.pop("happy"),
        lambda d: d.popitem(),
        lambda d: d.clear(),
    ],
)
def test_the_emotions_of_a_face_are_immutable(change):
    given_emotions = {"happy": 0.7, "sad": 0.3}
    original = face(emotions=given_emotions)
    with pytest.raises(TypeError, match=r"dict\(emotions\)"):
        change(original.emotions)
    given_emotions["happy"] = 0.0
    assert original.emotions == {"happy": 0.7, "sad": 0.3}


@given(results())
def test_a_result_is_equal_after_a_round_trip(original):
    copies = [
        pickle.loads(pickle.dumps(original)),
        copy.deepcopy(original),
        Result.from_dict(json.loads(json.dumps(original.to_dict())), original.frame),
        Result(original.frame, list(original)),
        original[:],
    ]
    for other in copies:
        assert other == original
        assert hash(other) == hash(original)
    assert len({original.frame, *(other.frame for other in copies)}) == 1
    assert all(len({*original, *other}) == len(set(original)) for other in copies)


@given(results())
def test_a_result_is_a_sequence_of_its_faces(original):
    assert len(original) == len(original.faces)
    assert [original[k] for k in range(len(original))] == list(original) == list(original.faces)
    assert original[1:].faces == original.faces[1:]
    assert original[1:].frame is original.frame
    assert bool(original) == (len(original) > 0)


@pytest.mark.parametrize(
    "changed",
    [
        {"pixels": np.ones((2, 2, 3), np.uint8)},
        {"pixels": np.zeros((2, 3, 3), np.uint8)},
        {"source": "b"},
        {"number": 1},
        {"seconds": 1.0},
        {"model": "m"},
        {"detector": "d"},
        {"kind": "video"},
        {"location": "/b"},
        {"original_size": (4, 4)},
        {"shot": 0},
    ],
)
def test_frames_with_a_different_field_are_not_equal(changed):
    original = Frame(np.zeros((2, 2, 3), np.uint8), "a")
    assert original == dataclasses.replace(original, pixels=original.pixels.copy())
    assert original != dataclasses.replace(original, **changed)
    assert original != "a"


@given(st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 1e4), st.floats(0.1, 1e4)), st.floats(0, 2))
def test_a_crop_is_part_of_the_image_for_any_box(box, margin):
    rows, columns = np.mgrid[:40, :60]
    pixels = np.stack([rows, columns, np.zeros_like(rows)], -1).astype(np.uint8)
    crop = face(box=box).crop(pixels, margin)
    (top, left, _), (bottom, right, _) = crop[0, 0], crop[-1, -1]
    assert np.array_equal(crop, pixels[top : bottom + 1, left : right + 1])


def test_a_crop_is_a_copy_of_the_box_with_its_margin():
    pixels = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    original = face(box=(50.0, 20.0, 40.0, 30.0))
    assert np.array_equal(original.crop(pixels), pixels[20:50, 50:90])
    assert np.array_equal(original.crop(pixels, margin=0.1), pixels[17:53, 46:94])
    assert np.array_equal(face(box=(-10.0, 90.0, 30.0, 30.0)).crop(pixels), pixels[90:, :20])
    original.crop(pixels)[:] = 0
    assert pixels[20:50, 50:90].any()


def test_the_record_has_the_documented_keys_in_order():
    frame = Frame(np.zeros((5, 7, 3), np.uint8), "ä.jpg", 3, 1.5, "default", "yunet")
    record = json.loads(json.dumps(Result(frame, [face(flags=("blurred",), face_id=2)]).to_dict()))
    assert list(record) == [
        "source", "frame", "seconds", "width", "height", "model", "detector", "faces",
    ]  # fmt: skip
    assert (record["width"], record["height"], record["frame"], record["seconds"]) == (7, 5, 3, 1.5)
    assert record["faces"] == [
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


def test_from_dict_without_a_frame_makes_a_black_image_of_the_same_size():
    original = result(face(), number=3, seconds=0.5, model="m", detector="d")
    black = dataclasses.replace(original.frame, pixels=np.zeros_like(original.frame.pixels))
    assert Result.from_dict(original.to_dict()) == Result(black, original.faces)


def test_from_dict_with_a_frame_restores_the_result():
    original = result(face(), model="m", detector="d")
    frame = dataclasses.replace(original.frame, model="", detector="")
    assert Result.from_dict(original.to_dict(), frame) == original


def test_the_record_of_a_frame_without_faces_has_an_empty_list():
    assert Result(Frame(np.zeros((1, 1, 3), np.uint8))).to_dict()["faces"] == []


def test_the_repr_of_a_frame_omits_its_pixels():
    assert "pixels" not in repr(Frame(np.zeros((1, 1, 3), np.uint8)))


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (result(), "<Result of a.jpg: 0 faces>"),
        (result(face()), "<Result of a.jpg: 1 face (1 happy)>"),
        (
            result(face(emotions={"sad": 1.0}), face(), face(), number=12, seconds=0.48),
            "<Result of a.jpg at 0.48 s: 3 faces (2 happy, 1 sad)>",
        ),
        (Result(Frame(np.zeros((1, 1, 3), np.uint8))), "<Result of an image: 0 faces>"),
    ],
)
def test_the_repr_is_one_short_line(original, expected):
    assert repr(original) == expected


def test_plot_equals_the_saved_image_and_does_not_modify_the_pixels(tmp_path):
    original = result(face(box=(20.0, 30.0, 100.0, 120.0)))
    before = original.frame.pixels.copy()
    plot = original.plot()
    original.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(plot))
    assert np.array_equal(np.asarray(plot), mien.draw(original.frame.pixels, original))
    assert np.array_equal(original.frame.pixels, before)


def test_the_suffix_selects_the_format(tmp_path):
    original = result(face())
    original.save(tmp_path / "faces.jsonl")
    assert json.loads((tmp_path / "faces.jsonl").read_text()) == original.to_dict()
    original.save(str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    with pytest.raises(mien.UserError, match=r"\.jpq"):
        original.save(tmp_path / "out.jpq")


def test_a_notebook_shows_the_image_and_a_row_per_face():
    name = "<b>&.jpg"
    large = Frame(np.full((1500, 3000, 3), 90, np.uint8), name)
    original = Result(
        large, [face(face_id=7, flags=("blurred",)), face(emotions={"happy": 0.25, "sad": 0.75})]
    )
    with Image.open(io.BytesIO(original._repr_png_())) as image:
        assert (image.format, max(image.size)) == ("PNG", notebook.MAX_DISPLAY_SIDE)
    html = original._repr_html_()
    with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]*)', html)[1]))) as image:
        assert max(image.size) == notebook.MAX_DISPLAY_SIDE
    assert name not in html
    assert "&lt;b&gt;&amp;.jpg" in html
    _header, first, _second = re.findall("<tr>.*?</tr>", html)
    assert re.findall("<td>(.*?)</td>", first) == ["7", "happy", "70.0 %", "30.0 %", "blurred"]
    assert "<table>" not in result()._repr_html_()


def test_a_data_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(mien.UserError, match="pip install pandas"):
        result(face()).to_dataframe()


def test_a_data_frame_equals_the_csv(tmp_path):
    pandas = pytest.importorskip("pandas")
    landmarks = [(float(k), 1.5) for k in range(len(LANDMARKS))]
    original = result(face(landmarks=landmarks, flags=("blurred",)), face(smoothed={"happy": 1.0}))
    table = pandas.concat([original.to_dataframe(), result().to_dataframe()], ignore_index=True)
    assert tuple(table.columns) == COLUMNS
    with writers.open_writer(tmp_path / "faces.csv") as write:
        for each_result in (original, result()):
            write(each_result)
    lines = list(csv.DictReader((tmp_path / "faces.csv").read_text().splitlines()))
    assert len(lines) == len(table) == 3
    for line, (_, row) in zip(lines, table.iterrows(), strict=True):
        cells = ["" if pandas.isna(value) else str(value) for value in row]
        assert cells == list(line.values())
    assert table["happy"].dtype == table["contempt"].dtype == "float64"
    assert table["face_id"].isna().tolist() == [False, False, True]


def test_records_of_a_downscaled_frame_are_in_pixels_of_the_original():
    frame = Frame(np.zeros((30, 50, 3), np.uint8), "a.jpg", original_size=(100, 60))
    downscaled = Result(frame, [face(landmarks=[(k, k) for k in range(5)])])
    record = downscaled.to_dict()
    assert (record["width"], record["height"]) == (100, 60)
    assert record["faces"][0]["box"] == [2, 4, 6, 8]
    assert record["faces"][0]["landmarks"][3] == [6, 6]
    assert Result.from_dict(record, frame) == downscaled
    assert Result.from_dict(record)[0].box == (2, 4, 6, 8)
