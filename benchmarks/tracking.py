"""How well faces are followed in clips with known truth: ids, boxes, flicker. Writes results/.

python benchmarks/tracking.py --data fer2013/        # eight scenarios, three seeds each
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mien import Analyzer
from mien.lab import runs
from mien.results import Face, Frame, Result
from mien.tracking import bidirectional
from tests.synthetic import clips, scenarios, tracking_scores

ROOT = Path(__file__).parent.parent


def follow(
    analyzer: Analyzer, scenario: str, cast: clips.data.Samples, seed: int
) -> tuple[list[clips.Truth], list[Result], list[Result]]:
    """What is true of each frame of a clip, the faces found in it, and those when watched twice."""
    truths: list[clips.Truth] = []

    def frames() -> Iterator[Frame]:
        for number, (pixels, truth) in enumerate(clips.frames(scenario, cast, seed=seed)):
            truths.append(truth)
            yield Frame(pixels, scenario, number, truth.seconds)

    found = list(analyzer.session().stream(frames()))
    again = bidirectional.smooth(found, [result.frame for result in found])
    return truths, found, list(again)


def scores(truths: list[clips.Truth], found: list[Result], again: list[Result]) -> dict[str, float]:
    """The numbers of one clip."""
    asked, answered = tracking_scores.without_hidden(
        truths, [{f.face_id: f.box for f in faces} for faces in found]
    )
    seen = sum(map(len, asked))
    hit = sum(len(tracking_scores.match_boxes(a, b)) for a, b in zip(asked, answered, strict=True))
    return {
        "faces": len({who for boxes in asked for who in boxes}),
        "ids": len({who for boxes in answered for who in boxes}),
        "switches": tracking_scores.id_switches(asked, answered),
        "id_f1": tracking_scores.id_f1(asked, answered),
        "recall": hit / seen if seen else 1.0,
        "overlap": tracking_scores.box_overlap(asked, answered),
        **flicker(truths, found, again),
        **right(truths, found, again),
    }


def strongest(face: Face) -> str:
    """The dominant emotion after smoothing."""
    shown = face.smoothed or face.emotions
    return max(shown, key=shown.__getitem__)


def right(truths: list[clips.Truth], found: list[Result], again: list[Result]) -> dict[str, float]:
    """How often the dominant emotion is the label of the picture shown, of the faces found."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for truth, faces, later in zip(truths, found, again, strict=True):
        said = {face.face_id: face for face in faces}
        both = {face.face_id: face for face in later}
        emotions = {one.identity: one.emotion for one in truth.faces}
        boxes = {face.face_id: face.box for face in faces}
        for identity, face_id in tracking_scores.match_boxes(truth.boxes, boxes).items():
            hits["raw"].append(said[face_id].dominant_emotion == emotions[identity])
            hits["smoothed"].append(strongest(said[face_id]) == emotions[identity])
            hits["twice"].append(strongest(both[face_id]) == emotions[identity])
    return {f"right_{kind}": float(np.mean(some)) for kind, some in hits.items()}


def flicker(
    truths: list[clips.Truth], found: list[Result], again: list[Result]
) -> dict[str, float]:
    """Changes of the dominant emotion a second: true, by frame alone, smoothed, watched twice."""
    shown: dict[str, dict[int, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
    for truth, faces, later in zip(truths, found, again, strict=True):
        for one in truth.faces:
            shown["true"][one.identity].append((truth.seconds, one.emotion))
        for face in faces:
            shown["raw"][face.face_id].append((truth.seconds, face.dominant_emotion))
            shown["smoothed"][face.face_id].append((truth.seconds, strongest(face)))
        for face in later:
            shown["twice"][face.face_id].append((truth.seconds, strongest(face)))
    return {
        f"changes_{kind}": float(
            np.mean(
                [
                    tracking_scores.changes_per_second(
                        [label for _, label in one], [s for s, _ in one]
                    )
                    for one in lines.values()
                    if len(one) > 25
                ]
            )
        )
        for kind, lines in shown.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    analyzer, cast = Analyzer(), clips.load_faces(asked.data)
    rows = {}
    for scenario in scenarios.SCENARIOS:
        each = [scores(*follow(analyzer, scenario, cast, seed)) for seed in range(asked.seeds)]
        over = {
            name: np.sum(numbers) if name == "switches" else np.mean(numbers)
            for name in each[0]
            if (numbers := [one.get(name, np.nan) for one in each])
        }
        print(scenario, {name: round(float(value), 3) for name, value in over.items()})
        # In a clip without faces there is nothing to measure, and so no number.
        rows[scenario] = {n: None if np.isnan(v) else v.item() for n, v in over.items()}
    found = {"rows": rows, "seeds": asked.seeds, "size": [640, 360], "measured": runs.about()}
    runs.write_json(ROOT / "results" / "tracking.json", found)


if __name__ == "__main__":
    main()
