"""mien run by a user without a name, a home or an environment, as in containers and under cron."""

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from tests.paths import ROOT
from tests.synthetic import tiny

USER = "54321"
"""Id of a user without a name."""

# The interpreter may be in root's home: the user may read everything, but write only its own files.
AS_NAMELESS_USER = [
    "setpriv", "--reuid", USER, "--regid", USER, "--clear-groups",
    "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
    "env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={ROOT / 'src'}",
    "PYTHONDONTWRITEBYTECODE=1", sys.executable,
]  # fmt: skip


def can_become_nameless():
    """Return whether this process can start another one as a user without a name."""
    if not shutil.which("setpriv") or os.geteuid() != 0:
        return False
    code = "import getpass; getpass.getuser()"
    process = subprocess.run(
        [*AS_NAMELESS_USER, "-c", code], capture_output=True, text=True, check=False
    )
    return "uid not found" in process.stderr or "No username set" in process.stderr


pytestmark = pytest.mark.skipif(
    not can_become_nameless(), reason="needs root, setpriv and a free uid"
)


@pytest.fixture
def folder(tmp_path, photo):
    """A folder that the user owns, with a photograph."""
    shutil.copy(photo, tmp_path / "photo.png")
    os.chown(tmp_path, int(USER), int(USER))
    return tmp_path


def run(folder, *arguments):
    """Run mien as the user without a name, assert that it succeeds, and return its output."""
    command = [*AS_NAMELESS_USER, "-m", "mien", *map(str, arguments)]
    process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in process.stderr
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_fitting_text_in_other_scripts_causes_no_error(folder):
    """It searches for fonts, also in the home."""
    code = (
        "from mien.visualization import fonts; fonts.fit_text('\u041f\u0451\u0442\u0440', 22, 900)"
    )
    process = subprocess.run(
        [*AS_NAMELESS_USER, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr


def test_a_photograph_is_analyzed(folder):
    out = run(folder, "analyze", "photo.png", "--json", "--to", "annotated.png")
    assert len(json.loads(out)["faces"]) == 1
    assert (folder / "annotated.png").exists()


def test_the_speed_is_measured(folder):
    assert "a frame with one face" in run(folder, "bench")


def test_a_request_is_served(folder, photo):
    pytest.importorskip("uvicorn")
    command = [*AS_NAMELESS_USER, "-m", "mien", "serve", "--port", "0"]
    server = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        address = next(line for line in server.stderr if "listening" in line).split()[-1]
        headers = {"Content-Type": "image/png"}
        request = urllib.request.Request(f"{address}/analyze", photo.read_bytes(), headers)
        with urllib.request.urlopen(request, timeout=60) as response:
            assert len(json.load(response)["faces"]) == 1
    finally:
        server.send_signal(signal.SIGTERM)
        _, err = server.communicate(timeout=60)
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_model_is_trained_and_evaluated(folder):
    pytest.importorskip("torch")
    tiny.write_packed(folder / "data", tiny.table(42, 21))
    changes = ("--set", "batch_size=14", "--set", "epochs=1")
    run(folder, "train", "tiny", "--data", "data", "--out", "run", *changes)
    run(folder, "evaluate", "run", "--data", "data")
    assert (folder / "run" / "metrics.json").exists()
