"""Trains what `results/CAMPAIGN.md` still asks for, within a budget of minutes.

    python benchmarks/campaign.py --left                                    # what there is to do
    python benchmarks/campaign.py --data fer2013/ --out runs --minutes 25   # do it, in order
    python benchmarks/campaign.py --unpack returned/ --out runs             # what came back

Each line is a command of the laboratory. One that has its result is passed over, one that was
stopped goes on, and what is finished is at once packed under OUT/packed, weights in half
precision; --parcel leaves that in a few pieces, to be carried home. It runs from a copy of the
repository, with no more than torch, timm, scikit-learn, NumPy, Pillow and matplotlib; several at
once if --beside says so. Where there is no git, $MIEN_COMMIT says what is run. Where a command may
last less than a machine is there for, --lease has longer ones begun, to go on in the next command.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

LIST = ROOT / "results" / "CAMPAIGN.md"
PIECE, MOST = 15_000_000, 60_000_000
"""Bytes of a piece of what is sent back, and of all pieces together, at most."""

GRACE = 30
"""Seconds that a training gets to end when the time is over; what came after its last checkpoint,
on a GPU half a minute at most, is done again."""

SHOWN = 15
"""Lines of what a failed task printed last."""

RESULTS = {"train": "metrics.json", "crossval": "crossval.json", "ablate": "ablation.json"}
"""What each verb leaves in its folder when all is done."""


@dataclass(frozen=True, slots=True)
class Task:
    """A line of the list: what for, the words after `mien`, minutes on a CPU core and on a GPU.

    Infinite minutes: that machine is not for it.
    """

    purpose: str
    words: tuple[str, ...]
    cpu: float
    gpu: float

    @property
    def verb(self) -> str:
        """train, crossval or ablate."""
        return self.words[0]

    @property
    def name(self) -> str:
        """Its --out without the `runs/` that each has, such as `board/li-slim-seed0`."""
        return self.words[self.words.index("--out") + 1].removeprefix("runs/")

    @property
    def needs(self) -> list[str]:
        """Names of the runs that teach it, or from which it starts."""
        changes = (word for word in self.words if word.startswith(("teachers=", "start=")))
        return [name for change in changes for name in re.findall(r"[=,]runs/([^,]+)", change)]


def read(text: str) -> list[Task]:
    """The tasks in a Markdown table: | for | `mien ...` | CPU | GPU |."""
    tasks = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 4 and cells[1].startswith("`mien "):
            words = tuple(shlex.split(cells[1].strip("`")))[1:]
            if words[0] not in RESULTS:
                raise SystemExit(f"The list asks for mien {words[0]}, which cannot be done here.")
            tasks.append(Task(cells[0], words, *map(_minutes, cells[2:])))
    return tasks


def _minutes(cell: str) -> float:
    return math.inf if cell == "-" else float(cell)


def left(tasks: Iterable[Task], out: Path) -> list[Task]:
    """Those whose result is not packed yet."""
    packed = out / "packed"
    return [task for task in tasks if not (packed / task.name / RESULTS[task.verb]).exists()]


def log_file(task: Task, out: Path) -> Path:
    """Where what a task prints is kept."""
    return out / (task.name.replace("/", "-") + ".txt")


def work(words: list[str], data: Path, out: Path) -> None:
    """Do one task in this process, and pack what it leaves."""
    from mien.lab import evaluate, recipe, train, trials

    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--protocol")
    parser.add_argument("--folds")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--data")  # as on the list; what counts is the campaign's own
    parser.add_argument("--out")
    asked = parser.parse_args(words)
    name = asked.out.removeprefix("runs/")
    folder = out / name
    changes = [_placed(change, out) for change in asked.set]
    watch: Callable = lambda *_: lambda *_: None  # noqa: E731
    if asked.verb == "train":
        evaluate.measured(train.fit(recipe.parse(asked.recipe, changes), data, folder), data)
    elif asked.verb == "crossval":
        wanted = {"protocol": asked.protocol, "folds": asked.folds}
        typed = [f"{field}={value}" for field, value in wanted.items() if value]
        folded = recipe.parse(asked.recipe, ["protocol=kfold", *changes, *typed])
        trials.crossval(folded, data, folder, watch)
    else:
        base = recipe.parse(asked.recipe, changes)
        seeds = range(base.seed, base.seed + asked.seeds)
        trials.ablate(base, data, folder, trials.parts(base), seeds, watch)
    pack(folder, out / "packed" / name)


def _placed(change: str, out: Path) -> str:
    """Teachers and starts that are runs of this campaign, by where they lie here."""
    return re.sub(r"(?<=[=,])runs/", f"{out}/", change)


def pack(folder: Path, to: Path) -> None:
    """Copy what is worth keeping of one run or all runs below; weights in half precision.

    What was measured was measured before, in full precision.
    """
    import torch

    results = [folder / name for name in RESULTS.values()]
    # The result comes last: by it one knows that all is packed.
    for found in sorted(folder.rglob("*"), key=lambda path: (path in results, path)):
        place = to / found.relative_to(folder)
        place.parent.mkdir(parents=True, exist_ok=True)
        if found.suffix in (".json", ".jsonl", ".csv", ".npz"):
            shutil.copy(found, place)
        elif found.name == "weights.pt":
            weights = torch.load(found, map_location="cpu", weights_only=True)
            # Norms' variances and small factors have few digits in half precision, or none.
            half = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v
                    for k, v in weights.items()}  # fmt: skip
            torch.save(half, place)


def parcel(tasks: Iterable[Task], out: Path, to: Path) -> None:
    """All that is packed as one archive, in few pieces: results first, then weights, by the list.

    Weights that are beyond what a parcel holds are left out, and named.
    """
    files = [path for task in tasks for path in sorted((out / "packed" / task.name).rglob("*"))]
    files = [path for path in files if path.is_file()]
    room = MOST
    to.mkdir(parents=True, exist_ok=True)
    whole = to / "parcel.tar"
    with tarfile.open(whole, "w") as archive:
        for path in sorted(files, key=lambda path: path.name == "weights.pt"):
            size = path.stat().st_size + 2048  # its header, and filling
            if size > room:
                print(f"no room for {path.relative_to(out)}")
                continue
            room -= size
            archive.add(path, path.relative_to(out / "packed"))
    with open(whole, "rb") as file:
        for k in range(MOST // PIECE + 1):
            if body := file.read(PIECE):
                (to / f"parcel.{k:02d}").write_bytes(body)
    whole.unlink()


def unpack(pieces: Path, to: Path) -> None:
    """Run folders again, under `to`, of what `parcel` made; to the campaign there they are done."""
    body = b"".join(path.read_bytes() for path in sorted(pieces.glob("parcel.[0-9][0-9]")))
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for place in (to, to / "packed"):
            archive.extractall(place, filter="data")
        for name in archive.getnames():
            print(to / name)


def run(
    tasks: list[Task],
    data: Path,
    out: Path,
    minutes: float,
    beside: int = 1,
    *,
    lease: float = 0,
    gpu: bool = False,
) -> None:
    """Do the tasks in order, so many side by side, until the time is over.

    lease: minutes that tasks may take in all, of which this command has the first.
    """
    now = time.monotonic()
    end, last = now + 60 * minutes, now + 60 * max(minutes, lease)
    waiting = list(tasks)
    busy: dict[subprocess.Popen, Task] = {}
    while True:
        there = out / "packed"
        while len(busy) < beside and (task := _fitting(waiting, last, gpu, there)):
            print(f"{task.name}: {task.purpose}", flush=True)
            words = [sys.executable, __file__, "--one", shlex.join(task.words)]
            command = [*words, "--data", str(data), "--out", str(out)]
            with open(log_file(task, out), "ab") as log:
                busy[subprocess.Popen(command, stdout=log, stderr=log, env=os.environ)] = task
        if not busy:
            return
        time.sleep(0.2)
        for child in [child for child in busy if child.poll() is not None]:
            task = busy.pop(child)
            print(f"{task.name}: {'failed' if child.returncode else 'done'}", flush=True)
            if child.returncode:  # its log stays behind on a machine that is lent
                said = log_file(task, out).read_text(errors="replace").splitlines()[-SHOWN:]
                print(*(f"    {line}" for line in said), sep="\n", flush=True)
        if time.monotonic() > end:
            for child in busy:
                child.terminate()
            for child, task in busy.items():
                child.wait(GRACE)
                print(f"{task.name}: stopped; it goes on next time", flush=True)
            return


def _fitting(waiting: list[Task], end: float, gpu: bool, packed: Path) -> Task | None:
    """The next one that can be done, or nearly so, in the time left; taken from those waiting.

    Pupils wait for their teachers.
    """
    left = (end - time.monotonic()) / 60
    for task in waiting:
        if any(not (packed / name / "weights.pt").exists() for name in task.needs):
            continue
        if left > 0 and (task.gpu if gpu else task.cpu) <= (1.2 if gpu else 3) * left:
            waiting.remove(task)
            return task
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--list", type=Path, default=LIST)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--beside", type=int, default=1)
    parser.add_argument("--lease", type=float, default=0, help="Minutes of several commands.")
    parser.add_argument("--gpu", action="store_true", help="On a GPU, and go by its minutes.")
    parser.add_argument("--left", action="store_true", help="Only print what is left.")
    parser.add_argument("--parcel", type=Path, help="Leave what is done there, in a few pieces.")
    parser.add_argument("--unpack", type=Path, help="Such a folder; its runs go to --out.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.unpack:
        unpack(asked.unpack, asked.out)
    elif asked.one:
        work(shlex.split(asked.one), asked.data, asked.out)
    else:
        every = read(asked.list.read_text())
        tasks = left(every, asked.out)
        if not asked.left:
            _check(parser, asked)
            asked.out.mkdir(parents=True, exist_ok=True)
            run(tasks, asked.data.resolve(), asked.out.resolve(), asked.minutes, asked.beside,
                lease=asked.lease, gpu=asked.gpu)  # fmt: skip
            tasks = left(tasks, asked.out)
            if asked.parcel:
                parcel(every, asked.out, asked.parcel)
        for task in tasks:
            print(f"left: {task.name} ({task.cpu:g} min CPU, {task.gpu:g} min GPU), {task.purpose}")


def _check(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    """Nothing is trained that could not be published, or not in time."""
    import torch

    from mien.lab import runs

    if asked.data is None:
        parser.error("--data is needed: the folder of FER2013.")
    if not runs.commit():
        parser.error("No result may lack its commit: set MIEN_COMMIT, as there is no git here.")
    if asked.gpu and not torch.cuda.is_available():
        parser.error("torch finds no GPU here.")


if __name__ == "__main__":
    main()
