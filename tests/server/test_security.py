"""Security: tokens, hosts, origins, headers, limits, file names, logs, and fetched URLs (SSRF)."""

import io
import socket
import ssl
import threading
import time
import zlib
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import WebSocketDenialResponse

from mien.errors import UserError
from mien.server import request_bodies, url_fetch
from mien.server.settings import Settings
from tests.server import serving

IMAGE = serving.image_file()
TOKEN = "s\u00e9same"
EVIL = {"origin": "https://evil.example"}


@pytest.fixture(scope="module")
def guarded(tiny_model):
    """A service with a token, one allowed origin, and low limits."""
    limits = {"max_body_bytes": 2**20, "max_pixels": 1_000_000}
    origins = ("https://page.example",)
    with serving.in_process(tiny_model, token=TOKEN, allowed_origins=origins, **limits) as client:
        yield client


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model) as client:
        yield client


def bearer(token=TOKEN):
    return {b"authorization": f"Bearer {token}".encode()}


def test_without_a_token_only_health_is_available(guarded):
    for path in ("/models", "/metrics", "/openapi.json", "/videos/x", "/nothing"):
        response = guarded.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
    assert guarded.post("/analyze", content=IMAGE).status_code == 401
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200
    for wrong in ("", "x", f"{TOKEN}2", "sesame"):
        assert guarded.get("/models", headers=bearer(wrong)).status_code == 401
    assert guarded.get("/models", headers={"authorization": "Basic abc"}).status_code == 401
    assert guarded.get(f"/models?token={TOKEN}").status_code == 401
    assert guarded.get("/models", headers=bearer()).status_code == 200


def test_tokens_are_compared_in_constant_time(guarded, monkeypatch):
    comparisons = []
    monkeypatch.setattr("hmac.compare_digest", lambda *pair: comparisons.append(pair) or False)
    assert guarded.get("/models", headers=bearer()).status_code == 401
    assert comparisons == [(TOKEN.encode(),) * 2]


def test_a_live_connection_requires_the_token(tiny_model):
    with serving.in_process(tiny_model, token="sesame") as client:
        for headers in ({}, {"authorization": "Bearer no"}, {"sec-websocket-protocol": "mien"}):
            with (
                pytest.raises(WebSocketDenialResponse) as denied,
                client.websocket_connect("/live", headers=headers),
            ):
                pass
            assert denied.value.status_code == 401
        with client.websocket_connect("/live", headers={"authorization": "Bearer sesame"}) as live:
            live.send_bytes(IMAGE)
            assert live.receive_json()["frame"] == 0
        with client.websocket_connect("/live", subprotocols=["mien", "mien.bearer.sesame"]) as live:
            assert live.accepted_subprotocol == "mien"


def test_the_token_in_a_subprotocol_is_percent_decoded(tiny_model):
    token = "a/b+c (d)=, \u00e9"
    with serving.in_process(tiny_model, token=token) as client:
        subprotocols = ["mien", f"mien.bearer.{quote(token, safe='')}"]
        with client.websocket_connect("/live", subprotocols=subprotocols) as live:
            live.send_bytes(IMAGE)
            assert live.receive_json()["frame"] == 0


def test_error_responses_have_the_security_headers(guarded):
    response = guarded.get("/models")
    assert response.status_code == 401
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"


def test_other_origins_are_rejected_by_default(client):
    assert client.post("/analyze", content=IMAGE, headers=EVIL).status_code == 403
    assert client.post("/analyze", content=IMAGE, headers={"origin": "null"}).status_code == 403
    with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/live", headers=EVIL):
        pass
    own = client.post("/analyze", content=IMAGE, headers={"origin": "http://testserver"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    assert client.options("/analyze", headers=EVIL).status_code == 403


def test_an_allowed_origin_is_accepted(guarded):
    origin = {"origin": "https://page.example"}
    response = guarded.post(
        "/analyze",
        content=IMAGE,
        headers={**bearer(), **{k.encode(): v.encode() for k, v in origin.items()}},
    )
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://page.example"
    preflight = {**origin, "access-control-request-method": "POST",
                 "access-control-request-headers": "authorization"}  # fmt: skip
    assert guarded.options("/analyze", headers=preflight).status_code == 200
    response = guarded.options("/analyze", headers={**preflight, **EVIL})
    assert "access-control-allow-origin" not in response.headers


def test_only_accepted_host_names_are_served(client):
    """DNS rebinding: a page whose own name resolves to this machine is of the same origin."""
    assert Settings().effective_allowed_hosts() == ("localhost", "127.0.0.1", "::1")
    assert Settings(host="0.0.0.0").effective_allowed_hosts() == ()
    assert "127.0.0.2" in Settings(host="127.0.0.2").effective_allowed_hosts()
    # Health checks of this machine work behind a proxy, too.
    proxied = Settings(host="0.0.0.0", allowed_hosts=("faces.example",)).effective_allowed_hosts()
    assert {"faces.example", "127.0.0.1"} <= set(proxied)
    for host in ("evil.example", "testserver.evil.example", "", "[", "testserver@evil.example"):
        assert client.get("/healthz", headers={"host": host}).status_code == 421, host
    assert client.get("/healthz", headers={"host": "LOCALHOST:99"}).status_code == 200


def test_a_model_file_takes_precedence_over_a_packaged_model_of_its_name(tiny_model, tmp_path):
    path = tmp_path / "default.onnx"
    path.write_bytes(tiny_model.read_bytes())
    with serving.in_process(path) as client:
        assert serving.service(client).analyzers.models["default"] == (path, "")


def test_more_images_than_the_service_admits_give_413(tiny_model):
    images = [("image", (f"{k}.png", IMAGE)) for k in range(3)]
    with serving.in_process(tiny_model, max_pending_images=2) as client:
        response = client.post("/analyze", files=images)
        assert response.status_code == 413
        assert "2 images" in response.json()["error"]
        assert client.post("/analyze", files=images[:2]).status_code == 200


def test_responses_cannot_be_framed_sniffed_or_cached(client):
    headers = client.get("/healthz").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_a_large_body_gives_413(guarded):
    response = guarded.post("/analyze", content=b"x" * (2**20 + 1), headers=bearer())
    assert (response.status_code, response.headers["connection"]) == (413, "close")

    def parts():
        for _ in range(64):
            yield b"x" * 2**16

    assert guarded.post("/analyze", content=parts(), headers=bearer()).status_code == 413
    assert serving.service(guarded).images.admission.body_bytes == 0


def test_an_image_with_too_many_pixels_is_rejected_before_decoding(guarded, client):
    file = io.BytesIO()
    Image.new("1", (4000, 3000)).save(file, "PNG")
    response = guarded.post("/analyze", content=file.getvalue(), headers=bearer())
    assert response.status_code == 422
    assert "4000 x 3000" in response.json()["error"]
    bomb = bytearray(file.getvalue())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    response = client.post("/analyze", content=bytes(bomb))
    assert (response.status_code, "pixels" in response.json()["error"]) == (422, True)


def test_forms_are_never_written_to_disk(client, monkeypatch):
    def fail(*_):
        raise AssertionError("an image was written to disk")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", fail)
    large = serving.image_file(900, 900)
    assert len(large) > 2 * 2**20
    assert client.post("/analyze", files={"image": ("a.png", large)}).status_code == 200


def test_file_names_are_cleaned():
    clean = request_bodies.clean_file_name
    assert clean("../../etc/passwd") == "passwd"
    assert clean("C:\\x\\y.png") == "y.png"
    assert clean("a\r\nSet-Cookie: x") == "a Set-Cookie: x"
    assert clean("\x1b[31mred\u202etxt.png") == "[31mred txt.png"
    assert len(clean("x" * 9999)) == request_bodies.MAX_NAME_LENGTH


def test_a_bug_reveals_no_internals(client, monkeypatch):
    def fail(*_):
        raise RuntimeError("the password is x")

    monkeypatch.setattr(serving.service(client).analyzers, "get", fail)
    response = client.post("/analyze", content=IMAGE)
    assert response.status_code == 500
    assert "password" not in response.text


def test_file_names_are_not_logged(client, caplog):
    caplog.set_level("DEBUG")
    client.post("/analyze", files={"image": ("secret-name.png", IMAGE)})
    client.post("/analyze", files={"image": ("secret-name.png", b"bad")})
    assert "secret-name" not in caplog.text


# Fetched URLs


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::",
     "fe80::1%eth0",
     "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::",
     "64:ff9b::7f00:1", "fec0::1", "64:ff9b:1::7f00:1", "::127.0.0.1", "192.0.0.8",
     "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "localhost", ""],
)  # fmt: skip
def test_private_and_special_addresses_are_not_public(address):
    assert not url_fetch.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_internet_addresses_are_public(address):
    assert url_fetch.is_public(address)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/a", "gopher://example.com", "http://", "/etc/passwd",
     "http://user:pass@example.com/a.png", "http://example.com:99999/", "http://[::1", "data:,x",
     "http://example.com/a b", "http://example.com/\r\nX: y", "http://example.com:0/"],
)  # fmt: skip
def test_invalid_urls_are_rejected(url):
    with pytest.raises(UserError, match="URL"):
        url_fetch.fetch(url, 1000)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://0x7f000001/",
     "http://2130706433/", "http://127.1/", "http://169.254.169.254/latest/meta-data/",
     "http://[::ffff:127.0.0.1]/", "https://127.0.0.1/"],
)  # fmt: skip
def test_no_spelling_of_a_local_address_is_fetched(url):
    with pytest.raises(UserError):
        url_fetch.fetch(url, 1000, timeout_seconds=2)


def test_a_host_name_is_resolved_once_and_all_its_addresses_are_checked(monkeypatch):
    """A second resolution could return another address than the one that was checked."""
    resolved = []

    def resolve(host, port, **_):
        resolved.append(host)
        address = "93.184.216.34" if len(resolved) > 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    with pytest.raises(UserError, match=r"rebind\.example is not a public"):
        url_fetch.fetch("http://rebind.example/", 1000)
    assert resolved == ["rebind.example"]
    addresses = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 80)),
                 (socket.AF_INET, 1, 6, "", ("127.0.0.1", 80))]  # fmt: skip
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: addresses)
    with pytest.raises(UserError, match=r"both\.example is not a public"):
        url_fetch.fetch("http://both.example/", 1000)


class WebHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/a.png"):
            self.reply(200, IMAGE)
        elif self.path == "/to-private":
            self.reply(302, b"", "http://10.0.0.1/secret")
        elif self.path == "/to-file":
            self.reply(302, b"", "file:///etc/passwd")
        elif self.path == "/loop":
            self.reply(302, b"", "/loop")
        elif self.path == "/to-image":
            self.reply(301, b"", "/a.png")
        elif self.path == "/slow":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                time.sleep(0.05)
                self.wfile.write(b"x")
        else:
            self.reply(404, b"")

    def reply(self, status, body, location=None):
        self.send_response(status)
        if location:
            self.send_header("Location", location)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

    def handle(self):
        with suppress(OSError):
            super().handle()


@contextmanager
def web_server():
    """The URL of a web server on loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebHandler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def is_loopback(address, port, scheme):
    return address == "127.0.0.1"


def test_downloads_are_limited_and_redirects_are_checked():
    with web_server() as base:

        def fetch(path, max_bytes=10**6, timeout_seconds=5):
            return url_fetch.fetch(base + path, max_bytes, timeout_seconds, is_loopback)

        assert fetch("/a.png") == fetch("/to-image") == IMAGE
        for path, fact in (("/to-private", "10.0.0.1 is not a public"), ("/to-file", "URL"),
                           ("/loop", "redirects"), ("/missing", "127.0.0.1")):  # fmt: skip
            with pytest.raises(UserError, match=fact):
                fetch(path)
        with pytest.raises(UserError, match="too large"):
            fetch("/a.png", max_bytes=100)
        began = time.monotonic()
        with pytest.raises(UserError):
            fetch("/slow", timeout_seconds=0.4)
        assert time.monotonic() - began < 2
        with pytest.raises(UserError):
            url_fetch.fetch(base.replace("http", "https"), 1000, 2, is_loopback)
        assert ssl.create_default_context().check_hostname


def test_urls_are_fetched_if_allowed(tiny_model, monkeypatch):
    with (
        serving.in_process(tiny_model, allow_urls=True) as client,
        web_server() as base,
    ):
        response = client.post("/analyze", json={"url": f"{base}/a.png"})
        assert response.status_code == 422
        assert "127.0.0.1" in response.json()["error"]
        monkeypatch.setattr(url_fetch.fetch, "__defaults__", (5.0, is_loopback))
        record = client.post("/analyze", json={"url": f"{base}/a.png?x=1"}).json()
        assert record["source"] == "a.png"
        assert len(client.post("/analyze", json={"urls": [f"{base}/a.png"]}).json()) == 1
