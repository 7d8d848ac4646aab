"""End analyses at random times by Ctrl-C, SIGTERM, SIGHUP and `kill -9`, and resume them.

    python benchmarks/attack/signals.py --rounds 500    # writes results/signals.json

Each round starts an analysis with three outputs, ends it, resumes it until it is complete (every
second time it is ended once more), and compares the records with those of an undisturbed run.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import media_samples
from service import RESULTS

from mien.lab import runs

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)

FRAMES = 200

TOLERANCE = 1e-4
"""Difference in pixels and shares between an undisturbed and a resumed run."""


def start(clip: Path, folder: Path, *options: str) -> subprocess.Popen:
    """Start an analysis, with resumable outputs, in a process of its own."""
    outputs = ["--to", folder / "a.jsonl", "--to", folder / "a.csv"]
    command = ["analyze", clip, "--detector", "whole", *outputs, *options]
    # A background process may ignore Ctrl-C, and its children inherit that.
    return subprocess.Popen(
        [sys.executable, "-m", "mien", *map(str, command)], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def end(process: subprocess.Popen, number: int, folder: Path, *, twice: bool) -> list[str]:
    """Send a signal to a run; return what is wrong with how the run ended."""
    for _ in range(1 + twice):
        if process.poll() is None:
            process.send_signal(number)
        time.sleep(0.001)
    try:
        error = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [f"{signal.Signals(number).name}: hang"]
    expected = {0, -number, 128 + number}  # it was complete, or had not begun
    # Before mien's first line runs, Python itself answers Ctrl-C with a traceback and exit code 1.
    if number == signal.SIGINT and "Traceback" in error and "mien/__main__.py" not in error:
        return []
    problems = []
    if process.returncode not in expected:
        problems.append(f"exit code {process.returncode}: {error.strip()[-200:]}")
    if "Traceback" in error:
        problems.append("traceback")
    if number != signal.SIGKILL and list(folder.glob(".mien-*")):
        problems.append("temporary file left")
    return [f"{signal.Signals(number).name}: {problem}" for problem in problems]


def play(clip: Path, folder: Path, seconds: float, rng: random.Random) -> tuple[int, list[str]]:
    """End and resume one analysis; return the number of signals and the problems."""
    process = start(clip, folder, "--to", str(folder / "a.html"))
    problems: list[str] = []
    count = 1 + (rng.random() < 0.5)
    for _ in range(count):
        time.sleep(rng.uniform(0, 1.1 * seconds))
        number, twice = rng.choice(SIGNALS), rng.random() < 0.5
        problems += end(process, number, folder, twice=twice and number != signal.SIGINT)
        process = start(clip, folder, "--resume")
    error = process.communicate()[1]
    if process.returncode:
        problems.append(f"resume: exit code {process.returncode}: {error.strip()[-200:]}")
    if left := [
        path.name for path in folder.iterdir() if path.suffix not in (".jsonl", ".csv", ".html")
    ]:
        problems.append(f"resume: {left[0]} left")
    return count, problems


def is_equal(one: object, other: object) -> bool:
    """Whether two records are equal, apart from rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(is_equal(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_equal, one, other))
    if isinstance(one, float) and isinstance(other, int | float):
        return abs(one - other) <= TOLERANCE
    return one == other


def records(path: Path) -> list[dict]:
    """Read the records of a run; none if it wrote no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description="End analyses at random times.")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=RESULTS / "signals.json")
    arguments = parser.parse_args()
    rng, problems, signal_count = random.Random(arguments.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        clip, undisturbed = Path(name, "clip.mp4"), Path(name, "undisturbed")
        media_samples.write_video(str(clip), media_samples.VIDEOS["mp4"], FRAMES)
        undisturbed.mkdir()
        started = time.monotonic()
        start(clip, undisturbed).communicate()
        seconds = time.monotonic() - started
        expected = records(undisturbed / "a.jsonl")
        assert len(expected) == FRAMES
        for k in range(arguments.rounds):
            folder = Path(name, f"round{k}")
            folder.mkdir()
            count, round_problems = play(clip, folder, seconds, rng)
            if not is_equal(records(folder / "a.jsonl"), expected):
                round_problems.append("other records")
            signal_count += count
            problems.update(round_problems)
            if round_problems:
                print(f"round {k}: {round_problems}", flush=True)
    report = {
        "name": "signals",
        "seed": arguments.seed,
        "rounds": arguments.rounds,
        "signals": signal_count,
        "problems": problems,
        "seconds_of_a_run": seconds,
        "environment": runs.about(),
    }
    runs.write_json(arguments.to, report)
    print(report)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
