"""A user id without a name, a home or an environment, as in containers and under cron."""

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
# The interpreter may lie in root's home: that user may read everything, and write as others may.
NAMELESS = [
    "setpriv", "--reuid", USER, "--regid", USER, "--clear-groups",
    "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
    "env", "-i", f"PATH={os.environ['PATH']}", f"PYTHONPATH={ROOT / 'src'}",
    "PYTHONDONTWRITEBYTECODE=1", sys.executable,
]  # fmt: skip


def becomes_nameless():
    """Whether this process may start another one as that user, and the user has no name."""
    if not shutil.which("setpriv") or os.geteuid() != 0:
        return False
    code = "import getpass; getpass.getuser()"
    done = subprocess.run([*NAMELESS, "-c", code], capture_output=True, text=True, check=False)
    return "uid not found" in done.stderr or "No username set" in done.stderr


pytestmark = pytest.mark.skipif(not becomes_nameless(), reason="needs root, setpriv and a free uid")


@pytest.fixture
def folder(tmp_path, photo):
    """A folder of that user's own, with a photograph."""
    shutil.copy(photo, tmp_path / "photo.png")
    os.chown(tmp_path, int(USER), int(USER))
    return tmp_path


def run(folder, *words):
    """Run mien as that user: what it printed; fails unless that went well, without a traceback."""
    command = [*NAMELESS, "-m", "mien", *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_photograph_is_analyzed(folder):
    out = run(folder, "analyze", "photo.png", "--json", "--to", "annotated.png")
    assert len(json.loads(out)["faces"]) == 1
    assert (folder / "annotated.png").exists()


def test_speed_is_measured(folder):
    assert "a frame with one face" in run(folder, "bench")


def test_a_request_is_served(folder, photo):
    pytest.importorskip("uvicorn")
    command = [*NAMELESS, "-m", "mien", "serve", "--port", "0"]
    serving = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        address = next(line for line in serving.stderr if "listening" in line).split()[-1]
        headers = {"Content-Type": "image/png"}
        request = urllib.request.Request(f"{address}/analyze", photo.read_bytes(), headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert len(json.load(answer)["faces"]) == 1
    finally:
        serving.send_signal(signal.SIGTERM)
        _, err = serving.communicate(timeout=60)
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_model_is_trained_and_evaluated(folder):
    pytest.importorskip("torch")
    tiny.write_packed(folder / "data", tiny.table(42, 21))
    small = ("--set", "batch_size=14", "--set", "epochs=1")
    run(folder, "train", "tiny", "--data", "data", "--out", "run", *small)
    run(folder, "evaluate", "run", "--data", "data")
    assert (folder / "run" / "metrics.json").exists()
