"""Nothing is sent, nothing is left: what `mien` opens, as the kernel sees it.

ONNX Runtime writes a device id as soon as it is imported, and looks up a host of Microsoft some
seconds later. Continuous integration and unit tests switch that off by variables of their own, so
the programs run here see none.
"""

import ast
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest

import mien.onnx_runtime
from tests.paths import ROOT

SOURCES = [
    path for folder in ("src", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")
]
ONLY = ROOT / "src" / "mien" / "onnx_runtime.py"
YARDSTICK = ROOT / "benchmarks" / "bare.py"  # knows nothing of mien

TRACED = "trace=%network,openat,?open,?creat,?mkdir,mkdirat"
ADDRESS = re.compile(r'sa_family=AF_INET6?,.*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
MADE = re.compile(r'^(?:creat|mkdir|open)\w*\((?:AT_FDCWD, )?"([^"]+)"')
HARMLESS = ("/dev/", "/proc/")

WORKER = """
import multiprocessing, sys
import pyarrow
from mien.distributed import Faces

if __name__ == "__main__":
    faces = Faces("path")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (table,) = pool.map(faces, [pyarrow.table({"path": [sys.argv[1]]})])
    assert table["error"].to_pylist() == [None], table
"""


def names_onnxruntime(node):
    """Whether a node of a syntax tree imports onnxruntime, by statement or by name."""
    if isinstance(node, ast.Import):
        names = [name.name for name in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
        names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    else:
        return False
    return any(str(name).split(".")[0] == "onnxruntime" for name in names)


def test_one_module_imports_onnxruntime():
    importing = {
        path
        for path in SOURCES
        if any(map(names_onnxruntime, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert importing == {ONLY, YARDSTICK}


def test_telemetry_stops_where_onnxruntime_was_imported_before(monkeypatch):
    calls = []
    theirs = sys.modules["onnxruntime"]
    monkeypatch.setattr(theirs, "disable_telemetry_events", lambda: calls.append("disabled"))
    importlib.reload(mien.onnx_runtime)
    assert calls == ["disabled"]


@dataclass
class Place:
    """A folder with a photograph, an empty home and an empty folder for temporary files."""

    folder: Path

    def command(self, *words):
        """The words under strace, where there is one that works."""
        strace = shutil.which("strace")
        probe = [strace, "-o", os.devnull, sys.executable, "-c", ""]
        if strace and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            words = (
                strace,
                "-ff",
                "-qq",
                "-s",
                "4096",
                "-e",
                TRACED,
                "-o",
                self.folder / "calls",
                *words,
            )
        return [str(word) for word in words]

    @property
    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "temporary"),
        }

    def check(self):
        """Nothing is left in the home or among the temporary files; nobody else was called."""
        for folder in ("home", "temporary"):
            assert [str(path) for path in (self.folder / folder).rglob("*")] == []
        for file in self.folder.glob("calls.*"):  # one for each thread
            for call in file.read_text(errors="replace").splitlines():
                address = ADDRESS.search(call)
                assert not address or address[1].startswith(("127.", "::1")), call
                path = (
                    MADE.match(call)
                    if "O_CREAT" in call or "creat(" in call or "mkdir" in call
                    else None
                )
                if path and " = -1 " not in call and not path[1].startswith(HARMLESS):
                    assert (self.folder / path[1]).is_relative_to(self.folder), call


@pytest.fixture
def place(tmp_path, photo):
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    shutil.copy(photo, tmp_path / "photo.png")
    return Place(tmp_path)


def run(place, *words):
    return subprocess.run(
        place.command(*words), cwd=place.folder, env=place.environment, capture_output=True,
        text=True, check=False, timeout=120,
    )  # fmt: skip


def test_analyze_sends_and_leaves_nothing(place):
    words = ("analyze", "photo.png", "--json")
    done = run(place, sys.executable, "-m", "mien", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["faces"]) == 1
    place.check()


def test_a_worker_process_sends_and_leaves_nothing(place):
    (place.folder / "worker.py").write_text(WORKER)
    done = run(place, sys.executable, "worker.py", "photo.png")
    assert done.returncode == 0, done.stderr
    place.check()


def test_serve_sends_nothing_but_its_answers_and_leaves_nothing(place, photo):
    words = ("serve", "--port", "0", "--workers", "1")
    serving = subprocess.Popen(
        place.command(sys.executable, "-m", "mien", *words), cwd=place.folder,
        env=place.environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        address = serving.stderr.readline().split()[-1]
        headers = {"Content-Type": "image/png"}
        request = urllib.request.Request(f"{address}/analyze", photo.read_bytes(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["faces"]) == 1
    finally:
        os.killpg(serving.pid, signal.SIGINT)
        serving.communicate(timeout=60)
    place.check()


def test_both_heads_of_a_file_share_a_session():
    from mien.classification import weights
    from mien.classification.classifier import Classifier

    one, other = (Classifier(weights.model(n), threads=1) for n in ("default", "default-labels"))
    assert one._session is other._session
    assert one._session is not Classifier(weights.model("default"), threads=2)._session


def test_a_file_that_was_replaced_is_opened_anew(tiny_model):
    from mien.onnx_runtime import open_session

    first = open_session(str(tiny_model))
    assert open_session(str(tiny_model)) is first
    os.utime(tiny_model, ns=(1, 1))
    assert open_session(str(tiny_model)) is not first
