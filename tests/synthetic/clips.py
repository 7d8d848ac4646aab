"""Clips with ground truth: FER2013 faces that move, change expression, cross and leave.

faces = clips.load_faces(Path("fer2013"))  # faces of PublicTest that YuNet detects
truths = clip_files.encode(Path("two.mp4"), clips.frames("crossing", faces), sound=True)
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
from tests.synthetic.actors import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    FACE_LEFT,
    FACE_SIDE,
    FACE_TOP,
    Actor,
    roundness,
    smooth_noise,
)
from tests.synthetic.scenarios import SCENARIOS, ScenarioInput, sway
from tests.synthetic.scenes import overlap

Boxes = Mapping[int, Box]
"""Identity, or predicted id -> box of each face in a frame."""


@dataclass(frozen=True)
class VisibleFace:
    """A face in a frame.

    Attributes:
        identity: Index of the actor.
        box: Square that the FER2013 crop covers.
        emotion: FER2013 label.
        visible: Fraction of the face that is inside the frame and not occluded; above 0, at most 1.
    """

    identity: int
    box: Box
    emotion: str
    visible: float


@dataclass(frozen=True)
class Truth:
    """Ground truth of a frame: its timestamp and its faces, the frontmost last."""

    seconds: float
    faces: tuple[VisibleFace, ...] = ()

    @property
    def boxes(self) -> Boxes:
        """Identity -> box of each face."""
        return {face.identity: face.box for face in self.faces}


MIN_SHARPNESS, MIN_CONFIDENCE, MIN_OVERLAP = 30, 0.85, 0.7
"""Limits for `detectable_faces`: sharpness of the face, confidence of the detection, and
intersection over union of the square around the detection and that of the face."""


@lru_cache
def load_faces(root: Path, split: str = "val") -> data.Samples:
    """Load the faces of a split that YuNet detects (`detectable_faces`); cached per process."""
    return detectable_faces(data.split(data.load(root), split), yunet.load())


def detectable_faces(
    samples: data.Samples, detect: Detector, max_per_emotion: int = 40
) -> data.Samples:
    """Select up to `max_per_emotion` sharp faces per emotion that `detect` locates correctly.

    With FER+ votes, only faces whose label has the most votes are selected, because clips do not
    test ambiguous faces. Accuracy on clips is therefore not comparable to accuracy on FER2013.
    """
    is_unambiguous = data.plurality(samples.votes) == samples.labels
    selected = []
    for label in range(len(EMOTIONS)):
        indices = np.flatnonzero(
            (samples.labels == label) & (is_unambiguous | (not samples.has_votes))
        )
        detectable = (k for k in indices if _is_detectable(samples.faces[k], detect))
        selected.extend(itertools.islice(detectable, max_per_emotion))
    return samples.select(np.array(selected, int))


def _is_detectable(face: np.ndarray, detect: Detector) -> bool:
    """Return whether a face is sharp and, enlarged, is detected with confidence at its position."""
    if sharpness(face[None]) < MIN_SHARPNESS:
        return False
    side, border = 144, 72
    large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
    large = cv2.copyMakeBorder(large, border, border, border, border, cv2.BORDER_REFLECT_101)
    detections = detect(large[..., None].repeat(3, 2))
    squares = np.array(
        [detect.geometry.square(f.box) for f in detections if f.confidence > MIN_CONFIDENCE]
    )
    if not len(squares):
        return False
    return overlap(np.array([border, border, side, side]), squares).max() > MIN_OVERLAP


def frames(
    scenario: str,
    faces: data.Samples,
    size: tuple[int, int] = (640, 360),
    fps: int = 25,
    seconds: float | None = None,
    seed: int = 0,
    variable: bool = False,
) -> Iterator[tuple[np.ndarray, Truth]]:
    """Render a clip frame by frame; equal seeds give equal clips.

    Args:
        scenario: A name in `SCENARIOS`.
        faces: The faces that the actors show.
        size: Width and height in pixels.
        fps: Frames per second.
        seconds: Duration; by default 8, or 12 for `leaving`.
        seed: Seed of all random choices.
        variable: Whether the frame rate is variable, with gaps, as in videos of phones.

    Returns:
        (H, W, 3) uint8 RGB pixels and ground truth of each frame.
    """
    if seconds is None:
        seconds = 12.0 if scenario == "leaving" else 8.0
    rng = np.random.default_rng(seed)
    actors = SCENARIOS[scenario](ScenarioInput(faces, *size, seconds, rng))
    backdrop = background(size, rng, moving=scenario != "still")
    noise = rng.normal(0, 3, (size[1] + 32, size[0] + 32, 3)).astype(np.int16)
    for t in timestamps(fps, seconds, rng if variable else None):
        pixels = backdrop(t)
        visible_faces = draw_actors(pixels, actors, faces, t)
        top, left = rng.integers(0, 33, 2)
        frame_noise = noise[top : top + size[1], left : left + size[0]]
        yield np.clip(pixels + frame_noise, 0, 255).astype(np.uint8), Truth(t, visible_faces)


def timestamps(fps: int, seconds: float, rng: np.random.Generator | None) -> list[float]:
    """Timestamps in seconds; with `rng`, intervals vary by a factor of 0.6 to 1.4, with gaps."""
    count = int(fps * seconds)
    steps = np.ones(count)
    if rng is not None:
        steps = rng.uniform(0.6, 1.4, count) + 2 * (rng.random(count) < 0.05)
    times = (np.cumsum(steps) - steps) / fps
    return times[times < seconds].tolist()


def background(
    size: tuple[int, int], rng: np.random.Generator, moving: bool
) -> Callable[[float], np.ndarray]:
    """Return a function from seconds to an (H, W, 3) uint8 texture.

    If `moving`, the texture moves as in front of a handheld camera.
    """
    width, height = size
    padding = 24
    padded_height, padded_width = height + 2 * padding, width + 2 * padding
    texture = np.zeros((padded_height, padded_width, 3)) + rng.uniform(90, 140, 3)
    for cell, contrast in ((90, 45), (25, 25), (6, 12)):
        blobs = [smooth_noise(rng, padded_height, padded_width, (cell, cell)) for _ in range(4)]
        texture += contrast * (blobs[3][..., None] + 0.4 * np.dstack(blobs[:3]))
    texture = np.clip(texture, 0, 255).astype(np.uint8)
    radius = padding - 2 if moving else 0
    x, y = (sway(rng, (length - 1) / 2, radius) for length in (padded_width, padded_height))
    return lambda t: cv2.getRectSubPix(texture, size, (x(t), y(t)))


def draw_actors(
    pixels: np.ndarray, actors: Sequence[Actor], faces: data.Samples, seconds: float
) -> tuple[VisibleFace, ...]:
    """Draw the actors in order, the frontmost last, and return their visible faces."""
    owner = np.full(pixels.shape[:2], -1)
    drawn = []
    for actor in actors:
        face, index = actor.face(faces.faces, seconds)
        box = actor.box(seconds)
        _draw(actor.sprite(face), box, pixels, owner, actor.identity)
        drawn.append((actor.identity, box, EMOTIONS[faces.labels[index]]))
    candidates = (
        VisibleFace(identity, box, emotion, _visible_fraction(box, owner == identity))
        for identity, box, emotion in drawn
    )
    return tuple(face for face in candidates if face.visible > 0)


def _draw(
    sprite: np.ndarray, box: Box, pixels: np.ndarray, owner: np.ndarray, identity: int
) -> None:
    """Draw a sprite with its face at `box`; set `owner` to its identity where it is opaque."""
    scale = box[2] / FACE_SIDE
    left, top = box[0] - FACE_LEFT * scale, box[1] - FACE_TOP * scale
    x, y = max(0, int(left)), max(0, int(top))
    region = pixels[
        y : max(0, int(top + CANVAS_HEIGHT * scale) + 1),
        x : max(0, int(left + CANVAS_WIDTH * scale) + 1),
    ]
    if not region.size:
        return
    # Pixel centers are at half-integer coordinates.
    shift = (scale - 1) / 2 + left - x, (scale - 1) / 2 + top - y
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    layer = cv2.warpAffine(sprite, matrix, region.shape[1::-1], flags=cv2.INTER_CUBIC)
    alpha = np.clip(layer[..., 3:], 0, 1)
    region[:] = np.clip(layer[..., :3] + (1 - alpha) * region, 0, 255)
    owner[y : y + region.shape[0], x : x + region.shape[1]][alpha[..., 0] > 0.5] = identity


def _visible_fraction(box: Box, is_actor: np.ndarray) -> float:
    """Return the visible fraction of a face, given the pixels that show its actor."""
    x, y, side, _ = box
    columns, rows = (np.arange(int(np.floor(v)), int(np.ceil(v + side))) for v in (x, y))
    across, down = (columns + 0.5 - x) / side * 2 - 1, (rows + 0.5 - y) / side * 2 - 1
    is_face = roundness(across[None], down[:, None]) < 1
    has_column = (columns >= 0) & (columns < is_actor.shape[1])
    has_row = (rows >= 0) & (rows < is_actor.shape[0])
    is_face_in_frame = is_face[np.ix_(has_row, has_column)]
    is_visible = is_face_in_frame & is_actor[np.ix_(rows[has_row], columns[has_column])]
    return float(is_visible.sum() / is_face.sum())
