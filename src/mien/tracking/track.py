"""`Track`: motion and appearance of one face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.results import Box
from mien.tracking.appearance import MIN_CONTRAST, Appearance, box_thumbnail, normalized
from mien.tracking.thumbnails import Thumbnail, similarity

VELOCITY_TIME_CONSTANT = 2.0
"""Time constant in seconds with which the velocity of an undetected face decays."""

VELOCITY_GAIN, UPDATE_TIME_CONSTANT = 0.5, 0.1
"""A detection corrects the velocity by this fraction of its error, times
1 - exp(-seconds since the last detection / UPDATE_TIME_CONSTANT)."""

RECENT_SECONDS = 2.5
"""Seconds for which the boxes of a track are kept; longer than the windows of dissolves."""

APPEARING_SECONDS = 1.2
"""Seconds at the start of a track whose boxes are not kept: the dissolve in which the face appears
would be detected again."""

APPEARANCE_GAIN = 0.2
"""Weight of the latest detection in the mean coarse thumbnail of a track."""

MAX_ABRUPT_SIMILARITY, MIN_STILL_SIMILARITY = 0.6, 1.0
"""The image changes abruptly at a face if the similarity of two successive frames is below the
first value, and that of the two frames before was at least the second or was not computed
(similarities are from 0 to 1.25). A turning head, or a hand in front of the face, changes several
frames in succession."""

CHANGE_MARGIN = 0.1
"""Margin on each side of the box that is compared to find changes, as a fraction of its sides."""

ABRUPT_SECONDS = 0.11
"""Maximum seconds between two frames that are compared: in a longer time, a face can turn. So
abrupt changes are found only at ten frames per second or more."""

MAX_LIGHT_RATIO = 3.0
"""A change of brightness or contrast by more than this factor is a flash, not another face."""

MAX_OTHER_FACE_SIMILARITY = 0.4
"""A detection is of another face if its similarity to earlier detections is lower."""

MAX_THUMBNAILS, THUMBNAIL_INTERVAL = 3, 0.4
"""Maximum number of thumbnails of a track, and minimum seconds between them, except before the
newest one: the last one before an absence often shows a face that is partly hidden or turned."""

MIN_MISSED, MIN_ABSENCE_SECONDS = 3, 0.5
"""A face is absent if it is not found or not clear in at least this many searches and seconds. So
it is not absent between the frames of a video with few frames per second, in which it can turn."""


@dataclass(slots=True)
class Track:
    """A tracked face.

    Attributes:
        face_id: Face id.
        box: (4,) center x and y in pixels, log width, log height.
        velocity: (4,) change of `box` per second.
        mean_coarse: Coarse thumbnail (`Appearance.coarse`), averaged over the detections.
        first_seen: Time of the first detection in seconds.
        last_seen: Time of the latest detection in seconds.
        thumbnails: Time in seconds and thumbnail (`Appearance.thumbnail`) of up to
            `MAX_THUMBNAILS` detections that are clear enough to have one, the newest last.
        missed: Number of searches since the newest of these, in which the face was not found or
            not clear.
        interrupted: Whether the image at the face has changed abruptly since the newest of these,
            to another image, to a flash or to a blank image.
        region_thumbnail: Thumbnail of the predicted box in the latest frame, with a margin; None
            at first, or if there is none (`appearance.box_thumbnail`).
        region_seconds: Time of that frame in seconds.
        region_similarity: Similarity of `region_thumbnail` to that of the frame before; 1 if
            they were not compared.
        changed_at: Time of the latest abrupt change in seconds; None if there was none.
        recent_boxes: For `FaceDissolveDetector`: time in seconds and box of the detections in the
            last `RECENT_SECONDS`, without those in the first `APPEARING_SECONDS` of the track;
            cleared if the size of frames changes.
    """

    face_id: int
    box: np.ndarray
    velocity: np.ndarray
    mean_coarse: np.ndarray
    first_seen: float
    last_seen: float
    thumbnails: list[tuple[float, Thumbnail]]
    missed: int = 0
    interrupted: bool = False
    region_thumbnail: Thumbnail | None = None
    region_seconds: float = 0.0
    region_similarity: float = 1.0
    changed_at: float | None = None
    recent_boxes: list[tuple[float, Box]] = field(default_factory=list)

    @classmethod
    def begin(cls, face_id: int, box: np.ndarray, appearance: Appearance, seconds: float) -> Track:
        """Return the track of a face that is detected for the first time."""
        track = cls(
            face_id,
            box,
            velocity=np.zeros(4),
            mean_coarse=appearance.coarse,
            first_seen=seconds,
            last_seen=seconds,
            thumbnails=[],
        )
        track._add_thumbnail(appearance, seconds)
        return track

    def to_dict(self) -> dict[str, Any]:
        """Return the track as a JSON-serializable dictionary."""
        return {
            "face_id": self.face_id,
            "box": self.box.tolist(),
            "velocity": self.velocity.tolist(),
            "mean_coarse": self.mean_coarse.tolist(),
            "first_seen": self.first_seen,
            "last_seen": self.last_seen,
            "thumbnails": [(t, thumbnail.to_text()) for t, thumbnail in self.thumbnails],
            "missed": self.missed,
            "interrupted": self.interrupted,
            "region_thumbnail": self.region_thumbnail and self.region_thumbnail.to_text(),
            "region_seconds": self.region_seconds,
            "region_similarity": self.region_similarity,
            "changed_at": self.changed_at,
            "recent_boxes": self.recent_boxes,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Track:
        """Create a track from the dictionary that `to_dict` returned."""
        region = state["region_thumbnail"]
        return cls(
            face_id=state["face_id"],
            box=np.array(state["box"], np.float64),
            velocity=np.array(state["velocity"], np.float64),
            mean_coarse=np.array(state["mean_coarse"], np.float32),
            first_seen=state["first_seen"],
            last_seen=state["last_seen"],
            thumbnails=[(t, Thumbnail.from_text(text)) for t, text in state["thumbnails"]],
            missed=state["missed"],
            interrupted=state["interrupted"],
            region_thumbnail=region and Thumbnail.from_text(region),
            region_seconds=state["region_seconds"],
            region_similarity=state["region_similarity"],
            changed_at=state["changed_at"],
            recent_boxes=[(seconds, tuple(box)) for seconds, box in state["recent_boxes"]],
        )

    def predict(self, seconds: float, width: int, height: int) -> np.ndarray:
        """Return the expected box at a time, encoded like `box`, with decaying velocity.

        The center is clipped to the image of the given size, because a face that leaves the image
        usually comes back at the same border.
        """
        age = seconds - self.last_seen
        travel = VELOCITY_TIME_CONSTANT * (1 - math.exp(-age / VELOCITY_TIME_CONSTANT))
        box = self.box + self.velocity * travel
        box[:2] = box[:2].clip(0, (width, height))
        return box

    def scale(self, x: float, y: float) -> None:
        """Scale the track, because the width and height of frames have changed by these factors."""
        self.box = self.box * (x, y, 1, 1) + (0, 0, math.log(x), math.log(y))
        self.velocity = self.velocity * (x, y, 1, 1)
        self.recent_boxes.clear()

    def find_change(self, pixels: np.ndarray, seconds: float) -> bool:
        """Add the next frame; return whether it has changed abruptly at the predicted box.

        An abrupt change to a flash or a blank image only sets `interrupted`.
        """
        height, width = pixels.shape[:2]
        x, y, w, h = box = decode(self.predict(seconds, width, height))
        before, elapsed = self.region_thumbnail, seconds - self.region_seconds
        region = box_thumbnail(pixels, box, CHANGE_MARGIN, min_contrast=0)
        now = region if region is not None and region.contrast >= MIN_CONTRAST else None
        self.region_thumbnail, self.region_seconds = now, seconds
        was_still = self.region_similarity >= MIN_STILL_SIMILARITY
        self.region_similarity = 1.0
        # A face at the border can change because more or less of it is visible.
        is_inside = x >= 0 and y >= 0 and x + w <= width and y + h <= height
        if before is None or region is None or not is_inside or not 0 < elapsed <= ABRUPT_SECONDS:
            return False
        self.region_similarity = similarity(region, before)
        if self.region_similarity >= MAX_ABRUPT_SIMILARITY or not was_still:
            return False
        self.interrupted = True
        if now is None or _is_flash(before, now):
            return False
        self.changed_at = seconds
        return True

    def is_other_face(self, appearance: Appearance, seconds: float) -> bool:
        """Return whether a detection looks like another face, after a change or an absence.

        Without these, it would be the same face in another pose.
        """
        now = appearance.thumbnail
        if now is None or not self.thumbnails:
            return False
        elapsed = seconds - self.thumbnails[-1][0]
        is_absent = self.missed >= MIN_MISSED and elapsed >= MIN_ABSENCE_SECONDS
        if self.changed_at == seconds:
            known = self.thumbnails[-1:]
        elif self.interrupted or is_absent:
            known = self.thumbnails
        else:
            return False
        return all(similarity(now, thumb) < MAX_OTHER_FACE_SIMILARITY for _, thumb in known)

    def update(self, box: np.ndarray, appearance: Appearance, seconds: float) -> None:
        """Add a detection: set the box, and correct velocity (alpha-beta filter) and appearance."""
        self._add_thumbnail(appearance, seconds)
        elapsed = max(seconds - self.last_seen, 1e-3)
        error = box - (self.box + self.velocity * elapsed)
        weight = 1 - math.exp(-elapsed / UPDATE_TIME_CONSTANT)
        self.velocity = self.velocity + weight * VELOCITY_GAIN * error / elapsed
        # The width and height change by at most a factor of e per second.
        self.velocity[2:] = self.velocity[2:].clip(-1, 1)
        self.box, self.last_seen = box, seconds
        if seconds - self.first_seen >= APPEARING_SECONDS:
            self.recent_boxes.append((seconds, decode(box)))
        while self.recent_boxes and seconds - self.recent_boxes[0][0] > RECENT_SECONDS:
            self.recent_boxes.pop(0)
        self.mean_coarse = normalized(
            (1 - APPEARANCE_GAIN) * self.mean_coarse + APPEARANCE_GAIN * appearance.coarse
        )

    def _add_thumbnail(self, appearance: Appearance, seconds: float) -> None:
        if appearance.thumbnail is None:
            self.missed += 1
            return
        self.missed, self.interrupted = 0, False
        kept = self.thumbnails
        if len(kept) > 1 and kept[-1][0] - kept[-2][0] < THUMBNAIL_INTERVAL:
            kept.pop()
        kept.append((seconds, appearance.thumbnail))
        del kept[:-MAX_THUMBNAILS]


def encode(box: Box) -> np.ndarray:
    """Convert a box to the form in `Track.box`."""
    x, y, w, h = box
    return np.array([x + w / 2, y + h / 2, math.log(max(w, 1)), math.log(max(h, 1))])


def decode(encoded: np.ndarray) -> Box:
    """Convert `Track.box` to a box."""
    x, y = encoded[:2].tolist()
    w, h = np.exp(encoded[2:]).tolist()
    return x - w / 2, y - h / 2, w, h


def _is_flash(before: Thumbnail, after: Thumbnail) -> bool:
    """Return whether brightness or contrast of a thumbnail have changed too much for a new face."""
    ratios = (after.mean + 1) / (before.mean + 1), (after.std + 1) / (before.std + 1)
    return not all(1 / MAX_LIGHT_RATIO < ratio < MAX_LIGHT_RATIO for ratio in ratios)
