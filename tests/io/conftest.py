"""Fixtures for tests of videos: a short clip, and a server of a live stream."""

import io
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tests.synthetic import clip_files, clips, tiny


@pytest.fixture(scope="module")
def sample_faces():
    return tiny.samples(28)


@pytest.fixture(scope="module")
def clip(sample_faces, tmp_path_factory):
    """Path and ground truth of a clip of the scenario "one": a face, for 1 s, with audio."""
    path = tmp_path_factory.mktemp("clips") / "one.mp4"
    frames = clips.frames("one", sample_faces, size=(320, 180), seconds=1)
    return path, clip_files.encode(path, frames, sound=True)


class MjpegServer:
    """Serves Motion JPEG over HTTP on the loopback interface while `is_open` is true."""

    def __init__(self):
        images = [np.full((48, 64, 3), 10 * k, np.uint8) for k in range(20)]
        self.bodies = [self._jpeg(image) for image in images]
        self.is_open = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=x")
                self.end_headers()
                number = 0
                while server.is_open:
                    body = server.bodies[number % len(server.bodies)]
                    head = f"--x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
                    try:
                        self.wfile.write(head.encode() + body + b"\r\n")
                    except OSError:
                        return
                    number += 1
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
    mjpeg_server = MjpegServer()
    yield mjpeg_server
    mjpeg_server.is_open = False
    mjpeg_server.http.shutdown()
    mjpeg_server.http.server_close()
