"""Several trained networks that answer as one (Lakshminarayanan et al. 2017, deep ensembles).

https://arxiv.org/abs/1612.01474. Ours average logits, so that one calibration fits the whole.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import evaluate
from mien.lab.config import published
from mien.lab.runs import Run


class Ensemble(nn.Module):
    """The mean of the logits of several networks, each asked of a face and of its mirror image.

    mirrored: False leaves the mirror image out.
    """

    def __init__(self, networks: Sequence[nn.Module], mirrored: bool) -> None:
        super().__init__()
        self.networks, self.mirrored = nn.ModuleList(networks), mirrored

    def forward(self, faces: Tensor) -> Tensor:  # (N, C, side, side) -> (N, classes) logits
        """The mean of all answers."""
        views = (faces, faces.flip(3)) if self.mirrored else (faces,)
        said = [network(view) for network in self.networks for view in views]
        return torch.stack(said).mean(0)


def restore(runs: Sequence[Run], mirrored: bool) -> nn.Module:
    """The trained networks of these runs as one, in evaluation mode.

    A single one that is not mirrored is itself. Raises `UserError` if they want other inputs.
    """
    if len({run.config.channels for run in runs}) > 1:
        raise UserError("Some of these networks see grey and some see colour; they cannot be one.")
    networks = [evaluate.load_network(run) for run in runs]
    if len(networks) == 1 and not mirrored:
        return networks[0]
    return Ensemble(networks, mirrored).eval()


def side(runs: Sequence[Run]) -> int:
    """The window that all of these runs were trained to look at; a `UserError` if they differ."""
    sides = {run.config.input_size for run in runs}
    if len(sides) > 1:
        several = " and ".join(map(str, sorted(sides)))
        raise UserError(
            f"These runs have input sizes of {several} pixels; choose one with --input-size."
        )
    return sides.pop()


def origin(runs: Sequence[Run]) -> dict:
    """For the card of a model: recipe, seed, data and commit; of several runs, those of each."""
    each = [
        {
            "data": run.about.get("data"),
            "config": published(run.config),
            "seed": run.config.seed,
            "commit": run.about["commit"],
            **({"averaged": run.about["averaged"]} if "averaged" in run.about else {}),
        }
        for run in runs
    ]
    return each[0] if len(each) == 1 else {"data": each[0]["data"], "members": each}
