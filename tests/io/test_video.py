"""Video files, streams, and what is made of them."""

import io
import json
import math
import re
import socket
import sys
import threading
import time
from fractions import Fraction
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import av
import numpy as np
import pytest
from PIL import Image

import mien as package
from mien import writers
from mien.cli import _tally
from mien.errors import UserError
from mien.io import audio, camera, prefetch, video
from mien.io.source import Source
from mien.results import Face, Frame, Result
from mien.tracking.smoothing import TIME_CONSTANT
from tests.paths import SHARED
from tests.synthetic import clip_files, clips, tiny, tracking_scores

PACK = SHARED / "fer2013"
needs_pack = pytest.mark.skipif(not PACK.exists(), reason="the real pack is not here")


@pytest.fixture(scope="module")
def faces():
    return tiny.samples(28)


@pytest.fixture(scope="module")
def made(faces, tmp_path_factory):
    """A clip of one second with sound, and its truth."""
    path = tmp_path_factory.mktemp("clips") / "one.mp4"
    found = clips.frames("one", faces, size=(320, 180), seconds=1)
    return path, clip_files.encode(path, found, sound=True)


def times(path, **part):
    return [
        frame.seconds
        for frame in video.frames(Source.parse(str(path)), video.FrameSelection(**part))
    ]


@pytest.mark.parametrize(
    ("name", "codec", "variable"),
    [
        ("a.mp4", "libx264", False), ("b.mp4", "libx264", True), ("c.webm", "libvpx-vp9", True),
        ("d.avi", "mjpeg", False), ("e.mp4", "mpeg4", False), ("f.mkv", "libx264", True),
    ],
)  # fmt: skip
def test_every_frame_comes_with_its_own_time(tmp_path, faces, name, codec, variable):
    path = tmp_path / name
    pictures = clips.frames("one", faces, size=(320, 180), seconds=1, variable=variable)
    truths = clip_files.encode(path, pictures, codec=codec)
    found = list(video.frames(Source.parse(str(path))))
    assert tracking_scores.time_error(truths, [frame.seconds for frame in found]) < 1e-3
    assert [frame.number for frame in found] == list(range(len(truths)))
    assert all(frame.pixels.shape == (180, 320, 3) for frame in found)
    assert Source.parse(str(path)).kind == "video"


def gif(path, faces, count, **options):
    """An animated GIF of so many frames, and what they were before it took 256 colours."""
    pictures = [p for p, *_ in clips.frames("one", faces, size=(320, 180), seconds=1)][:count]
    first, *others = map(Image.fromarray, pictures)
    first.save(path, save_all=True, append_images=others, **options)
    return pictures


def test_an_animated_gif_is_a_video_and_a_still_one_is_none(tmp_path, faces):
    moving, still = tmp_path / "moving.GIF", tmp_path / "still.gif"
    pictures = gif(moving, faces, 5, duration=[40, 200, 40, 40, 40])
    gif(still, faces, 1)
    assert Source.parse(str(moving)).kind == "animation"
    assert Source.parse(str(still)).kind == "image"
    found = list(video.frames(Source.parse(str(moving))))
    assert [frame.seconds for frame in found] == pytest.approx([0, 0.04, 0.24, 0.28, 0.32])
    for frame, picture in zip(found, pictures, strict=True):
        assert np.abs(frame.pixels.astype(int) - picture).mean() < 8
    gif(moving, faces, 1)  # a file may change under its name
    assert Source.parse(str(moving)).kind == "image"


def test_files_are_told_by_their_content(tmp_path, mien, tiny_model, made, photo):
    (tmp_path / "clip").write_bytes(made[0].read_bytes())
    (tmp_path / "photo.mp4").write_bytes(photo.read_bytes())
    words = ("--model", tiny_model, "--detector", "whole", "--json")
    code, said, err = mien("analyze", tmp_path / "clip", tmp_path / "photo.mp4", *words)
    assert (code, err) == (0, "")
    *video, picture = map(json.loads, said.splitlines())
    assert [record["seconds"] for record in video] == [t.seconds for t in made[1]]
    assert "smoothed" in video[0]["faces"][0]
    assert (picture["width"], "smoothed" in picture["faces"][0]) == (512, False)


def test_a_face_in_an_animated_gif_keeps_its_id(tmp_path, mien, tiny_model, faces):
    path = tmp_path / "one.gif"
    gif(path, faces, 5, duration=40)
    asked = ("analyze", path, "--detector", "whole", "--model", tiny_model, "--json")
    code, said, _ = mien(*asked)
    told = [json.loads(line) for line in said.splitlines()]
    assert code == 0
    assert [one["faces"][0]["face_id"] for one in told] == [0] * 5
    assert all("smoothed" in one["faces"][0] for one in told)
    _, said, _ = mien(*asked, "--every", "2")
    assert [json.loads(line)["frame"] for line in said.splitlines()] == [0, 2, 4]


def test_behind_a_clock_that_is_set_back_a_video_continuous_times(tmp_path, faces):
    parts = []
    for name in ("a.ts", "b.ts"):
        found = clips.frames("one", faces, size=(320, 180), seconds=3)
        clip_files.encode(tmp_path / name, found)
        parts.append((tmp_path / name).read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    one, both = times(tmp_path / "a.ts"), times(joined)
    assert len(both) == pytest.approx(2 * len(one), abs=2)
    assert all(a < b for a, b in pairwise(both))
    assert both[-1] == pytest.approx(2 * one[-1], abs=0.3)
    later = list(video.frames(Source.parse(str(joined)), video.FrameSelection(start=2.0)))
    assert [frame.seconds for frame in later] == [seconds for seconds in both if seconds >= 1.98]
    assert [frame.number for frame in later] == list(range(len(both) - len(later), len(both)))
    assert times(joined, start=4.0)[0] == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("kept", [True, False])
def test_behind_a_clock_that_is_set_back_its_sound_continuous_times(
    tmp_path, faces, kept, monkeypatch
):
    if not kept:  # nor is any sound left as it is
        monkeypatch.setattr("mien.io.audio.COPIED_CODECS", ())
    found = clips.frames("one", faces, size=(320, 180), seconds=3)
    clip_files.encode(tmp_path / "one.ts", found, sound=True)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    with writers.open_writer(tmp_path / "x.mp4") as write:
        for frame in video.frames(Source.parse(str(joined))):
            write(Result(frame, []))
    with av.open(str(tmp_path / "x.mp4")) as told:
        heard = told.streams.audio[0]
        assert float(heard.duration * heard.time_base) == pytest.approx(6.0, abs=0.3)


def test_who_is_told_that_it_is_over_decodes_no_further(made):
    asked = []
    part = video.FrameSelection(seconds=1e6)
    assert (
        list(
            video.frames(Source.parse(str(made[0])), part, should_stop=lambda: not asked.append(1))
        )
        == []
    )
    assert len(asked) == 1
    # Nor does who is no longer waited for.
    frames = video.frames(Source.parse(str(made[0])), part)
    next(frames)
    frames.close()
    assert "decoder" not in [thread.name for thread in threading.enumerate()]


def test_a_number_that_is_missing_is_told(tmp_path, faces):
    for k in (1, 2, 4):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{k:04d}.png")
    with pytest.raises(UserError, match="number 3 is missing"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))
    Image.new("RGB", (64, 48)).save(tmp_path / "20240115123456.png")
    with pytest.raises(UserError, match="number 3 is missing"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))


def test_frames_are_counted_or_timed_but_not_both():
    with pytest.raises(UserError, match="one of the two"):
        video.FrameSelection(every=2, seconds=1)


def test_a_stream_is_never_asked_twice_for_its_sound(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr("mien.io.audio.copy_audio", lambda *words: asked.append(words) or iter(()))
    for source in ("rtsp://me:***@cam/live", "camera:0", str(tmp_path)):
        with writers.open_writer(tmp_path / "x.mp4") as write:
            write(Result(Frame(np.zeros((48, 64, 3), np.uint8), source), []))
    assert asked == []


def test_a_picture_that_no_encoder_takes_is_one_sentence(tmp_path):
    with (
        pytest.raises(UserError, match=r"Cannot write .*wide\.mp4"),
        writers.open_writer(tmp_path / "wide.mp4") as write,
    ):
        write(Result(Frame(np.zeros((16, 20_000, 3), np.uint8), "x"), []))
    assert list(tmp_path.iterdir()) == []


def test_something_live_ends_in_time_though_frames_go_on(server):
    found = camera.frames(Source.parse(server.address), end=0.5)
    assert all(frame.seconds < 0.6 for frame in found)


def test_something_live_that_gives_nothing_in_time_is_told():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mjpg"
        found = camera.frames(Source.parse(address), started=time.monotonic(), end=0.5)
        with pytest.raises(UserError, match=r"within 0\.5 s"):
            next(found)


def test_something_live_ends_in_time_though_nothing_comes(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (30.0,))
    found = camera.frames(Source.parse(server.address), lambda _: None, end=1.5)
    next(found)
    server.open = False
    server.http.shutdown()
    server.http.server_close()
    began = time.monotonic()
    assert all(frame.seconds < 1.5 for frame in found)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_turned_video_is_upright(tmp_path, faces, rotation):
    path = tmp_path / "turned.mp4"
    pictures = list(clips.frames("one", faces, size=(320, 180), seconds=0.2))
    clip_files.encode(path, pictures, rotation=rotation)
    first = next(video.frames(Source.parse(str(path))))
    assert first.pixels.shape == (180, 320, 3)
    assert np.abs(first.pixels.astype(int) - pictures[0][0]).mean() < 12


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_numbered_pictures_are_a_video(tmp_path, faces, suffix):
    made = [pixels for pixels, _ in clips.frames("one", faces, size=(160, 90), seconds=0.4)]
    for k, pixels in enumerate(made, 7):
        Image.fromarray(pixels).save(tmp_path / f"a b{k:03d}.{suffix}", quality=95)
    where = str(tmp_path / f"a b%03d.{suffix}@10")
    found = list(video.frames(Source.parse(where)))
    assert [frame.number for frame in found] == list(range(len(made)))
    assert [frame.seconds for frame in found] == pytest.approx([k / 10 for k in range(len(made))])
    worst = 25 if suffix == "jpg" else 3
    for frame, pixels in zip(found, made, strict=True):
        assert abs(frame.pixels.astype(int) - pixels).mean() < worst
    assert times(where[:-3]) == pytest.approx([k / 25 for k in range(len(made))])
    assert times(where, start=0.5) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


def test_numbered_pictures_that_are_not_there_get_one_sentence(mien, tmp_path, tiny_model):
    for place in (tmp_path / "%04d.png", tmp_path / "none" / "%04d.png@30"):
        code, _, err = mien("analyze", place, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert "number for %04d" in err


def test_every_so_many_frames_or_seconds(made):
    path, truths = made
    assert times(path, every=5) == [t.seconds for t in truths[::5]]
    found = times(path, seconds=0.25)
    assert len(found) == 4
    assert all(b - a == pytest.approx(0.25, abs=0.041) for a, b in pairwise(found))


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("seconds", [0.06, 0.08, 0.11, 0.2])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_the_same_frames_are_read_from_wherever_reading_begins(
    tmp_path, faces, variable, seconds, start
):
    path = tmp_path / "a.mp4"
    pictures = clips.frames("one", faces, size=(64, 48), seconds=1, variable=variable)
    clip_files.encode(path, pictures)
    part = video.FrameSelection(seconds=seconds, start=start)
    whole = [(f.number, f.seconds) for f in video.frames(Source.parse(str(path)), part)]
    assert len(whole) > 3
    for k, known in enumerate(whole):
        rest = video.frames(Source.parse(str(path)), part.starting_at(*known))
        assert [(f.number, f.seconds) for f in rest] == whole[k:]


def test_a_part_begins_and_ends_where_it_should(made):
    path, _ = made
    found = list(video.frames(Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)))
    assert [f.seconds for f in found] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56, 0.6])
    assert [f.number for f in found] == [10, 11, 12, 13, 14, 15]
    whole = list(video.frames(Source.parse(str(path))))
    assert np.array_equal(found[0].pixels, whole[10].pixels)
    with pytest.raises(UserError, match=r"no frame from 99 s on; the last frame read is at 1\.0 s"):
        times(path, start=99)


def test_a_file_that_breaks_off_gives_what_there_is_and_says_so(made):
    path, truths = made
    told = []
    found = list(
        video.frames(Source.parse(str(clip_files.truncated(path, 0.5))), on_error=told.append)
    )
    assert 0 < len(found) < len(truths)
    assert "is truncated: no frame could be read after 0." in str(told[-1])


def test_behind_a_damaged_stretch_reading_continuous_times(tmp_path, faces):
    path = tmp_path / "long.mp4"
    truths = clip_files.encode(path, clips.frames("one", faces, size=(320, 180), seconds=6), fps=25)
    told = []
    found = list(
        video.frames(Source.parse(str(clip_files.corrupted(path, 0.4, 3000))), on_error=told.append)
    )
    assert len(truths) / 2 < len(found)
    assert found[-1].seconds > 5.5
    seconds = [frame.seconds for frame in found]
    assert seconds == sorted(set(seconds))
    assert len(told) < 20


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"", "as a video"), (b"not a video at all" * 99, "as a video")],
)
def test_what_is_no_video_gets_one_sentence(tmp_path, body, said):
    path = tmp_path / "x.mp4"
    path.write_bytes(body)
    with pytest.raises(UserError, match=said):
        next(video.frames(Source.parse(str(path))))
    with pytest.raises(UserError, match="file not found"):
        Source.parse(str(tmp_path / "nowhere.mp4"))


def test_a_file_with_sound_alone_has_no_video(made):
    path, _ = made
    with pytest.raises(UserError, match="no video stream"):
        next(video.frames(Source.parse(str(clip_files.without_video(path)))))


def test_the_decoder_is_only_so_far_ahead_and_ends_with_its_reader(made, monkeypatch):
    path, _ = made
    monkeypatch.setattr(prefetch, "DEPTH", 3 * 320 * 180)
    decoded = []
    upright = video.to_upright_rgb
    monkeypatch.setattr(video, "to_upright_rgb", lambda p: decoded.append(p) or upright(p))
    found = video.frames(Source.parse(str(path)))
    next(found)
    time.sleep(0.3)
    assert len(decoded) <= 6
    found.close()
    assert not [t for t in threading.enumerate() if t.name == "decoder"]


def test_a_reader_left_behind_may_be_closed_in_the_decoder_itself(made, monkeypatch):
    """As garbage collection does, which runs in whatever thread there is."""
    suspended, closed, wrong, count = threading.Event(), threading.Event(), [], iter(range(99))

    def turned(picture):
        if next(count) == 1 and suspended.wait(10):
            try:
                reader.close()
            except RuntimeError as error:
                wrong.append(error)
            closed.set()
        return picture.to_ndarray(format="rgb24")

    monkeypatch.setattr(video, "to_upright_rgb", turned)
    reader = video.frames(Source.parse(str(made[0])))
    next(reader)
    suspended.set()
    assert closed.wait(10)
    assert wrong == []


def test_a_frame_larger_than_the_file_says_is_damage(tmp_path):
    path, body = tmp_path / "bomb.avi", io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(body, "JPEG")
    with av.open(str(path), "w") as out:
        film = out.add_stream("mjpeg", rate=25)
        film.width = film.height = 64
        film.pix_fmt = "yuvj420p"
        for k in range(2):
            packet = av.Packet(body.getvalue())
            packet.stream, packet.time_base = film, Fraction(1, 25)
            packet.pts = packet.dts = k
            out.mux(packet)
    told = []
    assert not list(
        video.frames(Source.parse(str(path)), on_error=told.append, max_pixels=8_000_000)
    )
    assert "truncated" in str(told[0])
    whole = video.frames(Source.parse(str(path)), on_error=told.append, max_pixels=10_000_000)
    assert [frame.pixels.shape for frame in whole] == [(3000, 3000, 3)] * 2


def test_a_file_says_its_length_and_size(made):
    about = video.probe(Source.parse(str(made[0])))
    assert about.seconds == pytest.approx(1, abs=0.05)
    assert (about.width, about.height, about.rate) == (320, 180, 25)


# What is live


class Server:
    """Serves a motion JPEG over HTTP on loopback, for as long as it is let."""

    def __init__(self):
        pictures = [np.full((48, 64, 3), 10 * k, np.uint8) for k in range(20)]
        self.bodies = [self._jpeg(picture) for picture in pictures]
        self.open = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
                self.end_headers()
                k = 0
                while server.open:
                    body = server.bodies[k % len(server.bodies)]
                    head = f"--x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + body + b"\r\n")
                    except OSError:
                        return
                    k += 1
                    time.sleep(0.01)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}/x.mjpg"

    @staticmethod
    def _jpeg(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        return file.getvalue()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.open = False
    made.http.shutdown()
    made.http.server_close()


def test_whoever_is_slow_sees_the_newest_frame(server):
    found = camera.frames(Source.parse(server.address))
    first = next(found)
    time.sleep(0.5)
    later = next(found)
    assert first.seconds == 0
    assert later.number - first.number > 10
    assert later.seconds == pytest.approx(0.5, abs=0.4)
    assert first.pixels.shape == (48, 64, 3)
    found.close()


def test_a_stream_that_dies_and_returns_continuous_times(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (0.05,))
    told = []
    found = camera.frames(Source.parse(server.address), on_error=told.append)
    before = next(found)
    server.open = False
    time.sleep(0.3)
    server.open = True
    deadline = time.monotonic() + 20
    after = next(found)
    while not told and time.monotonic() < deadline:
        after = next(found)
    after = next(found)
    assert "retrying in 0.05 s" in str(told[0])
    assert after.seconds > before.seconds
    found.close()


def test_a_stream_that_was_never_there_is_not_waited_for():
    with pytest.raises(UserError, match="as a video"):
        next(camera.frames(Source.parse("http://127.0.0.1:9/none")))


def test_a_stream_that_does_not_return_is_given_up_if_asked(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (0.01,))
    told = []
    found = camera.frames(Source.parse(server.address), told.append, max_attempts=3)
    next(found)
    server.open = False
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match="as a video"):
        list(found)
    assert len(told) == 2


def test_ctrl_c_ends_what_is_live_and_keeps_it(mien, server, tiny_model, tmp_path, monkeypatch):
    add, out = _tally.Tally.add, tmp_path / "live.jsonl"

    def stopped(tally, *words, **more):
        if tally.frames == 3:
            raise KeyboardInterrupt
        add(tally, *words, **more)

    monkeypatch.setattr(_tally.Tally, "add", stopped)
    words = ("analyze", server.address, "--model", tiny_model, "--detector", "whole", "--to", out)
    code, _, err = mien(*words)
    assert (code, err) == (0, "")
    assert len(out.read_text().splitlines()) == 3


def test_a_video_behind_an_address_is_a_file_that_ends(made, mien, tiny_model, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=made[0].parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_address[1]}/one.mp4?a=b"
        words = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "a.jsonl")
        code, _, err = mien("analyze", address, *words)
        assert (code, err) == (0, "")
        http.shutdown()
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [t.seconds for t in made[1]]


def test_a_camera_that_is_not_there_gets_one_sentence():
    with pytest.raises(UserError, match="camera 77"):
        next(camera.frames(Source.parse("camera:77")))


def test_the_camera_verb_shows_each_frame_and_sums_up(mien, server, tiny_model, tmp_path):
    words = ("camera", server.address, "--model", tiny_model, "--detector", "whole")
    code, out, err = mien(*words, "--seconds", "1.5", "--to", tmp_path / "live.jsonl")
    assert (code, err) == (0, "")
    assert "ms delay" in out
    assert "1 face" in out
    records = [json.loads(line) for line in (tmp_path / "live.jsonl").read_text().splitlines()]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    assert len(records) > 3


def test_the_camera_verb_takes_no_file(mien):
    code, _, err = mien("camera", "clip.mp4")
    assert code == 2
    assert "for a file, mien analyze clip.mp4" in err
    code, _, err = mien("camera", "camera:77")
    assert code == 2
    assert "camera 77" in err


def test_a_camera_without_opencv_says_what_to_install(mien, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for words in (("camera", "--no-window"), ("analyze", "camera:0")):
        code, _, err = mien(*words, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert "OpenCV is not installed" in err
        assert "pip install '.[camera]'" in err


# Outputs


def shown(frame, face_id=0):
    emotions = dict.fromkeys(package.EMOTIONS, 1 / 7)
    return Face((20.0, 20.0, 40.0, 40.0), 0.9, emotions, face_id, smoothed=emotions)


def test_an_annotated_video_keeps_times_and_sound(made, tmp_path):
    path, truths = made
    with writers.open_writer(tmp_path / "out.mp4") as write:
        for frame in video.frames(Source.parse(str(path))):
            write(Result(frame, [shown(frame)]))
    assert tracking_scores.time_error(truths, times(tmp_path / "out.mp4")) < 1e-3
    with av.open(str(tmp_path / "out.mp4")) as out, av.open(str(path)) as source:
        ours, theirs = (
            [bytes(p) for p in c.demux(c.streams.audio[0]) if p.size] for c in (out, source)
        )
        assert ours == theirs
    drawn, plain = (next(video.frames(Source.parse(str(p)))) for p in (tmp_path / "out.mp4", path))
    assert drawn.pixels.shape[0] >= plain.pixels.shape[0]


def test_a_part_of_a_video_has_its_part_of_the_sound_and_begins_at_nothing(made, tmp_path):
    path, _ = made
    with writers.open_writer(tmp_path / "cut.mp4") as write:
        for frame in video.frames(
            Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)
        ):
            write(Result(frame, [shown(frame)]))
    assert times(tmp_path / "cut.mp4") == pytest.approx([0.04 * k for k in range(6)], abs=1e-3)
    with av.open(str(tmp_path / "cut.mp4")) as cut:
        (heard,) = cut.streams.audio
        sound = [float(p.pts * heard.time_base) for p in cut.demux(heard) if p.size]
    assert -0.06 < sound[0] < 0.03
    assert sound[-1] == pytest.approx(0.24, abs=0.05)


RATE, HERTZ = 44_100, 700


def with_a_tone(path, codec, channels, piece=4096):
    """A second of black, and of a tone in packets of so many samples."""
    layout = "mono" if channels == 1 else "stereo"
    tone = (9000 * np.sin(2 * np.pi * HERTZ * np.arange(RATE) / RATE)).astype(np.int16)
    with av.open(str(path), "w") as out:
        picture = out.add_stream("mpeg4", rate=25)
        picture.width, picture.height, picture.pix_fmt = 96, 96, "yuv420p"
        sound = out.add_stream(codec, rate=RATE, layout=layout)
        for _ in range(25):
            still = av.VideoFrame.from_ndarray(np.zeros((96, 96, 3), np.uint8), format="rgb24")
            out.mux(picture.encode(still))
        heard = av.AudioFrame.from_ndarray(np.repeat(tone, channels)[None], "s16", layout)
        heard.rate, heard.pts = RATE, 0
        even = av.AudioResampler(sound.codec_context.format.name, layout, RATE, piece)
        for part in [*even.resample(heard), *even.resample(None)]:
            out.mux(sound.encode(part))
        for stream in (picture, sound):
            out.mux(stream.encode())


def sound_of(path, part, out):
    """When each bit of an annotated video's sound begins, and its samples; it is AAC."""
    with writers.open_writer(out) as write:
        for frame in video.frames(Source.parse(str(path)), part, lambda _: None):
            write(Result(frame, []))
    with av.open(str(out)) as container:
        (heard,) = container.streams.audio
        assert heard.codec_context.name == "aac"
        pieces = [(float(p.pts * p.time_base), p.to_ndarray()) for p in container.decode(heard)]
    return [begins for begins, _ in pieces], np.concatenate([s for _, s in pieces], axis=1)


@pytest.mark.parametrize(
    ("suffix", "codec", "channels", "piece"),
    [("avi", "pcm_s16le", 1, 4096), ("mkv", "flac", 2, 4096), ("mkv", "pcm_s16le", 2, RATE)],
)
@pytest.mark.parametrize(
    ("part", "seconds"),
    [(video.FrameSelection(), 1.0), (video.FrameSelection(start=0.4, end=0.6), 0.24)],
)
def test_sound_that_an_mp4_cannot_hold_is_encoded_anew(
    tmp_path, suffix, codec, channels, piece, part, seconds
):
    path = tmp_path / f"in.{suffix}"
    with_a_tone(path, codec, channels, piece)
    begins, samples = sound_of(path, part, tmp_path / "out.mp4")
    assert len(samples) == channels
    assert begins[0] == pytest.approx(0, abs=0.03)
    assert samples.shape[1] / 48_000 == pytest.approx(seconds, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples[0]))
    assert spectrum.argmax() * 48_000 / samples.shape[1] == pytest.approx(HERTZ, abs=8)


def test_sound_goes_on_where_its_kind_changes(tmp_path):
    halves = [tmp_path / "mono.ts", tmp_path / "stereo.ts"]
    for path, channels in zip(halves, (1, 2), strict=True):
        with_a_tone(path, "mp2", channels)
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(path.read_bytes() for path in halves))
    _, samples = sound_of(both, video.FrameSelection(), tmp_path / "out.mp4")
    assert np.abs(samples[0, -9_600:-4_800]).max() > 0.1


def test_sound_goes_on_behind_damage(tmp_path):
    path = tmp_path / "in.mkv"
    with_a_tone(path, "flac", 1)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(container.streams.audio[0])]
    body = bytearray(path.read_bytes())
    body[places[3] + 20 : places[3] + 400] = bytes(380)
    path.write_bytes(body)
    begins, _ = sound_of(path, video.FrameSelection(), tmp_path / "out.mp4")
    assert begins[-1] > 0.9


def test_what_is_lost_in_the_middle_is_not_said_to_be_the_end(tmp_path, faces):
    path = tmp_path / "whole.mp4"
    clip_files.encode(path, clips.frames("one", faces, size=(320, 180), seconds=6))
    told = []
    found = times_told(clip_files.corrupted(path, 0.5, 3000), told)
    assert found[-1] == pytest.approx(5.96, abs=0.1)
    assert told
    assert not [error for error in told if "truncated" in str(error)]
    if lost := [str(error) for error in told if "no frame could be read between" in str(error)]:
        begin, end = map(float, re.findall(r"(\d+\.\d) ", lost[0])[-2:])
        assert 2 < begin < end < 5.96


def times_told(path, told):
    return [frame.seconds for frame in video.frames(Source.parse(str(path)), on_error=told.append)]


def test_what_is_live_ends_when_it_is_told_to(mien, server, tiny_model, tmp_path):
    words = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "live.jsonl")
    assert mien("analyze", server.address, *words, "--until", "1", "--every", "0.4s")[0] == 0
    lines = (tmp_path / "live.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert len(seconds) == 3
    assert seconds == pytest.approx([0, 0.4, 0.8], abs=0.2)


@pytest.mark.parametrize("option", ["--summary", "--timeline"])
def test_a_source_is_not_written_over_by_what_is_told_of_it(mien, made, tmp_path, option):
    suffix = {"--summary": ".json", "--timeline": ".png"}[option]
    source = tmp_path / f"clip{suffix}"
    source.write_bytes(made[0].read_bytes())
    where = tmp_path / "clip.mp4"
    where.symlink_to(source)
    code, _, err = mien("analyze", where, "--detector", "whole", option, source)
    assert code == 2
    assert "is the source itself" in err
    assert source.read_bytes() == made[0].read_bytes()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--summary", "faces.csv"), "A summary is JSON"),
        (("--summary", "nowhere/faces.json"), "there is no folder nowhere"),
        (
            ("again.mp4", "--to", "page.html"),
            "page.html holds one video or picture, and here are 2",
        ),
        (("again.mp4", "--timeline", "t.png"), "t.png holds one video or picture, and here are 2"),
        (("--to", "a.csv", "--to", "a.csv"), "--to a.csv was given twice"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_done(
    mien, made, tmp_path, monkeypatch, words, said
):
    monkeypatch.chdir(tmp_path)
    again = made[0].with_name("again.mp4")
    again.unlink(missing_ok=True)
    again.symlink_to(made[0])
    words = [str(again) if word == "again.mp4" else word for word in words]
    code, out, err = mien("analyze", made[0], "--detector", "whole", *words)
    assert (code, out) == (2, "")
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_told_the_password_of_a_stream_that_is_not_there():
    with pytest.raises(UserError) as told:
        next(camera.frames(Source.parse("http://me:s3cret@127.0.0.1:9/x.mjpg")))
    assert "s3cret" not in str(told.value)


def test_a_stream_is_not_read_twice(mien, server):
    code, _, err = mien("analyze", server.address, "--two-pass")
    assert code == 2
    assert "is live" in err


def test_a_video_is_never_written_over_its_source(mien, made, tiny_model, tmp_path):
    path = tmp_path / "one.mp4"
    path.write_bytes(made[0].read_bytes())
    words = ("analyze", path, "--model", tiny_model, "--detector", "whole")
    code, _, err = mien(*words, "--to", path)
    assert code == 2
    assert "is the source itself" in err
    assert path.read_bytes() == made[0].read_bytes()


def test_an_annotated_video_of_odd_size_and_of_nothing(tmp_path):
    with writers.open_writer(tmp_path / "odd.mp4") as write:
        for k in range(3):
            write(Result(Frame(np.zeros((501, 703, 3), np.uint8), "x", k, k / 25), []))
    assert next(video.frames(Source.parse(str(tmp_path / "odd.mp4")))).pixels.shape == (500, 702, 3)
    with writers.open_writer(tmp_path / "line.mp4") as write:
        write(Result(Frame(np.zeros((300, 1, 3), np.uint8), "x"), []))
    assert next(video.frames(Source.parse(str(tmp_path / "line.mp4")))).pixels.shape == (480, 2, 3)
    with writers.open_writer(tmp_path / "none.mp4"):
        pass
    assert not (tmp_path / "none.mp4").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".html"])
def test_a_second_video_in_one_output_is_refused(tmp_path, suffix):
    pixels = np.zeros((480, 640, 3), np.uint8)
    with writers.open_writer(tmp_path / f"x{suffix}") as write:
        write(Result(Frame(pixels, "a.mp4"), []))
        with pytest.raises(UserError, match="one video"):
            write(Result(Frame(pixels, "b.mp4"), []))


def told(path):
    text = path.read_text(encoding="utf-8")
    return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_what_each_face_showed(tmp_path):
    pixels = np.zeros((480, 640, 3), np.uint8)
    with writers.open_writer(tmp_path / "page.html") as write:
        for k in range(100):
            frame = Frame(pixels, "</script><b>x.mp4", k, k / 25, "default", "yunet")
            write(Result(frame, [shown(frame, 0), *([shown(frame, 7)] if k < 50 else [])]))
    text, data = told(tmp_path / "page.html")
    assert text.count("</script>") == 2
    assert [face["id"] for face in data["faces"]] == [0, 7]
    assert data["faces"][0]["times"] == pytest.approx([k / 25 for k in range(100)])
    assert all(sum(row) == pytest.approx(10_000, abs=4) for row in data["faces"][1]["shares"])
    assert data["labels"] == list(package.EMOTIONS)
    assert not re.findall(r'(?:src|href)="', text)


def test_the_page_stays_small_however_long_the_video(tmp_path, monkeypatch):
    from mien.visualization import timeline_data

    monkeypatch.setattr(timeline_data, "MAX_POINTS", 50)
    monkeypatch.setattr(timeline_data, "MAX_STILLS", 5)
    pixels = np.zeros((48, 64, 3), np.uint8)
    with writers.open_writer(tmp_path / "page.html") as write:
        for k in range(3000):
            write(Result(Frame(pixels, "x.mp4", k, k / 10), [shown(None)]))
    _, data = told(tmp_path / "page.html")
    (face,) = data["faces"]
    assert 20 <= len(face["times"]) <= 51
    assert face["times"][-1] > 290
    first, last = face["visible"]  # one stretch, although most points are gone
    assert first <= face["times"][0] < face["times"][-1] <= last
    assert len(data["stills"]) <= 6


# The whole of it


def test_a_video_is_followed_and_smoothed(made, tiny_model):
    analyzer = package.Analyzer(str(tiny_model), "whole")
    found = list(analyzer.stream(str(made[0])))
    assert len(found) == 25
    assert {face.face_id for result in found for face in result} == {0}
    for result in found:
        (face,) = result
        assert face.smoothed is not None
        assert face.box == pytest.approx((70, 0, 180, 180))
        assert result.frame.detector == "whole"
    assert found[0][0].smoothed == pytest.approx(found[0][0].emotions)


@needs_pack
@pytest.mark.parametrize("scenario", ["crossing", "growing", "none"])
def test_real_faces_keep_their_ids(scenario):
    cast = clips.load_faces(PACK)
    truths = []

    def frames():
        for k, (pixels, truth) in enumerate(clips.frames(scenario, cast, seconds=4)):
            truths.append(truth)
            yield Frame(pixels, scenario, k, truth.seconds)

    found, changes = [], []
    for result in package.Analyzer(threads=1).session().stream(frames()):
        found.append({face.face_id: face.box for face in result})
        changes += [(f.face_id, result.frame.seconds, f) for f in result]
    asked, answered = tracking_scores.without_hidden(truths, found)
    assert tracking_scores.id_switches(asked, answered) == 0
    assert tracking_scores.id_f1(asked, answered) > 0.97
    for face_id in {c[0] for c in changes}:
        mine = [(s, f) for k, s, f in changes if k == face_id]
        seconds = [s for s, _ in mine]
        raw = tracking_scores.changes_per_second([f.dominant_emotion for _, f in mine], seconds)
        smooth = [max(f.smoothed, key=f.smoothed.__getitem__) for _, f in mine]
        assert tracking_scores.changes_per_second(smooth, seconds) <= raw
    assert math.isclose(TIME_CONSTANT, 0.5)


def test_the_command_line_tells_what_each_face_showed(mien, made, tiny_model, tmp_path):
    words = ("analyze", made[0], "--model", tiny_model, "--detector", "whole")
    code, out, err = mien(*words, "--every", "0.2s", "--summary", tmp_path / "s.json")
    assert (code, err) == (0, "")
    assert "one.mp4: 1 face" in out
    assert out.splitlines()[-1] == "5 frames"
    ((record,),) = json.loads((tmp_path / "s.json").read_text()).values()
    assert record["frames"] == 5
    code, out, _ = mien(*words, "--from", "0.4", "--until", "0:00.6", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["frame"] for r in records] == [10, 11, 12, 13, 14, 15]
    assert set(records[0]["faces"][0]["smoothed"]) == set(package.EMOTIONS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--every", "0"), "--every 0 means nothing"),
        (("--every", "xs"), "--every xs means nothing"),
        (("--from", "1:2:3:4"), "1:2:3:4 is no time"),
        (("--until", "-3"), "-3 is no time"),
        (("--from", "1:99"), "1:99 is no time"),
        (("--from", "3", "--until", "2"), "--until 2 lies before --from 3"),
        (("--from", "99"), "has no frame from 99 s on"),
        (("--smooth", "-1"), "--smooth -1 means nothing"),
        (("--smooth", "nan"), "--smooth nan means nothing"),
        (("--smooth", "abc"), "'abc' is not a valid float"),
    ],
)
def test_a_part_that_means_nothing_gets_one_sentence(mien, made, tiny_model, words, said):
    code, _, err = mien("analyze", made[0], "--model", tiny_model, "--detector", "whole", *words)
    assert code == 2
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_bad_video_among_good_ones_is_told_and_the_rest_is_done(mien, made, tiny_model, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    code, out, err = mien("analyze", bad, made[0], "--model", tiny_model, "--detector", "whole")
    assert code == 2
    assert "bad.mp4 as a video" in err
    assert "25 frames" in out


@pytest.mark.parametrize("steps", [{"every": 0}, {"every": -2}, {"seconds": -0.1}])
def test_steps_that_lead_nowhere_are_refused(steps):
    with pytest.raises(UserError, match="Cannot select"):
        package.FrameSelection(**steps)


def test_sound_that_begins_long_before_the_first_picture_stays_there():
    on = audio._continuous_times(Fraction(1, 100))
    assert [on(time, 50) for time in (-300, -250, 0, 50, -300, -250)] == [
        -300, -250, 0, 50, 100, 150,
    ]  # fmt: skip
