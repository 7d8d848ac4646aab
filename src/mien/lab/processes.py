"""Training in one process, or in several that torchrun started."""

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
def joined(device: str | None) -> Iterator[tuple[torch.device, int, int]]:
    """Device, rank and world size of one process; joins the others if torchrun started us."""
    world, rank = int(os.environ.get("WORLD_SIZE", 1)), int(os.environ.get("RANK", 0))
    local = int(os.environ.get("LOCAL_RANK", 0))
    name = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if name not in ("cpu", "cuda", "mps"):
        raise UserError(f"There is no device {name!r}; there are cpu, cuda and mps.")
    if name != "cpu" and not getattr(torch, name).is_available():
        raise UserError(f"There is no device {name} here; --device cpu always works.")
    place = torch.device(f"cuda:{local}" if name == "cuda" else name)
    if world == 1:
        yield place, 0, 1
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield place, rank, world
    finally:
        distributed.destroy_process_group()


def parallel(model: nn.Module, config: Config, device: torch.device, world: int) -> nn.Module:
    """The network that all processes train together, compiled if the recipe says so."""
    network = model
    if world > 1:
        # On the CPU each process normalises by its own part of the batch: torch has no other way.
        on_gpu = device.type == "cuda"
        network = nn.SyncBatchNorm.convert_sync_batchnorm(network) if on_gpu else network
        network = nn.parallel.DistributedDataParallel(network)
    return cast("nn.Module", torch.compile(network)) if config.compile else network


def wait(world: int) -> None:
    """Until every process has come so far."""
    if world > 1:
        distributed.barrier()


def firsts(value: T, world: int) -> T:
    """What the first process has of this, in every one."""
    box = [value]
    if world > 1:
        distributed.broadcast_object_list(box)
    return box[0]
