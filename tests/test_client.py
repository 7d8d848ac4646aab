"""`mien.Client` against a real server."""

import http.server
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.client import _frame_file
from mien.io import image, video
from tests.server import serving

IMAGE = serving.image_file()


@pytest.fixture(scope="module")
def server(tiny_model):
    with serving.on_loopback(tiny_model, token="sesame", max_jobs=2) as (url, server):
        yield url, server._backend


@pytest.fixture
def client(server):
    return mien.Client(server[0], token="sesame", timeout=20)


@pytest.fixture(scope="module")
def analyzer(tiny_model):
    return mien.Analyzer(tiny_model, "whole")


def assert_close(result, expected):
    """Assert that two results have the same faces, with emotions equal up to rounding."""
    assert len(result) == len(expected)
    for one, other in zip(result, expected, strict=True):
        assert (one.box, one.face_id, one.flags) == (other.box, other.face_id, other.flags)
        assert dict(one.emotions) == pytest.approx(dict(other.emotions))
        assert (one.smoothed is None) == (other.smoothed is None)
        if one.smoothed is not None:
            assert dict(one.smoothed) == pytest.approx(dict(other.smoothed))


def test_every_form_of_an_image_gives_the_same_faces(client, analyzer, photo, astronaut):
    expected = analyzer.analyze(photo)
    for form in (photo, str(photo), photo.read_bytes(), astronaut, Image.fromarray(astronaut)):
        assert_close(client.analyze(form), expected)
    annotated = mien.draw(astronaut, client.analyze(photo))
    assert annotated.shape[2] == 3


def test_a_folder_with_an_animation(client, analyzer, tmp_path):
    (tmp_path / "a.png").write_bytes(IMAGE)
    (tmp_path / "b.jpg").write_bytes(b"damaged")
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:], duration=100)
    errors, local_errors = [], []
    results = list(client.stream(tmp_path, errors.append))
    expected = list(analyzer.stream(tmp_path, local_errors.append))
    assert [result.frame for result in results] == [result.frame for result in expected]
    assert len(results) == 3
    for one, other in zip(results, expected, strict=True):
        assert_close(one, other)
    assert list(map(str, errors)) == list(map(str, local_errors))
    with pytest.raises(mien.UserError, match="not an image"):
        list(client.stream(tmp_path))


def test_a_video_has_ids_and_smoothed_emotions(client, server, analyzer, tmp_path):
    path = serving.write_video(tmp_path / "clip.mp4", 1)
    for selection in (None, video.FrameSelection(every=3, start=0.2, end=0.7)):
        results = list(client.stream(str(path), None, selection, 0.3))
        expected = list(analyzer.stream(str(path), None, selection, 0.3))
        assert [result.frame for result in results] == [result.frame for result in expected]
        for one, other in zip(results, expected, strict=True):
            assert_close(one, other)
    assert server[1].jobs.count() == 0
    for _ in client.stream(path):
        break
    serving.wait_for(lambda: server[1].jobs.count() == 0)


def test_a_folder_with_videos(client, analyzer, tmp_path):
    (tmp_path / "a.png").write_bytes(IMAGE)
    serving.write_video(tmp_path / "b.mp4", 0.4)
    (tmp_path / "c.mp4").write_bytes(b"nothing")
    (tmp_path / "d.png").write_bytes(IMAGE)
    for caller in (client, analyzer):
        errors = []
        names = [
            Path(result.frame.source).name for result in caller.stream(tmp_path, errors.append)
        ]
        assert list(dict.fromkeys(names)) == ["a.png", "b.mp4", "d.png"]
        assert names.count("b.mp4") > 5
        assert ["c.mp4" in str(error) for error in errors] == [True]
        assert len(list(caller.stream(str(tmp_path / "[ad].png")))) == 2
        with pytest.raises(mien.UserError, match=r"c\.mp4"):
            list(caller.stream(tmp_path))


def test_images_are_sent_as_files_and_rejected_ones_skipped(tiny_model, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=60)
    Image.fromarray(noise).save(tmp_path / "b.png")
    assert (tmp_path / "a.jpg").stat().st_size < 2**19 < (tmp_path / "b.png").stat().st_size
    with serving.on_loopback(tiny_model, max_body_bytes=2**19) as (address, _):
        errors = []
        client = mien.Client(address)
        names = [
            Path(result.frame.source).name for result in client.stream(tmp_path, errors.append)
        ]
        assert names == ["a.jpg"]
        assert ["MiB" in str(error) for error in errors] == [True]
        with pytest.raises(mien.UserError, match="MiB"):
            list(client.stream(tmp_path))


def test_an_image_that_is_too_large_and_a_name_that_is_not_utf8(tiny_model, tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    strange = os.fsencode(tmp_path) + b"/b\xff.png"
    with open(strange, "wb") as file:
        file.write(IMAGE)
    with serving.on_loopback(tiny_model, max_image_pixels=10_000) as (address, _):
        errors = []
        results = list(mien.Client(address).stream(tmp_path, errors.append))
    assert len(results) == 1
    assert ["pixels" in str(error) for error in errors] == [True]


def test_a_large_file_is_sent_as_png_if_that_is_smaller(monkeypatch, tmp_path):
    monkeypatch.setattr("mien.client.LARGE_FILE_BYTES", 1000)
    Image.new("RGB", (300, 300)).save(tmp_path / "a.bmp")
    frame = replace(image.first_frame(tmp_path / "a.bmp"))
    assert len(_frame_file(frame)) < 20_000 < (tmp_path / "a.bmp").stat().st_size
    assert _frame_file(replace(frame, number=1)).startswith(b"\x89PNG")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(tmp_path / "b.png")
    small = image.first_frame(tmp_path / "b.png")
    assert _frame_file(small) == (tmp_path / "b.png").read_bytes()


def test_options_are_sent(server, tiny_model):
    client = mien.Client(server[0], "sesame", detector="whole", model="default", contempt=True)
    (result,) = client.stream(IMAGE)
    assert (result.frame.model, result.frame.detector) == ("default", "whole")
    assert client.models()["default"] == "tiny"
    contempt = mien.Client(server[0], "sesame", contempt=True).analyze(IMAGE)
    assert "contempt" in contempt[0].emotions


def test_errors_are_user_errors_with_the_message_of_the_server(client, server, tmp_path):
    with pytest.raises(mien.UserError, match="not an image"):
        client.analyze(b"nothing")
    with pytest.raises(mien.UserError, match="file not found"):
        client.analyze(tmp_path / "none.png")
    with pytest.raises(mien.UserError, match="bearer token"):
        mien.Client(server[0]).analyze(IMAGE)
    with pytest.raises(mien.UserError, match="model 'x'"):
        mien.Client(server[0], "sesame", model="x").analyze(IMAGE)
    with pytest.raises(mien.UserError, match=r"Cannot reach .* 127\.0\.0\.1:9: "):
        mien.Client("http://127.0.0.1:9").analyze(IMAGE)
    for wrong in ("localhost:8000", "ftp://x", ""):
        with pytest.raises(mien.UserError, match="address"):
            mien.Client(wrong)
    with pytest.raises(mien.UserError, match="address"):
        mien.Client("http://127.0.0.1:99999")
    with pytest.raises(mien.UserError, match="bearer token"):
        mien.Client(server[0], "слово").analyze(IMAGE)
    assert mien.Client(server[0], "sesame\n").analyze(IMAGE) == client.analyze(IMAGE)
    for source in ("camera:0", "rtsp://x/y"):
        with pytest.raises(mien.UserError, match="/live"):
            list(client.stream(source))
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(mien.UserError, match=r"no\.mp4 as a video"):
        list(client.stream(tmp_path / "no.mp4"))
    with pytest.raises(mien.UserError, match="file not found"):
        list(client.stream(tmp_path / "none.mp4"))
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(IMAGE)
    for wrong in (mien.Client("http://127.0.0.1:9"), mien.Client(server[0], "wrong")):
        errors = []
        with pytest.raises(mien.UserError, match=r"Cannot reach|bearer token"):
            list(wrong.stream(tmp_path, errors.append))
        assert errors == []
    assert server[1].jobs.count() == 0


NO_FACE = b'{"model": "tiny", "detector": "whole", "faces": []}'


class Busy(http.server.BaseHTTPRequestHandler):
    """Responds 503 twice, then with no face."""

    requests, retry_after = 0, "0"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Busy.requests += 1
        self.send_response(503 if Busy.requests < 3 else 200)
        self.send_header("Retry-After", Busy.retry_after)
        self.end_headers()
        self.wfile.write(b'{"error": "later"}' if Busy.requests < 3 else NO_FACE)

    def log_message(self, *_):
        pass


def test_a_busy_server_is_retried_until_the_timeout():
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as busy:
        thread = threading.Thread(target=busy.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{busy.server_port}/under/a/path/"
            assert len(mien.Client(url).analyze(IMAGE)) == 0
            assert Busy.requests == 3
            Busy.requests, Busy.retry_after = 0, "9"
            with pytest.raises(mien.UserError, match="later"):
                mien.Client(url, timeout=5).analyze(IMAGE)
        finally:
            busy.shutdown()
            thread.join()


def test_a_slow_but_steady_upload_does_not_time_out():
    body = serving.image_file(3600, 2400, "BMP")  # 26 MB, of which the sockets buffer at most 5 MB
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**18)
        received = bytearray()

        def read_slowly():
            connection, _ = listener.accept()
            with connection:
                while not received.endswith(body[-100:]):
                    received.extend(connection.recv(2**18))
                    time.sleep(0.02)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(NO_FACE)}\r\n\r\n".encode()
                connection.sendall(head + NO_FACE)

        thread = threading.Thread(target=read_slowly, daemon=True)
        thread.start()
        client = mien.Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1)
        began = time.monotonic()
        assert len(client.analyze(body)) == 0
        assert time.monotonic() - began > 1.5
        assert received.endswith(body)
        thread.join()


def test_threads_share_a_client(client):
    from concurrent.futures import ThreadPoolExecutor

    started = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(client.analyze, [IMAGE] * 40))
    assert all(len(faces) == 1 for faces in results)
    assert time.monotonic() - started < 30
