"""The examples and tables of `docs/serve.md`, and the files of `deploy/`."""

import re
import shutil
import subprocess
import sys

import pytest

from mien.io import jpeg
from mien.io.image_file import Header
from mien.server import memory
from mien.server.app import create_app
from mien.server.live import MAX_LIVE_PIXELS
from mien.server.settings import Settings
from mien.tracking.smoothing import TIME_CONSTANT
from tests.paths import ROOT
from tests.server import serving

TEXT = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
SHELL = re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
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
    serving.write_video(tmp_path / "clip.mp4", 1)
    return tmp_path


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("number", range(len(SHELL)))
def test_the_shell_examples_work(number, server, folder):
    script = SHELL[number].replace("http://127.0.0.1:8000", server)
    assert script != SHELL[number]  # it sends requests to the tested server
    script = script.replace("curl ", "curl --silent --show-error --fail --max-time 60 ")
    process = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert process.stdout
    if "videos" in script:
        assert "event: end" in process.stdout
        assert (folder / "faces.csv").read_text().startswith("source,frame")
        assert (folder / "timeline.png").stat().st_size > 1000


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_the_python_examples_work(number, server, folder):
    code = PYTHON[number].replace("http://127.0.0.1:8000", server)
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr


def test_all_examples_except_those_in_javascript_are_tested():
    assert SHELL
    assert PYTHON
    languages = set(re.findall(r"^```(\w+)$", TEXT, re.MULTILINE))
    assert languages == {"sh", "python", "js"}


def limits():
    """Return the second cell of each row of the table of limits, by the first cell."""
    table = TEXT.partition("## Limits")[2].partition("Requests beyond")[0]
    return dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|$", table, re.MULTILINE))


def test_the_table_of_limits_agrees_with_the_settings():
    settings, rows = Settings(), limits()
    assert f"{settings.max_images_in_progress} " in rows["images queued or being analyzed"]
    one_request = rows["one request"]
    assert f"{settings.max_body_bytes >> 20} MiB" in one_request
    assert f"{settings.max_images_per_request} images" in one_request
    assert f"{settings.max_total_body_bytes >> 20} MiB" in rows["all request bodies in memory"]
    videos = rows["videos"]
    assert f"{settings.max_jobs} stored" in videos
    assert f"{settings.max_running_jobs} analyzed" in videos
    assert f"{settings.max_video_bytes >> 20} MiB" in videos
    assert settings.max_video_pixels == 1920 * 1200
    assert "1,920 x 1,200" in videos
    assert f"{memory.MAX_IMAGE_BYTES >> 20} MiB" in rows["memory of an image"]
    for size in (memory.MAX_SMALL_BYTES, memory.MAX_ALL_SMALL_BYTES):
        assert f"{size >> 20} MiB" in rows["images in memory"]
    assert f"{settings.job_lifetime_seconds / 3600:.0f} hour" in videos
    live = rows["live connections"]
    assert f"{settings.max_live_connections}," in live
    assert f"{settings.max_live_frame_bytes >> 20} MiB" in live
    assert f"{MAX_LIVE_PIXELS // 10**6} million pixels" in live
    assert f"{settings.live_idle_timeout_seconds:.0f} seconds" in live
    slow_clients = rows["slow clients"]
    assert slow_clients.count(f"{settings.client_timeout_seconds:.0f} seconds") == 3
    assert f"{settings.min_upload_bytes_per_second} bytes per second" in slow_clients


@pytest.mark.parametrize(
    ("image_format", "mode", "is_progressive", "kind"),
    [("PNG", "RGB", False, "PNG"), ("TIFF", "RGB", False, "TIFF"), ("JPEG", "RGB", False, "JPEG"),
     ("JPEG", "RGB", True, "progressive JPEG"), ("AVIF", "RGB", False, "AVIF"),
     ("HEIF", "RGB", False, "HEIC"), ("WEBP", "RGB", False, "WebP"),
     ("PNG", "I;16", False, "16-bit grayscale PNG"), ("JPEG2000", "RGB", False, "JPEG 2000"),
     ("PPM", "I", False, "16-bit PGM"), ("TIFF", "F", False, "32-bit grayscale TIFF")],
)  # fmt: skip
def test_the_table_of_limits_agrees_with_the_maximum_numbers_of_pixels(
    image_format, mode, is_progressive, kind
):
    header = Header(image_format, mode, 1, 1, is_progressive)
    max_megapixels = int(memory._max_pixels(header, jpeg.END_MARKER) / 1e6)
    row = limits()["memory of an image"].replace(" pixels", "")
    assert re.search(rf"\b{max_megapixels} million \([^)]*{kind}", row)


def test_the_default_smoothing_agrees_with_the_tracker():
    assert f"by default {TIME_CONSTANT:g};" in TEXT


def test_the_table_of_routes_has_every_route():
    app = create_app(Settings(detector="whole"))
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            route = f"{method.upper()} {path.replace('{job_id}', '{id}')}"
            assert f"\n| `{route}` |" in TEXT, route


def test_the_systemd_unit_and_the_container_file_are_valid(mien):
    unit = (DEPLOY / "mien.service").read_text(encoding="utf-8")
    container = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
    (start_options,) = re.findall(r"^ExecStart=\S+ (.*)$", unit, re.MULTILINE)
    help_text = mien("serve", "--help")[1]
    for option in re.findall(r"--[\w-]+", start_options + container.partition("ENTRYPOINT")[2]):
        assert option in help_text
    for line in (
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "ProtectSystem=strict",
        "DynamicUser=yes",
    ):
        assert line in unit.splitlines()
    assert re.search(r"^USER \d+", container, re.MULTILINE)
    if shutil.which("systemd-analyze"):
        verification = subprocess.run(
            ["systemd-analyze", "verify", str(DEPLOY / "mien.service")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        # The path of the installed command, which the unit starts, does not exist here.
        problems = [line for line in verification.stderr.splitlines() if "mien.service" in line]
        assert not [line for line in problems if "is not executable" not in line], problems
