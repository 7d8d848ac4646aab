"""`mien.Client`: the Analyzer's methods, answered by a service."""

import http.server
import os
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

PICTURE = serving.image_file()


@pytest.fixture(scope="module")
def server(tiny_model):
    with serving.on_loopback(tiny_model, token="sesame", max_jobs=2) as (url, server):
        yield url, server._service


@pytest.fixture
def client(server):
    return mien.Client(server[0], token="sesame", timeout=20)


@pytest.fixture(scope="module")
def analyzer(tiny_model):
    return mien.Analyzer(tiny_model, "whole")


def same(found, want):
    assert len(found) == len(want)
    for one, other in zip(found, want, strict=True):
        assert (one.box, one.face_id, one.flags) == (other.box, other.face_id, other.flags)
        assert dict(one.emotions) == pytest.approx(dict(other.emotions))
        assert (one.smoothed is None) == (other.smoothed is None)
        if one.smoothed is not None:
            assert dict(one.smoothed) == pytest.approx(dict(other.smoothed))
    return True


def test_a_picture_in_every_form_gives_the_same_faces(client, analyzer, photo, astronaut):
    want = analyzer.analyze(photo)
    for what in (photo, str(photo), photo.read_bytes(), astronaut, Image.fromarray(astronaut)):
        same(client.analyze(what), want)
    drawn = mien.draw(astronaut, client.analyze(photo))
    assert drawn.shape[2] == 3


def test_a_folder_and_a_moving_picture_stream(client, analyzer, tmp_path):
    (tmp_path / "a.png").write_bytes(PICTURE)
    (tmp_path / "b.jpg").write_bytes(b"damaged")
    frames = [Image.new("RGB", (40, 40), color) for color in ("red", "blue")]
    frames[0].save(tmp_path / "c.gif", save_all=True, append_images=frames[1:], duration=100)
    bad, bad_here = [], []
    found = list(client.stream(tmp_path, bad.append))
    want = list(analyzer.stream(tmp_path, bad_here.append))
    assert [one.frame for one in found] == [one.frame for one in want]
    assert len(found) == 3
    assert all(same(one, other) for one, other in zip(found, want, strict=True))
    assert list(map(str, bad)) == list(map(str, bad_here))
    with pytest.raises(mien.UserError, match="not an image"):
        list(client.stream(tmp_path))


def test_a_video_streams_with_ids_and_smoothed_emotions(client, server, analyzer, tmp_path):
    path = serving.write_video(tmp_path / "clip.mp4", 1)
    for part in (None, video.FrameSelection(every=3, start=0.2, end=0.7)):
        found = list(client.stream(str(path), None, part, 0.3))
        want = list(analyzer.stream(str(path), None, part, 0.3))
        assert [one.frame for one in found] == [one.frame for one in want]
        assert all(same(one, other) for one, other in zip(found, want, strict=True))
    assert server[1].jobs.count() == 0
    for _ in client.stream(path):
        break
    serving.wait_for(lambda: server[1].jobs.count() == 0)


def test_a_folder_streams_its_videos_too(client, analyzer, tmp_path):
    (tmp_path / "a.png").write_bytes(PICTURE)
    serving.write_video(tmp_path / "b.mp4", 0.4)
    (tmp_path / "c.mp4").write_bytes(b"nothing")
    (tmp_path / "d.png").write_bytes(PICTURE)
    for who in (client, analyzer):
        bad = []
        found = [Path(one.frame.source).name for one in who.stream(tmp_path, bad.append)]
        assert list(dict.fromkeys(found)) == ["a.png", "b.mp4", "d.png"]
        assert found.count("b.mp4") > 5
        assert ["c.mp4" in str(error) for error in bad] == [True]
        assert len(list(who.stream(str(tmp_path / "[ad].png")))) == 2
        with pytest.raises(mien.UserError, match=r"c\.mp4"):
            list(who.stream(tmp_path))


def test_a_still_is_sent_as_its_file_and_what_is_refused_is_skipped(tiny_model, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 600, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", quality=60)
    Image.fromarray(noise).save(tmp_path / "b.png")
    assert (tmp_path / "a.jpg").stat().st_size < 2**19 < (tmp_path / "b.png").stat().st_size
    with serving.on_loopback(tiny_model, max_body_bytes=2**19) as (address, _):
        bad = []
        client = mien.Client(address)
        found = [Path(one.frame.source).name for one in client.stream(tmp_path, bad.append)]
        assert found == ["a.jpg"]
        assert ["MiB" in str(error) for error in bad] == [True]
        with pytest.raises(mien.UserError, match="MiB"):
            list(client.stream(tmp_path))


def test_what_a_service_will_not_read_and_what_has_no_name_here(tiny_model, tmp_path):
    Image.new("RGB", (300, 300)).save(tmp_path / "a.png")
    strange = os.fsencode(tmp_path) + b"/b\xff.png"
    with open(strange, "wb") as file:
        file.write(PICTURE)
    with serving.on_loopback(tiny_model, max_pixels=10_000) as (address, _):
        bad = []
        found = list(mien.Client(address).stream(tmp_path, bad.append))
    assert len(found) == 1
    assert ["pixels" in str(error) for error in bad] == [True]


def test_of_a_large_still_its_pixels_are_sent_if_they_are_less(monkeypatch, tmp_path):
    monkeypatch.setattr("mien.client.LARGE_FILE", 1000)
    Image.new("RGB", (300, 300)).save(tmp_path / "a.bmp")
    frame = replace(image.first_frame(tmp_path / "a.bmp"))
    assert len(_frame_file(frame)) < 20_000 < (tmp_path / "a.bmp").stat().st_size
    assert _frame_file(replace(frame, number=1)).startswith(b"\x89PNG")
    Image.fromarray(np.zeros((200, 200, 3), np.uint8)).save(tmp_path / "b.png")
    small = image.first_frame(tmp_path / "b.png")
    assert _frame_file(small) == (tmp_path / "b.png").read_bytes()


def test_options_are_passed_on(server, tiny_model):
    client = mien.Client(server[0], "sesame", detector="whole", model="default", contempt=True)
    (result,) = client.stream(PICTURE)
    assert (result.frame.model, result.frame.detector) == ("default", "whole")
    assert client.models()["default"] == "tiny"
    contempt = mien.Client(server[0], "sesame", contempt=True).analyze(PICTURE)
    assert "contempt" in contempt[0].emotions


def test_what_is_wrong_is_a_user_error_with_the_services_sentence(client, server, tmp_path):
    with pytest.raises(mien.UserError, match="not an image"):
        client.analyze(b"nothing")
    with pytest.raises(mien.UserError, match="file not found"):
        client.analyze(tmp_path / "none.png")
    with pytest.raises(mien.UserError, match="bearer token"):
        mien.Client(server[0]).analyze(PICTURE)
    with pytest.raises(mien.UserError, match="model 'x'"):
        mien.Client(server[0], "sesame", model="x").analyze(PICTURE)
    with pytest.raises(mien.UserError, match=r"Cannot reach .* 127\.0\.0\.1:9: "):
        mien.Client("http://127.0.0.1:9").analyze(PICTURE)
    for wrong in ("localhost:8000", "ftp://x", ""):
        with pytest.raises(mien.UserError, match="address"):
            mien.Client(wrong)
    with pytest.raises(mien.UserError, match="address"):
        mien.Client("http://127.0.0.1:99999")
    with pytest.raises(mien.UserError, match="bearer token"):
        mien.Client(server[0], "слово").analyze(PICTURE)
    assert mien.Client(server[0], "sesame\n").analyze(PICTURE) == client.analyze(PICTURE)
    for what in ("camera:0", "rtsp://x/y"):
        with pytest.raises(mien.UserError, match="/live"):
            list(client.stream(what))
    (tmp_path / "no.mp4").write_bytes(b"nothing")
    with pytest.raises(mien.UserError, match=r"no\.mp4 as a video"):
        list(client.stream(tmp_path / "no.mp4"))
    with pytest.raises(mien.UserError, match="file not found"):
        list(client.stream(tmp_path / "none.mp4"))
    for one in ("a.png", "b.png"):
        (tmp_path / one).write_bytes(PICTURE)
    for wrong in (mien.Client("http://127.0.0.1:9"), mien.Client(server[0], "wrong")):
        bad = []
        with pytest.raises(mien.UserError, match=r"Cannot reach|bearer token"):
            list(wrong.stream(tmp_path, bad.append))
        assert bad == []
    assert server[1].jobs.count() == 0


NO_FACE = b'{"model": "tiny", "detector": "whole", "faces": []}'


class Busy(http.server.BaseHTTPRequestHandler):
    """Says 503 twice, then that there is no face."""

    asked, wait = 0, "0"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        Busy.asked += 1
        self.send_response(503 if Busy.asked < 3 else 200)
        self.send_header("Retry-After", Busy.wait)
        self.end_headers()
        self.wfile.write(b'{"error": "later"}' if Busy.asked < 3 else NO_FACE)

    def log_message(self, *_):
        pass


def test_a_busy_service_is_asked_again_for_a_while():
    with http.server.HTTPServer(("127.0.0.1", 0), Busy) as busy:
        thread = threading.Thread(target=busy.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{busy.server_port}/under/a/path/"
            assert len(mien.Client(url).analyze(PICTURE)) == 0
            assert Busy.asked == 3
            Busy.asked, Busy.wait = 0, "9"
            with pytest.raises(mien.UserError, match="later"):
                mien.Client(url, timeout=5).analyze(PICTURE)
        finally:
            busy.shutdown()
            thread.join()


def test_many_threads_may_share_a_client(client):
    from concurrent.futures import ThreadPoolExecutor

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(client.analyze, [PICTURE] * 40))
    assert all(len(faces) == 1 for faces in found)
    assert time.monotonic() - began < 30
