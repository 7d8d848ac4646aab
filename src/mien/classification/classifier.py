"""Crops -> probabilities, by one ONNX file."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mien.classification.model_spec import (
    LABELS_OUTPUT,
    OUTPUT,
    ModelSpec,
    from_metadata,
    from_sidecar,
)
from mien.classification.weights import ModelFile
from mien.errors import UserError
from mien.onnx_runtime import InferenceSession, open_session, return_memory

LEAST, NEARLY = 1e-4, 0.05
"""So far below 0 may a probability be, and so far from 1 their sum, by rounding."""


class Classifier:
    """An exported network in an ONNX Runtime session; safe to call from several threads.

    Everything it needs to know is inside the file, or in a TOML file of the same name beside it.

    Args:
        file: the `.onnx` file, or what `weights.model` gives of a name.
        threads: of ONNX Runtime; 0 is all cores.

    Raises:
        UserError: the file is damaged, says nothing of what it expects, or has no such head.
    """

    def __init__(self, file: Path | ModelFile, threads: int = 0) -> None:
        file = file if isinstance(file, ModelFile) else ModelFile(file)
        path, head = file
        self.name = file.name
        if threads < 0:
            raise UserError(f"A classifier has so many threads as are asked for, 0 for all cores, "
                            f"not {threads}.")  # fmt: skip
        try:
            self._session = open_session(str(path), threads)
        except Exception as error:  # ONNX Runtime's errors share no public base class
            if type(error).__module__.startswith("onnxruntime"):
                raise UserError(f"{path} is damaged or not an ONNX model.") from error
            raise
        self.spec = _contract(path, self._session, head)
        shapes = {port.name: port.shape for port in self._session.get_inputs()}
        self._one_by_one = shapes[self.spec.input][0] == 1
        self._try(path)
        return_memory()

    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """(N, C, side, side) uint8 -> (N, K) float64 probabilities; rows sum to 1."""
        (answers,) = self._run(crops, [self.spec.output])
        if self.spec.softmax:
            answers = np.exp(answers - answers.max(1, keepdims=True))
            return answers / answers.sum(1, keepdims=True)
        return self._checked(answers)

    def predict_all_heads(self, crops: np.ndarray) -> dict[str, np.ndarray]:
        """As when called, by head: those of a file that mien exported, at the cost of one."""
        heads = self.spec.card["heads"]
        outputs = [OUTPUT, LABELS_OUTPUT][: len(heads)]  # type: ignore[arg-type]
        answers = map(self._checked, self._run(crops, outputs))
        return dict(zip(heads, answers, strict=True))  # type: ignore[call-overload]

    def _run(self, crops: np.ndarray, outputs: list[str]) -> list[np.ndarray]:
        contract = self.spec
        fed = crops
        if contract.dtype == "float32":
            mean = np.asarray(contract.mean, np.float32).reshape(-1, 1, 1)
            spread = np.asarray(contract.spread, np.float32).reshape(-1, 1, 1)
            fed = (crops.astype(np.float32) - mean) / spread
        if contract.layout == "NHWC":
            fed = np.ascontiguousarray(fed.transpose(0, 2, 3, 1))
        feeds = np.split(fed, len(fed)) if self._one_by_one else [fed]
        answers = [self._session.run(outputs, {contract.input: feed}) for feed in feeds]
        return [np.concatenate(one).astype(np.float64) for one in zip(*answers, strict=True)]

    def _checked(self, answers: np.ndarray) -> np.ndarray:
        if not answers.min(initial=0) >= -LEAST:
            raise UserError(
                f"{self.name} gives no probabilities but {answers.min():.2g} to "
                f"{answers.max():.2g}. If its graph ends with logits, its TOML file says "
                "softmax = true."
            )
        answers = np.maximum(answers, 0)
        sums = answers.sum(1, keepdims=True)
        if not np.all(np.abs(sums - 1) < NEARLY):
            raise UserError(f"{self.name} gives shares that sum to {sums.min():.2g}, not to 1.")
        return answers / sums

    def _try(self, path: Path) -> None:
        """Answer two grey crops, so that a contract the graph does not keep is told at once."""
        contract = self.spec
        crops = np.full((2, contract.channels, contract.side, contract.side), 128, np.uint8)
        try:
            found = self(crops).shape
        except Exception as error:  # as above
            if isinstance(error, ValueError) or type(error).__module__.startswith("onnxruntime"):
                why = " ".join(str(error).split())
                raise UserError(f"{path} does not keep its contract: {why}.") from error
            raise
        if found != (2, len(contract.labels)):
            raise UserError(f"{path} names {len(contract.labels)} labels but gives {found[1:]}.")


def prepare(file: Path | ModelFile, threads: int = 0) -> Future[Classifier]:
    """A `Classifier`, or its `UserError`, which a thread makes while its caller does other things.

    ONNX Runtime does most of it without Python's lock.
    """
    maker = ThreadPoolExecutor(1)
    try:
        return maker.submit(Classifier, file, threads)
    finally:
        maker.shutdown(wait=False)


def _contract(path: Path, session: InferenceSession, head: str) -> ModelSpec:
    metadata = session.get_modelmeta().custom_metadata_map
    sidecar = path.with_suffix(".toml")
    if "mien.labels" in metadata:
        source = path
        contract = from_metadata(metadata, session.get_inputs()[0].shape, head)
    elif sidecar.exists():
        source = sidecar
        contract = from_sidecar(sidecar)
    else:
        raise UserError(
            f"{path} does not say what it expects of faces; {sidecar.name} beside it may do so."
        )
    for kind, name, there in (
        ("input", contract.input, session.get_inputs()),
        ("output", contract.output, session.get_outputs()),
    ):
        if name not in (names := [port.name for port in there]):
            raise UserError(f"{source}: the graph has no {kind} {name!r}; it has {names}.")
    return contract
