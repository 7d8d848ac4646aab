"""Read mutated videos and images; count tracebacks, hangs and crashes of the process.

    python benchmarks/attack/mutated_media.py       # writes results/mutated-media.json
    python benchmarks/attack/mutated_media.py --videos 200 --images 1000 --to few.json
    python benchmarks/attack/mutated_media.py --replay video 1234 --seed 0

Every file is read as `mien analyze` reads it. The frames of a few files are also analyzed and
written in all formats. The status of a file is one of:

    read        read without a warning
    damaged     read, with warnings about damaged parts
    refused     rejected with a `UserError`
    traceback   another exception or an unprintable message: a bug
    hang        not finished after 20 seconds, in two attempts
    crash       the process ended
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import os
import random
import resource
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.attack import media_mutations, media_samples
from benchmarks.attack.service import RESULTS
from mien import Analyzer, pipeline, writers
from mien.errors import ErrorCallback, UserError
from mien.io import reader, video
from mien.io.frame_selection import FrameSelection
from mien.io.source import Source
from mien.lab import runs
from mien.visualization import timeline

HANG_SECONDS = 20
"""Time limit of a file; it is then read once more, because the machine may have been busy."""

ANALYZED_FRACTION, SEEK_FRACTION = 0.05, 0.2
"""Fraction of files that are analyzed and written, and fraction that is read from 0.2 s on."""

DETECTORS = ("whole", "yunet")

TABLES = ("a.jsonl", "a.csv", "a.parquet")
"""Outputs of every analyzed file; videos and images have others, too."""

BUGS = ("traceback", "hang", "crash")
"""Statuses that are bugs of mien."""


class Case(NamedTuple):
    """What determines a mutated file; equal cases give equal files."""

    kind: str  # "video" or "image"
    number: int
    seed: int


class Mutated(NamedTuple):
    """The contents of a mutated file, and how to read it."""

    name: str  # of the valid file and the mutations
    suffix: str
    body: bytes
    detector: str  # "" to only read the file, without analysis
    start: float  # seconds of a video that are skipped


class Outcome(NamedTuple):
    """Status of a file after reading.

    Attributes:
        case: The case.
        sample: Names of the valid file and of the mutations; "" after a hang or crash.
        status: A status that the head of this file lists.
        detail: The error message, the location of an exception, or the output of a crash.
        seconds: Duration of reading.
        peak_mb: Peak memory of the worker process until now in MB (10^6 bytes).
    """

    case: Case
    sample: str
    status: str
    detail: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0


class SampleFiles:
    """All valid files by kind."""

    def __init__(self) -> None:
        self.by_kind = {"video": media_samples.videos(), "image": media_samples.images()}

    def mutate(self, case: Case) -> Mutated:
        """Return the mutated file of a case."""
        rng = random.Random(f"{case.seed} {case.kind} {case.number}")
        samples = self.by_kind[case.kind]
        name = rng.choice(list(samples))
        suffix, body = samples[name]
        mutations, body = media_mutations.mutate(
            body, rng, [other for _, other in samples.values()]
        )
        detector = rng.choice(DETECTORS) if rng.random() < ANALYZED_FRACTION else ""
        start = 0.2 if rng.random() < SEEK_FRACTION else 0.0
        return Mutated(f"{name}: {mutations}", suffix, body, detector, start)


class Reader:
    """Reads mutated files in this process."""

    def __init__(self, samples: SampleFiles, folder: Path) -> None:
        self._samples, self._folder = samples, folder
        self._analyzers = {name: Analyzer("default", name, threads=1) for name in DETECTORS}

    def __call__(self, case: Case) -> Outcome:
        """Read or analyze the file of a case."""
        mutated, start = self._samples.mutate(case), time.monotonic()
        messages: list[str] = []
        try:
            self.read(mutated, lambda error: messages.append(str(error)))
            status, detail = "damaged" if messages else "read", ""
        except UserError as error:
            messages.append(str(error))
            status, detail = "refused", str(error).replace(str(self._folder), "")
        except Exception as error:
            status, detail = "traceback", _location(error)
        if unprintable := [message for message in messages if not message.isprintable()]:
            status, detail = "traceback", f"unprintable message: {unprintable[0]!a}"
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6  # it is in KiB
        seconds = time.monotonic() - start
        return Outcome(case, mutated.name, status, detail, seconds, peak_mb)

    def read(self, mutated: Mutated, on_warning: ErrorCallback) -> None:
        """Read or analyze a mutated file; errors are raised."""
        path = self._folder / f"mutated{mutated.suffix}"
        path.write_bytes(mutated.body)
        source, selection = Source.parse(str(path)), FrameSelection(start=mutated.start)
        if mutated.detector:
            self._analyze(source, selection, mutated.detector, on_warning)
            return
        if source.kind == "video":
            video.probe(source)
        for _ in reader.frames(source, selection, on_warning):
            pass

    def _analyze(
        self, source: Source, selection: FrameSelection, detector: str, on_warning: ErrorCallback
    ) -> None:
        options = pipeline.Options(selection=selection, two_pass=selection.start > 0)
        callbacks = pipeline.Callbacks(on_warning=on_warning)
        with tempfile.TemporaryDirectory(dir=self._folder) as name, ExitStack() as stack:
            folder = Path(name)
            contexts = [writers.open_writer(folder / file) for file in TABLES]
            if source.is_video:
                contexts += [writers.open_writer(folder / file) for file in ("a.mp4", "a.html")]
                contexts.append(timeline.open_writer(folder / "a.png"))
            else:
                contexts.append(writers.open_writer(folder / "images"))
            open_writers = [stack.enter_context(context) for context in contexts]
            pipeline.run([source], self._analyzers[detector], open_writers, options, callbacks)


def _location(error: Exception) -> str:
    """Return the type of an exception and the innermost line of mien in its traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/mien/" in f.filename]
    if not frames:
        return f"{type(error).__name__} in ?"
    file = frames[-1].filename.rsplit("/mien/")[-1]
    return f"{type(error).__name__} in {file}:{frames[-1].lineno}"


def work(connection: Connection, folder: Path) -> None:
    """Read files in a worker process until the connection is closed."""
    faulthandler.enable(open(folder / "crash.txt", "w"))  # noqa: SIM115  # open until a crash
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff prints a line for each error
    # As in the command line, warnings of Pillow are ignored. A RuntimeWarning in mien is a bug.
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", category=RuntimeWarning, module="mien")
    read = Reader(SampleFiles(), folder)
    connection.send("ready")
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        connection.send(read(case))


class Worker:
    """A worker process that is started again after a hang or crash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, other = context.Pipe()
        self._process = context.Process(target=work, args=[other, self._folder], daemon=True)
        self._process.start()
        other.close()
        self._connection.recv()

    def __call__(self, case: Case) -> Outcome:
        """Read the file of a case."""
        for _attempt in range(2):
            self._connection.send(case)
            try:
                if self._connection.poll(HANG_SECONDS):
                    return self._connection.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                crash = (self._folder / "crash.txt").read_text()
                outcome = Outcome(case, "", "crash", f"exit {self._process.exitcode}: {crash}")
                self._start()
                return outcome
            self._process.kill()
            self._process.join()
            self._start()
        return Outcome(case, "", "hang")

    def close(self) -> None:
        """Close the connection and wait for the end of the process."""
        self._connection.close()
        self._process.join()


@dataclass
class Tally:
    """Counts outcomes, and keeps the bugs, the slowest outcomes and the peak memory."""

    counts: dict[str, Counter] = field(default_factory=dict)
    bugs: list[Outcome] = field(default_factory=list)
    slowest: dict[str, Outcome] = field(default_factory=dict)
    peak_mb: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, outcome: Outcome) -> None:
        """Add an outcome; can be called by several threads."""
        with self.lock:
            kind = outcome.case.kind
            self.counts.setdefault(kind, Counter())[outcome.status] += 1
            self.peak_mb = max(self.peak_mb, outcome.peak_mb)
            if outcome.seconds > self.slowest.setdefault(kind, outcome).seconds:
                self.slowest[kind] = outcome
            if outcome.status in BUGS:
                self.bugs.append(outcome)
                print(f"{kind} {outcome.case.number} ({outcome.sample}): {outcome.status}, "
                      f"{outcome.detail}", flush=True)  # fmt: skip
            if (total := sum(self.counts[kind].values())) % 1000 == 0:
                print(f"{total} {kind}s: {dict(self.counts[kind])}", flush=True)


def attack(cases: list[Case], worker_count: int) -> Tally:
    """Read the files of all cases in several worker processes."""
    tally, remaining, lock = Tally(), iter(cases), threading.Lock()

    def run_worker(folder: Path) -> None:
        worker = Worker(folder)
        while True:
            with lock:
                case = next(remaining, None)
            if case is None:
                break
            tally.add(worker(case))
        worker.close()

    with tempfile.TemporaryDirectory() as folder:
        threads = [
            threading.Thread(target=run_worker, args=[Path(folder, str(k))])
            for k in range(worker_count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return tally


def replay(case: Case, keep: Path | None) -> None:
    """Read the file of a case in this process, so that its traceback is printed."""
    samples = SampleFiles()
    mutated = samples.mutate(case)
    print(mutated.name, f"detector {mutated.detector or '-'}, from {mutated.start} s")
    if keep:
        keep.with_suffix(mutated.suffix).write_bytes(mutated.body)
    with tempfile.TemporaryDirectory() as folder:
        Reader(samples, Path(folder)).read(mutated, print)


def summary(tally: Tally) -> dict:
    """Return the outcomes of all files, as a JSON-serializable dictionary."""
    return {
        "formats": {kind: list(files) for kind, files in SampleFiles().by_kind.items()},
        "mutations": list(media_mutations.MUTATIONS),
        "counts": {
            kind: {"files": sum(c.values()), **dict.fromkeys(BUGS, 0), **c}
            for kind, c in tally.counts.items()
        },
        "bugs": Counter(f"{bug.case.kind}: {bug.status}, {bug.detail}" for bug in tally.bugs),
        "slowest_seconds": {kind: outcome.seconds for kind, outcome in tally.slowest.items()},
        "slowest": {kind: outcome.sample for kind, outcome in tally.slowest.items()},
        "peak_mb": tally.peak_mb,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Read mutated videos and images.")
    parser.add_argument("--videos", type=int, default=10_000)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    parser.add_argument("--to", type=Path, default=RESULTS / "mutated-media.json")
    parser.add_argument("--replay", nargs=2, metavar=("KIND", "NUMBER"),
                        help="read one file, such as 'video 1234', with its traceback")  # fmt: skip
    parser.add_argument("--keep", type=Path, help="with --replay, also write the file to this path")
    arguments = parser.parse_args()
    if arguments.replay:
        kind, number = arguments.replay
        replay(Case(kind, int(number), arguments.seed), arguments.keep)
        return
    counts = {"video": arguments.videos, "image": arguments.images}
    cases = [Case(kind, k, arguments.seed) for kind, n in counts.items() for k in range(n)]
    start = time.monotonic()
    tally = attack(cases, arguments.workers)
    report = {
        "name": "mutated-media",
        "seed": arguments.seed,
        **summary(tally),
        "minutes": (time.monotonic() - start) / 60,
        "workers": arguments.workers,
        "environment": runs.environment(),
    }
    runs.write_json(arguments.to, report)
    print(report["counts"], report["bugs"])
    sys.exit(bool(tally.bugs))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the worker processes, which inherit it
    main()
