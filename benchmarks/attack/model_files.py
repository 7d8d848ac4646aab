"""Load damaged model files and run folders; each must give a result or an error of one line.

    python benchmarks/attack/model_files.py    # writes results/model-files.json

A small model, its TOML file and a small run are mutated: bytes are changed, inserted and removed,
and values in TOML, JSON and metadata are replaced by absurd ones. Worker processes load them in the
same way as the commands. If a worker process ends early, this counts as a crash.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import mien
from benchmarks.attack.service import RESULTS
from mien.classification import classifier
from mien.errors import UserError
from mien.lab import evaluate, export, page, report, runs, train
from mien.lab.averaging import average
from mien.lab.config import RECIPES
from tests.conftest import FOREIGN_SIDECAR, build_model
from tests.synthetic import tiny

MUTATIONS_PER_WORKER = 100

MAX_ADDRESS_SPACE_BYTES = 12 * 2**30
"""Limit for the address space of a worker process."""

SUCCESSES = ("result", "error message")
"""Outcomes that are no failures; the others are "long error message", "traceback" and "crash"."""

MAX_MESSAGE_LENGTH = 1000
"""Maximum number of characters of an error message; a longer one is a failure, and so are several
lines."""

ABSURD_JSON = (
    None, True, False, 0, -1, 1.5, 1e6, -1e308, 10**30, "", "x", "x" * 10_000, "\ud800", [], {},
    [1], {"a": 1}, [[]], [None] * 3, [[[[[[]]]]]], {"value": 1},
)  # fmt: skip
"""Values that replace those of JSON files."""

ABSURD_TOML = (
    "0", "-1", "1.5", "1e6", "1e308", "nan", "inf", "1" + "0" * 30, "1" + "0" * 5000, '""', '"x"',
    "[]", "[1]", "[[]]", "{}", "true", "1979-05-27", "[" * 3000, "'" + "x" * 10_000 + "'",
    "[1, 2, 3, 4]", '["happy", 5]', "0x", "= =",
)  # fmt: skip
"""Values, also invalid ones, that replace those of TOML files."""

ABSURD_METADATA = (
    "", "nan", "-inf", "1e6", "-5", "x" * 10_000, "[" * 100_000, "[1]", "null", "{", "{}",
    '{"heads": 5}', '{"heads": {"votes": 1}}', '{"heads": {"a": {}, "b": {}, "c": {}}}',
    '{"target": 5}', '{"publictest": []}', "9" * 5000, "happy", "happy,happy", "happy,,sad",
)  # fmt: skip
"""Values that replace those of the metadata of a model file."""

FILES_OF_A_RUN = ["config.json", "about.json", "log.jsonl", "weights.pt"]
"""The files that evaluation and averaging read from a finished run."""

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=2)
"""Config of the small run: three steps per epoch for its 42 training faces."""


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change, insert or remove up to eight blocks; sometimes truncate the data."""
    body = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        start, length = rng.randrange(len(body) + 1), rng.choice((1, 2, 4, 16, 200))
        block = rng.choice((rng.randbytes(length), bytes(length), b"\xff" * length, b""))
        body[start : start + rng.choice((0, len(block), length))] = block
    return bytes(body[: rng.randrange(len(body) + 1)] if rng.random() < 0.1 else body)


def mutated_json(text: str, rng: random.Random) -> bytes:
    """Replace or remove a random value, or mutate the bytes of the text."""
    if rng.random() < 0.15:
        return mutated_bytes(text.encode(), rng)
    document = {"root": json.loads(text)}  # the whole value can be replaced like any other
    parent, key = document, "root"
    # Descend to a random depth.
    while isinstance(parent[key], dict | list) and parent[key] and rng.random() < 0.85:
        parent = parent[key]
        key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    if rng.random() < 0.2 and parent is not document:
        del parent[key]
    else:
        parent[key] = rng.choice(ABSURD_JSON)
    return json.dumps(document["root"]).encode()


def mutated_line(text: str, rng: random.Random) -> str:
    """Replace the value in a random line of a TOML file."""
    lines = text.splitlines()
    k = rng.randrange(len(lines))
    lines[k] = f"{lines[k].partition(' ')[0]} = {rng.choice(ABSURD_TOML)}"
    return "\n".join(lines)


def prepare(folder: Path) -> None:
    """Write the files to be mutated."""
    build_model(folder / "exported.onnx")
    build_model(folder / "foreign.onnx", labels=("a", "b", "c"), foreign=True)
    (folder / "foreign.toml").write_text(FOREIGN_SIDECAR)
    data = tiny.write_packed(folder / "data", tiny.table(42, 21))
    run = train.fit(TINY, data, folder / "run", device="cpu")
    evaluate.evaluate(run.folder, data, resamples=2)
    unfinished = shutil.copytree(run.folder, folder / "unfinished")
    (unfinished / "weights.pt").unlink()


def use_model(path: Path) -> None:
    """Load a model and analyze an image."""
    mien.Analyzer(model=str(path), detector="whole").analyze(np.zeros((64, 64, 3), np.uint8))


# The targets: each function mutates a copy of a file in `source` with `rng`, and uses it in `work`.


def load_mutated_model(source: Path, work: Path, rng: random.Random) -> None:
    """Load a model file with mutated bytes."""
    name = rng.choice(("exported", "foreign"))
    shutil.copy(source / "foreign.toml", work)
    path = work / f"{name}.onnx"
    path.write_bytes(mutated_bytes((source / path.name).read_bytes(), rng))
    use_model(path)


def load_mutated_metadata(source: Path, work: Path, rng: random.Random) -> None:  # noqa: ARG001
    """Load a model file with an absurd value in its metadata."""
    metadata = {"mien.labels": "happy,sad", "mien.margin": "0", "mien.card": "{}"}
    metadata[rng.choice(list(metadata))] = rng.choice(ABSURD_METADATA)
    shape = {"side": rng.choice((1, 8, 48)), "channels": rng.choice((1, 2, 3))}
    use_model(build_model(work / "a.onnx", ("happy", "sad"), metadata=metadata, **shape))


def load_mutated_sidecar(source: Path, work: Path, rng: random.Random) -> None:
    """Load a model file with a mutated TOML file."""
    shutil.copy(source / "foreign.onnx", work)
    text = mutated_line(FOREIGN_SIDECAR, rng)
    if rng.random() < 0.3:
        text = mutated_line(text, rng)
    body = text.encode(errors="surrogatepass")
    (work / "foreign.toml").write_bytes(mutated_bytes(body, rng) if rng.random() < 0.2 else body)
    use_model(work / "foreign.onnx")


def mutated_run(source: Path, work: Path, rng: random.Random, names: list[str]) -> runs.Run:
    """Copy a run folder and mutate one of the named files."""
    folder = shutil.copytree(source, work / "run")
    path = folder / rng.choice(names)
    if path.suffix == ".json":
        path.write_bytes(mutated_json(path.read_text(), rng))
    elif path.suffix == ".jsonl":
        lines = path.read_text().splitlines()
        k = rng.randrange(len(lines))
        lines[k] = mutated_json(lines[k], rng).decode(errors="surrogateescape")
        path.write_text("\n".join(lines), errors="surrogateescape")
    elif path.suffix == ".npz" and rng.random() < 0.7:
        arrays = dict(np.load(path))
        name = rng.choice(list(arrays))
        absurd = rng.choice((np.nan, -1, 1e30, 255, 0.5))
        arrays[name] = rng.choice((
            arrays[name][:1], arrays[name].T, np.full_like(arrays[name], absurd), np.array("x"),
            arrays[name].astype(float) * absurd, np.zeros((0, 3)), np.array([None]),
        ))  # fmt: skip
        np.savez(path, **arrays)
    else:
        path.write_bytes(mutated_bytes(path.read_bytes(), rng))
    return runs.Run(folder)


def report_mutated_run(source: Path, work: Path, rng: random.Random) -> None:
    """Build the report of a mutated run."""
    # metrics.json is mutated twice as often, because the report shows most of its values.
    names = ["config.json", "about.json", "log.jsonl", "metrics.json", "metrics.json",
             "predictions.npz"]  # fmt: skip
    run = mutated_run(source / "run", work, rng, names)
    content = report.run_page(runs.open_run(run.folder))
    # Drawing the page takes a hundred times as long as building it.
    if rng.random() < 0.1:
        page.write(content, work / "report")


def evaluate_mutated_run(source: Path, work: Path, rng: random.Random) -> None:
    """Evaluate a mutated run."""
    run = mutated_run(source / "run", work, rng, FILES_OF_A_RUN)
    evaluate.evaluate(run.folder, source / "data", resamples=2)


def resume_mutated_run(source: Path, work: Path, rng: random.Random) -> None:
    """Resume a mutated unfinished run."""
    names = ["config.json", "about.json", "log.jsonl", "checkpoint.pt"]
    run = mutated_run(source / "unfinished", work, rng, names)
    train.fit(TINY, source / "data", run.folder, device="cpu")


def average_mutated_run(source: Path, work: Path, rng: random.Random) -> None:
    """Average a run with a mutated copy of it."""
    run = mutated_run(source / "run", work, rng, FILES_OF_A_RUN)
    average(runs.open_run(source / "run"), runs.open_run(run.folder), 0.5, work / "mean")


def export_mutated_run(source: Path, work: Path, rng: random.Random) -> None:
    """Export a mutated run."""
    run = mutated_run(source / "run", work, rng, ["config.json", "about.json", "weights.pt"])
    export.export([runs.open_run(run.folder)], work / "a.onnx")


TARGETS: dict[str, tuple[Callable[[Path, Path, random.Random], None], float]] = {
    "model file": (load_mutated_model, 1.0),
    "metadata of a model file": (load_mutated_metadata, 0.5),
    "TOML file of a model": (load_mutated_sidecar, 0.5),
    "mien report": (report_mutated_run, 0.5),
    "mien evaluate": (evaluate_mutated_run, 0.2),
    "mien train, resumed": (resume_mutated_run, 0.2),
    "mien average": (average_mutated_run, 0.2),
    "mien export": (export_mutated_run, 0.02),
}
"""Target -> function that mutates and uses it, and number of mutations relative to `--count`."""


def run_worker(source: Path, target: str, start: int, end: int) -> None:
    """Mutate and use a target; print the number, outcome and message of each mutation as JSON.

    A line with the outcome "started" comes first, so that a crash can be attributed to a mutation.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE_BYTES, MAX_ADDRESS_SPACE_BYTES))
    warnings.simplefilter("ignore")
    classifier.MAX_FIRST_RUN_SECONDS = 10.0  # huge inputs reach the time limit, 60 s by default
    mutate_and_use, _ = TARGETS[target]
    for number in range(start, end):
        outcome, message = "result", ""
        print(json.dumps([number, "started", ""]), flush=True)
        with tempfile.TemporaryDirectory(dir=source) as work:
            try:
                mutate_and_use(source, Path(work), random.Random(f"{target} {number}"))
            except UserError as error:
                message = str(error)
                is_one_line = "\n" not in message and len(message) <= MAX_MESSAGE_LENGTH
                outcome = "error message" if is_one_line else "long error message"
            except BaseException as error:
                outcome, message = "traceback", f"{type(error).__name__}: {error}"
        print(json.dumps([number, outcome, message[:300]]), flush=True)


def attack(source: Path, target: str, count: int) -> dict:
    """Mutate a target `count` times in worker processes; return the number of each outcome.

    The first failures are printed.
    """
    outcomes, failures, next_number, start = Counter(), [], 0, time.monotonic()
    while next_number < count:
        end = min(count, next_number + MUTATIONS_PER_WORKER)
        command = [sys.executable, __file__, "--worker", source, target, next_number, end]
        worker = subprocess.run(
            [*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        lines = [json.loads(line) for line in worker.stdout.splitlines() if line.startswith("[")]
        for number, outcome, message in lines:
            if outcome != "started":
                outcomes[outcome] += 1
                if outcome not in SUCCESSES:
                    failures.append([target, number, outcome, message])
        # After a crash, the next worker continues with the mutation after the last one started.
        next_number = lines[-1][0] + 1 if lines else end
        if worker.returncode:
            outcomes["crash"] += 1
            failures.append([target, next_number - 1, "crash", str(worker.returncode)])
    row = {"target": target, "count": count, "outcomes": dict(outcomes),
           "seconds": round(time.monotonic() - start, 1)}  # fmt: skip
    print(row, *failures[:20], sep="\n  ", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Load damaged model files and run folders.")
    parser.add_argument(
        "--count", type=int, default=2000,
        help="number of mutations of a model file; other targets have a fixed fraction of it",
    )  # fmt: skip
    parser.add_argument(
        "--only", default="", help="attack the targets whose names contain this; writes no file"
    )
    parser.add_argument("--to", type=Path, default=RESULTS / "model-files.json")
    # For the worker processes: the arguments of `run_worker`.
    parser.add_argument("--worker", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        source, target, start, end = arguments.worker
        run_worker(Path(source), target, int(start), int(end))
        return
    with tempfile.TemporaryDirectory() as source:
        prepare(Path(source))
        rows = [
            attack(Path(source), target, max(1, round(fraction * arguments.count)))
            for target, (_, fraction) in TARGETS.items()
            if arguments.only in target
        ]
    if not arguments.only:
        result = {"name": "model-files", "rows": rows, "environment": runs.environment()}
        runs.write_json(arguments.to, result)


if __name__ == "__main__":
    main()
