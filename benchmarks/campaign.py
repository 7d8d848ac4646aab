"""Trains what `results/CAMPAIGN.md` still asks for, in the time that there is.

    python benchmarks/campaign.py --left                                    # what there is to do
    python benchmarks/campaign.py --data fer2013/ --out runs --minutes 10   # do it, in order
    python benchmarks/campaign.py --export carry/                           # the code it needs
    python benchmarks/campaign.py --unpack returned/ --out runs             # what came back

Each line of the list is a command of the laboratory and the minutes that it gets on a GPU; every
training ends in its minutes, or in those that are left, with finished weights. A task waits for
those whose output it names. What was stopped goes on first, what has its result is passed over.

What is finished is packed at once under OUT/packed, weights in half precision; --parcel leaves
what has not been sent yet in a few pieces to be carried home, again after each task. Several
tasks run side by side if --beside says so, on a GPU under CUDA MPS. The code runs from a copy of
src and benchmarks alone, with no more than torch, timm, scikit-learn, NumPy, Pillow and
matplotlib; where there is no git, $MIEN_COMMIT says what is run.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))

LIST = ROOT / "results" / "CAMPAIGN.md"
EXPORTED = ("src", "benchmarks/campaign.py", "benchmarks/training_speed.py", "results/CAMPAIGN.md")
PIECE, MOST = 15_000_000, 60_000_000
"""Bytes of a piece of what is sent back, and of all pieces together, at most."""

RESERVE = 35.0
"""Seconds kept for measuring and packing what has been trained."""

LEAST = 15.0
"""Seconds for which no training is begun."""

GRACE = 30
"""Seconds that a training gets to end when it is stopped, to go on in the next command."""

SHOWN = 15
"""Lines of what a failed task printed last."""

RESULTS = {"train": "metrics.json", "distill": "augmentation.json"}
"""What each verb leaves in its folder when all is done."""


@dataclass(frozen=True, slots=True)
class Task:
    """A line of the list: what for, the words after `mien`, the minutes that it gets."""

    purpose: str
    words: tuple[str, ...]
    minutes: float

    @property
    def verb(self) -> str:
        """Either train or distill."""
        return self.words[0]

    @property
    def folder(self) -> str:
        """Its --out without the `runs/` that each has, such as `board/li-slim-seed0`."""
        return self.words[self.words.index("--out") + 1].removeprefix("runs/")

    @property
    def name(self) -> str:
        """Its folder; of several that fill one store, the teachers too."""
        if self.verb == "train":
            return self.folder
        return "-".join([self.folder, *(Path(name).name for name in self._named())])

    @property
    def needs(self) -> list[str]:
        """Folders of runs, or stores, that it takes something from."""
        return [name for name in self._named() if name != self.folder]

    @property
    def gives(self) -> list[str]:
        """The runs that others lack if it fails: its own, or the teachers it asks."""
        return [self.folder] if self.verb == "train" else self.needs

    def _named(self) -> list[str]:
        others = [w for w in self.words if w != f"runs/{self.folder}"]
        return re.findall(r"(?:^|[=, ])runs/([^, ]+)", " ".join(others))

    def without(self, lost: Iterable[str]) -> Task:
        """The same without the teachers whose training failed."""
        words = list(self.words)
        for name in lost:
            words = [re.sub(rf"(?<=[=,])runs/{re.escape(name)}(,|$)", "", w) for w in words]
            while f"runs/{name}" in words:
                at = words.index(f"runs/{name}")
                del words[at - 1 : at + 1]
        return Task(self.purpose, tuple(word.rstrip(",") for word in words), self.minutes)


def read(text: str) -> list[Task]:
    """The tasks in a Markdown table: | for | `mien ...` | minutes |."""
    tasks = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) == 3 and cells[1].startswith("`mien "):
            words = tuple(shlex.split(cells[1].strip("`")))[1:]
            if words[0] not in RESULTS:
                raise SystemExit(f"The list asks for mien {words[0]}, which cannot be done here.")
            tasks.append(Task(cells[0], words, float(cells[2])))
    return tasks


def is_done(task: Task, out: Path) -> bool:
    """Whether its result is packed."""
    return (out / "packed" / task.name / RESULTS[task.verb]).exists()


def left(tasks: Iterable[Task], out: Path) -> list[Task]:
    """Those not done yet, the ones that were begun first."""
    waiting = [task for task in tasks if not is_done(task, out)]
    return sorted(waiting, key=lambda task: not (out / task.folder / "checkpoint.pt").exists())


def log_file(task: Task, out: Path) -> Path:
    """Where what a task prints is kept."""
    return out / (task.name.replace("/", "-") + ".txt")


def work(words: list[str], name: str, data: Path, out: Path, seconds: float) -> None:
    """Do one task in this process, and pack what it leaves under that name."""
    from mien.lab import config, evaluate, teacher_logits, train

    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("recipe")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--teacher", action="append", default=[])
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--data")  # as on the list; what counts is the campaign's own
    parser.add_argument("--out")
    asked = parser.parse_args(words)
    folder = out / asked.out.removeprefix("runs/")
    changes = [re.sub(r"(?<=[=,])runs/", f"{out}/", change) for change in asked.set]
    wanted = config.parse(asked.recipe, changes)
    if asked.verb == "train":
        evaluate.load_or_evaluate(train.fit(wanted, data, folder, seconds=seconds), data)
        pack(folder, out / "packed" / name)
    else:
        teachers = [str(out / teacher.removeprefix("runs/")) for teacher in asked.teacher]
        teacher_logits.store(wanted, data, folder, teachers, asked.epochs)
        place = out / "packed" / name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / RESULTS["distill"], place)


def pack(folder: Path, to: Path) -> None:
    """Copy what is worth keeping of a run; weights in half precision.

    What was measured was measured before, in full precision.
    """
    import torch

    result = folder / RESULTS["train"]
    # The result comes last: by it one knows that all is packed.
    for found in sorted(folder.iterdir(), key=lambda path: (path == result, path)):
        to.mkdir(parents=True, exist_ok=True)
        if found.suffix in (".json", ".jsonl", ".csv", ".npz"):
            shutil.copy(found, to / found.name)
        elif found.name == "weights.pt":
            weights = torch.load(found, map_location="cpu", weights_only=True)
            # Norms' variances and small factors have few digits in half precision, or none.
            half = {k: v.half() if v.is_floating_point() and v.ndim > 1 else v
                    for k, v in weights.items()}  # fmt: skip
            torch.save(half, to / found.name)


def parcel(tasks: Iterable[Task], out: Path, to: Path) -> list[str]:
    """What is packed and has not been sent, in few pieces; names of the files that are in them.

    Results come first, then weights, then checkpoints of what is not finished, the smallest first:
    so most of them find room. What does not is left out, and can be sent by the next command.
    """
    tasks = list(tasks)
    sent = _sent(out)
    packed = [p for task in tasks for p in sorted((out / "packed" / task.name).rglob("*"))]
    packed = [path for path in packed if path.is_file()]
    places = {str(path.relative_to(out / "packed")): path for path in packed}
    for task in tasks:
        checkpoint = out / task.folder / "checkpoint.pt"
        if checkpoint.exists() and not is_done(task, out):
            for path in (checkpoint, *checkpoint.parent.glob("*.json*")):
                places[str(path.relative_to(out))] = path
    order = {"weights.pt": 1, "checkpoint.pt": 2}
    sizes = {name: path.stat().st_size + 2048 for name, path in places.items()}  # with its header
    by_worth = sorted(places, key=lambda name: (order.get(places[name].name, 0), sizes[name]))
    room, names = MOST, []
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    body = io.BytesIO()
    with tarfile.open(fileobj=body, mode="w") as archive:
        for name in by_worth:
            if name not in sent and sizes[name] <= room:
                room -= sizes[name]
                archive.add(places[name], name)
                names.append(name)
    whole = body.getvalue()
    for k, start in enumerate(range(0, len(whole), PIECE)):
        (to / f"parcel.{k:02d}").write_bytes(whole[start : start + PIECE])
    return names


def _sent(out: Path) -> list[str]:
    path = out / "sent.json"
    return json.loads(path.read_text()) if path.exists() else []


def unpack(pieces: Path, to: Path) -> None:
    """Run folders again, under `to`, of what `parcel` made; to the campaign there they are done."""
    body = b"".join(path.read_bytes() for path in sorted(pieces.glob("parcel.[0-9][0-9]")))
    with tarfile.open(fileobj=io.BytesIO(body)) as archive:
        for place in (to, to / "packed"):
            archive.extractall(place, filter="data")
        for name in archive.getnames():
            print(to / name)


def export(to: Path) -> None:
    """Copy the code that a campaign needs, without models and documents, to a folder."""
    ignored = shutil.ignore_patterns("*.onnx", "__pycache__", "static", "web", "*.woff2")
    for name in EXPORTED:
        (to / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, to / name, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy(ROOT / name, to / name)


def run(
    tasks: Sequence[Task],
    data: Path,
    out: Path,
    minutes: float,
    beside: int = 1,
    *,
    lease: float = 0,
    to: Path | None = None,
    shorter: float = 1.0,
) -> None:
    """Do the tasks, so many side by side, until the time is over.

    Args:
        tasks: the whole list, most valuable first.
        data: the folder of FER2013.
        out: where runs and what is packed go.
        minutes: that this command may take.
        beside: how many tasks run at once.
        lease: minutes of this command and the next ones; a training that needs longer than this
            command is stopped at its end, and goes on.
        to: where to leave a parcel after each task.
        shorter: what the minutes of each task are multiplied by.
    """
    start = time.monotonic()
    end, last = start + 60 * minutes, start + 60 * max(minutes, lease)
    waiting, failed = left(tasks, out), []
    busy: dict[subprocess.Popen, Task] = {}
    while waiting or busy:
        while len(busy) < beside and (task := _ready(waiting, tasks, out, failed)):
            waiting.remove(task)
            seconds = min(60 * shorter * task.minutes, last - RESERVE - time.monotonic())
            lost = [name for other in failed for name in other.gives]
            rest = task.without([*lost, *_missing(task, tasks, out)])
            if seconds < LEAST * min(1.0, shorter) or (task.needs and not rest.needs):
                print(f"{_since(start)} {task.name}: no time for it, or nothing", flush=True)
                failed.append(task)
                continue
            print(f"{_since(start)} {task.name}: {task.purpose}, {seconds:.0f} s", flush=True)
            busy[_started(task, rest.words, data, out, seconds)] = task
        if not busy:
            break
        time.sleep(0.1)
        for child in [child for child in busy if child.poll() is not None]:
            task = busy.pop(child)
            ended = "failed" if child.returncode else "done"
            print(f"{_since(start)} {task.name}: {ended}", flush=True)
            if child.returncode:
                failed.append(task)
                _tell(task, out)
            if to:
                parcel(tasks, out, to)
        if time.monotonic() > end:
            break
    for child, task in busy.items():
        child.terminate()
        print(f"{task.name}: stopped; it goes on next time", flush=True)
    for child in busy:
        try:
            child.wait(GRACE)
        except subprocess.TimeoutExpired:
            child.kill()


def _since(start: float) -> str:
    return f"{time.monotonic() - start:5.0f} s"


def _tell(task: Task, out: Path) -> None:
    """The last lines of what a failed task printed: its log stays behind on a lent machine."""
    said = log_file(task, out).read_text(errors="replace").splitlines()[-SHOWN:]
    print(*(f"    {line}" for line in said), sep="\n", flush=True)


def _started(
    task: Task, words: Sequence[str], data: Path, out: Path, seconds: float
) -> subprocess.Popen:
    command = [
        sys.executable, __file__, "--one", shlex.join(words), "--name", task.name,
        "--data", str(data), "--out", str(out), "--seconds", f"{seconds:.1f}",
    ]  # fmt: skip
    with open(log_file(task, out), "ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _ready(
    waiting: list[Task], tasks: Sequence[Task], out: Path, failed: list[Task]
) -> Task | None:
    """The first one of those waiting whose needs are met.

    What failed is waited for no more: a student has its other teachers.
    """
    for task in waiting:
        makers = [o for o in tasks if o.folder in task.needs and o not in failed]
        if all(is_done(maker, out) for maker in makers):
            return task
    return None


def _missing(task: Task, tasks: Sequence[Task], out: Path) -> list[str]:
    """What a task names that no line makes and nobody has brought."""
    made = {other.folder for other in tasks}
    return [n for n in task.needs if n not in made and not (out / n / "weights.pt").exists()]


def side_by_side(count: int) -> None:
    """Let several processes share the GPU's multiprocessors, and the CPU's cores."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    folder = Path(tempfile.gettempdir()) / "mien-mps"
    folder.mkdir(exist_ok=True)
    shared = {"CUDA_MPS_PIPE_DIRECTORY": str(folder), "CUDA_MPS_LOG_DIRECTORY": str(folder)}
    try:
        if not (folder / "control").exists():  # it outlives the command that starts it
            command = ["nvidia-cuda-mps-control", "-d"]
            subprocess.run(command, check=True, timeout=20, env={**os.environ, **shared})
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no CUDA MPS: {error}", flush=True)
    else:
        os.environ |= shared
        print("CUDA MPS is on", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--list", type=Path, default=LIST)
    parser.add_argument("--weights", type=Path, help="Folder of runs that others need.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--beside", type=int, default=1)
    parser.add_argument("--lease", type=float, default=0, help="Minutes of several commands.")
    parser.add_argument("--shorter", type=float, default=1.0, help="Factor on the list's minutes.")
    parser.add_argument("--gpu", action="store_true", help="Refuse to run without one.")
    parser.add_argument("--left", action="store_true", help="Only print what is left.")
    parser.add_argument("--parcel", type=Path, help="Leave what is done there, in a few pieces.")
    parser.add_argument("--unpack", type=Path, help="Such a folder; its runs go to --out.")
    parser.add_argument("--export", type=Path, help="Copy the code to that folder.")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--name", help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.export:
        export(asked.export)
    elif asked.unpack:
        unpack(asked.unpack, asked.out)
    elif asked.one:
        work(shlex.split(asked.one), asked.name, asked.data, asked.out, asked.seconds)
    else:
        _campaign(parser, asked)


def _campaign(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    tasks = read(asked.list.read_text())
    out = asked.out.resolve()
    if not asked.left:
        _check(parser, asked)
        out.mkdir(parents=True, exist_ok=True)
        for folder in asked.weights.iterdir() if asked.weights else ():
            shutil.copytree(folder, out / folder.name, dirs_exist_ok=True)
        if asked.gpu and asked.beside > 1:
            side_by_side(asked.beside)
        run(tasks, asked.data.resolve(), out, asked.minutes, asked.beside, lease=asked.lease,
            to=asked.parcel, shorter=asked.shorter)  # fmt: skip
        if asked.parcel:
            sent = _sent(out) + parcel(tasks, out, asked.parcel)
            (out / "sent.json").write_text(json.dumps(sent))
    for task in left(tasks, out):
        print(f"left: {task.name} ({task.minutes:g} min), {task.purpose}")


def _check(parser: argparse.ArgumentParser, asked: argparse.Namespace) -> None:
    """Nothing is trained that could not be published."""
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
