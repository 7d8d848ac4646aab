"""mien contacts no other host and leaves no files. The heads of a model file share a session.

If telemetry is not disabled, ONNX Runtime writes a device id when it is imported, and connects to
Microsoft a few seconds later. The environment variables of CI systems disable telemetry as well, so
the programs run here with a minimal environment. strace records their system calls.
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
WRAPPER = ROOT / "src" / "mien" / "onnx_runtime.py"
BARE_BENCHMARK = ROOT / "benchmarks" / "bare.py"

TRACED = "trace=%network,openat,?open,?creat,?mkdir,mkdirat"
"""System calls that strace records; those with `?` do not exist on every architecture."""

ADDRESS = re.compile(r'sa_family=AF_INET6?,.*?(?:inet_addr\(|inet_pton\(AF_INET6, )"([^"]+)"')
"""The IP address in a recorded call."""

CREATED = re.compile(r'^(?:creat|mkdir|open)\w*\((?:AT_FDCWD, )?"([^"]+)"')
"""The path in a recorded call that may create a file or folder."""

ALLOWED_FOLDERS = ("/dev/", "/proc/")
"""Folders of the kernel, in which programs open files for writing."""

# Analyzes the image argv[1] in a worker process.
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


def imports_onnxruntime(node):
    """Return whether a node of a syntax tree imports onnxruntime, also by `import_module`."""
    if isinstance(node, ast.Import):
        names = [name.name for name in node.names]
    elif isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    elif isinstance(node, ast.Call) and "import" in ast.unparse(node.func):
        names = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
    else:
        return False
    return any(str(name).split(".")[0] == "onnxruntime" for name in names)


def test_onnxruntime_is_imported_in_one_module_of_mien():
    importing = {
        path
        for path in SOURCES
        if any(map(imports_onnxruntime, ast.walk(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert importing == {WRAPPER, BARE_BENCHMARK}


def test_telemetry_is_disabled_if_onnxruntime_was_imported_before(monkeypatch):
    calls = []
    onnxruntime = sys.modules["onnxruntime"]
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append("disabled"))
    importlib.reload(mien.onnx_runtime)
    assert calls == ["disabled"]


@dataclass
class Sandbox:
    """A folder with a photograph, an empty home and an empty folder for temporary files.

    Without strace, only the home and the temporary folder are checked.
    """

    folder: Path

    def command(self, *arguments):
        """Return a command as text, under strace if that works here."""
        strace = shutil.which("strace")
        probe = [strace, "-o", os.devnull, sys.executable, "-c", ""]
        if strace and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
            options = ("-ff", "-qq", "-s", "4096", "-e", TRACED, "-o", self.folder / "calls")
            arguments = (strace, *options, *arguments)
        return [str(argument) for argument in arguments]

    @property
    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "temporary"),
        }

    def assert_no_files_or_connections(self):
        """Assert that home and temporary folder are empty and, by strace, that no other host was
        contacted and no file was created elsewhere."""
        for folder in ("home", "temporary"):
            assert [str(path) for path in (self.folder / folder).rglob("*")] == []
        for file in self.folder.glob("calls.*"):  # one for each thread
            for call in file.read_text(errors="replace").splitlines():
                address = ADDRESS.search(call)
                assert not address or address[1].startswith(("127.", "::1")), call
                creates = any(text in call for text in ("O_CREAT", "creat(", "mkdir"))
                path = CREATED.match(call) if creates and " = -1 " not in call else None
                if path and not path[1].startswith(ALLOWED_FOLDERS):
                    assert (self.folder / path[1]).is_relative_to(self.folder), call


@pytest.fixture
def sandbox(tmp_path, photo):
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    shutil.copy(photo, tmp_path / "photo.png")
    return Sandbox(tmp_path)


def run(sandbox, *arguments):
    return subprocess.run(
        sandbox.command(*arguments), cwd=sandbox.folder, env=sandbox.environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_analyze_leaves_no_traces(sandbox):
    arguments = ("analyze", "photo.png", "--json")
    process = run(sandbox, sys.executable, "-m", "mien", *arguments)
    assert (process.returncode, process.stderr) == (0, "")
    assert len(json.loads(process.stdout)["faces"]) == 1
    sandbox.assert_no_files_or_connections()


def test_a_worker_process_leaves_no_traces(sandbox):
    (sandbox.folder / "worker.py").write_text(WORKER)
    process = run(sandbox, sys.executable, "worker.py", "photo.png")
    assert process.returncode == 0, process.stderr
    sandbox.assert_no_files_or_connections()


def test_the_server_leaves_no_traces(sandbox, photo):
    arguments = ("serve", "--port", "0", "--workers", "1")
    server = subprocess.Popen(
        sandbox.command(sys.executable, "-m", "mien", *arguments), cwd=sandbox.folder,
        env=sandbox.environment, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        address = server.stderr.readline().split()[-1]
        headers = {"Content-Type": "image/png"}
        request = urllib.request.Request(f"{address}/analyze", photo.read_bytes(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            assert len(json.load(response)["faces"]) == 1
    finally:
        os.killpg(server.pid, signal.SIGINT)
        server.communicate(timeout=60)
    sandbox.assert_no_files_or_connections()


def test_both_heads_of_a_file_share_a_session():
    from mien.classification import weights
    from mien.classification.classifier import Classifier

    votes, labels = (Classifier(weights.model(n), threads=1) for n in ("default", "default-labels"))
    assert votes._session is labels._session
    assert votes._session is not Classifier(weights.model("default"), threads=2)._session


def test_a_replaced_file_is_opened_again(tiny_model):
    from mien.onnx_runtime import open_session

    first = open_session(str(tiny_model))
    assert open_session(str(tiny_model)) is first
    os.utime(tiny_model, ns=(1, 1))  # as if it was replaced
    assert open_session(str(tiny_model)) is not first
