"""Live frames over a WebSocket, on a real server."""

import asyncio
import json
import re
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import NamedTuple

import pytest
import uvicorn
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import mien
from mien.server import live as live_module
from mien.server import protocols
from mien.server.backend import Backend
from mien.server.live import LatestFrame
from mien.server.settings import Settings
from mien.tracking import shots
from tests.server import serving

FRAME = serving.image_file(image_format="JPEG")
OTHER_FRAME = serving.image_file(image_format="JPEG", seed=9, max_value=100)
"""A frame that differs from `FRAME` in its pixels and its histogram, as after a cut."""


class LiveServer(NamedTuple):
    """A running server, the URL of its /live, and its backend."""

    url: str
    backend: Backend
    uvicorn_server: uvicorn.Server


@contextmanager
def live_server(model, **settings):
    """Run a server and yield it as a `LiveServer`."""
    with serving.on_loopback(model, **settings) as (url, server):
        live_url = url.replace("http", "ws") + "/live"
        yield LiveServer(live_url, serving.server_backend(server), server)


@pytest.fixture(scope="module")
def server(tiny_model):
    with live_server(tiny_model, max_live_connections=2) as server:
        yield server


def open_live(server, query="", **options):
    return connect(server.url + query, compression=None, **options)


def wait_until_closed(server):
    serving.wait_for(lambda: server.backend.live.connections == 0)


def test_records_have_face_ids_and_smoothed_emotions(server, tiny_model):
    with open_live(server, "?smooth=1&contempt=true") as live:
        last_seconds = -1.0
        for number in range(5):
            live.send(OTHER_FRAME if number == 3 else FRAME)
            record = json.loads(live.recv(5))
            assert (record["frame"], record["source"], record["model"]) == (number, "live", "tiny")
            # The cuts before and after frame 3 start new shots.
            if number == 3:
                # A shot lasts at least this long; without a pause, frame 4 could not start one.
                time.sleep(shots.MIN_SHOT_SECONDS + 0.05)
            assert record["shot"] == (0, 0, 0, 1, 2)[number]
            (face,) = record["faces"]
            # The only face of each shot has a new id.
            assert face["face_id"] == record["shot"]
            assert sum(face["smoothed"].values()) == pytest.approx(1)
            assert record["seconds"] > last_seconds
            last_seconds = record["seconds"]
    result = mien.Analyzer(tiny_model, "whole", contempt=True).analyze(FRAME)
    assert set(face["emotions"]) == set(result[0].emotions)
    wait_until_closed(server)


def test_an_unreadable_frame_gives_an_error_and_the_next_a_record(server):
    with open_live(server) as live:
        live.send(b"not an image")
        response = json.loads(live.recv(5))
        assert response["frame"] == 0
        assert "image" in response["error"]
        live.send(FRAME)
        assert json.loads(live.recv(5))["frame"] == 1
        live.send(b"")
        assert "error" in json.loads(live.recv(5))
    wait_until_closed(server)


def test_jpegs_with_more_pixels_than_the_limit_are_decoded_at_a_reduced_size(tiny_model):
    session = live_module.LiveSession(mien.Analyzer(tiny_model, "whole"), 0.5, max_pixels=1000)
    for number, side in enumerate([36, 60, 80]):
        text, _ = session.analyze(serving.image_file(side, side, "JPEG"), number, number / 10)
        record = json.loads(text)
        assert (record["frame"], record["source"]) == (number, "live")
        assert (record["width"], record["height"]) == (side, side)
        assert record["faces"][0]["box"] == [0, 0, side, side]
    with pytest.raises(mien.UserError, match="limit"):
        session.analyze(serving.image_file(60, 40, "PNG"), 3, 0.3)


def test_text_messages_and_large_frames_close_the_connection(server):
    with open_live(server) as live:
        live.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(5)
    assert closed.value.rcvd.code == 1008
    with open_live(server) as live:
        with suppress(ConnectionClosed):
            live.send(b"x" * (Settings.max_live_frame_bytes + 1))
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(5)
    # The close frame is lost if the server closes the connection before it has read everything.
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    wait_until_closed(server)


def test_frames_are_dropped_instead_of_queued(server, monkeypatch):
    def analyze_slowly(self, body, number, seconds):
        time.sleep(0.05)
        return json.dumps({"frame": number}), 0

    monkeypatch.setattr(live_module.LiveSession, "analyze", analyze_slowly)
    with open_live(server) as live:
        for _ in range(100):
            live.send(FRAME)
            time.sleep(0.002)
        sent_at = time.monotonic()
        numbers = []
        while not numbers or numbers[-1] < 99:
            numbers.append(json.loads(live.recv(5))["frame"])
        # Without dropping, the analysis of all 100 frames would take 5 seconds.
        assert time.monotonic() - sent_at < 2
    assert len(numbers) < 60
    assert numbers == sorted(set(numbers))
    wait_until_closed(server)
    text = server.backend.metrics.text()
    (dropped,) = re.findall(r"^mien_live_frames_dropped_total (\S+)$", text, re.MULTILINE)
    assert float(dropped) >= 100 - len(numbers)


def test_connections_are_limited_and_closed_connections_do_not_count(server):
    with open_live(server), open_live(server):
        with pytest.raises(InvalidStatus) as denied, open_live(server):
            pass
        assert denied.value.response.status_code == 503
        assert denied.value.response.headers["retry-after"]
    wait_until_closed(server)
    with open_live(server) as live:
        live.send(FRAME)
        live.recv(5)
        live.socket.shutdown(socket.SHUT_RDWR)  # without a WebSocket close frame
        wait_until_closed(server)


# Frames as a client sends them: opcode, length with the mask bit, and a mask of zeros.
EMPTY_PING, EMPTY_PONG = b"\x89\x80\0\0\0\0", b"\x8a\x80\0\0\0\0"
SMALL_MESSAGE = b"\x82\x81\0\0\0\0x"
FIRST_FRAGMENT, NEXT_FRAGMENT = b"\x02\x81\0\0\0\0x", b"\0\x81\0\0\0\0x"


def close_frame_after(server, data):
    """Send raw bytes, and return the close frame of the server."""
    with open_live(server) as live:
        live.socket.sendall(data)
        with suppress(ConnectionClosed):
            while True:
                live.recv(5)
    wait_until_closed(server)
    return live.protocol.close_rcvd


@pytest.mark.parametrize("frame", [EMPTY_PING, EMPTY_PONG, SMALL_MESSAGE, NEXT_FRAGMENT])
def test_a_flood_of_small_frames_closes_the_connection_and_states_the_limit(server, frame):
    first = FIRST_FRAGMENT if frame == NEXT_FRAGMENT else b""
    close = close_frame_after(server, first + 40_000 * frame)
    assert close.code == 1008
    assert str(protocols.MAX_SMALL_FRAMES_PER_SECOND) in close.reason
    assert str(protocols.SMALL_FRAME_BYTES) in close.reason


def test_pings_and_fragments_within_the_limit_are_accepted(server):
    with open_live(server) as live:
        for _ in range(3):
            assert live.ping().wait(5)
            live.send(iter([FRAME[:1000], FRAME[1000:]]))
            assert json.loads(live.recv(5))["faces"]
    wait_until_closed(server)


def test_text_that_is_not_utf8_closes_the_connection_and_logs_nothing(server, caplog):
    close = close_frame_after(server, b"\x81\x82\0\0\0\0\xff\xfe")
    assert (close.code, "UTF-8" in close.reason) == (1007, True)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("query", "expected_text"),
    [("?model=x", "'x'"), ("?detector=/x", "/x"), ("?smooth=-1", "smooth"), ("?modle=x", "modle")],
)
def test_an_invalid_parameter_denies_the_connection_with_an_error(server, query, expected_text):
    with pytest.raises(InvalidStatus) as denied, open_live(server, query):
        pass
    assert denied.value.response.status_code == 422
    assert expected_text in json.loads(denied.value.response.body)["error"]


def test_a_page_of_another_origin_is_denied(server):
    with pytest.raises(InvalidStatus) as denied, open_live(server, origin="https://evil.example"):
        pass
    assert denied.value.response.status_code == 403


def test_an_idle_connection_is_closed(tiny_model):
    with live_server(tiny_model, live_idle_timeout_seconds=0.2) as server:
        with open_live(server) as live, pytest.raises(ConnectionClosed):
            live.recv(5)
        wait_until_closed(server)


def test_a_client_that_does_not_read_is_disconnected(tiny_model, monkeypatch):
    monkeypatch.setattr(live_module.LiveSession, "analyze", lambda *_: ("x" * 2**20, 0))
    with (
        live_server(tiny_model, client_timeout_seconds=0.3) as server,
        open_live(server, max_queue=1) as live,
    ):
        stop = threading.Event()

        def send():
            with suppress(ConnectionClosed):
                while not stop.is_set():
                    live.send(FRAME)
                    time.sleep(0.005)

        sender = threading.Thread(target=send)
        sender.start()
        try:
            serving.wait_for(lambda: server.backend.live.connections == 1)
            wait_until_closed(server)
        finally:
            stop.set()
            live.socket.shutdown(socket.SHUT_RDWR)
            sender.join(10)


def test_a_shutdown_closes_live_connections(tiny_model):
    with live_server(tiny_model) as server:
        with open_live(server) as live:
            live.send(FRAME)
            assert json.loads(live.recv(5))["faces"]
            server.uvicorn_server.should_exit = True
            with pytest.raises(ConnectionClosed) as closed:
                live.recv(10)
        # Closed by `LiveAnalysis` (going away) or by uvicorn (service restart).
        assert closed.value.rcvd.code in (1001, 1012)


def test_only_the_latest_frame_is_kept():
    async def put_and_get():
        latest = LatestFrame()
        for k in range(5):
            latest.put(bytes([k]))
        body, number, _ = await latest.get()
        assert (body, number, latest.dropped) == (b"\4", 4, 4)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(latest.get(), 0.01)

    asyncio.run(put_and_get())
