"""Measure shot detection on clips with known shot boundaries. Writes results/shots.json.

python benchmarks/shots.py --seeds 8 --jobs 2    # as published: 27 kinds, eight clips of each
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

SECONDS = 20.0
"""Duration of a clip."""

LOW_RATE_SECONDS = {"low_rate": 120.0, "cut_at_low_rate": 120.0}
"""Duration of the clips with a tenth of the frame rate."""

FIRST_SEED = 560
"""First seed of the measured clips. All thresholds were chosen on other seeds, below this."""

MAX_DELAY = 0.1
"""A boundary at most this many seconds after a cut or the end of a transition is correct."""

MAX_TRANSITION = 3.0
"""A boundary at most this many seconds before the end of a gradual transition is correct, too: the
duration of the longest transition."""


def measure(kind: str, seed: int) -> dict[str, float]:
    """Count cuts, detected cuts, cuts detected late, and false boundaries of one clip.

    In clips of gradual transitions, the ends of the transitions count as cuts.
    """
    detector = ShotDetector()
    cuts, boundaries, times = [], [], []
    clip = shots.frames(kind, seed, LOW_RATE_SECONDS.get(kind, SECONDS))
    for pixels, seconds, is_cut in shots.compressed(clip):
        times.append(seconds)
        if is_cut:
            cuts.append(seconds)
        if detector.update(pixels, seconds):
            boundaries.append(seconds)
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
    """Match cuts with boundaries.

    Args:
        cuts: Times of the cuts in seconds, in order.
        boundaries: Times of the detected boundaries in seconds, in order.
        max_lead: Seconds by which a boundary may precede its cut.

    Returns:
        For each detected cut, the seconds from the cut to the first correct boundary; negative if
        the boundary is earlier.
    """
    delays, remaining = [], list(boundaries)
    for cut in cuts:
        correct = [t for t in remaining if cut - max_lead <= t <= cut + MAX_DELAY]
        if correct:
            delays.append(correct[0] - cut)
            remaining = [t for t in remaining if t > correct[0]]
    return delays


def cost(width: int = 1280, height: int = 720, frames: int = 200) -> dict[str, float]:
    """Measure the CPU milliseconds per frame for a still image, a fast pan, and cuts.

    Args:
        width: Width of the frames in pixels.
        height: Height of the frames in pixels.
        frames: Number of frames.
    """
    # The photographs have 480 rows, so they are repeated.
    first, second = (
        np.ascontiguousarray(np.tile(photo, (2, 4, 1))[:height, :width])
        for photo in film.photographs()[1:3]
    )
    costs = {}
    for name, other in (("still", first), ("pan", np.roll(first, 300, 1)), ("cut", second)):
        detector, times = ShotDetector(), []
        for k in range(frames):
            began = time.thread_time()
            detector.update(first if k % 2 == 0 else other, k / 25)
            times.append(time.thread_time() - began)
        costs[name] = round(1000 * float(np.median(times)), 3)
    return costs


def total(rows: list[dict[str, float]]) -> dict[str, float]:
    """Sum the counts of several clips."""
    return {name: float(sum(row[name] for row in rows)) for name in rows[0]}


def summary(rows: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the recall of hard cuts and of transitions, and the rate of false boundaries.

    A number is left out if no clip of its kinds was measured. `person_replaced` is not counted,
    because only the person changes, and the place stays the same.

    Args:
        rows: Kind of clips -> sums of the counts of `measure`.
    """
    hard = [row for kind, row in rows.items() if kind in shots.CUTS and kind != "person_replaced"]
    gradual = [row for kind, row in rows.items() if kind in shots.GRADUAL]
    without_cuts = [row for kind, row in rows.items() if kind in shots.NO_CUTS]
    numbers = {}
    if hard:
        counts = total(hard)
        numbers["recall"] = counts["detected"] / counts["cuts"]
    if gradual:
        counts = total(gradual)
        numbers["gradual_recall"] = counts["detected"] / counts["cuts"]
    if without_cuts:
        counts = total(without_cuts)
        numbers["false_per_ten_minutes"] = 10 * counts["false"] / counts["minutes"]
        numbers["minutes_without_cuts"] = counts["minutes"]
    return numbers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="*", default=list(shots.KINDS), choices=list(shots.KINDS))
    parser.add_argument("--seeds", type=int, default=5, help="number of clips of each kind")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes")
    parser.add_argument(
        "--videos", nargs="*", default=[], help="only print the boundaries in these videos"
    )
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
        futures = {
            kind: [pool.submit(measure, kind, seed) for seed in seeds] for kind in args.kinds
        }
        for kind, futures_of_kind in futures.items():
            rows[kind] = total([future.result() for future in futures_of_kind])
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
