"""`mien.Client` against a real server."""

import errno
import http.server
import io
import os
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import mien
from mien.client.image_bodies import frame_as_file
from mien.io import image, video
from tests.server import serving

IMAGE = serving.image_file()


@pytest.fixture(scope="module")
def server(tiny_model):
    """A server whose token is `sesame`: its `url` and its `jobs`."""
    with serving.on_loopback(tiny_model, token="sesame", max_jobs=2) as (url, server):
        yield SimpleNamespace(url=url, jobs=serving.server_backend(server).jobs)


@pytest.fixture
def client(server):
    return mien.Client(server.url, token="sesame", timeout=20)


@pytest.fixture(scope="module")
def analyzer(tiny_model):
    return mien.Analyzer(tiny_model, "whole")


def assert_close(result, expected):
    """Assert that two results have the same faces, with emotions equal up to rounding."""
    assert len(result) == len(expected)
    for face, expected_face in zip(result, expected, strict=True):
        assert face.box == expected_face.box
        assert (face.face_id, face.flags) == (expected_face.face_id, expected_face.flags)
        assert dict(face.emotions) == pytest.approx(dict(expected_face.emotions))
        assert (face.smoothed is None) == (expected_face.smoothed is None)
        if face.smoothed is not None:
            assert dict(face.smoothed) == pytest.approx(dict(expected_face.smoothed))


def assert_all_close(results, expected_results):
    """Assert that two lists of results have the same frames and faces."""
    assert [result.frame for result in results] == [result.frame for result in expected_results]
    for result, expected in zip(results, expected_results, strict=True):
        assert_close(result, expected)


def test_every_type_of_image_gives_the_same_faces_as_an_analyzer(
    client, analyzer, photo, astronaut
):
    expected = analyzer.analyze(photo)
    for image_input in (
        photo, str(photo), photo.read_bytes(), astronaut, Image.fromarray(astronaut)
    ):  # fmt: skip
        assert_close(client.analyze(image_input), expected)
    # `draw` accepts a result of the client.
    assert not np.array_equal(mien.draw(astronaut, client.analyze(photo)), astronaut)


def test_a_folder_with_images_and_an_animation_gives_the_same_results_as_an_analyzer(
    client, analyzer, tmp_path
):
    (tmp_path / "a.png").write_bytes(IMAGE)
    (tmp_path / "b.jpg").write_bytes(b"damaged")
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:], duration=100)
    errors, local_errors = [], []
    results = list(client.stream(tmp_path, errors.append))
    assert len(results) == 3
    assert_all_close(results, list(analyzer.stream(tmp_path, local_errors.append)))
    assert list(map(str, errors)) == list(map(str, local_errors))
    with pytest.raises(mien.UserError, match=r"b\.jpg"):
        list(client.stream(tmp_path))


def test_a_video_gives_the_same_results_as_an_analyzer_and_its_job_is_deleted(
    client, server, analyzer, tmp_path
):
    path = serving.write_video(tmp_path / "clip.mp4", 1)
    for selection in (None, video.FrameSelection(every=3, start=0.2, end=0.7)):
        options = {"selection": selection, "smoothing": 0.3}
        results = list(client.stream(str(path), **options))
        assert results
        assert_all_close(results, list(analyzer.stream(str(path), **options)))
    assert server.jobs.count() == 0
    for _ in client.stream(path):
        break  # a stream that is not read to its end deletes its job as well
    serving.wait_for(lambda: server.jobs.count() == 0)


def test_frames_that_are_decoded_only_locally_or_only_by_the_server_are_skipped(
    client, monkeypatch, tmp_path
):
    path = serving.write_video(tmp_path / "clip.mp4", 0.4)
    expected = {result.frame.number: result for result in client.stream(path)}

    def differently_decoded_frames(*arguments):
        """Omit frame 2, and number the last frame as if another one preceded it."""
        *frames, last = video.frames(*arguments)
        yield from (frame for frame in frames if frame.number != 2)
        yield replace(last, number=last.number + 1)

    # `video.frames` itself is not replaced, because the server uses it in the same process.
    monkeypatch.setattr(
        "mien.client.client.video", SimpleNamespace(frames=differently_decoded_frames)
    )
    results = list(client.stream(path))
    assert [result.frame.number for result in results] == sorted({*expected} - {2, max(expected)})
    for result in results:
        assert result == expected[result.frame.number]


def test_the_server_analyzes_only_the_first_frame_if_the_selection_ends_at_0(
    client, monkeypatch, tmp_path
):
    path = serving.write_video(tmp_path / "clip.mp4", 0.4)
    download, downloaded = client._records, []

    def record_download(job_id):
        for record in download(job_id):
            downloaded.append(record["frame"])
            yield record

    monkeypatch.setattr(client, "_records", record_download)
    (result,) = client.stream(path, selection=video.FrameSelection(end=0.0))
    assert downloaded == [result.frame.number] == [0]


def test_a_full_disk_is_not_reported_as_an_unreachable_server(
    client, server, monkeypatch, tmp_path
):
    class FullFile(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mien.client.client.TemporaryFile", FullFile)
    path = serving.write_video(tmp_path / "clip.mp4", 0.4)
    with pytest.raises(mien.UserError, match=r"temporary file: No space left on device\.$"):
        list(client.stream(path))
    assert server.jobs.count() == 0


def test_a_folder_can_have_images_and_videos_of_which_one_is_damaged(client, analyzer, tmp_path):
    (tmp_path / "a.png").write_bytes(IMAGE)
    serving.write_video(tmp_path / "b.mp4", 0.4)
    (tmp_path / "c.mp4").write_bytes(b"nothing")
    (tmp_path / "d.png").write_bytes(IMAGE)
    for client_or_analyzer in (client, analyzer):
        errors = []
        names = [
            Path(result.frame.source).name
            for result in client_or_analyzer.stream(tmp_path, errors.append)
        ]
        assert list(dict.fromkeys(names)) == ["a.png", "b.mp4", "d.png"]
        assert names.count("b.mp4") == 10
        assert ["c.mp4" in str(error) for error in errors] == [True]
        assert len(list(client_or_analyzer.stream(str(tmp_path / "[ad].png")))) == 2
        with pytest.raises(mien.UserError, match=r"c\.mp4"):
            list(client_or_analyzer.stream(tmp_path))


def test_image_files_are_not_encoded_again_and_rejected_ones_are_skipped(tiny_model, tmp_path):
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


def test_a_name_that_is_not_utf8_is_accepted_and_an_image_with_too_many_pixels_skipped(
    tiny_model, tmp_path
):
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    path = os.fsencode(tmp_path) + b"/b\xff.png"
    with open(path, "wb") as file:
        file.write(IMAGE)
    with serving.on_loopback(tiny_model, max_image_pixels=10_000) as (address, _):
        errors = []
        results = list(mien.Client(address).stream(tmp_path, errors.append))
    assert len(results) == 1
    assert ["pixels" in str(error) for error in errors] == [True]


def test_a_large_file_is_sent_as_png_if_that_is_smaller(monkeypatch, tmp_path):
    monkeypatch.setattr("mien.client.image_bodies.LARGE_FILE_BYTES", 1000)
    Image.new("RGB", (300, 300)).save(tmp_path / "a.bmp")
    frame = image.first_frame(tmp_path / "a.bmp")
    assert len(frame_as_file(frame)) < 20_000 < (tmp_path / "a.bmp").stat().st_size
    # The server reads only the first frame of a file, so later frames are sent as PNG.
    assert frame_as_file(replace(frame, number=1)).startswith(b"\x89PNG")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(tmp_path / "b.png")
    small = image.first_frame(tmp_path / "b.png")
    assert frame_as_file(small) == (tmp_path / "b.png").read_bytes()


def test_model_detector_and_contempt_can_be_selected(server, tiny_model):
    client = mien.Client(server.url, "sesame", detector="whole", model="small", contempt=True)
    (result,) = client.stream(IMAGE)
    assert (result.frame.model, result.frame.detector) == ("small", "whole")
    assert client.models()["default"] == "tiny"
    contempt = mien.Client(server.url, "sesame", contempt=True).analyze(IMAGE)
    assert "contempt" in contempt[0].emotions


def test_an_unreadable_file_is_a_user_error(client, server, tmp_path):
    with pytest.raises(mien.UserError, match="not an image"):
        client.analyze(b"nothing")
    with pytest.raises(mien.UserError, match=r"none\.png"):
        client.analyze(tmp_path / "none.png")
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    for name in ("no.mp4", "none.mp4"):
        with pytest.raises(mien.UserError, match=name):
            list(client.stream(tmp_path / name))
    assert server.jobs.count() == 0


def test_a_video_that_is_not_a_single_local_file_is_a_user_error(client):
    for source in ("camera:0", "rtsp://x/y", "http://x/y.mp4", "frames/%04d.png"):
        with pytest.raises(mien.UserError, match="/live"):
            list(client.stream(source))


def test_a_wrong_address_token_or_model_is_a_user_error(client, server):
    with pytest.raises(mien.UserError, match="bearer token"):
        mien.Client(server.url).analyze(IMAGE)
    with pytest.raises(mien.UserError, match="model 'x'"):
        mien.Client(server.url, "sesame", model="x").analyze(IMAGE)
    with pytest.raises(mien.UserError, match=r"127\.0\.0\.1:9"):
        mien.Client("http://127.0.0.1:9").analyze(IMAGE)
    for url in ("localhost:8000", "ftp://x", "", "http://127.0.0.1:99999"):
        with pytest.raises(mien.UserError, match="address"):
            mien.Client(url)
    with pytest.raises(mien.UserError, match="bearer token"):
        mien.Client(server.url, "слово").analyze(IMAGE)
    # A line break after the token, as at the end of a file, is ignored.
    assert mien.Client(server.url, "sesame\n").analyze(IMAGE) == client.analyze(IMAGE)


def test_errors_that_concern_all_files_are_not_passed_to_on_error(server, tmp_path):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(IMAGE)
    for client in (mien.Client("http://127.0.0.1:9"), mien.Client(server.url, "wrong")):
        errors = []
        with pytest.raises(mien.UserError):
            list(client.stream(tmp_path, errors.append))
        assert errors == []


EMPTY_RECORD = b'{"model": "tiny", "detector": "whole", "faces": []}'


class Busy(http.server.BaseHTTPRequestHandler):
    """Responds with 503 twice, then with a record without faces."""

    requests, retry_after = 0, "0"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Busy.requests += 1
        self.send_response(503 if Busy.requests < 3 else 200)
        self.send_header("Retry-After", Busy.retry_after)
        self.end_headers()
        self.wfile.write(b'{"error": "later"}' if Busy.requests < 3 else EMPTY_RECORD)

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
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(EMPTY_RECORD)}\r\n\r\n".encode()
                connection.sendall(head + EMPTY_RECORD)

        thread = threading.Thread(target=read_slowly, daemon=True)
        thread.start()
        client = mien.Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=1)
        started_at = time.monotonic()
        assert len(client.analyze(body)) == 0
        assert time.monotonic() - started_at > 1.5  # longer than the timeout
        assert received.endswith(body)
        thread.join()


def test_a_response_that_ends_early_is_a_user_error():
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(EMPTY_RECORD) + 1}\r\n\r\n".encode()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def respond():
            connection, _ = listener.accept()
            with connection:
                received = b""
                while not received.endswith(IMAGE[-100:]):
                    received += connection.recv(2**18)
                connection.sendall(head + EMPTY_RECORD)

        thread = threading.Thread(target=respond, daemon=True)
        thread.start()
        client = mien.Client(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=5)
        with pytest.raises(mien.UserError, match="ended early"):
            client.analyze(IMAGE)
        thread.join()


def test_several_threads_can_use_one_client(client):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(client.analyze, [IMAGE] * 40))
    assert [len(faces) for faces in results] == [1] * 40
