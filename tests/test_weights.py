"""A name -> a file: packaged, cached, or fetched once from a real server on loopback."""

import hashlib
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from mien import weights
from mien.errors import UserError

BODY = bytes(range(256)) * 40
ENTRY = weights.Remote(
    file="thing.onnx",
    url="http://127.0.0.1:9/",
    sha256=hashlib.sha256(BODY).hexdigest(),
    size=len(BODY),
    override="MIEN_THING",
)


def respond(handler, status=200, body=BODY, claimed=None):
    handler.send_response(status)
    handler.send_header("Content-Length", str(claimed or len(body)))
    handler.end_headers()
    handler.wfile.write(body)


ANSWERS = {
    "/good": respond,
    "/wrong": lambda handler: respond(handler, body=BODY[::-1]),
    "/truncated": lambda handler: respond(handler, body=BODY[:1000], claimed=len(BODY)),
    "/longer": lambda handler: respond(handler, body=BODY + b"more"),
    "/empty": lambda handler: respond(handler, body=b""),
    "/missing": lambda handler: respond(handler, status=404),
    "/broken": lambda handler: respond(handler, status=500),
    "/garbage": lambda handler: handler.wfile.write(b"GARBAGE\r\n\r\n"),
    "/silent": lambda handler: handler.server.enough.wait(5),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        ANSWERS[self.path](self)

    def log_message(self, *words):
        pass


@pytest.fixture(scope="module")
def server():
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving.asked, serving.enough = [], threading.Event()
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield serving
    serving.enough.set()
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty cache, and one remote called `thing` that is served nowhere yet."""
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MIEN_THING", raising=False)
    monkeypatch.setattr(weights, "PATIENCE", 0.3)
    monkeypatch.setitem(weights.REMOTES, "thing", ENTRY)
    return tmp_path / "home"


def serve_at(monkeypatch, server, path):
    url = f"http://127.0.0.1:{server.server_port}{path}"
    monkeypatch.setitem(weights.REMOTES, "thing", replace(ENTRY, url=url))


def files(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


@contextmanager
def nobody_listening():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_good_file_is_fetched_once_with_one_line(home, server, monkeypatch, capsys):
    serve_at(monkeypatch, server, "/good")
    server.asked.clear()
    path = weights.remote("thing")
    assert path == home / "thing.onnx"
    assert path.read_bytes() == BODY
    assert files(home) == [str(path)]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "fetching thing.onnx (10 kB) from 127.0.0.1" in said.err
    assert weights.remote("thing") == path
    assert server.asked == ["/good"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/wrong", "sha256"),
        ("/truncated", "thing.onnx"),
        ("/longer", "sha256"),
        ("/empty", "sha256"),
        ("/missing", "Not Found"),
        ("/broken", "Internal Server Error"),
        ("/garbage", "could not be fetched"),
        ("/silent", "timed out"),
    ],
)
def test_a_bad_answer_leaves_nothing_behind(home, server, monkeypatch, path, said):
    serve_at(monkeypatch, server, path)
    began = time.perf_counter()
    with pytest.raises(weights.Unavailable, match=said) as caught:
        weights.remote("thing")
    assert time.perf_counter() - began < 3
    assert "\n" not in str(caught.value)
    assert not home.exists() or files(home) == []


def test_nobody_listening_is_said_in_a_sentence(home, monkeypatch):
    with nobody_listening() as port:
        monkeypatch.setenv("MIEN_THING", f"http://127.0.0.1:{port}/thing.onnx")
        with pytest.raises(weights.Unavailable, match="refused"):
            weights.remote("thing")
    assert not home.exists()


@pytest.mark.parametrize("url", ["http://", "http://bad host/x", "gopher://127.0.0.1/x", "://"])
def test_a_nonsense_address_is_said_in_a_sentence(home, monkeypatch, url):
    monkeypatch.setenv("MIEN_THING", url)
    with pytest.raises(UserError):
        weights.remote("thing")


def test_a_damaged_cache_is_fetched_again(home, server, monkeypatch, capsys):
    serve_at(monkeypatch, server, "/good")
    home.mkdir()
    (home / "thing.onnx").write_bytes(BODY[:99])
    assert weights.remote("thing").read_bytes() == BODY
    assert "is damaged and is fetched again" in capsys.readouterr().err


def test_a_failed_repair_keeps_quiet_about_the_damaged_file(home, server, monkeypatch):
    serve_at(monkeypatch, server, "/wrong")
    home.mkdir()
    (home / "thing.onnx").write_bytes(BODY[:99])
    with pytest.raises(weights.Unavailable):
        weights.remote("thing")
    assert files(home) == [str(home / "thing.onnx")]


def test_a_cache_that_cannot_be_written_makes_the_file_unavailable(
    tmp_path, home, server, monkeypatch
):
    serve_at(monkeypatch, server, "/good")
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MIEN_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(weights.Unavailable, match="MIEN_HOME"):
        weights.remote("thing")


@pytest.mark.parametrize("word", ["1", "true", "YES"])
def test_offline_asks_nobody(home, server, monkeypatch, word):
    serve_at(monkeypatch, server, "/good")
    monkeypatch.setenv("MIEN_OFFLINE", word)
    server.asked.clear()
    with pytest.raises(weights.Unavailable) as caught:
        weights.remote("thing")
    assert str(caught.value) == (
        "thing is not here: `mien download thing` fetches it once MIEN_OFFLINE (or --offline) is "
        "lifted, or name your own file with MIEN_THING."
    )
    assert server.asked == []


def test_without_leave_to_fetch_nothing_is_said_of_being_offline(home):
    with pytest.raises(weights.Unavailable, match="`mien download thing` fetches it, or name"):
        weights.remote("thing", fetch=False)


@pytest.mark.parametrize("forbidden", ["fetch", "offline"])
def test_a_damaged_cache_is_not_said_to_be_fetched_when_it_is_not(
    home, monkeypatch, capsys, forbidden
):
    home.mkdir()
    (home / "thing.onnx").write_bytes(BODY[:99])
    monkeypatch.setenv("MIEN_OFFLINE", "1" if forbidden == "offline" else "")
    with pytest.raises(weights.Unavailable, match="thing is damaged"):
        weights.remote("thing", fetch=forbidden != "fetch")
    assert capsys.readouterr().err == ""


def test_offline_still_takes_what_is_here(home, monkeypatch):
    home.mkdir()
    (home / "thing.onnx").write_bytes(BODY)
    monkeypatch.setenv("MIEN_OFFLINE", "1")
    assert weights.remote("thing").read_bytes() == BODY


@pytest.mark.parametrize("word", ["", "0", "false", "No"])
def test_offline_can_be_said_no_to(monkeypatch, word):
    monkeypatch.setenv("MIEN_OFFLINE", word)
    assert not weights.offline()


def test_a_mirror_is_checked_like_the_original(home, server, monkeypatch):
    mirror = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("MIEN_THING", f"{mirror}/wrong")
    with pytest.raises(weights.Unavailable):
        weights.remote("thing")
    monkeypatch.setenv("MIEN_THING", f"{mirror}/good")
    assert weights.remote("thing").read_bytes() == BODY


def test_a_local_file_takes_the_place_of_a_download(home, tmp_path, monkeypatch):
    (tmp_path / "mine.onnx").write_bytes(b"mine")
    monkeypatch.setenv("MIEN_THING", str(tmp_path / "mine.onnx"))
    assert weights.remote("thing") == tmp_path / "mine.onnx"
    monkeypatch.setenv("MIEN_THING", str(tmp_path / "gone.onnx"))
    with pytest.raises(UserError, match=r"\$MIEN_THING is .*gone.onnx") as caught:
        weights.remote("thing")
    assert not isinstance(caught.value, weights.Unavailable)


def test_an_empty_override_is_none(home, server, monkeypatch):
    serve_at(monkeypatch, server, "/good")
    monkeypatch.setenv("MIEN_THING", "")
    assert weights.remote("thing").read_bytes() == BODY


def test_the_cache_is_where_the_environment_says(monkeypatch):
    monkeypatch.setenv("MIEN_HOME", "/somewhere")
    assert weights.cache() == Path("/somewhere")
    monkeypatch.delenv("MIEN_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert weights.cache() == Path("/caches/mien")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert weights.cache() == Path.home() / ".cache" / "mien"


def test_without_a_home_a_file_is_unavailable(monkeypatch):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    for name in ("MIEN_HOME", "XDG_CACHE_HOME", "MIEN_YUNET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(weights.Path, "home", no_home)
    with pytest.raises(weights.Unavailable, match="no home folder; name a folder for downloads"):
        weights.remote("yunet")


def test_yunet_is_pinned_to_the_file_that_was_measured(yunet_file):
    entry = weights.REMOTES["yunet"]
    body = yunet_file.read_bytes()
    assert len(body) == entry.size
    assert hashlib.sha256(body).hexdigest() == entry.sha256


def test_packaged_models_are_known_by_name_and_private_ones_are_not():
    known = weights.models()
    assert "default" in known
    assert not [name for name in known if name.startswith("_")]
    assert weights.model("default") == known["default"]


def test_larger_models_of_the_repository_are_known_by_name(monkeypatch, tmp_path):
    for name in ("best.onnx", "_private.onnx"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(weights, "BESIDE", tmp_path)
    assert weights.model("best") == tmp_path / "best.onnx"
    assert next(iter(weights.models())) == "default"
    assert "_private" not in weights.models()
    monkeypatch.setattr(weights, "BESIDE", tmp_path / "not there")
    with pytest.raises(UserError, match="best"):
        weights.model("best")


def test_a_wrong_model_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'default'"):
        weights.model("defualt")


def test_a_model_file_must_be_there(tmp_path):
    with pytest.raises(UserError, match="There is no model file"):
        weights.model(str(tmp_path / "nowhere.onnx"))
    (tmp_path / "mine.onnx").write_bytes(b"x")
    assert weights.model(str(tmp_path / "mine.onnx")) == tmp_path / "mine.onnx"


def test_what_may_not_be_looked_at_is_said_in_a_sentence(home, monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "is_file", lambda _: (_ for _ in ()).throw(PermissionError(13, "No")))
    with pytest.raises(UserError, match=r"m\.onnx cannot be read: No"):
        weights.model(str(tmp_path / "m.onnx"))
    with pytest.raises(weights.Unavailable, match=r"cannot be read: No\. .*MIEN_HOME"):
        weights.remote("thing")


def test_an_unknown_download_is_answered_with_what_there_is():
    with pytest.raises(UserError, match="Did you mean 'yunet'"):
        weights.remote("yunett")
