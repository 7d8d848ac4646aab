"""Clips with known truth: FER2013 faces that move, change their expression, meet and leave.

from pathlib import Path
from tests.synthetic import clip_files, clips
cast = clips.load_faces(Path("fer2013"))    # PublicTest's faces that YuNet finds
truths = clip_files.encode(Path("two.mp4"), clips.frames("crossing", cast), sound=True)
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from mien.classification.flags import sharpness
from mien.detection import Detector, yunet
from mien.lab import data
from mien.labels import EMOTIONS
from mien.results import Box
from tests.synthetic.actors import ABOVE, HIGH, LEFT, SIDE, WIDE, Actor, roundness, smooth_noise
from tests.synthetic.scenarios import SCENARIOS, Stage, sway
from tests.synthetic.scenes import overlap

Boxes = Mapping[int, Box]
"""Who is where in one frame."""


@dataclass(frozen=True)
class VisibleFace:
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
    faces: tuple[VisibleFace, ...] = ()

    @property
    def boxes(self) -> Boxes:
        """Identity -> box."""
        return {face.identity: face.box for face in self.faces}


@lru_cache
def load_faces(root: Path, split: str = "val") -> data.Samples:
    """The faces of a dataset that `detectable_faces` keeps with YuNet, cached in the process."""
    return detectable_faces(data.split(data.load(root), split), yunet.load())


def detectable_faces(samples: data.Samples, detect: Detector, most: int = 40) -> data.Samples:
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
) -> tuple[VisibleFace, ...]:
    """What is to be seen of the actors, who are set into the picture one before the other."""
    owner = np.full(pixels.shape[:2], -1)
    played = []
    for actor in actors:
        face, which = actor.face(faces.faces, seconds)
        box = actor.box(seconds)
        _lay(actor.sprite(face), box, pixels, owner, actor.identity)
        played.append((actor.identity, box, EMOTIONS[faces.labels[which]]))
    shown = (
        VisibleFace(who, box, emotion, _visible(box, owner == who)) for who, box, emotion in played
    )
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
