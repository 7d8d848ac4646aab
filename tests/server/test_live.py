"""Live frames over a WebSocket, on a real server."""

import json
import socket
import struct
import threading
import time
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

import mien
from mien.server.live import Newest
from tests.server import serving

FRAME = serving.picture(form="JPEG")


@pytest.fixture(scope="module")
def server(tiny_model):
    with serving.on_loopback(tiny_model, max_live=2) as (url, server):
        yield url.replace("http", "ws") + "/live", server._service


def opened(server, query="", **wanted):
    return connect(server[0] + query, compression=None, **wanted)


def wait_until_free(server):
    serving.wait_for(lambda: server[1].live.connections == 0)


def test_each_frame_is_answered_with_ids_and_smoothed_emotions(server, tiny_model):
    with opened(server, "?smooth=1&contempt=true") as live:
        before = None
        for number in range(5):
            live.send(FRAME if number != 3 else serving.picture(seed=9, form="JPEG"))
            found = json.loads(live.recv(5))
            assert (found["frame"], found["source"], found["model"]) == (number, "live", "tiny")
            (face,) = found["faces"]
            assert face["face_id"] == 0
            assert sum(face["smoothed"].values()) == pytest.approx(1)
            assert before is None or found["seconds"] > before
            before = found["seconds"]
    alone = mien.Analyzer(tiny_model, "whole", contempt=True).analyze(FRAME)
    assert set(face["emotions"]) == set(alone[0].emotions)
    wait_until_free(server)


def test_a_bad_frame_is_told_and_the_next_is_answered(server):
    with opened(server) as live:
        live.send(b"no picture")
        found = json.loads(live.recv(5))
        assert (found["frame"], "not a picture" in found["error"]) == (0, True)
        live.send(FRAME)
        assert json.loads(live.recv(5))["frame"] == 1
        live.send(b"")
        assert "empty" in json.loads(live.recv(5))["error"]
    wait_until_free(server)


def test_text_and_frames_that_are_too_large_end_it(server):
    with opened(server) as live:
        live.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(5)
    assert closed.value.rcvd.code == 1008
    with opened(server) as live:
        with suppress(ConnectionClosed):
            live.send(b"x" * (5 * 2**20))
        with pytest.raises(ConnectionClosed) as closed:
            live.recv(5)
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    wait_until_free(server)


def test_who_sends_faster_than_can_be_answered_misses_frames_and_nothing_queues(
    server, monkeypatch
):
    from mien.server import live as module

    def slowly(self, body, number, seconds):
        time.sleep(0.05)
        return json.dumps({"frame": number}), 0

    monkeypatch.setattr(module.Follower, "__call__", slowly)
    with opened(server) as live:
        for _ in range(100):
            live.send(FRAME)
            time.sleep(0.002)
        last = time.monotonic()
        answered = []
        while not answered or answered[-1] < 99:
            answered.append(json.loads(live.recv(5))["frame"])
        assert time.monotonic() - last < 2
    assert len(answered) < 60
    assert answered == sorted(set(answered))
    wait_until_free(server)
    assert "mien_live_dropped_total" in server[1].metrics.text()


def test_only_so_many_at_once_and_gone_ones_make_room(server):
    with opened(server), opened(server):
        with pytest.raises(InvalidStatus) as refused, opened(server):
            pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.headers["retry-after"]
    wait_until_free(server)
    # One that vanishes without a word.
    with opened(server) as live:
        live.send(FRAME)
        live.recv(5)
        live.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        live.socket.shutdown(socket.SHUT_RDWR)
        wait_until_free(server)


def test_what_is_wrong_is_refused_before_it_opens(server):
    for query, status in (("?model=x", 422), ("?detector=/x", 422), ("?smooth=-1", 403)):
        with pytest.raises(InvalidStatus) as refused, opened(server, query):
            pass
        assert refused.value.response.status_code in (status, 422)
    with pytest.raises(InvalidStatus) as refused, opened(server, origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_who_sends_nothing_is_let_go(tiny_model):
    with serving.on_loopback(tiny_model, live_seconds=0.2) as (url, server):
        live = (url.replace("http", "ws") + "/live", server._service)
        with opened(live) as silent, pytest.raises(ConnectionClosed):
            silent.recv(5)
        wait_until_free(live)


def test_who_takes_no_answers_is_let_go(tiny_model, monkeypatch):
    from mien.server import live as module

    monkeypatch.setattr(module.Follower, "__call__", lambda *_: ("x" * 2**20, 0))
    with serving.on_loopback(tiny_model, slow=0.3) as (url, server):
        here = (url.replace("http", "ws") + "/live", server._service)
        with opened(here, max_queue=1) as live:
            stop = threading.Event()

            def send():
                try:
                    while not stop.is_set():
                        live.send(FRAME)
                        time.sleep(0.005)
                except ConnectionClosed:
                    pass

            sender = threading.Thread(target=send)
            sender.start()
            try:
                serving.wait_for(lambda: here[1].live.connections == 1)
                wait_until_free(here)
            finally:
                stop.set()
                live.socket.shutdown(socket.SHUT_RDWR)
                sender.join(10)


def test_a_live_connection_is_told_when_the_service_ends(tiny_model):
    with serving.on_loopback(tiny_model) as (url, server):
        with connect(url.replace("http", "ws") + "/live") as live:
            live.send(FRAME)
            assert json.loads(live.recv(5))["faces"]
            server.should_exit = True
            with pytest.raises(ConnectionClosed) as closed:
                live.recv(10)
        assert closed.value.rcvd.code in (1001, 1012)


def test_only_the_newest_frame_waits():
    import asyncio

    async def use():
        newest = Newest()
        for k in range(5):
            newest.put(bytes([k]))
        body, number, _ = await newest.take()
        assert (body, number, newest.dropped) == (b"\4", 4, 4)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(newest.take(), 0.01)

    asyncio.run(use())
