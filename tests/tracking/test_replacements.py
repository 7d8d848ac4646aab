"""Face ids of people who are replaced or swapped without a cut, and of those who are not."""

from collections import defaultdict

import pytest

from mien.detection import yunet
from mien.tracking.track import Track
from mien.tracking.tracker import Tracker
from tests.synthetic import replacements, shots


@pytest.fixture(scope="module")
def detect():
    return yunet.load()


def ids_by_center(detect, clip):
    """For each frame: horizontal center of each face -> face id, and the replaced centers."""
    tracker = Tracker()
    for pixels, seconds, replaced in shots.compressed(clip):
        boxes = [detection.box for detection in detect(pixels)]
        tracker.find_changes(pixels, seconds)
        ids = tracker.update(pixels, seconds, boxes)
        yield {box[0] + box[2] / 2: k for box, k in zip(boxes, ids, strict=True)}, replaced


def id_at(ids, x, tolerance=20):
    return next((k for center, k in ids.items() if abs(center - x) < tolerance), None)


def test_most_people_who_are_replaced_or_swapped_get_new_ids(detect):
    counts = defaultdict(int)
    for seed in range(4):
        before = {}
        clip = replacements.frames("people", seed, seconds=6)
        for ids, replaced in ids_by_center(detect, clip):
            for x in replaced:
                old, new = id_at(before, x), id_at(ids, x)
                if None not in (old, new):
                    counts[old != new] += 1
            before = ids
    assert counts[True] + counts[False] > 15
    assert counts[True] > 0.7 * (counts[True] + counts[False])


@pytest.mark.parametrize("kind", ["hand", "head_turn"])
def test_a_hand_or_a_turning_head_is_not_taken_for_another_person(detect, kind, monkeypatch):
    clips = [list(replacements.frames(kind, seed, seconds=6)) for seed in range(2)]

    def id_counts():
        for clip in clips:
            yield len({k for ids, _ in ids_by_center(detect, clip) for k in ids.values()})

    counts = list(id_counts())
    monkeypatch.setattr(Track, "is_replaced", lambda *_: False)
    assert counts == list(id_counts())
