"""The web page of the server, in Chromium."""

import asyncio
import base64
import codecs
import json
import re
from contextlib import nullcontext
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from mien.detection.whole import WholeImage
from mien.labels import COLORS
from mien.results import LANDMARKS, Detection, Face, Frame, Result
from mien.results.face import FLAGS
from mien.server import static_files
from mien.server.job import RESULT_FILES
from mien.writers import csv, html
from tests.browser import CHROMIUM, Browser
from tests.paths import ROOT
from tests.server.serving import in_process, on_loopback, server_backend, write_video

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

FACE_COUNT = 12


@pytest.fixture(scope="module")
def camera_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("camera") / "x.y4m"
    rng = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H180 F10:1 Ip A1:1 C420jpeg\n")
        scene = rng.integers(0, 200, 320 * 180 * 3 // 2, np.uint8)
        for _ in range(10):
            noise = rng.integers(0, 56, scene.size, np.uint8)
            file.write(b"FRAME\n" + (scene + noise).tobytes())
    return path


@pytest.fixture(scope="module")
def browser(camera_file):
    """Yield one browser for all tests, and a function that runs coroutines."""
    with asyncio.Runner() as runner:
        page = Browser(camera=camera_file)
        runner.run(page.__aenter__())
        yield page, runner.run
        runner.run(page.__aexit__())


@pytest.fixture(scope="module")
def default_server(tiny_model):
    """Yield the URL of a server with default settings, and the server."""
    with on_loopback(tiny_model) as url_and_server:
        yield url_and_server


@pytest.fixture
def on_page(browser, default_server, tiny_model, tmp_path):
    """Return a function that runs `check(page, server)` on the page.

    Each console error must contain the argument `console_error`; by default, none is allowed.
    """
    page, run = browser

    def on_page(check, size=(1200, 900), dark=False, console_error=None, **settings):
        async def load_and_check(url, server):
            await page.command("Browser.setDownloadBehavior", behavior="allow",
                               downloadPath=str(tmp_path))  # fmt: skip
            await page.goto(url, size, dark)
            try:
                await check(page, server)
            finally:
                await page.set_offline(False)
                await page.evaluate("sessionStorage.clear()")
                await page.command("Page.navigate", url="about:blank")
            # axe posts messages to each frame; Chromium warns about the sandboxed one.
            axe_warning = "'postMessage' on 'DOMWindow'"
            for error in (error for error in page.errors if axe_warning not in error):
                assert console_error, error
                assert console_error in error

        running = on_loopback(tiny_model, **settings) if settings else nullcontext(default_server)
        with running as (url, server):
            run(load_and_check(url, server))

    return on_page


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def invalid_image(tmp_path):
    path = tmp_path / "invalid.png"
    path.write_bytes(b"not an image")
    return path


@pytest.fixture
def crowd_image(monkeypatch, tmp_path):
    """Return a large image, and let the detector return `FACE_COUNT` faces for every image.

    The confidence of the last face is low.
    """

    def detect(_, pixels):
        height, width = pixels.shape[0] / 3, pixels.shape[1] / 4
        boxes = [
            (k % 4 * width, k // 4 * height, 0.6 * width, 0.8 * height) for k in range(FACE_COUNT)
        ]
        return [Detection(box, 0.99 - 0.05 * k, roll=0.0) for k, box in enumerate(boxes)]

    monkeypatch.setattr(WholeImage, "__call__", detect)
    path = tmp_path / f"{'a-very-long-name-' * 8}.jpg"
    Image.new("RGB", (1200, 800), "tan").save(path)
    return path


async def text(page, selector):
    return await page.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")


async def click(page, selector):
    await page.evaluate(f"document.querySelector({json.dumps(selector)}).click()")


async def count(page, selector):
    return await page.evaluate(f"document.querySelectorAll({json.dumps(selector)}).length")


async def analyze_images(page, *paths):
    """Select images and wait until all are analyzed."""
    expected = await count(page, ".image-entry") + len(paths)
    await page.set_files("#image-files", *paths)
    await page.wait_for(f"document.querySelectorAll('.image-entry').length === {expected}")
    await page.wait_for("!document.querySelector('.image-entry[aria-busy]')")


async def wait_for_file(path):
    for _ in range(200):
        if path.exists():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path.name} was not downloaded")


async def wait_for_deletion(server):
    """Wait until the server has no jobs."""
    for _ in range(200):
        if not server_backend(server).jobs.count():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a job was not deleted")


async def start_camera(page):
    await click(page, "#camera-tab")
    await click(page, "#camera-start")
    await page.wait_for("document.querySelector('#camera-faces .face')")


async def analyze_video(page, path):
    await click(page, "#video-tab")
    await page.set_files("#video-file", path)
    await page.wait_for("!document.getElementById('timeline').hidden", 120)


async def wait_for_result_files(page):
    """Wait until there is a button for each result file of a video."""
    await page.wait_for(
        f"document.getElementById('job-result-files')?.children.length === {len(RESULT_FILES)}"
    )


# Images.


def test_image_results_can_be_saved(on_page, photo, tmp_path):
    async def check(page, _):
        await analyze_images(page, photo)
        await page.wait_for("document.getElementById('status').textContent === '1 image, 1 face.'")
        names = await page.evaluate(
            "[...document.querySelectorAll('.bars dt')].map(e => e.textContent)"
        )
        assert names == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
        shares = await page.evaluate("[...document.querySelectorAll('dd')].map(e => e.textContent)")
        assert abs(sum(float(share.removesuffix("\u202f%")) for share in shares) - 100) < 0.5
        assert await count(page, ".viewer .box") == 1
        await click(page, "#save-csv")
        await click(page, "#save-json")
        await click(page, "[aria-label^='Save image']")
        for name in ("faces.csv", "faces.json", "a photo-faces.png"):
            await wait_for_file(tmp_path / name)
        await click(page, "#remove-all")
        assert await count(page, ".image-entry") == 0
        assert await page.evaluate("document.activeElement.id") == "image-files"

    on_page(check)
    header, row = (tmp_path / "faces.csv").read_text().splitlines()
    assert header.split(",") == [c for c in csv.COLUMNS if not c.startswith("smoothed_")]
    assert row.startswith("a photo.png,0,0")
    (record,) = json.loads((tmp_path / "faces.json").read_text())
    assert abs(sum(record["faces"][0]["emotions"].values()) - 1) < 1e-6
    with Image.open(tmp_path / "a photo-faces.png") as annotated:
        assert annotated.size == (160, 90)


def test_a_saved_csv_with_a_non_ascii_name_starts_with_a_byte_order_mark(on_page, photo, tmp_path):
    async def check(page, _):
        await analyze_images(page, photo.rename(tmp_path / "é 顔.png"))
        await click(page, "#save-csv")
        await wait_for_file(tmp_path / "faces.csv")

    on_page(check)
    assert (tmp_path / "faces.csv").read_bytes().startswith(codecs.BOM_UTF8 + b"source,frame")
    assert "\né 顔.png,0,0" in (tmp_path / "faces.csv").read_text(encoding="utf-8-sig")


def test_an_invalid_image_shows_an_error_and_other_images_are_analyzed(
    on_page, photo, invalid_image
):
    async def check(page, _):
        await analyze_images(page, invalid_image, photo)
        message = await page.wait_for("document.getElementById('error').textContent")
        assert message.startswith("1 image, 1 face. invalid.png: ")
        assert await text(page, ".image-entry .error p") in message
        assert await count(page, ".face") == 1
        await click(page, "[aria-label='Remove invalid.png']")
        assert await count(page, ".image-entry") == 1

    on_page(check, console_error="422")


def test_cards_of_many_faces_are_closed_and_linked_to_boxes(on_page, crowd_image):
    async def check(page, _):
        await analyze_images(page, crowd_image)
        assert await count(page, ".face") == await count(page, ".box") == FACE_COUNT
        assert await count(page, ".face[open]") == 0
        assert "not a face" in await text(page, ".face:last-child .flags")
        await page.hover('.face[data-face-id="7"]')
        assert await text(page, ".box.highlighted") == "7"
        await page.hover('.box[data-face-id="3"]', click=True)
        assert await text(page, ".face.highlighted .face-id") == "Face 3"
        assert await page.evaluate("document.activeElement.parentElement.dataset.faceId") == "3"
        assert await text(page, ".face[open] .face-id") == "Face 3"
        await page.press("Tab")
        assert await text(page, "summary:focus .face-id") == "Face 4"
        assert await page.evaluate(
            "document.querySelector('.box[data-face-id=\"4\"]').matches('.highlighted')"
        )
        toggle_all = "document.querySelector('.image-entry .actions button')"
        await page.evaluate(f"{toggle_all}.click()")
        assert await count(page, ".face[open]") == FACE_COUNT
        await page.wait_for(f"{toggle_all}.textContent === 'Close all'")
        await page.evaluate(f"{toggle_all}.click()")
        assert await count(page, ".face[open]") == 0

    on_page(check)


def test_a_request_is_retried_while_the_server_is_busy(on_page, photo):
    async def check(page, server):
        admission = server_backend(server).images.admission
        admission.max_images_in_progress, max_images = 0, admission.max_images_in_progress
        await page.set_files("#image-files", photo)
        await page.wait_for("document.querySelector('.progress')?.textContent.includes('busy')")
        admission.max_images_in_progress = max_images
        await page.wait_for("document.querySelectorAll('.face').length === 1")

    on_page(check, console_error="503")


def test_without_a_connection_an_error_and_a_retry_button_are_shown(on_page, photo):
    async def check(page, _):
        await page.wait_for("document.getElementById('model').value")
        await page.set_offline(True)
        await analyze_images(page, photo)
        assert "does not respond" in await text(page, "#error")
        assert await page.evaluate("document.getElementById('save-csv').disabled")
        await page.set_offline(False)
        await click(page, "[aria-label='Try again with a photo.png']")
        await page.wait_for("document.querySelectorAll('.face').length === 1")
        assert await text(page, "#error") == ""

    on_page(check, console_error="ERR_INTERNET_DISCONNECTED")


def test_pasted_and_dropped_files_open_their_tab(on_page, photo):
    async def dispatch(page, event, name, media_type):
        """Dispatch a new event, in JavaScript, whose `transfer` has an invalid file."""
        await page.evaluate(
            "{ const transfer = new DataTransfer();"
            f"transfer.items.add(new File(['invalid'], '{name}', {{type: '{media_type}'}}));"
            f"dispatchEvent(new {event}) }}"
        )

    async def check(page, _):
        await click(page, "#camera-tab")
        paste = "ClipboardEvent('paste', {clipboardData: transfer})"
        await dispatch(page, paste, "x.png", "image/png")
        await page.wait_for("document.querySelector('.image-entry .error')")
        assert not await page.evaluate("document.getElementById('image-panel').hidden")
        drop = "DragEvent('drop', {dataTransfer: transfer})"
        await dispatch(page, drop, "x.mp4", "video/mp4")
        await page.wait_for("document.getElementById('error').textContent.startsWith('x.mp4: ')")
        assert not await page.evaluate("document.getElementById('video-panel').hidden")

    on_page(check, console_error="422")


def test_changing_the_model_analyzes_the_images_again(on_page, photo):
    async def check(page, _):
        await page.wait_for("document.getElementById('model').value")
        await analyze_images(page, photo)
        assert "model tiny" in await text(page, ".image-entry .hint")
        await page.evaluate(
            "document.getElementById('model').value = 'default';"
            "document.getElementById('model').dispatchEvent(new Event('change'))"
        )
        await page.wait_for(
            "document.querySelector('.image-entry .hint').textContent.endsWith('model default')"
        )
        assert await count(page, ".face") == 1
        assert "share of people" in await text(page, "#model-description")

    on_page(check)


# The camera.


def test_the_camera_starts_and_stops(on_page):
    async def check(page, _):
        await start_camera(page)
        await page.wait_for("/[0-9]+ ms/.test(document.getElementById('camera-speed').textContent)")
        await page.wait_for("document.getElementById('status').textContent.startsWith('Now: face')")
        # The value of `evaluate` cannot be an element, so that of the expression is 0.
        await page.evaluate("window.firstCard = document.querySelector('#camera-faces .face'), 0")
        speed = await text(page, "#camera-speed")
        await page.wait_for(f"document.getElementById('camera-speed').textContent !== '{speed}'")
        assert await page.evaluate("firstCard === document.querySelector('#camera-faces .face')")
        await click(page, "#camera-stop")
        assert await page.evaluate("document.getElementById('camera-video').srcObject === null")
        assert await count(page, "#camera-faces .face") == 0
        assert not await page.evaluate("document.getElementById('camera-start').hidden")

    on_page(check, size=(400, 800), dark=True)


def test_a_camera_image_can_be_captured(on_page):
    async def check(page, _):
        await start_camera(page)
        await click(page, "#camera-capture")
        await page.wait_for("document.querySelectorAll('#images .face').length === 1")
        assert await text(page, ".image-entry h2") == "camera.jpg"
        assert await page.evaluate("document.getElementById('camera-video').srcObject === null")

    on_page(check)


def test_camera_errors_are_explained(on_page):
    async def check(page, _):
        await click(page, "#camera-tab")
        for error, expected_text in (
            ("NotAllowedError", "not allowed"),
            ("NotFoundError", "No camera"),
        ):
            await page.evaluate(
                "navigator.mediaDevices.getUserMedia = () =>"
                f"Promise.reject(new DOMException('', '{error}')), 0"
            )
            await click(page, "#camera-start")
            await page.wait_for(
                f"document.getElementById('error').textContent.includes('{expected_text}')"
            )
            assert not await page.evaluate("document.getElementById('camera-start').hidden")

    on_page(check)


def test_after_the_selected_camera_is_disconnected_another_one_can_be_started(on_page):
    async def check(page, _):
        await click(page, "#camera-tab")
        await page.evaluate(
            "document.getElementById('camera-device').add(new Option('removed', 'no-such-id'))"
        )
        await click(page, "#camera-start")
        message = await page.wait_for("document.getElementById('error').textContent")
        assert message.startswith("The selected camera is no longer connected.")
        await start_camera(page)

    on_page(check)


def test_a_camera_beyond_the_limit_of_the_server_is_explained(on_page):
    async def check(page, _):
        await click(page, "#camera-tab")
        await click(page, "#camera-start")
        assert "no more cameras" in await page.wait_for(
            "document.getElementById('error').textContent"
        )
        assert await page.evaluate("document.getElementById('camera-video').srcObject === null")

    on_page(check, console_error="503", max_live_connections=0)


# Videos.


def test_a_video_is_uploaded_analyzed_and_shown(on_page, tmp_path):
    path = write_video(tmp_path / "walk.mp4", 1)

    async def check(page, server):
        await analyze_video(page, path)
        labels = await page.evaluate(
            "[...document.querySelectorAll('#job-result-files button')].map(e => e.textContent)"
        )
        assert labels == [f"Save {description}" for description in RESULT_FILES.values()]
        csv_button = list(RESULT_FILES).index("faces.csv")
        await page.evaluate(
            f"document.querySelectorAll('#job-result-files button')[{csv_button}].click()"
        )
        await wait_for_file(tmp_path / "faces.csv")
        await page.command("Page.reload")
        await wait_for_result_files(page)
        await page.wait_for("document.getElementById('job-name').textContent === 'walk.mp4'")
        await asyncio.sleep(0.5)  # a blocked script of the timeline would cause a console error
        await click(page, "#job-delete")
        await page.wait_for("document.getElementById('job').hidden")
        await wait_for_deletion(server)

    on_page(check)


def test_a_video_is_analyzed_despite_failed_requests(on_page, tmp_path):
    path = write_video(tmp_path / "walk.mp4", 1)

    async def check(page, server):
        await page.evaluate("""
          window.failuresLeft = 2;
          const originalFetch = window.fetch;
          const fails = (url) => String(url).startsWith("videos/") && window.failuresLeft-- > 0;
          window.fetch = (url, ...options) => fails(url)
            ? Promise.reject(new TypeError("offline")) : originalFetch(url, ...options);
        """)
        await analyze_video(page, path)
        assert await page.evaluate("window.failuresLeft") < 0
        assert await page.evaluate("document.getElementById('error').textContent") == ""
        await click(page, "#job-delete")
        await wait_for_deletion(server)

    on_page(check)


def test_dropped_images_and_the_first_of_several_videos_are_analyzed(on_page, photo, tmp_path):
    path = write_video(tmp_path / "walk.mp4", 0.4)

    async def check(page, server):
        image, video = (base64.b64encode(p.read_bytes()).decode() for p in (photo, path))
        await page.evaluate(f"""
          const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes("{image}")], "a.png", {{type: "image/png"}}));
          for (const name of ["x.mp4", "y.mp4"])
            transfer.items.add(new File([bytes("{video}")], name, {{type: "video/mp4"}}));
          dispatchEvent(new DragEvent("drop", {{dataTransfer: transfer}}));
        """)
        await wait_for_result_files(page)
        await page.wait_for("document.querySelector('.image-entry .faces')")
        assert await page.evaluate("document.getElementById('job-name').textContent") == "x.mp4"
        assert "1 other" in await page.evaluate("document.getElementById('job-status').textContent")
        await click(page, "#job-delete")
        await wait_for_deletion(server)

    on_page(check)


def test_an_invalid_video_shows_an_error(on_page, tmp_path):
    path = tmp_path / "invalid.mp4"
    path.write_bytes(b"not a video")

    async def check(page, server):
        await click(page, "#video-tab")
        await page.set_files("#video-file", path)
        message = await page.wait_for("document.getElementById('error').textContent")
        assert message.startswith("invalid.mp4: ")
        assert not await page.evaluate("document.getElementById('job-retry').hidden")
        await wait_for_deletion(server)

    on_page(check)


# Token, keyboard, accessibility.


async def enter_token(page, token):
    await page.evaluate(
        f"document.getElementById('token').value = '{token}';"
        "document.querySelector('#token-form button').click()"
    )


def test_the_token_form_is_shown_until_the_token_is_correct(on_page, photo):
    async def check(page, _):
        await page.wait_for("!document.getElementById('token-form').hidden")
        assert await page.evaluate("document.activeElement.id") == "token"
        await page.set_files("#image-files", photo)  # the request waits for the token
        await enter_token(page, "wrong")
        await page.wait_for("document.getElementById('error').textContent.includes('rejected')")
        await enter_token(page, "secret-enough-to-guess")
        await page.wait_for("document.querySelectorAll('.image-entry .face').length === 1")
        assert await page.evaluate("document.getElementById('token-form').hidden")
        await start_camera(page)

    on_page(check, console_error="401", token="secret-enough-to-guess")


@pytest.mark.parametrize("is_prompted_before", [True, False])
def test_an_upload_waits_for_the_token(on_page, tmp_path, is_prompted_before):
    path = write_video(tmp_path / "walk.mp4", 0.4)

    async def check(page, _):
        await page.wait_for("!document.getElementById('token-form').hidden")
        if not is_prompted_before:
            await enter_token(page, "secret")
            await page.wait_for("document.getElementById('model').value")
            # The first upload is sent without the token, as if the token had changed.
            await page.evaluate("""
              const originalMethod = XMLHttpRequest.prototype.setRequestHeader;
              XMLHttpRequest.prototype.setRequestHeader = function (name, value) {
                if (name !== "Authorization") originalMethod.call(this, name, value);
                else XMLHttpRequest.prototype.setRequestHeader = originalMethod;
              };
            """)
        await click(page, "#video-tab")
        await page.set_files("#video-file", path)
        await page.wait_for("!document.getElementById('token-form').hidden")
        await enter_token(page, "secret")
        await wait_for_result_files(page)

    on_page(check, console_error="401", token="secret")


def test_the_page_can_be_used_with_the_keyboard_only(on_page, photo):
    async def tab_to(page, selector):
        for _ in range(12):
            if await page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
                return
            await page.press("Tab")
        raise AssertionError(f"{selector} cannot be reached with Tab")

    async def check(page, _):
        await page.wait_for("document.getElementById('model').value")
        await tab_to(page, "#model")
        await tab_to(page, "#image-tab")
        await tab_to(page, "#image-files")
        assert await page.evaluate(
            "getComputedStyle(document.activeElement.closest('.dropzone')).outlineStyle"
        ) == "solid"  # fmt: skip
        await page.press("Enter")
        await page.set_files_in_dialog(photo)
        await page.wait_for("document.querySelectorAll('.image-entry .face[open]').length === 1")
        await tab_to(page, "#save-csv")
        await tab_to(page, ".image-entry button")
        await tab_to(page, "summary")
        await page.press("Enter")
        assert await count(page, ".face[open]") == 0
        await page.press(" ")
        assert await count(page, ".face[open]") == 1
        await page.evaluate("document.activeElement.blur()")
        await tab_to(page, "#image-tab")
        await page.press("ArrowRight")
        assert await page.evaluate("document.activeElement.id") == "camera-tab"
        assert await page.evaluate("document.getElementById('image-panel').hidden")
        await tab_to(page, "#camera-start")
        await page.press(" ")
        await page.wait_for("document.activeElement.id === 'camera-stop'")
        await page.wait_for("document.querySelectorAll('#camera-faces .face').length === 1")
        await page.press("Enter")
        await page.wait_for("document.activeElement.id === 'camera-start'")
        await page.evaluate("document.activeElement.blur()")
        await tab_to(page, "#camera-tab")
        for key, tab in zip(("End", "ArrowRight", "ArrowLeft", "Home"),
                            ("video", "image", "video", "image"), strict=True):  # fmt: skip
            await page.press(key)
            assert await page.evaluate("document.activeElement.id") == f"{tab}-tab"
            assert not await page.evaluate(f"document.getElementById('{tab}-panel').hidden")
        await page.press("End")
        await tab_to(page, "#video-file")
        await page.press(" ")
        await page.set_files_in_dialog(photo)
        assert "not a video" in await page.wait_for("document.getElementById('error').textContent")

    on_page(check)


async def page_states(page, crowd_image, invalid_image, video):
    """Bring the page into several states, one after another, and yield the name of each."""
    await page.wait_for("document.getElementById('model').value")
    yield "empty"
    await analyze_images(page, crowd_image, invalid_image)
    await page.evaluate("document.querySelectorAll('summary')[2].click()")
    yield "faces and an error"
    await start_camera(page)
    await page.wait_for("document.getElementById('status').textContent.startsWith('Now: ')")
    yield "camera"
    await analyze_video(page, video)
    yield "video"


def test_the_page_has_no_accessibility_violations(on_page, crowd_image, invalid_image, tmp_path):
    if find_spec("axe_core_python") is None:
        pytest.skip("axe is not installed")
    video = write_video(tmp_path / "walk.mp4", 0.4)

    async def check(page, _):
        async for state in page_states(page, crowd_image, invalid_image, video):
            for dark in (False, True):
                await page.set_color_scheme(dark)
                assert await page.accessibility_violations() == [], (state, dark)
        await page.evaluate("document.getElementById('model').removeAttribute('aria-describedby');"
                      "document.querySelector('label[for=model]').remove()")  # fmt: skip
        (violation,) = await page.accessibility_violations()
        assert violation.startswith("select-name")

    on_page(check, console_error="422")


def test_the_page_fits_the_width_of_a_phone(on_page, crowd_image, invalid_image, tmp_path):
    video = write_video(tmp_path / f"{'walk-' * 30}.mp4", 0.4)

    async def check(page, _):
        async for state in page_states(page, crowd_image, invalid_image, video):
            for width in (320, 375):
                await page.resize(width, 800)
                assert await page.evaluate("document.documentElement.scrollWidth") <= width, (
                    state,
                    width,
                )
                # Clipped elements do not widen the page.
                clipped = await page.evaluate(
                    "[...document.querySelectorAll('main *:not(option)')].filter((element) =>"
                    f"element.getBoundingClientRect().right > {width} && element.checkVisibility()"
                    "&& !element.closest('.viewer')).map(({outerHTML}) => outerHTML.slice(0, 80))"
                )
                assert clipped == [], (state, width)

    on_page(check, size=(375, 800), console_error="422")


def test_the_html_timeline_has_no_accessibility_violations(browser, tmp_path):
    if find_spec("axe_core_python") is None:
        pytest.skip("axe is not installed")
    emotions = dict(zip(COLORS, [0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.05, 0.05], strict=True))
    pixels = np.zeros((90, 120, 3), np.uint8)
    with html.open_writer(tmp_path / "faces.html") as write:
        for k in range(9):
            faces = [Face((10.0 + 40 * n, 9, 30, 40), 0.9, emotions, n) for n in range(2)]
            write(Result(Frame(pixels, "a.mp4", k, k / 25, "default", "yunet"), faces))
    page, run = browser

    async def check():
        await page.command("Page.navigate", url=(tmp_path / "faces.html").as_uri())
        await page.wait_for("document.querySelectorAll('[role=slider]').length === 2")
        for dark in (False, True):
            await page.set_color_scheme(dark)
            assert await page.accessibility_violations() == [], dark

    run(check())


# Files and security headers.


def test_the_page_can_connect_only_to_its_server(tiny_model):
    with in_process(tiny_model) as client:
        response = client.get("/")
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert response.headers["X-Frame-Options"] == "DENY"
        paths = client.get("/openapi.json").json()["paths"]
        for path, file in static_files.FILES_BY_PATH.items():
            response = client.get(path)
            assert response.headers["Content-Type"].startswith(
                static_files.MEDIA_TYPES[file.suffix]
            )
            assert not re.findall(r"https?://", response.text)
            assert path not in paths
        assert {"/", "/page.css", "/page.js"} < set(static_files.FILES_BY_PATH)


def test_scripts_do_not_repeat_python_constants():
    # "detector" represents the columns of tables; some of the others are common words.
    constants = (*COLORS, *COLORS.values(), *FLAGS, *LANDMARKS, "detector")
    for path in (*static_files.FOLDER.glob("*.js"), ROOT / "src" / "mien" / "writers" / "_page.js"):
        script = path.read_text(encoding="utf-8")
        assert not [word for word in constants if re.search(rf"\b{word}\b", script)], path
