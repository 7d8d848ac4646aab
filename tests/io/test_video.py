(
    """Read videos, animations, sequences, cameras and streams; write annotated videos."""
    """Read videos, animations, sequences, cameras and streams; write annotated videos."""
)

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
from mien.cli import _run_summary
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
def sample_faces():
    return tiny.samples(28)


@pytest.fixture(scope="module")
def clip(sample_faces, tmp_path_factory):
    """A clip of one second with audio, and its ground truth."""
    path = tmp_path_factory.mktemp("clips") / "one.mp4"
    frames = clips.frames("one", sample_faces, size=(320, 180), seconds=1)
    return path, clip_files.encode(path, frames, sound=True)


def frame_times(path, **selection):
    return [
        frame.seconds
        for frame in video.frames(Source.parse(str(path)), video.FrameSelection(**selection))
    ]


@pytest.mark.parametrize(
    ("name", "codec", "variable"),
    [
        ("a.mp4", "libx264", False), ("b.mp4", "libx264", True), ("c.webm", "libvpx-vp9", True),
        ("d.avi", "mjpeg", False), ("e.mp4", "mpeg4", False), ("f.mkv", "libx264", True),
    ],
)  # fmt: skip
def test_frames_have_their_own_time_stamps(tmp_path, sample_faces, name, codec, variable):
    path = tmp_path / name
    originals = clips.frames("one", sample_faces, size=(320, 180), seconds=1, variable=variable)
    truths = clip_files.encode(path, originals, codec=codec)
    frames = list(video.frames(Source.parse(str(path))))
    assert tracking_scores.time_error(truths, [frame.seconds for frame in frames]) < 1e-3
    assert [frame.number for frame in frames] == list(range(len(truths)))
    assert all(frame.pixels.shape == (180, 320, 3) for frame in frames)
    assert Source.parse(str(path)).kind == "video"


def write_gif(path, sample_faces, count, **options):
    (
        """Write an animated GIF with `count` frames; returns them before color quantization."""
        """Write an animated GIF with `count` frames; returns them before color quantization."""
    )
    originals = [p for p, *_ in clips.frames("one", sample_faces, size=(320, 180), seconds=1)][
        :count
    ]
    first, *others = map(Image.fromarray, originals)
    first.save(path, save_all=True, append_images=others, **options)
    return originals


def test_animated_gif_is_a_video_and_a_single_frame_is_an_image(tmp_path, sample_faces):
    moving, still = tmp_path / "moving.GIF", tmp_path / "still.gif"
    originals = write_gif(moving, sample_faces, 5, duration=[40, 200, 40, 40, 40])
    write_gif(still, sample_faces, 1)
    assert Source.parse(str(moving)).kind == "animation"
    assert Source.parse(str(still)).kind == "image"
    frames = list(video.frames(Source.parse(str(moving))))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.04, 0.24, 0.28, 0.32])
    for frame, original in zip(frames, originals, strict=True):
        assert np.abs(frame.pixels.astype(int) - original).mean() < 8
    write_gif(moving, sample_faces, 1)  # the kind is not cached
    assert Source.parse(str(moving)).kind == "image"


def test_kind_of_a_file_is_determined_by_its_content(tmp_path, mien, tiny_model, clip, photo):
    (tmp_path / "clip").write_bytes(clip[0].read_bytes())
    (tmp_path / "photo.mp4").write_bytes(photo.read_bytes())
    options = ("--model", tiny_model, "--detector", "whole", "--json")
    code, out, err = mien("analyze", tmp_path / "clip", tmp_path / "photo.mp4", *options)
    assert (code, err) == (0, "")
    *frames, image = map(json.loads, out.splitlines())
    assert [record["seconds"] for record in frames] == [t.seconds for t in clip[1]]
    assert "smoothed" in frames[0]["faces"][0]
    assert (image["width"], "smoothed" in image["faces"][0]) == (512, False)


def test_face_in_an_animated_gif_keeps_its_id(tmp_path, mien, tiny_model, sample_faces):
    path = tmp_path / "one.gif"
    write_gif(path, sample_faces, 5, duration=40)
    arguments = ("analyze", path, "--detector", "whole", "--model", tiny_model, "--json")
    code, out, _ = mien(*arguments)
    records = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [record["faces"][0]["face_id"] for record in records] == [0] * 5
    assert all("smoothed" in record["faces"][0] for record in records)
    _, out, _ = mien(*arguments, "--every", "2")
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 2, 4]


def test_video_continues_when_time_stamps_restart(tmp_path, sample_faces):
    parts = []
    for name in ("a.ts", "b.ts"):
        frames = clips.frames("one", sample_faces, size=(320, 180), seconds=3)
        clip_files.encode(tmp_path / name, frames)
        parts.append((tmp_path / name).read_bytes())
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(parts))
    single, double = frame_times(tmp_path / "a.ts"), frame_times(joined)
    assert len(double) == pytest.approx(2 * len(single), abs=2)
    assert all(a < b for a, b in pairwise(double))
    assert double[-1] == pytest.approx(2 * single[-1], abs=0.3)
    rest = list(video.frames(Source.parse(str(joined)), video.FrameSelection(start=2.0)))
    assert [frame.seconds for frame in rest] == [seconds for seconds in double if seconds >= 1.98]
    assert [frame.number for frame in rest] == list(range(len(double) - len(rest), len(double)))
    assert frame_times(joined, start=4.0)[0] == pytest.approx(4.0, abs=0.05)


@pytest.mark.parametrize("copied", [True, False])
def test_audio_continues_when_time_stamps_restart(tmp_path, sample_faces, copied, monkeypatch):
    if not copied:  # all audio is encoded
        monkeypatch.setattr("mien.io.audio.COPIED_CODECS", ())
    frames = clips.frames("one", sample_faces, size=(320, 180), seconds=3)
    clip_files.encode(tmp_path / "one.ts", frames, sound=True)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(2 * (tmp_path / "one.ts").read_bytes())
    with writers.open_writer(tmp_path / "x.mp4") as write:
        for frame in video.frames(Source.parse(str(joined))):
            write(Result(frame, []))
    with av.open(str(tmp_path / "x.mp4")) as container:
        stream = container.streams.audio[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(6.0, abs=0.3)


def test_should_stop_and_close_end_decoding(clip):
    calls = []
    selection = video.FrameSelection(seconds=1e6)
    assert (
        list(
            video.frames(
                Source.parse(str(clip[0])), selection, should_stop=lambda: not calls.append(1)
            )
        )
        == []
    )
    assert len(calls) == 1
    # Closing the iterator ends decoding as well.
    frames = video.frames(Source.parse(str(clip[0])), selection)
    next(frames)
    frames.close()
    assert "decoder" not in [thread.name for thread in threading.enumerate()]


def test_missing_number_of_a_sequence_is_an_error(tmp_path, sample_faces):
    for k in (1, 2, 4):
        Image.new("RGB", (64, 48)).save(tmp_path / f"{k:04d}.png")
    with pytest.raises(UserError, match="number 3 is missing"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))
    Image.new("RGB", (64, 48)).save(tmp_path / "20240115123456.png")
    with pytest.raises(UserError, match="number 3 is missing"):
        list(video.frames(Source.parse(str(tmp_path / "%04d.png"))))


def test_every_and_seconds_exclude_each_other():
    with pytest.raises(UserError, match="one of the two"):
        video.FrameSelection(every=2, seconds=1)


def test_audio_is_only_copied_from_files(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "mien.io.audio.copy_audio", lambda *arguments: calls.append(arguments) or iter(())
    )
    for source in ("rtsp://me:***@cam/live", "camera:0", str(tmp_path)):
        with writers.open_writer(tmp_path / "x.mp4") as write:
            write(Result(Frame(np.zeros((48, 64, 3), np.uint8), source), []))
    assert calls == []


def test_frame_too_large_for_the_encoder_is_an_error(tmp_path):
    with (
        pytest.raises(UserError, match=r"Cannot write .*wide\.mp4"),
        writers.open_writer(tmp_path / "wide.mp4") as write,
    ):
        write(Result(Frame(np.zeros((16, 20_000, 3), np.uint8), "x"), []))
    assert list(tmp_path.iterdir()) == []


def test_live_source_ends_in_time_while_frames_arrive(server):
    frames = camera.frames(Source.parse(server.address), end=0.5)
    assert all(frame.seconds < 0.6 for frame in frames)


def test_live_source_without_frames_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/x.mjpg"
        frames = camera.frames(Source.parse(address), started=time.monotonic(), end=0.5)
        with pytest.raises(UserError, match=r"within 0\.5 s"):
            next(frames)


def test_live_source_ends_in_time_after_disconnecting(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (30.0,))
    frames = camera.frames(Source.parse(server.address), lambda _: None, end=1.5)
    next(frames)
    server.open = False
    server.http.shutdown()
    server.http.server_close()
    began = time.monotonic()
    assert all(frame.seconds < 1.5 for frame in frames)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotated_video_is_upright(tmp_path, sample_faces, rotation):
    path = tmp_path / "rotated.mp4"
    originals = list(clips.frames("one", sample_faces, size=(320, 180), seconds=0.2))
    clip_files.encode(path, originals, rotation=rotation)
    first = next(video.frames(Source.parse(str(path))))
    assert first.pixels.shape == (180, 320, 3)
    assert np.abs(first.pixels.astype(int) - originals[0][0]).mean() < 12


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_image_sequence_is_a_video(tmp_path, sample_faces, suffix):
    originals = [
        pixels for pixels, _ in clips.frames("one", sample_faces, size=(160, 90), seconds=0.4)
    ]
    for k, pixels in enumerate(originals, 7):
        Image.fromarray(pixels).save(tmp_path / f"a b{k:03d}.{suffix}", quality=95)
    pattern = str(tmp_path / f"a b%03d.{suffix}@10")
    frames = list(video.frames(Source.parse(pattern)))
    assert [frame.number for frame in frames] == list(range(len(originals)))
    assert [frame.seconds for frame in frames] == pytest.approx(
        [k / 10 for k in range(len(originals))]
    )
    worst = 25 if suffix == "jpg" else 3
    for frame, pixels in zip(frames, originals, strict=True):
        assert abs(frame.pixels.astype(int) - pixels).mean() < worst
    assert frame_times(pattern[:-3]) == pytest.approx([k / 25 for k in range(len(originals))])
    assert frame_times(pattern, start=0.5) == pytest.approx([0.5, 0.6, 0.7, 0.8, 0.9])


def test_sequence_without_files_is_an_error(mien, tmp_path, tiny_model):
    for pattern in (tmp_path / "%04d.png", tmp_path / "none" / "%04d.png@30"):
        code, _, err = mien("analyze", pattern, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert len(err.strip().splitlines()) == 1
        assert "number for %04d" in err


def test_every_and_seconds_select_frames(clip):
    path, truths = clip
    assert frame_times(path, every=5) == [t.seconds for t in truths[::5]]
    times = frame_times(path, seconds=0.25)
    assert len(times) == 4
    assert all(b - a == pytest.approx(0.25, abs=0.041) for a, b in pairwise(times))


@pytest.mark.parametrize("variable", [False, True])
@pytest.mark.parametrize("seconds", [0.06, 0.08, 0.11, 0.2])
@pytest.mark.parametrize("start", [0.0, 0.3])
def test_selection_does_not_depend_on_where_reading_begins(
    tmp_path, sample_faces, variable, seconds, start
):
    path = tmp_path / "a.mp4"
    originals = clips.frames("one", sample_faces, size=(64, 48), seconds=1, variable=variable)
    clip_files.encode(path, originals)
    selection = video.FrameSelection(seconds=seconds, start=start)
    frames = [(f.number, f.seconds) for f in video.frames(Source.parse(str(path)), selection)]
    assert len(frames) > 3
    for k, frame in enumerate(frames):
        rest = video.frames(Source.parse(str(path)), selection.starting_at(*frame))
        assert [(f.number, f.seconds) for f in rest] == frames[k:]


def test_start_and_end_select_a_range(clip):
    path, _ = clip
    frames = list(video.frames(Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)))
    assert [f.seconds for f in frames] == pytest.approx([0.4, 0.44, 0.48, 0.52, 0.56, 0.6])
    assert [f.number for f in frames] == [10, 11, 12, 13, 14, 15]
    all_frames = list(video.frames(Source.parse(str(path))))
    assert np.array_equal(frames[0].pixels, all_frames[10].pixels)
    with pytest.raises(UserError, match=r"no frame from 99 s on; the last frame read is at 1\.0 s"):
        frame_times(path, start=99)


def test_truncated_file_gives_its_frames_and_a_warning(clip):
    path, truths = clip
    errors = []
    frames = list(
        video.frames(Source.parse(str(clip_files.truncated(path, 0.5))), on_error=errors.append)
    )
    assert 0 < len(frames) < len(truths)
    assert "is truncated: no frame could be read after 0." in str(errors[-1])


def test_reading_continues_after_damage(tmp_path, sample_faces):
    path = tmp_path / "long.mp4"
    truths = clip_files.encode(
        path, clips.frames("one", sample_faces, size=(320, 180), seconds=6), fps=25
    )
    errors = []
    frames = list(
        video.frames(
            Source.parse(str(clip_files.corrupted(path, 0.4, 3000))), on_error=errors.append
        )
    )
    assert len(truths) / 2 < len(frames)
    assert frames[-1].seconds > 5.5
    seconds = [frame.seconds for frame in frames]
    assert seconds == sorted(set(seconds))
    assert len(errors) < 20


@pytest.mark.parametrize(
    ("body", "message"),
    [(b"", "as a video"), (b"not a video at all" * 99, "as a video")],
)
def test_unreadable_video_is_an_error(tmp_path, body, message):
    path = tmp_path / "x.mp4"
    path.write_bytes(body)
    with pytest.raises(UserError, match=message):
        next(video.frames(Source.parse(str(path))))
    with pytest.raises(UserError, match="file not found"):
        Source.parse(str(tmp_path / "nowhere.mp4"))


def test_file_with_only_audio_is_an_error(clip):
    path, _ = clip
    with pytest.raises(UserError, match="no video stream"):
        next(video.frames(Source.parse(str(clip_files.without_video(path)))))


def test_prefetch_is_bounded_and_ends_with_its_reader(clip, monkeypatch):
    path, _ = clip
    monkeypatch.setattr(prefetch, "DEPTH", 3 * 320 * 180)
    decoded = []
    upright = video.to_upright_rgb
    monkeypatch.setattr(video, "to_upright_rgb", lambda p: decoded.append(p) or upright(p))
    frames = video.frames(Source.parse(str(path)))
    next(frames)
    time.sleep(0.3)
    assert len(decoded) <= 6
    frames.close()
    assert not [t for t in threading.enumerate() if t.name == "decoder"]


def test_reader_can_be_closed_in_the_decoder_thread(clip, monkeypatch):
    """Garbage collection closes an abandoned iterator in any thread."""
    suspended, closed, errors, count = threading.Event(), threading.Event(), [], iter(range(99))

    def convert(av_frame):
        if next(count) == 1 and suspended.wait(10):
            try:
                reader.close()
            except RuntimeError as error:
                errors.append(error)
            closed.set()
        return av_frame.to_ndarray(format="rgb24")

    monkeypatch.setattr(video, "to_upright_rgb", convert)
    reader = video.frames(Source.parse(str(clip[0])))
    next(reader)
    suspended.set()
    assert closed.wait(10)
    assert errors == []


def test_frame_above_the_pixel_limit_counts_as_damaged(tmp_path):
    path, body = tmp_path / "bomb.avi", io.BytesIO()
    Image.new("RGB", (3000, 3000)).save(body, "JPEG")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuvj420p"
        for k in range(2):
            packet = av.Packet(body.getvalue())
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = k
            out.mux(packet)
    errors = []
    assert not list(
        video.frames(Source.parse(str(path)), on_error=errors.append, max_pixels=8_000_000)
    )
    assert "truncated" in str(errors[0])
    frames = video.frames(Source.parse(str(path)), on_error=errors.append, max_pixels=10_000_000)
    assert [frame.pixels.shape for frame in frames] == [(3000, 3000, 3)] * 2


def test_probe_reads_duration_size_and_rate(clip):
    info = video.probe(Source.parse(str(clip[0])))
    assert info.seconds == pytest.approx(1, abs=0.05)
    assert (info.width, info.height, info.rate) == (320, 180, 25)


# What is live


class Server:
    """Serves a motion JPEG over HTTP on loopback until `open` is false."""

    def __init__(self):
        images = [np.full((48, 64, 3), 10 * k, np.uint8) for k in range(20)]
        self.bodies = [self._jpeg(image) for image in images]
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
    mjpeg_server = Server()
    yield mjpeg_server
    mjpeg_server.open = False
    mjpeg_server.http.shutdown()
    mjpeg_server.http.server_close()


def test_slow_consumer_gets_the_newest_frame(server):
    frames = camera.frames(Source.parse(server.address))
    first = next(frames)
    time.sleep(0.5)
    later = next(frames)
    assert first.seconds == 0
    assert later.number - first.number > 10
    assert later.seconds == pytest.approx(0.5, abs=0.4)
    assert first.pixels.shape == (48, 64, 3)
    frames.close()


def test_stream_reconnects(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (0.05,))
    errors = []
    frames = camera.frames(Source.parse(server.address), on_error=errors.append)
    before = next(frames)
    server.open = False
    time.sleep(0.3)
    server.open = True
    deadline = time.monotonic() + 20
    after = next(frames)
    while not errors and time.monotonic() < deadline:
        after = next(frames)
    after = next(frames)
    assert "retrying in 0.05 s" in str(errors[0])
    assert after.seconds > before.seconds
    frames.close()


def test_stream_that_cannot_be_opened_is_not_retried():
    with pytest.raises(UserError, match="as a video"):
        next(camera.frames(Source.parse("http://127.0.0.1:9/none")))


def test_max_attempts_limits_reconnecting(server, monkeypatch):
    monkeypatch.setattr(camera, "RETRY_DELAYS", (0.01,))
    errors = []
    frames = camera.frames(Source.parse(server.address), errors.append, max_attempts=3)
    next(frames)
    server.open = False
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(UserError, match="as a video"):
        list(frames)
    assert len(errors) == 2


def test_ctrl_c_ends_a_live_run_and_keeps_its_output(
    mien, server, tiny_model, tmp_path, monkeypatch
):
    add, out = _run_summary.RunSummary.add, tmp_path / "live.jsonl"

    def interrupt(tally, *arguments, **more):
        if tally.frames == 3:
            raise KeyboardInterrupt
        add(tally, *arguments, **more)

    monkeypatch.setattr(_run_summary.RunSummary, "add", interrupt)
    options = ("analyze", server.address, "--model", tiny_model, "--detector", "whole", "--to", out)
    code, _, err = mien(*options)
    assert (code, err) == (0, "")
    assert len(out.read_text().splitlines()) == 3


def test_video_at_an_address_is_read_as_a_file(clip, mien, tiny_model, tmp_path):
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = partial(Quiet, directory=clip[0].parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{http.server_address[1]}/one.mp4?a=b"
        options = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "a.jsonl")
        code, _, err = mien("analyze", address, *options)
        assert (code, err) == (0, "")
        http.shutdown()
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    assert [json.loads(line)["seconds"] for line in lines] == [t.seconds for t in clip[1]]


def test_missing_camera_is_an_error():
    with pytest.raises(UserError, match="camera 77"):
        next(camera.frames(Source.parse("camera:77")))


def test_camera_command_writes_each_frame_and_a_summary(mien, server, tiny_model, tmp_path):
    options = ("camera", server.address, "--model", tiny_model, "--detector", "whole")
    code, out, err = mien(*options, "--seconds", "1.5", "--to", tmp_path / "live.jsonl")
    assert (code, err) == (0, "")
    assert "ms delay" in out
    assert "1 face" in out
    records = [json.loads(line) for line in (tmp_path / "live.jsonl").read_text().splitlines()]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    assert len(records) > 3


def test_camera_command_rejects_files(mien):
    code, _, err = mien("camera", "clip.mp4")
    assert code == 2
    assert "mien analyze clip.mp4" in err
    code, _, err = mien("camera", "camera:77")
    assert code == 2
    assert "camera 77" in err


def test_camera_without_opencv_names_the_extra_to_install(mien, tiny_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    for options in (("camera", "--no-window"), ("analyze", "camera:0")):
        code, _, err = mien(*options, "--model", tiny_model, "--detector", "whole")
        assert code == 2
        assert "OpenCV is not installed" in err
        assert "pip install '.[camera]'" in err


# Outputs


def make_face(frame, face_id=0):
    emotions = dict.fromkeys(package.EMOTIONS, 1 / 7)
    return Face((20.0, 20.0, 40.0, 40.0), 0.9, emotions, face_id, smoothed=emotions)


def test_annotated_video_keeps_time_stamps_and_audio(clip, tmp_path):
    path, truths = clip
    with writers.open_writer(tmp_path / "out.mp4") as write:
        for frame in video.frames(Source.parse(str(path))):
            write(Result(frame, [make_face(frame)]))
    assert tracking_scores.time_error(truths, frame_times(tmp_path / "out.mp4")) < 1e-3
    with av.open(str(tmp_path / "out.mp4")) as out, av.open(str(path)) as source:
        output_packets, source_packets = (
            [bytes(p) for p in c.demux(c.streams.audio[0]) if p.size] for c in (out, source)
        )
        assert output_packets == source_packets
    annotated, original = (
        next(video.frames(Source.parse(str(p)))) for p in (tmp_path / "out.mp4", path)
    )
    assert annotated.pixels.shape[0] >= original.pixels.shape[0]


def test_annotated_range_begins_at_zero_and_has_its_audio(clip, tmp_path):
    path, _ = clip
    with writers.open_writer(tmp_path / "cut.mp4") as write:
        for frame in video.frames(
            Source.parse(str(path)), video.FrameSelection(start=0.4, end=0.6)
        ):
            write(Result(frame, [make_face(frame)]))
    assert frame_times(tmp_path / "cut.mp4") == pytest.approx(
        [0.04 * k for k in range(6)], abs=1e-3
    )
    with av.open(str(tmp_path / "cut.mp4")) as cut:
        (stream,) = cut.streams.audio
        seconds = [float(p.pts * stream.time_base) for p in cut.demux(stream) if p.size]
    assert -0.06 < seconds[0] < 0.03
    assert seconds[-1] == pytest.approx(0.24, abs=0.05)


RATE, HERTZ = 44_100, 700


def write_tone(path, codec, channels, piece=4096):
    """One second of black frames, with a tone in packets of `piece` samples."""
    layout = "mono" if channels == 1 else "stereo"
    tone = (9000 * np.sin(2 * np.pi * HERTZ * np.arange(RATE) / RATE)).astype(np.int16)
    with av.open(str(path), "w") as out:
        video_stream = out.add_stream("mpeg4", rate=25)
        video_stream.width, video_stream.height, video_stream.pix_fmt = 96, 96, "yuv420p"
        audio_stream = out.add_stream(codec, rate=RATE, layout=layout)
        for _ in range(25):
            av_frame = av.VideoFrame.from_ndarray(np.zeros((96, 96, 3), np.uint8), format="rgb24")
            out.mux(video_stream.encode(av_frame))
        audio_frame = av.AudioFrame.from_ndarray(np.repeat(tone, channels)[None], "s16", layout)
        audio_frame.rate, audio_frame.pts = RATE, 0
        resampler = av.AudioResampler(audio_stream.codec_context.format.name, layout, RATE, piece)
        for resampled in [*resampler.resample(audio_frame), *resampler.resample(None)]:
            out.mux(audio_stream.encode(resampled))
        for stream in (video_stream, audio_stream):
            out.mux(stream.encode())


def annotated_audio(path, selection, out):
    """Start times and samples of the audio in an annotated video; it must be AAC."""
    with writers.open_writer(out) as write:
        for frame in video.frames(Source.parse(str(path)), selection, lambda _: None):
            write(Result(frame, []))
    with av.open(str(out)) as container:
        (stream,) = container.streams.audio
        assert stream.codec_context.name == "aac"
        pieces = [(float(p.pts * p.time_base), p.to_ndarray()) for p in container.decode(stream)]
    return [begins for begins, _ in pieces], np.concatenate([s for _, s in pieces], axis=1)


@pytest.mark.parametrize(
    ("suffix", "codec", "channels", "piece"),
    [("avi", "pcm_s16le", 1, 4096), ("mkv", "flac", 2, 4096), ("mkv", "pcm_s16le", 2, RATE)],
)
@pytest.mark.parametrize(
    ("selection", "seconds"),
    [(video.FrameSelection(), 1.0), (video.FrameSelection(start=0.4, end=0.6), 0.24)],
)
def test_unsupported_audio_is_encoded_as_aac(
    tmp_path, suffix, codec, channels, piece, selection, seconds
):
    path = tmp_path / f"in.{suffix}"
    write_tone(path, codec, channels, piece)
    begins, samples = annotated_audio(path, selection, tmp_path / "out.mp4")
    assert len(samples) == channels
    assert begins[0] == pytest.approx(0, abs=0.03)
    assert samples.shape[1] / 48_000 == pytest.approx(seconds, abs=0.06)
    spectrum = np.abs(np.fft.rfft(samples[0]))
    assert spectrum.argmax() * 48_000 / samples.shape[1] == pytest.approx(HERTZ, abs=8)


def test_audio_continues_when_its_format_changes(tmp_path):
    halves = [tmp_path / "mono.ts", tmp_path / "stereo.ts"]
    for path, channels in zip(halves, (1, 2), strict=True):
        write_tone(path, "mp2", channels)
    both = tmp_path / "both.ts"
    both.write_bytes(b"".join(path.read_bytes() for path in halves))
    _, samples = annotated_audio(both, video.FrameSelection(), tmp_path / "out.mp4")
    assert np.abs(samples[0, -9_600:-4_800]).max() > 0.1


def test_audio_continues_after_damage(tmp_path):
    path = tmp_path / "in.mkv"
    write_tone(path, "flac", 1)
    with av.open(str(path)) as container:
        places = [packet.pos for packet in container.demux(container.streams.audio[0])]
    body = bytearray(path.read_bytes())
    body[places[3] + 20 : places[3] + 400] = bytes(380)
    path.write_bytes(body)
    begins, _ = annotated_audio(path, video.FrameSelection(), tmp_path / "out.mp4")
    assert begins[-1] > 0.9


def test_damage_in_the_middle_is_not_reported_as_truncation(tmp_path, sample_faces):
    path = tmp_path / "whole.mp4"
    clip_files.encode(path, clips.frames("one", sample_faces, size=(320, 180), seconds=6))
    errors = []
    times = times_with_errors(clip_files.corrupted(path, 0.5, 3000), errors)
    assert times[-1] == pytest.approx(5.96, abs=0.1)
    assert errors
    assert not [error for error in errors if "truncated" in str(error)]
    if gaps := [str(error) for error in errors if "no frame could be read between" in str(error)]:
        begin, end = map(float, re.findall(r"(\d+\.\d) ", gaps[0])[-2:])
        assert 2 < begin < end < 5.96


def times_with_errors(path, errors):
    return [
        frame.seconds for frame in video.frames(Source.parse(str(path)), on_error=errors.append)
    ]


def test_until_ends_a_live_source(mien, server, tiny_model, tmp_path):
    options = ("--model", tiny_model, "--detector", "whole", "--to", tmp_path / "live.jsonl")
    assert mien("analyze", server.address, *options, "--until", "1", "--every", "0.4s")[0] == 0
    lines = (tmp_path / "live.jsonl").read_text().splitlines()
    seconds = [json.loads(line)["seconds"] for line in lines]
    assert len(seconds) == 3
    assert seconds == pytest.approx([0, 0.4, 0.8], abs=0.2)


@pytest.mark.parametrize("option", ["--summary", "--timeline"])
def test_source_is_not_overwritten_by_summary_or_timeline(mien, clip, tmp_path, option):
    suffix = {"--summary": ".json", "--timeline": ".png"}[option]
    source = tmp_path / f"clip{suffix}"
    source.write_bytes(clip[0].read_bytes())
    path = tmp_path / "clip.mp4"
    path.symlink_to(source)
    code, _, err = mien("analyze", path, "--detector", "whole", option, source)
    assert code == 2
    assert "is the source itself" in err
    assert source.read_bytes() == clip[0].read_bytes()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--summary", "faces.csv"), ".json"),
        (("--summary", "nowhere/faces.json"), "nowhere"),
        (
            ("again.mp4", "--to", "page.html"),
            "page.html",
        ),
        (("again.mp4", "--timeline", "t.png"), "t.png"),
        (("--to", "a.csv", "--to", "a.csv"), "--to a.csv"),
    ],
)
def test_invalid_outputs_are_rejected_before_reading(
    mien, clip, tmp_path, monkeypatch, options, message
):
    monkeypatch.chdir(tmp_path)
    again = clip[0].with_name("again.mp4")
    again.unlink(missing_ok=True)
    again.symlink_to(clip[0])
    options = [str(again) if word == "again.mp4" else word for word in options]
    code, out, err = mien("analyze", clip[0], "--detector", "whole", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []


def test_error_of_a_stream_omits_its_password():
    with pytest.raises(UserError) as caught:
        next(camera.frames(Source.parse("http://me:s3cret@127.0.0.1:9/x.mjpg")))
    assert "s3cret" not in str(caught.value)


def test_two_pass_rejects_streams(mien, server):
    code, _, err = mien("analyze", server.address, "--two-pass")
    assert code == 2
    assert "--two-pass" in err


def test_video_is_not_written_over_its_source(mien, clip, tiny_model, tmp_path):
    path = tmp_path / "one.mp4"
    path.write_bytes(clip[0].read_bytes())
    options = ("analyze", path, "--model", tiny_model, "--detector", "whole")
    code, _, err = mien(*options, "--to", path)
    assert code == 2
    assert "is the source itself" in err
    assert path.read_bytes() == clip[0].read_bytes()


def test_annotated_video_of_odd_size_and_without_frames(tmp_path):
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
def test_second_video_in_one_output_is_an_error(tmp_path, suffix):
    pixels = np.zeros((480, 640, 3), np.uint8)
    with writers.open_writer(tmp_path / f"x{suffix}") as write:
        write(Result(Frame(pixels, "a.mp4"), []))
        with pytest.raises(UserError, match="one video"):
            write(Result(Frame(pixels, "b.mp4"), []))


def page_data(path):
    text = path.read_text(encoding="utf-8")
    return text, json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_the_page_holds_what_each_face_showed(tmp_path):
    pixels = np.zeros((480, 640, 3), np.uint8)
    with writers.open_writer(tmp_path / "page.html") as write:
        for k in range(100):
            frame = Frame(pixels, "</script><b>x.mp4", k, k / 25, "default", "yunet")
            write(Result(frame, [make_face(frame, 0), *([make_face(frame, 7)] if k < 50 else [])]))
    text, data = page_data(tmp_path / "page.html")
    assert text.count("</script>") == 2
    assert [face["id"] for face in data["faces"]] == [0, 7]
    assert data["faces"][0]["times"] == pytest.approx([k / 25 for k in range(100)])
    assert all(sum(row) == pytest.approx(10_000, abs=4) for row in data["faces"][1]["shares"])
    assert data["labels"] == list(package.EMOTIONS)
    assert not re.findall(r'(?:src|href)="', text)


def test_page_size_is_bounded(tmp_path, monkeypatch):
    from mien.visualization import timeline_data

    monkeypatch.setattr(timeline_data, "MAX_POINTS", 50)
    monkeypatch.setattr(timeline_data, "MAX_STILLS", 5)
    pixels = np.zeros((48, 64, 3), np.uint8)
    with writers.open_writer(tmp_path / "page.html") as write:
        for k in range(3000):
            write(Result(Frame(pixels, "x.mp4", k, k / 10), [make_face(None)]))
    _, data = page_data(tmp_path / "page.html")
    (face,) = data["faces"]
    assert 20 <= len(face["times"]) <= 51
    assert face["times"][-1] > 290
    first, last = face["visible"]  # one interval, although most points were dropped
    assert first <= face["times"][0] < face["times"][-1] <= last
    assert len(data["stills"]) <= 6


# End to end


def test_video_is_tracked_and_smoothed(clip, tiny_model):
    analyzer = package.Analyzer(str(tiny_model), "whole")
    results = list(analyzer.stream(str(clip[0])))
    assert len(results) == 25
    assert {face.face_id for result in results for face in result} == {0}
    for result in results:
        (face,) = result
        assert face.smoothed is not None
        assert face.box == pytest.approx((70, 0, 180, 180))
        assert result.frame.detector == "whole"
    assert results[0][0].smoothed == pytest.approx(results[0][0].emotions)


@needs_pack
@pytest.mark.parametrize("scenario", ["crossing", "growing", "none"])
def test_real_faces_keep_their_ids(scenario):
    cast = clips.load_faces(PACK)
    truths = []

    def frames():
        for k, (pixels, truth) in enumerate(clips.frames(scenario, cast, seconds=4)):
            truths.append(truth)
            yield Frame(pixels, scenario, k, truth.seconds)

    detections, changes = [], []
    for result in package.Analyzer(threads=1).session().stream(frames()):
        detections.append({face.face_id: face.box for face in result})
        changes += [(f.face_id, result.frame.seconds, f) for f in result]
    expected, predicted = tracking_scores.without_hidden(truths, detections)
    assert tracking_scores.id_switches(expected, predicted) == 0
    assert tracking_scores.id_f1(expected, predicted) > 0.97
    for face_id in {c[0] for c in changes}:
        mine = [(s, f) for k, s, f in changes if k == face_id]
        seconds = [s for s, _ in mine]
        raw = tracking_scores.changes_per_second([f.dominant_emotion for _, f in mine], seconds)
        smooth = [max(f.smoothed, key=f.smoothed.__getitem__) for _, f in mine]
        assert tracking_scores.changes_per_second(smooth, seconds) <= raw
    assert math.isclose(TIME_CONSTANT, 0.5)


def test_the_command_line_tells_what_each_face_showed(mien, clip, tiny_model, tmp_path):
    options = ("analyze", clip[0], "--model", tiny_model, "--detector", "whole")
    code, out, err = mien(*options, "--every", "0.2s", "--summary", tmp_path / "s.json")
    assert (code, err) == (0, "")
    assert "one.mp4: 1 face" in out
    assert out.splitlines()[-1] == "5 frames"
    ((record,),) = json.loads((tmp_path / "s.json").read_text()).values()
    assert record["frames"] == 5
    code, out, _ = mien(*options, "--from", "0.4", "--until", "0:00.6", "--json")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["frame"] for r in records] == [10, 11, 12, 13, 14, 15]
    assert set(records[0]["faces"][0]["smoothed"]) == set(package.EMOTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--every", "0"), "--every 0"),
        (("--every", "xs"), "--every xs"),
        (("--from", "1:2:3:4"), "'1:2:3:4'"),
        (("--until", "-3"), "'-3'"),
        (("--from", "1:99"), "'1:99'"),
        (("--from", "3", "--until", "2"), "--until 2 is before --from 3"),
        (("--from", "99"), "has no frame from 99 s on"),
        (("--smooth", "-1"), "--smooth -1"),
        (("--smooth", "nan"), "--smooth nan"),
        (("--smooth", "abc"), "'abc' is not a valid float"),
    ],
)
def test_invalid_selection_options_give_one_sentence(mien, clip, tiny_model, options, message):
    code, _, err = mien("analyze", clip[0], "--model", tiny_model, "--detector", "whole", *options)
    assert code == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_unreadable_video_does_not_stop_the_others(mien, clip, tiny_model, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"nothing")
    code, out, err = mien("analyze", bad, clip[0], "--model", tiny_model, "--detector", "whole")
    assert code == 2
    assert "bad.mp4 as a video" in err
    assert "25 frames" in out


@pytest.mark.parametrize("steps", [{"every": 0}, {"every": -2}, {"seconds": -0.1}])
def test_steps_out_of_range_are_an_error(steps):
    with pytest.raises(UserError, match="Cannot select"):
        package.FrameSelection(**steps)


def test_audio_long_before_the_first_frame_keeps_its_time():
    on = audio._continuous_times(Fraction(1, 100))
    assert [on(time, 50) for time in (-300, -250, 0, 50, -300, -250)] == [
        -300, -250, 0, 50, 100, 150,
    ]  # fmt: skip
