"""Occlusion sensitivity and `mien explain`."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import mien as package
from mien.classification import occlusion
from mien.cli.explain import importance_table
from mien.errors import UserError
from mien.visualization import importance_map

SIDE = 48


@pytest.fixture(scope="module")
def smile_explanation(photo, tmp_path_factory):
    """Explanation of the default model's prediction for the astronaut's smiling face."""
    with Image.open(photo) as image:
        path = tmp_path_factory.mktemp("face") / "face.png"
        image.crop((172, 65, 272, 165)).save(path)
    (explanation,) = package.Analyzer(detector="whole").explain(path)
    return explanation


def predict_contrast_at(row, column):
    """Return a function like a model whose share depends only on the contrast around a pixel."""

    def shares(crops):
        patch = crops[:, 0, row - 4 : row + 5, column - 4 : column + 5].astype(float)
        return patch.std((1, 2)) / 128

    return shares


@settings(deadline=None, max_examples=25)
@given(st.integers(6, 41), st.integers(6, 41), st.integers(0, 99))
def test_the_map_peaks_at_the_pixel_that_the_share_depends_on(row, column, seed):
    crop = np.random.default_rng(seed).integers(0, 256, (1, SIDE, SIDE), np.uint8)
    importance = occlusion.importance_map(predict_contrast_at(row, column), crop)
    top = np.unravel_index(importance.argmax(), importance.shape)
    assert importance.shape == (SIDE, SIDE)
    assert importance.dtype == np.float32
    assert np.hypot(top[0] - row, top[1] - column) <= 5
    distances = np.hypot(*np.ogrid[-row : SIDE - row, -column : SIDE - column])
    is_far = distances > 30  # pixels; the mask has a standard deviation of 6
    assert np.abs(importance[is_far]).max(initial=0) < importance.max() / 10


def test_a_constant_prediction_gives_a_zero_importance_map(astronaut):
    crop = astronaut[65:113, 172:220].transpose(2, 0, 1)
    assert not occlusion.importance_map(lambda crops: np.full(len(crops), 0.4), crop).any()


def test_regions_are_hidden_in_row_major_order():
    crop = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE), np.uint8)
    occluded = occlusion.occluded_crops(crop)
    assert occluded.shape == (occlusion.GRID**2, 3, SIDE, SIDE)
    change = np.abs(occluded.astype(int) - crop).sum(1)
    upper_left, upper_right, lower_right = (0, (0, 0)), (occlusion.GRID - 1, (0, 1)), (-1, (1, 1))
    for region, (row, column) in (upper_left, upper_right, lower_right):
        rows, columns = np.nonzero(change[region])
        assert abs(np.median(rows) - row * SIDE) < SIDE / 3
        assert abs(np.median(columns) - column * SIDE) < SIDE / 3


@pytest.mark.parametrize("side", [16, SIDE, 97])
def test_the_blur_matches_opencv(side):
    pixels = np.random.default_rng(0).integers(0, 256, (side, side)).astype(np.float32)
    blur = occlusion._blur_matrix(side)
    expected = cv2.GaussianBlur(
        pixels, (0, 0), occlusion.BLUR_STD * side, borderType=cv2.BORDER_REPLICATE
    )
    assert np.abs(blur @ pixels @ blur.T - expected).max() < 0.5


def test_a_smile_is_explained_by_the_mouth(smile_explanation):
    assert smile_explanation.emotion == "happy"
    importance = smile_explanation.importance
    top, bottom = importance[: SIDE // 2].max(), importance[SIDE // 2 :].max()
    assert bottom > 2 * top
    assert bottom > 0.005
    rows = importance_table(smile_explanation)
    assert [name for name, *_ in rows] == ["top", "middle", "bottom"]
    _, *bottom_points = rows[-1]  # percentage points, rounded to one decimal
    assert max(map(float, bottom_points)) == pytest.approx(100 * bottom, abs=0.06)


def test_any_emotion_of_the_model_can_be_explained(photo):
    analyzer = package.Analyzer()
    (explanation,) = analyzer.explain(photo, "Sadness")
    assert explanation.emotion == "sad"
    assert explanation.face == analyzer.analyze(photo)[0]
    with pytest.raises(UserError, match="does not include contempt; use one of angry, "):
        analyzer.explain(photo, "contempt")
    with pytest.raises(UserError, match="bored"):
        analyzer.explain(photo, "bored")
    (explanation,) = package.Analyzer(contempt=True).explain(photo, "contempt")
    assert explanation.emotion == "contempt"


def test_the_overlay_is_orange_for_positive_importance_and_blue_for_negative(smile_explanation):
    importance = np.zeros((SIDE, SIDE), np.float32)
    importance[:, :16], importance[:, 32:] = 0.3, -0.3
    image = np.asarray(
        importance_map.overlay_importance(
            occlusion.Explanation(
                smile_explanation.face, "happy", np.full((1, SIDE, SIDE), 99, np.uint8), importance
            )
        ),
        int,
    )
    middle = importance_map.FACE_SIDE // 2
    left, center, right = (image[middle, x] for x in (20, middle, importance_map.FACE_SIDE - 20))
    assert left[0] > left[2] + 60
    assert right[2] > right[0] + 60
    assert np.ptp(center) == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_the_image_has_a_row_per_face(smile_explanation, count):
    image = importance_map.draw_explanations([smile_explanation] * count)
    assert image.height > max(count, 1) * importance_map.FACE_SIDE
    assert image.width == importance_map.FIGURE_WIDTH


def test_the_command_prints_the_emotion_and_draws_an_image(mien, photo, tmp_path):
    code, out, _ = mien("explain", photo, "--to", tmp_path / "why.png")
    assert code == 0
    assert "face 0: happy 9" in out  # 90 to 99 %
    assert "bottom" in out
    with Image.open(tmp_path / "why.png") as image:
        assert image.width == importance_map.FIGURE_WIDTH


def test_an_image_without_a_face_is_not_an_error(mien, tmp_path):
    Image.new("RGB", (99, 80), "white").save(tmp_path / "wall.png")
    code, out, _ = mien("explain", tmp_path / "wall.png")
    assert code == 0
    assert "no face" in out


def test_user_errors_are_one_line(mien, photo, tmp_path):
    for options, expected in (
        (("--to", tmp_path / "why.txt"), "why.txt"),
        (("--to", photo), str(photo)),
        (("--model", "defalt"), "Did you mean"),
    ):
        code, _, err = mien("explain", photo, *options)
        assert code == 2
        assert expected in err
        assert err.count("\n") == 1
