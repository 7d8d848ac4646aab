"""Face ids of people who are replaced, swapped or dissolve without a cut, and of those who stay."""

from collections import defaultdict

import pytest

from mien.detection import yunet
from mien.tracking.face_dissolves import FaceDissolveDetector
from mien.tracking.track import Track
from mien.tracking.tracker import Tracker
from tests.synthetic import film, replacements, shots


@pytest.fixture(scope="module")
def detect():
    return yunet.load()


def ids_by_center(detect, clip):
    """For each frame: horizontal center of each face -> face id, and the replaced centers."""
    tracker = Tracker()
    for pixels, seconds, replaced in shots.compressed(clip):
        boxes = [detection.box for detection in detect(pixels)]
        tracker.add_frame(pixels, seconds)
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


def test_most_people_who_dissolve_into_others_have_new_ids_by_the_end(detect):
    longest = round(replacements.DISSOLVE_SECONDS[1] * film.FPS)
    dissolved = 0
    new_ids = 0
    for seed in range(3):
        history = []
        clip = replacements.frames("dissolving_people", seed, seconds=12)
        for ids, replaced in ids_by_center(detect, clip):
            history.append(ids)
            for x in replaced:
                # One frame more than the longest dissolve, whose end is rounded up to a frame.
                before = history[-1 - (longest + 1)]
                old, new = id_at(before, x), id_at(ids, x)
                if None not in (old, new):
                    dissolved += 1
                    new_ids += old != new
    assert dissolved >= 5
    assert new_ids >= 0.5 * dissolved


def test_most_people_who_replace_an_absent_face_have_new_ids(detect):
    replaced_count = new_ids = 0
    for seed in range(3):
        before, is_pending = None, False
        clip = replacements.frames("absent_and_replaced", seed, seconds=8)
        for ids, replaced in ids_by_center(detect, clip):
            is_pending = is_pending or bool(replaced)
            now = next(iter(ids.values())) if len(ids) == 1 else None
            if now is not None and is_pending:
                replaced_count += 1
                new_ids += now != before
                is_pending = False
            before = before if now is None else now
    assert replaced_count >= 6
    assert new_ids >= 0.6 * replaced_count


@pytest.mark.parametrize("kind", ["hand", "head_turn", "expression", "absent_and_returned"])
def test_nothing_that_happens_to_one_face_is_taken_for_another_person(detect, kind, monkeypatch):
    clips = [list(replacements.frames(kind, seed, seconds=6)) for seed in range(2)]

    def id_counts():
        for clip in clips:
            yield len({k for ids, _ in ids_by_center(detect, clip) for k in ids.values()})

    counts = list(id_counts())
    # Without these checks, a face has a new id only if it was not detected for too long.
    monkeypatch.setattr(Track, "is_other_face", lambda *_: False)
    monkeypatch.setattr(FaceDissolveDetector, "is_dissolved", lambda *_: False)
    assert counts == list(id_counts())
