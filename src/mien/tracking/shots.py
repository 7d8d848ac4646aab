"""Shot boundaries: where a video goes on with another picture, and not merely a moved one.

A frame continues its shot if enough of it can be found again in the frame before: square blocks of
a thumbnail are searched for in the whole of the other one (block matching by normalised
cross-correlation, so lighting does not count), and a block is explained if it moved as its
neighbours did. Pans, zooms, rotations, people who pass and dropped frames keep most blocks
explained, and a hard cut hardly any. No later frame is looked at.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from mien.io.resize import RGB_WEIGHTS

WIDTH, HEIGHT = 64, 36
"""Pixels of the thumbnail, whatever the shape of the picture."""

SAMPLES = (2, 3)
"""Rows and columns of the picture that are averaged for a pixel of the thumbnail."""

BLOCK = 8
"""Pixels of the side of a block."""

COLUMNS = np.linspace(0, WIDTH - BLOCK, 8).round().astype(int)
ROWS = np.linspace(0, HEIGHT - BLOCK, 5).round().astype(int)
STARTS = np.repeat(ROWS, len(COLUMNS)), np.tile(COLUMNS, len(ROWS))
"""Where the blocks of a frame begin: rows, columns, and both of each block. They touch."""

MIN_CONTRAST = 3.0
"""Standard deviation in grey levels below which a block shows nothing that could be found again."""

MIN_BLOCKS = 8
"""Blocks with contrast, of 40, that a picture needs to be compared; else it is as good as blank."""

MIN_CORRELATION, SAME_PLACE = 0.6, 0.8
"""Of a block with its match: at all, and at its old place without neighbours that confirm it."""

NEARLY = 0.03
"""A block has stayed if no other place correlates better by more than this."""

MAX_DIFFERENCE = 2
"""Pixels by which the motion of neighbouring blocks may differ."""

MIN_EXPLAINED, MIN_IN_MOTION, IN_MOTION = 0.22, 0.1, 0.45
"""Share of the blocks with contrast that must be explained for a frame to continue its shot: as a
rule, and where no more than the last number was explained of the frame before, as in a whip pan."""

MIN_EXPLAINED_EARLIER = 0.3
"""The same for the frame two before, which is asked when the last one explains too little."""

SPARSE, SAME_LAYOUT = 20, 0.8
"""Fewer blocks with contrast cannot all be confirmed by neighbors, and blocks of a faint picture
show mostly noise; there a frame continues its shot too if the mean levels of the blocks correlate
so well with those before."""

OVEREXPOSED, FLASH = 250, 0.3
"""Grey level from which a pixel is overexposed, and by how large a share of them more than in the
frame before a frame is a flash."""

BLANK = 2.5
"""Standard deviation in grey levels of a whole thumbnail that is blank: black, white, a colour."""

FADED = 0.5
"""Share of the contrast of the last clear frame below which a frame is fading or blurred."""

FAINT, RISING = 6.0, 1.1
"""A picture that appears out of blank frames is waited for while its contrast in grey levels is
below the first, and the second times that of the frame before."""

CLEAR_SECONDS = 2.5
"""Seconds for which a clear frame is remembered while the picture fades or is blurred."""


class ShotDetector:
    """Tells at each frame of a video whether a new shot begins with it.

    Hard cuts are boundaries. So is a picture behind blank frames (black, white, any colour) that
    differs from the one before them: a cut through black, or a fade into another scene. Flashes,
    blank frames within a shot, fades and dissolves as such, changes of the light and whatever
    the camera does are none. A jump back in time is one, as another file or a loop begins.

    Example:
        ```python
        shots = ShotDetector()
        starts = [seconds for pixels, seconds in frames if shots.update(pixels, seconds)]
        ```
    """

    def __init__(self) -> None:
        self._last = -math.inf
        self._earlier: _Thumbnail | None = None
        self._before: _Thumbnail | None = None
        self._clear: _Thumbnail | None = None
        self._clear_seconds = 0.0
        self._passed_blank = False
        self._explained = 1.0

    def update(self, pixels: np.ndarray, seconds: float) -> bool:
        """Take in the next frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            seconds: its time.

        Returns:
            Whether it begins a new shot; False for the first frame of all.
        """
        return self.update_thumbnail(thumbnail(pixels), seconds)

    def update_thumbnail(self, pixels: np.ndarray, seconds: float) -> bool:
        """`update` with the `thumbnail` of a frame."""
        jumped_back, self._last = seconds < self._last, seconds
        frame = _Thumbnail(pixels)
        if jumped_back:
            self._earlier = self._before = self._clear = None
        earlier, before, self._before = self._earlier, self._before, frame
        self._earlier = before
        if frame.is_blank or (before and frame.overexposed - before.overexposed > FLASH):
            self._passed_blank = True
            return jumped_back
        if not frame.is_comparable:
            self._earlier, self._before = earlier, before
            return jumped_back
        if before is None or self._clear is None:
            self._begin(frame, seconds)
            return jumped_back
        if self._passed_blank:
            is_rising = frame.contrast > RISING * before.contrast
            if frame.contrast < FAINT and (is_rising or frame.blocks_shown < SPARSE):
                return jumped_back
            self._explained = explained(frame, self._clear)
            is_cut = not self._continues(frame, self._clear)
        else:
            was_moving = self._explained < IN_MOTION
            self._explained = explained(frame, before)
            is_cut = not self._continues(frame, before, was_moving)
            # What the motion of the camera blurs for some frames cannot be followed, and repeated
            # patterns, such as text, are sometimes found at a wrong place.
            is_cut = is_cut and not self._is_faded(before, seconds)
            if is_cut and earlier is not None:
                is_cut = explained(frame, earlier) < MIN_EXPLAINED_EARLIER
        if is_cut or not self._is_faded(frame, seconds):
            self._begin(frame, seconds)
        if is_cut:
            self._explained, self._earlier = 1.0, None
        return jumped_back or is_cut

    def _begin(self, frame: _Thumbnail, seconds: float) -> None:
        self._clear, self._clear_seconds, self._passed_blank = frame, seconds, False

    def _continues(self, frame: _Thumbnail, before: _Thumbnail, moving: bool = False) -> bool:
        """Whether a frame is of the same shot as another, of which `_explained` is known."""
        if self._explained >= (MIN_IN_MOTION if moving else MIN_EXPLAINED):
            return True
        is_vague = frame.blocks_shown < SPARSE or frame.contrast < FAINT
        return is_vague and _correlation(frame.means, before.means) > SAME_LAYOUT

    def _is_faded(self, frame: _Thumbnail, seconds: float) -> bool:
        """Whether there was a frame with much more contrast not long ago."""
        if self._clear is None or seconds - self._clear_seconds > CLEAR_SECONDS:
            return False
        return frame.contrast < FADED * self._clear.contrast

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from; JSON can hold it."""
        return {
            "last": None if math.isinf(self._last) else self._last,
            "earlier": self._earlier and self._earlier.to_text(),
            "before": self._before and self._before.to_text(),
            "clear": self._clear and self._clear.to_text(),
            "clear_seconds": self._clear_seconds,
            "passed_blank": self._passed_blank,
            "explained": self._explained,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._last = -math.inf if state["last"] is None else float(state["last"])
        self._earlier = state["earlier"] and _Thumbnail.from_text(state["earlier"])
        self._before = state["before"] and _Thumbnail.from_text(state["before"])
        self._clear = state["clear"] and _Thumbnail.from_text(state["clear"])
        self._clear_seconds = float(state["clear_seconds"])
        self._passed_blank = bool(state["passed_blank"])
        self._explained = float(state["explained"])


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 RGB, of any size -> (HEIGHT, WIDTH) uint8, grey; the sides are squeezed."""
    down, across = SAMPLES
    rows, columns = (
        _places(pixels.shape[0], HEIGHT * down),
        _places(pixels.shape[1], WIDTH * across),
    )
    sampled = pixels[rows[:, None], columns].reshape(HEIGHT, down, -1)
    tall = sum(sampled[:, k].astype(np.uint16) for k in range(down))
    tall = tall.reshape(HEIGHT, WIDTH, across, 3)
    small = sum(tall[:, :, k] for k in range(across)).astype(np.float32)
    return np.rint(small @ (RGB_WEIGHTS / (down * across))).astype(np.uint8)


@lru_cache(maxsize=16)
def _places(length: int, count: int) -> np.ndarray:
    """The middles of `count` equal parts of a length, as indices."""
    return ((np.arange(count) + 0.5) * length / count).astype(np.intp)


@dataclass
class _Thumbnail:
    """A frame to be compared. grey: (HEIGHT, WIDTH) uint8."""

    grey: np.ndarray

    def to_text(self) -> str:
        return base64.b64encode(self.grey.tobytes()).decode()

    @classmethod
    def from_text(cls, text: str) -> _Thumbnail:
        return cls(np.frombuffer(base64.b64decode(text), np.uint8).reshape(HEIGHT, WIDTH))

    @cached_property
    def _blocks(self) -> tuple[np.ndarray, np.ndarray]:
        view = np.lib.stride_tricks.sliding_window_view(self.grey, (BLOCK, BLOCK))
        blocks = view[ROWS[:, None], COLUMNS].reshape(-1, BLOCK * BLOCK).astype(np.float32)
        means = blocks.mean(1)
        blocks -= means[:, None]
        return blocks, means

    @property
    def blocks(self) -> np.ndarray:
        """(40, 64) float32, their means subtracted."""
        return self._blocks[0]

    @property
    def means(self) -> np.ndarray:
        """Grey level of each block: (40,) float32."""
        return self._blocks[1]

    @cached_property
    def overexposed(self) -> float:
        """Share of the pixels."""
        return float(np.count_nonzero(self.grey >= OVEREXPOSED)) / self.grey.size

    @cached_property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each block in grey levels: (40,) float32."""
        return np.sqrt(np.einsum("ij,ij->i", self.blocks, self.blocks)) / BLOCK

    @cached_property
    def contrast(self) -> float:
        """Grey levels: what the blocks of the middle have."""
        return float(np.median(self.deviations))

    @cached_property
    def windows(self) -> np.ndarray:
        """Every square of the size of a block: (WINDOWS, 64) float32."""
        view = np.lib.stride_tricks.sliding_window_view(self.grey, (BLOCK, BLOCK))
        return view.reshape(-1, BLOCK * BLOCK).astype(np.float32)

    @cached_property
    def window_deviations(self) -> np.ndarray:
        """Of each window, infinite where it has no contrast: (WINDOWS,) float32."""
        grey = self.grey.astype(np.float64)
        count = BLOCK * BLOCK
        variance = _box_sums(grey * grey) / count - (_box_sums(grey) / count) ** 2
        variance[variance < MIN_CONTRAST**2] = math.inf
        return np.sqrt(variance).astype(np.float32).ravel()

    @property
    def is_blank(self) -> bool:
        """Whether it is all black, white or of a colour."""
        return float(self.grey.std()) < BLANK

    @cached_property
    def blocks_shown(self) -> int:
        """How many blocks have contrast."""
        return int(np.count_nonzero(self.deviations >= MIN_CONTRAST))

    @property
    def is_comparable(self) -> bool:
        """Whether enough is to be seen."""
        return self.blocks_shown >= MIN_BLOCKS


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one - one.mean(), other - other.mean()
    return float(one @ other / max(math.sqrt((one @ one) * (other @ other)), 1e-6))


def _box_sums(values: np.ndarray) -> np.ndarray:
    """Sums over every square of the size of a block: (H, W) -> (H - 7, W - 7)."""
    total = np.zeros((values.shape[0] + 1, values.shape[1] + 1))
    np.cumsum(values, 0, out=total[1:, 1:])
    np.cumsum(total[1:, 1:], 1, out=total[1:, 1:])
    rows = total[BLOCK:] - total[:-BLOCK]
    return rows[:, BLOCK:] - rows[:, :-BLOCK]


def explained(frame: _Thumbnail, before: _Thumbnail) -> float:
    """The share of a frame's blocks with contrast that are found again in another frame, 0 to 1.

    It is not searched on where half of them have stayed.
    """
    shown = frame.deviations >= MIN_CONTRAST
    scale = BLOCK * BLOCK * frame.deviations + 1e-6
    spread = np.maximum(before.deviations, MIN_CONTRAST)
    still = np.einsum("ij,ij->i", frame.blocks, before.blocks) / (scale * spread)
    share = np.count_nonzero(shown & (still > SAME_PLACE)) / np.count_nonzero(shown)
    if share > 0.5:
        return float(share)
    correlations = frame.blocks @ before.windows.T
    correlations /= before.window_deviations
    place = correlations.argmax(1)
    best = correlations[np.arange(len(place)), place] / scale
    stays = still >= best - NEARLY
    down, across = np.divmod(place, WIDTH - BLOCK + 1)
    down = np.where(stays, 0, down - STARTS[0])
    across = np.where(stays, 0, across - STARTS[1])
    found = shown & (best > MIN_CORRELATION)
    shape = len(ROWS), len(COLUMNS)
    alike = _agreeing(found.reshape(shape), down.reshape(shape), across.reshape(shape)).ravel()
    confirmed = found & ((alike >= 2) | (stays & (best > SAME_PLACE)))
    return float(np.count_nonzero(confirmed) / np.count_nonzero(shown))


def _agreeing(found: np.ndarray, down: np.ndarray, across: np.ndarray) -> np.ndarray:
    """Of each block, how many of its eight neighbours were found and moved alike."""
    count = np.zeros(found.shape, int)
    for y, x in ((0, 1), (1, 0), (1, 1), (1, -1)):
        one = slice(0, -y or None), slice(max(0, -x), -x if x > 0 else None)
        other = slice(y, None), slice(max(0, x), x if x < 0 else None)
        alike = found[one] & found[other]
        alike &= abs(down[one] - down[other]) <= MAX_DIFFERENCE
        alike &= abs(across[one] - across[other]) <= MAX_DIFFERENCE
        count[one] += alike
        count[other] += alike
    return count
