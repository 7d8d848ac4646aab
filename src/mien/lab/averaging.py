"""Two runs -> a run whose weights lie between theirs.

Where a network was fine-tuned for other faces than it knew, the line between its weights before
and after holds networks that are nearly as good as the first on the old faces and nearly as good
as the second on the new ones (Wortsman et al. 2022, https://arxiv.org/abs/2109.01903).
"""

from __future__ import annotations

from pathlib import Path

import torch

from mien.errors import UserError
from mien.io import atomic_file
from mien.lab import runs
from mien.lab.runs import Run


def average(first: Run, second: Run, share: float, out: Path) -> Run:
    """Write the weighted mean of two runs' weights as a run.

    Args:
        first: a finished run.
        second: a finished run of the same network, best one that started from the first.
        share: of the second in the mean, 0 to 1.
        out: the folder of the new run; it has the second's config and log.

    Returns:
        The new run.

    Raises:
        UserError: a run is not finished, the networks differ, or the folder is in use.

    Example:
        ```python
        average(runs.open_run("runs/a"), runs.open_run("runs/b"), 0.5, Path("runs/between"))
        ```
    """
    if not 0 <= share <= 1:
        raise UserError(f"A share is from 0 to 1, not {share}.")
    for run in (first, second):
        if not run.finished:
            raise UserError(f"{run.folder} is not finished; train it first.")
    ours, theirs = (runs.load_tensors(run.weights_file) for run in (first, second))
    same = ours.keys() == theirs.keys() and all(ours[k].shape == theirs[k].shape for k in ours)
    if not same:
        raise UserError(f"{first.folder} and {second.folder} are different networks.")
    averaged = {"averaged": {first.folder.name: 1 - share, second.folder.name: share}}
    kept = {name: second.about[name] for name in ("data", "heads") if name in second.about}
    run = runs.start(out, second.config, kept | averaged)
    runs.write_log(run, second.log())
    mean = {
        name: torch.lerp(value.float(), theirs[name].float(), share).to(theirs[name].dtype)
        if value.is_floating_point()
        else theirs[name]
        for name, value in ours.items()
    }
    with atomic_file.atomic_write(run.weights_file) as temporary:
        torch.save(mean, temporary)
    return run
