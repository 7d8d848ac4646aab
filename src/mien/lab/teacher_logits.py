"""Teachers' answers to augmented training faces: stored once, used by every student.

A teacher can cost ten times what its student does. Its logits for a number of augmented epochs
are small (0.9 MB an epoch and teacher), and students that repeat these epochs need no teacher.

    STORE/augmentation.json          what the faces were shown like: config fields, seed, data
    STORE/TEACHER/epoch-003.npy      (faces, 15) float16 logits, in the order of the batches
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import augmentation, batches, checks, data, evaluate, protocols, runs
from mien.lab.config import Config
from mien.lab.heads import HEADS
from mien.lab.losses import bfloat16

AUGMENTATION = (
    "protocol", "fold", "folds", "channels", "input_size", "batch_size", "flip", "rotation",
    "scale", "translate",
    "brightness_contrast", "interpolation", "random_erasing", "mixup", "cutmix",
)  # fmt: skip
"""The fields that decide what a batch looks like; a student must share them with the store."""


def shown_like(config: Config) -> dict:
    """The fields of a recipe that decide what a batch looks like."""
    return {name: getattr(config, name) for name in AUGMENTATION}


def store(
    config: Config,
    root: Path | str,
    folder: Path | str,
    teachers: list[str],
    epochs: int,
    watch: Callable[[str, int, int], None] | None = None,
) -> None:
    """Store the logits of each teacher for augmented epochs 0 to `epochs - 1`.

    Args:
        config: its augmentation fields and seed say how the faces are shown.
        root: the data, as for training.
        folder: where the answers go; files that are there already are kept, so a run that was
            stopped goes on, and a further teacher or epoch can be added later.
        teachers: run folders.
        epochs: how many augmented epochs to store.
        watch: called with "epoch", the epochs done and their number.

    Raises:
        UserError: `folder` holds answers for another augmentation or other data, a teacher is not
            trained, or the size of the faces changes from epoch to epoch (`first_side`).
    """
    if config.initial_size:
        raise UserError("Stored answers need faces of one size; set initial_size=0.")
    folder, config = Path(folder), replace(config, domain_randomization=0.0)
    whole = data.load(root)
    checks.sources(replace(config, teachers=tuple(teachers), init_from=""), data.describe(whole))
    splits = protocols.divide(whole, config)
    train = data.split(splits, "train")
    about = {
        "augmentation": shown_like(config),
        "seed": config.seed,
        "epochs": epochs,
        "train": data.describe({"train": train})["sha256"]["train"],
    }
    described = folder / "augmentation.json"
    if described.exists():
        known = runs.read_json(described)
        if {**known, "epochs": 0} != {**json.loads(json.dumps(about)), "epochs": 0}:
            raise UserError(f"{folder} holds answers for another augmentation or other data.")
        about["epochs"] = max(epochs, known["epochs"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = batches.on_device(train, config, device)
    runs.write_json(described, about)
    for epoch in range(epochs):
        if watch:
            watch("epoch", epoch, epochs)
        missing = [path for path in teachers if not _file(folder, Path(path).name, epoch).exists()]
        networks = [evaluate.load_network(runs.open_run(path), device) for path in missing]
        if not networks:
            continue
        answers = _answers(networks, faces, config, epoch)
        for path, logits in zip(missing, answers, strict=True):
            file = _file(folder, Path(path).name, epoch)
            file.parent.mkdir(parents=True, exist_ok=True)
            with atomic_file.atomic_write(file) as temporary, open(temporary, "wb") as opened:
                np.save(opened, logits.astype(np.float16))


def _file(folder: Path, teacher: str, epoch: int) -> Path:
    return folder / teacher / f"epoch-{epoch:03}.npy"


@torch.no_grad()
def _answers(
    networks: list[nn.Module], faces: batches.Batch, config: Config, epoch: int
) -> list[np.ndarray]:
    """The logits of each network for one augmented epoch: (faces, 15) each."""
    device = faces.faces.device
    half = bfloat16(config, device)
    collected: list[list[Tensor]] = [[] for _ in networks]
    for batch in augmentation.epoch(faces, config, epoch):
        shown = batch.faces.contiguous(memory_format=torch.channels_last)
        for network, answers in zip(networks, collected, strict=True):
            with torch.autocast(device.type, torch.bfloat16, enabled=half):
                answers.append(network(shown).float())
    return [torch.cat(answers).cpu().numpy() for answers in collected]


class StoredAnswers:
    """The stored answers that a student learns from.

    The student's epoch n shows the faces of stored epoch `(n + seed) % epochs`.

    Raises:
        UserError: the store's augmentation or data is not the student's, or a teacher's file is
            missing or damaged.
    """

    def __init__(self, config: Config, train: data.Samples) -> None:
        self.folder = Path(config.teacher_logits)
        self.teachers = [Path(path).name for path in config.teachers]
        about = runs.read_json(self.folder / "augmentation.json")
        ours = json.loads(json.dumps(shown_like(config)))
        if differ := [k for k in ours if about["augmentation"].get(k) != ours[k]]:
            values = ", ".join(f"{k}={about['augmentation'].get(k)}" for k in differ)
            raise UserError(f"{self.folder} was made with {values}; use the same.")
        if about["train"] != data.describe({"train": train})["sha256"]["train"]:
            raise UserError(f"{self.folder} was made from other training faces.")
        self.seed, self.epochs, self._offset = about["seed"], about["epochs"], config.seed
        self._temperature = config.teacher_temperature
        self._targets: dict[int, dict[str, Tensor]] = {}  # 1.7 MB an epoch
        for teacher in self.teachers:
            for epoch in range(self.epochs):
                self._load(teacher, epoch)

    def epoch(self, number: int) -> int:
        """The stored epoch that the student's epoch `number` repeats."""
        return (number + self._offset) % self.epochs

    def targets(self, number: int) -> dict[str, Tensor]:
        """Head -> (faces, classes) float32: the teachers' mean probabilities, in batch order."""
        epoch = self.epoch(number)
        if epoch not in self._targets:
            self._targets[epoch] = self._means(epoch)
        return self._targets[epoch]

    def _means(self, epoch: int) -> dict[str, Tensor]:
        logits = [torch.as_tensor(self._load(name, epoch)).float() for name in self.teachers]
        return {
            name: torch.stack(
                [(one[:, part] / self._temperature).softmax(1) for one in logits]
            ).mean(0)
            for name, part in HEADS.items()
        }

    def _load(self, teacher: str, epoch: int) -> np.ndarray:
        path = _file(self.folder, teacher, epoch)
        try:
            return np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise UserError(f"{path} is missing: `mien distill` adds it.") from None
        except (OSError, ValueError, EOFError):
            raise UserError(f"{path} is damaged; delete it and store it again.") from None
