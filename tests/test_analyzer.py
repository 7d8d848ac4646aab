"""Frames -> faces, in order, whatever the batch."""

import gc
import os
import pickle
import shutil
import threading
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.classification import face_classifier, flags, model_spec
from mien.errors import UserError
from mien.results import Frame

EIGHT = (*mien.EMOTIONS, "contempt")


class Corner:
    name, geometry = "corner", mien.CropGeometry()

    def __call__(self, pixels):
        return [mien.Detection((0, 0, 8, 8), 1.0)]


def noise(seed, size=16):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def frames(count, size=16):
    return [Frame(noise(k, size), f"{k}.png", k) for k in range(count)]


def answers(faces):
    return np.array([list(face.emotions.values()) for face in faces])


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return mien.Analyzer(tiny_model, detector="whole")


@pytest.fixture
def seeing():
    """The default analyzer, YuNet and all."""
    return mien.Analyzer()


def test_the_astronaut_is_happy(seeing, astronaut, photo):
    (face,) = seeing.analyze(photo)
    assert face.dominant_emotion == "happy"
    assert face.emotions["happy"] > 0.5
    assert face.face_confidence > 0.9
    assert face.flags == ()
    assert (seeing.model, seeing.detector) == ("default", "yunet")
    for same in (astronaut, Image.fromarray(astronaut), photo.read_bytes(), str(photo)):
        assert list(seeing.analyze(same)) == [face]


def test_two_faces_on_one_picture_are_numbered_surest_first(seeing, astronaut):
    pair = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    faces = seeing.analyze(pair)
    assert [face.face_id for face in faces] == [0, 1]
    assert faces[0].face_confidence >= faces[1].face_confidence
    assert [face.dominant_emotion for face in faces] == ["happy", "happy"]


def test_no_face_is_an_empty_result(seeing):
    assert list(seeing.analyze(np.zeros((200, 300, 3), np.uint8))) == []


def test_several_pictures_are_for_stream(tiny, tmp_path):
    for name in ("1.png", "2.png"):
        Image.fromarray(noise(0)).save(tmp_path / name)
    with pytest.raises(mien.UserError, match="stream"):
        tiny.analyze(tmp_path)
    assert len(list(tiny.stream(tmp_path))) == 2


def test_probabilities_are_plain_unrounded_and_sum_to_one(tiny):
    for (face,) in tiny.analyze_frames(frames(40)):
        assert tuple(face.emotions) == mien.EMOTIONS
        assert sum(face.emotions.values()) == pytest.approx(1, abs=1e-6)
        assert all(type(share) is float and 0 <= share <= 1 for share in face.emotions.values())
        assert any(round(share, 6) != share for share in face.emotions.values())


def test_contempt_is_folded_out_or_kept(tiny_model, tiny):
    pixels = noise(1)
    keeping = mien.Analyzer(tiny_model, detector="whole", contempt=True)
    (folded,), (kept,) = tiny.analyze(pixels), keeping.analyze(pixels)
    assert tuple(kept.emotions) == EIGHT
    rest = 1 - kept.emotions["contempt"]
    assert 0 < rest < 1
    for name in mien.EMOTIONS:
        assert folded.emotions[name] == pytest.approx(kept.emotions[name] / rest, abs=1e-6)


def test_a_model_without_contempt_has_none_to_keep(make_model):
    model = make_model(labels=mien.EMOTIONS)
    (face,) = mien.Analyzer(model, "whole", contempt=True).analyze(noise(0))
    assert tuple(face.emotions) == mien.EMOTIONS


def test_emotions_come_in_the_one_order_whatever_the_models(make_model):
    model = make_model(labels=("sad", "happy", "angry"))
    (face,) = mien.Analyzer(model, "whole").analyze(noise(0))
    assert tuple(face.emotions) == ("angry", "happy", "sad")


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
def test_frames_keep_their_order_and_their_answers_in_batches(tiny, count):
    given = frames(count)
    found = list(tiny.analyze_frames(given))
    assert [result.frame.number for result in found] == list(range(count))
    assert all(one.frame.pixels is mine.pixels for one, mine in zip(found, given, strict=True))
    for result in found:
        alone = tiny.analyze(result.frame.pixels)
        assert np.abs(answers(result) - answers(alone)).max() < 1e-6
        assert (result.frame.model, result.frame.detector) == ("tiny", "whole")


def test_pictures_with_no_one_or_two_faces_keep_theirs(seeing, astronaut):
    nobody, one = np.zeros((128, 128, 3), np.uint8), astronaut[:256, 100:356]
    two = np.concatenate([one, one[:, ::-1]], axis=1)
    given = [nobody, two, one, nobody, one, two]
    found = list(seeing.analyze_frames(Frame(pixels, number=k) for k, pixels in enumerate(given)))
    assert [result.frame.number for result in found] == list(range(6))
    assert [len(result) for result in found] == [0, 2, 1, 0, 1, 2]
    for result in found:
        alone = seeing.analyze(result.frame.pixels)
        assert [face.box for face in result] == [face.box for face in alone]
        if result:
            assert np.abs(answers(result) - answers(alone)).max() < 1e-6


def test_the_analyzer_works_ahead_by_one_batch_at_most(tiny):
    asked = []

    def endless():
        for k in range(10_000):
            asked.append(k)
            yield Frame(noise(0), number=k)

    next(tiny.analyze_frames(endless()))
    assert len(asked) <= face_classifier.MAX_FACES_PER_BATCH


def test_large_frames_do_not_wait_for_a_full_batch(tiny, monkeypatch):
    monkeypatch.setattr(face_classifier, "MAX_PIXELS_PER_BATCH", 1000)
    asked = []
    source = (asked.append(k) or Frame(noise(0, 32), number=k) for k in range(50))
    next(tiny.analyze_frames(source))
    assert len(asked) == 1


def test_a_stream_reads_a_folder_and_tells_what_it_left_out(tiny, tmp_path):
    for k in range(3):
        Image.fromarray(noise(k)).save(tmp_path / f"{k}.png")
    (tmp_path / "1b.jpg").write_bytes(b"no")
    told = []
    found = [result.frame.source for result in tiny.stream(tmp_path, told.append)]
    assert found == [str(tmp_path / f"{k}.png") for k in range(3)]
    assert len(told) == 1
    with pytest.raises(mien.UserError, match=r"1b\.jpg"):
        list(tiny.stream(tmp_path))


def test_eight_threads_share_one_analyzer(seeing, astronaut):
    crops = [astronaut[: 200 + 20 * k, 60 : 420 + 10 * k] for k in range(4)] * 2
    alone, together = [seeing.analyze(pixels) for pixels in crops], [None] * 8

    def look(k):
        together[k] = seeing.analyze(crops[k])

    threads = [threading.Thread(target=look, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone
    assert sum(map(len, alone)) >= 4


def test_an_analyzer_works_in_other_processes_which_load_its_models_once(seeing, photo):
    assert len(pickle.dumps(seeing)) < 10_000
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        first, *later = pool.map(seeing.analyze, [str(photo)] * 3)
    assert first == seeing.analyze(str(photo))
    assert all(one == first and hash(one) == hash(first) for one in later)
    one, other = (pickle.loads(pickle.dumps(seeing)) for _ in range(2))
    assert one._classifier._session is other._classifier._session


def test_a_detector_of_ones_own_goes_with_its_analyzer(tiny_model):
    sent = pickle.loads(pickle.dumps(mien.Analyzer(tiny_model, Corner(), contempt=True)))
    assert [face.box for face in sent.analyze(noise(0))] == [(0, 0, 8, 8)]
    assert sent.labels == EIGHT


def test_the_repr_says_what_analyzes(tiny_model):
    said = repr(mien.Analyzer(tiny_model, "whole"))
    assert said == f"<Analyzer: model tiny, detector whole, labels {', '.join(mien.EMOTIONS)}>"


def resident():
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("only Linux says how much memory is in use now")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_memory_stays_flat_over_two_thousand_pictures(tiny_model):
    watching = mien.Analyzer(tiny_model, detector="yunet", threads=1)
    whole = mien.Analyzer(tiny_model, detector="whole", threads=1)
    dice = np.random.default_rng(0)

    def pictures(count):
        return (Frame(dice.integers(0, 256, (96, 96, 3), np.uint8)) for _ in repeat(None, count))

    def work(count):
        for eyes in (watching, whole):
            for _ in eyes.analyze_frames(pictures(count // 2)):
                pass
        gc.collect()

    work(400)
    before = resident()
    work(2000)
    assert resident() - before < 16


def test_the_models_margin_decides_how_much_is_cut(make_model):
    metadata = {"mien.labels": ",".join(mien.EMOTIONS), "mien.margin": "-0.5"}
    narrow = mien.Analyzer(make_model(labels=mien.EMOTIONS, metadata=metadata), "whole")
    plain = mien.Analyzer(make_model("plain.onnx", labels=mien.EMOTIONS), "whole")
    pixels = noise(3, 32)
    (seen,), (wanted,) = narrow.analyze(pixels), plain.analyze(pixels[8:24, 8:24])
    assert seen.emotions == pytest.approx(wanted.emotions)


@pytest.mark.parametrize(
    ("box", "confidence", "pixels", "wanted"),
    [
        ((0, 0, 100, 100), 0.95, noise(0, 48), ()),
        ((0, 0, 20, 100), 0.95, noise(0, 48), ("too_small",)),
        ((0, 0, 100, 100), 0.95, np.full((48, 48, 3), 90, np.uint8), ("blurred",)),
        ((0, 0, 100, 100), 0.55, noise(0, 48), ("low_confidence",)),
        ((0, 0, 9, 9), 0.55, noise(0, 48), ("too_small", "low_confidence")),
    ],
)
def test_flags_say_why_to_doubt(box, confidence, pixels, wanted):
    cut = model_spec.crop(pixels, (0, 0, 48, 48), 48, 1)
    assert flags.flags(mien.Detection(box, confidence), cut) == wanted


@pytest.mark.parametrize(
    ("roll", "nose", "wanted"),
    [
        (0.0, 50, ()),
        (-20.0, 50, ()),
        (40.0, 50, ()),
        (-50.0, 50, ("tilted",)),
        (-100.0, 50, ("tilted",)),
        (0.0, 70, ("turned",)),
        (0.0, 30, ("turned",)),
        (50.0, 30, ("tilted", "turned")),
    ],
)
def test_flags_tell_of_a_head_that_is_tilted_or_turned(roll, nose, wanted):
    landmarks = ((30, 40), (70, 40), (nose, 60), (35, 80), (65, 80))
    face = mien.Detection((0, 0, 100, 100), 0.95, landmarks, roll)
    cut = model_spec.crop(noise(0, 48), (0, 0, 48, 48), 48, 1)
    assert flags.flags(face, cut) == wanted


def test_sharpness_falls_as_a_picture_is_blurred(astronaut):
    import cv2

    face = model_spec.crop(astronaut, (170, 60, 110, 110), 48, 1)
    blurred = [cv2.GaussianBlur(face[0], (0, 0), sigma)[None] for sigma in (1, 2, 4)]
    found = [flags.sharpness(each) for each in (face, *blurred)]
    assert found == sorted(found, reverse=True)
    assert found[0] > flags.MIN_SHARPNESS > found[-1]


@pytest.mark.parametrize(("model", "detector"), [("defualt", "whole"), ("default", "yunnet")])
def test_a_wrong_name_is_answered_with_the_nearest(model, detector):
    with pytest.raises(mien.UserError, match="Did you mean"):
        mien.Analyzer(model, detector)


def test_a_picture_that_cannot_be_read_is_said_so(tiny, tmp_path):
    for bad in (b"", b"text", tmp_path / "nowhere.png", tmp_path, np.zeros(3), None):
        with pytest.raises(mien.UserError):
            tiny.analyze(bad)


def test_what_came_before_a_damaged_picture_is_given_first(tmp_path, photo, tiny_model):
    for name in ("a.png", "c.png"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "b.png").write_text("not a picture")
    given = mien.Analyzer(tiny_model, "whole").stream(tmp_path)
    assert next(given).frame.source.endswith("a.png")
    with pytest.raises(UserError, match=r"b\.png"):
        next(given)


def test_a_picture_without_a_name_gets_one_sentence(tiny_model):
    with pytest.raises(UserError, match="empty"):
        mien.Analyzer(tiny_model, "whole").analyze("")
