"""Measure new face ids when people are replaced without a cut. Writes results/replaced-people.json.

python benchmarks/replaced_people.py --seeds 6 --jobs 2    # as published
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from unittest import mock

from benchmarks.shots import total
from mien import Analyzer
from mien.lab import runs
from mien.results import Frame, Result
from mien.tracking.face_dissolves import FaceDissolveDetector
from mien.tracking.track import Track
from tests.synthetic import film, replacements, shots

ROOT = Path(__file__).parent.parent

FIRST_SEED = 1360
"""First seed of the measured clips. All thresholds were chosen on other seeds, below this."""

DISSOLVES = ("dissolving_stills", "dissolving_people")
"""Kinds of clips in which a person dissolves into another one, from `replacements`."""

SAME_PEOPLE = ("hand", "head_turn", "expression", "focus_pull", "absent_and_returned", "static",
               "fast_pan", "whip_pan", "zoom", "roll", "flash", "exposure", "light_switch",
               "passer_by", "dropped_frames", "noise", "caption")  # fmt: skip
"""Kinds of clips in which nobody is replaced, from `replacements` and `shots`."""


def clip(kind: str, seed: int) -> tuple[list[Frame], list[list[float]]]:
    """Render a clip; return its frames and the centers of the replaced faces in each frame."""
    if kind in replacements.KINDS:
        rendered = replacements.frames(kind, seed)
    else:
        rendered = ((pixels, seconds, []) for pixels, seconds, _ in shots.frames(kind, seed))
    decoded = list(shots.compressed(rendered))
    frames = [
        Frame(pixels, kind, number, seconds) for number, (pixels, seconds, _) in enumerate(decoded)
    ]
    return frames, [centers for _, _, centers in decoded]


def measure_replacements(seed: int) -> dict[str, float]:
    """Count the replaced faces of a clip, and those that have a new id in the same frame.

    Only replacements in which both the old and the new face are found are counted.
    """
    frames, replaced = clip("people", seed)
    results = list(Analyzer("small").session().stream(frames))
    counts = {"replaced": 0, "new_ids": 0, "minutes": len(frames) / film.FPS / 60}
    for k, centers in enumerate(replaced):
        for x in centers:
            before, after = _ids_at(results[k - 1], x), _ids_at(results[k], x)
            if before and after:
                counts["replaced"] += 1
                counts["new_ids"] += not before & after
    return counts


def measure_dissolves(kind: str, seed: int) -> dict[str, float]:
    """Count the dissolves of a clip, and those after which the face has a new id by their end.

    Only dissolves before and after which the face is found are counted. `later_ids` are further
    new ids of the face in the second after the end.
    """
    frames, replaced = clip(kind, seed)
    results = list(Analyzer("small").session().stream(frames))
    longest = round(replacements.DISSOLVE_SECONDS[1] * film.FPS)
    counts = {"replaced": 0, "new_ids": 0, "later_ids": 0, "minutes": len(frames) / film.FPS / 60}
    for k, centers in enumerate(replaced):
        for x in centers:
            before, after = _ids_at(results[k - longest - 1], x), _ids_at(results[k], x)
            if before and after:
                counts["replaced"] += 1
                counts["new_ids"] += not before & after
                later = set.union(*(_ids_at(result, x) for result in results[k : k + film.FPS]))
                counts["later_ids"] += len(later - before - after)
    return counts


def measure_absences(seed: int) -> dict[str, float]:
    """Count the faces that appear at the place of an absent face, and those that have a new id.

    Only faces that are found before the absence and within half a second after it are counted.
    """
    frames, replaced = clip("absent_and_replaced", seed)
    results = list(Analyzer("small").session().stream(frames))
    counts = {"replaced": 0, "new_ids": 0, "minutes": len(frames) / film.FPS / 60}
    for k, centers in enumerate(replaced):
        for x in centers:
            before = _first_ids_at(reversed(results[:k]), x)
            after = _first_ids_at(results[k : k + film.FPS // 2], x)
            if before and after:
                counts["replaced"] += 1
                counts["new_ids"] += not before & after
    return counts


def measure_same_people(kind: str, seed: int) -> dict[str, float]:
    """Count the face ids of a clip that are added by the detection of replaced faces."""
    frames, _ = clip(kind, seed)
    session = Analyzer("small").session
    ids = _count_ids(session().stream(frames))
    with (
        mock.patch.object(Track, "is_other_face", return_value=False),
        mock.patch.object(FaceDissolveDetector, "is_dissolved", return_value=False),
    ):
        ids_without = _count_ids(session().stream(frames))
    return {"additional_ids": ids - ids_without, "minutes": len(frames) / film.FPS / 60}


def _ids_at(result: Result, x: float) -> set[int]:
    """Return the ids of the faces whose center is less than half their width left or right of x."""
    return {
        face.face_id for face in result if abs(face.box[0] + face.box[2] / 2 - x) < face.box[2] / 2
    }


def _first_ids_at(results: Iterable[Result], x: float) -> set[int]:
    """Return the ids at a center in the first result that has any; empty if none has."""
    for result in results:
        if ids := _ids_at(result, x):
            return ids
    return set()


def _count_ids(results: Iterator[Result]) -> int:
    return len({face.face_id for result in results for face in result})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="number of clips of each kind")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    args = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    with ProcessPoolExecutor(args.jobs) as pool:
        rows = {
            "people": total(list(pool.map(measure_replacements, seeds))),
            "absent_and_replaced": total(list(pool.map(measure_absences, seeds))),
        }
        for kind in DISSOLVES:
            rows[kind] = total(list(pool.map(measure_dissolves, [kind] * len(seeds), seeds)))
        print(rows, flush=True)
        for kind in SAME_PEOPLE:
            rows[kind] = total(list(pool.map(measure_same_people, [kind] * len(seeds), seeds)))
            print(kind, rows[kind], flush=True)
    same = total([rows[kind] for kind in SAME_PEOPLE])
    measured = {
        "rows": rows,
        "additional_ids_per_ten_minutes": 10 * same["additional_ids"] / same["minutes"],
        "minutes_without_replacement": same["minutes"],
        "held_out_seeds": list(seeds),
        "size": list(film.SIZE),
        "environment": runs.environment(),
    }
    print({name: value for name, value in measured.items() if name != "rows"})
    runs.write_json(ROOT / "results" / "replaced-people.json", measured)


if __name__ == "__main__":
    main()
