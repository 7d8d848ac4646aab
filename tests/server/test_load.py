"""A real server with too many, too slow and too sudden clients; and its end."""

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest

import mien
from mien.server import server as module
from mien.server.admission import Admission
from mien.server.job import Wanted
from tests.server import serving

PICTURE = serving.picture()


def ask(url, body=PICTURE, path="/analyze", method="POST"):
    """Status, headers and JSON of one request."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": "image/png"})
        found = connection.getresponse()
        return found.status, found.headers, json.loads(found.read())
    finally:
        connection.close()


def plain(url, sent=b""):
    """A bare connection that has sent some bytes."""
    where = urlsplit(url)
    opened = socket.create_connection((where.hostname, where.port), timeout=20)
    opened.sendall(sent)
    return opened


def dripped(connection, part, times):
    """Send a part again and again, until nobody takes it any more."""
    for _ in range(times):
        connection.sendall(part)
        time.sleep(0.0005)


def head(length, path="/analyze"):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()  # fmt: skip


def slowed(server, seconds):
    """Have every picture take so long; gives what counts them."""
    pictures, began = server._service.pictures, []
    records = pictures._records

    def slowly(*asked):
        began.append(asked)
        time.sleep(seconds)
        return records(*asked)

    pictures._records = slowly
    return began


def test_ten_times_too_much_is_refused_in_part_and_all_else_is_right(tiny_model):
    want = mien.Analyzer(tiny_model, "whole").analyze(PICTURE)
    with serving.on_loopback(tiny_model, max_waiting=4) as (url, server):
        slowed(server, 0.05)
        with ThreadPoolExecutor(40) as pool:
            found = list(pool.map(lambda _: ask(url), range(120)))
        statuses = [status for status, *_ in found]
        assert set(statuses) == {200, 503}
        for status, headers, answer in found:
            if status == 200:
                assert answer["faces"][0]["emotions"] == pytest.approx(dict(want[0].emotions))
            else:
                assert 1 <= int(headers["Retry-After"]) <= 30
                assert "try again" in answer["error"]
        room = server._service.pictures.room
        assert (room.taken, room.held) == (0, 0)
        assert ask(url)[0] == 200
        assert ask(url, None, "/readyz", "GET")[0] == 200


def test_it_is_not_ready_while_it_is_full_but_alive(tiny_model):
    with serving.on_loopback(tiny_model, max_waiting=1) as (url, server):
        began = slowed(server, 0.5)
        busy = threading.Thread(target=ask, args=[url])
        busy.start()
        serving.wait_for(lambda: began)
        assert ask(url, None, "/readyz", "GET")[0] == 503
        assert ask(url, None, "/healthz", "GET")[0] == 200
        busy.join()
        serving.wait_for(lambda: ask(url, None, "/readyz", "GET")[0] == 200)


def test_all_bodies_together_are_bounded(tiny_model):
    large = serving.picture(700, 700)
    with serving.on_loopback(tiny_model, max_held=2 * len(large)) as (url, server):
        slowed(server, 0.3)
        with ThreadPoolExecutor(6) as pool:
            statuses = sorted(
                status for status, *_ in pool.map(lambda _: ask(url, large), range(6))
            )
        assert 200 in statuses
        assert statuses[-1] == 503
        assert server._service.pictures.room.held == 0


def test_work_for_somebody_who_left_is_not_begun(tiny_model):
    with serving.on_loopback(tiny_model, workers=1) as (url, server):
        began = slowed(server, 0.4)
        first = threading.Thread(target=ask, args=[url])
        first.start()
        serving.wait_for(lambda: began)
        for _ in range(5):
            with plain(url, head(len(PICTURE)) + PICTURE) as gone:
                serving.wait_for(lambda: server._service.pictures.room.taken == 2)
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            serving.wait_for(lambda: server._service.pictures.room.taken == 1)
        first.join()
        assert len(began) == 1
        assert ask(url)[0] == 200


def test_a_body_that_never_ends_or_comes_too_slowly_is_given_up(tiny_model):
    with serving.on_loopback(tiny_model, slow=0.3) as (url, server):
        with plain(url, head(1000) + b"half") as slow:
            assert b" 408 " in slow.recv(1000)
        room = server._service.pictures.room
        with plain(url, head(1000) + b"half"):
            serving.wait_for(lambda: room.held == 4)
            assert room.taken == 0
        serving.wait_for(lambda: room.held == 0)
        with plain(url, head(1000, "/videos").replace(b"image/png", b"video/mp4") + b"x") as slow:
            assert b" 408 " in slow.recv(1000)
        serving.wait_for(lambda: server._service.jobs.count() == 0)


def test_headers_that_do_not_come_or_do_not_end_are_not_waited_for(tiny_model, monkeypatch):
    monkeypatch.setattr(module, "HEADERS_WITHIN", 0.3)
    with serving.on_loopback(tiny_model) as (url, server):
        with plain(url) as silent:
            assert silent.recv(100) == b""
        with plain(url, b"GET /healthz HTTP/1.1\r\nHo") as half:
            assert half.recv(100) == b""
        monkeypatch.setattr(module, "HEADERS_WITHIN", 30)
        with plain(url, b"GET / HTTP/1.1\r\n") as endless, pytest.raises(OSError):
            dripped(endless, b"x-y: " + b"z" * 1000 + b"\r\n", 1000)
        with plain(url, b"\x16\x03\x01 nonsense\r\n\r\n") as nonsense:
            assert b" 400 " in nonsense.recv(1000)
        serving.wait_for(lambda: not server.server_state.connections)
        assert ask(url)[0] == 200


def test_who_does_not_take_an_answer_is_let_go(tiny_model, caplog):
    with serving.on_loopback(tiny_model, slow=0.3) as (url, server):
        job = server._service.jobs.open("a.mp4", Wanted())
        with open(job.folder / "faces.csv", "wb") as file:
            file.truncate(64 * 2**20)
        job.state = "done"
        path = f"/videos/{job.id}/results/faces.csv"
        with plain(url, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()) as slow:
            slow.recv(10)
            serving.wait_for(lambda: 'status="499"' in server._service.metrics.text())
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("end", ["Connection: close\r\n", ""])
def test_who_leaves_the_rest_of_an_answer_untaken_is_cut(tiny_model, monkeypatch, end):
    monkeypatch.setattr(module, "CUT_AFTER", 0.2)
    monkeypatch.setattr(module, "KEPT_ALIVE", 0.2)
    with serving.on_loopback(tiny_model) as (url, server):
        server._service.metrics.text = lambda: "x" * (64 * 2**20)
        with plain(url, f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{end}\r\n".encode()) as slow:
            slow.recv(10)
            serving.wait_for(lambda: not server.server_state.connections)


def test_one_event_stream_that_hangs_holds_nobody_up(tiny_model, tmp_path):
    clip = serving.clip(tmp_path / "long.mp4", 120).read_bytes()
    with serving.on_loopback(tiny_model) as (url, server):
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/videos?to=faces.jsonl", clip, {"Content-Type": "video/mp4"})
        identity = json.loads(connection.getresponse().read())["id"]
        connection.request("GET", f"/videos/{identity}/events")
        events = connection.getresponse()
        assert events.readline() == b"event: progress\n"
        assert ask(url)[0] == 200
        server.should_exit = True
        assert b"event: end" in events.read()
        connection.close()


def test_a_room_gives_back_what_was_taken():
    room = Admission(3, 100)
    with room.entered() as entry:
        entry.take(3)
        entry.hold(60)
        with pytest.raises(Exception, match="try again"), room.entered():
            pass
        with pytest.raises(Exception, match="memory"):
            entry.hold(50)
    assert (room.taken, room.held) == (0, 0)
    with room.entered() as entry:
        entry.take(2)
        with pytest.raises(Exception, match="try again"):
            entry.take(2)
    assert room.taken == 0
    with pytest.raises(Exception, match="at most 3 pictures"), room.entered() as entry:
        entry.take(4)


@pytest.fixture(scope="module")
def process(tiny_model, tmp_path_factory):
    """`mien serve` as people start it, and its temporary folder."""
    folder = tmp_path_factory.mktemp("temporary")
    environment = {**os.environ, "TMPDIR": str(folder), "MIEN_TOKEN": ""}
    words = ["serve", "--port", "0", "--model", str(tiny_model), "--detector", "whole"]
    child = subprocess.Popen(
        [sys.executable, "-m", "mien", *words], env=environment, stderr=subprocess.PIPE, text=True
    )
    said = child.stderr.readline()
    assert said.startswith("mien: listening on http://127.0.0.1:"), said + child.stderr.read()
    yield child, said.split()[-1], folder
    child.kill()
    child.wait()
    child.stderr.close()


def test_the_verb_serves_and_ends_in_good_order(process, tiny_model):
    child, url, folder = process
    assert ask(url)[2]["model"] == "tiny"
    assert ask(url, b"bad")[0] == 422
    again = subprocess.run(
        [sys.executable, "-m", "mien", "serve", "--port", url.rpartition(":")[2]],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 2
    assert "in use" in again.stderr
    (private,) = folder.glob("mien-serve-*")
    assert private.stat().st_mode & 0o777 == 0o700
    large = serving.picture(3000, 3000, "BMP")
    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(ask, url, large)
        time.sleep(0.2)
        child.send_signal(signal.SIGTERM)
        assert last.result()[0] == 200
    assert child.wait(20) in (0, -signal.SIGTERM)
    assert list(folder.glob("mien-serve-*")) == []
    assert "Traceback" not in child.stderr.read()
