"""A run, or several as one -> an `.onnx` file: what it expects of a face, what it means to say.

The graph begins at uint8 pixels and ends at probabilities: standardising, window, network,
calibration and softmax are inside. The file is written only if ONNX Runtime gives torch's answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import mien
from mien.classification.model_spec import INPUT, LABELS_OUTPUT, OUTPUT, ModelSpec
from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import batches, calibration, data, ensembles, evaluate, quantization, scores
from mien.lab.calibration import VectorScaling
from mien.lab.data import Samples
from mien.lab.heads import HEADS, LABELS
from mien.lab.runs import Run
from mien.onnx_runtime import open_session
from mien.registry import unknown_name_error

SIDE = 48
"""Pixels of the faces that an exported network takes, as FER2013 has them."""

MEANS = {
    "labels": "the chance that FER2013's label is this one",
    "votes": "the share of people who would give this label (FER+ raters)",
}

VIEWS = ("one", "flip")

AGREES = {"float32": 1e-4, "float16": 1e-2, "int8-weights": 3e-2, "int8": 0.25}
"""How weights are stored -> the largest difference of a probability from torch's that is let pass.

int8 is another network, in truth: what it loses is for `mien evaluate` to say."""


class Exported(nn.Module):
    """A network with all that comes before and after it.

    Args:
        network: (N, channels, side, side) standardised faces -> (N, 15) logits.
        scalings: of each head that is wanted, in the order of the outputs.
        label_share: how much of the label head the vote head's answer has; see
            `calibration.mixed`.
        side: of the window that the network sees.
    """

    def __init__(
        self,
        network: nn.Module,
        scalings: Mapping[str, VectorScaling],
        label_share: float,
        side: int,
    ) -> None:
        super().__init__()
        self.network, self.heads = network, tuple(scalings)
        self.label_share, self.side = label_share, side
        for head, scaling in scalings.items():
            self.register_buffer(f"{head}_factors", torch.tensor(scaling.factors))
            self.register_buffer(f"{head}_shifts", torch.tensor(scaling.shifts))

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:  # (N, channels, 48, 48) uint8
        """Probabilities of each head."""
        answers = self.network(batches.window(batches.standardise(faces), self.side))
        return tuple(self._calibrated(head, answers).softmax(1) for head in self.heads)

    def _calibrated(self, head: str, answers: Tensor) -> Tensor:
        factors, shifts = getattr(self, f"{head}_factors"), getattr(self, f"{head}_shifts")
        return _uncalibrated(head, answers, self.label_share) * factors + shifts


def _uncalibrated(head: str, answers: Tensor, label_share: float) -> Tensor:
    if head == "votes" and label_share:
        return calibration.mixed(answers, label_share)
    return answers[:, HEADS[head]]


def export(
    runs: Run | Sequence[Run],
    path: Path,
    *,
    views: str = "one",
    side: int = 0,
    calibrate: Samples | None = None,
    label_share: float | None = None,
    storage: str = "float32",
) -> ModelSpec:
    """Write a finished run, or several that answer as one, as a model file.

    Args:
        runs: one or more, all taught the same heads. Votes come first where they were taught.
        path: of the file.
        views: "flip" averages the answers to a face and to its mirror image, at twice the cost.
        side: of the window that the network looks at; the config's if 0.
        calibrate: the samples (PublicTest) on which the calibration is fitted by cross-entropy and
            what is lost by storage is measured; nothing is calibrated without.
        label_share: how much of the label head is mixed into the shares of votes, 0 to 1; None is
            what `calibration.label_share` chooses, or 0 without `calibrate`.
        storage: "float32"; "float16" and "int8-weights", smaller and widened again when loaded;
            "int8", weights and activations, which needs `calibrate`.

    Returns:
        The spec of the first head.

    Raises:
        UserError: what is wished for does not fit the runs, or the file would not answer as torch.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    heads = _heads(runs)
    _check_wishes(runs, heads, path, views, side, label_share, storage, calibrate)
    side, channels = side or ensembles.side(runs), runs[0].config.channels
    network = ensembles.restore(runs, mirrored=views == "flip")
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    answers = None
    if calibrate is not None:
        answers = evaluate.logits(network, calibrate.faces, side=side, channels=channels)
    share = _label_share(label_share, heads, answers, calibrate)
    scalings = {head: _scaling(head, answers, share, calibrate) for head in heads}
    whole = Exported(network, scalings, share, side).eval()
    card: dict[str, Any] = {
        **ensembles.origin(runs),
        "views": views,
        "label_share": share,
        "window": side,
        "storage": storage,
        "heads": {
            head: {"means": MEANS[head], "calibration": asdict(scaling)}
            for head, scaling in scalings.items()
        },
    }
    spec = ModelSpec(LABELS[heads[0]], SIDE, channels, card=card)
    proto = to_onnx(whole, spec)
    if storage in quantization.NARROWED:
        proto = quantization.narrowed(proto, storage)
    if storage == "int8" and calibrate is not None:
        proto = quantization.quantized(proto, _inputs(calibrate.faces[:512], channels))
    check(proto, whole, channels, AGREES[storage])
    if calibrate is not None and answers is not None:
        stored = _answers(proto, _inputs(calibrate.faces, channels))
        for head, said in zip(heads, stored, strict=True):
            logits = _uncalibrated(head, answers, share)
            card["heads"][head] |= _measured(head, said, logits, scalings[head], calibrate, storage)
        onnx.helper.set_model_props(proto, spec.to_metadata(mien.__version__))
    with atomic_file.atomic_write(path) as temporary:
        onnx.save(proto, temporary)
    return spec


def _heads(runs: Sequence[Run]) -> list[str]:
    """What all of the runs were taught, votes first."""
    taught = [run.about.get("heads", list(HEADS)) for run in runs]
    if not (heads := [h for h in ("votes", "labels") if all(h in one for one in taught)]):
        raise UserError("One of these runs was taught labels, another votes; they cannot be one.")
    return heads


def _label_share(
    wanted: float | None, heads: Sequence[str], answers: Tensor | None, calibrate: Samples | None
) -> float:
    if wanted is not None:
        return wanted
    if answers is None or calibrate is None or len(heads) < 2:
        return 0.0
    return calibration.label_share(answers, calibrate.votes)


def _scaling(
    head: str, answers: Tensor | None, share: float, calibrate: Samples | None
) -> VectorScaling:
    if answers is None or calibrate is None:
        return calibration.plain(len(LABELS[head]))
    return calibration.fit(_uncalibrated(head, answers, share), _targets(head, calibrate))


def _measured(
    head: str,
    stored: np.ndarray,
    logits: Tensor,
    scaling: VectorScaling,
    faces: Samples,
    storage: str,
) -> dict[str, dict[str, float]]:
    """What a head is worth on the faces that calibrated it: as stored, and before in float32.

    crossvalidated: each face calibrated by the faces of the other folds.
    """
    judged = "publictest" if data.describe({"val": faces})["official"] else "val"
    crossed = calibration.crossed(logits, _targets(head, faces))
    answers = {
        judged: stored,
        "in_float32": scaling(logits).softmax(1).numpy(),
        "crossvalidated": crossed.softmax(1).numpy(),
    }
    found = {name: scores.summary(one, faces) for name, one in answers.items()}
    _check_loss(found[judged], found["in_float32"], storage)
    return found


def _check_wishes(
    runs: Sequence[Run],
    heads: Sequence[str],
    path: Path,
    views: str,
    side: int,
    label_share: float | None,
    storage: str,
    calibrate: Samples | None,
) -> None:
    if views not in VIEWS:
        raise unknown_name_error("kind of views", views, VIEWS)
    if path.suffix != ".onnx":
        raise UserError(f"A model file ends in .onnx, not as {path.name} does.")
    if storage not in AGREES:
        raise unknown_name_error("storage", storage, AGREES)
    if storage == "int8" and calibrate is None:
        raise UserError("int8 needs faces to see what values occur; give --data.")
    if calibrate is not None:
        _check_calibration(runs, heads, calibrate)
    if not 0 <= side <= SIDE:
        raise UserError(f"A window has at most {SIDE} pixels, not {side}.")
    if label_share and len(heads) < 2:
        raise UserError(f"A label share needs both heads; there is only {heads[0]}.")
    if label_share is not None and not 0 <= label_share <= 1:
        raise UserError(f"A label share is from 0 to 1, not {label_share}.")


def _check_calibration(runs: Sequence[Run], heads: Sequence[str], calibrate: Samples) -> None:
    for head in heads:
        if not bool(_targets(head, calibrate).any()):
            raise UserError(f"The val split has no {head} to calibrate by; export without --data.")
    for run in runs:
        if (protocol := run.config.protocol) != "official":
            raise UserError(
                f"{run.folder} was trained by {protocol}, which taught it faces that would "
                "calibrate it; export it without --data."
            )


def _check_loss(stored: dict[str, float], plain: dict[str, float], storage: str) -> None:
    """Refuse a storage that costs more than a point of accuracy or 0.01 nats of divergence."""
    for name, most in (("labels", -0.01), ("ferplus", -0.01), ("kl_nats", 0.01)):
        change = stored.get(name, 0.0) - plain.get(name, 0.0)
        if (change > most) if most > 0 else (change < most):
            raise UserError(f"Stored as {storage}, {name} changes by {change:+.4f}; not exported.")


def _inputs(faces: np.ndarray, channels: int) -> np.ndarray:
    return faces[:, None].repeat(channels, 1)


def _answers(proto: onnx.ModelProto, faces: np.ndarray) -> list[np.ndarray]:
    """Each output for all faces."""
    session = open_session(proto.SerializeToString())
    parts = (faces[k : k + 256] for k in range(0, len(faces), 256))
    answers = [session.run(None, {INPUT: part}) for part in parts]
    return [np.concatenate(one) for one in zip(*answers, strict=True)]


def to_onnx(model: Exported, spec: ModelSpec) -> onnx.ModelProto:
    """The graph of a module from uint8 faces to probabilities, with its spec as metadata."""
    outputs = (OUTPUT, LABELS_OUTPUT)[: len(model.heads)]
    faces = torch.zeros(2, spec.channels, spec.side, spec.side, dtype=torch.uint8)
    with quantization.quiet():
        program = torch.onnx.export(
            model,
            (faces,),
            dynamo=True,
            input_names=[INPUT],
            output_names=outputs,
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
    onnx.helper.set_model_props(proto, spec.to_metadata(mien.__version__))
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
        with torch.no_grad():
            expected = model(torch.as_tensor(faces))
        for ours, theirs in zip(_answers(proto, faces), expected, strict=True):
            differs = np.abs(ours - theirs.numpy()).max()
            worst = float(np.maximum(worst, differs))  # max() would lose a NaN
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
