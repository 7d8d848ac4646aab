"""The page that people see, in a real browser."""

import asyncio
import re

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from PIL import Image
from serving import clip, in_process, on_loopback

from mien.sinks import csv

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")


def see(what, address, **wanted):
    async def seen():
        async with Browser(address, **wanted) as page:
            found = await what(page)
            assert page.complaints == []
            return found

    return asyncio.run(seen())


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    path = tmp_path_factory.mktemp("camera") / "x.y4m"
    dice = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H180 F10:1 Ip A1:1 C420jpeg\n")
        for _ in range(10):
            file.write(b"FRAME\n" + dice.integers(0, 256, 320 * 180 * 3 // 2, np.uint8).tobytes())
    return path


async def status(page):
    return await page.js("document.getElementById('status').textContent")


def test_a_picture_is_read_and_its_table_can_be_had(tiny_model, photo, tmp_path):
    async def look(page):
        await page.command("Browser.setDownloadBehavior", behavior="allow",
                           downloadPath=str(tmp_path))  # fmt: skip
        await page.choose("#files", photo)
        await page.until("document.querySelectorAll('.shown .face').length === 1")
        assert await page.until("document.getElementById('status').textContent.endsWith('face.')")
        assert await status(page) == "1 picture, 1 face."
        names = await page.js("[...document.querySelectorAll('.bars dt')].map(e => e.textContent)")
        assert names == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
        assert await page.js("document.querySelectorAll('.stage rect').length") == 2
        for button, name in (("as-csv", "faces.csv"), ("as-png", "a photo-faces.png")):
            await page.js(f"document.getElementById('{button}').click()")
            for _ in range(100):
                if (tmp_path / name).exists():
                    break
                await asyncio.sleep(0.1)
        await page.js("document.getElementById('clear').click()")
        assert await page.js("document.querySelectorAll('.shown').length") == 0

    with on_loopback(tiny_model) as (address, _):
        see(look, address)
    header, row = (tmp_path / "faces.csv").read_text().splitlines()
    assert header.split(",") == [c for c in csv.COLUMNS if not c.startswith("smoothed_")]
    assert row.startswith("a photo.png,0,0")
    with Image.open(tmp_path / "a photo-faces.png") as made:
        assert made.size == (160, 90)


def test_what_is_no_picture_gets_one_sentence(tiny_model, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")

    async def look(page):
        await page.choose("#files", bad)
        said = await page.until("document.querySelector('#status.bad')?.textContent")
        assert "bad.png" in said
        assert "not a picture" in said
        page.complaints.clear()  # the browser's own note of the 422

    with on_loopback(tiny_model) as (address, _):
        see(look, address)


def test_the_camera_is_watched_and_stopped(tiny_model, camera):
    async def look(page):
        await page.js("document.getElementById('tab-camera').click()")
        await page.js("document.getElementById('camera-start').click()")
        await page.until("document.querySelectorAll('#camera-faces .face').length === 1")
        await page.until("/[0-9]+ ms behind/.test(document.getElementById('pace').textContent)")
        await page.js("document.getElementById('camera-stop').click()")
        assert await page.js("document.getElementById('camera-view').srcObject === null")
        assert await page.js("document.querySelectorAll('#camera-faces .face').length") == 0
        assert not await page.js("document.getElementById('camera-start').hidden")

    with on_loopback(tiny_model) as (address, _):
        see(look, address, camera=camera, size=(400, 800), dark=True)


def test_a_video_is_sent_watched_and_shown_over_time(tiny_model, tmp_path):
    path = clip(tmp_path / "walk.mp4", 1)

    async def look(page):
        await page.js("document.getElementById('tab-video').click()")
        await page.choose("#video-file", path)
        await page.until("!document.getElementById('timeline').hidden", 120)
        made = await page.js(
            "[...document.querySelectorAll('#job-results button')].map(e => e.textContent).sort()"
        )
        assert made == ["Annotated video", "CSV", "Interactive page", "JSON lines", "Timeline"]
        await asyncio.sleep(1)  # were its script refused, that would be complained of by now
        await page.js("document.getElementById('job-stop').click()")
        await page.until("document.getElementById('job').hidden")

    with on_loopback(tiny_model) as (address, _):
        see(look, address)


def test_tabs_go_by_the_keyboard_and_a_token_is_asked_for(tiny_model, photo):
    async def look(page):
        await page.until("!document.getElementById('token-form').hidden")
        assert await page.js("document.activeElement.id") == "token"
        page.complaints.clear()  # the browser's own note of the 401
        await page.js(
            "document.getElementById('token').value = 'secret-enough-to-guess';"
            "document.querySelector('#token-form button').click()"
        )
        await page.until("document.getElementById('model').options.length > 0")
        await page.choose("#files", photo)
        await page.until("document.querySelectorAll('.shown .face').length === 1")
        await page.js("document.getElementById('tab-picture').focus()")
        await page.press("ArrowRight")
        assert await page.js("document.activeElement.id") == "tab-camera"
        assert await page.js("document.getElementById('picture').hidden")
        assert await page.js(
            "document.getElementById('tab-camera').getAttribute('aria-selected')"
        ) == "true"  # fmt: skip

    with on_loopback(tiny_model, token="secret-enough-to-guess") as (address, _):
        see(look, address)


def test_the_page_may_do_nothing_with_other_places(tiny_model):
    with in_process(tiny_model) as client:
        answer = client.get("/")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        for path in ("/", "/page.css", "/page.js"):
            text = client.get(path).text
            assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
        assert "/page.js" not in client.get("/openapi.json").json()["paths"]
