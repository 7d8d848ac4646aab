"""`Analyzer`: images, batches, threads, processes and flags."""

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
from mien import detection
from mien.classification import face_classifier, flags, model_spec
from mien.classification.classifier import Classifier
from mien.errors import UserError
from mien.results import Frame

EIGHT_EMOTIONS = (*mien.EMOTIONS, "contempt")


class CornerDetector:
    name, geometry = "corner", mien.CropGeometry()

    def __call__(self, pixels):
        return [mien.Detection((0, 0, 8, 8), 1.0)]


def noise(seed, size=16):
    return np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)


def frames(count, size=16):
    return [Frame(noise(k, size), f"{k}.png", k) for k in range(count)]


def shares_of(faces):
    return np.array([list(face.emotions.values()) for face in faces])


@pytest.fixture(scope="module")
def tiny(tiny_model):
    return mien.Analyzer(tiny_model, detector="whole")


@pytest.fixture
def default():
    """The default analyzer, with YuNet."""
    return mien.Analyzer()


def test_the_astronaut_is_happy(default, astronaut, photo):
    (face,) = default.analyze(photo)
    assert face.dominant_emotion == "happy"
    assert face.emotions["happy"] > 0.5
    assert face.face_confidence > 0.9
    assert face.flags == ()
    assert (default.model, default.detector) == ("default", "yunet")
    for image in (astronaut, Image.fromarray(astronaut), photo.read_bytes(), str(photo)):
        assert list(default.analyze(image)) == [face]


def test_faces_are_numbered_by_confidence(default, astronaut):
    pair = np.concatenate([astronaut, astronaut[:, ::-1]], axis=1)
    faces = default.analyze(pair)
    assert [face.face_id for face in faces] == [0, 1]
    assert faces[0].face_confidence >= faces[1].face_confidence
    assert [face.dominant_emotion for face in faces] == ["happy", "happy"]


def test_an_image_without_a_face_has_an_empty_result(default):
    assert list(default.analyze(np.zeros((200, 300, 3), np.uint8))) == []


def test_analyze_rejects_a_folder(tiny, tmp_path):
    for name in ("1.png", "2.png"):
        Image.fromarray(noise(0)).save(tmp_path / name)
    with pytest.raises(mien.UserError, match="stream"):
        tiny.analyze(tmp_path)
    assert len(list(tiny.stream(tmp_path))) == 2


def test_shares_are_unrounded_floats_that_sum_to_one(tiny):
    for (face,) in tiny.analyze_frames(frames(40)):
        assert tuple(face.emotions) == mien.EMOTIONS
        assert sum(face.emotions.values()) == pytest.approx(1, abs=1e-6)
        assert all(type(share) is float and 0 <= share <= 1 for share in face.emotions.values())
        assert any(round(share, 6) != share for share in face.emotions.values())


def test_contempt_is_redistributed_or_kept(tiny_model, tiny):
    pixels = noise(1)
    with_contempt = mien.Analyzer(tiny_model, detector="whole", contempt=True)
    (seven,), (eight,) = tiny.analyze(pixels), with_contempt.analyze(pixels)
    assert tuple(eight.emotions) == EIGHT_EMOTIONS
    others = 1 - eight.emotions["contempt"]
    assert 0 < others < 1
    for name in mien.EMOTIONS:
        assert seven.emotions[name] == pytest.approx(eight.emotions[name] / others, abs=1e-6)


def test_contempt_is_ignored_if_the_model_does_not_predict_it(make_model):
    model = make_model(labels=mien.EMOTIONS)
    (face,) = mien.Analyzer(model, "whole", contempt=True).analyze(noise(0))
    assert tuple(face.emotions) == mien.EMOTIONS


def test_the_order_of_emotions_does_not_depend_on_the_model(make_model):
    model = make_model(labels=("sad", "happy", "angry"))
    (face,) = mien.Analyzer(model, "whole").analyze(noise(0))
    assert tuple(face.emotions) == ("angry", "happy", "sad")


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100])
def test_batches_keep_the_order_and_the_shares_of_frames(tiny, count):
    inputs = frames(count)
    results = list(tiny.analyze_frames(inputs))
    assert [result.frame.number for result in results] == list(range(count))
    assert all(
        result.frame.pixels is frame.pixels for result, frame in zip(results, inputs, strict=True)
    )
    for result in results:
        alone = tiny.analyze(result.frame.pixels)
        assert np.abs(shares_of(result) - shares_of(alone)).max() < 1e-6
        assert (result.frame.model, result.frame.detector) == ("tiny", "whole")


def test_faces_stay_with_their_frames(default, astronaut):
    without_face, one_face = np.zeros((128, 128, 3), np.uint8), astronaut[:256, 100:356]
    two_faces = np.concatenate([one_face, one_face[:, ::-1]], axis=1)
    images = [without_face, two_faces, one_face, without_face, one_face, two_faces]
    results = list(
        default.analyze_frames(Frame(pixels, number=k) for k, pixels in enumerate(images))
    )
    assert [result.frame.number for result in results] == list(range(6))
    assert [len(result) for result in results] == [0, 2, 1, 0, 1, 2]
    for result in results:
        alone = default.analyze(result.frame.pixels)
        assert [face.box for face in result] == [face.box for face in alone]
        if result:
            assert np.abs(shares_of(result) - shares_of(alone)).max() < 1e-6


def test_at_most_one_batch_is_read_ahead(tiny):
    requested = []

    def endless():
        for k in range(10_000):
            requested.append(k)
            yield Frame(noise(0), number=k)

    next(tiny.analyze_frames(endless()))
    assert len(requested) <= face_classifier.MAX_FACES_PER_BATCH


def test_large_frames_do_not_wait_for_a_full_batch(tiny, monkeypatch):
    monkeypatch.setattr(face_classifier, "MAX_PIXELS_PER_BATCH", 1000)
    requested = []

    def source():
        for k in range(50):
            requested.append(k)
            yield Frame(noise(0, 32), number=k)  # 1,024 pixels

    next(tiny.analyze_frames(source()))
    assert len(requested) == 1


def test_stream_calls_on_error_or_raises_for_an_unreadable_file(tiny, tmp_path):
    for k in range(3):
        Image.fromarray(noise(k)).save(tmp_path / f"{k}.png")
    (tmp_path / "1b.jpg").write_bytes(b"no")
    errors = []
    sources = [result.frame.source for result in tiny.stream(tmp_path, errors.append)]
    assert sources == [str(tmp_path / f"{k}.png") for k in range(3)]
    (error,) = errors
    assert "1b.jpg" in str(error)
    with pytest.raises(mien.UserError, match=r"1b\.jpg"):
        list(tiny.stream(tmp_path))


def test_eight_threads_share_one_analyzer(default, astronaut):
    crops = [astronaut[: 200 + 20 * k, 60 : 420 + 10 * k] for k in range(4)] * 2
    sequential, parallel = [default.analyze(pixels) for pixels in crops], [None] * 8

    def analyze(k):
        parallel[k] = default.analyze(crops[k])

    threads = [threading.Thread(target=analyze, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert parallel == sequential
    assert sum(map(len, sequential)) >= 4  # the comparison is not only of empty results


def test_unpickled_analyzers_share_the_models_and_give_equal_results(default, photo):
    assert len(pickle.dumps(default)) < 10_000  # the models are not pickled
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        first, *others = pool.map(default.analyze, [str(photo)] * 3)
    assert first == default.analyze(str(photo))
    assert all(result == first and hash(result) == hash(first) for result in others)
    copies = [pickle.loads(pickle.dumps(default)) for _ in range(2)]
    assert copies[0]._classifier._session is copies[1]._classifier._session


def test_a_custom_detector_is_pickled_with_its_analyzer(tiny_model):
    unpickled = pickle.loads(
        pickle.dumps(mien.Analyzer(tiny_model, CornerDetector(), contempt=True))
    )
    assert [face.box for face in unpickled.analyze(noise(0))] == [(0, 0, 8, 8)]
    assert unpickled.labels == EIGHT_EMOTIONS


def test_the_repr_names_model_detector_and_labels(tiny_model):
    text = repr(mien.Analyzer(tiny_model, "whole"))
    assert text == f"<Analyzer: model tiny, detector whole, labels {', '.join(mien.EMOTIONS)}>"


def resident_megabytes():
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc/self/statm")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_memory_stays_flat_over_two_thousand_images(tiny_model):
    yunet = mien.Analyzer(tiny_model, detector="yunet", threads=1)
    whole = mien.Analyzer(tiny_model, detector="whole", threads=1)
    rng = np.random.default_rng(0)

    def images(count):
        return (Frame(rng.integers(0, 256, (96, 96, 3), np.uint8)) for _ in repeat(None, count))

    def analyze(count):
        for analyzer in (yunet, whole):
            for _ in analyzer.analyze_frames(images(count // 2)):
                pass
        gc.collect()

    analyze(400)
    before = resident_megabytes()
    analyze(2000)
    assert resident_megabytes() - before < 16  # a leak of every frame would be 53 MB


def test_the_margin_of_the_model_sets_the_crop(make_model):
    metadata = {"mien.labels": ",".join(mien.EMOTIONS), "mien.margin": "-0.5"}
    negative_margin = mien.Analyzer(make_model(labels=mien.EMOTIONS, metadata=metadata), "whole")
    no_margin = mien.Analyzer(make_model("no-margin.onnx", labels=mien.EMOTIONS), "whole")
    pixels = noise(3, 32)
    (face,), (expected,) = negative_margin.analyze(pixels), no_margin.analyze(pixels[8:24, 8:24])
    assert face.emotions == pytest.approx(expected.emotions)


@pytest.mark.parametrize(
    ("box", "confidence", "pixels", "expected"),
    [
        ((0, 0, 100, 100), 0.95, noise(0, 48), ()),
        ((0, 0, 20, 100), 0.95, noise(0, 48), ("too_small",)),
        ((0, 0, 100, 100), 0.95, np.full((48, 48, 3), 90, np.uint8), ("blurred",)),
        ((0, 0, 100, 100), 0.55, noise(0, 48), ("low_confidence",)),
        ((0, 0, 9, 9), 0.55, noise(0, 48), ("too_small", "low_confidence")),
    ],
)
def test_small_blurred_and_uncertain_faces_are_flagged(box, confidence, pixels, expected):
    crop = model_spec.crop(pixels, (0, 0, 48, 48), 48, 1)
    assert flags.flags(mien.Detection(box, confidence), crop) == expected


@pytest.mark.parametrize(
    ("roll", "nose", "expected"),
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
def test_tilted_and_turned_heads_are_flagged(roll, nose, expected):
    landmarks = ((30, 40), (70, 40), (nose, 60), (35, 80), (65, 80))
    face = mien.Detection((0, 0, 100, 100), 0.95, landmarks, roll)
    crop = model_spec.crop(noise(0, 48), (0, 0, 48, 48), 48, 1)
    assert flags.flags(face, crop) == expected


def test_sharpness_falls_with_blur(astronaut):
    import cv2

    around_the_face = (170, 60, 110, 110)
    face = model_spec.crop(astronaut, around_the_face, 48, 1)
    blurred = [cv2.GaussianBlur(face[0], (0, 0), sigma)[None] for sigma in (1, 2, 4)]
    values = [flags.sharpness(crop) for crop in (face, *blurred)]
    assert values == sorted(values, reverse=True)
    assert values[0] > flags.BLURRED_SHARPNESS > values[-1]


@pytest.mark.parametrize(("model", "detector"), [("defualt", "whole"), ("default", "yunnet")])
def test_an_unknown_name_suggests_the_nearest(model, detector):
    with pytest.raises(mien.UserError, match="Did you mean"):
        mien.Analyzer(model, detector)


def test_an_unreadable_image_is_an_error(tiny, tmp_path):
    for image in (b"", b"text", tmp_path / "nowhere.png", tmp_path, np.zeros(3), None):
        with pytest.raises(mien.UserError):
            tiny.analyze(image)


def test_results_before_a_damaged_image_are_yielded_before_the_error(tmp_path, photo, tiny_model):
    for name in ("a.png", "c.png"):
        shutil.copy(photo, tmp_path / name)
    (tmp_path / "b.png").write_text("not an image")
    results = mien.Analyzer(tiny_model, "whole").stream(tmp_path)
    assert next(results).frame.source.endswith("a.png")
    with pytest.raises(UserError, match=r"b\.png"):
        next(results)


def test_an_empty_path_is_an_error(tiny_model):
    with pytest.raises(UserError):
        mien.Analyzer(tiny_model, "whole").analyze("")


def test_an_analyzer_accepts_a_loaded_classifier_and_detector(tiny_model):
    classifier, detector = Classifier(tiny_model), detection.load("whole")
    analyzer = mien.Analyzer(classifier, detector)
    assert (analyzer.model, analyzer.detector) == ("tiny", "whole")
    assert analyzer.analyze(noise(0)) == mien.Analyzer(tiny_model, "whole").analyze(noise(0))
