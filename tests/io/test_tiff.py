"""TIFFs are read with the right brightness, or rejected."""

import io
import struct

import numpy as np
import pytest

from mien.errors import UserError
from mien.io import image, tiff

tifffile = pytest.importorskip("tifffile")

BRIGHTNESS = np.tile(np.linspace(0.1, 0.8, 64), (40, 1))
"""The image of all tests: (40, 64) gray values from 0 to 1, without pure black and white."""

EXPECTED = (BRIGHTNESS * 255).round().astype(int)
WHITE = {"u1": 255, "u2": 65535, "u4": 2**32 - 1, "i1": 127, "i2": 32767}
"""The largest value of each integer type."""

SHORT, LONG = 3, 4
"""TIFF's numbers of the types of tags: uint16 and uint32."""


def encoded(pixels, dtype="u1", order="<", **options):
    """Encode pixels in [0, 1] as a TIFF; integer types use their full range."""
    values = pixels * WHITE.get(dtype, 1)
    values = values if dtype[0] == "f" else values.round()
    file = io.BytesIO()
    tifffile.imwrite(file, values.astype(order + dtype), byteorder=order, metadata=None, **options)
    return file.getvalue()


def packed(data, bits, photometric, extra=()):
    """Return the bytes of an uncompressed gray TIFF.

    Args:
        data: The encoded pixels.
        bits: Bits per pixel.
        photometric: 0 if 0 is white, 1 if it is black.
        extra: Number, type and value of further tags.
    """
    height, width = BRIGHTNESS.shape
    tags = [
        (256, SHORT, width), (257, SHORT, height), (258, SHORT, bits),
        (259, SHORT, 1),  # no compression
        (262, SHORT, photometric),
        (273, LONG, 8),  # offset of the data
        (277, SHORT, 1),  # one channel
        (278, SHORT, height), (279, LONG, len(data)),  # one strip
        *extra,
    ]  # fmt: skip
    directory = struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        directory += struct.pack("<HHI", tag, kind, 1)
        directory += struct.pack("<HH", value, 0) if kind == SHORT else struct.pack("<I", value)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + directory + bytes(4)


def twelve_bits(pixels):
    """Pack pixels in [0, 1] as 12-bit values, two in three bytes."""
    first, second = (pixels * 4095).round().astype(int).reshape(-1, 2).T
    packed_bytes = (first >> 4, (first & 15) << 4 | second >> 8, second & 255)
    return np.stack(packed_bytes, 1).astype(np.uint8).tobytes()


def max_error(body):
    """Return the largest error of decoded pixels.

    It is 0 if the TIFF is rejected as unsupported, and 255 if it is rejected for another reason.
    """
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
    in_16_bits = (pixels * 4095).round().astype("<u2").tobytes()
    max_sample = (tiff.MAX_SAMPLE, SHORT, 4095)
    assert max_error(packed(in_16_bits, 16, photometric, [max_sample])) <= 1


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
        for shade, subfile_type in ((10, 0), (20, tiff.REDUCED), (30, 0)):
            pixels = np.full((8, 8), shade, np.uint8)
            writer.write(pixels, subfiletype=subfile_type, metadata=None)
    frames = list(image.frames(file.getvalue()))
    assert [(frame.number, frame.pixels[0, 0, 0]) for frame in frames] == [(0, 10), (1, 30)]


@pytest.mark.parametrize(
    "tags",
    [
        [(tiff.DNG_VERSION, LONG, 1)],
        [(tiff.SUBFILE_TYPE, LONG, tiff.REDUCED), (tiff.SUB_IFDS, LONG, 8)],
    ],
    ids=["DNG", "preview"],
)
def test_raw_files_are_rejected_instead_of_reading_their_preview(tags):
    body = packed(bytes(64 * 40), 8, 1, tags)
    with pytest.raises(UserError, match="raw file"):
        list(image.frames(body))
