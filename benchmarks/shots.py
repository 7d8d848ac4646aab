"""Measure shot detection on clips with known shot boundaries. Writes results/shots.json.

python benchmarks/shots.py --jobs 2              # 27 kinds of clips, five seeds each
python benchmarks/shots.py --videos bikes.mp4    # prints the boundaries in your own videos
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from mien.io import reader
from mien.io.source import Source
from mien.lab import runs
from mien.tracking.shots import ShotDetector
from tests.synthetic import film, shots

ROOT = Path(__file__).parent.parent

SECONDS = {"low_rate": 120.0, "cut_at_low_rate": 120.0}
"""Length in seconds of clips with a tenth of the frame rate; other clips have 20 seconds."""

FIRST_SEED = 360
"""First seed of the measured clips. All thresholds were chosen on other seeds, below this."""

MAX_DELAY = 0.1
"""A boundary at most this many seconds after a cut or the end of a transition is correct."""

MAX_TRANSITION = 3.0
"""Length in seconds of the longest gradual transition; a boundary during one is correct too."""


def measure(kind: str, seed: int) -> dict[str, float]:
    """Count cuts, detected cuts, cuts detected late, and false boundaries of one clip.

    In clips of gradual transitions, the ends of the transitions count as cuts.
    """
    detector = ShotDetector()
    cuts, boundaries, times = [], [], []
    for pixels, seconds, is_cut in shots.compressed(
        shots.frames(kind, seed, SECONDS.get(kind, 20.0))
    ):
        times.append(seconds)
        cuts += [seconds] * is_cut
        boundaries += [seconds] * detector.update(pixels, seconds)
    delays = match(cuts, boundaries, MAX_TRANSITION if kind in shots.GRADUAL else 0.0)
    return {
        "cuts": len(cuts),
        "detected": len(delays),
        "late": sum(delay > 0 for delay in delays),
        "false": len(boundaries) - len(delays),
        "frames": len(times),
        "minutes": times[-1] / 60,
    }


def match(cuts: list[float], boundaries: list[float], max_lead: float) -> list[float]:
    """Return the delays of the first correct boundaries of cuts, in seconds; early is negative."""
    delays, remaining = [], list(boundaries)
    for cut in cuts:
        correct = [t for t in remaining if cut - max_lead <= t <= cut + MAX_DELAY]
        if correct:
            delays.append(correct[0] - cut)
            remaining = [t for t in remaining if t > correct[0]]
    return delays


def cost(width: int = 1280, height: int = 720, frames: int = 200) -> dict[str, float]:
    """Measure CPU milliseconds per frame for a still picture, a fast pan, and cuts."""
    photos = film.photographs()
    first, second = (
        np.ascontiguousarray(np.tile(photos[k], (2, 4, 1))[:height, :width]) for k in (1, 2)
    )
    costs = {}
    for name, other in (("still", first), ("pan", np.roll(first, 300, 1)), ("cut", second)):
        detector, times = ShotDetector(), []
        for k in range(frames):
            began = time.thread_time()
            detector.update((first, other)[k % 2], k / 25)
            times.append(time.thread_time() - began)
        costs[name] = round(1000 * float(np.median(times)), 3)
    return costs


def total(rows: list[dict[str, float]]) -> dict[str, float]:
    """Sum rows of counts."""
    return {name: float(sum(row[name] for row in rows)) for name in rows[0]}


def summary(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Summarize the measured kinds; a figure without any clip is left out."""
    hard, other, gradual = (
        [row for kind, row in rows.items() if kind in kinds and kind != "person_replaced"]
        for kinds in (shots.CUTS, shots.NO_CUTS, shots.GRADUAL)
    )
    figures = {}
    if hard:
        figures["recall"] = total(hard)["detected"] / total(hard)["cuts"]
    if gradual:
        figures["gradual_recall"] = total(gradual)["detected"] / total(gradual)["cuts"]
    if other:
        figures["false_per_ten_minutes"] = 10 * total(other)["false"] / total(other)["minutes"]
        figures["minutes_without_cuts"] = total(other)["minutes"]
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="*", default=list(shots.KINDS), choices=list(shots.KINDS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--videos", nargs="*", default=[])
    args = parser.parse_args()
    for path in args.videos:
        detector = ShotDetector()
        frames = reader.frames(Source.parse(path))
        print(path, [f.seconds for f in frames if detector.update(f.pixels, f.seconds)])
    if args.videos:
        return
    rows = {}
    seeds = range(FIRST_SEED, FIRST_SEED + args.seeds)
    with ProcessPoolExecutor(args.jobs) as pool:
        clips = {kind: [pool.submit(measure, kind, seed) for seed in seeds] for kind in args.kinds}
        for kind, each in clips.items():
            rows[kind] = total([one.result() for one in each])
            print(kind, {name: round(value, 2) for name, value in rows[kind].items()}, flush=True)
    measured = {
        "rows": rows,
        **summary(rows),
        "milliseconds_1280x720": cost(),
        "held_out_seeds": list(seeds),
        "size": list(film.SIZE),
        "environment": runs.environment(),
    }
    print({name: value for name, value in measured.items() if name != "rows"})
    runs.write_json(ROOT / "results" / "shots.json", measured)


if __name__ == "__main__":
    main()
