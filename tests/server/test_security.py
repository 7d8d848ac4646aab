"""Security: tokens, host names, origins, headers, limits, file names and logs."""

import io
import zlib
from urllib.parse import quote

import pytest
from PIL import Image
from starlette.testclient import WebSocketDenialResponse

from mien.server import request_bodies
from mien.server.settings import Settings
from tests.server import serving

IMAGE = serving.image_file()
TOKEN = "s\u00e9same"
OTHER_ORIGIN = {"origin": "https://evil.example"}


@pytest.fixture(scope="module")
def guarded(tiny_model):
    """A client of a server with a token, one allowed origin, and low limits."""
    limits = {"max_body_bytes": 2**20, "max_image_pixels": 1_000_000}
    origins = ("https://page.example",)
    with serving.in_process(tiny_model, token=TOKEN, allowed_origins=origins, **limits) as client:
        yield client


@pytest.fixture(scope="module")
def client(tiny_model):
    with serving.in_process(tiny_model) as client:
        yield client


@pytest.fixture(scope="module")
def any_host_client(tiny_model):
    """A client of a server that listens on all addresses and allows any host name."""
    with serving.in_process(tiny_model, host="0.0.0.0", allowed_hosts=()) as client:
        yield client


def bearer(token=TOKEN):
    return {b"authorization": f"Bearer {token}".encode()}


def test_without_the_token_only_health_checks_and_the_page_are_served(guarded):
    for path in ("/models", "/metrics", "/openapi.json", "/videos/x", "/nothing"):
        response = guarded.get(path)
        assert response.status_code == 401, path
        assert response.headers["www-authenticate"] == "Bearer"
    assert guarded.post("/analyze", content=IMAGE).status_code == 401
    for path in ("/healthz", "/readyz", "/", "/page.js", "/constants.js"):
        assert guarded.get(path).status_code == 200, path
    for wrong_token in ("", "x", f"{TOKEN}2", "sesame"):
        assert guarded.get("/models", headers=bearer(wrong_token)).status_code == 401
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
    assert client.post("/analyze", content=IMAGE, headers=OTHER_ORIGIN).status_code == 403
    assert client.post("/analyze", content=IMAGE, headers={"origin": "null"}).status_code == 403
    with (
        pytest.raises(WebSocketDenialResponse),
        client.websocket_connect("/live", headers=OTHER_ORIGIN),
    ):
        pass
    response = client.post("/analyze", content=IMAGE, headers={"origin": "http://testserver"})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers
    assert client.options("/analyze", headers=OTHER_ORIGIN).status_code == 403


def test_an_allowed_origin_is_accepted(guarded):
    headers = {**bearer(), b"origin": b"https://page.example"}
    response = guarded.post("/analyze", content=IMAGE, headers=headers)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "https://page.example"
    preflight = {"origin": "https://page.example", "access-control-request-method": "POST",
                 "access-control-request-headers": "authorization"}  # fmt: skip
    assert guarded.options("/analyze", headers=preflight).status_code == 200
    response = guarded.options("/analyze", headers={**preflight, **OTHER_ORIGIN})
    assert "access-control-allow-origin" not in response.headers


def test_only_allowed_host_names_are_served(client):
    """In DNS rebinding, the host name of a malicious page resolves to this machine."""
    assert Settings().effective_allowed_hosts() == ("localhost", "127.0.0.1", "::1")
    assert Settings(host="0.0.0.0").effective_allowed_hosts() == ()
    assert "127.0.0.2" in Settings(host="127.0.0.2").effective_allowed_hosts()
    # Health checks from this machine are also served if only the name of a proxy is allowed.
    proxied = Settings(host="0.0.0.0", allowed_hosts=("faces.example",)).effective_allowed_hosts()
    assert {"faces.example", "127.0.0.1"} <= set(proxied)
    for host in ("evil.example", "testserver.evil.example", "evil.example:80", "[::2]", "127.1"):
        assert client.get("/healthz", headers={"host": host}).status_code == 421, host
    for host in ("LOCALHOST:99", "localhost.", "localhost.:99", "127.0.0.1", "[::1]:99", "[0::1]"):
        assert client.get("/healthz", headers={"host": host}).status_code == 200, host


@pytest.mark.parametrize(
    "host",
    ["", "[", "[]", "testserver@evil.example", "evil@localhost", "evil:x@localhost", "localhost:",
     "localhost:x", "localhost:0", "localhost:65536", "localhost:-1", "localhost:8000:8000",
     "localhost/", "localhost/@evil.example", "localhost#", "localhost?", "localhost evil.example",
     "localhost,evil.example", "localhost..", ".localhost", "::1", "[::1", "[::1]x", "[v1.x]",
     "[::1%25lo]", "http://localhost", "localhost\\evil", "loc%61lhost", "localhost:8\u00b2"],
)  # fmt: skip
@pytest.mark.parametrize("any_host", [False, True])
def test_a_malformed_host_header_is_rejected(client, any_host_client, host, any_host):
    tested_client = any_host_client if any_host else client
    headers = [(b"host", host.encode())]
    assert tested_client.get("/healthz", headers=headers).status_code == 400


def test_two_host_headers_are_rejected(client):
    for hosts in (["localhost", "localhost"], ["localhost", "evil.example"]):
        headers = [("host", host) for host in hosts]
        assert client.get("/healthz", headers=headers).status_code == 400


@pytest.mark.parametrize(
    "origin",
    ["null", "", "file://", "http://", "https://", "http:localhost", "//localhost", "localhost",
     "http://localhost/", "http://localhost/x", "http://evil@localhost", "http://localhost:81",
     "http://localhost.evil.example", "ftp://localhost", "chrome-extension://localhost",
     "http://localhost http://evil.example", "http://localhost#x", "http://localhost?x"],
)  # fmt: skip
def test_a_malformed_or_other_origin_is_rejected(client, any_host_client, origin):
    for tested_client in (client, any_host_client):
        headers = {"host": "localhost", "origin": origin}
        assert tested_client.get("/healthz", headers=headers).status_code == 403


def test_two_origins_are_rejected(client):
    headers = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "null")]
    assert client.get("/healthz", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("host", "origin"),
    [("localhost", "http://localhost"), ("localhost:80", "http://localhost"),
     ("localhost", "https://localhost"), ("localhost", "https://localhost:443"),
     ("localhost:8000", "http://LOCALHOST:8000"), ("[::1]:8000", "http://[::1]:8000")],
)  # fmt: skip
def test_the_origin_of_the_server_is_accepted(client, host, origin):
    headers = {"host": host, "origin": origin}
    assert client.get("/healthz", headers=headers).status_code == 200


def test_more_images_than_the_server_admits_give_413(tiny_model):
    images = [("image", (f"{k}.png", IMAGE)) for k in range(3)]
    with serving.in_process(tiny_model, max_images_in_progress=2) as client:
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
    assert serving.client_backend(guarded).images.admission.total_body_bytes == 0


def test_an_image_with_too_many_pixels_is_rejected_before_decoding(guarded, client):
    file = io.BytesIO()
    Image.new("1", (4000, 3000)).save(file, "PNG")
    response = guarded.post("/analyze", content=file.getvalue(), headers=bearer())
    assert response.status_code == 422
    assert "4000 x 3000" in response.json()["error"]
    decompression_bomb = bytearray(file.getvalue())
    decompression_bomb[16:24] = (60_000).to_bytes(4, "big") * 2  # width and height
    decompression_bomb[29:33] = zlib.crc32(decompression_bomb[12:29]).to_bytes(4, "big")
    response = client.post("/analyze", content=bytes(decompression_bomb))
    assert response.status_code == 422
    assert "60000 x 60000 pixels" in response.json()["error"]


def test_images_in_forms_are_never_written_to_disk(client, monkeypatch):
    def fail(*_):
        raise AssertionError("an image was written to disk")

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.rollover", fail)
    large = serving.image_file(900, 900)
    assert len(large) > 2 * 2**20  # by default, Starlette writes files above 1 MiB to disk
    assert client.post("/analyze", files={"image": ("a.png", large)}).status_code == 200


def test_file_names_have_no_folders_and_no_unprintable_characters():
    clean = request_bodies.clean_file_name
    assert clean("../../etc/passwd") == "passwd"
    assert clean("C:\\x\\y.png") == "y.png"
    assert clean("a\r\nSet-Cookie: x") == "a Set-Cookie: x"
    assert clean("\x1b[31mred\u202etxt.png") == "[31mred txt.png"
    assert len(clean("x" * 9999)) == request_bodies.MAX_NAME_LENGTH


def test_the_response_to_a_bug_does_not_contain_the_exception(client, monkeypatch):
    def fail(*_):
        raise RuntimeError("the password is x")

    monkeypatch.setattr(serving.client_backend(client).analyzers, "get", fail)
    response = client.post("/analyze", content=IMAGE)
    assert response.status_code == 500
    assert "password" not in response.text


def test_file_names_are_not_logged(client, caplog):
    caplog.set_level("DEBUG")
    client.post("/analyze", files={"image": ("secret-name.png", IMAGE)})
    client.post("/analyze", files={"image": ("secret-name.png", b"bad")})
    assert "secret-name" not in caplog.text
