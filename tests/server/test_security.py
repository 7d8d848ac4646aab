"""What nobody may do to the service: each line of the list as a test."""

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

PICTURE = serving.picture()


@pytest.fixture(scope="module")
def guarded(tiny_model):
    """A service that asks for a token, lets one page in, and takes little."""
    wanted = {"token": "s\u00e9same", "origins": ("https://page.example",), "max_bytes": 2**20}
    with serving.in_process(tiny_model, max_pixels=1_000_000, **wanted) as client:
        yield client


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model) as client:
        yield client


def bearer(token="s\u00e9same"):
    return {b"authorization": f"Bearer {token}".encode()}


def test_without_the_token_only_health_is_told(guarded):
    for path in ("/models", "/metrics", "/openapi.json", "/videos/x", "/nothing"):
        refused = guarded.get(path)
        assert refused.status_code == 401, path
        assert refused.headers["www-authenticate"] == "Bearer"
    assert guarded.post("/analyze", content=PICTURE).status_code == 401
    assert guarded.get("/healthz").status_code == guarded.get("/readyz").status_code == 200
    for wrong in ("", "x", "s\u00e9same2", "sesame"):
        assert guarded.get("/models", headers=bearer(wrong)).status_code == 401
    assert guarded.get("/models", headers={"authorization": "Basic abc"}).status_code == 401
    assert guarded.get("/models?token=s\u00e9same").status_code == 401
    assert guarded.get("/models", headers=bearer()).status_code == 200


def test_the_token_is_compared_in_constant_time(guarded, monkeypatch):
    asked = []
    monkeypatch.setattr("hmac.compare_digest", lambda *words: asked.append(words) or False)
    assert guarded.get("/models", headers=bearer()).status_code == 401
    assert asked == [("s\u00e9same".encode(),) * 2]


def test_a_live_connection_needs_the_token_too(tiny_model):
    with serving.in_process(tiny_model, token="sesame") as client:
        for headers in ({}, {"authorization": "Bearer no"}, {"sec-websocket-protocol": "mien"}):
            with (
                pytest.raises(WebSocketDenialResponse) as refused,
                client.websocket_connect("/live", headers=headers),
            ):
                pass
            assert refused.value.status_code == 401
        with client.websocket_connect("/live", headers={"authorization": "Bearer sesame"}) as live:
            live.send_bytes(PICTURE)
            assert live.receive_json()["frame"] == 0
        with client.websocket_connect("/live", subprotocols=["mien", "mien.bearer.sesame"]) as live:
            assert live.accepted_subprotocol == "mien"


def test_a_token_may_have_signs_that_a_subprotocol_may_not(tiny_model):
    token = "a/b+c (d)=, \u00e9"
    with serving.in_process(tiny_model, token=token) as client:
        offered = ["mien", f"mien.bearer.{quote(token, safe='')}"]
        with client.websocket_connect("/live", subprotocols=offered) as live:
            live.send_bytes(PICTURE)
            assert live.receive_json()["frame"] == 0


def test_a_refusal_is_sealed_as_well(guarded):
    refused = guarded.get("/models")
    assert refused.status_code == 401
    assert refused.headers["cache-control"] == "no-store"
    assert refused.headers["x-content-type-options"] == "nosniff"


def test_pages_of_elsewhere_are_kept_out_by_default(client):
    evil = {"origin": "https://evil.example"}
    assert client.post("/analyze", content=PICTURE, headers=evil).status_code == 403
    assert client.post("/analyze", content=PICTURE, headers={"origin": "null"}).status_code == 403
    with pytest.raises(WebSocketDenialResponse), client.websocket_connect("/live", headers=evil):
        pass
    own = client.post("/analyze", content=PICTURE, headers={"origin": "http://testserver"})
    assert own.status_code == 200
    assert "access-control-allow-origin" not in own.headers
    assert client.options("/analyze", headers=evil).status_code == 403


def test_a_page_that_was_let_in_may_ask(guarded):
    page = {"origin": "https://page.example"}
    found = guarded.post(
        "/analyze",
        content=PICTURE,
        headers={**bearer(), **{k.encode(): v.encode() for k, v in page.items()}},
    )
    assert found.status_code == 200
    assert found.headers["access-control-allow-origin"] == "https://page.example"
    before = {**page, "access-control-request-method": "POST",
              "access-control-request-headers": "authorization"}  # fmt: skip
    assert guarded.options("/analyze", headers=before).status_code == 200
    other = {**before, "origin": "https://evil.example"}
    assert "access-control-allow-origin" not in guarded.options("/analyze", headers=other).headers


def test_it_answers_to_its_own_name_alone(client):
    """A page whose name was given this machine's address would be of the same origin."""
    assert Settings().known_hosts() == ("localhost", "127.0.0.1", "::1")
    assert Settings(host="0.0.0.0").known_hosts() == ()
    assert "127.0.0.2" in Settings(host="127.0.0.2").known_hosts()
    # By whatever name a proxy calls it, this machine may ask for its health.
    named = Settings(host="0.0.0.0", hosts=("faces.example",)).known_hosts()
    assert {"faces.example", "127.0.0.1"} <= set(named)
    for host in ("evil.example", "testserver.evil.example", "", "[", "testserver@evil.example"):
        assert client.get("/healthz", headers={"host": host}).status_code == 421, host
    assert client.get("/healthz", headers={"host": "LOCALHOST:99"}).status_code == 200


def test_the_model_that_is_named_is_served_whatever_its_name(tiny_model, tmp_path):
    path = tmp_path / "default.onnx"
    path.write_bytes(tiny_model.read_bytes())
    with serving.in_process(path) as client:
        assert serving.service(client).analyzers.models["default"] == (path, "")


def test_more_pictures_at_once_than_there_can_be_are_refused_for_good(tiny_model):
    pictures = [("image", (f"{k}.png", PICTURE)) for k in range(3)]
    with serving.in_process(tiny_model, max_waiting=2) as client:
        refused = client.post("/analyze", files=pictures)
        assert refused.status_code == 413
        assert "at most 2 pictures" in refused.json()["error"]
        assert client.post("/analyze", files=pictures[:2]).status_code == 200


def test_answers_cannot_be_framed_sniffed_or_kept(client):
    headers = client.get("/healthz").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers


def test_a_body_that_is_too_large_is_refused_before_it_is_read(guarded):
    refused = guarded.post("/analyze", content=b"x" * (2**20 + 1), headers=bearer())
    assert (refused.status_code, refused.headers["connection"]) == (413, "close")

    def parts():
        for _ in range(64):
            yield b"x" * 2**16

    assert guarded.post("/analyze", content=parts(), headers=bearer()).status_code == 413
    assert serving.service(guarded).pictures.room.held == 0


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(guarded, client):
    file = io.BytesIO()
    Image.new("1", (4000, 3000)).save(file, "PNG")
    refused = guarded.post("/analyze", content=file.getvalue(), headers=bearer())
    assert refused.status_code == 422
    assert "4000 x 3000" in refused.json()["error"]
    bomb = bytearray(file.getvalue())
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    refused = client.post("/analyze", content=bytes(bomb))
    assert (refused.status_code, "pixels" in refused.json()["error"]) == (422, True)


def test_a_form_writes_nothing_to_disk(client, monkeypatch):
    def never(*_):
        raise AssertionError("a picture was written to disk")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", never)
    large = serving.picture(900, 900)
    assert len(large) > 2 * 2**20
    assert client.post("/analyze", files={"image": ("a.png", large)}).status_code == 200


def test_names_are_only_names():
    assert request_bodies.name("../../etc/passwd") == "passwd"
    assert request_bodies.name("C:\\x\\y.png") == "y.png"
    assert request_bodies.name("a\r\nSet-Cookie: x") == "a Set-Cookie: x"
    assert request_bodies.name("\x1b[31mred\u202etxt.png") == "[31mred txt.png"
    assert len(request_bodies.name("x" * 9999)) == request_bodies.LONGEST_NAME


def test_a_bug_tells_nothing_of_itself(client, monkeypatch):
    def broken(*_):
        raise RuntimeError("the password is x")

    monkeypatch.setattr(serving.service(client).analyzers, "take", broken)
    found = client.post("/analyze", content=PICTURE)
    assert found.status_code == 500
    assert "password" not in found.text


def test_no_picture_and_no_name_is_logged(client, caplog):
    caplog.set_level("DEBUG")
    client.post("/analyze", files={"image": ("secret-name.png", PICTURE)})
    client.post("/analyze", files={"image": ("secret-name.png", b"bad")})
    assert "secret-name" not in caplog.text


# Addresses


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
     "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "::1", "::",
     "fe80::1%eth0",
     "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::",
     "64:ff9b::7f00:1", "fec0::1", "64:ff9b:1::7f00:1", "::127.0.0.1", "192.0.0.8",
     "2001:0:4136:e378:8000:63bf:80ff:fffe", "2001:db8::1", "localhost", ""],
)  # fmt: skip
def test_an_inner_address_is_not_public(address):
    assert not url_fetch.is_public(address)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:8.8.8.8"])
def test_an_address_of_the_open_internet_is_public(address):
    assert url_fetch.is_public(address)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://example.com/a", "gopher://example.com", "http://", "/etc/passwd",
     "http://user:pass@example.com/a.png", "http://example.com:99999/", "http://[::1", "data:,x",
     "http://example.com/a b", "http://example.com/\r\nX: y", "http://example.com:0/"],
)  # fmt: skip
def test_only_web_addresses_are_fetched(url):
    with pytest.raises(UserError, match="address"):
        url_fetch.fetch(url, 1000)


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://0x7f000001/",
     "http://2130706433/", "http://127.1/", "http://169.254.169.254/latest/meta-data/",
     "http://[::ffff:127.0.0.1]/", "https://127.0.0.1/"],
)  # fmt: skip
def test_however_this_machine_is_written_it_is_not_asked(url):
    with pytest.raises(UserError):
        url_fetch.fetch(url, 1000, seconds=2)


def test_a_name_is_looked_at_when_it_is_connected_to(monkeypatch):
    """The first look-up may say one thing and the next another; there is only one."""
    asked = []

    def resolve(host, port, **_):
        asked.append(host)
        address = "93.184.216.34" if len(asked) > 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    with pytest.raises(UserError, match="no place"):
        url_fetch.fetch("http://rebind.example/", 1000)
    assert asked == ["rebind.example"]
    both = [(socket.AF_INET, 1, 6, "", ("93.184.216.34", 80)),
            (socket.AF_INET, 1, 6, "", ("127.0.0.1", 80))]  # fmt: skip
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: both)
    with pytest.raises(UserError, match="no place"):
        url_fetch.fetch("http://both.example/", 1000)


class Pages(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/a.png"):
            self.reply(200, PICTURE)
        elif self.path == "/inside":
            self.reply(302, b"", "http://10.0.0.1/secret")
        elif self.path == "/file":
            self.reply(302, b"", "file:///etc/passwd")
        elif self.path == "/round":
            self.reply(302, b"", "/round")
        elif self.path == "/there":
            self.reply(301, b"", "/a.png")
        elif self.path == "/drip":
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
def pages():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def only_here(address, port, scheme):
    return address == "127.0.0.1"


def test_what_is_fetched_is_bounded_and_each_redirect_is_looked_at():
    with pages() as here:

        def fetch(path, most=10**6, seconds=5):
            return url_fetch.fetch(here + path, most, seconds, only_here)

        assert fetch("/a.png") == fetch("/there") == PICTURE
        for path, says in (("/inside", "no place"), ("/file", "address"), ("/round", "too often"),
                           ("/none", "gave no")):  # fmt: skip
            with pytest.raises(UserError, match=says):
                fetch(path)
        with pytest.raises(UserError, match="larger"):
            fetch("/a.png", most=100)
        began = time.monotonic()
        with pytest.raises(UserError):
            fetch("/drip", seconds=0.4)
        assert time.monotonic() - began < 2
        with pytest.raises(UserError):
            url_fetch.fetch(here.replace("http", "https"), 1000, 2, only_here)
        assert ssl.create_default_context().check_hostname


def test_addresses_are_fetched_where_that_is_allowed(tiny_model, monkeypatch):
    with (
        serving.in_process(tiny_model, urls=True) as client,
        pages() as here,
    ):
        refused = client.post("/analyze", json={"url": f"{here}/a.png"})
        assert (refused.status_code, "no place" in refused.json()["error"]) == (422, True)
        monkeypatch.setattr(url_fetch.fetch, "__defaults__", (5.0, only_here))
        found = client.post("/analyze", json={"url": f"{here}/a.png?x=1"}).json()
        assert found["source"] == "a.png"
        assert len(client.post("/analyze", json={"urls": [f"{here}/a.png"]}).json()) == 1
