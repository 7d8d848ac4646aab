"""A service for tests: in this process behind a TestClient, or a real one on loopback."""

import io
import threading
import time
from contextlib import contextmanager

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from mien.server.app import create
from mien.server.settings import Settings

HOSTS = ("testserver", "localhost", "127.0.0.1")


def settings(model, **wanted):
    return Settings(
        **{"model": str(model), "detector": "whole", "hosts": HOSTS, "workers": 2, **wanted}
    )


@contextmanager
def in_process(model, **wanted):
    """A TestClient of a service whose lifespan goes on."""
    with TestClient(create(settings(model, **wanted)), raise_server_exceptions=False) as client:
        yield client


@contextmanager
def on_loopback(model, **wanted):
    """A real server in a thread; gives its address, and the server."""
    from mien.server.server import Server

    server = Server(settings(model, port=0, **wanted))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield server.address(), server
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


def wait_for(ready, seconds=20.0):
    """Wait until something is so, or fail."""
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)


def picture(wide=64, high=48, form="PNG", seed=0):
    """Some picture as the bytes of a file."""
    pixels = np.random.default_rng(seed).integers(0, 256, (high, wide, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form)
    return file.getvalue()


def clip(path, seconds, size=(320, 180), codec="mpeg4"):
    """A video file of slowly changing noise, with a tone."""
    import av

    dice = np.random.default_rng(0)
    ground = dice.integers(0, 256, (size[1] + 32, size[0], 3), np.uint8)
    with av.open(str(path), "w") as out:
        film = out.add_stream(codec, rate=25)
        film.width, film.height = size
        sound = out.add_stream("aac", rate=8000) if codec == "mpeg4" else None
        for k in range(int(25 * seconds)):
            shown = np.ascontiguousarray(ground[k % 32 :][: size[1]])
            out.mux(film.encode(av.VideoFrame.from_ndarray(shown)))
        out.mux(film.encode())
        if sound is None:
            return path
        tone = np.sin(np.arange(int(8000 * min(seconds, 2))) / 3).astype(np.float32)[None]
        heard = av.AudioFrame.from_ndarray(tone, "fltp", "mono")
        heard.sample_rate = 8000
        out.mux(sound.encode(heard))
        out.mux(sound.encode())
    return path


def service(client):
    """What is behind a TestClient."""
    return client.app.state.service


def service_of(server):
    """What is behind a real server."""
    return server.config.app.state.service
