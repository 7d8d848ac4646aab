"""Images become upright RGB frames, or an error of one line."""

import gc
import io
import os
import random
import re
import struct
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import ExifTags, Image

from mien.errors import UserError
from mien.io import image, image_file, jpeg, reader, rgb
from mien.io.source import Source
from tests.synthetic.images import animation, encoded, gradient, png_claiming

ONE_LINE_ERROR = re.compile(r"Cannot read bytes: [^\n]*[^. ]\.")
RED, WHITE = (255, 0, 0), (255, 255, 255)


def exif_with_orientation(orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def error_for(source):
    """Return the message of the error that reading raises, which is one line with a period."""
    with pytest.raises(UserError) as caught:
        list(image.frames(source))
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.fromarray(gradient())
    transpose_to_stored = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright
    if orientation > 1:
        stored = upright.transpose(transpose_to_stored[orientation])
    exif = exif_with_orientation(orientation)
    for image_format in ("PNG", "TIFF"):
        frame = image.first_frame(encoded(stored, image_format, exif=exif))
        assert np.array_equal(frame.pixels, gradient())


def test_damaged_exif_is_ignored():
    body = encoded(Image.fromarray(gradient()), "PNG", exif=b"Exif\0\0MM\0*garbage garbage")
    assert np.array_equal(image.first_frame(body).pixels, gradient())


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
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
def test_modes_are_converted_to_rgb_on_white(mode, color, expected):
    frame = image.first_frame(encoded(Image.new(mode, (3, 2), color), "PNG"))
    assert frame.pixels.shape == (2, 3, 3)
    assert frame.pixels.dtype == np.uint8
    assert (frame.pixels == expected).all()


def test_transparent_palette_is_blended_with_white():
    palette = Image.new("P", (2, 1))
    palette.putpalette([255, 0, 0, 0, 255, 0])
    palette.putdata([0, 1])
    frame = image.first_frame(encoded(palette, "PNG", transparency=1))
    assert frame.pixels.tolist() == [[list(RED), list(WHITE)]]


def test_cmyk_is_converted_to_rgb():
    frame = image.first_frame(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    assert np.abs(frame.pixels.astype(int) - RED).max() < 12  # JPEG is lossy


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_values_are_scaled_to_8_bits(image_format):
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    frame = image.first_frame(encoded(Image.fromarray(values), image_format))
    assert frame.pixels[0, :, 0].tolist() == [0, 1, 128, 255]


def test_dark_16_bit_image_stays_dark():
    frame = image.first_frame(encoded(Image.fromarray(np.eye(4, dtype=np.uint16)), "PNG"))
    assert frame.pixels.max() == 0


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (0.0, 255.0), (-3.0, 2.0), (0.0, 1e6)])
def test_floats_are_scaled_by_their_range(value_range):
    values = np.linspace(*value_range, 5, dtype=np.float32)[None]
    frame = image.first_frame(encoded(Image.fromarray(values), "TIFF"))
    assert frame.pixels[0, :, 0].tolist() == [0, 64, 128, 191, 255]


def test_huge_integers_and_floats_are_scaled_by_their_range():
    values = (2_000_000_000 + np.arange(256, dtype=np.int32))[None]
    frame = image.first_frame(encoded(Image.fromarray(values), "TIFF"))
    assert frame.pixels[0, :, 0].tolist() == list(range(256))
    huge = np.array([[-3e38, 0, 3e38]], np.float32)
    frame = image.first_frame(encoded(Image.fromarray(huge), "TIFF"))
    assert frame.pixels[0, :, 0].tolist() == [0, 128, 255]


def test_16_bit_images_need_little_extra_memory():
    body = encoded(Image.fromarray(np.zeros((1500, 1500), np.uint16)), "PNG")
    tracemalloc.start()
    try:
        image.first_frame(body)
        peak_bytes_per_pixel = tracemalloc.get_traced_memory()[1] / 1500**2
        assert peak_bytes_per_pixel < 14  # with float64, it would be 15
    finally:
        tracemalloc.stop()


def test_first_frame_is_read_without_seeking_to_the_second(monkeypatch):
    pages = [Image.new("L", (2, 2), shade) for shade in (10, 20, 30)]
    body = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert len(list(image.frames(body))) == 3
    seek = "PIL.TiffImagePlugin.TiffImageFile.seek"
    monkeypatch.setattr(seek, lambda *_: pytest.fail("the second frame was read"))
    assert image.first_frame(body).pixels[0, 0, 0] == 10


def test_nan_and_infinity_are_accepted():
    values = np.array([[np.nan, np.inf, -np.inf, 1.0, 0.0]], np.float32)
    frame = image.first_frame(encoded(Image.fromarray(values), "TIFF"))
    assert frame.pixels[0, 3:, 0].tolist() == [255, 0]


def test_constant_float_image_has_one_color():
    frame = image.first_frame(encoded(Image.fromarray(np.full((3, 3), 5, np.float32)), "TIFF"))
    assert len(np.unique(frame.pixels)) == 1


@pytest.mark.parametrize("image_format", ["GIF", "WEBP", "PNG"])
def test_animation_frames_have_their_own_times(image_format):
    options = {"lossless": True} if image_format == "WEBP" else {}
    body = animation(image_format, duration=[100, 250, 50], **options)
    frames = list(image.frames(body))
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.35])
    assert [frame.pixels[0, 0].tolist() for frame in frames] == [
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
    ]


def test_each_tiff_page_is_a_frame():
    frames = list(image.frames(animation("TIFF")))
    assert [frame.number for frame in frames] == [0, 1, 2]
    assert frames[2].pixels[0, 0].tolist() == [0, 0, 255]


def test_later_pages_are_limited_in_size(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 100)
    pages = [Image.new("L", (9, 9)), Image.new("L", (30, 30))]
    body = encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    assert "30 x 30" in error_for(body)


@pytest.mark.skipif(
    tuple(map(int, PIL.__version__.split(".")[:2])) < (11, 3),
    reason="Pillow before 11.3 writes MPO files that it cannot read",
)
def test_only_the_first_image_of_an_mpo_file_is_read():
    body = animation("MPO")
    assert len(list(image.frames(body))) == 1


def test_single_image_has_one_frame_at_zero_seconds(photo, astronaut):
    (frame,) = image.frames(photo)
    assert (frame.source, frame.number, frame.seconds) == (str(photo), 0, 0.0)
    assert np.array_equal(frame.pixels, astronaut)


def test_arrays_pil_images_and_bytes_give_the_same_pixels():
    pixels = gradient()
    body = encoded(Image.fromarray(pixels), "PNG")
    for source in (pixels, Image.fromarray(pixels), body, bytearray(body), memoryview(body)):
        assert np.array_equal(image.first_frame(source).pixels, pixels)


def test_gray_and_rgba_arrays_are_converted_to_rgb_and_others_are_rejected():
    gray = gradient()[:, :, 0]
    assert np.array_equal(image.first_frame(gray).pixels[:, :, 2], gray)
    assert np.array_equal(image.first_frame(gray[:, :, None]).pixels[:, :, 1], gray)
    assert (image.first_frame(np.zeros((2, 2, 4), np.uint8)).pixels == 255).all()
    for array in (
        np.zeros((2, 2, 3)),
        np.zeros((0, 2, 3), np.uint8),
        np.zeros((2, 2, 5), np.uint8),
    ):
        assert str(array.shape) in error_for(array)


@pytest.mark.parametrize(
    ("array", "advice"),
    [
        (np.zeros((8, 9, 3)), r"(pixels * 255).round().astype(np.uint8)"),
        (np.full((8, 9, 3), 200.0, np.float32), "use uint8: pixels.astype(np.uint8)"),
        (np.full((8, 9, 3), 2000), "scale it to 0 to 255"),
        (np.full((8, 9, 3), -0.5), "scale it to 0 to 255"),
        (np.full((8, 9), 60000, np.uint16), "scale it to 0 to 255"),
        (np.full((8, 9), np.nan), "scale it to 0 to 255"),
        (np.zeros((8, 9), bool), "pixels.astype(np.uint8) * 255"),
        (np.zeros((3, 8, 9), np.uint8), "pixels.transpose(1, 2, 0)"),
        (np.zeros((3, 8, 9), np.float32), "pixels.transpose(1, 2, 0)"),
        (np.zeros((5, 8, 9, 3), np.uint8), "one image at a time"),
        (np.zeros((8, 9, 5), np.uint8), "5 channels"),
        (np.zeros(8, np.uint8), "(H, W, 3)"),
        (np.zeros((0, 9, 3), np.uint8), "empty"),
        (np.zeros((8, 9, 3), complex), "uint8 RGB"),
        (np.array([["a"]]), "uint8 RGB"),
        (np.zeros((8, 9), np.uint8).view(np.matrix), "np.asarray"),
    ],
)
def test_error_for_an_array_says_how_to_convert_it(array, advice):
    assert advice in error_for(array)


def test_subclasses_of_arrays_become_plain_arrays():
    masked = np.ma.masked_array(gradient(), gradient() > 200)
    frame = image.first_frame(masked)
    assert type(frame.pixels) is np.ndarray
    assert np.array_equal(frame.pixels, gradient())


def test_reading_in_threads_keeps_the_warning_filters():
    # Pillow warns about palettes whose transparency is given in bytes.
    palette = encoded(Image.new("P", (9, 9)), "PNG", transparency=b"\0\x80")
    bodies = [*valid_images(), palette]
    with warnings.catch_warnings():
        before = list(warnings.filters)
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(lambda body: list(image.frames(body)), bodies * 8):
                pass
        assert warnings.filters == before


def test_unsupported_type_is_named():
    assert "list" in error_for([1, 2])


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("empty.jpg", b"", "is empty"),
        ("text.jpg", b"Dear diary, a text file.\n" * 20, "not an image"),
        ("short.txt", b"t\n", "not an image"),
        ("half.jpg", encoded(Image.fromarray(gradient(200, 200)), "JPEG")[:1500], "damaged"),
        ("half.png", encoded(Image.effect_noise((90, 90), 60), "PNG")[:2000], "damaged"),
        ("bomb.png", png_claiming(60000, 60000), "60000 x 60000 pixels"),
        ("large.png", png_claiming(12000, 12000), "12000 x 12000"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "EPS"),
    ],
)
def test_unreadable_files_give_an_error_of_one_line_with_their_name(tmp_path, name, body, message):
    path = tmp_path / name
    path.write_bytes(body)
    assert message in error_for(path)
    assert name in error_for(path)


def test_decompression_bomb_is_rejected_before_decoding(tmp_path):
    Image.new("1", (13500, 13500)).save(tmp_path / "bomb.png")
    start = time.perf_counter()
    assert "13500 x 13500" in error_for(tmp_path / "bomb.png")
    assert time.perf_counter() - start < 0.5  # decoding would take longer


def test_file_above_the_size_limit_is_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(image, "MAX_BYTES", 1 << 20)
    path = tmp_path / "long.jpg"
    path.write_bytes(b"\0" * ((1 << 20) + 1))
    assert "1 MiB" in error_for(path)


@pytest.mark.parametrize("size", [(1, 1), (30000, 10), (10, 30000)])
def test_extreme_sizes_are_read(size):
    frame = image.first_frame(encoded(Image.new("RGB", size, RED), "PNG"))
    assert frame.pixels.shape == (size[1], size[0], 3)


def test_missing_read_permission_is_an_error(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("L", (2, 2)).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        # Root can read every file. Reading its own memory at address 0 is an OSError instead.
        path = Path("/proc/self/mem")
        if not path.exists():
            pytest.skip("root can read every file here")
    assert str(path) in error_for(path)


def test_reading_closes_the_file(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image.first_frame(tmp_path / "a.png")
        gc.collect()
    assert not [warning for warning in caught if warning.category is ResourceWarning]


def valid_images():
    """Return the bytes of a small valid file of each format and variant."""
    original = Image.fromarray(gradient(40, 32))
    exif = exif_with_orientation(6)
    tiffs = [
        encoded(original, "TIFF", compression=c) for c in (None, "tiff_lzw", "tiff_adobe_deflate")
    ]
    return [
        encoded(original, "PNG", exif=exif),
        encoded(original.convert("P"), "PNG", transparency=3),
        encoded(Image.fromarray(np.zeros((9, 9), np.uint16)), "PNG"),
        encoded(original, "JPEG", exif=exif),
        encoded(original, "JPEG", progressive=True),
        encoded(original.convert("CMYK"), "JPEG"),
        animation("GIF", duration=40),
        animation("WEBP", duration=40),
        animation("PNG", duration=40),
        animation("TIFF"),
        animation("MPO"),
        encoded(original, "WEBP", exif=exif),
        encoded(Image.fromarray(np.ones((5, 7), np.float32)), "TIFF"),
        *tiffs,
        encoded(original, "BMP"),
        encoded(original, "PPM"),
        encoded(original, "TGA"),
        encoded(original, "JPEG2000"),
    ]


def mutate(body, rng):
    """Return a copy of a file with random changes, in one of ten cases also truncated."""
    body = bytearray(body)
    for _ in range(rng.choice((1, 2, 5, 20))):
        # At least half of the mutations are in the header, which matters most.
        end = len(body) if rng.random() < 0.5 else min(len(body), 64)
        offset = rng.randrange(end)
        mutation = rng.randrange(4)
        if mutation == 0:
            body[offset] = rng.randrange(256)
        elif mutation == 1:
            body[offset : offset + 4] = rng.choice((b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"))
        elif mutation == 2:
            del body[offset : offset + rng.randrange(1, 9)]
        else:
            body[offset:offset] = rng.randbytes(rng.randrange(1, 9))
        if not body:
            break
    if rng.random() < 0.1:
        body = body[: rng.randrange(len(body) + 1)]
    return bytes(body)


def test_mutated_images_give_frames_or_an_error_of_one_line(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 4_000_000)  # mutated sizes take little time
    rng, originals = random.Random(2), valid_images()
    read = rejected = 0
    slowest, start = 0.0, time.perf_counter()
    for k in range(4000):
        body = mutate(originals[k % len(originals)], rng)
        image_start = time.perf_counter()
        try:
            for frame in image.frames(body):
                assert frame.pixels.dtype == np.uint8
                assert frame.pixels.ndim == 3
                assert frame.pixels.shape[2] == 3
                assert 0 not in frame.pixels.shape
            read += 1
        except UserError as error:
            rejected += bool(ONE_LINE_ERROR.fullmatch(str(error)))
        slowest = max(slowest, time.perf_counter() - image_start)
    assert read > 500  # otherwise, the mutations are too strong to test decoders
    assert read + rejected == 4000
    # Far more than needed, to find only images that take excessive time.
    assert slowest < 3
    assert time.perf_counter() - start < 40


def encoded_heic(original, **options):
    """Return the bytes of a HEIC file; skip the test if its codec is not installed."""
    codec = pytest.importorskip("pillow_heif.as_plugin")
    file = io.BytesIO()
    # Without `Image.save`, for which the codec would be registered for all tests.
    original.encoderinfo = {"quality": 95, **options}
    codec._save_heif(original, file, "")
    return file.getvalue()


@pytest.fixture
def heic():
    return encoded_heic(Image.fromarray(gradient(64, 48)))


def test_heic_is_read_if_its_decoder_is_installed(heic, tmp_path):
    (tmp_path / "a.HEIC").write_bytes(heic)
    (tmp_path / "b.jpg").write_bytes(heic)
    for source in Source.expand(str(tmp_path)):
        (frame,) = reader.frames(source)
        assert np.abs(frame.pixels.astype(int) - gradient(64, 48)).mean() < 6  # HEIC is lossy
    with pytest.raises(UserError, match="damaged"):
        image.first_frame(heic[: len(heic) // 2])


def test_heic_is_upright():
    rotated = Image.fromarray(gradient(64, 48)).transpose(Image.Transpose.ROTATE_90)
    exif = exif_with_orientation(6).tobytes()
    frame = image.first_frame(encoded_heic(rotated, exif=exif))
    assert np.abs(frame.pixels.astype(int) - gradient(64, 48)).mean() < 6


def test_heic_without_its_decoder_names_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    message = error_for(b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(99))
    assert "pip install '.[heic]'" in message


def test_avif_with_the_brand_of_heif_is_not_heic(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    body = encoded(Image.fromarray(gradient(64, 48)), "AVIF")
    assert body[8:12] == b"avif"
    frame = image.first_frame(body[:8] + b"mif1" + body[12:])
    assert frame.pixels.shape == (48, 64, 3)


def tga_with_rgba_palette():
    """Return the bytes of a TGA with one pixel, of the color (200, 100, 50) and alpha 100."""
    header = struct.pack("<BBBHHBHHHHBB", 0, 1, 1, 0, 1, 32, 0, 0, 1, 1, 8, 0)
    return header + bytes([50, 100, 200, 100]) + bytes(1)


@pytest.mark.parametrize("alpha_bits", [0, 8])
@pytest.mark.parametrize(
    "body",
    [encoded(Image.new("RGBA", (1, 1), (200, 100, 50, 100)), "TGA"), tga_with_rgba_palette()],
    ids=["RGBA", "palette"],
)
def test_the_fourth_channel_of_a_tga_is_alpha_if_its_header_says_so(alpha_bits, body):
    body = bytearray(body)
    descriptor = body[image_file.TGA_DESCRIPTOR]
    body[image_file.TGA_DESCRIPTOR] = descriptor & ~image_file.TGA_ALPHA_BITS | alpha_bits
    blended_with_white = [233, 194, 175]
    expected = blended_with_white if alpha_bits else [200, 100, 50]
    assert image.first_frame(bytes(body)).pixels[0, 0].tolist() == pytest.approx(expected, abs=1)


def bmp_with_alpha(pixels):
    """Encode (H, W, 4) uint8 RGBA pixels as a BMP whose header states the masks of all channels."""
    height, width = pixels.shape[:2]
    data = pixels[::-1, :, [2, 1, 0, 3]].tobytes()
    masks = struct.pack("<4I", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, len(data), 0, 0, 0, 0)
    return (
        b"BM" + struct.pack("<IHHI", 122 + len(data), 0, 0, 122) + header + masks + bytes(52) + data
    )


def test_a_bmp_with_an_empty_alpha_channel_is_opaque():
    pixels = np.full((4, 4, 4), (200, 100, 50, 0), np.uint8)
    assert Image.open(io.BytesIO(bmp_with_alpha(pixels))).mode == "RGBA"
    assert image.first_frame(bmp_with_alpha(pixels)).pixels[0, 0].tolist() == [200, 100, 50]
    pixels[0, 0, 3] = 255
    frame = image.first_frame(bmp_with_alpha(pixels))
    assert frame.pixels[0, :2].tolist() == [[200, 100, 50], [255, 255, 255]]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("missing_bytes", [1, 2])
def test_a_jpeg_without_its_end_marker_is_read(progressive, missing_bytes):
    body = encoded(Image.effect_noise((200, 150), 60), "JPEG", progressive=progressive)
    assert body.endswith(b"\xff\xd9")
    frame = image.first_frame(body[:-missing_bytes])
    assert np.array_equal(frame.pixels, image.first_frame(body).pixels)


@pytest.mark.parametrize("missing_bytes", [12, 40, 2000, 15000])
def test_a_jpeg_without_all_its_pixels_is_damaged(missing_bytes):
    body = encoded(Image.effect_noise((200, 150), 60), "JPEG")
    assert "truncated" in error_for(body[:-missing_bytes])


@pytest.mark.parametrize(("limit", "factor"), [(20_000, 2), (4_000, 4), (1_200, 8)])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_very_large_jpeg_is_decoded_at_a_reduced_size(monkeypatch, limit, factor, orientation):
    monkeypatch.setattr(image_file, "MAX_PIXELS", limit)
    exif = exif_with_orientation(orientation)
    size = (251, 250)  # no multiples of the factors, so sides are rounded up
    body = encoded(Image.fromarray(gradient(*size)), "JPEG", exif=exif, quality=95)
    frame = image.first_frame(body)
    upright = size if orientation == 1 else size[::-1]
    assert frame.size == frame.original_size == upright
    height, width = frame.pixels.shape[:2]
    assert (width, height) == tuple(-(-side // factor) for side in upright)
    if orientation == 1:
        top_right = frame.pixels[0, -1].astype(int)
        assert np.abs(top_right - [255, 0, 128]).max() < 30
    else:  # the stored bottom left corner is shown at the top left
        top_left = frame.pixels[0, 0].astype(int)
        assert np.abs(top_left - [0, 255, 128]).max() < 30
    assert frame.scale == pytest.approx(factor, rel=0.05)
    without_end = image.first_frame(body[:-2])
    assert without_end.size == upright
    assert np.array_equal(without_end.pixels, frame.pixels)


def test_images_above_the_limit_that_cannot_be_reduced_are_rejected(monkeypatch):
    monkeypatch.setattr(image_file, "MAX_PIXELS", 1000)
    body = encoded(Image.fromarray(gradient(200, 100)), "JPEG")
    assert "200 x 100" in error_for(encoded(Image.fromarray(gradient(200, 100)), "PNG"))
    with pytest.raises(UserError, match="200 x 100"):  # JPEGs are not reduced to a given limit
        image.first_frame(body, max_pixels=1500)
    monkeypatch.setattr(jpeg, "MAX_REDUCED_PIXELS", 15_000)
    assert "200 x 100" in error_for(body)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "CMYK", "1", "RGB"])
def test_conversion_in_strips_equals_that_of_the_whole_image(mode, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 31, 4), np.uint8)
    pil_image = Image.fromarray(pixels).convert("RGB").convert(mode)
    if mode in ("RGBA", "LA"):
        pil_image.putalpha(Image.fromarray(pixels[..., 3]))
    expected = image.first_frame(pil_image).pixels
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 100)
    assert np.array_equal(image.first_frame(pil_image).pixels, expected)


def test_the_error_of_an_unreadable_image_has_its_name():
    with pytest.raises(UserError, match=r"beach\.jpg"):
        image.first_frame(b"x", "beach.jpg")
