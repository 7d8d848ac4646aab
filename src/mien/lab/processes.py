"""Training in one process, or in several processes that torchrun started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

import torch
from torch import distributed, nn

from mien.errors import UserError
from mien.lab.config import Config

T = TypeVar("T")


@contextmanager
def process_group(device: str | None) -> Iterator[tuple[torch.device, int, int]]:
    """Join the process group if torchrun started this process, and leave it at the end.

    Args:
        device: "cpu", "cuda" or "mps"; None selects "cuda" if available, otherwise "cpu".

    Yields:
        The device of this process, its rank, and the number of processes.

    Raises:
        UserError: Unknown or unavailable device.
    """
    world_size, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"Unknown device {name!r}. Use cpu, cuda or mps.")
    if name != "cpu" and not getattr(torch, name).is_available():
        raise UserError(f"Device {name} is not available. Use --device cpu.")
    selected = torch.device(f"cuda:{local_rank}" if name == "cuda" else name)
    if world_size == 1:
        yield selected, 0, 1
        return
    if selected.type == "cuda":
        torch.cuda.set_device(selected)
    distributed.init_process_group("nccl" if selected.type == "cuda" else "gloo")
    try:
        yield selected, rank, world_size
    finally:
        distributed.destroy_process_group()


def distribute(
    model: nn.Module, config: Config, device: torch.device, world_size: int
) -> nn.Module:
    """Wrap a model for data-parallel training, and compile it if `config.compile` is set."""
    network = model
    if world_size > 1:
        # torch synchronizes batch norm on GPUs only. On the CPU each process normalizes with the
        # statistics of its own faces.
        if device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        network = nn.parallel.DistributedDataParallel(network)
    return cast("nn.Module", torch.compile(network)) if config.compile else network


def barrier(world_size: int) -> None:
    """Wait until every process has called this function."""
    if world_size > 1:
        distributed.barrier()


def broadcast(value: T, world_size: int) -> T:
    """Return the value that rank 0 passes, in every process."""
    values = [value]
    if world_size > 1:
        distributed.broadcast_object_list(values)
    return values[0]
