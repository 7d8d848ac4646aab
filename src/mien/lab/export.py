"""Export of a run, or an ensemble of runs, to an `.onnx` file that carries its own spec.

The graph maps uint8 pixels to probabilities: standardization, cropping, network, calibration and
softmax are inside. The file is written only if ONNX Runtime reproduces torch's probabilities.
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

FACE_SIZE = 48
"""Side of the faces that an exported network takes, in pixels, as in FER2013."""

TARGETS = {
    "labels": "the probability of this FER2013 label",
    "votes": "the share of people who would choose this label (FER+ votes)",
}
"""Head -> what its probabilities estimate."""

TTA = ("none", "flip")
"""The test-time augmentation that a file can contain."""

TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8-weights": 3e-2, "int8": 0.25}
"""Storage -> the largest accepted difference of a probability from torch's.

int8 is in effect another network; `mien evaluate` measures what it loses."""


class ExportedNetwork(nn.Module):
    """A network with its preprocessing, calibration and softmax.

    Args:
        network: (N, channels, input_size, input_size) standardized faces -> (N, 15) logits.
        scalings: of each exported head, in the order of the outputs.
        label_share: how much of the label head is mixed into the vote head, 0 to 1; see
            `calibration.mix_heads`.
        input_size: side of the central window that the network gets, in pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        scalings: Mapping[str, VectorScaling],
        label_share: float,
        input_size: int,
    ) -> None:
        super().__init__()
        self.network, self.heads = network, tuple(scalings)
        self.label_share, self.input_size = label_share, input_size
        for head, scaling in scalings.items():
            self.register_buffer(f"{head}_factors", torch.tensor(scaling.factors))
            self.register_buffer(f"{head}_shifts", torch.tensor(scaling.shifts))

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """(N, channels, 48, 48) uint8 -> the probabilities of each head."""
        logits = self.network(batches.center_crop(batches.standardize(faces), self.input_size))
        return tuple(self._calibrate(head, logits).softmax(1) for head in self.heads)

    def _calibrate(self, head: str, logits: Tensor) -> Tensor:
        factors, shifts = getattr(self, f"{head}_factors"), getattr(self, f"{head}_shifts")
        return _uncalibrated(head, logits, self.label_share) * factors + shifts


def _uncalibrated(head: str, logits: Tensor, label_share: float) -> Tensor:
    if head == "votes" and label_share:
        return calibration.mix_heads(logits, label_share)
    return logits[:, HEADS[head]]


def export(
    runs: Run | Sequence[Run],
    path: Path,
    *,
    tta: str = "none",
    input_size: int = 0,
    calibrate: Samples | None = None,
    label_share: float | None = None,
    storage: str = "float32",
) -> ModelSpec:
    """Write a finished run, or an ensemble of several, as a model file.

    Args:
        runs: one or more; the file has the heads that all of them were trained with, votes first.
        path: of the file.
        tta: "flip" averages over a face and its mirror image, at twice the cost.
        input_size: side of the window that the network gets; 0: as in the config.
        calibrate: the samples (PublicTest) on which the calibration is fitted and the loss by
            storage is measured; None: no calibration.
        label_share: how much of the label head is mixed into the vote shares, 0 to 1; None: what
            `calibration.choose_label_share` chooses, or 0 without `calibrate`.
        storage: "float32"; "float16" or "int8-weights", smaller and converted to float32 on
            loading; "int8", weights and activations, which needs `calibrate`.

    Returns:
        The spec of the first head.

    Raises:
        UserError: an option does not fit the runs, or the file does not reproduce torch.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    heads = _common_heads(runs)
    _check_options(path, tta, input_size, label_share, storage, heads, calibrate)
    if calibrate is not None:
        _check_calibration(runs, heads, calibrate)
    input_size, channels = input_size or ensembles.input_size(runs), runs[0].config.channels
    network = ensembles.restore(runs, flip=tta == "flip")
    network = network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    logits = None
    if calibrate is not None:
        logits = evaluate.compute_logits(
            network, calibrate.faces, input_size=input_size, channels=channels
        )
    share = _label_share(label_share, heads, logits, calibrate)
    scalings = {head: _scaling(head, logits, share, calibrate) for head in heads}
    exported = ExportedNetwork(network, scalings, share, input_size).eval()
    card: dict[str, Any] = {
        **ensembles.provenance(runs),
        "tta": tta,
        "label_share": share,
        "input_size": input_size,
        "storage": storage,
        "heads": {
            head: {"target": TARGETS[head], "calibration": asdict(scaling)}
            for head, scaling in scalings.items()
        },
    }
    spec = ModelSpec(LABELS[heads[0]], FACE_SIZE, channels, card=card)
    proto = to_onnx(exported, spec)
    if storage in quantization.REDUCED_PRECISION:
        proto = quantization.reduce_precision(proto, storage)
    if storage == "int8" and calibrate is not None:
        proto = quantization.quantize(proto, _inputs(calibrate.faces[:512], channels))
    check_against_torch(proto, exported, channels, TOLERANCES[storage])
    if calibrate is not None and logits is not None:
        outputs = _run_onnx(proto, _inputs(calibrate.faces, channels))
        for head, stored in zip(heads, outputs, strict=True):
            uncalibrated = _uncalibrated(head, logits, share)
            card["heads"][head] |= _head_scores(
                head, stored, uncalibrated, scalings[head], calibrate, storage
            )
        onnx.helper.set_model_props(proto, spec.to_metadata(mien.__version__))
    with atomic_file.atomic_write(path) as temporary:
        onnx.save(proto, temporary)
    return spec


def _common_heads(runs: Sequence[Run]) -> list[str]:
    """The heads that all runs were trained with, votes first."""
    trained = [run.about.get("heads", list(HEADS)) for run in runs]
    if not (heads := [h for h in ("votes", "labels") if all(h in one for one in trained)]):
        raise UserError(
            "These runs have no head in common: one was trained on labels, another on votes. "
            "Export them separately."
        )
    return heads


def _label_share(
    requested: float | None,
    heads: Sequence[str],
    logits: Tensor | None,
    calibrate: Samples | None,
) -> float:
    if requested is not None:
        return requested
    if logits is None or calibrate is None or len(heads) < 2:
        return 0.0
    return calibration.choose_label_share(logits, calibrate.votes)


def _scaling(
    head: str, logits: Tensor | None, share: float, calibrate: Samples | None
) -> VectorScaling:
    if logits is None or calibrate is None:
        return calibration.identity(len(LABELS[head]))
    return calibration.fit(_uncalibrated(head, logits, share), _targets(head, calibrate))


def _head_scores(
    head: str,
    stored: np.ndarray,
    logits: Tensor,
    scaling: VectorScaling,
    samples: Samples,
    storage: str,
) -> dict[str, dict[str, float]]:
    """Scores of a head on the faces of its calibration: as stored, in float32, cross-validated.

    The cross-validated ones calibrate each face by the other folds, so they are not optimistically
    biased.
    """
    evaluation_set = "publictest" if data.describe({"val": samples})["official"] else "val"
    cross_validated = calibration.cross_validate(logits, _targets(head, samples))
    probabilities = {
        evaluation_set: stored,
        "float32": scaling(logits).softmax(1).numpy(),
        "cross_validated": cross_validated.softmax(1).numpy(),
    }
    head_scores = {name: scores.summary(one, samples) for name, one in probabilities.items()}
    _check_loss(head_scores[evaluation_set], head_scores["float32"], storage)
    return head_scores


def _check_options(
    path: Path,
    tta: str,
    input_size: int,
    label_share: float | None,
    storage: str,
    heads: Sequence[str],
    calibrate: Samples | None,
) -> None:
    if tta not in TTA:
        raise unknown_name_error("test-time augmentation", tta, TTA)
    if path.suffix != ".onnx":
        raise UserError(f"{path.name} is not a name for a model file; it must end in .onnx.")
    if storage not in TOLERANCES:
        raise unknown_name_error("storage", storage, TOLERANCES)
    if storage == "int8" and calibrate is None:
        raise UserError("int8 needs faces to measure the range of activations; give --data.")
    if not 0 <= input_size <= FACE_SIZE:
        raise UserError(f"--input-size {input_size} is out of range; use 1 to {FACE_SIZE} pixels.")
    if label_share and len(heads) < 2:
        raise UserError(f"--label-share needs both heads; these runs have only {heads[0]}.")
    if label_share is not None and not 0 <= label_share <= 1:
        raise UserError(f"--label-share {label_share} is out of range; use 0 to 1.")


def _check_calibration(runs: Sequence[Run], heads: Sequence[str], calibrate: Samples) -> None:
    for head in heads:
        if not bool(_targets(head, calibrate).any()):
            raise UserError(f"The val split has no {head} for calibration; export without --data.")
    for run in runs:
        if (protocol := run.config.protocol) != "official":
            raise UserError(
                f"{run.folder} was trained by {protocol}, so its training set contains faces of "
                "the calibration set; export without --data."
            )


def _check_loss(stored: dict[str, float], float32: dict[str, float], storage: str) -> None:
    """Reject a storage that costs more than a point of accuracy or 0.01 nats of divergence."""
    limits = {"fer2013_accuracy": -0.01, "ferplus_accuracy": -0.01, "kl_nats": 0.01}
    for name, limit in limits.items():
        change = stored.get(name, 0.0) - float32.get(name, 0.0)
        if (change > limit) if limit > 0 else (change < limit):
            raise UserError(
                f"Not exported: stored as {storage}, {name} changes by {change:+.4f}. Use another "
                "--storage."
            )


def _inputs(faces: np.ndarray, channels: int) -> np.ndarray:
    return faces[:, None].repeat(channels, 1)


def _run_onnx(proto: onnx.ModelProto, faces: np.ndarray) -> list[np.ndarray]:
    """Each output of a graph, for all faces."""
    session = open_session(proto.SerializeToString())
    parts = (faces[k : k + 256] for k in range(0, len(faces), 256))
    outputs = [session.run(None, {INPUT: part}) for part in parts]
    return [np.concatenate(one) for one in zip(*outputs, strict=True)]


def to_onnx(model: ExportedNetwork, spec: ModelSpec) -> onnx.ModelProto:
    """The graph of a module from uint8 faces to probabilities, with its spec as metadata."""
    outputs = (OUTPUT, LABELS_OUTPUT)[: len(model.heads)]
    faces = torch.zeros(2, spec.channels, spec.side, spec.side, dtype=torch.uint8)
    with quantization.exporter_warnings_off():
        program = torch.onnx.export(
            model,
            (faces,),
            dynamo=True,
            input_names=[INPUT],
            output_names=outputs,
            dynamic_shapes=({0: torch.export.Dim("N", min=1)},),
            verbose=False,
        )
    proto = cast("torch.onnx.ONNXProgram", program).model_proto  # a new object at each access
    # The exporter leaves traces of the source tree in every node.
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output):
        del value.metadata_props[:]
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    onnx.helper.set_model_props(proto, spec.to_metadata(mien.__version__))
    return proto


def check_against_torch(
    proto: onnx.ModelProto, model: nn.Module, channels: int, tolerance: float
) -> float:
    """Compare ONNX Runtime with torch on noise in batches of several sizes.

    Args:
        proto: the exported graph.
        model: the module that it was exported from.
        channels: of its input.
        tolerance: the largest accepted difference of a probability.

    Returns:
        The largest difference of a probability.

    Raises:
        UserError: it is above `tolerance`.
    """
    rng = np.random.default_rng(0)
    largest = 0.0
    for count in (1, 3, 16):
        coarse = rng.integers(0, 256, (count, channels, 12, 12), np.uint8)
        faces = coarse.repeat(4, 2).repeat(4, 3)
        with torch.no_grad():
            expected = model(torch.as_tensor(faces))
        for ours, theirs in zip(_run_onnx(proto, faces), expected, strict=True):
            difference = np.abs(ours - theirs.numpy()).max()
            largest = float(np.maximum(largest, difference))  # max() would lose a NaN
    if not largest <= tolerance:
        raise UserError(
            f"Not exported: ONNX Runtime differs from torch by {largest:.2g} in a probability."
        )
    return largest


def _targets(head: str, samples: Samples) -> Tensor:
    if head == "votes":
        return torch.as_tensor(data.shares(samples.votes))
    return F.one_hot(torch.as_tensor(samples.labels).clamp(min=0), 7) * torch.as_tensor(
        samples.labels[:, None] >= 0
    )
