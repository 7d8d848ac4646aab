"""Export a run, or an ensemble of runs, to an `.onnx` file with its specification as metadata.

The graph maps uint8 pixels to probabilities. It includes standardization, cropping, the network,
calibration and softmax. The file is written only if ONNX Runtime and torch agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
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
from mien.lab import batches, calibration, checks, data, ensembles, inference, quantization, scores
from mien.lab.calibration import VectorScaling
from mien.lab.data import Samples
from mien.lab.heads import CLASS_NAMES, HEADS
from mien.lab.runs import Run
from mien.onnx_runtime import open_session
from mien.registry import unknown_name_error

FACE_SIZE = 48
"""Side of the input faces of an exported network in pixels, as in FER2013."""

TARGETS = {
    "labels": "the probability of each FER2013 label",
    "votes": "the share of people who would choose each emotion (FER+ votes)",
}
"""Head -> the quantity that its probabilities estimate."""

CONDITIONS_OF_USE = {
    "predicts": "apparent expression as people label it, not felt emotion",
    "not_for": "work, school, hiring, credit, policing, diagnosis",
    "limits": "quality differs by source of the images, and was not measured by age, gender or "
    "ethnicity; measure it on your own images with mien evaluate",
    "rights": "research and evaluation, unless you clear the rights to the training data; those to "
    "the images of FER2013 are unresolved",
}
"""Entry `use` of the card of each model file."""

TTA = ("none", "flip")
"""The test-time augmentations that a model file can include."""

TOLERANCES = {"float32": 1e-4, "float16": 1e-2, "int8-weights": 3e-2, "int8": 0.25}
"""Precision -> the largest accepted difference between probabilities of ONNX Runtime and torch.

int8 can change single probabilities considerably; `MAX_DETERIORATION` limits the effect on
scores."""

MAX_DETERIORATION = 0.01
"""Largest accepted decrease of accuracy (0 to 1), and increase of KL divergence (in nats), by a
reduced precision."""

RANGE_FACES = 512
"""Maximum number of faces on which int8 quantization measures the ranges of activations."""

BATCH_SIZE = 256
"""Number of faces per call of ONNX Runtime."""


class ExportedNetwork(nn.Module):
    """A network with its preprocessing, calibration and softmax.

    Args:
        network: Maps (N, channels, input_size, input_size) standardized faces to (N, 15) logits:
            7 for labels, 8 for votes.
        scalings: Head -> its calibration, in the order of the outputs.
        label_head_weight: Weight of the label head in the vote head's output, 0 to 1; see
            `calibration.mix_heads`.
        input_size: Side of the center crop that the network receives, in pixels.
    """

    def __init__(
        self,
        network: nn.Module,
        scalings: Mapping[str, VectorScaling],
        label_head_weight: float,
        input_size: int,
    ) -> None:
        super().__init__()
        self.network, self.heads = network, tuple(scalings)
        self.label_head_weight, self.input_size = label_head_weight, input_size
        for head, scaling in scalings.items():
            self.register_buffer(f"{head}_factors", torch.tensor(scaling.factors))
            self.register_buffer(f"{head}_shifts", torch.tensor(scaling.shifts))

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """Compute the probabilities of each head from (N, channels, 48, 48) uint8 faces."""
        logits = self.network(batches.center_crop(batches.standardize(faces), self.input_size))
        return tuple(self._calibrate(head, logits).softmax(1) for head in self.heads)

    def _calibrate(self, head: str, logits: Tensor) -> Tensor:
        factors, shifts = getattr(self, f"{head}_factors"), getattr(self, f"{head}_shifts")
        return _head_logits(head, logits, self.label_head_weight) * factors + shifts


def _head_logits(head: str, logits: Tensor, label_head_weight: float) -> Tensor:
    """Return the logits of a head before calibration."""
    if head == "votes" and label_head_weight:
        return calibration.mix_heads(logits, label_head_weight)
    return logits[:, HEADS[head]]


@dataclass(frozen=True)
class _CalibrationSet:
    """N faces and the (N, 15) logits of the network for them, before the heads are mixed."""

    samples: Samples
    logits: Tensor


def export(
    runs: Run | Sequence[Run],
    path: Path,
    *,
    tta: str = "none",
    input_size: int = 0,
    calibration_samples: Samples | None = None,
    label_head_weight: float | None = None,
    precision: str = "float32",
) -> ModelSpec:
    """Export a finished run, or an ensemble of several, to a model file.

    Args:
        runs: One or several runs. The file has the heads that all of them were trained with.
        path: Path of the file.
        tta: "none", or "flip" to average over a face and its mirror image at twice the cost.
        input_size: Input size of the network in pixels; 0 is the size in the config.
        calibration_samples: Faces, usually PublicTest, on which the calibration is fitted and the
            model file is scored; None for no calibration.
        label_head_weight: Weight of the label head in the vote head's output, 0 to 1. None means
            the choice of `calibration.choose_label_head_weight`, or 0 if there is no calibration or
            only one head.
        precision: "float32"; "float16" or "int8-weights" for smaller weights, which are converted
            to float32 on loading; or "int8" for weights and activations, which needs calibration
            samples.

    Returns:
        The specification of the vote head if the file has one, otherwise that of the label head.

    Raises:
        UserError: A run is unfinished, the runs do not form an ensemble, an option does not fit
            them, the outputs of ONNX Runtime and torch differ, or the precision lowers the scores
            too much.
    """
    runs = [runs] if isinstance(runs, Run) else list(runs)
    heads = _common_heads(runs)
    _check_options(path, tta, label_head_weight, precision, heads, calibration_samples)
    _check_input_size(runs, input_size)
    if calibration_samples is not None:
        _check_calibration(runs, heads, calibration_samples)
    network = _load_network(runs, tta)
    input_size, channels = input_size or ensembles.input_size(runs), runs[0].config.channels
    calibration_set = _calibration_set(network, calibration_samples, input_size, channels)
    if label_head_weight is None:
        label_head_weight = _choose_label_head_weight(heads, calibration_set)
    scalings = {head: _fit_scaling(head, label_head_weight, calibration_set) for head in heads}
    options = {
        "tta": tta, "label_head_weight": label_head_weight, "input_size": input_size,
        "precision": precision,
    }  # fmt: skip
    card = _model_card(runs, options, scalings)
    spec = ModelSpec(CLASS_NAMES[heads[0]], FACE_SIZE, channels, card=card)
    exported = ExportedNetwork(network, scalings, label_head_weight, input_size).eval()
    proto = _convert_precision(to_onnx(exported, spec), precision, channels, calibration_samples)
    check_against_torch(proto, exported, channels, TOLERANCES[precision])
    if calibration_set is not None:
        _add_scores(proto, spec, scalings, calibration_set)
    if precision == "int8":
        quantization.add_self_test(proto)
    with atomic_file.atomic_write(path) as temporary:
        onnx.save(proto, temporary)
    return spec


def _common_heads(runs: Sequence[Run]) -> list[str]:
    """Return the heads that all runs were trained with, votes first; a `UserError` without any."""
    heads = [head for head in ("votes", "labels") if all(head in run.heads for run in runs)]
    if not heads:
        raise UserError(
            "These runs cannot form an ensemble, because some were trained only on labels and "
            "others only on votes. Export them separately."
        )
    return heads


def _load_network(runs: Sequence[Run], tta: str) -> nn.Module:
    network = ensembles.load(runs, flip=tta == "flip")
    # The exporter adds nodes to the graph for weights in the memory format channels_last.
    return network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]


def _calibration_set(
    network: nn.Module, samples: Samples | None, input_size: int, channels: int
) -> _CalibrationSet | None:
    if samples is None:
        return None
    logits = inference.compute_logits(
        network, samples.faces, input_size=input_size, channels=channels
    )
    return _CalibrationSet(samples, logits)


def _choose_label_head_weight(
    heads: Sequence[str], calibration_set: _CalibrationSet | None
) -> float:
    if calibration_set is None or len(heads) < 2:
        return 0.0
    return calibration.choose_label_head_weight(
        calibration_set.logits, calibration_set.samples.votes
    )


def _fit_scaling(
    head: str, label_head_weight: float, calibration_set: _CalibrationSet | None
) -> VectorScaling:
    if calibration_set is None:
        return calibration.identity(len(CLASS_NAMES[head]))
    logits = _head_logits(head, calibration_set.logits, label_head_weight)
    return calibration.fit(logits, _targets(head, calibration_set.samples))


def _model_card(
    runs: Sequence[Run], options: Mapping[str, object], scalings: Mapping[str, VectorScaling]
) -> dict[str, object]:
    return {
        "use": CONDITIONS_OF_USE,
        **ensembles.provenance(runs),
        **options,
        "heads": {
            head: {"target": TARGETS[head], "calibration": asdict(scaling)}
            for head, scaling in scalings.items()
        },
    }


def _convert_precision(
    proto: onnx.ModelProto, precision: str, channels: int, calibration_samples: Samples | None
) -> onnx.ModelProto:
    if precision in quantization.REDUCED_PRECISION:
        return quantization.reduce_precision(proto, precision)
    if precision == "int8" and calibration_samples is not None:
        faces = calibration_samples.faces[:RANGE_FACES]
        return quantization.quantize(proto, _add_channels(faces, channels))
    return proto


def _add_scores(
    proto: onnx.ModelProto,
    spec: ModelSpec,
    scalings: Mapping[str, VectorScaling],
    calibration_set: _CalibrationSet,
) -> None:
    """Add the scores of each head on the calibration set to the card of `spec` and of the graph.

    Raise a `UserError` if the precision lowers the scores too much.
    """
    card = cast("dict[str, Any]", spec.card)
    outputs = _run_onnx(proto, _add_channels(calibration_set.samples.faces, spec.channels))
    for (head, scaling), exported in zip(scalings.items(), outputs, strict=True):
        logits = _head_logits(head, calibration_set.logits, card["label_head_weight"])
        card["heads"][head] |= _head_scores(
            head, exported, logits, scaling, calibration_set.samples, card["precision"]
        )
    onnx.helper.set_model_props(proto, spec.to_metadata(mien.__version__))


def _head_scores(
    head: str,
    exported: np.ndarray,
    logits: Tensor,
    scaling: VectorScaling,
    samples: Samples,
    precision: str,
) -> dict[str, dict[str, float]]:
    """Score a head on the calibration set: as exported, in float32, and cross-validated in float32.

    The cross-validated scores are not biased by the calibration, because each face is calibrated
    with a scaling that was fitted on the other folds.

    Args:
        head: Name of the head.
        exported: (N, K) probabilities of the exported graph.
        logits: (N, K) logits before calibration.
        scaling: The calibration.
        samples: The N faces.
        precision: Precision of the exported graph.

    Returns:
        The scores of the exported graph as "publictest" (or "val" for other faces than those of
        FER2013), those before the reduction of the precision as "float32", and those of the
        cross-validated calibration as "cross_validated": each metric -> score.

    Raises:
        UserError: The precision lowers the scores too much.
    """
    evaluation_set = "publictest" if data.describe({"val": samples})["official"] else "val"
    cross_validated = calibration.cross_validate(logits, _targets(head, samples))
    probabilities = {
        evaluation_set: exported,
        "float32": scaling(logits).softmax(1).numpy(),
        "cross_validated": cross_validated.softmax(1).numpy(),
    }
    head_scores = {
        name: scores.summary(predicted, samples) for name, predicted in probabilities.items()
    }
    _check_precision(head_scores[evaluation_set], head_scores["float32"], precision)
    return head_scores


def _check_options(
    path: Path,
    tta: str,
    label_head_weight: float | None,
    precision: str,
    heads: Sequence[str],
    calibration_samples: Samples | None,
) -> None:
    if tta not in TTA:
        raise unknown_name_error("test-time augmentation", tta, TTA)
    if path.suffix != ".onnx":
        raise UserError(f"Cannot export to {path.name}; give a name that ends in .onnx.")
    if precision not in TOLERANCES:
        raise unknown_name_error("precision", precision, TOLERANCES)
    if precision == "int8" and calibration_samples is None:
        raise UserError("--precision int8 needs faces to measure activation ranges; give --data.")
    if label_head_weight and len(heads) < 2:
        raise UserError(f"--label-head-weight needs both heads; these runs have only {heads[0]}.")
    if label_head_weight is not None and not 0 <= label_head_weight <= 1:
        raise UserError(f"--label-head-weight {label_head_weight} is out of range; use 0 to 1.")


def _check_input_size(runs: Sequence[Run], input_size: int) -> None:
    if not 0 <= input_size <= FACE_SIZE:
        raise UserError(f"--input-size {input_size} is out of range; use 1 to {FACE_SIZE} pixels.")
    if input_size:
        for run in runs:
            checks.check_input_size(run.config, input_size)


def _check_calibration(
    runs: Sequence[Run], heads: Sequence[str], calibration_samples: Samples
) -> None:
    for head in heads:
        if not bool(_targets(head, calibration_samples).any()):
            raise UserError(f"The val split has no {head} for calibration; export without --data.")
    for run in runs:
        if (protocol := run.config.protocol) != "official":
            raise UserError(
                f"{run.folder} was trained with protocol {protocol}, so its training set contains "
                "faces of the calibration set; export without --data."
            )


def _check_precision(exported: dict[str, float], float32: dict[str, float], precision: str) -> None:
    """Raise a `UserError` if the precision worsens a score by more than `MAX_DETERIORATION`."""
    for name in ("fer2013_accuracy", "ferplus_accuracy", "kl_nats"):
        if name not in exported:  # the faces have no labels or no votes
            continue
        change = exported[name] - float32[name]
        deterioration = change if name == "kl_nats" else -change
        if deterioration > MAX_DETERIORATION:
            raise UserError(
                f"Not exported: with {precision}, {name} changes by {change:+.4f}. Use another "
                "--precision."
            )


def _add_channels(faces: np.ndarray, channels: int) -> np.ndarray:
    """Repeat (N, H, W) gray faces in each channel: (N, channels, H, W)."""
    return faces[:, None].repeat(channels, 1)


def _run_onnx(proto: onnx.ModelProto, faces: np.ndarray) -> list[np.ndarray]:
    """Run a graph on (N, C, H, W) uint8 faces and return each output, (N, K)."""
    session = open_session(proto.SerializeToString())
    results = [
        session.run(None, {INPUT: faces[start : start + BATCH_SIZE]})
        for start in range(0, len(faces), BATCH_SIZE)
    ]
    return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]


def to_onnx(model: ExportedNetwork, spec: ModelSpec) -> onnx.ModelProto:
    """Convert a network to an ONNX graph with its specification as metadata."""
    outputs = (OUTPUT, LABELS_OUTPUT)[: len(model.heads)]
    # torch.export would make a batch size of 1 a constant.
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
    # The exporter stores paths of source files in every node.
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
    """Check that ONNX Runtime and torch agree on random images, in batches of several sizes.

    Args:
        proto: The exported graph.
        model: The module from which it was exported.
        channels: Number of input channels, 1 or 3.
        tolerance: The largest accepted difference between two probabilities.

    Returns:
        The largest difference between two probabilities.

    Raises:
        UserError: The difference is above `tolerance`.
    """
    rng = np.random.default_rng(0)
    largest = 0.0
    for count in (1, 3, 16):
        # In blocks of 4 x 4 pixels, because noise in single pixels hardly changes probabilities.
        coarse = rng.integers(0, 256, (count, channels, FACE_SIZE // 4, FACE_SIZE // 4), np.uint8)
        faces = coarse.repeat(4, axis=2).repeat(4, axis=3)
        with torch.no_grad():
            expected = model(torch.as_tensor(faces))
        for actual, desired in zip(_run_onnx(proto, faces), expected, strict=True):
            difference = np.abs(actual - desired.numpy()).max()
            largest = float(np.maximum(largest, difference))  # unlike max(), this keeps NaN
    if not largest <= tolerance:
        raise UserError(
            f"Not exported: probabilities of ONNX Runtime and torch differ by {largest:.2g}. Try "
            "other versions of onnx and onnxruntime."
        )
    return largest


def _targets(head: str, samples: Samples) -> Tensor:
    """Return the (N, K) targets of a head; they are zero for faces without votes or a label."""
    if head == "votes":
        return torch.as_tensor(data.shares(samples.votes))
    labels = torch.as_tensor(samples.labels)
    one_hot = F.one_hot(labels.clamp(min=0), len(CLASS_NAMES["labels"]))
    return one_hot * (labels >= 0)[:, None]
