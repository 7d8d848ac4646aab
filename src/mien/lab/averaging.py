"""Average the weights of two runs.

A network that is fine-tuned on a new dataset becomes less accurate on the original one. The
weighted mean of the weights before and after fine-tuning is often nearly as accurate on each
dataset as the better of the two networks (WiSE-FT, Wortsman et al. 2022,
https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import runs
from mien.lab.runs import Run


def average(first: Run, second: Run, weight: float, out: Path) -> Run:
    """Write the weighted mean of two runs' weights as a new run.

    Args:
        first: A finished run.
        second: A finished run of the same network, normally initialized from the first.
        weight: Weight of the second run, 0 to 1; the first run has the weight 1 - `weight`.
        out: Folder of the new run, which gets the config and log of the second run.

    Returns:
        The new run.

    Raises:
        UserError: The weight is out of range, a run is unfinished, both run folders have the same
            name, the networks differ, or `out` contains another run or other files.

    Example:
        ```python
        average(runs.open_run("runs/a"), runs.open_run("runs/b"), 0.5, Path("runs/mean"))
        ```
    """
    if not 0 <= weight <= 1:
        raise UserError(f"--weight {weight:g} is out of range; use 0 to 1.")
    for run in (first, second):
        if not run.finished:
            raise UserError(
                f"{run.folder} is not finished. Run mien train with the same --out to resume it."
            )
    if first.folder.name == second.folder.name:
        raise UserError(
            f"Both runs have the name {first.folder.name}, by which the new run refers to them. "
            "Rename one folder."
        )
    mean = _mean_weights(first, second, weight)
    run = _create_run(first, second, weight, out)
    runs.write_log(run, second.log())
    with atomic_file.atomic_write(run.weights_file) as temporary:
        torch.save(mean, temporary)
    return run


def _mean_weights(first: Run, second: Run, weight: float) -> dict[str, Tensor]:
    """Return the weighted mean of each tensor; a `UserError` if the networks differ."""
    first_weights, second_weights = runs.load_weights(first), runs.load_weights(second)
    if _shapes(first_weights) != _shapes(second_weights):
        raise UserError(
            f"{first.folder} and {second.folder} have different networks. Use two runs of the "
            "same model."
        )
    mean = {}
    for name, value in second_weights.items():
        if value.is_floating_point():
            mean[name] = first_weights[name].float().lerp(value.float(), weight).to(value.dtype)
        else:
            mean[name] = value  # a batch norm's counter of batches
    return mean


def _shapes(weights: dict[str, Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}


def _create_run(first: Run, second: Run, weight: float, out: Path) -> Run:
    averaged = {first.folder.name: 1 - weight, second.folder.name: weight}
    about = {name: second.about[name] for name in ("data", "heads") if name in second.about}
    run = runs.create(out, second.config, about | {"averaged": averaged})
    if run.about.get("averaged") != averaged:
        raise UserError(f"{out} contains another run. Choose another folder.")
    return run
