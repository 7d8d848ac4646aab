"""The page that people see, in a real browser."""

import asyncio
import base64
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
from mien.server import static_files
from mien.writers import csv, html
from tests.browser import CHROMIUM, Browser
from tests.paths import ROOT
from tests.server.serving import in_process, on_loopback, service_of, write_video

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

CROWD = 12


@pytest.fixture(scope="module")
def camera(tmp_path_factory):
    path = tmp_path_factory.mktemp("camera") / "x.y4m"
    dice = np.random.default_rng(0)
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W320 H180 F10:1 Ip A1:1 C420jpeg\n")
        for _ in range(10):
            file.write(b"FRAME\n" + dice.integers(0, 256, 320 * 180 * 3 // 2, np.uint8).tobytes())
    return path


@pytest.fixture(scope="module")
def browser(camera):
    """One browser for all tests, and what runs its commands."""
    with asyncio.Runner() as runner:
        page = Browser(camera=camera)
        runner.run(page.__aenter__())
        yield page, runner.run
        runner.run(page.__aexit__())


@pytest.fixture(scope="module")
def usual(tiny_model):
    """A service as it is without being told anything: its address, and its server."""
    with on_loopback(tiny_model) as found:
        yield found


@pytest.fixture
def see(browser, usual, tiny_model, tmp_path):
    """Do something with the page of a service; `expects` what the browser complains of."""
    page, run = browser

    def see(what, size=(1200, 900), dark=False, expects=None, **wanted):
        async def seen(address, server):
            await page.command("Browser.setDownloadBehavior", behavior="allow",
                               downloadPath=str(tmp_path))  # fmt: skip
            await page.visit(address, size, dark)
            try:
                await what(page, server)
            finally:
                await page.offline(False)
                await page.js("sessionStorage.clear()")
                await page.command("Page.navigate", url="about:blank")
            # axe writes to each frame, and the browser warns where one is sandboxed.
            postings = "'postMessage' on 'DOMWindow'"
            for complaint in (one for one in page.complaints if postings not in one):
                assert expects, complaint
                assert expects in complaint

        with on_loopback(tiny_model, **wanted) if wanted else nullcontext(usual) as service:
            run(seen(*service))

    return see


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.png"
    path.write_bytes(b"no picture")
    return path


@pytest.fixture
def crowd(monkeypatch, tmp_path):
    """A large picture; on every picture, rows of faces of which the last are doubtful."""

    def rows(_, pixels):
        high, wide = pixels.shape[0] / 3, pixels.shape[1] / 4
        boxes = [(k % 4 * wide, k // 4 * high, 0.6 * wide, 0.8 * high) for k in range(CROWD)]
        return [Detection(box, 0.99 - 0.05 * k, roll=0.0) for k, box in enumerate(boxes)]

    monkeypatch.setattr(WholeImage, "__call__", rows)
    path = tmp_path / f"{'a-name-without-an-end-' * 6}.jpg"
    Image.new("RGB", (1200, 800), "tan").save(path)
    return path


async def text(page, selector):
    return await page.js(f"document.querySelector({json.dumps(selector)}).textContent")


async def click(page, selector):
    await page.js(f"document.querySelector({json.dumps(selector)}).click()")


async def count(page, selector):
    return await page.js(f"document.querySelectorAll({json.dumps(selector)}).length")


async def read(page, *paths):
    """Choose pictures, and wait until they have been read."""
    before = await count(page, ".shown")
    await page.choose("#files", *paths)
    await page.until(f"document.querySelectorAll('.shown').length === {before + len(paths)}")
    await page.until("!document.querySelector('.shown[aria-busy]')")


async def downloaded(path):
    for _ in range(200):
        if path.exists():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{path.name} did not come")


async def gone(server):
    """Wait until the service has forgotten all videos."""
    for _ in range(200):
        if not service_of(server).jobs.count():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("a video is kept")


async def start_camera(page):
    await click(page, "#tab-camera")
    await click(page, "#camera-start")
    await page.until("document.querySelector('#camera-faces .face')")


async def watch_video(page, path):
    await click(page, "#tab-video")
    await page.choose("#video-file", path)
    await page.until("!document.getElementById('timeline').hidden", 120)


# Pictures.


def test_a_picture_is_read_and_what_was_found_can_be_saved(see, photo, tmp_path):
    async def look(page, _):
        await read(page, photo)
        await page.until("document.getElementById('status').textContent === '1 picture, 1 face.'")
        names = await page.js("[...document.querySelectorAll('.bars dt')].map(e => e.textContent)")
        assert names == ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
        shares = await page.js("[...document.querySelectorAll('dd')].map(e => e.textContent)")
        assert abs(sum(float(share.removesuffix(" %")) for share in shares) - 100) < 0.5
        assert await count(page, ".stage .box") == 1
        await click(page, "#as-csv")
        await click(page, "#as-json")
        await click(page, "[aria-label^='Save picture']")
        for name in ("faces.csv", "faces.json", "a photo-faces.png"):
            await downloaded(tmp_path / name)
        await click(page, "#clear")
        assert await count(page, ".shown") == 0
        assert await page.js("document.activeElement.id") == "files"

    see(look)
    header, row = (tmp_path / "faces.csv").read_text().splitlines()
    assert header.split(",") == [c for c in csv.COLUMNS if not c.startswith("smoothed_")]
    assert row.startswith("a photo.png,0,0")
    (record,) = json.loads((tmp_path / "faces.json").read_text())
    assert abs(sum(record["faces"][0]["emotions"].values()) - 1) < 1e-6
    with Image.open(tmp_path / "a photo-faces.png") as made:
        assert made.size == (160, 90)


def test_what_is_no_picture_is_told_in_its_place_and_the_others_are_read(see, photo, bad):
    async def look(page, _):
        await read(page, bad, photo)
        said = await page.until("document.getElementById('trouble').textContent")
        assert said.startswith("1 picture, 1 face. bad.png: ")
        assert "not a picture" in said
        assert "not a picture" in await text(page, ".shown .trouble")
        assert await count(page, ".face") == 1
        await click(page, "[aria-label='Remove bad.png']")
        assert await count(page, ".shown") == 1

    see(look, expects="422")


def test_many_faces_are_folded_and_each_leads_to_its_box(see, crowd):
    async def look(page, _):
        await read(page, crowd)
        assert await count(page, ".face") == await count(page, ".box") == CROWD
        assert await count(page, ".face[open]") == 0
        assert await count(page, ".flags:not(:empty)") > 0
        await page.point('.face[data-face="7"]')
        assert await text(page, ".box.on") == "7"
        await page.point('.box[data-face="3"]', click=True)
        assert await text(page, ".face.on .number") == "Face 3"
        assert await page.js("document.activeElement.parentElement.dataset.face") == "3"
        assert await text(page, ".face[open] .number") == "Face 3"
        await page.press("Tab")
        assert await text(page, "summary:focus .number") == "Face 4"
        assert await page.js("document.querySelector('.box[data-face=\"4\"]').matches('.on')")
        fold = "document.querySelector('.shown .actions button')"
        await page.js(f"{fold}.click()")
        assert await count(page, ".face[open]") == CROWD
        await page.until(f"{fold}.textContent === 'Close all'")
        await page.js(f"{fold}.click()")
        assert await count(page, ".face[open]") == 0

    see(look)


def test_a_busy_service_is_asked_again(see, photo):
    async def look(page, server):
        admission = service_of(server).images.admission
        admission.max_images, most = 0, admission.max_images
        await page.choose("#files", photo)
        await page.until("document.querySelector('.wait')?.textContent.includes('busy')")
        admission.max_images = most
        await page.until("document.querySelectorAll('.face').length === 1")

    see(look, expects="503")


def test_a_service_that_is_gone_is_told_and_can_be_tried_again(see, photo):
    async def look(page, _):
        await page.until("document.getElementById('model').value")
        await page.offline(True)
        await read(page, photo)
        assert "does not answer" in await text(page, "#trouble")
        assert await page.js("document.getElementById('as-csv').disabled")
        await page.offline(False)
        await click(page, "[aria-label='Try again with a photo.png']")
        await page.until("document.querySelectorAll('.face').length === 1")
        assert await text(page, "#trouble") == ""

    see(look, expects="ERR_INTERNET_DISCONNECTED")


def test_pasted_and_dropped_files_go_where_they_belong(see, photo):
    def given(event, takes, name):
        return (
            "{ const given = new DataTransfer();"
            f"given.items.add(new File(['nothing'], '{name[0]}', {{type: '{name[1]}'}}));"
            f"dispatchEvent(new {event}Event('{takes[0]}', {{{takes[1]}: given}})) }}"
        )

    async def look(page, _):
        await click(page, "#tab-camera")
        await page.js(given("Clipboard", ("paste", "clipboardData"), ("x.png", "image/png")))
        await page.until("document.querySelector('.shown .trouble')")
        assert not await page.js("document.getElementById('picture').hidden")
        await page.js(given("Drag", ("drop", "dataTransfer"), ("x.mp4", "video/mp4")))
        await page.until("document.getElementById('trouble').textContent.startsWith('x.mp4: ')")
        assert not await page.js("document.getElementById('video').hidden")

    see(look, expects="422")


def test_another_model_reads_the_pictures_again(see, photo):
    async def look(page, _):
        await page.until("document.getElementById('model').value")
        await read(page, photo)
        assert "model tiny" in await text(page, ".shown .hint")
        await page.js(
            "document.getElementById('model').value = 'default';"
            "document.getElementById('model').dispatchEvent(new Event('change'))"
        )
        await page.until(
            "document.querySelector('.shown .hint').textContent.endsWith('model default')"
        )
        assert await count(page, ".face") == 1
        assert "share of people" in await text(page, "#means")

    see(look)


# The camera.


def test_the_camera_is_watched_and_stopped(see):
    async def look(page, _):
        await start_camera(page)
        await page.until("/[0-9]+ ms behind/.test(document.getElementById('pace').textContent)")
        assert await page.js("document.activeElement.id") != "camera-start"
        await page.until(
            "document.getElementById('status').textContent.startsWith('Watching: face')"
        )
        first = await page.js("window.first = document.querySelector('#camera-faces .face'), 1")
        seen = await text(page, "#pace")
        await page.until(f"document.getElementById('pace').textContent !== '{seen}'")
        assert first
        assert await page.js("first === document.querySelector('#camera-faces .face')")
        await click(page, "#camera-stop")
        assert await page.js("document.getElementById('camera-view').srcObject === null")
        assert await count(page, "#camera-faces .face") == 0
        assert not await page.js("document.getElementById('camera-start').hidden")

    see(look, size=(400, 800), dark=True)


def test_a_picture_of_the_camera_can_be_kept(see):
    async def look(page, _):
        await start_camera(page)
        await click(page, "#camera-keep")
        await page.until("document.querySelectorAll('#pictures .face').length === 1")
        assert await text(page, ".shown h2") == "camera.jpg"
        assert await page.js("document.getElementById('camera-view').srcObject === null")

    see(look)


def test_a_camera_that_cannot_be_had_is_told(see):
    async def look(page, _):
        await click(page, "#tab-camera")
        for error, told in (("NotAllowedError", "not allowed"), ("NotFoundError", "no camera")):
            await page.js(
                "navigator.mediaDevices.getUserMedia = () =>"
                f"Promise.reject(new DOMException('', '{error}')), 0"
            )
            await click(page, "#camera-start")
            await page.until(f"document.getElementById('trouble').textContent.includes('{told}')")
            assert not await page.js("document.getElementById('camera-start').hidden")

    see(look)


def test_a_camera_too_many_is_told(see):
    async def look(page, _):
        await click(page, "#tab-camera")
        await click(page, "#camera-start")
        told = await page.until("document.getElementById('trouble').textContent")
        assert told == "The service takes no more cameras now; try again in a moment."
        assert await page.js("document.getElementById('camera-view').srcObject === null")

    see(look, expects="503", max_live_connections=0)


# A video.


def test_a_video_is_sent_watched_and_shown_over_time(see, tmp_path):
    path = write_video(tmp_path / "walk.mp4", 1)

    async def look(page, server):
        await watch_video(page, path)
        made = await page.js(
            "[...document.querySelectorAll('#job-results button')].map(e => e.textContent)"
        )
        assert made == ["Save video", "Save timeline", "Save chart", "Save CSV", "Save JSON lines"]
        await page.js("document.querySelectorAll('#job-results button')[3].click()")
        await downloaded(tmp_path / "faces.csv")
        await page.command("Page.reload")  # it is still there
        await page.until("document.getElementById('job-results')?.children.length === 5")
        await page.until("document.getElementById('job-name').textContent === 'walk.mp4'")
        await asyncio.sleep(0.5)  # were its script refused, that would be complained of by now
        await click(page, "#job-stop")
        await page.until("document.getElementById('job').hidden")
        await gone(server)

    see(look)


def test_a_video_outlives_a_service_that_is_silent_for_a_while(see, tmp_path):
    path = write_video(tmp_path / "walk.mp4", 1)

    async def look(page, server):
        await page.js("""
          window.left = 2;
          const fetched = window.fetch;
          const away = (where) => String(where).startsWith("videos/") && window.left-- > 0;
          window.fetch = (where, ...more) => away(where)
            ? Promise.reject(new TypeError("away")) : fetched(where, ...more);
        """)
        await watch_video(page, path)
        assert await page.js("window.left") < 0
        assert await page.js("document.getElementById('trouble').textContent") == ""
        await click(page, "#job-stop")
        await gone(server)

    see(look)


def test_what_is_dropped_together_is_all_taken_or_told(see, photo, tmp_path):
    path = write_video(tmp_path / "walk.mp4", 0.4)

    async def look(page, server):
        body, film = (base64.b64encode(p.read_bytes()).decode() for p in (photo, path))
        await page.js(f"""
          const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
          const given = new DataTransfer();
          given.items.add(new File([bytes("{body}")], "a.png", {{type: "image/png"}}));
          for (const name of ["x.mp4", "y.mp4"])
            given.items.add(new File([bytes("{film}")], name, {{type: "video/mp4"}}));
          dispatchEvent(new DragEvent("drop", {{dataTransfer: given}}));
        """)
        await page.until("document.getElementById('job-results')?.children.length === 5")
        await page.until("document.querySelector('.shown .faces')")
        assert await page.js("document.getElementById('job-name').textContent") == "x.mp4"
        assert "1 other left out" in await page.js(
            "document.getElementById('job-state').textContent"
        )
        await click(page, "#job-stop")
        await gone(server)

    see(look)


def test_what_is_no_video_gets_one_sentence(see, tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"no video")

    async def look(page, server):
        await click(page, "#tab-video")
        await page.choose("#video-file", path)
        said = await page.until("document.getElementById('trouble').textContent")
        assert said.startswith("bad.mp4: ")
        assert not await page.js("document.getElementById('job-again').hidden")
        await gone(server)

    see(look)


# For everybody.


def test_a_token_is_asked_for_until_it_is_right(see, photo):
    async def give(page, token):
        await page.js(
            f"document.getElementById('token').value = '{token}';"
            "document.querySelector('#token-form button').click()"
        )

    async def look(page, _):
        await page.until("!document.getElementById('token-form').hidden")
        assert await page.js("document.activeElement.id") == "token"
        await page.choose("#files", photo)  # it waits
        await give(page, "wrong")
        await page.until("document.getElementById('trouble').textContent.includes('not know that')")
        await give(page, "secret-enough-to-guess")
        await page.until("document.querySelectorAll('.shown .face').length === 1")
        assert await page.js("document.getElementById('token-form').hidden")
        await start_camera(page)

    see(look, expects="401", token="secret-enough-to-guess")


def test_all_can_be_done_with_the_keyboard_alone(see, photo):
    async def focused(page, what):
        for _ in range(12):
            if await page.js(f"document.activeElement.matches({json.dumps(what)})"):
                return
            await page.press("Tab")
        raise AssertionError(f"no way to {what}")

    async def look(page, _):
        await page.until("document.getElementById('model').value")
        await focused(page, "#model")
        await focused(page, "#tab-picture")
        await focused(page, "#files")
        assert await page.js(
            "getComputedStyle(document.activeElement.closest('.drop')).outlineStyle"
        ) == "solid"  # fmt: skip
        await page.press("Enter")
        await page.chosen(photo)
        await page.until("document.querySelectorAll('.shown .face[open]').length === 1")
        await focused(page, "#as-csv")
        await focused(page, ".shown button")
        await focused(page, "summary")
        await page.press("Enter")
        assert await count(page, ".face[open]") == 0
        await page.press(" ")
        assert await count(page, ".face[open]") == 1
        await page.js("document.activeElement.blur()")
        await focused(page, "#tab-picture")
        await page.press("ArrowRight")
        assert await page.js("document.activeElement.id") == "tab-camera"
        assert await page.js("document.getElementById('picture').hidden")
        await focused(page, "#camera-start")
        await page.press(" ")
        await page.until("document.activeElement.id === 'camera-stop'")
        await page.until("document.querySelectorAll('#camera-faces .face').length === 1")
        await page.press("Enter")
        await page.until("document.activeElement.id === 'camera-start'")
        await page.js("document.activeElement.blur()")
        await focused(page, "#tab-camera")
        for key, tab in zip(("End", "ArrowRight", "ArrowLeft", "Home"),
                            ("video", "picture", "video", "picture"), strict=True):  # fmt: skip
            await page.press(key)
            assert await page.js("document.activeElement.id") == f"tab-{tab}"
            assert not await page.js(f"document.getElementById('{tab}').hidden")
        await page.press("End")
        await focused(page, "#video-file")
        await page.press(" ")
        await page.chosen(photo)
        assert "no video" in await page.until("document.getElementById('trouble').textContent")

    see(look)


async def states(page, crowd, bad, video):
    """The page in one state after the other; gives their names."""
    await page.until("document.getElementById('model').value")
    yield "empty"
    await read(page, crowd, bad)
    await page.js("document.querySelectorAll('summary')[2].click()")
    yield "several faces, and an error"
    await start_camera(page)
    await page.until("document.getElementById('status').textContent.startsWith('Watching')")
    yield "camera"
    await watch_video(page, video)
    yield "video"


def test_axe_finds_nothing_wrong(see, crowd, bad, tmp_path):
    if find_spec("axe_core_python") is None:
        pytest.skip("no axe")
    video = write_video(tmp_path / "walk.mp4", 0.4)

    async def look(page, _):
        async for state in states(page, crowd, bad, video):
            for dark in (False, True):
                await page.scheme(dark)
                assert await page.violations() == [], (state, dark)
        await page.js("document.getElementById('model').removeAttribute('aria-describedby');"
                      "document.querySelector('label[for=model]').remove()")  # fmt: skip
        assert [one.split(",")[0] for one in await page.violations()] == ["select-name"]

    see(look, expects="422")


def test_nothing_is_wider_than_a_phone(see, crowd, bad, tmp_path):
    video = write_video(tmp_path / f"{'walk-' * 30}.mp4", 0.4)

    async def look(page, _):
        async for state in states(page, crowd, bad, video):
            for wide in (320, 375):
                await page.resize(wide, 800)
                assert await page.js("document.documentElement.scrollWidth") <= wide, (state, wide)
                # What is cut off is not seen, either.
                cut = await page.js(
                    "[...document.querySelectorAll('main *:not(option)')].filter((one) =>"
                    f"one.getBoundingClientRect().right > {wide} && one.checkVisibility()"
                    "&& !one.closest('.stage')).map((one) => one.outerHTML.slice(0, 80))"
                )
                assert cut == [], (state, wide)

    see(look, size=(375, 800), expects="422")


def test_axe_finds_nothing_wrong_with_the_page_of_a_video(browser, tmp_path):
    if find_spec("axe_core_python") is None:
        pytest.skip("no axe")
    emotions = dict(zip(COLORS, [0.3, 0.1, 0.1, 0.2, 0.1, 0.1, 0.05, 0.05], strict=True))
    pixels = np.zeros((90, 120, 3), np.uint8)
    with html.open_writer(tmp_path / "faces.html") as write:
        for k in range(9):
            faces = [Face((10.0 + 40 * n, 9, 30, 40), 0.9, emotions, n) for n in range(2)]
            write(Result(Frame(pixels, "a.mp4", k, k / 25, "default", "yunet"), faces))
    page, run = browser

    async def look():
        await page.command("Page.navigate", url=(tmp_path / "faces.html").as_uri())
        await page.until("document.querySelectorAll('[role=slider]').length === 2")
        for dark in (False, True):
            await page.scheme(dark)
            assert await page.violations() == [], dark

    run(look())


# What the service says of it.


def test_the_page_may_do_nothing_with_other_places(tiny_model):
    with in_process(tiny_model) as client:
        answer = client.get("/")
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert answer.headers["X-Frame-Options"] == "DENY"
        paths = client.get("/openapi.json").json()["paths"]
        for path, file in static_files.FILES.items():
            answer = client.get(path)
            assert answer.headers["Content-Type"].startswith(static_files.MEDIA_TYPES[file.suffix])
            assert not re.findall(r"https?://", answer.text)
            assert path not in paths
        assert {"/", "/page.css", "/page.js"} < set(static_files.FILES)


def test_what_python_knows_is_written_nowhere_else():
    known = (*COLORS, *COLORS.values(), *LANDMARKS, "detector")
    for path in (*static_files.FOLDER.glob("*.js"), ROOT / "src" / "mien" / "writers" / "_page.js"):
        script = path.read_text(encoding="utf-8")
        assert not [word for word in known if re.search(rf"\b{word}\b", script)], path
