"""Overload, slow clients, disconnections and shutdown, on a real server."""

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
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

import mien
from mien.server import protocols
from mien.server import server as server_module
from mien.server.admission import Admission
from mien.server.error_responses import RequestError
from mien.server.job import JobOptions
from mien.server.request_bodies import UploadSpeed
from tests.server import serving

IMAGE = serving.image_file()


def send(url, body=IMAGE, path="/analyze", method="POST", media_type="image/png"):
    """Send a request, and return the status, headers and JSON of the response."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    try:
        connection.request(method, path, body, {"Content-Type": media_type})
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def get_status(url, path):
    return send(url, None, path, "GET")[0]


def open_socket(url, data=b""):
    """Return a TCP connection that has sent `data`."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=20)
    connection.sendall(data)
    return connection


def send_repeatedly(connection, data, count):
    """Send `data` several times, with pauses in which the server can abort the connection."""
    for _ in range(count):
        connection.sendall(data)
        time.sleep(0.0005)


def request_head(length, path="/analyze", media_type="image/png"):
    return (f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n"
            f"Content-Length: {length}\r\n\r\n").encode()  # fmt: skip


def video_head(length=1000):
    return request_head(length, "/videos", "video/mp4")


def delay_images(server, seconds):
    """Delay every analysis; return a list with one item per started analysis."""
    images, started = serving.server_backend(server).images, []
    analyze = images._analyze

    def analyze_slowly(*args):
        started.append(args)
        time.sleep(seconds)
        return analyze(*args)

    images._analyze = analyze_slowly
    return started


def test_overload_gives_503_and_all_other_results_are_correct(tiny_model):
    expected = mien.Analyzer(tiny_model, "whole").analyze(IMAGE)
    with serving.on_loopback(tiny_model, max_images_in_progress=4) as (url, server):
        delay_images(server, 0.05)
        with ThreadPoolExecutor(40) as pool:
            responses = list(pool.map(lambda _: send(url), range(120)))
        assert {status for status, *_ in responses} == {200, 503}
        for status, headers, record in responses:
            if status == 200:
                assert record["faces"][0]["emotions"] == pytest.approx(dict(expected[0].emotions))
            else:
                assert 1 <= int(headers["Retry-After"]) <= 30
                assert headers["Retry-After"] in record["error"]
        admission = serving.server_backend(server).images.admission
        assert (admission.images_in_progress, admission.total_body_bytes) == (0, 0)
        assert send(url)[0] == 200
        assert get_status(url, "/readyz") == 200


def test_a_full_server_is_alive_but_not_ready(tiny_model):
    with serving.on_loopback(tiny_model, max_images_in_progress=1) as (url, server):
        started = delay_images(server, 0.5)
        request = threading.Thread(target=send, args=[url])
        request.start()
        serving.wait_for(lambda: started)
        assert get_status(url, "/readyz") == 503
        assert get_status(url, "/healthz") == 200
        request.join()
        serving.wait_for(lambda: get_status(url, "/readyz") == 200)


def test_the_memory_for_bodies_is_limited(tiny_model):
    large = serving.image_file(700, 700)
    # Raw bytes count twice, so there is memory for one body.
    with serving.on_loopback(tiny_model, max_total_body_bytes=2 * len(large)) as (url, server):
        delay_images(server, 0.3)
        with ThreadPoolExecutor(6) as pool:
            responses = pool.map(lambda _: send(url, large), range(6))
            statuses = {status for status, *_ in responses}
        assert statuses == {200, 503}
        assert serving.server_backend(server).images.admission.total_body_bytes == 0


def test_queued_requests_of_disconnected_clients_are_cancelled(tiny_model):
    with serving.on_loopback(tiny_model, workers=1) as (url, server):
        admission = serving.server_backend(server).images.admission
        started = delay_images(server, 0.4)
        first_request = threading.Thread(target=send, args=[url])
        first_request.start()
        serving.wait_for(lambda: started)
        for _ in range(5):
            with open_socket(url, request_head(len(IMAGE)) + IMAGE) as client:
                serving.wait_for(lambda: admission.images_in_progress == 2)
                # Closing the socket then resets the connection.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            serving.wait_for(lambda: admission.images_in_progress == 1)
        first_request.join()
        assert len(started) == 1
        assert send(url)[0] == 200


def test_slow_uploads_time_out(tiny_model):
    with serving.on_loopback(tiny_model, client_timeout_seconds=0.3) as (url, server):
        backend = serving.server_backend(server)
        with open_socket(url, request_head(1000) + b"half") as client:
            assert b" 408 " in client.recv(1000)
        admission = backend.images.admission
        with open_socket(url, request_head(1000) + b"half"):
            # Raw bytes count twice: the received parts and the whole body.
            serving.wait_for(lambda: admission.total_body_bytes == 2 * len(b"half"))
            assert admission.images_in_progress == 0
        serving.wait_for(lambda: admission.total_body_bytes == 0)
        with open_socket(url, video_head() + b"x") as client:
            assert b" 408 " in client.recv(1000)
        serving.wait_for(lambda: backend.jobs.count() == 0)


@pytest.mark.parametrize("path", ["/analyze", "/videos"])
def test_a_slow_but_steady_upload_is_accepted(tiny_model, tmp_path, path):
    clip = serving.write_video(tmp_path / "clip.mp4", 1).read_bytes()
    body = IMAGE if path == "/analyze" else clip
    head = request_head(len(body), path, "application/octet-stream")
    started_at = time.monotonic()
    with (
        serving.on_loopback(tiny_model, client_timeout_seconds=0.5) as (url, _),
        open_socket(url, head) as client,
    ):
        for k in range(10):
            time.sleep(0.2)
            client.sendall(body[k * len(body) // 10 : (k + 1) * len(body) // 10])
        assert client.recv(1000).startswith(b"HTTP/1.1 20")
    assert time.monotonic() - started_at > 2  # four times the maximum pause


def test_an_upload_below_the_minimum_rate_times_out(tiny_model):
    settings = {"client_timeout_seconds": 0.5, "min_upload_bytes_per_second": 10_000}
    with serving.on_loopback(tiny_model, **settings) as (url, _):
        # A fast start of the upload does not extend the time for the rest.
        with open_socket(url, request_head(10**6) + bytes(500_000)) as client:
            client.settimeout(0.05)
            response, started_at = b"", time.monotonic()
            while not response and time.monotonic() - started_at < 5:
                with suppress(TimeoutError):
                    response = client.recv(1000)
                if not response:
                    client.sendall(b"x")
        assert b" 408 " in response
        assert time.monotonic() - started_at < 2


def consider_paused_uploads_slow(monkeypatch):
    """Consider an upload as slow as soon as no bytes arrive."""
    monkeypatch.setattr(UploadSpeed, "GRACE_SECONDS", 0.0)


def test_slow_uploads_do_not_prevent_the_upload_of_another_video(tiny_model, tmp_path, monkeypatch):
    clip = serving.write_video(tmp_path / "clip.mp4", 1).read_bytes()
    consider_paused_uploads_slow(monkeypatch)
    with serving.on_loopback(tiny_model, max_jobs=4) as (url, server), ExitStack() as stack:
        jobs = serving.server_backend(server).jobs
        uploads = [stack.enter_context(open_socket(url, video_head() + b"x")) for _ in range(8)]
        serving.wait_for(lambda: jobs.count() == 2)  # half of `max_jobs`
        assert send(url, clip, "/videos", media_type="video/mp4")[0] == 202
        statuses = set()
        for upload in uploads:
            with suppress(OSError):
                upload.sendall(b"x")
                upload.settimeout(0.5)
                statuses.add(upload.recv(1000).split()[1])
        assert b"503" in statuses


def test_a_client_can_upload_at_most_half_of_the_maximum_number_of_videos_at_once(tiny_model):
    with serving.on_loopback(tiny_model, max_jobs=4) as (url, server), ExitStack() as stack:
        jobs = serving.server_backend(server).jobs
        for count in (1, 2):
            stack.enter_context(open_socket(url, video_head() + b"x"))
            serving.wait_for(lambda count=count: jobs.count() == count)
        status, headers, record = send(url, b"x", "/videos", media_type="video/mp4")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "2 videos" in record["error"]
        assert jobs.create("b.mp4", JobOptions(), "192.0.2.1")


def test_a_new_video_replaces_a_failed_or_finished_one(tiny_model):
    with serving.on_loopback(tiny_model, max_jobs=4) as (_, server):
        jobs = serving.server_backend(server).jobs
        stored = []
        for client, state in (("a", "done"), ("b", "done"), ("b", "running"), ("b", "failed")):
            stored.append(jobs.create(state, JobOptions(), client))
            stored[-1].state = state
        # First the failed job, then the finished one of the client with the most jobs, then the
        # other finished one; the running one remains.
        for evicted in (stored[3], stored[1], stored[0]):
            new = jobs.create("new", JobOptions(), "c")
            new.state = "running"
            assert evicted.state == "deleted"
        with pytest.raises(RequestError) as error:
            jobs.create("more", JobOptions(), "c")
        assert error.value.status == 503


def test_a_slow_body_is_rejected_if_memory_is_scarce(tiny_model, monkeypatch):
    consider_paused_uploads_slow(monkeypatch)
    with (
        serving.on_loopback(tiny_model, max_total_body_bytes=100_000) as (url, server),
        open_socket(url, request_head(50_000) + bytes(30_000)) as client,
    ):
        admission = serving.server_backend(server).images.admission
        # Raw bytes count twice, so more than half of the memory is in use.
        serving.wait_for(lambda: admission.total_body_bytes == 2 * 30_000)
        client.sendall(b"x")
        assert b" 503 " in client.recv(1000)
        assert send(url)[0] == 200


def test_a_video_does_not_expire_while_it_is_received(tiny_model):
    with serving.on_loopback(tiny_model) as (_, server):
        jobs = serving.server_backend(server).jobs
        job = jobs.create("a.mp4", JobOptions())
        job.expires_at = time.monotonic() - 1
        jobs.delete_expired()
        assert jobs.get(job.id) is job


def test_missing_incomplete_and_endless_headers_close_the_connection(tiny_model, monkeypatch):
    monkeypatch.setattr(protocols, "HEADERS_TIMEOUT_SECONDS", 0.3)
    with serving.on_loopback(tiny_model) as (url, server):
        with open_socket(url) as silent:
            assert silent.recv(100) == b""
        with open_socket(url, b"GET /healthz HTTP/1.1\r\nHo") as incomplete:
            assert incomplete.recv(100) == b""
        monkeypatch.setattr(protocols, "HEADERS_TIMEOUT_SECONDS", 30)
        with open_socket(url, b"GET / HTTP/1.1\r\n") as endless, pytest.raises(OSError):
            send_repeatedly(endless, b"x-y: " + b"z" * 1000 + b"\r\n", 1000)
        with open_socket(url, b"\x16\x03\x01 nonsense\r\n\r\n") as invalid:
            assert b" 400 " in invalid.recv(1000)
        serving.wait_for(lambda: not server.server_state.connections)
        assert send(url)[0] == 200


def test_an_upload_that_is_parsed_in_many_turns_is_accepted(tiny_model, monkeypatch):
    monkeypatch.setattr(protocols, "MAX_TURN_SECONDS", 0.0)
    head = request_head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in IMAGE) + b"0\r\n\r\n"
    with serving.on_loopback(tiny_model) as (url, _), open_socket(url) as client:
        for _ in range(2):
            client.sendall(head + body)
            assert client.recv(1000).startswith(b"HTTP/1.1 200")


def test_ten_pipelined_requests_are_served_and_a_thousand_abort_the_connection(tiny_model):
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with serving.on_loopback(tiny_model) as (url, _):
        with open_socket(url, 10 * request) as client:
            received = b""
            while received.count(b"alive") < 10:
                received += client.recv(1000)
        with open_socket(url, 1000 * request) as client, suppress(ConnectionError):
            assert client.recv(1000) == b""


def test_a_new_connection_replaces_the_longest_idle_one(tiny_model, monkeypatch):
    monkeypatch.setattr(protocols, "MAX_CONNECTIONS", 4)
    with serving.on_loopback(tiny_model) as (url, server), ExitStack() as stack:
        idle = [stack.enter_context(open_socket(url, b"GET / HTTP")) for _ in range(10)]
        assert get_status(url, "/healthz") == 200
        assert send(url)[0] == 200
        with suppress(ConnectionError):
            assert idle[0].recv(10) == b""
        idle[-1].sendall(b"/1.1\r\nHost: localhost\r\n\r\n")
        assert idle[-1].recv(1000).startswith(b"HTTP/1.1 200")
        serving.wait_for(lambda: len(server.server_state.connections) <= 4)
    assert not server.server_state.idle


def test_too_many_busy_connections_give_503_except_for_health_checks(tiny_model, monkeypatch):
    monkeypatch.setattr(protocols, "MAX_CONNECTIONS", 2)
    with serving.on_loopback(tiny_model) as (url, server), ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(open_socket(url, request_head(1000) + b"half"))
        # At least one body is arriving; raw bytes count twice.
        serving.wait_for(
            lambda: (
                serving.server_backend(server).images.admission.total_body_bytes >= 2 * len(b"half")
            )
        )
        status, headers, record = send(url)
        assert (status, headers["Retry-After"], headers["Connection"]) == (503, "1", "close")
        assert "connections" in record["error"]
        assert get_status(url, "/healthz") == 200


def test_a_client_that_does_not_read_is_disconnected(tiny_model, caplog):
    with serving.on_loopback(tiny_model, client_timeout_seconds=0.3) as (url, server):
        backend = serving.server_backend(server)
        job = backend.jobs.create("a.mp4", JobOptions())
        with open(job.folder / "faces.csv", "wb") as file:
            file.truncate(64 * 2**20)
        job.state = "done"
        path = f"/videos/{job.id}/results/faces.csv"
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        with open_socket(url, request) as client:
            client.recv(10)
            serving.wait_for(lambda: 'status="499"' in backend.metrics.text())
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("header", ["Connection: close\r\n", ""])
def test_a_closing_connection_is_aborted_if_the_client_does_not_read(
    tiny_model, monkeypatch, header
):
    monkeypatch.setattr(server_module, "STALLED_CLOSE_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "KEEP_ALIVE_TIMEOUT_SECONDS", 0.2)
    with serving.on_loopback(tiny_model) as (url, server):
        serving.server_backend(server).metrics.text = lambda: "x" * (64 * 2**20)
        request = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\n{header}\r\n".encode()
        with open_socket(url, request) as client:
            client.recv(10)
            serving.wait_for(lambda: not server.server_state.connections)


def test_an_unread_event_stream_blocks_neither_requests_nor_shutdown(tiny_model, tmp_path):
    clip = serving.write_video(tmp_path / "long.mp4", 120).read_bytes()
    with serving.on_loopback(tiny_model) as (url, server):
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("POST", "/videos?to=faces.jsonl", clip, {"Content-Type": "video/mp4"})
        job_id = json.loads(connection.getresponse().read())["id"]
        connection.request("GET", f"/videos/{job_id}/events")
        events = connection.getresponse()
        assert events.readline() == b"event: progress\n"
        assert send(url)[0] == 200
        server.should_exit = True
        assert b"event: end" in events.read()
        connection.close()


def test_reservations_are_limited_and_released_at_the_end_of_the_request():
    admission = Admission(3, 100)
    with admission.admit() as reservation:
        reservation.add_images(3)
        reservation.add_bytes(60)
        with pytest.raises(RequestError) as error, admission.admit():
            pass
        assert error.value.status == 503
        with pytest.raises(RequestError, match="memory") as error:
            reservation.add_bytes(50)
        assert error.value.status == 503
    assert (admission.images_in_progress, admission.total_body_bytes) == (0, 0)
    with admission.admit() as reservation:
        reservation.add_images(2)
        with pytest.raises(RequestError) as error:
            reservation.add_images(2)
        assert error.value.status == 503
    assert admission.images_in_progress == 0
    with pytest.raises(RequestError, match="3 images") as error, admission.admit() as reservation:
        reservation.add_images(4)
    assert error.value.status == 413


@contextmanager
def started_process(tiny_model, folder):
    """Start `mien serve` with a temporary folder, and yield the process and its URL."""
    environment = {**os.environ, "TMPDIR": str(folder), "MIEN_TOKEN": ""}
    arguments = ["serve", "--port", "0", "--model", str(tiny_model), "--detector", "whole"]
    child = subprocess.Popen(
        [sys.executable, "-m", "mien", *arguments],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = child.stderr.readline()
        assert "http://127.0.0.1:" in line, line + child.stderr.read()
        yield child, line.split()[-1]
    finally:
        child.kill()
        child.wait()
        child.stderr.close()


def test_the_process_serves_and_shuts_down_on_a_signal(tiny_model, tmp_path):
    with started_process(tiny_model, tmp_path) as (child, url):
        assert send(url)[2]["model"] == "tiny"
        assert send(url, b"bad")[0] == 422
        second_server = subprocess.run(
            [sys.executable, "-m", "mien", "serve", "--port", url.rpartition(":")[2]],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert second_server.returncode == 2
        assert "in use" in second_server.stderr
        (private_folder,) = tmp_path.glob("mien-serve-*")
        assert private_folder.stat().st_mode & 0o777 == 0o700
        large = serving.image_file(3000, 3000, "BMP")
        with ThreadPoolExecutor(1) as pool:
            last_request = pool.submit(send, url, large)
            time.sleep(0.2)
            child.send_signal(signal.SIGTERM)
            assert last_request.result()[0] == 200
        assert child.wait(20) in (0, -signal.SIGTERM)
        assert list(tmp_path.glob("mien-serve-*")) == []
        assert "Traceback" not in child.stderr.read()


@pytest.mark.parametrize("path", ["/analyze", "/videos"])
def test_a_stalled_upload_does_not_delay_the_shutdown(tiny_model, tmp_path, path):
    with started_process(tiny_model, tmp_path) as (child, url):
        head = request_head(1000, path, "application/octet-stream")
        with open_socket(url, head + b"half"), open_socket(url, b"GET / HTTP/1.1\r\n"):
            assert get_status(url, "/healthz") == 200
            started_at = time.monotonic()
            child.send_signal(signal.SIGTERM)
            assert child.wait(20) in (0, -signal.SIGTERM)
            assert time.monotonic() - started_at < 8
        assert child.stderr.read() == ""
    assert list(tmp_path.glob("mien-serve-*")) == []


def test_messages_of_c_libraries_are_escaped_and_limited():
    code = (
        "import os; from mien.server.server import escape_library_messages\n"
        "with escape_library_messages():\n"
        "    for _ in range(1000): os.write(2, b'\\x1b[31mTIFF\\n')"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    (line,) = process.stderr.splitlines()
    assert r"'\x1b[31mTIFF'" in line
