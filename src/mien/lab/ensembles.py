"""Deep ensembles (Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474).

The mean of the logits is used, not that of the probabilities: it can be calibrated like the logits
of one network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import inference
from mien.lab.config import to_public_json
from mien.lab.runs import Run


class Ensemble(nn.Module):
    """The mean of the logits of several networks.

    Args:
        networks: Networks with the same inputs and outputs.
        flip: Horizontal-flip test-time augmentation, at twice the cost.
    """

    def __init__(self, networks: Sequence[nn.Module], flip: bool) -> None:
        super().__init__()
        self.networks, self.flip = nn.ModuleList(networks), flip

    def forward(self, faces: Tensor) -> Tensor:  # (N, C, H, W) -> (N, classes) logits
        """Average the logits over networks and, with `flip`, over the faces and their mirrors."""
        inputs = (faces, faces.flip(3)) if self.flip else (faces,)
        logits = [network(x) for network in self.networks for x in inputs]
        return torch.stack(logits).mean(0)


def load(runs: Sequence[Run], flip: bool) -> nn.Module:
    """Load the trained networks of runs as one module, in evaluation mode.

    Args:
        runs: Finished runs.
        flip: Horizontal-flip test-time augmentation.

    Raises:
        UserError: The networks differ in their number of input channels, or a run is unfinished.
    """
    if len({run.config.channels for run in runs}) > 1:
        raise UserError("These networks differ in channels (1 and 3). Export them separately.")
    networks = [inference.load_network(run) for run in runs]
    if len(networks) == 1 and not flip:
        return networks[0]
    return Ensemble(networks, flip).eval()


def input_size(runs: Sequence[Run]) -> int:
    """The input size that all runs were trained with; `UserError` if their sizes differ."""
    sizes = {run.config.input_size for run in runs}
    if len(sizes) > 1:
        listed = " and ".join(map(str, sorted(sizes)))
        raise UserError(
            f"The networks were trained with input sizes of {listed} pixels. Choose one with "
            "--input-size."
        )
    return sizes.pop()


def provenance(runs: Sequence[Run]) -> dict:
    """The provenance for a model card: data, config, seed and commit of a run.

    An ensemble has the provenance of each run as `members`, and the data of the first as `data`.
    """
    members = [_run_provenance(run) for run in runs]
    return members[0] if len(members) == 1 else {"data": members[0]["data"], "members": members}


def _run_provenance(run: Run) -> dict:
    about = run.about
    averaged = {"averaged": about["averaged"]} if "averaged" in about else {}
    return {
        "data": about.get("data"),
        "config": to_public_json(run.config),
        "seed": run.config.seed,
        "commit": about.get("commit"),
        **averaged,
    }
