"""Average the weights of two runs.

A network is trained on some faces and then fine-tuned on others. A weighted mean of the weights
before and after fine-tuning is nearly as accurate on the first faces as before and on the second as
after (WiSE-FT, Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

from pathlib import Path

import torch

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import runs
from mien.lab.runs import Run


def average(first: Run, second: Run, weight: float, out: Path) -> Run:
    """Write the weighted mean of two runs' weights as a new run.

    Args:
        first: a finished run.
        second: a finished run of the same network, normally initialized from the first.
        weight: weight of the second run, 0 to 1; the first run has the weight 1 - `weight`.
        out: folder of the new run, which gets the config and log of the second.

    Returns:
        The new run.

    Raises:
        UserError: a run is unfinished, the networks differ, or the folder is in use.

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
    weights, others = (runs.load_tensors(run.weights_file) for run in (first, second))
    is_same = weights.keys() == others.keys() and all(
        weights[name].shape == others[name].shape for name in weights
    )
    if not is_same:
        raise UserError(
            f"{first.folder} and {second.folder} have different networks. Use runs of one model."
        )
    averaged = {"averaged": {first.folder.name: 1 - weight, second.folder.name: weight}}
    about = {name: second.about[name] for name in ("data", "heads") if name in second.about}
    run = runs.create(out, second.config, about | averaged)
    runs.write_log(run, second.log())
    mean = {
        name: torch.lerp(value.float(), others[name].float(), weight).to(others[name].dtype)
        if value.is_floating_point()
        else others[name]
        for name, value in weights.items()
    }
    with atomic_file.atomic_write(run.weights_file) as temporary:
        torch.save(mean, temporary)
    return run
