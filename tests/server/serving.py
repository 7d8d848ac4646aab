"""Run the application for tests, behind a TestClient or as a real server, and make input files."""

import io
import threading
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from mien.server.app import create_app
from mien.server.settings import Settings

HOSTS = ("testserver", "localhost", "127.0.0.1")
"""Host names that the server accepts; the first is that of a TestClient."""


def settings(model, **overrides):
    """Return settings for tests, with two workers and the detector `whole`.

    This detector returns the central square of an image as its only face.
    """
    defaults = {"model": str(model), "detector": "whole", "allowed_hosts": HOSTS, "workers": 2}
    return Settings(**{**defaults, **overrides})


@contextmanager
def in_process(model, **overrides):
    """Yield a TestClient of a running application; an exception in it gives status 500."""
    app = create_app(settings(model, **overrides))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def on_loopback(model, **overrides):
    """Run a real server in a thread, and yield its URL and the `Server`."""
    from mien.server.server import Server

    server = Server(settings(model, port=0, **overrides))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield server.url(), server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def wait_for(condition, timeout_seconds=20.0):
    """Wait until `condition()` is true; fail after the timeout."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)


def image_file(width=64, height=48, image_format="PNG", seed=0, max_value=255):
    """Return the content of an image file with noise of values from 0 to `max_value`."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, max_value, (height, width, 3), np.uint8, endpoint=True)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


def write_video(path, seconds, size=(320, 180), codec="mpeg4"):
    """Write a video of scrolling noise at 25 frames per second, and return `path`.

    If the codec is mpeg4, the video has a tone of at most two seconds.
    """
    import av

    width, height = size
    noise = np.random.default_rng(0).integers(0, 256, (height + 32, width, 3), np.uint8)
    with av.open(str(path), "w") as output:
        video = output.add_stream(codec, rate=25)
        video.width, video.height = size
        audio = output.add_stream("aac", rate=8000) if codec == "mpeg4" else None
        for number in range(int(25 * seconds)):
            pixels = np.ascontiguousarray(noise[number % 32 :][:height])
            output.mux(video.encode(av.VideoFrame.from_ndarray(pixels)))
        output.mux(video.encode())
        if audio is None:
            return path
        tone = np.sin(np.arange(int(8000 * min(seconds, 2))) / 3).astype(np.float32)[None]
        samples = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        samples.sample_rate = 8000
        output.mux(audio.encode(samples))
        output.mux(audio.encode())
    return path


def client_backend(client):
    """Return the `Backend` of a TestClient's application."""
    return client.app.state.backend


def server_backend(server):
    """Return the `Backend` of a real server."""
    return server.config.app.state.backend
