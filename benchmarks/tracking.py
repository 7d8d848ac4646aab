"""How well faces are followed in clips with known truth: ids, boxes, flicker. Writes results/.

python benchmarks/tracking.py --data fer2013/        # eight scenarios, three seeds each
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import clips
import numpy as np

from mien import Analyzer
from mien.faces import Face, Frame
from mien.lab import runs

ROOT = Path(__file__).parent.parent


def follow(
    analyzer: Analyzer, scenario: str, cast: clips.data.Samples, seed: int
) -> tuple[list[clips.Truth], list[list[Face]]]:
    """What is true of each frame of a clip, and the faces found in it."""
    truths: list[clips.Truth] = []

    def frames() -> Iterator[Frame]:
        for number, (pixels, truth) in enumerate(clips.frames(scenario, cast, seed=seed)):
            truths.append(truth)
            yield Frame(pixels, scenario, number, truth.seconds)

    return truths, [faces for _, faces in analyzer.follow(frames())]


def scores(truths: list[clips.Truth], found: list[list[Face]]) -> dict[str, float]:
    """The numbers of one clip."""
    asked, answered = clips.fair(truths, [{f.face_id: f.box for f in faces} for faces in found])
    seen = sum(map(len, asked))
    hit = sum(len(clips.matched(a, b)) for a, b in zip(asked, answered, strict=True))
    return {
        "faces": len({who for boxes in asked for who in boxes}),
        "ids": len({who for boxes in answered for who in boxes}),
        "switches": clips.id_switches(asked, answered),
        "id_f1": clips.id_f1(asked, answered),
        "recall": hit / seen if seen else 1.0,
        "overlap": clips.box_overlap(asked, answered),
        **flicker(truths, found),
    }


def flicker(truths: list[clips.Truth], found: list[list[Face]]) -> dict[str, float]:
    """Changes of the dominant emotion a second: true, by the frame alone, and smoothed."""
    shown: dict[str, dict[int, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
    for truth, faces in zip(truths, found, strict=True):
        for one in truth.faces:
            shown["true"][one.identity].append((truth.seconds, one.emotion))
        for face in faces:
            smoothed = face.smoothed or face.emotions
            best = max(smoothed, key=smoothed.__getitem__)
            shown["raw"][face.face_id].append((truth.seconds, face.dominant_emotion))
            shown["smoothed"][face.face_id].append((truth.seconds, best))
    return {
        f"changes_{kind}": float(
            np.mean(
                [
                    clips.changes_per_second([label for _, label in one], [s for s, _ in one])
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
    analyzer, cast = Analyzer(), clips.cast(asked.data)
    rows = {}
    for scenario in clips.SCENARIOS:
        each = [scores(*follow(analyzer, scenario, cast, seed)) for seed in range(asked.seeds)]
        rows[scenario] = {
            name: sum(one[name] for one in each) if name == "switches"
            else float(np.mean([one.get(name, np.nan) for one in each]))
            for name in each[0]
        }  # fmt: skip
        print(scenario, {name: round(value, 3) for name, value in rows[scenario].items()})
    found = {"rows": rows, "seeds": asked.seeds, "size": [640, 360], "measured": runs.about()}
    text = json.dumps(found, indent=1).replace("NaN", "null")
    (ROOT / "results" / "tracking.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
