"""The examples of `docs/serve.md`, run as they stand there."""

import re
import shutil
import subprocess
import sys

import pytest

from tests.paths import ROOT
from tests.server import serving

TEXT = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
OTHERS = set(re.findall(r"^```(\w+)$", TEXT, re.MULTILINE)) - {"sh", "python", "js"}
DEPLOY = ROOT / "deploy"


@pytest.fixture(scope="module")
def server(tiny_model):
    with serving.on_loopback(tiny_model) as (url, _):
        yield url


@pytest.fixture
def folder(tmp_path, photo):
    from PIL import Image

    with Image.open(photo) as image:
        image.save(tmp_path / "photo.jpg")
    serving.clip(tmp_path / "clip.mp4", 1)
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl")
@pytest.mark.parametrize("number", range(len(SHELL)))
def test_the_curl_examples_do_what_they_say(number, server, folder):
    script = SHELL[number].replace("http://127.0.0.1:8000", server)
    assert script != SHELL[number]
    script = script.replace("curl ", "curl --silent --show-error --fail --max-time 60 ")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if "videos" in script:
        assert "event: end" in done.stdout
        assert (folder / "faces.csv").read_text().startswith("source,frame")
        assert (folder / "timeline.png").stat().st_size > 1000


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_examples_do_what_they_say(number, server, folder):
    code = PYTHON[number].replace("http://127.0.0.1:8000", server)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_example_is_run():
    assert SHELL
    assert PYTHON
    assert not OTHERS


def test_the_limits_are_those_of_the_settings():
    from mien.server.settings import Settings

    said, known = re.sub(r"\s+", " ", TEXT), Settings()
    assert f"At most {known.max_waiting} pictures wait" in said
    assert f"{known.max_bytes >> 20} MiB and {known.max_pictures} pictures" in said
    assert f"{known.max_pixels // 10**6} million pixels" in said
    assert f"{known.max_held >> 20} MiB of bodies" in said
    assert f"{known.max_jobs} videos of {known.max_video_bytes >> 20} MiB" in said
    assert f"{known.max_live} live connections" in said
    assert f"too slowly ({known.slow:.0f} seconds)" in said


def test_the_unit_starts_what_there_is(mien):
    unit = (DEPLOY / "mien.service").read_text(encoding="utf-8")
    container = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    (start,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    known = mien("serve", "--help")[1]
    for option in re.findall(r"--[\w-]+", start + container.partition("ENTRYPOINT")[2]):
        assert option in known
    for line in (
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "DynamicUser=yes",
    ):
        assert line in unit.splitlines()
    assert re.search(r"^USER \d+", container, re.MULTILINE)
    if shutil.which("systemd-analyze"):
        checked = subprocess.run(
            ["systemd-analyze", "verify", str(DEPLOY / "mien.service")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        wrong = [line for line in checked.stderr.splitlines() if "mien.service" in line]
        assert not [line for line in wrong if "is not executable" not in line], wrong
