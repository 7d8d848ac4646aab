"""Tracking: assigns detections of successive frames to face ids.

Uses only the current and earlier frames, so live streams and files are tracked in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mien.results import Box, Face
from mien.tracking.appearance import Appearance, correlation
from mien.tracking.face_dissolves import FaceDissolveDetector
from mien.tracking.frame_interval import MAX_AGE_SECONDS, FrameInterval
from mien.tracking.track import Track, encode

MAX_REPLACEMENT_AGE = 0.5
"""Maximum seconds since the latest detection of a face that another face replaces."""

CROWDED_DISTANCE, CROWDED_SECONDS = 1.0, 0.5
"""If two faces that were both detected within `CROWDED_SECONDS` are less than `CROWDED_DISTANCE`
face widths apart, a detection that looks like another face (`Track.is_other_face`) can still be
matched to them: one may have passed in front of the other."""

BASE_DISTANCE, DISTANCE_PER_SECOND, MAX_DISTANCE = 0.6, 5.0, 2.4
"""Gating: the maximum distance of a detection from the predicted position, in face widths, is
min(BASE_DISTANCE + DISTANCE_PER_SECOND * seconds since the last detection, MAX_DISTANCE)."""


class Tracker:
    """Assigns face ids to the detections of successive frames; ids are never reused.

    Each track has an alpha-beta filter, whose velocity decays while the face is not detected.
    Detections are matched to tracks by distance from the predicted position in face widths, size
    and appearance; appearance separates faces that are close to each other.

    Args:
        max_age_seconds: Maximum seconds since the last detection of a track; longer if frames are
            far apart (`FrameInterval`).
    """

    def __init__(self, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._frame_interval = FrameInterval(max_age_seconds)
        self._dissolves = FaceDissolveDetector()
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
            "dissolves": self._dissolves.state(),
            "size": self._size,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore a state that `state` returned."""
        self._next_id = state["next_id"]
        self._tracks = [Track.from_dict(track) for track in state["tracks"]]
        self._frame_interval.restore(state["frame_interval"])
        self._dissolves.restore(state["dissolves"])
        self._size = state["size"] and (int(state["size"][0]), int(state["size"][1]))

    def add_frame(self, pixels: np.ndarray, seconds: float) -> bool:
        """Add the next frame, and find abrupt changes, in which one face may replace another.

        Call this method for every frame, also for those without detections, before `update`.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            seconds: Time of the frame.

        Returns:
            Whether faces should be detected in this frame, because the image has changed abruptly
            at a face, or the frame has another size than the one before.
        """
        is_resized = self._follow_size(pixels)
        self._dissolves.add(pixels, seconds)
        changed = [
            track.find_change(pixels, seconds)
            for track in self._tracks
            if seconds - track.last_seen <= MAX_REPLACEMENT_AGE
        ]
        return is_resized or any(changed)

    def _follow_size(self, pixels: np.ndarray) -> bool:
        """Scale all tracks if the size of frames has changed, as in video calls.

        Returns:
            Whether it has changed.
        """
        before, (height, width) = self._size, pixels.shape[:2]
        self._size = width, height
        if before in (None, self._size):
            return False
        self._dissolves.reset()
        for track in self._tracks:
            track.scale(width / before[0], height / before[1])
        return True

    def end_tracks(self) -> None:
        """Give every face of the next frame a new id, because a new shot begins."""
        self._tracks = []
        self._dissolves.reset()

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
        self._end_dissolved_tracks(pixels, seconds, boxes)
        encoded = [encode(box) for box in boxes]
        appearances = [Appearance.of(pixels, box) for box in boxes]
        ids = [-1] * len(boxes)
        for track, k in self._match(seconds, encoded, appearances, pixels.shape):
            track.update(encoded[k], appearances[k], seconds)
            ids[k] = track.face_id
        self._count_missed(seconds)
        for k, (box, appearance) in enumerate(zip(encoded, appearances, strict=True)):
            if ids[k] < 0:
                ids[k] = self._next_id
                self._tracks.append(Track.begin(self._next_id, box, appearance, seconds))
                self._next_id += 1
        return ids

    def replay(self, pixels: np.ndarray, seconds: float, faces: Sequence[Face]) -> None:
        """Update the tracks with a frame whose face ids an earlier run has assigned."""
        self._follow_size(pixels)
        self._frame_interval.update(seconds)
        tracks = {track.face_id: track for track in self._tracks}
        new_boxes = [face.box for face in faces if face.face_id not in tracks]
        self._end_dissolved_tracks(pixels, seconds, new_boxes)
        for face in faces:
            box, appearance = encode(face.box), Appearance.of(pixels, face.box)
            if track := tracks.get(face.face_id):
                track.update(box, appearance, seconds)
            else:
                self._tracks.append(Track.begin(face.face_id, box, appearance, seconds))
            self._next_id = max(self._next_id, face.face_id + 1)
        self._count_missed(seconds)

    def _count_missed(self, seconds: float) -> None:
        for track in self._tracks:
            if track.last_seen < seconds:
                track.missed += 1

    def _was_alone(self, track: Track) -> bool:
        """Return whether no other face was near when a face was last seen."""
        return not any(
            other is not track
            and other.first_seen <= track.last_seen <= other.last_seen + CROWDED_SECONDS
            and _distance(track.box, other.box) < CROWDED_DISTANCE
            for other in self._tracks
        )

    def _end_dissolved_tracks(
        self, pixels: np.ndarray, seconds: float, boxes: Sequence[Box]
    ) -> None:
        """End the tracks of faces that have dissolved into others, which are at the same place."""
        height, width = pixels.shape[:2]
        self._tracks = [
            track
            for track in self._tracks
            if not any(
                _distance(track.predict(seconds, width, height), encode(box)) <= BASE_DISTANCE
                and self._dissolves.is_dissolved(box, track.recent_boxes, width, height)
                for box in boxes
            )
        ]

    def _match(
        self,
        seconds: float,
        boxes: list[np.ndarray],
        appearances: list[Appearance],
        shape: tuple[int, ...],
    ) -> list[tuple[Track, int]]:
        """Match greedily by cost; return pairs of a track and the index of its detection."""
        costs = []
        height, width = shape[:2]
        for t, track in enumerate(self._tracks):
            predicted = track.predict(seconds, width, height)
            age = seconds - track.last_seen
            for k, (box, appearance) in enumerate(zip(boxes, appearances, strict=True)):
                distance = _distance(predicted, box)
                if distance > min(BASE_DISTANCE + DISTANCE_PER_SECOND * age, MAX_DISTANCE):
                    continue
                if track.is_other_face(appearance, seconds) and self._was_alone(track):
                    continue
                size_change = abs(predicted[2:] - box[2:]).max()
                dissimilarity = 1 - correlation(track.mean_coarse, appearance.coarse)
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


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    """Return the distance of the centers of two encoded boxes, in widths of the wider box."""
    return float(np.hypot(*(a[:2] - b[:2])) / math.exp(max(a[2], b[2])))
