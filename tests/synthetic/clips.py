"""Clips with known truth: FER2013 faces that move, change their expression, meet and leave.

    from pathlib import Path
    import clips
    cast = clips.cast(Path("fer2013"))    # PublicTest's faces that YuNet finds
    truths = clips.encode(Path("two.mp4"), clips.frames("crossing", cast), sound=True)

FER2013 knows no persons, so an actor is a body of its own (hair, skin, clothes) whose face fades
from one picture to the next. Below the making of clips and of damaged files are the scores of what
somebody found in them, in plain NumPy.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property, lru_cache
from pathlib import Path

import av
import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from mien.classification.flags import sharpness
from mien.detection import Detector, yunet
from mien.lab import data
from mien.labels import EMOTIONS
from mien.results import Box
from tests.synthetic.scenes import overlap

SIDE = 48
LEFT, ABOVE, WIDE, HIGH = 28, 20, 104, 250
"""Where a face lies on the canvas of a whole actor, and the canvas, in pixels of FER2013."""

HEIGHT = 360
"""The picture for which sizes of faces are stated below; in another they grow with it."""

FADE = 0.2
"""Seconds in which one picture of a face turns into the next."""

Place = Callable[[float], tuple[float, float, float]]
"""seconds -> x and y of a face's centre, and its side."""

Boxes = Mapping[int, Box]
"""Who is where in one frame."""


@dataclass(frozen=True)
class Shown:
    """A face in a frame: who, the square of its FER2013 crop, its label and what is to be seen.

    visible: the share of the face that lies inside the picture and behind nobody, above 0 to 1.
    """

    identity: int
    box: Box
    emotion: str
    visible: float


@dataclass(frozen=True)
class Truth:
    """What is true of one frame: its time stamp, and the faces in it, the nearest last."""

    seconds: float
    faces: tuple[Shown, ...] = ()

    @property
    def boxes(self) -> Boxes:
        """Identity -> box."""
        return {face.identity: face.box for face in self.faces}


# The faces.


@lru_cache
def cast(root: Path, split: str = "val") -> data.Samples:
    """The faces of a dataset that can play: `playable` with YuNet, found once per process."""
    return playable(data.split(data.load(root), split), yunet.load())


def playable(samples: data.Samples, detect: Detector, most: int = 40) -> data.Samples:
    """Up to `most` sharp faces an emotion that `detect` finds where they are.

    Where there are FER+ votes, those whose label is also the raters': a clip is a test of video,
    not of what people disagree about. Accuracy on clips is therefore not accuracy on FER2013.
    """
    agreed = data.plurality(samples.votes) == samples.labels
    kept = []
    for label in range(len(EMOTIONS)):
        which = np.flatnonzero((samples.labels == label) & (agreed | (not samples.voted)))
        good = (k for k in which if _clear(samples.faces[k], detect))
        kept.extend(itertools.islice(good, most))
    return samples.take(np.array(kept, int))


def _clear(face: np.ndarray, detect: Detector) -> bool:
    if sharpness(face[None]) < 30:
        return False
    large = cv2.resize(face, (144, 144), interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, 72, 72, 72, 72, cv2.BORDER_REFLECT_101)
    found = detect(large[..., None].repeat(3, 2))
    squares = np.array([detect.geometry.square(f.box) for f in found if f.confidence > 0.85])
    return bool(len(squares)) and overlap(np.array([72, 72, 144, 144]), squares).max() > 0.7


# The actors.


@dataclass(frozen=True)
class Actor:
    """Somebody: a head and shoulders, where they are, and the faces that they make.

    body: (HIGH, WIDE, 4) float32, RGB times alpha and alpha, all that is around the face. skin:
    (3,) what a grey value is multiplied by. place: where it is. cues: from which second on which
    face shows.
    """

    identity: int
    body: np.ndarray
    skin: np.ndarray
    place: Place
    cues: tuple[tuple[float, int], ...]

    def box(self, seconds: float) -> Box:
        """The square in which the face is."""
        x, y, side = self.place(seconds)
        return x - side / 2, y - side / 2, side, side

    def face(self, faces: np.ndarray, seconds: float) -> tuple[np.ndarray, int]:
        """The face (48, 48) float32, perhaps fading, and the index of the one most to be seen."""
        at = sum(begins <= seconds - FADE / 2 for begins, _ in self.cues[1:])
        begins, now = self.cues[at]
        if at + 1 < len(self.cues) and seconds > self.cues[at + 1][0] - FADE / 2:
            begins, after = self.cues[at + 1]
            share = (seconds - begins) / FADE + 0.5
            mixed = (1 - share) * faces[now] + share * faces[after]
            return mixed.astype(np.float32), after if share >= 0.5 else now
        return faces[now].astype(np.float32), now

    def sprite(self, face: np.ndarray) -> np.ndarray:
        """The body with a face on it: (HIGH, WIDE, 4) float32, RGB times alpha and alpha."""
        whole = self.body.copy()
        patch = whole[ABOVE : ABOVE + SIDE, LEFT : LEFT + SIDE]
        patch *= 1 - MASK
        patch[..., :3] += MASK * np.minimum(face[..., None] * self.skin, 255)
        patch[..., 3:] += MASK
        return whole


def roundness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far out a point of the face is: x and y from -1 to 1 over its square; the rim is 1."""
    return (np.abs(x) ** 2.6 + np.abs(y) ** 2.6) ** (1 / 2.6)


_ACROSS = (np.arange(SIDE) + 0.5) / SIDE * 2 - 1
_OUT = roundness(_ACROSS[None], _ACROSS[:, None])
MASK = np.clip((1 - _OUT) / 0.12, 0, 1)[..., None].astype(np.float32)
"""What of a face's picture is put on a head; a soft rim, as its own hard edge would be a clue."""


def smooth_noise(
    dice: np.random.Generator, height: int, width: int, cell: tuple[float, float]
) -> np.ndarray:
    """Blobs as high and wide as a cell, mean 0, mostly within -1 to 1: (height, width) float32."""
    small = dice.normal(0, 0.5, (int(height / cell[0]) + 3, int(width / cell[1]) + 3))
    return cv2.resize(small.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)


def body(dice: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Somebody without a face, as `Actor.body`, and the colour of their skin, as `Actor.skin`."""
    skin = np.array([1.2, 0.95, 0.8]) + dice.normal(0, 0.04, 3)
    skin /= skin @ (0.299, 0.587, 0.114)  # its grey value stays FER2013's
    flesh = skin * dice.uniform(95, 165)
    hair = dice.uniform(15, 90) * np.array([1.15, 0.95, 0.8])
    clothes = dice.uniform(30, 200, 3)
    long, full = dice.uniform(0, 12), dice.uniform(29, 32)
    whole = np.zeros((HIGH, WIDE, 4), np.float32)
    for centre, reach, colour, cell in (
        ((52, 38 + long), (full, 33 + long), hair, (12, 2)),
        ((52, 80), (13, 24), flesh * 0.8, (9, 9)),
        ((52, 178), (50, 92), clothes, (14, 4)),
        ((52, 46), (23, 27), flesh, (9, 9)),
    ):
        texture = 1 + 0.3 * smooth_noise(dice, HIGH, WIDE, cell)[..., None]
        _lay_shape(whole, centre, reach, colour * texture)
    return whole, skin.astype(np.float32)


def _lay_shape(
    whole: np.ndarray, centre: tuple[float, float], reach: tuple[float, float], colour: np.ndarray
) -> None:
    """Lay a shape of a colour (H, W, 3), as round as a face is, over what is there."""
    y, x = np.mgrid[:HIGH, :WIDE].astype(np.float32)
    out = roundness((x - centre[0]) / reach[0], (y - centre[1]) / reach[1])
    alpha = np.clip((1 - out) * min(reach) / 3, 0, 1)[..., None]
    whole *= 1 - alpha
    whole += alpha * np.dstack([np.clip(colour, 0, 255), np.ones((HIGH, WIDE))])


# The scenarios.


def sway(dice: np.random.Generator, middle: float, reach: float) -> Callable[[float], float]:
    """A function of seconds: a number about `middle`, smoothly at most `reach` away from it."""
    speeds = 2 * np.pi * dice.uniform(0.1, 0.3, 3)
    phases = dice.uniform(0, 2 * np.pi, 3)
    return lambda t: middle + reach * float(np.sin(speeds * t + phases).mean())


@dataclass(frozen=True)
class Stage:
    """What a scenario is made of: faces to show, the picture's size, seconds, and dice."""

    faces: data.Samples
    width: int
    height: int
    seconds: float
    dice: np.random.Generator

    @cached_property
    def _decks(self) -> dict[int, Iterator[int]]:
        """Label -> its faces, dealt in turn: hardly ever do two actors show the same one."""
        order = self.dice.permutation(len(self.faces))
        return {
            label: itertools.cycle(order[self.faces.labels[order] == label].tolist())
            for label in np.unique(self.faces.labels).tolist()
        }

    def wander(self, x: float, y: float, reach: float, side: float, growth: float = 0.2) -> Place:
        """Somewhere about (x, y), shares of the picture; reach and side in pixels at `HEIGHT`."""
        pixel = self.height / HEIGHT
        parts = (
            sway(self.dice, x * self.width, reach * pixel * self.width / self.height),
            sway(self.dice, y * self.height, reach * pixel),
            sway(self.dice, side * pixel, growth * side * pixel),
        )
        return lambda t: (parts[0](t), parts[1](t), parts[2](t))

    def actor(self, identity: int, place: Place, every: float | None = 2.0) -> Actor:
        """Somebody who changes emotion `every` so many seconds, and picture twice as often."""
        return Actor(identity, *body(self.dice), place, tuple(self._cues(every)))

    def _cues(self, every: float | None) -> Iterator[tuple[float, int]]:
        label = -1
        for k in range(1 if every is None else int(2 * self.seconds / every) + 1):
            if k % 2 == 0:
                label = int(self.dice.choice([other for other in self._decks if other != label]))
            yield k * (every or 0) / 2, next(self._decks[label])


def one(stage: Stage) -> list[Actor]:
    """A face wanders about."""
    return [stage.actor(0, stage.wander(0.5, 0.5, 130, 110))]


def crossing(stage: Stage) -> list[Actor]:
    """Two pass each other twice, the same one in front."""
    step, pixel = 2 * np.pi / stage.seconds, stage.height / HEIGHT
    actors = []
    for identity, (way, side) in enumerate(((-1, 90), (1, 115))):
        low = sway(stage.dice, 0.5 * stage.height, 15 * pixel)
        large = sway(stage.dice, side * pixel, 6 * pixel)

        def place(t: float, way=way, low=low, large=large) -> tuple[float, float, float]:
            return stage.width * (0.5 + 0.3 * way * float(np.cos(step * t))), low(t), large(t)

        actors.append(stage.actor(identity, place))
    return actors


def four(stage: Stage) -> list[Actor]:
    """Four wander about their quarters."""
    return grid(stage, 2, reach=35, side=75)


def sixteen(stage: Stage) -> list[Actor]:
    """Four rows of four, as in a theatre."""
    return grid(stage, 4, reach=8, side=46)


def grid(stage: Stage, across: int, reach: float, side: float) -> list[Actor]:
    """Actors in rows, the nearer before the farther."""
    middles = (np.arange(across) + 0.5) / across
    return [
        stage.actor(k, stage.wander(x, y - 0.02, reach, side, growth=0.15))
        for k, (y, x) in enumerate(itertools.product(middles, middles))
    ]


AWAY = ((2.0, 2.7), (5.0, 10.0))
"""Seconds in which one of those of `leaving` is not to be seen."""


def leaving(stage: Stage) -> list[Actor]:
    """One stays, and one leaves at the right for a moment and then for long (`AWAY`)."""
    inside = stage.wander(0.68, 0.5, 40, 90)

    def place(t: float) -> tuple[float, float, float]:
        x, y, side = inside(t)
        apart = min(max(begins - t, t - ends, 0) for begins, ends in AWAY)
        gone = max(0.0, 1 - apart / 0.8) ** 2
        return x + gone * (stage.width + side / 2 - x), y, side

    return [stage.actor(0, stage.wander(0.25, 0.5, 40, 90)), stage.actor(1, place)]


def growing(stage: Stage) -> list[Actor]:
    """One comes near: from 40 to 220 pixels."""
    about = stage.wander(0.5, 0.47, 20, 1)

    def place(t: float) -> tuple[float, float, float]:
        x, y, _ = about(t)
        return x, y, stage.height / HEIGHT * 40 * 5.5 ** (t / stage.seconds)

    return [stage.actor(0, place)]


def still(stage: Stage) -> list[Actor]:
    """Nothing moves and nothing changes but the noise of the camera."""
    side = 120 * stage.height / HEIGHT
    return [stage.actor(0, lambda _: (stage.width / 2, stage.height / 2, side), every=None)]


def none(_: Stage) -> list[Actor]:
    """Nobody."""
    return []


SCENARIOS = {
    make.__name__: make for make in (one, crossing, four, sixteen, leaving, growing, still, none)
}


# The frames.


def frames(
    scenario: str,
    faces: data.Samples,
    size: tuple[int, int] = (640, 360),
    fps: int = 25,
    seconds: float | None = None,
    seed: int = 0,
    variable: bool = False,
) -> Iterator[tuple[np.ndarray, Truth]]:
    """(H, W, 3) uint8 RGB pixels and what is true of them, frame by frame; the same every time.

    size: width and height. seconds: 8 if not said, 12 for `leaving`. variable: time stamps as a
    telephone gives them, uneven and with gaps; each frame shows what there was at its own time.
    """
    if seconds is None:
        seconds = 12.0 if scenario == "leaving" else 8.0
    dice = np.random.default_rng(seed)
    actors = SCENARIOS[scenario](Stage(faces, *size, seconds, dice))
    ground = background(size, dice, moving=scenario != "still")
    grain = dice.normal(0, 3, (size[1] + 32, size[0] + 32, 3)).astype(np.int16)
    for t in clock(fps, seconds, dice if variable else None):
        pixels = ground(t)
        shown = paint(pixels, actors, faces, t)
        down, right = dice.integers(0, 33, 2)
        noise = grain[down : down + size[1], right : right + size[0]]
        yield np.clip(pixels + noise, 0, 255).astype(np.uint8), Truth(t, shown)


def clock(fps: int, seconds: float, dice: np.random.Generator | None) -> list[float]:
    """The seconds of the frames: even, or with dice 0.6 to 1.4 steps apart, now and then 2 more."""
    count = int(fps * seconds)
    steps = np.ones(count)
    if dice is not None:
        steps = dice.uniform(0.6, 1.4, count) + 2 * (dice.random(count) < 0.05)
    times = (np.cumsum(steps) - steps) / fps
    return times[times < seconds].tolist()


def background(
    size: tuple[int, int], dice: np.random.Generator, moving: bool
) -> Callable[[float], np.ndarray]:
    """A function of seconds: (H, W, 3) uint8 blobs, as a camera in the hand sees them."""
    width, height = size
    rim = 24
    tall, wide = height + 2 * rim, width + 2 * rim
    texture = np.zeros((tall, wide, 3)) + dice.uniform(90, 140, 3)
    for cell, contrast in ((90, 45), (25, 25), (6, 12)):
        blobs = [smooth_noise(dice, tall, wide, (cell, cell)) for _ in range(4)]
        texture += contrast * (blobs[3][..., None] + 0.4 * np.dstack(blobs[:3]))
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    reach = rim - 2 if moving else 0
    x, y = (sway(dice, (side - 1) / 2, reach) for side in (wide, tall))
    return lambda t: cv2.getRectSubPix(texture, size, (x(t), y(t)))


def paint(
    pixels: np.ndarray, actors: Sequence[Actor], faces: data.Samples, seconds: float
) -> tuple[Shown, ...]:
    """What is to be seen of the actors, who are set into the picture one before the other."""
    owner = np.full(pixels.shape[:2], -1)
    played = []
    for actor in actors:
        face, which = actor.face(faces.faces, seconds)
        box = actor.box(seconds)
        _lay(actor.sprite(face), box, pixels, owner, actor.identity)
        played.append((actor.identity, box, EMOTIONS[faces.labels[which]]))
    shown = (Shown(who, box, emotion, _visible(box, owner == who)) for who, box, emotion in played)
    return tuple(face for face in shown if face.visible > 0)


def _lay(
    sprite: np.ndarray, box: Box, pixels: np.ndarray, owner: np.ndarray, identity: int
) -> None:
    """Set a head into the picture with its face at `box`, and its identity where it covers."""
    scale = box[2] / SIDE
    left, top = box[0] - LEFT * scale, box[1] - ABOVE * scale
    x, y = max(0, int(left)), max(0, int(top))
    part = pixels[y : max(0, int(top + HIGH * scale) + 1), x : max(0, int(left + WIDE * scale) + 1)]
    if not part.size:
        return
    # Half a pixel, as the centre of the first one lies there.
    shift = (scale - 1) / 2 + left - x, (scale - 1) / 2 + top - y
    moved = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    layer = cv2.warpAffine(sprite, moved, part.shape[1::-1], flags=cv2.INTER_CUBIC)
    alpha = np.clip(layer[..., 3:], 0, 1)
    part[:] = np.clip(layer[..., :3] + (1 - alpha) * part, 0, 255)
    owner[y : y + part.shape[0], x : x + part.shape[1]][alpha[..., 0] > 0.5] = identity


def _visible(box: Box, own: np.ndarray) -> float:
    """The share of the face in a box that is to be seen, where `own` says whose pixels are its."""
    x, y, side, _ = box
    columns, rows = (np.arange(int(np.floor(v)), int(np.ceil(v + side))) for v in (x, y))
    across, down = (columns + 0.5 - x) / side * 2 - 1, (rows + 0.5 - y) / side * 2 - 1
    face = roundness(across[None], down[:, None]) < 1
    right, low = ((v >= 0) & (v < n) for v, n in ((columns, own.shape[1]), (rows, own.shape[0])))
    seen = face[np.ix_(low, right)] & own[np.ix_(rows[low], columns[right])]
    return float(seen.sum() / face.sum())


# The files.

TICK = Fraction(1, 60_000)
"""What time stamps are counted in: whole frames at the usual rates, and MPEG-4 allows it."""

RATE = 48_000

OPTIONS = {
    "libx264": {"preset": "veryfast", "crf": "23"},
    "libx265": {"preset": "ultrafast", "crf": "28", "x265-params": "log-level=error"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "crf": "32", "b": "0"},
    "mpeg4": {"qmin": "2", "qmax": "5"},
    "mjpeg": {"qmin": "2", "qmax": "5"},
}
"""The codecs, and how they are quick and good enough."""


def encode(
    path: Path,
    frames: Iterable[tuple[np.ndarray, Truth]],
    fps: int = 25,
    codec: str = "libx264",
    rotation: int = 0,
    sound: bool = False,
    index_first: bool = True,
) -> list[Truth]:
    """Write a clip, its format by the suffix; the truth, with the time stamps as the file has them.

    rotation: 0, 90, 180 or 270; the pixels are stored turned, and a display matrix says to turn
    them so many degrees counter-clockwise. sound: a steady tone. index_first: whether an .mp4 can
    be read when its end is missing.
    """
    # An .avi has no time stamps: a finer clock would be filled with empty frames.
    tick = Fraction(1, fps) if path.suffix == ".avi" else TICK
    options = {"movflags": "faststart"} if index_first and path.suffix in (".mp4", ".mov") else {}
    frames = iter(frames)
    first = next(frames)
    written = []
    with av.open(str(path), "w", options=options) as file:
        height, width = _turned(first[0], -rotation).shape[:2]
        video = file.add_stream(codec, fps, OPTIONS[codec], width=width, height=height,
                                time_base=tick, thread_count=1, gop_size=2 * fps,
                                bit_rate=0 if "crf" in OPTIONS[codec] else 4_000_000)  # fmt: skip
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        video.set_display_rotation(rotation)
        audio = _audio(file, path.suffix) if sound else None
        for pixels, truth in itertools.chain([first], frames):
            frame = av.VideoFrame.from_ndarray(_turned(pixels, -rotation), format="rgb24")
            frame.pts, frame.time_base = round(truth.seconds / tick), tick
            file.mux(video.encode(frame))
            written.append((frame.pts * tick, truth))
        file.mux(video.encode(None))
        if audio:
            file.mux(audio.encode(_tone(written[-1][0] + Fraction(1, fps))))
            file.mux(audio.encode(None))
        # A format may know coarser times, as .webm does, which says milliseconds.
        base = video.time_base
    return [replace(t, seconds=float((s / base + Fraction(1, 2)) // 1 * base)) for s, t in written]


def _turned(pixels: np.ndarray, degrees: int) -> np.ndarray:
    """The picture turned counter-clockwise by a multiple of 90 degrees."""
    return np.ascontiguousarray(np.rot90(pixels, degrees // 90))


def _audio(file: av.container.OutputContainer, suffix: str) -> av.AudioStream:
    codec = {".webm": "libopus", ".avi": "pcm_s16le"}.get(suffix, "aac")
    return file.add_stream(codec, RATE, layout="mono")


def _tone(seconds: Fraction) -> av.AudioFrame:
    """So many seconds of a quiet 440 Hz."""
    wave = 0.2 * np.sin(2 * np.pi * 440 / RATE * np.arange(round(seconds * RATE)))
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    return frame


def truncated(path: Path, share: float) -> Path:
    """A copy beside the clip that ends after so much of its bytes, as a broken download does."""
    body = path.read_bytes()
    cut = path.with_stem(f"{path.stem}-truncated")
    cut.write_bytes(body[: int(share * len(body))])
    return cut


def corrupted(path: Path, start_share: float = 0.5, length: int = 2000, seed: int = 0) -> Path:
    """A copy beside the clip with `length` random bytes from a share of its size on."""
    body = bytearray(path.read_bytes())
    start = int(start_share * len(body))
    end = min(len(body), start + length)
    body[start:end] = np.random.default_rng(seed).bytes(end - start)
    damaged = path.with_stem(f"{path.stem}-corrupted")
    damaged.write_bytes(body)
    return damaged


def without_video(path: Path) -> Path:
    """A copy beside a clip with sound that has nothing but the sound."""
    heard = path.with_stem(f"{path.stem}-heard")
    with av.open(str(path)) as source, av.open(str(heard), "w") as copy:
        audio = source.streams.audio[0]
        kept = copy.add_stream_from_template(audio)
        for packet in source.demux(audio):
            if packet.dts is not None:  # the last is empty and only flushes decoders
                packet.stream = kept
                copy.mux(packet)
    return heard


# The scores: of boxes by identity, frame by frame, beside those of the truth.


def fair(
    truths: Sequence[Truth], found: Sequence[Boxes], visible: float = 0.5
) -> tuple[list[Boxes], list[Boxes]]:
    """The true and the found boxes of every frame, without faces that are less than so visible.

    What was found where such a face is goes as well: to find it is no duty, and no mistake.
    """
    asked, answered = [], []
    for truth, boxes in zip(truths, found, strict=True):
        hidden = {face.identity for face in truth.faces if face.visible < visible}
        pairs = matched(truth.boxes, boxes)
        excused = {pairs[who] for who in hidden & pairs.keys()}
        asked.append({who: box for who, box in truth.boxes.items() if who not in hidden})
        answered.append({who: box for who, box in boxes.items() if who not in excused})
    return asked, answered


LEAST = 0.3
"""Overlap from which a box is a face's: low, as each detector frames faces in its own way."""


def matched(
    truth: Boxes, found: Boxes, least: float = LEAST, before: Mapping[int, int] | None = None
) -> dict[int, int]:
    """Who was found as whom in one frame: the pairs that overlap most together, each by `least`.

    before: who was last found as whom; they stay together as long as they overlap enough.
    """
    names, others = list(truth), list(found)
    overlaps = _overlaps(truth, found)
    stays = np.array([[(before or {}).get(a) == b for b in others] for a in names], bool)
    gain = np.where(overlaps < least, 0, overlaps + 2 * stays.reshape(overlaps.shape))
    return {names[row]: others[column] for row, column in assigned(gain)}


def _overlaps(truth: Boxes, found: Boxes) -> np.ndarray:
    """Intersection over union: (T, F)."""
    squares = np.array(list(found.values()), float).reshape(-1, 4)
    rows = [overlap(np.array(box, float), squares) for box in truth.values()]
    return np.array(rows).reshape(len(truth), len(found))


def assigned(gain: np.ndarray) -> list[tuple[int, int]]:
    """The pairs (row, column), each once, that gain most together; none that gains nothing."""
    pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
    return [(int(row), int(column)) for row, column in pairs if gain[row, column] > 0]


def id_switches(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = LEAST) -> int:
    """How often somebody is found under another identity than last time (CLEAR MOT's IDSW).

    https://doi.org/10.1155/2008/246309
    """
    known: dict[int, int] = {}
    switches = 0
    for true, boxes in zip(truth, found, strict=True):
        pairs = matched(true, boxes, least, known)
        switches += sum(known.get(who, name) != name for who, name in pairs.items())
        known |= pairs
    return switches


def id_f1(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = LEAST) -> float:
    """IDF1: how many boxes are right if everybody has one identity for the whole clip, 0 to 1.

    https://arxiv.org/abs/1609.01775. 1 for a clip without faces in which none is found.
    """
    names, others = ({who: k for k, who in enumerate(sorted(set().union(*boxes)))}
                     for boxes in (truth, found))  # fmt: skip
    together = np.zeros((len(names), len(others)))
    for true, boxes in zip(truth, found, strict=True):
        for row, column in zip(*np.nonzero(_overlaps(true, boxes) >= least), strict=True):
            together[names[list(true)[row]], others[list(boxes)[column]]] += 1
    right = sum(together[pair] for pair in assigned(together))
    count = sum(map(len, truth)) + sum(map(len, found))
    return float(2 * right / count) if count else 1.0


def box_overlap(truth: Sequence[Boxes], found: Sequence[Boxes], least: float = LEAST) -> float:
    """Mean intersection over union of the boxes matched, once the detector's way is allowed for.

    Its way is one shift and one scale in units of its box, the median over the clip. What is left
    is how much the boxes shake. NaN if nothing was matched.
    """
    pairs = [
        (true[who], boxes[name])
        for true, boxes in zip(truth, found, strict=True)
        for who, name in matched(true, boxes, least).items()
    ]
    if not pairs:
        return float("nan")
    true, boxes = np.array(pairs, float).swapaxes(0, 1)
    middle = boxes[:, :2] + boxes[:, 2:] / 2
    shift = np.median((true[:, :2] + true[:, 2:] / 2 - middle) / boxes[:, 2:], axis=0)
    sides = np.median(true[:, 2:] / boxes[:, 2:], axis=0) * boxes[:, 2:]
    fitted = np.hstack([middle + shift * boxes[:, 2:] - sides / 2, sides])
    return float(np.mean([overlap(a, b[None])[0] for a, b in zip(fitted, true, strict=True)]))


def time_error(truths: Sequence[Truth], seconds: Sequence[float]) -> float:
    """The largest difference between a frame's time and the truth, in seconds."""
    return max(abs(t.seconds - s) for t, s in zip(truths, seconds, strict=True))


def changes_per_second(labels: Sequence[str], seconds: Sequence[float]) -> float:
    """How often a label changes from frame to frame, by time: where nothing moves, flicker."""
    changes = sum(a != b for a, b in itertools.pairwise(labels))
    return changes / (seconds[-1] - seconds[0])
