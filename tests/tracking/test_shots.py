"""Shot boundaries: hard cuts and dissolves are detected; motion and changes of light are not."""

import json

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.tracking import thumbnails
from mien.tracking.shots import ShotDetector
from tests.synthetic import film
from tests.synthetic import shots as synthetic

WITHOUT_CUTS = {
    "flash",
    "light_switch",
    "exposure",
    "fade",
    "passer_by",
    "still",
    "static",
    "caption",
}


def boundaries(frames):
    detector = ShotDetector()
    return [seconds for pixels, seconds, _ in frames if detector.update(pixels, seconds)]


@pytest.fixture(scope="module")
def photographs():
    return [pixels[:240, :320] for pixels in film.photographs()]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cut", "cut_in_place", "cut_in_motion"])
def test_hard_cuts_are_boundaries(kind):
    frames = list(synthetic.compressed(synthetic.frames(kind, 1, 8.0)))
    assert boundaries(frames) == [seconds for _, seconds, is_cut in frames if is_cut]


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(WITHOUT_CUTS))
def test_what_only_looks_like_a_cut_is_no_boundary(kind):
    assert boundaries(synthetic.compressed(synthetic.frames(kind, 1, 5.0))) == []


def test_a_pan_is_no_boundary_and_a_cut_out_of_it_is(photographs):
    one, other = photographs[1], photographs[2]
    frames = [(np.roll(one, 40 * k, 1), k / 25, False) for k in range(10)]
    frames += [(np.roll(other, -40 * k, 1), k / 25, False) for k in range(10, 20)]
    assert boundaries(frames) == [0.4]


def test_a_whip_pan_is_no_boundary(photographs):
    panorama = np.hstack([photographs[k] for k in (5, 6, 7, 8)])
    speeds = [0, 0, 30, 80, 140, 180, 180, 180, 100, 30, 0, 0]  # pixels per frame
    frames = []
    for speed, x in zip(speeds, np.cumsum(speeds), strict=True):
        blurred = cv2.blur(panorama, (speed // 2 + 1, 1))  # exposed for half of each frame
        frames.append(blurred[:, x : x + 320])
    assert boundaries((pixels, k / 25, False) for k, pixels in enumerate(frames)) == []


def test_the_noise_of_a_dark_scene_is_no_boundary(photographs):
    rng = np.random.default_rng(0)
    dark = photographs[1].astype(float) / 20
    frames = (np.clip(dark + rng.normal(0, 20, dark.shape), 0, 255) for _ in range(50))
    assert boundaries((f.astype(np.uint8), k / 25, False) for k, f in enumerate(frames)) == []


def test_a_cut_through_black_is_one_boundary(photographs):
    black = np.zeros_like(photographs[1])
    pictures = [photographs[1]] * 5 + [black] * 4 + [photographs[2]] * 5
    assert boundaries((p, k / 25, False) for k, p in enumerate(pictures)) == [9 / 25]


def test_a_dissolve_is_one_boundary_by_its_end(photographs):
    one, other = (p.astype(float) for p in photographs[1:3])
    shares = np.clip((np.arange(60) - 20) / 25, 0, 1)
    frames = [((1 - s) * one + s * other).astype(np.uint8) for s in shares]
    (seconds,) = boundaries((pixels, k / 25, False) for k, pixels in enumerate(frames))
    assert 20 / 25 < seconds <= 45 / 25


def test_a_fast_roll_of_the_camera_begins_at_most_one_shot(photographs):
    whole = photographs[1]
    turns = [cv2.getRotationMatrix2D((160, 120), 25 * k, 1) for k in range(6)]
    frames = [
        cv2.warpAffine(whole, turn, (320, 240), borderMode=cv2.BORDER_REFLECT_101) for turn in turns
    ]
    assert len(boundaries((f, k / 40, False) for k, f in enumerate(frames))) <= 1


def test_a_fade_to_black_and_back_is_no_boundary(photographs):
    shares = np.abs(np.arange(-30, 31)) / 30
    frames = [(s * photographs[1]).astype(np.uint8) for s in shares]
    assert boundaries((pixels, k / 25, False) for k, pixels in enumerate(frames)) == []


def test_a_zoom_out_is_no_boundary(photographs):
    whole, frames = photographs[1], []
    for k in range(10):
        width = round(80 * 4 ** (k / 9))
        part = whole[: width * 3 // 4, :width]
        frames.append(cv2.resize(part, (320, 240)))
    assert boundaries((pixels, k / 25, False) for k, pixels in enumerate(frames)) == []


def test_motion_in_a_repetitive_texture_is_no_boundary():
    rng = np.random.default_rng(0)
    frames = []
    for k in range(30):
        matrix = cv2.getRotationMatrix2D((256, 256), rng.uniform(-8, 8), 1.4)
        matrix[:, 2] += rng.uniform(-30, 30, 2)
        moved = cv2.warpAffine(skimage.data.brick(), matrix, (512, 512))[110:400]
        frames.append((np.repeat(moved[..., None], 3, 2), 0.4 * k, False))
    assert boundaries(frames) == []


def test_a_cut_to_a_dark_wall_is_a_boundary(photographs):
    wall = np.linspace(30, 42, 240)[:, None, None] + np.zeros((240, 320, 3))
    pictures = [photographs[1] // 8] * 5 + [wall.astype(np.uint8)] * 5
    assert boundaries((p, k / 25, False) for k, p in enumerate(pictures)) == [0.2]


def test_black_frames_within_a_shot_are_no_boundary(photographs):
    black = np.zeros_like(photographs[1])
    pictures = [photographs[1]] * 5 + [black] * 4 + [photographs[1]] * 5
    assert boundaries((p, k / 25, False) for k, p in enumerate(pictures)) == []


def test_the_first_picture_after_blank_frames_at_the_start_is_no_boundary(photographs):
    wall = np.full_like(photographs[1], 120)
    assert boundaries((p, k, False) for k, p in enumerate([wall, wall, photographs[1]])) == []


def test_a_jump_back_in_time_is_a_boundary(photographs):
    detector = ShotDetector()
    assert [detector.update(photographs[1], t) for t in (0.0, 0.1, 0.0, 0.1)] == [0, 0, 1, 0]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (36, 64), (720, 1280), (2160, 64)])
def test_any_size_has_a_thumbnail(size):
    pixels = np.full((*size, 3), 77, np.uint8)
    reduced = thumbnails.thumbnail(pixels)
    assert reduced.shape == (thumbnails.THUMBNAIL_HEIGHT, thumbnails.THUMBNAIL_WIDTH)
    assert (reduced == 77).all()


def test_another_size_is_no_boundary(photographs):
    large = photographs[1].repeat(3, 0).repeat(3, 1)
    assert boundaries([(photographs[1], 0.0, False), (large, 0.04, False)]) == []


@given(st.lists(st.integers(0, 5), min_size=2, max_size=16), st.data())
@settings(max_examples=30, deadline=None)
def test_a_restored_state_continues_as_if_there_had_been_no_stop(photographs, which, data):
    pictures = [*photographs[1:5], np.zeros_like(photographs[1]), photographs[1] // 8]
    stop = data.draw(st.integers(0, len(which)))
    whole, first, second = ShotDetector(), ShotDetector(), ShotDetector()
    expected = [whole.update(pictures[w], k / 25) for k, w in enumerate(which)]
    actual = [first.update(pictures[w], k / 25) for k, w in enumerate(which[:stop])]
    second.restore(json.loads(json.dumps(first.state(), allow_nan=False)))
    assert second.state() == first.state()
    actual += [second.update(pictures[w], k / 25) for k, w in enumerate(which) if k >= stop]
    assert actual == expected
