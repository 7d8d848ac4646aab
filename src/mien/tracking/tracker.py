"""Tracking: assigns detections of successive frames to face ids.

Uses only the current and earlier frames, so live streams and files are tracked in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from mien.io import resize
from mien.results import Box, Face
from mien.tracking.frame_interval import MAX_AGE_SECONDS, FrameInterval

VELOCITY_TIME_CONSTANT = 2.0
"""Time constant in seconds with which the velocity of an undetected face decays."""

VELOCITY_GAIN, UPDATE_TIME_CONSTANT = 0.5, 0.1
"""A detection corrects the velocity by this fraction of its error, times
1 - exp(-seconds since the last detection / UPDATE_TIME_CONSTANT)."""

APPEARANCE_SIDE = 16
"""Pixels of the side of the gray thumbnail that describes the appearance of a face."""

APPEARANCE_GAIN = 0.2
"""Weight of the latest detection in the appearance of a track."""

MIN_THUMBNAIL_STD = 2.0
"""A thumbnail whose gray levels have a lower standard deviation shows too little to compare."""

SAMPLES_PER_PIXEL = 8
"""Minimum number of pixels in each direction that are averaged into one pixel of the thumbnail, if
the face is large enough."""

APPEARANCE_MARGIN = 0.25
"""Margin of the thumbnail on each side, as a fraction of the box's width or height. It contains
hair and collar, which change less than the face."""

MIN_SIMILARITY, MAX_VETO_AGE = 0.3, 0.5
"""A detection does not continue a track if their appearances correlate by less than the first
value, if the track was detected in the last `MAX_VETO_AGE` seconds, and if the image has changed
abruptly at the face (see `ABRUPT_SECONDS`). This veto is for a face that replaces another one."""

ABRUPT_SECONDS, MAX_LIGHT_RATIO = 0.1, 3.0
"""A change at a face is abrupt if it happens between two frames that are at most `ABRUPT_SECONDS`
apart; a hand or a turning head takes longer. A change of brightness or contrast by more than the
factor `MAX_LIGHT_RATIO` is ignored, because it is a flash."""

CROWDED_DISTANCE, CROWDED_SECONDS = 2.0, 0.5
"""The veto of `MIN_SIMILARITY` does not apply to two tracks less than this many face widths
apart and were detected in the last `CROWDED_SECONDS`: one face may have passed in front."""

BASE_DISTANCE, DISTANCE_PER_SECOND, MAX_DISTANCE = 0.6, 5.0, 2.4
"""Gating: the maximum distance of a detection from the predicted position, in face widths, is
min(BASE_DISTANCE + DISTANCE_PER_SECOND * seconds since the last detection, MAX_DISTANCE)."""


@dataclass(slots=True)
class Track:
    """A tracked face.

    An appearance is a normalized thumbnail: (APPEARANCE_SIDE, APPEARANCE_SIDE) float32 with mean 0
    and norm 1.

    Attributes:
        face_id: Face id.
        box: (4,) center x and y in pixels, log width, log height.
        velocity: (4,) change of `box` per second.
        appearance: Appearance averaged over time.
        last_seen: Time of the latest detection in seconds.
        recent: Appearance at the latest detection.
        watched: Thumbnail, not normalized, at the predicted box in the latest frame; None at first.
        watched_at: Time of that frame in seconds.
        changed_at: Time of the latest abrupt change in seconds; None if there was none.
    """

    face_id: int
    box: np.ndarray
    velocity: np.ndarray
    appearance: np.ndarray
    last_seen: float
    recent: np.ndarray
    watched: np.ndarray | None = None
    watched_at: float = 0.0
    changed_at: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the track as a JSON-serializable dictionary."""
        return {
            "face_id": self.face_id,
            "box": self.box.tolist(),
            "velocity": self.velocity.tolist(),
            "appearance": self.appearance.tolist(),
            "last_seen": self.last_seen,
            "recent": self.recent.tolist(),
            "watched": None if self.watched is None else self.watched.tolist(),
            "watched_at": self.watched_at,
            "changed_at": self.changed_at,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Track:
        """Create a track from the dictionary that `to_dict` returned."""
        return cls(
            state["face_id"],
            np.array(state["box"], np.float64),
            np.array(state["velocity"], np.float64),
            np.array(state["appearance"], np.float32),
            state["last_seen"],
            np.array(state["recent"], np.float32),
            None if state["watched"] is None else np.array(state["watched"], np.float32),
            state["watched_at"],
            state["changed_at"],
        )

    def predict(self, seconds: float, width: int, height: int) -> np.ndarray:
        """Return the expected box at a time, with decaying velocity.

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

    def is_replaced(self, appearance: np.ndarray, seconds: float) -> bool:
        """Return whether the image has changed abruptly and a detection looks like another face."""
        return (
            self.changed_at == seconds
            and seconds - self.last_seen <= MAX_VETO_AGE
            and _differ(self.recent, appearance)
        )

    def watch(self, pixels: np.ndarray, seconds: float) -> bool:
        """Add the next frame; return whether it has changed abruptly at the predicted box."""
        height, width = pixels.shape[:2]
        x, y, w, h = self.predict(seconds, width, height)
        w, h = math.exp(w), math.exp(h)
        is_inside = w / 2 <= x <= width - w / 2 and h / 2 <= y <= height - h / 2
        before, elapsed = self.watched, seconds - self.watched_at
        self.watched = _thumbnail(pixels, (x - w / 2, y - h / 2, w, h))
        self.watched_at = seconds
        # A face at the border can change because more or less of it is visible.
        if before is None or not is_inside or not 0 < elapsed <= ABRUPT_SECONDS:
            return False
        brightening = (self.watched.mean() + 1) / (before.mean() + 1)
        if not 1 / MAX_LIGHT_RATIO < brightening < MAX_LIGHT_RATIO:
            return False
        contrast = (self.watched.std() + 1) / (before.std() + 1)
        if not 1 / MAX_LIGHT_RATIO < contrast < MAX_LIGHT_RATIO:
            return False
        if _differ(_centered(before), _centered(self.watched)):
            self.changed_at = seconds
        return self.changed_at == seconds

    def update(self, box: np.ndarray, appearance: np.ndarray, seconds: float) -> None:
        """Add a detection: set the box, and correct velocity (alpha-beta filter) and appearance."""
        self.recent = appearance
        elapsed = max(seconds - self.last_seen, 1e-3)
        error = box - (self.box + self.velocity * elapsed)
        weight = 1 - math.exp(-elapsed / UPDATE_TIME_CONSTANT)
        self.velocity = self.velocity + weight * VELOCITY_GAIN * error / elapsed
        self.velocity[2:] = self.velocity[2:].clip(-1, 1)
        self.box, self.last_seen = box, seconds
        self.appearance = _normalize(
            (1 - APPEARANCE_GAIN) * self.appearance + APPEARANCE_GAIN * appearance
        )


class Tracker:
    """Assigns face ids to the detections of successive frames; ids are never reused.

    Each track has a constant-velocity filter (Bar-Shalom's alpha-beta filter). Detections are
    matched to tracks by distance from the predicted position in face widths, size and appearance;
    appearance separates faces that are close to each other.
    """

    def __init__(self, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._frame_interval = FrameInterval(max_age_seconds)
        self._tracks: list[Track] = []
        self._next_id = 0
        self._size: tuple[int, int] | None = None

    def reserve_ids(self, next_id: int) -> None:
        """Give new faces ids from `next_id` on."""
        self._next_id = max(self._next_id, next_id)

    def state(self) -> dict[str, Any]:
        """Return a JSON-serializable state for `restore`."""
        return {
            "next_id": self._next_id,
            "tracks": [track.to_dict() for track in self._tracks],
            "frame_interval": self._frame_interval.state(),
            "size": self._size,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self._next_id = state["next_id"]
        self._tracks = [Track.from_dict(track) for track in state["tracks"]]
        self._frame_interval.restore(state["frame_interval"])
        self._size = state["size"] and (int(state["size"][0]), int(state["size"][1]))

    def watch(self, pixels: np.ndarray, seconds: float) -> bool:
        """Find abrupt changes, in which one face may replace another.

        Call this method for every frame, before `update`.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            seconds: Time of the frame.

        Returns:
            Whether faces should be detected in this frame, because the image has changed abruptly
            at a face, or the frame has another size than the one before.
        """
        is_resized = self._follow_size(pixels)
        tracks = [track for track in self._tracks if seconds - track.last_seen <= MAX_VETO_AGE]
        changed = [track for track in tracks if track.watch(pixels, seconds)]
        return is_resized or bool(changed)

    def _follow_size(self, pixels: np.ndarray) -> bool:
        """Scale all tracks if the size of frames has changed, as in video calls; return whether."""
        before, (height, width) = self._size, pixels.shape[:2]
        self._size = width, height
        if before in (None, self._size):
            return False
        for track in self._tracks:
            track.scale(width / before[0], height / before[1])
        return True

    def end_tracks(self) -> None:
        """Give every face of the next frame a new id, because a new shot begins."""
        self._tracks = []

    def update(self, pixels: np.ndarray, seconds: float, boxes: Sequence[Box]) -> list[int]:
        """Track the detections of the next frame.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            seconds: Time of the frame; an earlier time than before starts new tracks.
            boxes: The detected boxes.

        Returns:
            The face id of each box.
        """
        if self._tracks and seconds < max(track.last_seen for track in self._tracks):
            self._tracks = []
        self._follow_size(pixels)
        max_age = self._frame_interval.update(seconds)
        self._tracks = [t for t in self._tracks if seconds - t.last_seen <= max_age]
        encoded = [_encode(box) for box in boxes]
        appearances = [_appearance(pixels, box) for box in boxes]
        ids = [-1] * len(boxes)
        crowded = self._crowded(seconds)
        for track, k in self._match(seconds, encoded, appearances, pixels.shape, crowded):
            track.update(encoded[k], appearances[k], seconds)
            ids[k] = track.face_id
        for k, (box, appearance) in enumerate(zip(encoded, appearances, strict=True)):
            if ids[k] < 0:
                ids[k] = self._next_id
                self._add(self._next_id, box, appearance, seconds)
                self._next_id += 1
        return ids

    def replay(self, pixels: np.ndarray, seconds: float, faces: Sequence[Face]) -> None:
        """Update the tracks with a frame whose face ids an earlier run has assigned."""
        self._follow_size(pixels)
        self._frame_interval.update(seconds)
        tracks = {track.face_id: track for track in self._tracks}
        for face in faces:
            box, appearance = _encode(face.box), _appearance(pixels, face.box)
            if track := tracks.get(face.face_id):
                track.update(box, appearance, seconds)
            else:
                self._add(face.face_id, box, appearance, seconds)
            self._next_id = max(self._next_id, face.face_id + 1)

    def _add(self, face_id: int, box: np.ndarray, appearance: np.ndarray, seconds: float) -> None:
        track = Track(face_id, box, np.zeros(4), appearance, seconds, appearance)
        self._tracks.append(track)

    def _crowded(self, seconds: float) -> set[int]:
        """Return the ids of faces that were recently near another face, which may hide them."""
        tracks = [t for t in self._tracks if seconds - t.last_seen <= CROWDED_SECONDS]
        return {
            face_id
            for a, b in combinations(tracks, 2)
            if _distance(a.box, b.box) < CROWDED_DISTANCE
            for face_id in (a.face_id, b.face_id)
        }

    def _match(
        self,
        seconds: float,
        boxes: list[np.ndarray],
        appearances: list[np.ndarray],
        shape: tuple[int, ...],
        crowded: Set[int],
    ) -> list[tuple[Track, int]]:
        """Match greedily by cost; return pairs of a track and the index of its detection."""
        costs = []
        for t, track in enumerate(self._tracks):
            predicted = track.predict(seconds, shape[1], shape[0])
            age = seconds - track.last_seen
            for k, (box, appearance) in enumerate(zip(boxes, appearances, strict=True)):
                if track.face_id not in crowded and track.is_replaced(appearance, seconds):
                    continue
                distance = _distance(predicted, box)
                if distance <= min(BASE_DISTANCE + DISTANCE_PER_SECOND * age, MAX_DISTANCE):
                    size_change = abs(predicted[2:] - box[2:]).max()
                    dissimilarity = 1 - _similarity(track.appearance, appearance)
                    costs.append((distance + size_change + dissimilarity, t, k))
        matches: list[tuple[Track, int]] = []
        matched_tracks: set[int] = set()
        matched_boxes: set[int] = set()
        for _, t, k in sorted(costs):
            if t not in matched_tracks and k not in matched_boxes:
                matched_tracks.add(t)
                matched_boxes.add(k)
                matches.append((self._tracks[t], k))
        return matches


def _encode(box: Box) -> np.ndarray:
    """Convert a box to the form in `Track.box`."""
    x, y, w, h = box
    return np.array([x + w / 2, y + h / 2, math.log(max(w, 1)), math.log(max(h, 1))])


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of the centers of two encoded boxes, in widths of the wider box."""
    return float(np.hypot(*(a[:2] - b[:2])) / math.exp(max(a[2], b[2])))


def _similarity(a: np.ndarray, b: np.ndarray) -> float:
    """Return the correlation of two appearances, -1 to 1."""
    return float((a * b).sum())


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two appearances differ; False if one of them shows too little."""
    return bool(a.any() and b.any()) and _similarity(a, b) < MIN_SIMILARITY


def _appearance(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the normalized thumbnail of a box and its margin; zeros if outside the image."""
    return _centered(_thumbnail(pixels, box))


def _thumbnail(pixels: np.ndarray, box: Box) -> np.ndarray:
    """Return the gray thumbnail of a box and its margin: (16, 16) float32."""
    height, width = pixels.shape[:2]
    x, y, w, h = box
    dx, dy = APPEARANCE_MARGIN * w, APPEARANCE_MARGIN * h
    left, right = (int(min(max(v, 0), width)) for v in (x - dx, x + w + dx))
    top, bottom = (int(min(max(v, 0), height)) for v in (y - dy, y + h + dy))
    if right <= left or bottom <= top:
        return np.zeros((APPEARANCE_SIDE, APPEARANCE_SIDE), np.float32)
    # Subsampling large faces is much faster and hardly changes the mean of an area.
    stride = max(1, min(right - left, bottom - top) // (SAMPLES_PER_PIXEL * APPEARANCE_SIDE))
    crop = pixels[top:bottom:stride, left:right:stride]
    return resize.area(crop, (APPEARANCE_SIDE, APPEARANCE_SIDE)).astype(np.float32).mean(2)


def _centered(thumbnail: np.ndarray) -> np.ndarray:
    """Normalize to mean 0 and norm 1, to ignore lighting; zeros if it shows too little."""
    if thumbnail.std() < MIN_THUMBNAIL_STD:
        return np.zeros_like(thumbnail)
    return _normalize(thumbnail - thumbnail.mean())


def _normalize(values: np.ndarray) -> np.ndarray:
    return values / max(float(np.sqrt((values**2).sum())), 1e-6)
