"""Evaluate tracking on synthetic clips with ground truth.

    python benchmarks/tracking.py --data fer2013/        # writes results/tracking.json

The clips are eight scenarios with three seeds each.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien import Analyzer
from mien.lab import data, runs
from mien.results import Face, Frame, Result
from mien.tracking import bidirectional
from tests.synthetic import clips, scenarios, tracking_scores

ROOT = Path(__file__).parent.parent

FPS, SIZE = 25, (640, 360)
"""Frames per second, and width and height in pixels of the clips."""


@dataclass(frozen=True)
class Clip:
    """The ground truth of a clip, and results with causal and with bidirectional smoothing."""

    truths: list[clips.Truth]
    causal: list[Result]
    bidirectional: list[Result]


def analyze(analyzer: Analyzer, scenario: str, cast: data.Samples, seed: int) -> Clip:
    """Render a clip, and track its faces."""
    truths: list[clips.Truth] = []

    def frames() -> Iterator[Frame]:
        for number, (pixels, truth) in enumerate(
            clips.frames(scenario, cast, SIZE, FPS, seed=seed)
        ):
            truths.append(truth)
            yield Frame(pixels, scenario, number, truth.seconds)

    results = list(analyzer.session().stream(frames()))
    smoothed = bidirectional.smooth_results(results, [result.frame for result in results])
    return Clip(truths, results, list(smoothed))


def scores(clip: Clip) -> dict[str, float]:
    """Compute the scores of one clip; those of faces are missing in a clip without faces."""
    target, predicted = tracking_scores.without_hidden(
        clip.truths, [{face.face_id: face.box for face in result} for result in clip.causal]
    )
    target_count = sum(map(len, target))
    match_count = sum(
        len(tracking_scores.match_boxes(a, b)) for a, b in zip(target, predicted, strict=True)
    )
    return {
        "faces": len({face_id for boxes in target for face_id in boxes}),
        "ids": len({face_id for boxes in predicted for face_id in boxes}),
        "id_switches": tracking_scores.id_switches(target, predicted),
        "id_f1": tracking_scores.id_f1(target, predicted),
        "recall": match_count / target_count if target_count else 1.0,
        "overlap": tracking_scores.box_overlap(target, predicted),
        **flicker(clip),
        **accuracy(clip),
    }


def smoothed_emotion(face: Face) -> str:
    """Return the dominant emotion after smoothing."""
    emotions = face.smoothed or face.emotions
    return max(emotions, key=emotions.__getitem__)


def accuracy(clip: Clip) -> dict[str, float]:
    """Compute the accuracy of the dominant emotion of matched faces, for FER2013's labels."""
    is_correct: dict[str, list[bool]] = defaultdict(list)
    for truth, causal, smoothed in zip(clip.truths, clip.causal, clip.bidirectional, strict=True):
        causal_faces = {face.face_id: face for face in causal}
        smoothed_faces = {face.face_id: face for face in smoothed}
        labels = {face.identity: face.emotion for face in truth.faces}
        boxes = {face.face_id: face.box for face in causal}
        for identity, face_id in tracking_scores.match_boxes(truth.boxes, boxes).items():
            label, face = labels[identity], causal_faces[face_id]
            is_correct["raw"].append(face.dominant_emotion == label)
            is_correct["smoothed"].append(smoothed_emotion(face) == label)
            is_correct["bidirectional"].append(smoothed_emotion(smoothed_faces[face_id]) == label)
    return {f"accuracy_{kind}": float(np.mean(values)) for kind, values in is_correct.items()}


def flicker(clip: Clip) -> dict[str, float]:
    """Compute the changes of the dominant emotion per second, in the ground truth and the results.

    They are averaged over faces.
    """
    points: dict[str, dict[int, list[tuple[float, str]]]] = defaultdict(lambda: defaultdict(list))
    for truth, causal, smoothed in zip(clip.truths, clip.causal, clip.bidirectional, strict=True):
        for face in truth.faces:
            points["true"][face.identity].append((truth.seconds, face.emotion))
        for face in causal:
            points["raw"][face.face_id].append((truth.seconds, face.dominant_emotion))
            points["smoothed"][face.face_id].append((truth.seconds, smoothed_emotion(face)))
        for face in smoothed:
            points["bidirectional"][face.face_id].append((truth.seconds, smoothed_emotion(face)))
    return {f"changes_{kind}": mean_changes(series) for kind, series in points.items()}


def mean_changes(series: dict[int, list[tuple[float, str]]]) -> float:
    """Return the mean changes per second over faces with more than a second of frames.

    Args:
        series: Id of a face -> time in seconds and emotion in each frame.
    """
    changes = []
    for points in series.values():
        if len(points) > FPS:
            seconds, labels = zip(*points, strict=True)
            changes.append(tracking_scores.changes_per_second(labels, seconds))
    return float(np.mean(changes))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="number of clips of each scenario")
    options = parser.parse_args()
    analyzer, cast = Analyzer(), clips.load_faces(options.data)
    rows = {}
    for scenario in scenarios.SCENARIOS:
        by_seed = [scores(analyze(analyzer, scenario, cast, seed)) for seed in range(options.seeds)]
        rows[scenario] = {}
        for name in by_seed[0]:
            values = [row.get(name, np.nan) for row in by_seed]
            value = np.sum(values) if name == "id_switches" else np.mean(values)
            # JSON has no NaN: a clip without faces has no score.
            rows[scenario][name] = None if np.isnan(value) else value.item()
        print(scenario, rows[scenario])
    result = {
        "rows": rows,
        "seeds": options.seeds,
        "size": list(SIZE),
        "environment": runs.environment(),
    }
    runs.write_json(ROOT / "results" / "tracking.json", result)


if __name__ == "__main__":
    main()
