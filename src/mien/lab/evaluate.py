"""A run or a model file -> its answers for every face of a split, and all that they are worth.

Each face is seen exactly once, by one process. Runs do not need ONNX Runtime, which some
machines that train do not have.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import batches, data, models, protocols, runs, scores
from mien.lab.config import published
from mien.lab.heads import CLASSES, HEADS, LABELS
from mien.lab.runs import Run
from mien.labels import EMOTIONS, restrict_labels
from mien.registry import unknown_name_error

if TYPE_CHECKING:
    from mien.classification.classifier import Classifier

VIEWS = {"one": [(0, 0)], "flip": [(0, 0)], "ten": [(0, 0), (-2, -2), (-2, 2), (2, -2), (2, 2)]}
"""Test-time augmentation -> how far the face is moved (down, right), in pixels; all but "one"
look at each mirrored, too. A window of 44 in 48 pixels makes of "ten" the usual ten crops."""

Answers = dict[str, np.ndarray]
"""Head ("labels", "votes") -> (N, 7) or (N, 8) probabilities."""


def restore(run: Run, device: torch.device | str = "cpu") -> nn.Module:
    """The trained network of a run, in evaluation mode; a `UserError` if it is not trained yet."""
    config = run.config
    model = models.build(config.model, channels=config.channels, classes=CLASSES)
    load_weights(model, run)
    return model.to(device).eval()


def load_weights(model: nn.Module, run: Run) -> None:
    """Put a run's weights into a network; a `UserError` if there are none yet or they differ."""
    if not run.finished:
        raise UserError(f"{run.folder} is not finished; `mien train` on the same --out goes on.")
    weights = runs.load_tensors(run.weights_file)
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise UserError(f"The weights of {run.folder} are not those of this network.") from None


@torch.no_grad()
def logits(
    model: nn.Module,
    faces: np.ndarray | Tensor,
    *,
    side: int,
    channels: int = 1,
    batch: int = 512,
) -> Tensor:
    """The network's answers: faces (N, H, W) uint8 -> (N, classes) float32, on the CPU."""
    device = next(model.parameters()).device
    answers = []
    for part in torch.as_tensor(faces).split(batch):
        pixels = batches.standardise(part.to(device))[:, None].expand(-1, channels, -1, -1)
        crops = batches.window(pixels, side).contiguous(memory_format=torch.channels_last)
        answers.append(model(crops).float())
    return torch.cat(answers).cpu()


def seen(faces: np.ndarray, views: str) -> list[np.ndarray]:
    """The faces as test-time augmentation shows them: (N, H, W) -> 1, 2 or 10 of the same."""
    if views not in VIEWS:
        raise unknown_name_error("kind of views", views, VIEWS)
    moved = [_moved(faces, down, right) for down, right in VIEWS[views]]
    return moved if views == "one" else moved + [face[:, :, ::-1] for face in moved]


def _moved(faces: np.ndarray, down: int, right: int) -> np.ndarray:
    rows = np.clip(np.arange(faces.shape[1]) - down, 0, faces.shape[1] - 1)
    columns = np.clip(np.arange(faces.shape[2]) - right, 0, faces.shape[2] - 1)
    return faces[:, rows[:, None], columns]


def answer(what: Run | Path, faces: np.ndarray, views: str = "one", side: int = 0) -> Answers:
    """What a run (each head it taught) or a model file says of faces, averaged over views.

    faces: (N, 48, 48) uint8. side: of the window that a run's network looks at, its recipe's if 0.
    A model file from elsewhere with `contempt` among its labels answers as "votes".
    """
    if isinstance(what, Run):
        model, config = restore(what, "cuda" if torch.cuda.is_available() else "cpu"), what.config
        ask = partial(logits, model, side=side or config.input_size, channels=config.channels)
        taught = what.about.get("heads", list(HEADS))
        return _mean([_heads(ask(view.copy()), taught) for view in seen(faces, views)])
    from mien.classification.classifier import Classifier

    classify = Classifier(what)
    return _mean([_classified(classify, view) for view in seen(faces, views)])


def _heads(found: Tensor, taught: Sequence[str]) -> Answers:
    return {name: found[:, HEADS[name]].softmax(1).numpy() for name in taught}


def _classified(classify: Classifier, faces: np.ndarray) -> Answers:
    from mien.classification.model_spec import crop

    expects = classify.spec
    whole = (0.0, 0.0, float(faces.shape[2]), float(faces.shape[1]))
    coloured = faces[..., None].repeat(3, axis=-1)
    crops = np.stack([crop(face, whole, expects.side, expects.channels) for face in coloured])
    parts = [crops[k : k + 256] for k in range(0, len(crops), 256)]
    if expects.card.get("heads"):
        answers = [classify.predict_all_heads(part) for part in parts]
        return {head: np.concatenate([one[head] for one in answers]) for head in answers[0]}
    said = np.concatenate([classify(part) for part in parts])
    head = "votes" if "contempt" in expects.labels else "labels"
    return {head: restrict_labels(said, expects.labels, LABELS[head])}


def _mean(answers: Sequence[Answers]) -> Answers:
    return {name: np.mean([a[name] for a in answers], axis=0) for name in answers[0]}


def evaluate(
    what: str | Path,
    root: str | Path,
    *,
    split: str = "val",
    views: str = "one",
    side: int = 0,
    leave_out: Path | None = None,
    resamples: int = 1000,
) -> dict:
    """A result, ready for `results/`: what was measured, on what, how, and the numbers.

    what: a run folder or an `.onnx` file. The answers of a run are kept in its folder. leave_out: a
    CSV file whose column `row` names faces that shall not judge (`mien audit --clean`). Raises
    `UserError` for what cannot be measured so, such as a run whose protocol would divide the faces
    otherwise than it did for the training, as these are others.
    """
    path = Path(what)
    target = runs.open_run(path) if path.is_dir() else path
    if side and not isinstance(target, Run):
        raise UserError(f"{path.name} looks at a window of its own; --side is for runs.")
    trained = _origin(target)
    protocol, splits, about = _divided(data.load(root), target, trained)
    samples, train = data.split(splits, split), splits.get("train") if split != "train" else None
    about = about | {"split": split}
    if leave_out is not None:
        samples, gone = _without(samples, _rows(leave_out))
        about["left_out"] = {"list": leave_out.name, "faces": gone}
        if not gone:
            raise UserError(f"{leave_out} names no face of {split}; it is of other data.")
        if not len(samples):
            raise UserError(f"{leave_out} leaves out every face of {split}.")
    if not 0 <= side <= samples.faces.shape[1]:
        raise UserError(f"A window has at most {samples.faces.shape[1]} pixels, not {side}.")
    said = answer(target, samples.faces, views, side)
    result = {
        "what": path.name,
        "data": about,
        "protocol": protocol,
        "views": views,
        "window": side or (target.config.input_size if isinstance(target, Run) else None),
        "trained": trained,
        "measured": runs.about(),
        **(_costs(target, side) if isinstance(target, Run) else {}),
        **_chosen(trained),
        "heads": {
            name: scores.measure(probabilities, samples, train, resamples)
            for name, probabilities in said.items()
        },
    }
    if isinstance(target, Run):
        known = {"rows": samples.rows, "truth": samples.labels, "raters": samples.votes}
        runs.save_predictions(target, known | said, result)
    return result


def _divided(
    splits: protocols.Splits, target: Run | Path, trained: Mapping
) -> tuple[str, protocols.Splits, dict]:
    """The protocol, the faces as it divides them, and what data they are, as they came."""
    about = data.describe(splits)
    protocol = "official" if about["official"] else "as the data is split"
    others = sorted(_protocols(trained) - {"official"})
    if not others:
        return protocol, splits, about
    if not isinstance(target, Run):
        return protocol + protocols.AFTER + ", ".join(others), splits, about
    if target.about.get("data", about) != about:
        raise UserError(
            f"{target.folder} was trained by {others[0]} on other data; divided anew, faces that "
            "taught it would judge it."
        )
    return others[0], protocols.divide(splits, target.config), about


def _without(samples: data.Samples, rows: list[int]) -> tuple[data.Samples, int]:
    """The samples without those of the rows, and how many those were."""
    kept = ~np.isin(samples.rows, rows)
    return samples.take(kept), int((~kept).sum())


def _rows(path: Path) -> list[int]:
    """The column `row` of a CSV file; a `UserError` if it has none."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            return [int(line["row"]) for line in csv.DictReader(file)]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is no list of faces: a CSV file with a column row.") from None


def measured(run: Run, root: Path) -> dict:
    """The result of a run on its own `val`, by one view; as kept, if it was measured so last."""
    if run.metrics_file.exists():
        last = runs.read_json(run.metrics_file)
        wanted = (run.about["data"] | {"split": "val"}, "one", run.config.input_size)
        if (last["data"], last["views"], last["window"]) == wanted:
            return last
    return evaluate(run.folder, root)


def _recipes(trained: Mapping) -> list[Mapping]:
    """The recipes of what was trained; none where nobody says."""
    members = trained.get("members", [trained])
    return [member["config"] for member in members if member.get("config")]


def _protocols(trained: Mapping) -> set[str]:
    return {config.get("protocol", "official") for config in _recipes(trained)}


def _chosen(trained: Mapping) -> dict[str, str]:
    """By which split's losses its epoch was chosen, if it was: that split measures it no more."""
    by_val = any(r.get("select_epoch") == "best" or r.get("patience") for r in _recipes(trained))
    return {"epoch_chosen_on": "val"} if by_val else {}


def _costs(run: Run, side: int) -> dict[str, dict]:
    """Size and work of a run's network with one head of seven, and what its training took.

    The accuracy is that of the last epoch, on training faces as they were augmented.
    """
    config, log = run.config, run.log()
    network = models.build(config.model, channels=config.channels, classes=len(EMOTIONS))
    work = models.multiply_adds(network, side or config.input_size, config.channels)
    return {
        "network": {"parameters": models.parameters(network), "multiply_adds": work},
        "training": {
            "epochs": len(log),
            "seconds": sum(entry["seconds"] for entry in log),
            "accuracy": log[-1]["accuracy"] if log else None,
        },
    }


def _origin(target: Run | Path) -> dict:
    if isinstance(target, Run):
        return {"config": published(target.config), "seed": target.config.seed, **target.about}
    from mien.classification.classifier import Classifier

    return dict(Classifier(target, threads=1).spec.card)
