"""Frames look as in a player: orientation, aspect, transparency and HDR."""

import gc
import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import ExifTags, Image

from mien.io import reader, tone_mapping, video
from mien.io.source import Source
from mien.io.video_pixels import blend_with_white, orient, parse_display_matrix
from tests.io.video_files import read, write_video

ORIENTATIONS = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, 1, 0): lambda p: p.swapaxes(0, 1),
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),
    (0, -1, 1, 0): lambda p: np.rot90(p),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).swapaxes(0, 1),
}
"""For each display matrix (a, b, c, d), the function that makes a stored image upright."""


@pytest.fixture(scope="module")
def pattern():
    """An image without symmetry: three corners in three colors."""
    image = np.zeros((64, 96, 3), np.uint8)
    image[:24, :32], image[:24, 64:], image[40:, :32] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    return image


def difference(pixels, expected):
    """Return the mean absolute difference of two images of equal shape."""
    assert pixels.shape == expected.shape
    return np.abs(pixels.astype(int) - expected).mean()


@pytest.mark.parametrize("matrix", ORIENTATIONS)
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "libx264"), ("a.mov", "mpeg4"), ("a.mkv", "libx264"), ("a.webm", "libvpx-vp9")],
)
def test_display_matrix_is_applied(tmp_path, pattern, matrix, name, codec):
    write_video(tmp_path / name, [pattern] * 2, codec=codec, matrix=matrix)
    for frame in read(tmp_path / name):
        assert difference(frame.pixels, ORIENTATIONS[matrix](pattern)) < 4


@pytest.mark.parametrize(
    ("orientation", "matrix"),
    [
        ("rotate=90", (0, -1, 1, 0)), ("rotate=180", (-1, 0, 0, -1)),
        ("flip=horizontal", (-1, 0, 0, 1)), ("flip=vertical", (1, 0, 0, -1)),
    ],
)  # fmt: skip
def test_orientation_in_the_h264_stream_is_applied(tmp_path, pattern, orientation, matrix):
    write_video(tmp_path / "a.mp4", [pattern] * 2)
    name = f"h264_metadata=display_orientation=insert:{orientation}"
    with av.open(str(tmp_path / "a.mp4")) as source, av.open(str(tmp_path / "b.mp4"), "w") as out:
        stream = source.streams.video[0]
        copy, insert = out.add_stream_from_template(stream), av.BitStreamFilterContext(name, stream)
        for packet in source.demux(stream):
            if packet.dts is None:  # the last packet is empty
                continue
            for changed in insert.filter(packet):
                changed.stream = copy
                out.mux(changed)
    frame = read(tmp_path / "b.mp4")[0]
    assert difference(frame.pixels, ORIENTATIONS[matrix](pattern)) < 4


@pytest.mark.parametrize(
    ("message", "matrix"),
    [
        # The bits of a display orientation message: not canceled, flipped horizontally, flipped
        # vertically, 16 bits of the anticlockwise rotation in units of 360 / 65536 degrees, kept
        # for all frames. The last bits end the message.
        (0b0_0_0_0100000000000000_1_1_000, (0, -1, 1, 0)),
        (0b0_1_0_0000000000000000_1_1_000, (-1, 0, 0, 1)),
        (0b0_0_1_0000000000000000_1_1_000, (1, 0, 0, -1)),
    ],
)
def test_orientation_in_the_hevc_stream_is_applied(tmp_path, pattern, message, matrix):
    path = tmp_path / "a.hevc"
    write_video(path, [pattern] * 2, codec="libx265", options={"x265-params": "log-level=none"})
    prefix_sei, display_orientation, size = 39, 47, 3
    unit = bytes([prefix_sei << 1, 1, display_orientation, size, *message.to_bytes(size), 0x80])
    # The message is put behind the parameter sets, before the first slice.
    units = path.read_bytes().split(b"\0\0\1")
    first_slice = next(k for k, u in enumerate(units) if k and (u[0] >> 1) < 32)
    path.write_bytes(b"\0\0\1".join([*units[:first_slice], unit, *units[first_slice:]]))
    for frame in read(path):
        assert difference(frame.pixels, ORIENTATIONS[matrix](pattern)) < 4


def test_nearest_right_angle_is_applied():
    image = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    angle = np.deg2rad(80)
    matrix = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    assert np.array_equal(orient(image, matrix), np.rot90(image))


def test_implausible_display_matrix_of_a_damaged_file_causes_no_warning():
    data = np.full(9, -(2**31), np.int32).tobytes()
    matrix = parse_display_matrix(data)
    image = np.zeros((3, 4, 3), np.uint8)
    with np.errstate(all="raise"):
        assert orient(image, matrix).shape in ((3, 4, 3), (4, 3, 3))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_exif_orientation_of_a_sequence_is_applied(tmp_path, pattern, orientation, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    for number in (1, 2):
        path = tmp_path / f"{number:03d}.{suffix}"
        Image.fromarray(pattern).save(path, exif=exif, quality=95)
    matrix_of_orientation = [
        (1, 0, 0, 1), (-1, 0, 0, 1), (-1, 0, 0, -1), (1, 0, 0, -1),
        (0, 1, 1, 0), (0, 1, -1, 0), (0, -1, -1, 0), (0, -1, 1, 0),
    ]  # fmt: skip
    upright = ORIENTATIONS[matrix_of_orientation[orientation - 1]](pattern)
    for frame in read(tmp_path / f"%03d.{suffix}"):
        assert difference(frame.pixels, upright) < 6


def test_rotation_is_read_where_pyav_cannot_read_side_data(tmp_path, pattern):
    # FFmpeg adds the EXIF data of JPEG frames as side data of a kind that PyAV does not know.
    exif, body = Image.Exif(), io.BytesIO()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pattern).save(body, "JPEG", exif=exif)
    (tmp_path / "a.mjpeg").write_bytes(body.getvalue() * 2)
    frames = read(tmp_path / "a.mjpeg")
    assert len(frames) == 2
    assert all(difference(frame.pixels, np.rot90(pattern, -1)) < 6 for frame in frames)


@pytest.mark.parametrize(
    ("size", "aspect", "shown"),
    [
        ((360, 288), Fraction(8, 5), (576, 288)), ((352, 288), Fraction(1, 2), (352, 576)),
        ((320, 240), Fraction(1), (320, 240)),
        ((64, 48), Fraction(1, 50), (64, 48)),  # implausible
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.ts"])
def test_frames_are_resized_to_square_pixels(tmp_path, size, aspect, shown, name):
    image = np.zeros((size[1], size[0], 3), np.uint8)
    write_video(tmp_path / name, [image] * 20, sample_aspect_ratio=aspect)
    assert [f.pixels.shape[1::-1] for f in read(tmp_path / name)] == [shown] * 20
    info = video.probe(Source.parse(str(tmp_path / name)))
    assert (info.width, info.height) == shown


def test_rotated_video_is_stretched_before_it_is_rotated(tmp_path, pattern):
    write_video(tmp_path / "a.mkv", [pattern] * 2, sample_aspect_ratio=Fraction(2),
                matrix=(0, 1, -1, 0))  # fmt: skip
    height, width = pattern.shape[:2]
    assert read(tmp_path / "a.mkv")[0].pixels.shape == (2 * width, height, 3)


def test_aspect_and_size_may_change_within_a_transport_stream(tmp_path):
    small, large = np.zeros((48, 64, 3), np.uint8), np.zeros((96, 128, 3), np.uint8)
    parts = [(small, Fraction(2)), (small, Fraction(1, 2)), (large, Fraction(1))]
    body = b""
    for number, (image, aspect) in enumerate(parts):
        times = [Fraction(10 * number + k, 25) for k in range(10)]
        write_video(tmp_path / "part.ts", [image] * 10, times=times, options={"bf": "0"},
                    sample_aspect_ratio=aspect)  # fmt: skip
        body += (tmp_path / "part.ts").read_bytes()
    (tmp_path / "all.ts").write_bytes(body)
    shapes = [frame.pixels.shape[:2] for frame in read(tmp_path / "all.ts")]
    assert shapes == [(48, 128)] * 10 + [(96, 64)] * 10 + [(96, 128)] * 10


@pytest.mark.parametrize(
    ("name", "codec"), [("a.webm", "libvpx"), ("a.webm", "libvpx-vp9"), ("a.mkv", "libx264")]
)
def test_size_may_change_within_a_stream(tmp_path, name, codec):
    sizes = [(48, 64), (24, 32), (96, 128)]
    with av.open(str(tmp_path / name), "w") as out:
        copy = None
        for number, size in enumerate(sizes):
            times = [Fraction(10 * number + k, 25) for k in range(10)]
            # In a .ts file, the key frames of H.264 contain their size.
            options = {"bf": "0", "x264-params": "annexb=1"} if codec == "libx264" else {}
            part = tmp_path / f"part.{'ts' if codec == 'libx264' else 'webm'}"
            write_video(part, [np.zeros((*size, 3), np.uint8)] * 10, times=times, codec=codec,
                        options=options)  # fmt: skip
            with av.open(str(part)) as source:
                stream = source.streams.video[0]
                copy = copy or out.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is not None:
                        packet.stream = copy
                        out.mux(packet)
    shapes = [frame.pixels.shape[:2] for frame in read(tmp_path / name)]
    assert shapes == [size for size in sizes for _ in range(10)]


@pytest.mark.parametrize(
    ("name", "codec", "pixel_format"),
    [
        ("a.webm", "libvpx", "yuva420p"), ("a.webm", "libvpx-vp9", "yuva420p"),
        ("a.mov", "prores_ks", "yuva444p10le"), ("a.mov", "png", "rgba"),
        ("a.mov", "qtrle", "argb"), ("a.mkv", "ffv1", "bgra"),
    ],
)  # fmt: skip
def test_transparent_video_is_blended_with_white(tmp_path, pattern, name, codec, pixel_format):
    image = np.dstack([pattern, np.full(pattern.shape[:2], 255, np.uint8)])
    image[:, 64:, 3] = 128  # the right third is half transparent
    image[24:40, :64] = 0  # a band of transparent black
    options = {"auto-alt-ref": "0"} if codec == "libvpx" else {}
    write_video(tmp_path / name, [image] * 3, codec=codec, pixel_format=pixel_format,
                options=options)  # fmt: skip
    white = Image.new("RGBA", (96, 64), "white")
    expected = np.asarray(Image.alpha_composite(white, Image.fromarray(image)).convert("RGB"))
    frames = read(tmp_path / name)
    assert len(frames) == 3
    assert all(difference(frame.pixels, expected) < 9 for frame in frames)


def test_transparent_gif_is_blended_with_white(tmp_path):
    images = [Image.new("RGBA", (64, 48), (0, 0, 0, 0)) for _ in range(2)]
    for k, image in enumerate(images):
        image.paste((250, 0, 0, 255), (10 * k, 0, 10 * k + 20, 48))
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], disposal=2)
    for frame in reader.frames(Source.parse(str(tmp_path / "a.gif"))):
        transparent, opaque = frame.pixels[40, 60], frame.pixels[40, 12]  # in both frames
        assert tuple(transparent) == (255, 255, 255)
        assert tuple(opaque) == pytest.approx((250, 0, 0), abs=8)


def test_alpha_of_zero_everywhere_is_opaque_only_if_requested():
    pixels = np.zeros((4, 4, 4), np.uint8)
    assert blend_with_white(pixels, zero_alpha_is_opaque=True).max() == 0
    assert blend_with_white(pixels).min() == 255


def encoded_hdr(image, transfer):
    """Encode an SDR image as HDR in BT.2020, with its white at 203 cd/m2.

    The formulas are the inverse functions of those of ITU-R BT.2100 in `tone_mapping`.
    """
    light = (image / 255) ** 2.2 @ np.linalg.inv(tone_mapping.BT2020_TO_BT709).T
    light = np.maximum(light, 0) * 203
    if transfer == tone_mapping.PQ:
        power = (light / 10_000) ** (2610 / 16384)
        signal = ((3424 / 4096 + 2413 / 128 * power) / (1 + 2392 / 128 * power)) ** (2523 / 32)
    else:
        luminance = np.maximum(light @ tone_mapping.BT2020_LUMINANCE, 1e-6)[..., None] / 1000
        scene = light / 1000 * luminance ** (1 / 1.2 - 1)
        high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-6)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)
    return (signal * 255).round().clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("transfer", [tone_mapping.PQ, tone_mapping.HLG])
def test_hdr_is_mapped_to_sdr(tmp_path, transfer, photo):
    original = np.asarray(Image.open(photo).convert("RGB").resize((256, 256)))
    image, path = encoded_hdr(original, transfer), tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", 25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p10le"
        context, bt2020 = stream.codec_context, tone_mapping.BT2020
        context.color_trc = transfer
        # FFmpeg uses the same number for the primaries and the color space.
        context.color_primaries = context.colorspace = bt2020
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        frame = frame.reformat(format="yuv420p10le", dst_colorspace=bt2020)
        frame.color_trc, frame.color_primaries = transfer, bt2020
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    mapped = read(path)[0].pixels
    # Light above 70 % of white, which is gray level 217, is compressed.
    is_kept = original.max(axis=2) < 200
    assert difference(mapped[is_kept], original[is_kept]) < 6
    assert difference(image[is_kept], original[is_kept]) > 9  # without tone mapping
    assert difference(mapped, original) < 12


BT2020_10_BITS = 14
"""FFmpeg's number of the transfer function of wide-gamut SDR."""


@pytest.mark.parametrize("transfer", [tone_mapping.PQ, tone_mapping.HLG, BT2020_10_BITS])
def test_tone_mapping_keeps_grays_neutral_and_in_order_from_black_to_white(transfer):
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    mapped = tone_mapping.to_sdr(ramp, transfer, tone_mapping.BT2020)
    assert np.ptp(mapped.astype(int), axis=2).max() <= 1
    assert (np.diff(mapped[0, :, 0].astype(int)) >= 0).all()
    assert mapped[0, 0].max() <= 2  # not 0, because two values share an entry of the table
    assert mapped[0, -1].min() >= 253
    with_alpha = np.dstack([ramp, ramp[..., 0]])
    mapped_with_alpha = tone_mapping.to_sdr(with_alpha, transfer, tone_mapping.BT2020)
    assert np.array_equal(mapped_with_alpha[..., 3], ramp[..., 0])
    assert np.array_equal(mapped_with_alpha[..., :3], mapped)


def test_decoded_frames_are_freed_without_garbage_collection(tmp_path, pattern):
    """A frame in a reference cycle would stay in memory until the next garbage collection."""
    write_video(tmp_path / "a.mp4", [pattern] * 20)
    gc.collect()
    gc.disable()
    try:
        for _ in read(tmp_path / "a.mp4"):
            pass
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        uncollected_types = {type(item).__name__ for item in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert "VideoFrame" not in uncollected_types
