"""Clips with known shot boundaries: hard cuts, gradual transitions, and clips without cuts.

They show photographs and people in front of a moving camera. `compressed` adds the artifacts of a
video codec at a low bit rate. No dataset is needed.

    for pixels, seconds, is_cut in shots.compressed(shots.frames("whip_pan", seed=0)): ...
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction

import av
import numpy as np

from tests.synthetic import single_shots
from tests.synthetic.film import (
    FPS,
    SIZE,
    Frame,
    Person,
    Render,
    Scene,
    add_noise,
    random_camera,
    random_panorama,
    random_person,
    random_scene,
)
from tests.synthetic.single_shots import Range


def _joined_shots(
    rng: np.random.Generator,
    seconds: float,
    make_shot: Callable[[], Render],
    duration_range: Range = (0.8, 3),
    noise_std: float = 3.0,
    frame_step: int = 1,
    max_blank_frames: int = 0,
) -> Iterator[Frame]:
    """A clip of several shots.

    Args:
        rng: Random generator.
        seconds: Minimum duration of the clip.
        make_shot: Function that returns the next shot.
        duration_range: Duration of a shot in seconds.
        noise_std: Standard deviation of the sensor noise.
        frame_step: Only every `frame_step`-th frame is in the clip.
        max_blank_frames: Maximum number of black frames after a shot; there is at least one unless
            this is 0.
    """
    k, is_first_shot = 0, True
    while k < seconds * FPS / frame_step:
        render = make_shot()
        for j in range(max(2, round(rng.uniform(*duration_range) * FPS / frame_step))):
            t = k * frame_step / FPS
            yield add_noise(render(t), rng, noise_std), t, j == 0 and not is_first_shot
            k += 1
        is_first_shot = False
        for _ in range(rng.integers(1, max_blank_frames + 1) if max_blank_frames else 0):
            black = np.zeros((SIZE[1], SIZE[0], 3))
            yield add_noise(black, rng), k * frame_step / FPS, False
            k += 1


def cut(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Cuts to another place."""
    return _joined_shots(rng, seconds, lambda: random_scene(rng))


def cut_in_place(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Cuts to another view of the same place in the same light, as in a dialogue."""
    panorama = random_panorama(rng)
    x, zoom = 0.0, rng.uniform(0.9, 1.5)

    def make_shot() -> Scene:
        nonlocal x
        x += rng.uniform(1.2, 3) * SIZE[0] * zoom
        scene = random_scene(rng, panorama, x=x)
        scene.camera.zoom, scene.brightness = (lambda _: zoom), 0.9
        return scene

    return _joined_shots(rng, seconds, make_shot)


def cut_in_motion(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Cuts between shots that all pan fast."""
    return _joined_shots(
        rng, seconds, lambda: random_scene(rng, pan=rng.choice([-1, 1]) * rng.uniform(0.3, 1.2))
    )


def cut_in_the_dark(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Cuts between dark, noisy scenes."""

    def make_shot() -> Scene:
        scene = random_scene(rng)
        scene.brightness *= rng.uniform(0.15, 0.4)
        return scene

    return _joined_shots(rng, seconds, make_shot, noise_std=rng.uniform(4, 10))


def short_shots(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Shots of 0.2 to 0.6 seconds, as in trailers."""
    return _joined_shots(rng, seconds, lambda: random_scene(rng), (0.2, 0.6))


def cut_at_low_rate(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Every tenth frame of a clip with cuts."""
    return _joined_shots(rng, seconds, lambda: random_scene(rng), (2, 6), frame_step=10)


def cut_through_black(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Shots that are separated by one to nine black frames."""
    return _joined_shots(rng, seconds, lambda: random_scene(rng), max_blank_frames=9)


def person_replaced(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Cuts after which only the person in the center of the view is another one."""
    scene = random_scene(rng)
    scene.camera = random_camera(rng, scene.panorama)
    side = rng.uniform(60, 120)

    def make_shot() -> Scene:
        person = random_person(rng, (side, side))
        centered = Person(
            person.sprite, lambda t: 0.5 * SIZE[0], lambda t: 0.45 * SIZE[1], person.side
        )
        return Scene(scene.panorama, scene.camera, [centered], scene.brightness)

    return _joined_shots(rng, seconds, make_shot)


def _transitions(
    rng: np.random.Generator, seconds: float, duration_range: Range, color: float | None
) -> Iterator[Frame]:
    """A clip of scenes with gradual transitions, directly or through a gray level.

    The first frame after a transition is marked as the first frame of a shot.

    Args:
        rng: Random generator.
        seconds: Duration of the clip.
        duration_range: Duration of a transition in seconds.
        color: Gray level between two scenes, 0 to 255; None for a direct transition.
    """
    current, following, start = random_scene(rng), random_scene(rng), rng.uniform(1, 3)
    end = start + rng.uniform(*duration_range)
    for k in range(round(seconds * FPS)):
        t = k / FPS
        is_over = t >= end
        if is_over:
            current, following, start = following, random_scene(rng), end + rng.uniform(1, 3)
            end = start + rng.uniform(*duration_range)
        progress = max(0.0, (t - start) / (end - start))
        yield add_noise(_blend(current, following, t, progress, color), rng), t, is_over


def _blend(
    current: Render, following: Render, t: float, progress: float, color: float | None
) -> np.ndarray:
    """Render a frame of a transition; `progress` is 0 at its start and 1 at its end."""
    if progress == 0:
        return current(t)
    if color is None:
        return (1 - progress) * current(t) + progress * following(t)
    if progress < 0.5:
        return current(t) * (1 - 2 * progress) + color * 2 * progress
    return following(t) * (2 * progress - 1) + color * (2 - 2 * progress)


def dissolve(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Dissolves between scenes, within 0.4 to 2 seconds."""
    return _transitions(rng, seconds, (0.4, 2), None)


def fade_between(rng: np.random.Generator, seconds: float) -> Iterator[Frame]:
    """Fades between scenes through black or white, within 1 to 3 seconds."""
    return _transitions(rng, seconds, (1, 3), float(rng.choice([0.0, 0.0, 255.0])))


CUTS = {
    make.__name__: make
    for make in (cut, cut_in_place, cut_in_motion, cut_in_the_dark, short_shots, cut_at_low_rate,
                 cut_through_black, person_replaced)
}  # fmt: skip
"""Kinds of clips with hard cuts."""

NO_CUTS = {
    name: getattr(single_shots, name)
    for name in ("static", "fast_pan", "whip_pan", "zoom", "roll", "flash", "lightning",
                 "blank_frame", "exposure", "light_switch", "fade", "passer_by", "dropped_frames",
                 "low_rate", "noise", "still", "caption")
}  # fmt: skip
"""Kinds of clips without cuts and transitions."""

GRADUAL = {make.__name__: make for make in (dissolve, fade_between)}
"""Kinds of clips with gradual transitions."""

KINDS = CUTS | NO_CUTS | GRADUAL
"""Kind of clip -> function from random generator and seconds to its frames."""


def frames(kind: str, seed: int = 0, seconds: float = 20.0) -> Iterator[Frame]:
    """Render a clip frame by frame; equal seeds give equal clips.

    A shot after a gradual transition begins when the transition has ended.

    Args:
        kind: A name in `KINDS`.
        seed: Seed of all random choices.
        seconds: Duration; clips with cuts may be longer by a part of a shot.

    Returns:
        Pixels, time in seconds, and whether a new shot begins, for each frame.
    """
    return KINDS[kind](np.random.default_rng((seed, list(KINDS).index(kind))), seconds)


def compressed(clip: Iterable[Frame], bit_rate: int = 150_000) -> Iterator[Frame]:
    """The same clip after compression to H.264 at a bit rate in bits per second."""
    file, marks = io.BytesIO(), []
    tick = Fraction(1, 1000)
    with av.open(file, "w", format="matroska") as output:
        # The macroblock tree of x264 is not deterministic.
        options = {"preset": "veryfast", "x264-params": "mbtree=0"}
        stream = output.add_stream("libx264", FPS, options, width=SIZE[0],
                                   height=SIZE[1], pix_fmt="yuv420p", bit_rate=bit_rate,
                                   thread_count=1, gop_size=250)  # fmt: skip
        for k, (pixels, seconds, is_cut) in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            # The file has 25 frames per second, 40 ms each, also for clips with a low rate.
            frame.pts, frame.time_base = 40 * k, tick
            output.mux(stream.encode(frame))
            marks.append((seconds, is_cut))
        output.mux(stream.encode(None))
    file.seek(0)
    with av.open(file) as source:
        for frame, (seconds, is_cut) in zip(source.decode(video=0), marks, strict=True):
            yield frame.to_ndarray(format="rgb24"), seconds, is_cut
