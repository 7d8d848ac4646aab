"""Kind, location and name of inputs, and reading them as images."""

import io
import os
import string
import sys
from functools import partial
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image

from mien.errors import UserError
from mien.io import reader
from mien.io.file_kind import READABLE_SUFFIXES
from mien.io.source import Source
from tests.synthetic.images import animation, encoded, gradient


def locations(text):
    return [source.location for source in Source.expand(str(text))]


def error_for(text):
    """Return the message of the error that `expand` raises, which is one line with a period."""
    with pytest.raises(UserError) as caught:
        Source.expand(text)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def write_clip(file, codec="mpeg4", file_format=None):
    """Write one second of noise in a container format, by default that of the suffix.

    Returns `file`, which is a path or a binary file object.
    """
    rng = np.random.default_rng(0)
    with av.open(file, "w", format=file_format) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(25):
            noise = rng.integers(0, 256, (64, 64, 3), np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        out.mux(stream.encode())
    return file


@pytest.mark.parametrize(
    ("text", "kind", "location", "name"),
    [
        ("-", "image", "-", "standard input"),
        ("camera", "camera", "0", "camera"),
        ("Camera:3", "camera", "3", "Camera:3"),
        ("rtsp://cam/front%20door", "stream", None, None),
        ("rtsp://cam/x.jpg", "stream", None, None),
        ("rtsp://cam/x.mp4", "stream", None, None),
        ("udp://@:5000", "stream", None, None),
        ("http://host/x.mjpg", "stream", None, None),
        ("http://host/live", "stream", None, None),
        ("http://host/live.ts", "stream", None, None),
        ("https://host/my%20dog.mp4", "video", None, None),
        ("HTTPS://host/DOG.MP4?size=2", "video", None, None),
        ("frames/%04d.png", "sequence", "frames/%04d.png", None),
        ("frames/%04d.png@29.97", "sequence", "frames/%04d.png", None),
        ("rtsp://me:s3cret@10.0.0.9/live", "stream", None, "rtsp://me:***@10.0.0.9/live"),
        ("http://me:a@b@host:81/x", "stream", None, "http://me:***@host:81/x"),
        ("https://me:a@host/x.mp4", "video", None, "https://me:***@host/x.mp4"),
        ("rtsp://me@host:554/x", "stream", None, None),
        ("http://host:80/a:b@c", "stream", None, None),
    ],
)
def test_other_inputs_than_files_are_recognized_by_their_syntax(text, kind, location, name):
    source = Source.parse(text)
    assert (source.kind, source.location, source.name) == (kind, location or text, name or text)
    assert source.is_video == (kind != "image")
    assert source.is_live == (kind in ("camera", "stream"))


@pytest.mark.parametrize(("text", "rate"), [("%d.png", 0), ("%d.png@30", 30), ("%d.png@0.5", 0.5)])
def test_rate_of_a_sequence(text, rate):
    assert Source.parse(text).rate == rate


@pytest.mark.parametrize("text", ["http://127.0.0.1/x.JPG?size=2", "https://host/a.png"])
def test_address_of_an_image_is_an_error(text):
    assert text in error_for(text)


@pytest.mark.parametrize("name", ["camera", "Camera:1", "%d.png", "a%03d.png@30"])
def test_existing_file_takes_precedence_over_a_camera_or_sequence(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert Source.parse(name).kind in ("camera", "sequence")
    Image.new("L", (2, 2)).save(name, "PNG")
    assert Source.parse(name).kind == "image"


CONTENTS = {
    "image": [
        (f"{name} image", partial(encoded, Image.new("RGB", (9, 9)), name))
        for name in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF")
    ] + [("pages", lambda: animation("TIFF"))],
    "animation": [
        (f"{name} of three", partial(animation, name, duration=40))
        for name in ("GIF", "PNG", "WEBP", "AVIF")
    ],
    "video": [
        (name, lambda name=name, codec=codec: write_clip(io.BytesIO(), codec, name).getvalue())
        for name, codec in (
            ("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mpeg4"), ("mpegts", "mpeg2video"),
            ("mpeg", "mpeg2video"), ("flv", "flv1"), ("asf", "mpeg4"), ("yuv4mpegpipe", "rawvideo"),
            ("mxf", "mpeg2video"), ("mov", "mpeg4"), ("mpeg2video", "mpeg2video"),
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param(kind, content, id=name)
        for kind, contents in CONTENTS.items()
        for name, content in contents
    ],
)
def test_kind_is_determined_by_content(tmp_path, kind, content):
    body = content()
    for name in ("a", "a.jpg", "a.mp4", "a.txt", "a.gif"):
        (tmp_path / name).write_bytes(body)
        assert Source.parse(str(tmp_path / name)).kind == kind
    # Not a.jpg, because FFmpeg reads an MPEG program stream of that name as an image.
    first = next(reader.frames(Source.parse(str(tmp_path / "a"))))
    assert (first.kind, first.location) == (kind, str(tmp_path / "a"))


@pytest.mark.parametrize("body", [b"", b"neither image nor video " * 40, bytes(600)])
def test_kind_falls_back_to_the_suffix(tmp_path, body):
    for name, kind in (("a.mp4", "video"), ("a.TS", "video"), ("a.jpg", "image"), ("a", "image")):
        (tmp_path / name).write_bytes(body)
        assert Source.parse(str(tmp_path / name)).kind == kind


def test_motion_jpeg_is_a_video(tmp_path):
    path = tmp_path / "a.mjpg"
    path.write_bytes(2 * encoded(Image.new("RGB", (32, 32)), "JPEG"))
    assert Source.parse(str(path)).kind == "video"


@pytest.mark.parametrize("body", [b"GIF89a", b"GIF89a" + bytes(40), b"GIF87a and so on"])
def test_damaged_gif_is_an_image(tmp_path, body):
    (tmp_path / "a.gif").write_bytes(body)
    assert Source.parse(str(tmp_path / "a.gif")).kind == "image"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="requires named pipes")
def test_pipe_is_not_read_to_determine_its_kind(tmp_path):
    os.mkfifo(tmp_path / "a.png")  # opening it would block
    assert Source.parse(str(tmp_path / "a.png")).kind == "image"


@given(st.binary(max_size=600), st.sampled_from(sorted(READABLE_SUFFIXES)))
def test_any_bytes_have_a_kind(tmp_path_factory, body, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(body)
    source = Source.parse(str(path))
    assert source.kind in ("image", "animation", "video")
    assert (source.location, source.name) == (str(path), str(path))


@given(
    st.text(string.printable, max_size=40), st.sampled_from(["http://", "rtsp://", "camera:", ""])
)
def test_any_text_is_a_source_or_an_error(text, prefix):
    assume(not text.startswith(("/", ".")))  # do not search the whole disk
    try:
        sources = Source.expand(prefix + text, lambda _: None)
    except UserError as error:
        str(error).encode("utf-8")  # raises an error if the message contains surrogates
    else:
        assert sources
        if sources[0].kind != "camera":  # the location of a camera is only its number
            assert Source.parse(sources[0].location)


def test_folder_contains_images_and_videos(tmp_path):
    (tmp_path / "a.gif").write_bytes(animation("GIF", duration=40))
    (tmp_path / "b.png").write_bytes(encoded(Image.new("L", (2, 2)), "PNG"))
    write_clip(str(tmp_path / "c.mp4"))
    kinds = [source.kind for source in Source.expand(str(tmp_path))]
    assert kinds == ["animation", "image", "video"]


def test_read_image_rejects_videos_and_cameras(tmp_path):
    write_clip(str(tmp_path / "c.mp4"))
    for source in (str(tmp_path / "c.mp4"), "camera:0"):
        with pytest.raises(UserError, match=r"use stream\(\)"):
            reader.read_image(source)


def test_folder_is_read_recursively_without_other_files(tmp_path):
    for name in ("b.PNG", "deep/er/a.png", "c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
    (tmp_path / "notes.txt").write_text("text")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.warns(UserWarning, match=r"1 \.txt"):
        sources = [frame.source for frame in reader.read_images(Source.expand(str(tmp_path)))]
    assert sources == [str(tmp_path / name) for name in ("b.PNG", "c.jpg", "deep/er/a.png")]


def test_folder_without_images_is_an_error(tmp_path):
    assert str(tmp_path) in error_for(str(tmp_path))


def test_glob_is_sorted_and_omits_folders(tmp_path):
    for name in ("2.png", "1.png"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    (tmp_path / "3.png").mkdir()
    with pytest.warns(UserWarning, match="folders"):
        paths = locations(f"{tmp_path}/*.png")
    assert paths == [f"{tmp_path}/1.png", f"{tmp_path}/2.png"]


def test_glob_that_matches_only_folders_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    message = error_for(f"{tmp_path}/*")
    assert f"{tmp_path}/*" in message
    assert "folder" in message


def test_read_image_rejects_several_files(tmp_path):
    for name in ("1.png", "2.png"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    for source in (tmp_path, f"{tmp_path}/*.png"):
        with pytest.raises(UserError, match=r"2 files.* use stream\(\)"):
            reader.read_image(source)
    (tmp_path / "1.png").unlink()
    assert reader.read_image(tmp_path).source == str(tmp_path / "2.png")


def test_existing_file_takes_precedence_over_a_glob(tmp_path):
    path = tmp_path / "a[1].png"
    Image.new("L", (1, 1)).save(path)
    assert locations(path) == [str(path)]


@pytest.mark.parametrize(
    "path",
    ["nowhere.jpg", "no*where", "x" * 5000, "x" * 5000 + "%d.png", "camera:" + "9" * 5000, "a\0b"],
)
def test_missing_file_is_an_error(path):
    error_for(path)


@given(st.text(min_size=1, max_size=30).filter(lambda name: "/" not in name and name != "-"))
def test_the_error_for_any_missing_file_can_be_encoded_as_utf_8(name):
    assume("%" not in name)  # `expand` does not search for the files of a sequence
    error_for(f"nowhere-at-all/{name}").encode("utf-8")


def test_file_name_that_is_not_utf_8_is_escaped(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as file:
        file.write(encoded(Image.new("L", (2, 2)), "PNG"))
    (frame,) = reader.read_images(Source.expand(str(tmp_path)))
    assert frame.source == f"{tmp_path}/caf\\udce9.png"


def test_dash_is_standard_input(monkeypatch):
    body = io.BytesIO(encoded(Image.fromarray(gradient()), "PNG"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=body))
    (frame,) = reader.frames(Source.parse("-"))
    assert frame.source == "standard input"
    assert np.array_equal(frame.pixels, gradient())


def test_on_error_receives_unreadable_images_and_others_are_read(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nonsense")
    Image.new("L", (1, 1)).save(tmp_path / "c.png")
    errors = []
    sources = [
        frame.source for frame in reader.read_images(Source.expand(str(tmp_path)), errors.append)
    ]
    assert sources == [str(tmp_path / "a.png"), str(tmp_path / "c.png")]
    (error,) = map(str, errors)
    assert str(tmp_path / "b.png") in error
    assert "not an image" in error
