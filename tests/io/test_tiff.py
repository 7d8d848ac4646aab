"""TIFFs are read with the right brightness, or rejected."""

import io
import struct

import numpy as np
import pytest

from mien.errors import UserError
from mien.io import image

tifffile = pytest.importorskip("tifffile")

BRIGHTNESS = np.tile(np.linspace(0.1, 0.8, 64), (40, 1))
EXPECTED = (BRIGHTNESS * 255).round().astype(int)
WHITE = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "i1": 127, "i2": 32767}


def encoded(pixels, dtype="u1", order="<", **options):
    """Encode pixels in [0, 1] as a TIFF; integer types use their full range."""
    values = pixels * WHITE.get(dtype, 1)
    values = values if dtype[0] == "f" else values.round()
    file = io.BytesIO()
    tifffile.imwrite(file, values.astype(order + dtype), byteorder=order, metadata=None, **options)
    return file.getvalue()


def packed(data, bits, photometric, extra=()):
    """Return the bytes of an uncompressed gray TIFF with the pixels `data` and further tags."""
    height, width = BRIGHTNESS.shape
    tags = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(data)), *extra,
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<HH" if kind == 3 else "<I", *value)
        for tag, kind, *value in ((t, k, v, 0) if k == 3 else (t, k, v) for t, k, v in tags)
    )
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def twelve_bits(pixels):
    """Pack pixels in [0, 1] as 12-bit values, two in three bytes."""
    first, second = (pixels * 4095).round().astype(int).reshape(-1, 2).T
    packed_bytes = (first >> 4, (first & 15) << 4 | second >> 8, second & 255)
    return np.stack(packed_bytes, 1).astype(np.uint8).tobytes()


def max_error(body):
    """Return the largest error of decoded pixels; 0 if the TIFF is rejected as unsupported."""
    try:
        (frame,) = image.frames(body)
    except UserError as error:
        return 0 if "support" in str(error) else 255
    return np.abs(frame.pixels.astype(int) - EXPECTED[..., None]).max()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i1", "i2", "f2", "f4", "f8"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_gray_has_the_right_brightness_or_is_rejected(order, photometric, dtype, compression):
    pixels = BRIGHTNESS if photometric == "minisblack" else 1 - BRIGHTNESS
    body = encoded(pixels, dtype, order, photometric=photometric, compression=compression)
    assert max_error(body) <= 2


@pytest.mark.parametrize(
    ("dtype", "photometric", "order"),
    [("u2", "miniswhite", "<"), ("f4", "miniswhite", ">"), ("f4", "minisblack", "<"),
     ("u4", "minisblack", "<"), ("i2", "minisblack", ">")],
)  # fmt: skip
def test_common_types_of_gray_are_read(dtype, photometric, order):
    pixels = BRIGHTNESS if photometric == "minisblack" else 1 - BRIGHTNESS
    (frame,) = image.frames(encoded(pixels, dtype, order, photometric=photometric))
    assert np.abs(frame.pixels[..., 0] - EXPECTED).max() <= 2


@pytest.mark.parametrize("photometric", [0, 1])
def test_12_bits_have_the_right_brightness_or_are_rejected(photometric):
    pixels = BRIGHTNESS if photometric else 1 - BRIGHTNESS
    assert max_error(packed(twelve_bits(pixels), 12, photometric)) <= 1
    body = (pixels * 4095).round().astype("<u2").tobytes()
    assert max_error(packed(body, 16, photometric, [(281, 3, 4095)])) <= 1


def test_packed_12_bits_are_read():
    (frame,) = image.frames(packed(twelve_bits(BRIGHTNESS), 12, 1))
    assert np.abs(frame.pixels[..., 0] - EXPECTED).max() <= 1


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "f2", "f4"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_rgb_has_the_right_brightness_or_is_rejected(dtype, planar):
    pixels = np.repeat(BRIGHTNESS[..., None], 3, 2)
    pixels = pixels if planar == "contig" else pixels.transpose(2, 0, 1)
    assert max_error(encoded(pixels, dtype, photometric="rgb", planarconfig=planar)) <= 1


@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("kind", ["unspecified", "assocalpha", "unassalpha"])
@pytest.mark.parametrize("channels", [1, 3])
def test_extra_channels_do_not_change_the_brightness(dtype, kind, channels):
    extra = np.full((*BRIGHTNESS.shape, 1), kind != "unspecified")
    pixels = np.concatenate([np.repeat(BRIGHTNESS[..., None], channels, 2), extra], 2)
    photometric = "rgb" if channels == 3 else "minisblack"
    body = encoded(
        pixels, dtype, photometric=photometric, extrasamples=[kind], planarconfig="contig"
    )
    assert max_error(body) <= 1


@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_cmyk_has_the_right_brightness_or_is_rejected(dtype):
    ink = np.concatenate([np.zeros((*BRIGHTNESS.shape, 3)), 1 - BRIGHTNESS[..., None]], 2)
    assert max_error(encoded(ink, dtype, photometric="separated")) <= 2


@pytest.mark.parametrize("factor", [257, 1])
def test_palettes_of_16_bit_and_of_8_bit_values_are_read(factor):
    colors = np.tile((np.arange(256) * factor).astype(np.uint16), (3, 1))
    (frame,) = image.frames(encoded(BRIGHTNESS, photometric="palette", colormap=colors))
    assert np.abs(frame.pixels[..., 0] - EXPECTED).max() <= 1


def test_range_of_floats_is_determined_by_their_maximum():
    highlights = BRIGHTNESS.copy()
    highlights[0, 0] = 1.02
    (frame,) = image.frames(encoded(highlights, "f4", photometric="minisblack"))
    assert np.abs(frame.pixels[1:, :, 0] - EXPECTED[1:] / 1.02).max() <= 1
    (frame,) = image.frames(encoded(BRIGHTNESS * 255, "f4", photometric="minisblack"))
    assert np.abs(frame.pixels[..., 0] - EXPECTED).max() <= 1


def test_smaller_copies_of_a_page_are_not_read():
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for shade, kind in ((10, 0), (20, 1), (30, 0)):
            writer.write(np.full((8, 8), shade, np.uint8), subfiletype=kind, metadata=None)
    frames = list(image.frames(file.getvalue()))
    assert [(frame.number, frame.pixels[0, 0, 0]) for frame in frames] == [(0, 10), (1, 30)]


@pytest.mark.parametrize("tags", [[(50706, 4, 1)], [(254, 4, 1), (330, 4, 8)]])
def test_raw_files_are_rejected_instead_of_reading_their_preview(tags):
    body = packed(bytes(64 * 40), 8, 1, tags)
    with pytest.raises(UserError, match="raw file"):
        list(image.frames(body))
