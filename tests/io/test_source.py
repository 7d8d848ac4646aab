"""What an input string means: its kind, where it lies, what it is called."""

import io
import os
import string
import sys
from types import SimpleNamespace

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mien.errors import UserError
from mien.io import reader
from mien.io.source import SUFFIXES, VIDEO_SUFFIXES, Source
from tests.synthetic.images import animation, encoded, gradient


def locations(text):
    return [source.location for source in Source.expand(str(text))]


def refusal(text):
    with pytest.raises(UserError) as caught:
        Source.expand(text)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def clip(file, codec="mpeg4", form=None):
    """A second of noise, in the container that the form or the suffix says."""
    rng = np.random.default_rng(0)
    with av.open(file, "w", format=form) as out:
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
def test_what_is_no_file_is_told_by_its_form(text, kind, location, name):
    source = Source.parse(text)
    assert (source.kind, source.location, source.name) == (kind, location or text, name or text)
    assert source.is_video == (kind != "image")
    assert source.is_live == (kind in ("camera", "stream"))


@pytest.mark.parametrize(("text", "rate"), [("%d.png", 0), ("%d.png@30", 30), ("%d.png@0.5", 0.5)])
def test_a_sequence_says_its_rate(text, rate):
    assert Source.parse(text).rate == rate


@pytest.mark.parametrize("text", ["http://127.0.0.1/x.JPG?size=2", "https://host/a.png"])
def test_the_address_of_an_image_is_refused(text):
    assert "Download it" in refusal(text)


@pytest.mark.parametrize("name", ["camera", "Camera:1", "%d.png", "a%03d.png@30"])
def test_a_file_goes_before_what_its_name_might_mean(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert Source.parse(name).kind in ("camera", "sequence")
    Image.new("L", (2, 2)).save(name, "PNG")
    assert Source.parse(name).kind == "image"


CONTENTS = {
    "image": [
        (f"{form} image", lambda form=form: encoded(Image.new("RGB", (9, 9)), form))
        for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "JPEG2000", "AVIF")
    ] + [("pages", lambda: animation("TIFF"))],
    "animation": [("GIF of three", lambda: animation("GIF", duration=40))],
    "video": [
        (form, lambda form=form, codec=codec: clip(io.BytesIO(), codec, form).getvalue())
        for form, codec in (
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
def test_a_file_is_what_it_holds_whatever_its_name(tmp_path, kind, content):
    body = content()
    for name in ("a", "a.jpg", "a.mp4", "a.txt", "a.gif"):
        (tmp_path / name).write_bytes(body)
        assert Source.parse(str(tmp_path / name)).kind == kind
    # Not a.jpg: FFmpeg takes an MPEG program stream of that name for images.
    first = next(reader.frames(Source.parse(str(tmp_path / "a"))))
    assert (first.kind, first.location) == (kind, str(tmp_path / "a"))


@pytest.mark.parametrize("body", [b"", b"no picture and no video " * 40, bytes(600)])
def test_a_file_that_cannot_be_told_by_its_content_goes_by_its_suffix(tmp_path, body):
    for name, kind in (("a.mp4", "video"), ("a.TS", "video"), ("a.jpg", "image"), ("a", "image")):
        (tmp_path / name).write_bytes(body)
        assert Source.parse(str(tmp_path / name)).kind == kind


def test_a_motion_jpeg_begins_as_a_jpeg_and_is_a_video(tmp_path):
    path = tmp_path / "a.mjpg"
    path.write_bytes(2 * encoded(Image.new("RGB", (32, 32)), "JPEG"))
    assert Source.parse(str(path)).kind == "video"


@pytest.mark.parametrize("body", [b"GIF89a", b"GIF89a" + bytes(40), b"GIF87a and so on"])
def test_a_damaged_gif_is_left_to_who_reads_images(tmp_path, body):
    (tmp_path / "a.gif").write_bytes(body)
    assert Source.parse(str(tmp_path / "a.gif")).kind == "image"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_read_to_know_what_it_is(tmp_path):
    os.mkfifo(tmp_path / "a.png")  # to open it would wait for ever
    assert Source.parse(str(tmp_path / "a.png")).kind == "image"


@given(st.binary(max_size=600), st.sampled_from(sorted(SUFFIXES)))
def test_any_bytes_are_of_some_kind(tmp_path_factory, body, suffix):
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_bytes(body)
    source = Source.parse(str(path))
    assert source.kind in ("image", "animation", "video")
    assert (source.location, source.name) == (str(path), str(path))


@given(st.text(string.printable, max_size=40), st.sampled_from(["http", "rtsp", "camera:", ""]))
def test_any_text_is_a_source_or_a_sentence(text, before):
    try:
        sources = Source.expand(f"{before}://{text}" if before else text)
    except UserError as error:
        str(error).encode("utf-8")
    else:
        assert sources
        assert Source.parse(sources[0].location if sources[0].kind != "camera" else "camera")


def test_a_folder_holds_pictures_and_videos(tmp_path):
    (tmp_path / "a.gif").write_bytes(animation("GIF", duration=40))
    (tmp_path / "b.png").write_bytes(encoded(Image.new("L", (2, 2)), "PNG"))
    clip(str(tmp_path / "c.mp4"))
    kinds = [source.kind for source in Source.expand(str(tmp_path))]
    assert kinds == ["animation", "image", "video"]
    assert ".mp4" in VIDEO_SUFFIXES


def test_analyze_takes_pictures(tmp_path):
    clip(str(tmp_path / "c.mp4"))
    for what in (str(tmp_path / "c.mp4"), "camera:0"):
        with pytest.raises(UserError, match=r"use stream\(\)"):
            reader.read_image(what)


def test_a_folder_is_read_at_any_depth_and_only_its_pictures(tmp_path):
    for name in ("b.PNG", "deep/er/a.png", "c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.jpg").mkdir()
    found = [frame.source for frame in reader.read_images(Source.expand(str(tmp_path)))]
    assert found == [str(tmp_path / name) for name in ("b.PNG", "c.jpg", "deep/er/a.png")]


def test_a_folder_without_pictures_is_said_so(tmp_path):
    assert "no image or video" in refusal(str(tmp_path))


def test_a_glob_is_sorted_and_leaves_out_folders(tmp_path):
    for name in ("2.png", "1.png"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    (tmp_path / "3.png").mkdir()
    assert locations(f"{tmp_path}/*.png") == [f"{tmp_path}/1.png", f"{tmp_path}/2.png"]


def test_a_glob_that_finds_only_folders_finds_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    assert "file not found" in refusal(f"{tmp_path}/*")


def test_one_picture_is_not_quietly_the_first_of_many(tmp_path):
    for name in ("1.png", "2.png"):
        Image.new("L", (1, 1)).save(tmp_path / name)
    for where in (tmp_path, f"{tmp_path}/*.png"):
        with pytest.raises(UserError, match=r"2 files.* use stream\(\)"):
            reader.read_image(where)
    (tmp_path / "1.png").unlink()
    assert reader.read_image(tmp_path).source == str(tmp_path / "2.png")


def test_a_name_that_looks_like_a_glob_is_a_name_first(tmp_path):
    path = tmp_path / "a[1].png"
    Image.new("L", (1, 1)).save(path)
    assert locations(path) == [str(path)]


@pytest.mark.parametrize("where", ["nowhere.jpg", "no*where", "x" * 5000, "a\0b"])
def test_a_name_without_a_file_is_said_in_a_sentence(where):
    refusal(where)


@given(st.text(min_size=1, max_size=30).filter(lambda name: "/" not in name and name != "-"))
def test_any_name_is_a_file_or_a_sentence(name):
    try:
        locations(f"nowhere-at-all/{name}")
    except UserError as error:
        str(error).encode("utf-8")


def test_a_name_in_bytes_that_are_no_text_can_still_be_printed(tmp_path):
    path = os.fsencode(tmp_path) + b"/caf\xe9.png"
    with open(path, "wb") as file:
        file.write(encoded(Image.new("L", (2, 2)), "PNG"))
    (frame,) = reader.read_images(Source.expand(str(tmp_path)))
    assert "caf" in frame.source
    frame.source.encode("utf-8")


def test_a_dash_is_standard_input(monkeypatch):
    body = io.BytesIO(encoded(Image.fromarray(gradient()), "PNG"))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=body))
    (frame,) = reader.frames(Source.parse("-"))
    assert frame.source == "standard input"
    assert np.array_equal(frame.pixels, gradient())


def test_skip_is_told_of_a_bad_file_and_the_rest_is_read(tmp_path):
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"nonsense")
    Image.new("L", (1, 1)).save(tmp_path / "c.png")
    told = []
    found = [
        frame.source for frame in reader.read_images(Source.expand(str(tmp_path)), told.append)
    ]
    assert found == [str(tmp_path / "a.png"), str(tmp_path / "c.png")]
    (error,) = map(str, told)
    assert str(tmp_path / "b.png") in error
    assert "not an image" in error
