"""Faces over frames: who is who, and what they show, smoothed.

Nothing here looks at a later frame, so that the live path and the path over files are the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.io import resize
from mien.results import Box, Face

MAX_AGE_SECONDS = 1.5
"""Seconds for which a face that is not seen keeps its id."""

STEPS = 2.5
"""If moments are far apart, as when one frame in two seconds is read, patience is so many steps."""

MOMENTUM = 2.0
"""Seconds after which a face that is not seen is thought to have lost most of its pace."""

LOOK = 16
"""Pixels of the side of the small grey picture by which a face is known again."""

SAMPLES = 8
"""Pixels in each direction that suffice for one pixel of that picture."""

REACH, SPEED, FAR = 0.6, 5.0, 2.4
"""Face widths from where it should be at which a face may be found: so many, so many more for each
second unseen, and never more than so many. Beyond is another face."""


@dataclass(slots=True)
class Track:
    """A face that is being followed.

    place: (4,) centre x and y in pixels, logarithms of width and height. pace: its change a second.
    look: (LOOK, LOOK), mean 0 and length 1. seen: seconds of the last sighting.
    """

    face_id: int
    place: np.ndarray
    pace: np.ndarray
    look: np.ndarray
    seen: float

    def to_dict(self) -> dict[str, Any]:
        """The track as a dictionary that JSON can hold."""
        return {
            "face_id": self.face_id,
            "place": self.place.tolist(),
            "velocity": self.pace.tolist(),
            "appearance": self.look.tolist(),
            "seen": self.seen,
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Track:
        """The track that `to_dict` gave."""
        return cls(
            state["face_id"],
            np.array(state["place"], np.float64),
            np.array(state["velocity"], np.float64),
            np.array(state["appearance"], np.float32),
            state["seen"],
        )

    def ahead(self, seconds: float, wide: int, high: int) -> np.ndarray:
        """Where it should be by now, if it goes on for a while and then stops, or at the edge.

        Who leaves the picture comes back where it was left.
        """
        gone = MOMENTUM * (1 - math.exp(-(seconds - self.seen) / MOMENTUM))
        there = self.place + self.pace * gone
        there[:2] = there[:2].clip(0, (wide, high))
        return there


class Rhythm:
    """How far apart moments usually come, to tell whether somebody is away or not looked for."""

    def __init__(self, patience: float = MAX_AGE_SECONDS) -> None:
        self._patience = patience
        self._last = math.nan
        self._steps = (0.0, 0.0)

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from; JSON can hold it."""
        last = None if math.isnan(self._last) else self._last
        return {"last": last, "steps": list(self._steps)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._last = math.nan if state["last"] is None else state["last"]
        first, second = state["steps"]
        self._steps = (first, second)

    def __call__(self, seconds: float) -> float:
        """Take in the next moment; the seconds that one may be unseen by now and still be there.

        A single long step is a pause, and changes nothing.
        """
        if seconds > self._last:
            step = seconds - self._last
            self._steps = (self._steps[1] or step, step)
        self._last = seconds
        return max(self._patience, STEPS * min(self._steps))


class Tracker:
    """Gives the faces of successive frames their ids; the ids of a tracker are never used twice.

    A constant-velocity filter per face (Bar-Shalom's alpha-beta) says where it should be; distance
    in face widths, size and look say which it is. Faces that are close are told apart by look.
    """

    def __init__(self, patience: float = MAX_AGE_SECONDS) -> None:
        self._rhythm = Rhythm(patience)
        self._tracks: list[Track] = []
        self._next = 0

    def reserve_ids(self, count: int) -> None:
        """Give new faces ids from `count` on."""
        self._next = max(self._next, count)

    def state(self) -> dict[str, Any]:
        """What `restore` goes on from; JSON can hold it."""
        tracks = [track.to_dict() for track in self._tracks]
        return {"next_id": self._next, "tracks": tracks, "intervals": self._rhythm.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._next = state["next_id"]
        self._tracks = [Track.from_dict(track) for track in state["tracks"]]
        self._rhythm.restore(state["intervals"])

    def follow(self, pixels: np.ndarray, seconds: float, boxes: Sequence[Box]) -> list[int]:
        """The id of each box on a frame: (H, W, 3) uint8, its time, boxes -> as many ids.

        Frames come in the order of time; a jump back (another file) starts afresh.
        """
        if self._tracks and seconds < max(track.seen for track in self._tracks):
            self._tracks = []
        patience = self._rhythm(seconds)
        self._tracks = [t for t in self._tracks if seconds - t.seen <= patience]
        places = [_place(box) for box in boxes]
        looks = [_look(pixels, box) for box in boxes]
        ids = [-1] * len(boxes)
        for track, k in self._pairs(seconds, places, looks, pixels.shape):
            _update(track, places[k], looks[k], seconds)
            ids[k] = track.face_id
        for k, (place, look) in enumerate(zip(places, looks, strict=True)):
            if ids[k] < 0:
                ids[k] = self._next
                self._tracks.append(Track(self._next, place, np.zeros(4), look, seconds))
                self._next += 1
        return ids

    def replay(self, pixels: np.ndarray, seconds: float, faces: Sequence[Face]) -> None:
        """Take in the faces of a frame and their ids from an earlier run."""
        self._rhythm(seconds)
        known = {track.face_id: track for track in self._tracks}
        for face in faces:
            place, look = _place(face.box), _look(pixels, face.box)
            if track := known.get(face.face_id):
                _update(track, place, look, seconds)
            else:
                self._tracks.append(Track(face.face_id, place, np.zeros(4), look, seconds))
            self._next = max(self._next, face.face_id + 1)

    def _pairs(
        self,
        seconds: float,
        places: list[np.ndarray],
        looks: list[np.ndarray],
        shape: tuple[int, ...],
    ) -> list[tuple[Track, int]]:
        """Track and face, the cheapest pair first, each at most once."""
        costs = []
        for t, track in enumerate(self._tracks):
            ahead, unseen = track.ahead(seconds, shape[1], shape[0]), seconds - track.seen
            for k, (place, look) in enumerate(zip(places, looks, strict=True)):
                far = _distance(ahead, place)
                if far <= min(REACH + SPEED * unseen, FAR):
                    grown = abs(ahead[2:] - place[2:]).max()
                    unlike = 1 - float((track.look * look).sum())
                    costs.append((far + grown + unlike, t, k))
        pairs: list[tuple[Track, int]] = []
        taken_tracks: set[int] = set()
        taken: set[int] = set()
        for _, t, k in sorted(costs):
            if t not in taken_tracks and k not in taken:
                taken_tracks.add(t)
                taken.add(k)
                pairs.append((self._tracks[t], k))
        return pairs


def _place(box: Box) -> np.ndarray:
    x, y, w, h = box
    return np.array([x + w / 2, y + h / 2, math.log(max(w, 1)), math.log(max(h, 1))])


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    """Between centres, in widths of the larger face."""
    return float(np.hypot(*(one[:2] - other[:2])) / math.exp(max(one[2], other[2])))


def _look(pixels: np.ndarray, box: Box) -> np.ndarray:
    high, wide = pixels.shape[:2]
    x, y, w, h = box
    left, right = (int(min(max(v, 0), wide)) for v in (x, x + w))
    top, bottom = (int(min(max(v, 0), high)) for v in (y, y + h))
    if right <= left or bottom <= top:
        return np.zeros((LOOK, LOOK), np.float32)
    # Every second pixel of a face of 256, every third of one of 384 ... say as much of its look.
    step = max(1, min(right - left, bottom - top) // (SAMPLES * LOOK))
    small = resize.area(pixels[top:bottom:step, left:right:step], (LOOK, LOOK))
    grey = small.astype(np.float32).mean(2)
    grey -= grey.mean()
    return grey / max(float(np.sqrt((grey**2).sum())), 1e-6)


def _update(track: Track, place: np.ndarray, look: np.ndarray, seconds: float) -> None:
    """The alpha-beta step: trust a sighting, and change the pace by a part of the surprise."""
    since = max(seconds - track.seen, 1e-3)
    surprise = place - (track.place + track.pace * since)
    weight = 1 - math.exp(-since / 0.1)
    track.pace = track.pace + weight * 0.5 * surprise / since
    track.pace[2:] = track.pace[2:].clip(-1, 1)
    track.place, track.seen = place, seconds
    mixed = 0.8 * track.look + 0.2 * look
    track.look = mixed / max(float(np.sqrt((mixed**2).sum())), 1e-6)
