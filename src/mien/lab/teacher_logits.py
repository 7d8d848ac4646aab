"""Teacher logits for augmented training faces, stored once and used by every student.

A teacher can cost ten times as much as its student. With stored logits, a student trains on the
same augmented epochs again without running the teacher. One teacher's logits of an epoch of FER2013
take 0.9 MB.

    STORE/augmentation.json          augmentation fields of the config, seed, number of epochs, and
                                     digest of the training set
    STORE/TEACHER/epoch-003.npy      (faces, 15) float16 logits, in the order of the batches;
                                     the faces of a smaller last batch are left out
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import augmentation, batches, checks, data, inference, protocols, runs
from mien.lab.config import Config
from mien.lab.heads import HEADS
from mien.lab.progress import ProgressCallback
from mien.lab.teachers import Teacher

AUGMENTATION_FIELDS = (
    "protocol", "fold", "folds", "channels", "input_size", "batch_size", "flip", "rotation",
    "scale", "translate", "brightness_contrast", "interpolation", "random_erasing", "mixup",
    "cutmix",
)  # fmt: skip
"""Config fields that, with the seed, determine the augmented batches.

The config of a student must have the values that its stored logits were computed with."""

DESCRIPTION_NAME = "augmentation.json"
"""Name of the file that describes stored logits."""


def augmentation_fields(config: Config) -> dict:
    """The values of `AUGMENTATION_FIELDS` in a config."""
    return {name: getattr(config, name) for name in AUGMENTATION_FIELDS}


def store(
    config: Config,
    root: Path | str,
    folder: Path | str,
    teachers: list[str],
    epochs: int,
    on_progress: ProgressCallback | None = None,
) -> None:
    """Store the logits of each teacher for the augmented epochs 0 to `epochs - 1`.

    Existing files are kept. An interrupted command can therefore be repeated, and teachers or
    epochs can be added.

    Args:
        config: Config whose augmentation fields and seed determine the batches.
        root: Path of the dataset.
        folder: Folder for the logits.
        teachers: Run folders of the teachers.
        epochs: Number of augmented epochs.
        on_progress: Called before every epoch.

    Raises:
        UserError: `folder` has logits for another augmentation, seed or training set, or a
            damaged description; a teacher is unfinished or may have been trained on evaluation
            faces; two run folders of teachers have the same name; or the size of the faces changes
            between epochs (`initial_size`).
    """
    if config.initial_size:
        raise UserError(
            "Stored logits need faces of the same size in all epochs. Set initial_size=0."
        )
    paths_by_name = dict(zip(_unique_names(teachers), teachers, strict=True))
    folder = Path(folder)
    config = replace(config, domain_randomization=0.0)  # it changes only the faces of students
    dataset = data.load(root)
    # The config may be that of a student, whose stored logits would exempt teachers from the check.
    with_teachers = replace(config, teachers=tuple(teachers), teacher_logits="", init_from="")
    checks.check_sources(with_teachers, data.describe(dataset))
    train = data.split(protocols.split(dataset, config), "train")
    _write_description(folder, config, train, epochs)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    faces = batches.to_device(train, config, device)

    @cache  # loads only the teachers whose logits are missing, and each of them once
    def load_teacher(name: str) -> Teacher:
        network = inference.load_network(runs.open_run(paths_by_name[name]))
        return Teacher(network, config, device)

    for epoch in range(epochs):
        if on_progress:
            on_progress("epoch", epoch, epochs)
        missing = [name for name in paths_by_name if not _path(folder, name, epoch).exists()]
        if missing:
            all_logits = _logits([load_teacher(name) for name in missing], faces, config, epoch)
            for name, logits in zip(missing, all_logits, strict=True):
                _write_logits(_path(folder, name, epoch), logits)


def _unique_names(teachers: Sequence[str]) -> list[str]:
    """Return the names of run folders; raise a `UserError` if two are equal."""
    names = [Path(path).name for path in teachers]
    for name in names:
        if names.count(name) > 1:
            raise UserError(
                f"Two teachers have the name {name}, by which logits are stored. Rename one folder."
            )
    return names


def _write_description(folder: Path, config: Config, train: data.Samples, epochs: int) -> None:
    description = {
        "augmentation": augmentation_fields(config),
        "seed": config.seed,
        "epochs": epochs,
        "train": data.describe({"train": train})["sha256"]["train"],
    }
    path = folder / DESCRIPTION_NAME
    if path.exists():
        existing = _read_description(folder)
        if any(existing[name] != description[name] for name in ("augmentation", "seed", "train")):
            raise UserError(
                f"{folder} has logits for another augmentation, seed or training set. "
                "Choose another --out."
            )
        description["epochs"] = max(epochs, existing["epochs"])
    runs.write_json(path, description)


def _read_description(folder: Path) -> dict:
    """Read the description of stored logits; a `UserError` if it is missing or damaged."""
    path = folder / DESCRIPTION_NAME
    description = runs.read_json(path)
    types = {"augmentation": dict, "seed": int, "epochs": int, "train": str}
    if not all(isinstance(description.get(name), kind) for name, kind in types.items()):
        raise UserError(f"{path} is damaged. Delete {folder} and store the logits again.")
    return description


def _path(folder: Path, teacher: str, epoch: int) -> Path:
    return folder / teacher / f"epoch-{epoch:03}.npy"


def _write_logits(path: Path, logits: np.ndarray) -> None:
    with atomic_file.atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.save(file, logits.astype(np.float16))


@torch.no_grad()
def _logits(
    teachers: list[Teacher], faces: batches.Batch, config: Config, epoch: int
) -> list[np.ndarray]:
    """Compute the logits of each teacher for one augmented epoch: (faces, 15) each."""
    batch_logits: list[list[Tensor]] = [[] for _ in teachers]
    for batch in augmentation.augmented_batches(faces, config, epoch):
        for teacher, logits in zip(teachers, batch_logits, strict=True):
            logits.append(teacher(batch.faces))
    return [torch.cat(logits).cpu().numpy() for logits in batch_logits]


class StoredLogits:
    """The stored teacher logits for a student.

    Epoch n of the student repeats the stored epoch `(n + config.seed) % epochs`.

    Args:
        config: Config of the student.
        train: Training set of the student.

    Attributes:
        seed: The seed that the logits were stored with.
        epochs: The number of stored epochs.

    Raises:
        UserError: The logits were stored for another augmentation or other data, or a file is
            missing or damaged.
    """

    def __init__(self, config: Config, train: data.Samples) -> None:
        self.folder = Path(config.teacher_logits)
        self.teachers = _unique_names(config.teachers)
        description = _read_description(self.folder)
        stored = description["augmentation"]
        expected = augmentation_fields(config)
        if differing := [name for name in expected if stored.get(name) != expected[name]]:
            values = ", ".join(f"{name}={stored.get(name)}" for name in differing)
            raise UserError(f"{self.folder} was stored with {values}. Set the same values.")
        if description["train"] != data.describe({"train": train})["sha256"]["train"]:
            raise UserError(
                f"{self.folder} was stored for another training set. Use the same --data, or store "
                "the logits of this data with mien distill."
            )
        self.seed, self.epochs = description["seed"], description["epochs"]
        self._student_seed = config.seed
        self._temperature = config.teacher_temperature
        self._targets: dict[int, dict[str, Tensor]] = {}  # 1.7 MB per epoch
        # Find missing and damaged files before the training instead of in a later epoch.
        for teacher in self.teachers:
            for epoch in range(self.epochs):
                self._load(teacher, epoch)

    def epoch(self, number: int) -> int:
        """The stored epoch that epoch `number` of the student repeats."""
        return (number + self._student_seed) % self.epochs

    def targets(self, number: int) -> dict[str, Tensor]:
        """The mean probabilities of the teachers for epoch `number` of the student.

        Returns:
            Head -> (faces, classes) float32, in the order of the batches.
        """
        epoch = self.epoch(number)
        if epoch not in self._targets:
            self._targets[epoch] = self._mean_probabilities(epoch)
        return self._targets[epoch]

    def _mean_probabilities(self, epoch: int) -> dict[str, Tensor]:
        stored = [torch.as_tensor(self._load(name, epoch)).float() for name in self.teachers]
        return {
            head: torch.stack(
                [(logits[:, columns] / self._temperature).softmax(1) for logits in stored]
            ).mean(0)
            for head, columns in HEADS.items()
        }

    def _load(self, teacher: str, epoch: int) -> np.ndarray:
        path = _path(self.folder, teacher, epoch)
        try:
            return np.load(path, allow_pickle=False)
        except FileNotFoundError:
            raise UserError(f"{path} does not exist. Store it with mien distill.") from None
        except (OSError, ValueError, EOFError):
            raise UserError(f"{path} is damaged. Delete it and store it again.") from None
