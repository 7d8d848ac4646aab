"""Pictures from anywhere become upright RGB frames, or one clear sentence."""

import gc
import os
import random
import re
import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image

from mien.errors import UserError
from mien.io import image as sources
from tests.synthetic.images import animation, encoded, gradient, png_claiming

SENTENCE = re.compile(r"Cannot read bytes: [^\n]*[^. ]\.")
RED, WHITE = (255, 0, 0), (255, 255, 255)


def refusal(what):
    with pytest.raises(UserError) as caught:
        list(sources.frames(what))
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_rotated_photo_comes_upright(orientation):
    upright = Image.fromarray(gradient())
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for form in ("PNG", "TIFF"):
        frame = sources.first_frame(encoded(stored, form, exif=exif))
        assert np.array_equal(frame.pixels, gradient())


def test_a_good_picture_with_damaged_exif_is_read():
    body = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0MM\0*garbage garbage")
    assert np.array_equal(sources.first_frame(body).pixels, gradient())


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("1", 1, WHITE),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (0, 0), WHITE),
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127)),
        ("RGB", RED, RED),
    ],
)
def test_every_mode_is_seen_as_on_a_white_page(mode, colour, seen):
    frame = sources.first_frame(encoded(Image.new(mode, (3, 2), colour), "PNG"))
    assert frame.pixels.shape == (2, 3, 3)
    assert frame.pixels.dtype == np.uint8
    assert (frame.pixels == seen).all()


def test_a_palette_with_transparency_lies_on_white():
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 255, 0])
    image.putdata([0, 1])
    frame = sources.first_frame(encoded(image, "PNG", transparency=1))
    assert frame.pixels.tolist() == [[list(RED), list(WHITE)]]


def test_cmyk_is_turned_to_rgb():
    frame = sources.first_frame(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(frame.pixels.astype(int) - RED).max() < 12


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_upper_eight(form):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    frame = sources.first_frame(encoded(Image.fromarray(values), form))
    assert frame.pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_a_dark_sixteen_bit_picture_stays_dark():
    frame = sources.first_frame(encoded(Image.fromarray(np.eye(4, dtype=np.uint16)), "PNG"))
    assert frame.pixels.max() == 0


@pytest.mark.parametrize("span", [(0.0, 1.0), (0.0, 255.0), (-3.0, 2.0), (0.0, 1e6)])
def test_floats_are_stretched_over_what_they_span(span):
    values = np.linspace(*span, 5, dtype=np.float32)[None]
    frame = sources.first_frame(encoded(Image.fromarray(values), "TIFF"))
    assert frame.pixels[0, :, 0].tolist() == [0, 64, 128, 191, 255]


def test_wide_integers_keep_their_shades():
    values = (2_000_000_000 + np.arange(256, dtype=np.int32))[None]
    frame = sources.first_frame(encoded(Image.fromarray(values), "TIFF"))
    assert frame.pixels[0, :, 0].tolist() == list(range(256))
    huge = np.array([[-3e38, 0, 3e38]], np.float32)
    frame = sources.first_frame(encoded(Image.fromarray(huge), "TIFF"))
    assert frame.pixels[0, :, 0].tolist() == [0, 128, 255]


def test_deep_pictures_take_little_more_memory_than_they_hold():
    body = encoded(Image.fromarray(np.zeros((1500, 1500), np.uint16)), "PNG")
    tracemalloc.start()
    try:
        sources.first_frame(body)
        assert tracemalloc.get_traced_memory()[1] < 14 * 1500**2
    finally:
        tracemalloc.stop()


def test_who_wants_the_first_picture_does_not_wait_until_all_are_counted(monkeypatch):
    pages = [Image.new("L", (2, 2), shade) for shade in (10, 20, 30)]
    body = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert len(list(sources.frames(body))) == 3
    monkeypatch.setattr(sources, "_frame_count", lambda *_: pytest.fail("it was counted"))
    assert sources.first_frame(body).pixels[0, 0, 0] == 10


def test_floats_that_are_no_numbers_are_no_trouble():
    values = np.array([[np.nan, np.inf, -np.inf, 1.0, 0.0]], np.float32)
    frame = sources.first_frame(encoded(Image.fromarray(values), "TIFF"))
    assert frame.pixels[0, 3:, 0].tolist() == [255, 0]


def test_a_constant_float_picture_is_one_colour():
    frame = sources.first_frame(encoded(Image.fromarray(np.full((3, 3), 5, np.float32)), "TIFF"))
    assert len(np.unique(frame.pixels)) == 1


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_frames_with_its_own_times(form):
    options = {"lossless": True} if form == "WEBP" else {}
    body = animation(form, duration=[100, 250, 50], **options)
    found = list(sources.frames(body))
    assert [frame.number for frame in found] == [0, 1, 2]
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.1, 0.35])
    assert [frame.pixels[0, 0].tolist() for frame in found] == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
    ]


def test_every_page_of_a_tiff_is_a_frame():
    found = list(sources.frames(animation("TIFF")))
    assert [frame.number for frame in found] == [0, 1, 2]
    assert found[2].pixels[0, 0].tolist() == [0, 0, 255]


def test_a_later_page_cannot_be_larger_than_allowed(monkeypatch):
    monkeypatch.setattr(sources, "MAX_PIXELS", 100)
    pages = [Image.new("L", (9, 9)), Image.new("L", (30, 30))]
    body = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert "30 x 30" in refusal(body)


@pytest.mark.skipif(
    tuple(map(int, PIL.__version__.split(".")[:2])) < (11, 3),
    reason="Pillow before 11.3 writes MPO files that it cannot read",
)
def test_the_second_picture_in_a_phone_photo_is_no_later_moment():
    body = animation("MPO")
    assert len(list(sources.frames(body))) == 1


def test_a_still_has_one_frame_at_zero_seconds(photo, astronaut):
    (frame,) = sources.frames(photo)
    assert (frame.source, frame.number, frame.seconds) == (str(photo), 0, 0.0)
    assert np.array_equal(frame.pixels, astronaut)


def test_arrays_pil_images_and_bytes_are_read_alike():
    pixels = gradient()
    body = encoded(Image.fromarray(pixels), "PNG")
    for what in (pixels, Image.fromarray(pixels), body, bytearray(body), memoryview(body)):
        assert np.array_equal(sources.first_frame(what).pixels, pixels)


def test_arrays_of_other_shapes_are_read_or_refused():
    grey = gradient()[:, :, 0]
    assert np.array_equal(sources.first_frame(grey).pixels[:, :, 2], grey)
    assert np.array_equal(sources.first_frame(grey[:, :, None]).pixels[:, :, 1], grey)
    assert (sources.first_frame(np.zeros((2, 2, 4), np.uint8)).pixels == 255).all()
    for bad in (np.zeros((2, 2, 3)), np.zeros((0, 2, 3), np.uint8), np.zeros((2, 2, 5), np.uint8)):
        assert "array" in refusal(bad)


def test_a_thing_that_is_no_picture_is_refused_by_name():
    assert "list" in refusal([1, 2])


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"Dear diary, today was no picture.\n" * 20, "not an image"),
        ("half.jpg", encoded(Image.fromarray(gradient(200, 200)), "JPEG")[:1500], "damaged"),
        ("half.png", encoded(Image.effect_noise((90, 90), 60), "PNG")[:2000], "damaged"),
        ("bomb.png", png_claiming(60000, 60000), "too many pixels"),
        ("large.png", png_claiming(12000, 12000), "12000 x 12000"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
    ],
)
def test_what_is_no_good_picture_is_said_in_a_sentence(tmp_path, name, body, said):
    path = tmp_path / name
    path.write_bytes(body)
    assert said in refusal(path)
    assert name in refusal(path)


def test_a_real_bomb_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (13500, 13500)).save(tmp_path / "bomb.png")
    began = time.perf_counter()
    assert "pixels" in refusal(tmp_path / "bomb.png")
    assert time.perf_counter() - began < 0.5


def test_a_file_beyond_all_measure_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "MAX_BYTES", 1 << 20)
    path = tmp_path / "long.jpg"
    path.write_bytes(b"\0" * ((1 << 20) + 1))
    assert "larger than 1 MiB" in refusal(path)


@pytest.mark.parametrize("size", [(1, 1), (30000, 10), (10, 30000)])
def test_odd_sizes_are_read(size):
    frame = sources.first_frame(encoded(Image.new("RGB", size, RED), "PNG"))
    assert frame.pixels.shape == (size[1], size[0], 3)


def test_a_file_that_may_not_be_read_is_said_so(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("L", (2, 2)).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        # Root reads everything but its own unmapped memory, which refuses just as a file would.
        path = Path("/proc/self/mem")
        if not path.exists():
            pytest.skip("root may read every file here")
    assert "Cannot read" in refusal(path)


def test_reading_leaves_no_file_open(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        sources.first_frame(tmp_path / "a.png")
        gc.collect()
    assert not [warning for warning in said if warning.category is ResourceWarning]


def healthy_pictures():
    image = Image.fromarray(gradient(40, 32))
    exif = Image.Exif()
    exif[0x0112] = 6
    tiffs = [
        encoded(image, "TIFF", compression=c) for c in (None, "tiff_lzw", "tiff_adobe_deflate")
    ]
    return [
        encoded(image, "PNG", exif=exif),
        encoded(image.convert("P"), "PNG", transparency=3),
        encoded(Image.fromarray(np.zeros((9, 9), np.uint16)), "PNG"),
        encoded(image, "JPEG", exif=exif),
        encoded(image, "JPEG", progressive=True),
        encoded(image.convert("CMYK"), "JPEG"),
        animation("GIF", duration=40),
        animation("WEBP", duration=40),
        animation("PNG", duration=40),
        animation("TIFF"),
        animation("MPO"),
        encoded(image, "WEBP", exif=exif),
        encoded(Image.fromarray(np.ones((5, 7), np.float32)), "TIFF"),
        *tiffs,
        encoded(image, "BMP"),
        encoded(image, "PPM"),
        encoded(image, "TGA"),
        encoded(image, "JPEG2000"),
    ]


def mutated(body, dice):
    body = bytearray(body)
    for _ in range(dice.choice((1, 2, 5, 20))):
        # Headers decide most: half of the wounds are there.
        end = len(body) if dice.random() < 0.5 else min(len(body), 64)
        at = dice.randrange(end)
        wound = dice.randrange(4)
        if wound == 0:
            body[at] = dice.randrange(256)
        elif wound == 1:
            body[at : at + 4] = dice.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        elif wound == 2:
            del body[at : at + dice.randrange(1, 9)]
        else:
            body[at:at] = dice.randbytes(dice.randrange(1, 9))
        if not body:
            break
    return bytes(body[: dice.randrange(len(body) + 1)] if dice.random() < 0.1 else body)


def test_thousands_of_damaged_pictures_give_frames_or_a_sentence(monkeypatch):
    monkeypatch.setattr(sources, "MAX_PIXELS", 4_000_000)
    dice, healthy = random.Random(2), healthy_pictures()
    read = refused = 0
    slowest, began = 0.0, time.perf_counter()
    for k in range(4000):
        body = mutated(healthy[k % len(healthy)], dice)
        start = time.perf_counter()
        try:
            for frame in sources.frames(body):
                assert frame.pixels.dtype == np.uint8
                assert frame.pixels.ndim == 3
                assert frame.pixels.shape[2] == 3
                assert 0 not in frame.pixels.shape
            read += 1
        except UserError as error:
            refused += bool(SENTENCE.fullmatch(str(error)))
        slowest = max(slowest, time.perf_counter() - start)
    assert read > 500
    assert read + refused == 4000
    assert slowest < 3
    assert time.perf_counter() - began < 40
