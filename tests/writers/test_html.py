"""The page of a video in a real browser: what it shows, and when."""

import asyncio
import json
import shutil

import numpy as np
import pytest

from mien import writers
from mien.labels import EMOTIONS
from mien.results import Face, Frame, Result
from mien.visualization import timeline, timeline_data
from tests.browser import CHROMIUM, Browser
from tests.synthetic import clip_files, clips, tiny

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium")]

SECONDS, RATE = 6, 25
STILL = "document.querySelector('video').paused"
SETTLED = "(v => v && !v.hidden && !v.seeking && v.readyState > 1)(document.querySelector('video'))"


def face(face_id, box, **shares):
    raw = {name: shares.get(name, 0.0) for name in EMOTIONS}
    return Face(box, 0.9, dict.fromkeys(EMOTIONS, 1 / 7), face_id, smoothed=raw)


def who(k):
    """The faces of frame k: one always, one hidden for a second and then away, one at the end."""
    found = [face(0, (32.0, 18.0, 64.0, 72.0), happy=0.75, sad=0.25)]
    if k < 40 or 65 <= k < 90:
        found.append(face(1, (160.0 + k / 2, 90.0, 32.0, 36.0), angry=0.6, fear=0.4))
    if k == SECONDS * RATE - 1:
        found.append(face(2, (256.0, 9.0, 32.0, 36.0), surprise=1.0))
    return found


def write(path, source, faces=who, seconds=SECONDS, rate=RATE):
    pixels = np.full((180, 320, 3), 90, np.uint8)
    with writers.open_writer(path) as put:
        for k in range(int(seconds * rate)):
            frame = Frame(
                pixels, str(source), k, k / rate, "default", "yunet", "video", str(source)
            )
            put(Result(frame, faces(k)))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A video of six seconds, with a name that must be escaped."""
    path = tmp_path_factory.mktemp("film") / "50% #1 <b>?.mp4"
    made = clips.frames("one", tiny.samples(28), size=(320, 180), seconds=SECONDS)
    clip_files.encode(path, made, sound=True)
    return path


@pytest.fixture(scope="module")
def browser():
    with asyncio.Runner() as runner:
        page = Browser()
        runner.run(page.__aenter__())
        yield page, runner.run
        runner.run(page.__aexit__())


@pytest.fixture
def see(browser, film, tmp_path):
    """Do something with a page beside its film; `expects` what the browser complains of."""
    page, run = browser

    def see(what, size=(1280, 900), beside=True, faces=who, **wanted):
        source = tmp_path / film.name
        shutil.copy(film, source)
        address = write(tmp_path / "page.html", source, faces, **wanted).as_uri()
        if not beside:
            source.unlink()

        async def seen():
            await page.visit(address, size)
            if beside:
                await page.until(SETTLED)
            await what(page)
            assert page.complaints == []

        run(asyncio.wait_for(seen(), 120))

    return see


async def point(page, lane, share, click=False):
    """Move the mouse to a share of a lane's length, and perhaps press and release it there."""
    x, y = await page.js(
        "((one) => { one.scrollIntoView({block: 'center'}); const b = one.getBoundingClientRect();"
        f"return [b.x + b.width * {share}, b.y + b.height / 2] }})"
        f"(document.querySelectorAll('canvas')[{lane}])"
    )
    for kind in ("mouseMoved", *(("mousePressed", "mouseReleased") if click else ())):
        await page.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                           clickCount=1)  # fmt: skip


async def settled(page):
    await page.until("wanted === null && " + SETTLED)


async def boxes(page):
    """What is drawn over the film: face id -> (left, top, width, height) in shares, and classes."""
    found = await page.js(
        "(() => { const film = document.querySelector('video').getBoundingClientRect();"
        "return boxes.map((one, n) => [data.faces[n].id, one]).filter(([, one]) => !one.hidden)"
        ".map(([id, one]) => { const b = one.getBoundingClientRect();"
        "return [id, [(b.x - film.x) / film.width, (b.y - film.y) / film.height,"
        "b.width / film.width, b.height / film.height], one.className, one.textContent] }) })()"
    )
    return {face_id: (at, classes.split(), text) for face_id, at, classes, text in found}


def test_every_face_of_the_moment_has_its_box_over_the_film(see):
    async def look(page):
        await point(page, 0, 0.1)
        await settled(page)
        found = await boxes(page)
        assert set(found) == {0, 1}
        at, classes, text = found[0]
        assert at == pytest.approx([0.1, 0.1, 0.2, 0.4], abs=0.005)
        assert classes == ["box", "chosen"]
        assert text == "0 happy"
        border = "getComputedStyle(boxes[{}])['border-{}']"
        assert await page.js(border.format(0, "top-color")) == "rgb(242, 193, 78)"
        widths = [await page.js(f"parseFloat({border.format(n, 'top-width')})") for n in (0, 1)]
        assert widths[0] > widths[1] > 0
        await page.js("boxes[1].click()")
        assert "chosen" in (await boxes(page))[1][1]
        assert "face 1" in await page.js("document.getElementById('now').innerText")
        await point(page, 0, 0.9)
        await settled(page)
        assert set(await boxes(page)) == {0}
        await point(page, 1, 50 / (SECONDS * RATE))  # behind something
        await settled(page)
        assert "pale" in (await boxes(page))[1][1]
        assert "not seen for a moment" in await page.js("document.getElementById('now').innerText")

    see(look)


def test_single_pictures_stand_in_for_a_film_that_is_not_there(see):
    async def look(page):
        await page.until("!document.querySelector('video')")
        assert await page.js("document.querySelectorAll('.box').length") == 0
        assert await page.js("document.getElementById('play').hidden")
        shown = set()
        for share in (0.1, 0.5, 0.9):
            await point(page, 0, share)
            shown.add(await page.js("document.querySelector('#film img').src"))
        assert len(shown) == 3

    see(look, beside=False)


def test_no_box_is_drawn_over_a_single_picture(see, film):
    """A film that has gone after the page was made leaves its pictures, whose boxes are in them."""

    async def look(page):
        await page.js("document.querySelector('video').dispatchEvent(new Event('error'))")
        assert await page.js("document.querySelectorAll('.box').length") == 0
        assert not await page.js("document.getElementById('missing').hidden")
        assert await page.js("document.querySelector('#film img').offsetHeight") > 100
        await point(page, 0, 0.5)

    see(look)


def test_the_film_goes_where_one_points_one_seek_at_a_time(see):
    async def look(page):
        await page.js(
            "window.asks = window.crossed = 0;"
            "const video = HTMLMediaElement.prototype;"
            "const kept = Object.getOwnPropertyDescriptor(video, 'currentTime');"
            "Object.defineProperty(video, 'currentTime', {get: kept.get,"
            "set(to) { asks++; crossed += this.seeking; kept.set.call(this, to) }}); 0"
        )
        await page.js(
            "(() => { const one = document.querySelector('canvas');"
            "const b = one.getBoundingClientRect();"
            "for (let k = 0; k <= 60; k++) one.dispatchEvent(new PointerEvent('pointermove',"
            "{clientX: b.x + b.width * k / 80, clientY: b.y + 9, pointerType: 'mouse'})) })()"
        )
        await settled(page)
        asked, asks, crossed = await page.js("[time, asks, crossed]")
        assert asked == pytest.approx(0.75 * (SECONDS - 1 / RATE), abs=0.02)
        assert (asks, crossed) == (2, 0)
        film = await page.js("document.querySelector('video').currentTime")
        assert film == pytest.approx(asked, abs=1 / RATE)

    see(look)


def test_pointing_does_not_disturb_a_film_that_plays_but_a_click_does(see):
    async def look(page):
        await page.js("document.getElementById('toggle').focus()")
        assert await page.js("document.activeElement.getAttribute('aria-label')") == "play"
        await page.press(" ")
        await page.until(f"!{STILL} && time > 0.1")
        assert (
            await page.js("document.getElementById('toggle').getAttribute('aria-label')") == "pause"
        )
        await point(page, 1, 0.9)
        await asyncio.sleep(0.2)
        assert await page.js("time") < 4
        assert "face 0" in await page.js("document.getElementById('now').innerText")
        assert not await page.js(STILL)
        await point(page, 1, 0.7, click=True)
        await page.until("document.querySelector('video').currentTime > 4")
        assert "face 1" in await page.js("document.getElementById('now').innerText")
        assert not await page.js(STILL)
        await page.js("document.getElementById('toggle').focus()")
        await page.press(" ")
        await page.until(STILL)
        said = await page.js("document.getElementById('clock').textContent")
        assert said.endswith(" / 0:06.0")
        assert not await page.js("document.querySelector('video').controls")

    see(look)


def test_it_stops_where_it_was_analyzed_and_begins_again(see):
    async def look(page):
        await page.js("document.querySelector('canvas').focus()")
        await page.press("End")
        await settled(page)
        assert await page.js("time") == pytest.approx(2 - 1 / RATE, abs=0.01)
        await page.js("goTo(1.5, 0)")
        await settled(page)
        await page.press(" ")
        await page.until(f"{STILL} && time > 1.9")
        assert await page.js("document.querySelector('video').currentTime") < 3
        await page.press(" ")
        await page.until("time < 1 && time > 0.05")

    see(look, seconds=2)


def test_strip_and_panel_agree_at_every_pixel(see):
    async def look(page):
        found = await page.js(
            "lanes.map(({face, canvas}) => { const b = canvas.getBoundingClientRect();"
            "const context = canvas.getContext('2d'), ground = getComputedStyle("
            "document.documentElement).getPropertyValue('--lane').match(/[^#]{2}/g)"
            ".map((v) => parseInt(v, 16)).join();"
            "const row = context.getImageData(0, 5, canvas.width, 1).data;"
            "return Array.from({length: canvas.width}, (_, x) => {"
            "const painted = [...row.slice(4 * x, 4 * x + 3)].join();"
            "const there = at(face, pointed(face, canvas, b.x + x + 0.5));"
            "return [painted !== ground, Boolean(there)] }) })"
        )
        assert len(found) == 3
        for lane in found:
            assert all(painted == there for painted, there in lane)
        assert all(painted for painted, _ in found[0])
        last = [painted for painted, _ in found[2]]
        assert sum(last) == 4
        assert all(last[-4:])
        second = [painted for painted, _ in found[1]]
        assert sum(second) / len(second) == pytest.approx(90 / (SECONDS * RATE), abs=0.01)
        # Who comes in the last frame can be pointed at, and is shown then.
        await point(page, 2, 0.999)
        await settled(page)
        assert await page.js("time") == pytest.approx(SECONDS - 1 / RATE, abs=0.02)
        assert 2 in await boxes(page)
        await point(page, 2, 0.99)
        await settled(page)
        assert "not seen here" in await page.js("document.getElementById('now').innerText")

    see(look)


def test_the_page_follows_the_rule_of_the_picture(see, tmp_path):
    """What is there, pale and nearest is the same by `Timeline.sample` and by the page's `at`."""
    video_timeline = timeline_data.Timeline()
    pixels = np.zeros((18, 32, 3), np.uint8)

    def chance(k):
        dice = np.random.default_rng(k // 13)
        return [face(n, (1.0, 1.0, 9.0, 9.0), sad=1.0) for n in range(3) if dice.random() < 0.6]

    for k in range(40 * 10):
        video_timeline.add(Result(Frame(pixels, "x.mp4", k, k / 10), chance(k)))

    async def look(page):
        places = np.random.default_rng(1).uniform(-1, 41, 3000)
        for n, one in enumerate(await page.js("data.faces.map((face) => face.id)")):
            for least in (0, 3):
                page_says = await page.js(
                    f"{json.dumps(places.tolist())}.map((s) => at(data.faces[{n}], s, {least}))"
                    ".map((one) => one ? [one.k, one.pale ? 1 : 2] : [-1, 0])"
                )
                nearest, how = video_timeline.sample(video_timeline.series[one], places, least)
                assert set(how.tolist()) == {
                    timeline_data.ABSENT,
                    timeline_data.INTERPOLATED,
                    timeline_data.VISIBLE,
                }
                ours = [[k if h else -1, h] for k, h in zip(nearest.tolist(), how.tolist(),
                                                            strict=True)]  # fmt: skip
                assert page_says == ours

    see(look, beside=False, faces=chance, seconds=40, rate=10)


def test_a_crowd_is_counted_and_cut(see, film):
    def crowd(k):
        return [face(n, (9.0 * (n % 30), 9.0, 20.0, 20.0), sad=1.0) for n in range(52)]

    async def look(page):
        about = await page.js("document.getElementById('about').textContent")
        assert "52 faces (the 40 longest on screen are shown)" in about
        assert await page.js("document.querySelectorAll('.lane').length") == timeline_data.MAX_FACES

    see(look, faces=crowd, seconds=1)


def test_words_are_true_and_do_not_break(see):
    async def look(page):
        words = await page.js("document.querySelector('.who').innerText")
        assert "happy largest on 100\u00a0% of frames" in words
        legend = await page.js("document.getElementById('legend').innerText")
        assert set(timeline.NOTES.values()) <= set(legend.split("\n"))
        title = await page.js("document.getElementById('title').textContent")
        assert title == "50% #1 <b>?.mp4"

    see(look)


def test_on_a_phone_the_film_stays_in_sight_and_a_finger_scrubs(see):
    async def look(page):
        await page.js("scrollTo(0, document.body.scrollHeight)")
        top, high = await page.js(
            "(({top, height}) => [top, height])(document.querySelector('video')"
            ".getBoundingClientRect())"
        )
        assert 0 <= top < 20
        assert high <= 0.35 * 740
        assert await page.js("document.documentElement.scrollWidth") == 375
        assert await page.js("getComputedStyle(lanes[2].canvas).touchAction") == "pan-y"
        x, y = await page.js(
            "(({left, top}) => [left, top + 20])(lanes[2].canvas.getBoundingClientRect())"
        )
        touch = "Input.dispatchTouchEvent"
        await page.command(touch, type="touchStart", touchPoints=[{"x": x + 20, "y": y}])
        for k in range(2, 9):
            await page.command(touch, type="touchMove", touchPoints=[{"x": x + 20 * k, "y": y}])
        await page.command(touch, type="touchEnd", touchPoints=[])
        await settled(page)
        wide = await page.js("lanes[2].canvas.clientWidth")
        assert await page.js("time") == pytest.approx(6 * 160 / wide, abs=0.2)
        before = await page.js("[time, scrollY]")
        await page.command(touch, type="touchStart", touchPoints=[{"x": x + 20, "y": y}])
        for k in range(1, 12):
            step = {"x": x + 20, "y": y + 15 * k}
            await page.command(touch, type="touchMove", touchPoints=[step])
        await page.command(touch, type="touchEnd", touchPoints=[])
        await page.until(f"scrollY < {before[1]}")
        assert await page.js("time") == before[0]

    see(look, size=(375, 740))


def test_a_video_without_a_face_can_be_played(see):
    async def look(page):
        assert "no face was found" in await page.js("document.getElementById('now').innerText")
        assert await page.js("document.getElementById('axis').hidden")
        await page.js("document.getElementById('toggle').click()")
        await page.until("time > 0.1")

    see(look, faces=lambda k: [])
