"""Faces, frames and results: what they hold, how they are compared, sent, shown and saved."""

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
        draw(st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 1e4), st.floats(0.1, 1e4))),
        draw(SHARES),
        draw(emotions),
        draw(st.integers(0, 99)),
        draw(st.sets(st.sampled_from(["blurred", "tilted"]))),
        draw(st.none() | emotions),
        draw(st.none() | points),
    )


@st.composite
def results(draw):
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    pixels = np.full((height, width, 3), draw(st.integers(0, 255)), np.uint8)
    frame = Frame(pixels, draw(st.text()), draw(st.integers(0, 99)), draw(st.floats(0, 1e4)))
    return Result(frame, draw(st.lists(faces(), max_size=4)))


def face(**changes):
    said = {"happy": 0.7, "sad": 0.3}
    return dataclasses.replace(Face((1.0, 2.0, 3.0, 4.0), 0.9, said), **changes)


def result(*found, **frame):
    return Result(Frame(np.full((300, 500, 3), 90, np.uint8), "a.jpg", **frame), found)


@given(st.tuples(*[NUMBERS] * 4), st.floats(0.01, 100))
def test_a_box_scaled_and_back_is_itself(box, factor):
    assert scale_box(scale_box(box, factor), 1 / factor) == pytest.approx(box, abs=1e-6)


def test_the_dominant_emotion_has_the_largest_share():
    assert face().dominant_emotion == "happy"
    assert face(emotions={"happy": 0.2, "sad": 0.8}).dominant_emotion == "sad"


@pytest.mark.parametrize(
    ("thing", "field"),
    [(face(), "box"), (Frame(np.zeros((1, 1, 3))), "source"), (result(), "faces")],
)
def test_the_nouns_are_frozen(thing, field):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(thing, field, None)


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
def test_the_emotions_of_a_face_cannot_be_changed(change):
    given_emotions = {"happy": 0.7, "sad": 0.3}
    one = face(emotions=given_emotions)
    with pytest.raises(TypeError, match=r"dict\(emotions\)"):
        change(one.emotions)
    given_emotions["happy"] = 0.0
    assert one.emotions == {"happy": 0.7, "sad": 0.3}


@given(results())
def test_a_result_is_the_same_after_any_journey(one):
    journeys = [
        pickle.loads(pickle.dumps(one)),
        copy.deepcopy(one),
        Result.from_dict(json.loads(json.dumps(one.to_dict())), one.frame),
        Result(one.frame, list(one)),
        one[:],
    ]
    for other in journeys:
        assert other == one
        assert hash(other) == hash(one)
    assert len({one.frame, *(other.frame for other in journeys)}) == 1
    assert all(len({*one, *other}) == len(set(one)) for other in journeys)


@given(results())
def test_a_result_is_a_sequence_of_its_faces(one):
    assert len(one) == len(one.faces)
    assert [one[k] for k in range(len(one))] == list(one) == list(one.faces)
    assert one[1:].faces == one.faces[1:]
    assert one[1:].frame is one.frame
    assert bool(one) == (len(one) > 0)


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
    ],
)
def test_frames_differ_by_whatever_they_hold(changed):
    one = Frame(np.zeros((2, 2, 3), np.uint8), "a")
    assert one == dataclasses.replace(one, pixels=one.pixels.copy())
    assert one != dataclasses.replace(one, **changed)
    assert one != "a"


@given(st.tuples(NUMBERS, NUMBERS, st.floats(0.1, 1e4), st.floats(0.1, 1e4)), st.floats(0, 2))
def test_a_crop_is_a_part_of_the_picture_whatever_the_box(box, margin):
    rows, columns = np.mgrid[:40, :60]
    pixels = np.stack([rows, columns, rows * 0], -1).astype(np.uint8)
    cut = face(box=box).crop(pixels, margin)
    (top, left, _), (bottom, right, _) = cut[0, 0], cut[-1, -1]
    assert np.array_equal(cut, pixels[top : bottom + 1, left : right + 1])


def test_a_crop_is_the_box_with_its_margin_and_a_copy():
    pixels = np.random.default_rng(0).integers(0, 256, (100, 200, 3), np.uint8)
    one = face(box=(50.0, 20.0, 40.0, 30.0))
    assert np.array_equal(one.crop(pixels), pixels[20:50, 50:90])
    assert np.array_equal(one.crop(pixels, margin=0.1), pixels[17:53, 46:94])
    assert np.array_equal(face(box=(-10.0, 90.0, 30.0, 30.0)).crop(pixels), pixels[90:, :20])
    one.crop(pixels)[:] = 0
    assert pixels[20:50, 50:90].any()


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


def test_a_record_without_pixels_gives_a_black_picture_of_its_size():
    one = result(face(), number=3, seconds=0.5, model="m", detector="d")
    black = dataclasses.replace(one.frame, pixels=np.zeros_like(one.frame.pixels))
    assert Result.from_dict(one.to_dict()) == Result(black, one.faces)


def test_a_record_and_its_frame_read_again_give_the_result():
    one = result(face(), model="m", detector="d")
    frame = dataclasses.replace(one.frame, model="", detector="")
    assert Result.from_dict(one.to_dict(), frame) == one


def test_a_frame_without_faces_has_an_empty_list():
    assert Result(Frame(np.zeros((1, 1, 3), np.uint8))).to_dict()["faces"] == []


def test_pixels_stay_out_of_a_frames_repr():
    assert "pixels" not in repr(Frame(np.zeros((1, 1, 3), np.uint8)))


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (result(), "<Result of a.jpg: 0 faces>"),
        (result(face()), "<Result of a.jpg: 1 face (1 happy)>"),
        (
            result(face(emotions={"sad": 1.0}), face(), face(), number=12, seconds=0.48),
            "<Result of a.jpg at 0.48 s: 3 faces (2 happy, 1 sad)>",
        ),
        (Result(Frame(np.zeros((1, 1, 3), np.uint8))), "<Result of a picture: 0 faces>"),
    ],
)
def test_the_repr_is_one_short_line(one, said):
    assert repr(one) == said


def test_a_plot_is_what_is_saved_and_leaves_the_pixels_alone(tmp_path):
    one = result(face(box=(20.0, 30.0, 100.0, 120.0)))
    before = one.frame.pixels.copy()
    drawn = one.plot()
    one.save(tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as saved:
        assert np.array_equal(np.asarray(saved), np.asarray(drawn))
    assert np.array_equal(np.asarray(drawn), mien.draw(one.frame.pixels, one))
    assert np.array_equal(one.frame.pixels, before)


def test_a_result_is_saved_by_its_suffix(tmp_path):
    one = result(face())
    one.save(tmp_path / "faces.jsonl")
    assert json.loads((tmp_path / "faces.jsonl").read_text()) == one.to_dict()
    one.save(str(tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    with pytest.raises(mien.UserError, match=r"\.jpq"):
        one.save(tmp_path / "out.jpq")


def test_a_notebook_shows_the_picture_and_a_row_per_face():
    name = "<b>&.jpg"
    large = Frame(np.full((1500, 3000, 3), 90, np.uint8), name)
    one = Result(
        large, [face(face_id=7, flags=("blurred",)), face(emotions={"happy": 0.25, "sad": 0.75})]
    )
    with Image.open(io.BytesIO(one._repr_png_())) as picture:
        assert (picture.format, max(picture.size)) == ("PNG", notebook.MAX_SIDE)
    html = one._repr_html_()
    with Image.open(io.BytesIO(base64.b64decode(re.search('base64,([^"]*)', html)[1]))) as picture:
        assert max(picture.size) == notebook.MAX_SIDE
    assert name not in html
    assert "&lt;b&gt;&amp;.jpg" in html
    rows = re.findall("<tr>.*?</tr>", html)
    assert [rows[1].count("<td>"), len(rows)] == [5, 3]
    assert "<td>70.0%</td>" in rows[1]
    assert "<td>blurred</td>" in rows[1]
    assert "<table>" not in result()._repr_html_()


def test_a_data_frame_needs_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(mien.UserError, match="pip install pandas"):
        result(face()).to_dataframe()


def test_a_data_frame_holds_what_the_csv_holds(tmp_path):
    pandas = pytest.importorskip("pandas")
    landmarks = [(float(k), 1.5) for k in range(len(LANDMARKS))]
    one = result(face(landmarks=landmarks, flags=("blurred",)), face(smoothed={"happy": 1.0}))
    table = pandas.concat([one.to_dataframe(), result().to_dataframe()], ignore_index=True)
    assert tuple(table.columns) == COLUMNS
    with writers.open_writer(tmp_path / "faces.csv") as write:
        for each in (one, result()):
            write(each)
    lines = list(csv.DictReader((tmp_path / "faces.csv").read_text().splitlines()))
    assert len(lines) == len(table) == 3
    for line, (_, row) in zip(lines, table.iterrows(), strict=True):
        said = ["" if pandas.isna(value) else str(value) for value in row]
        assert said == list(line.values())
    assert table["happy"].dtype == table["contempt"].dtype == "float64"
    assert table["face_id"].sum() == 0
