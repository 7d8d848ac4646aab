"""The HTML page of a video, in Chromium."""

import asyncio
import json
import shutil

import numpy as np
import pytest

from mien import writers
from mien.labels import EMOTIONS
from mien.results import Face, Frame, Result
from mien.visualization import timeline, timeline_data
from mien.visualization.timeline_data import ABSENT, INTERPOLATED, VISIBLE
from tests.browser import CHROMIUM, Browser
from tests.synthetic import clip_files, clips, tiny

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

SECONDS, FRAME_RATE = 6, 25
"""Length and frame rate of the video, and of the page unless the test sets others."""

PHONE_SIZE = (375, 740)

# JavaScript expressions
PAUSED = "document.querySelector('video').paused"
SETTLED = "(v => v && !v.hidden && !v.seeking && v.readyState > 1)(document.querySelector('video'))"
DETAILS = "document.getElementById('details').innerText"


def make_face(face_id, box, **shares):
    smoothed = {name: shares.get(name, 0.0) for name in EMOTIONS}
    return Face(box, 0.9, dict.fromkeys(EMOTIONS, 1 / 7), face_id, smoothed=smoothed)


def faces_at(k):
    """Faces of frame k: 0 in all frames, 1 in frames 0 to 39 and 65 to 89, 2 only in the last."""
    faces = [make_face(0, (32.0, 18.0, 64.0, 72.0), happy=0.75, sad=0.25)]
    if k < 40 or 65 <= k < 90:
        faces.append(make_face(1, (160.0 + k / 2, 90.0, 32.0, 36.0), angry=0.6, fear=0.4))
    if k == SECONDS * FRAME_RATE - 1:
        faces.append(make_face(2, (256.0, 9.0, 32.0, 36.0), surprise=1.0))
    return faces


def write_page(path, source, faces=faces_at, seconds=SECONDS, frame_rate=FRAME_RATE, cut=None):
    """Write the page of a video; it does not depend on the content of the video file `source`.

    Args:
        path: The page.
        source: The video file.
        faces: A function like `faces_at`.
        seconds: Length of the video.
        frame_rate: Frames per second.
        cut: The frame at which a second shot begins; None for a single shot.
    """
    pixels = np.full((180, 320, 3), 90, np.uint8)
    source = str(source)
    with writers.open_writer(path) as write:
        for k in range(int(seconds * frame_rate)):
            frame = Frame(
                pixels, source, k, k / frame_rate, model="default", detector="yunet", kind="video",
                location=source, shot=int(cut is not None and k >= cut),
            )  # fmt: skip
            write(Result(frame, faces(k)))
    return path


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A video of six seconds, with a name that must be escaped."""
    path = tmp_path_factory.mktemp("video") / "50% #1 <b>?.mp4"
    frames = clips.frames("one", tiny.samples(28), size=(320, 180), seconds=SECONDS)
    clip_files.encode(path, frames, sound=True)
    return path


@pytest.fixture(scope="module")
def browser():
    """A browser, and a function that runs a coroutine in the event loop of the browser."""
    with asyncio.Runner() as runner:
        page = Browser()
        runner.run(page.__aenter__())
        yield page, runner.run
        runner.run(page.__aexit__())


@pytest.fixture
def on_page(browser, video, tmp_path):
    """Run `check(page)` on the page of a video, with or without the video file next to it.

    Further options are those of `write_page`.
    """
    page, run = browser

    def on_page(check, size=(1280, 900), with_video=True, faces=faces_at, **options):
        source = tmp_path / video.name
        shutil.copy(video, source)
        url = write_page(tmp_path / "page.html", source, faces, **options).as_uri()
        if not with_video:
            source.unlink()

        async def load_and_check():
            await page.goto(url, size)
            if with_video:
                await page.wait_for(SETTLED)
            await check(page)
            assert page.errors == []

        run(asyncio.wait_for(load_and_check(), 120))

    return on_page


async def point(page, row, fraction, click=False):
    """Move the mouse over the timeline strip (canvas) of face row `row`.

    It moves to `fraction` of the strip's width, and clicks there if `click`.
    """
    x, y = await page.evaluate(
        "((strip) => { strip.scrollIntoView({block: 'center'});"
        "const b = strip.getBoundingClientRect();"
        f"return [b.x + b.width * {fraction}, b.y + b.height / 2] }})"
        f"(document.querySelectorAll('canvas')[{row}])"
    )
    await page.move_mouse(x, y, click)


async def settle(page):
    """Wait until the video shows the frame of the selected time."""
    await page.wait_for("nextSeekTime === null && " + SETTLED)


async def boxes(page):
    """Face id -> box over the video (x, y, width, height as fractions), classes and text."""
    visible = await page.evaluate(
        "(() => { const video = document.querySelector('video').getBoundingClientRect();"
        "return boxes.map((box, n) => [data.faces[n].id, box]).filter(([, box]) => !box.hidden)"
        ".map(([id, box]) => { const b = box.getBoundingClientRect();"
        "return [id, [(b.x - video.x) / video.width, (b.y - video.y) / video.height,"
        "b.width / video.width, b.height / video.height], box.className, box.textContent] }) })()"
    )
    return {face_id: (box, classes.split(), text) for face_id, box, classes, text in visible}


def test_visible_faces_have_boxes_over_the_video(on_page):
    async def check(page):
        await point(page, 0, 0.1)
        await settle(page)
        visible = await boxes(page)
        assert set(visible) == {0, 1}
        box, classes, text = visible[0]
        assert box == pytest.approx([0.1, 0.1, 0.2, 0.4], abs=0.005)
        assert classes == ["box", "selected"]
        assert text == "0 happy"
        border = "getComputedStyle(boxes[{}])['border-{}']"
        assert await page.evaluate(border.format(0, "top-color")) == "rgb(242, 193, 78)"
        widths = [
            await page.evaluate(f"parseFloat({border.format(n, 'top-width')})") for n in (0, 1)
        ]
        assert widths[0] > widths[1] > 0
        await page.evaluate("boxes[1].click()")
        assert "selected" in (await boxes(page))[1][1]
        assert "face 1" in await page.evaluate(DETAILS)
        await point(page, 0, 0.9)
        await settle(page)
        assert set(await boxes(page)) == {0}
        await point(page, 1, 50 / (SECONDS * FRAME_RATE))  # absent for a second
        await settle(page)
        assert "interpolated" in (await boxes(page))[1][1]
        assert "interpolated" in await page.evaluate(DETAILS)

    on_page(check)


def test_stills_replace_a_missing_video(on_page):
    async def check(page):
        await page.wait_for("!document.querySelector('video')")
        assert await page.evaluate("document.querySelectorAll('.box').length") == 0
        assert await page.evaluate("document.getElementById('controls').hidden")
        stills = set()
        for fraction in (0.1, 0.5, 0.9):
            await point(page, 0, fraction)
            stills.add(await page.evaluate("document.querySelector('#viewer img').src"))
        assert len(stills) == 3

    on_page(check, with_video=False)


def test_no_boxes_are_laid_over_stills(on_page):
    """The boxes are already drawn into the stills."""

    async def check(page):
        await page.evaluate("document.querySelector('video').dispatchEvent(new Event('error'))")
        assert await page.evaluate("document.querySelectorAll('.box').length") == 0
        assert not await page.evaluate("document.getElementById('no-video').hidden")
        assert await page.evaluate("document.querySelector('#viewer img').offsetHeight") > 100
        await point(page, 0, 0.5)  # causes no error either

    on_page(check)


def test_video_seeks_to_the_pointer_one_seek_at_a_time(on_page):
    async def check(page):
        await page.evaluate(
            "window.seeks = window.overlappingSeeks = 0;"
            "const media = HTMLMediaElement.prototype;"
            "const original = Object.getOwnPropertyDescriptor(media, 'currentTime');"
            "Object.defineProperty(media, 'currentTime', {get: original.get, set(value) {"
            "seeks++; overlappingSeeks += this.seeking; original.set.call(this, value) }}); 0"
        )
        await page.evaluate(
            "(() => { const strip = document.querySelector('canvas');"
            "const b = strip.getBoundingClientRect();"
            "for (let k = 0; k <= 60; k++) strip.dispatchEvent(new PointerEvent('pointermove',"
            "{clientX: b.x + b.width * k / 80, clientY: b.y + 9, pointerType: 'mouse'})) })()"
        )
        await settle(page)
        selected, *seeks = await page.evaluate("[currentTime, seeks, overlappingSeeks]")
        assert selected == pytest.approx(0.75 * (SECONDS - 1 / FRAME_RATE), abs=0.02)
        assert seeks == [2, 0]  # to the first time, and then to the last one; none overlaps
        shown = await page.evaluate("document.querySelector('video').currentTime")
        assert shown == pytest.approx(selected, abs=1 / FRAME_RATE)

    on_page(check)


def test_hover_does_not_seek_a_playing_video_but_a_click_does(on_page):
    async def check(page):
        await page.evaluate("document.getElementById('play').focus()")
        assert await page.evaluate("document.activeElement.getAttribute('aria-label')") == "play"
        await page.press(" ")
        await page.wait_for(f"!{PAUSED} && currentTime > 0.1")
        assert (
            await page.evaluate("document.getElementById('play').getAttribute('aria-label')")
            == "pause"
        )
        await point(page, 1, 0.9)  # 5.4 s
        await asyncio.sleep(0.2)
        assert await page.evaluate("currentTime") < 4
        assert "face 0" in await page.evaluate(DETAILS)
        assert not await page.evaluate(PAUSED)
        await point(page, 1, 0.7, click=True)  # 4.2 s
        await page.wait_for("document.querySelector('video').currentTime > 4")
        assert "face 1" in await page.evaluate(DETAILS)
        assert not await page.evaluate(PAUSED)
        await page.evaluate("document.getElementById('play').focus()")
        await page.press(" ")
        await page.wait_for(PAUSED)
        clock = await page.evaluate("document.getElementById('clock').textContent")
        assert clock.endswith(" / 0:06.0")
        assert not await page.evaluate("document.querySelector('video').controls")

    on_page(check)


def test_playback_stops_at_the_end_of_the_analyzed_part(on_page):
    async def check(page):
        await page.evaluate("document.querySelector('canvas').focus()")
        await page.press("End")
        await settle(page)
        assert await page.evaluate("currentTime") == pytest.approx(2 - 1 / FRAME_RATE, abs=0.01)
        await page.evaluate("goTo(1.5, 0)")
        await settle(page)
        await page.press(" ")
        await page.wait_for(f"{PAUSED} && currentTime > 1.9")
        assert await page.evaluate("document.querySelector('video').currentTime") < 3
        await page.press(" ")  # starts again at the beginning
        await page.wait_for("currentTime < 1 && currentTime > 0.05")

    on_page(check, seconds=2)


def test_painted_pixels_of_a_strip_agree_with_sample_at(on_page):
    async def check(page):
        strips = await page.evaluate(
            "rows.map(({face, canvas}) => { const b = canvas.getBoundingClientRect();"
            "const context = canvas.getContext('2d'), background = getComputedStyle("
            "document.documentElement).getPropertyValue('--strip').match(/[^#]{2}/g)"
            ".map((v) => parseInt(v, 16)).join();"
            "const row = context.getImageData(0, 5, canvas.width, 1).data;"
            "return Array.from({length: canvas.width}, (_, x) => {"
            "const painted = [...row.slice(4 * x, 4 * x + 3)].join();"
            "const sample = sampleAt(face, timeAtPointer(face, canvas, b.x + x + 0.5));"
            "return [painted !== background, Boolean(sample)] }) })"
        )
        assert len(strips) == 3
        for strip in strips:
            assert all(painted == has_sample for painted, has_sample in strip)
        assert all(painted for painted, _ in strips[0])
        last = [painted for painted, _ in strips[2]]
        # The strip of a single frame is widened to MIN_VISIBLE_PIXELS, half of them beyond the end.
        assert sum(last) == timeline.MIN_VISIBLE_PIXELS // 2
        assert all(last[-timeline.MIN_VISIBLE_PIXELS // 2 :])
        # Face 1 is present until frame 89: its absence of a second is interpolated.
        second = [painted for painted, _ in strips[1]]
        assert sum(second) / len(second) == pytest.approx(90 / (SECONDS * FRAME_RATE), abs=0.01)
        # A face of the last frame can be selected and is visible there.
        await point(page, 2, 0.999)
        await settle(page)
        assert await page.evaluate("currentTime") == pytest.approx(
            SECONDS - 1 / FRAME_RATE, abs=0.02
        )
        assert 2 in await boxes(page)
        await point(page, 2, 0.99)
        await settle(page)
        assert "not visible" in await page.evaluate(DETAILS)

    on_page(check)


def test_page_and_timeline_image_use_the_same_intervals(on_page, tmp_path):
    """`sampleAt` of the page has the nearest point and the status of `Timeline.sample`."""
    video_timeline = timeline_data.Timeline()
    pixels = np.zeros((18, 32, 3), np.uint8)

    def random_faces(k):
        """Some of three faces; they change every 13 frames (1.3 seconds)."""
        rng = np.random.default_rng(k // 13)
        return [make_face(n, (1.0, 1.0, 9.0, 9.0), sad=1.0) for n in range(3) if rng.random() < 0.6]

    for k in range(40 * 10):
        video_timeline.add(Result(Frame(pixels, "x.mp4", k, k / 10), random_faces(k)))

    async def check(page):
        times = np.random.default_rng(1).uniform(-1, 41, 3000)
        for n, face_id in enumerate(await page.evaluate("data.faces.map((face) => face.id)")):
            for min_seconds in (0, 3):  # to which short intervals are extended
                samples = await page.evaluate(
                    f"{json.dumps(times.tolist())}.map((time) => {{"
                    f"const sample = sampleAt(data.faces[{n}], time, {min_seconds});"
                    f"if (!sample) return [-1, {ABSENT}];"
                    f"const status = sample.isInterpolated ? {INTERPOLATED} : {VISIBLE};"
                    "return [sample.nearest, status] })"
                )
                nearest, statuses = video_timeline.sample(
                    video_timeline.series[face_id], times, min_seconds
                )
                assert set(statuses.tolist()) == {ABSENT, INTERPOLATED, VISIBLE}
                expected = [
                    [-1 if status == ABSENT else k, status]
                    for k, status in zip(nearest.tolist(), statuses.tolist(), strict=True)
                ]
                assert samples == expected

    on_page(check, with_video=False, faces=random_faces, seconds=40, frame_rate=10)


def test_faces_beyond_the_limit_are_only_counted(on_page):
    limit = timeline_data.MAX_PAGE_FACES

    def crowd(k):
        return [make_face(n, (9.0, 9.0, 20.0, 20.0), sad=1.0) for n in range(limit + 2)]

    async def check(page):
        summary = await page.evaluate("document.getElementById('summary').textContent")
        assert f"{limit + 2} faces (only the {limit} longest on screen are shown)" in summary
        assert await page.evaluate("document.querySelectorAll('.row').length") == limit

    on_page(check, faces=crowd, seconds=1)


def test_shots_are_marked(on_page):
    async def check(page):
        labels = "[...document.querySelectorAll('#shots span')].map(e => e.textContent)"
        assert await page.evaluate(labels) == ["shot 1"]  # shot 0 begins with the video
        line = "document.querySelector('#shots span').getBoundingClientRect().x"
        middle = (
            "(b => (b.x + b.width / 2))(document.querySelector('canvas').getBoundingClientRect())"
        )
        assert abs(await page.evaluate(f"{line} - {middle}")) < 5
        legend = await page.evaluate("document.getElementById('legend').innerText")
        assert timeline.SHOTS_NOTE in legend

    on_page(check, cut=SECONDS * FRAME_RATE // 2)


def test_a_page_of_one_shot_has_no_marks(on_page):
    async def check(page):
        assert await page.evaluate("document.getElementById('shots').hidden")

    on_page(check)


def test_the_page_has_mean_shares_notes_and_the_escaped_name(on_page):
    async def check(page):
        description = await page.evaluate("document.querySelector('.face-description').innerText")
        assert "mean share: happy 75\u202f%" in description
        legend = await page.evaluate("document.getElementById('legend').innerText")
        assert {timeline.SMOOTHED_NOTE, timeline.INTERPOLATED_NOTE} <= set(legend.split("\n"))
        title = await page.evaluate("document.getElementById('title').textContent")
        assert title == "50% #1 <b>?.mp4"

    on_page(check)


def test_on_a_phone_the_video_stays_visible_and_touching_a_strip_seeks_or_scrolls(on_page):
    async def check(page):
        width, height = PHONE_SIZE
        await page.evaluate("scrollTo(0, document.body.scrollHeight)")
        top, video_height = await page.evaluate(
            "(({top, height}) => [top, height])(document.querySelector('video')"
            ".getBoundingClientRect())"
        )
        assert 0 <= top < 20
        assert video_height <= 0.35 * height  # most of the window is left for the strips
        assert await page.evaluate("document.documentElement.scrollWidth") == width
        assert await page.evaluate("getComputedStyle(rows[2].canvas).touchAction") == "pan-y"
        x, y = await page.evaluate(
            "(({left, top}) => [left, top + 20])(rows[2].canvas.getBoundingClientRect())"
        )
        touch = "Input.dispatchTouchEvent"
        # A horizontal movement seeks.
        await page.command(touch, type="touchStart", touchPoints=[{"x": x + 20, "y": y}])
        for k in range(2, 9):
            await page.command(touch, type="touchMove", touchPoints=[{"x": x + 20 * k, "y": y}])
        await page.command(touch, type="touchEnd", touchPoints=[])
        await settle(page)
        strip_width = await page.evaluate("rows[2].canvas.clientWidth")
        time = SECONDS * 160 / strip_width  # the finger has moved to 160 pixels from the left end
        assert await page.evaluate("currentTime") == pytest.approx(time, abs=0.2)
        # A vertical movement scrolls.
        before = await page.evaluate("[currentTime, scrollY]")
        await page.command(touch, type="touchStart", touchPoints=[{"x": x + 20, "y": y}])
        for k in range(1, 12):
            step = {"x": x + 20, "y": y + 15 * k}
            await page.command(touch, type="touchMove", touchPoints=[step])
        await page.command(touch, type="touchEnd", touchPoints=[])
        await page.wait_for(f"scrollY < {before[1]}")
        assert await page.evaluate("currentTime") == before[0]

    on_page(check, size=PHONE_SIZE)


def test_video_without_faces_can_be_played(on_page):
    async def check(page):
        assert "no face" in await page.evaluate(DETAILS)
        assert await page.evaluate("document.getElementById('axis').hidden")
        await page.evaluate("document.getElementById('play').click()")
        await page.wait_for("currentTime > 0.1")

    on_page(check, faces=lambda k: [])
