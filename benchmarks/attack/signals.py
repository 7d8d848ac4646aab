"""Stop analyses at random times by SIGINT, SIGTERM, SIGHUP and SIGKILL, and resume them.

    python benchmarks/attack/signals.py --rounds 500    # writes results/signals.json

Each round starts an analysis with three outputs, sends it a signal and resumes it. In half of the
rounds, the resumed analysis is sent another signal and resumed again. The signal is sometimes sent
twice in quick succession. The records are compared with those of an analysis without signals.
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

from benchmarks.attack import media_samples
from benchmarks.attack.service import RESULTS
from mien.lab import runs

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)

FRAMES = 200
"""Number of frames of the analyzed clip."""

TOLERANCE = 1e-4
"""Accepted difference in pixels and shares between records with and without signals."""


def start(clip: Path, folder: Path, *options: str) -> subprocess.Popen:
    """Start `mien analyze` in a new process, with resumable outputs in a folder."""
    outputs = ["--to", folder / "a.jsonl", "--to", folder / "a.csv"]
    command = ["analyze", clip, "--detector", "whole", *outputs, *options]
    # A background process may ignore SIGINT, and its child processes would inherit this.
    return subprocess.Popen(
        [sys.executable, "-m", "mien", *map(str, command)], stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def stop(
    process: subprocess.Popen, signal_number: signal.Signals, folder: Path, *, twice: bool
) -> list[str]:
    """Send a signal to an analysis, and return the problems with how it ended.

    Args:
        process: The analysis.
        signal_number: The signal.
        folder: The folder with the outputs.
        twice: Whether the signal is sent again after a millisecond.

    Returns:
        Descriptions of the problems; empty if there are none.
    """
    for _ in range(2 if twice else 1):
        if process.poll() is None:
            process.send_signal(signal_number)
        time.sleep(0.001)
    try:
        error = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return [f"{signal_number.name}: hang"]
    # The analysis was already complete, or was stopped by the signal itself or by mien.
    expected = {0, -signal_number, 128 + signal_number}
    # Until mien's first line runs, Python handles SIGINT with a traceback and exit code 1.
    if signal_number == signal.SIGINT and "Traceback" in error and "mien/__main__.py" not in error:
        return []
    problems = []
    if process.returncode not in expected:
        problems.append(f"exit code {process.returncode}: {error.strip()[-200:]}")
    if "Traceback" in error:
        problems.append("traceback")
    if signal_number != signal.SIGKILL and list(folder.glob(".mien-*")):
        problems.append("temporary file left")
    return [f"{signal_number.name}: {problem}" for problem in problems]


def run_round(
    clip: Path, folder: Path, seconds: float, rng: random.Random
) -> tuple[int, list[str]]:
    """Stop an analysis by one or two signals at random times, and resume it until it is complete.

    Args:
        clip: The video.
        folder: An empty folder for the outputs.
        seconds: Duration of an analysis without signals.
        rng: Random generator of the signals and their times.

    Returns:
        Number of signals, of which those sent twice count once, and descriptions of the problems.
    """
    # HTML cannot be resumed; its writer must only leave no temporary file.
    process = start(clip, folder, "--to", str(folder / "a.html"))
    problems: list[str] = []
    count = 2 if rng.random() < 0.5 else 1
    for _ in range(count):
        time.sleep(rng.uniform(0, 1.1 * seconds))
        signal_number, twice = rng.choice(SIGNALS), rng.random() < 0.5
        twice = twice and signal_number != signal.SIGINT  # a second Ctrl-C interrupts the cleanup
        problems += stop(process, signal_number, folder, twice=twice)
        process = start(clip, folder, "--resume")
    error = process.communicate()[1]
    if process.returncode:
        problems.append(f"resume: exit code {process.returncode}: {error.strip()[-200:]}")
    leftovers = [
        path.name for path in folder.iterdir() if path.suffix not in (".jsonl", ".csv", ".html")
    ]
    if leftovers:
        problems.append(f"resume: {leftovers[0]} left")
    return count, problems


def is_equal(actual: object, expected: object) -> bool:
    """Return whether JSON values are equal up to `TOLERANCE`."""
    if isinstance(actual, dict) and isinstance(expected, dict):
        return actual.keys() == expected.keys() and all(
            is_equal(actual[key], expected[key]) for key in actual
        )
    if isinstance(actual, list) and isinstance(expected, list):
        return len(actual) == len(expected) and all(map(is_equal, actual, expected))
    if isinstance(actual, float) and isinstance(expected, int | float):
        return abs(actual - expected) <= TOLERANCE
    return actual == expected


def records(path: Path) -> list[dict]:
    """Read the records of an analysis; return none if it wrote no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description="Stop analyses at random times and resume them.")
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--to", type=Path, default=RESULTS / "signals.json")
    arguments = parser.parse_args()
    rng, problems, signal_count = random.Random(arguments.seed), Counter(), 0
    with tempfile.TemporaryDirectory() as name:
        clip, reference = Path(name, "clip.mp4"), Path(name, "reference")
        media_samples.write_video(str(clip), media_samples.VIDEOS["mp4"], FRAMES)
        reference.mkdir()
        started = time.monotonic()
        start(clip, reference).communicate()
        seconds = time.monotonic() - started
        expected = records(reference / "a.jsonl")
        assert len(expected) == FRAMES
        for k in range(arguments.rounds):
            folder = Path(name, f"round{k}")
            folder.mkdir()
            count, round_problems = run_round(clip, folder, seconds, rng)
            if not is_equal(records(folder / "a.jsonl"), expected):
                round_problems.append("wrong records")
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
        "environment": runs.environment(),
    }
    runs.write_json(arguments.to, report)
    print(report)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
