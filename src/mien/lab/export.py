"""A run, or several as one -> an `.onnx` file: what it expects of a face, what it means to say.

The graph begins at uint8 pixels and ends at probabilities: standardising, window, network,
calibration and softmax are inside. The file is written only if ONNX Runtime gives torch's answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mien
from mien.classification.model_spec import INPUT, OUTPUT, Contract
from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import batches, calibration, data, ensembles, evaluate, measures, storages
from mien.lab.calibration import Scaling
from mien.lab.data import Samples
from mien.lab.heads import HEADS, LABELS
from mien.lab.runs import Run
from mien.onnx_runtime import open_session
from mien.registry import unknown

SIDE = 48
"""Pixels of the faces that an exported network takes, as FER2013 has them."""

MEANS = {
    "labels": "the chance that FER2013's label is this one",
    "votes": "the share of people who would give this label (FER+ raters)",
}

VIEWS = ("one", "flip")

AGREES = {"float32": 1e-4, "float16": 1e-2, "int8": 0.25}
"""How weights are stored -> the largest difference of a probability from torch's that is let pass.

int8 is another network, in truth: what it loses is for `mien evaluate` to say."""


class Exported(nn.Module):
    """A network with all that comes before and after it."""

    def __init__(
        self, network: nn.Module, head: str, side: int, channels: int, scaling: Scaling
    ) -> None:
        super().__init__()
        self.network, self.part = network, HEADS[head]
        self.side, self.channels = side, channels
        self.register_buffer("factors", torch.tensor(scaling.factors))
        self.register_buffer("shifts", torch.tensor(scaling.shifts))

    def forward(self, faces: Tensor) -> Tensor:  # (N, channels, 48, 48) uint8 -> (N, K)
        """Probabilities of one head."""
        crops = batches.window(batches.standardise(faces), self.side)
        return (self.network(crops)[:, self.part] * self.factors + self.shifts).softmax(1)


def export(
    runs: Run | Sequence[Run],
    path: Path,
    *,
    head: str = "votes",
    views: str = "one",
    side: int = 0,
    calibrate: Samples | None = None,
    sharpen: float = 1.0,
    storage: str = "float32",
) -> Contract:
    """Write one head of a finished run, or of several as one, as a model file; its contract.

    views: "flip" averages the answers to a face and to its mirror image, at twice the cost. side:
    of the window that the network looks at, the recipe's if 0. calibrate: the samples (PublicTest)
    on which the calibration is fitted (none without), and the loss by storage measured. sharpen:
    multiplies the calibrated logits. storage: "float32"; "float16", which halves the file and is
    widened again when it is loaded; "int8", weights and activations, which needs `calibrate`.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    _check_wishes(runs, path, head, views, side, sharpen, storage, calibrate)
    side, channels = side or ensembles.side(runs), runs[0].recipe.channels
    network = ensembles.restore(runs, mirrored=views == "flip")
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    labels = LABELS[head]
    scaling = calibration.plain(len(labels))
    if calibrate is not None:
        said = evaluate.logits(network, calibrate.faces, side=side, channels=channels)
        said, targets = said[:, HEADS[head]], _targets(head, calibrate)
        scaling = calibration.fit(said, targets)
    scaling = scaling.sharpened(sharpen)
    whole = Exported(network, head, side, channels, scaling).eval()
    card: dict[str, Any] = {
        "means": MEANS[head],
        "head": head,
        **ensembles.origin(runs),
        "views": views,
        "calibration": asdict(scaling),
        "sharpen": sharpen,
        "window": side,
        "storage": storage,
    }
    contract = Contract(labels, SIDE, channels, card=card)
    proto = to_onnx(whole, contract)
    if storage == "float16":
        proto = storages.with_half_weights(proto)
    if storage == "int8" and calibrate is not None:
        proto = storages.quantized(proto, _inputs(calibrate.faces[:512], channels))
    check(proto, whole, channels, AGREES[storage])
    if calibrate is not None:
        answers = measures.summary(_answers(proto, _inputs(calibrate.faces, channels)), calibrate)
        card["publictest" if data.describe({"val": calibrate})["official"] else "val"] = answers
        card["in_float32"] = measures.summary(scaling(said).softmax(1).numpy(), calibrate)
        crossed = sharpen * calibration.crossed(said, targets)
        card["crossvalidated"] = measures.summary(crossed.softmax(1).numpy(), calibrate)
        _check_loss(answers, card["in_float32"], storage)
        onnx.helper.set_model_props(proto, contract.to_metadata(mien.__version__))
    with atomic_file.writing(path) as temporary:
        onnx.save(proto, temporary)
    return contract


def _check_wishes(
    runs: Sequence[Run],
    path: Path,
    head: str,
    views: str,
    side: int,
    sharpen: float,
    storage: str,
    calibrate: Samples | None,
) -> None:
    if head not in HEADS:
        raise unknown("head", head, HEADS)
    for run in runs:
        if head not in (taught := run.about.get("heads", HEADS)):
            them = ", ".join(taught)
            raise UserError(f"{run.folder} was not trained on {head}; it was on {them}.")
    if views not in VIEWS:
        raise unknown("kind of views", views, VIEWS)
    if path.suffix != ".onnx":
        raise UserError(f"A model file ends in .onnx, not as {path.name} does.")
    if storage not in AGREES:
        raise unknown("storage", storage, AGREES)
    if storage == "int8" and calibrate is None:
        raise UserError("int8 needs faces to see what values occur; give --data.")
    if calibrate is not None:
        if not bool(_targets(head, calibrate).any()):
            raise UserError(f"The val split has no {head} to calibrate by; export without --data.")
        for run in runs:
            if (protocol := run.recipe.protocol) != "official":
                raise UserError(
                    f"{run.folder} was trained by {protocol}, which taught it faces that would "
                    "calibrate it; export it without --data."
                )
    if not 0 <= side <= SIDE:
        raise UserError(f"A window has at most {SIDE} pixels, not {side}.")
    if sharpen <= 0:
        raise UserError(f"sharpen is a number above 0, not {sharpen}.")


def _check_loss(stored: dict[str, float], plain: dict[str, float], storage: str) -> None:
    """Refuse a storage that costs more than a point of accuracy or 0.005 bits of divergence."""
    for name, most in (("labels", -0.01), ("ferplus", -0.01), ("js_bits", 0.005)):
        change = stored.get(name, 0.0) - plain.get(name, 0.0)
        if (change > most) if most > 0 else (change < most):
            raise UserError(f"Stored as {storage}, {name} changes by {change:+.4f}; not exported.")


def _inputs(faces: np.ndarray, channels: int) -> np.ndarray:
    return faces[:, None].repeat(channels, 1)


def _answers(proto: onnx.ModelProto, faces: np.ndarray) -> np.ndarray:
    session = open_session(proto.SerializeToString())
    parts = (faces[k : k + 256] for k in range(0, len(faces), 256))
    return np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in parts])


def to_onnx(model: nn.Module, contract: Contract) -> onnx.ModelProto:
    """The graph of a module from uint8 faces to probabilities, with its contract as metadata."""
    faces = torch.zeros(2, contract.channels, contract.side, contract.side, dtype=torch.uint8)
    with storages.quiet():
        program = torch.onnx.export(
            model,
            (faces,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            verbose=False,
        )
    proto = cast("torch.onnx.ONNXProgram", program).model_proto  # made anew at each access
    # The exporter leaves traces of the source tree in every node; nobody needs them.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.helper.set_model_props(proto, contract.to_metadata(mien.__version__))
    return proto


def check(proto: onnx.ModelProto, model: nn.Module, channels: int, most: float) -> float:
    """The largest difference between ONNX Runtime and torch on noise of several batch sizes.

    Raises `UserError` if it is more than `most`.
    """
    dice = np.random.default_rng(0)
    worst = 0.0
    for count in (1, 3, 16):
        coarse = dice.integers(0, 256, (count, channels, 12, 12), np.uint8)
        faces = coarse.repeat(4, 2).repeat(4, 3)
        ours = _answers(proto, faces)
        with torch.no_grad():
            theirs = model(torch.as_tensor(faces)).numpy()
        worst = float(np.maximum(worst, np.abs(ours - theirs).max()))  # max() would lose a NaN
    if not worst <= most:
        raise UserError(
            f"ONNX Runtime differs from torch by {worst:.2g} in a probability; not exported."
        )
    return worst


def _targets(head: str, samples: Samples) -> Tensor:
    if head == "votes":
        return torch.as_tensor(data.shares(samples.votes))
    return F.one_hot(torch.as_tensor(samples.labels).clamp(min=0), 7) * torch.as_tensor(
        samples.labels[:, None] >= 0
    )
