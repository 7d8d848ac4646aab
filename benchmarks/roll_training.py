"""The network that estimates the roll of heads, and its training.

`python benchmarks/pose.py train` runs it. The training faces are FER2013's, rotated at random.
"""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from mien.lab import augmentation, batches, data

SIDE = 48
"""Side of the faces in pixels."""

STEPS, BATCH, LR, SEED = 14_000, 192, 3e-3, 0

UPRIGHT_FRACTION = 0.4
"""Fraction of faces that are rotated by at most `UPRIGHT_DEGREES`, as most heads in images are."""

UPRIGHT_DEGREES = 20.0


class RollNet(nn.Module):
    """Network that estimates the cosine and sine of the roll of (N, 1, 48, 48) uint8 faces.

    The length of the output vectors, 0 to about 1, is the confidence. Only the inscribed circle of
    the image is used, because the corners would reveal the rotation of training images. The network
    has 79,000 parameters.
    """

    def __init__(self) -> None:
        super().__init__()
        y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
        self.register_buffer("circle", torch.tensor(np.hypot(x, y) < SIDE / 2)[None, None])
        widths = (1, 16, 32, 64, 64)
        self.features = nn.Sequential()
        for in_channels, out_channels in pairwise(widths):
            size = 5 if in_channels == 1 else 3
            self.features.extend([
                nn.Conv2d(in_channels, out_channels, size, 2, size // 2, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(),
            ])  # fmt: skip
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(64 * 9, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, faces: Tensor) -> Tensor:
        """Compute (N, 2) vectors from (N, 1, 48, 48) gray values."""
        x = torch.where(self.circle, batches.standardize(faces), 0.0)
        x = x.contiguous(memory_format=torch.channels_last)
        return self.head(self.features(x))


def rotate(
    faces: Tensor,
    degrees: Tensor,
    zoom: Tensor | float = 1.0,
    mirror: Tensor | float = 1.0,
    shift: Tensor | float = 0.0,
) -> Tensor:
    """Mirror, shift and scale faces, and rotate them clockwise, with reflected borders.

    Args:
        faces: (N, 1, 48, 48) gray values.
        degrees: (N,) rotation.
        zoom: (N,) or one number: side of the visible part relative to the side of the face.
        mirror: (N,) or one number: -1.0 for mirrored faces, 1.0 for others.
        shift: (N, 2) or one number: horizontal and vertical shift; 2 is the side of the face.

    Returns:
        (N, 1, 48, 48) float32.
    """
    angle = -degrees * math.pi / 180
    theta = torch.zeros(len(faces), 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = mirror * angle.cos() * zoom, -mirror * angle.sin() * zoom
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin() * zoom, angle.cos() * zoom
    theta[:, :, 2] = shift
    grid = F.affine_grid(theta, list(faces.shape), align_corners=False)
    return F.grid_sample(faces.float(), grid, padding_mode="reflection", align_corners=False)


def augment(faces: Tensor, degrees: Tensor, rng: Generator) -> Tensor:
    """Transform faces at random, and rotate them clockwise by the given degrees.

    The side of the visible part (0.8 to 1.35 sides), mirroring, the position (shifted by up to a
    tenth of the side), blur (standard deviation up to 1.2 pixels), contrast (factor 0.5 to 1.5) and
    brightness (changed by up to 30 gray levels) are random.

    Args:
        faces: (N, 1, 48, 48) uint8.
        degrees: (N,) rotation.
        rng: Random generator.

    Returns:
        (N, 1, 48, 48) float32 gray values, rounded.
    """
    count = len(faces)
    uniform = torch.rand(6, count, generator=rng)
    zoom = 0.8 * (1.35 / 0.8) ** uniform[0]
    mirror = torch.where(uniform[1] < 0.5, -1.0, 1.0)
    warped = rotate(faces, degrees, zoom, mirror, (uniform[2:4].T - 0.5) * 0.4)
    warped = augmentation.gaussian_blur(warped, uniform[4] * 1.2)
    mean = warped.mean((1, 2, 3), keepdim=True)
    contrast = (0.5 + uniform[5]).view(-1, 1, 1, 1)
    brightness = (torch.rand(count, 1, 1, 1, generator=rng) - 0.5) * 60
    return ((warped - mean) * contrast + mean + brightness).clamp(0, 255).round()


def train(folder: Path, out: Path) -> None:
    """Train on the FER2013 training set in a folder, and write the network to an ONNX file."""
    faces = torch.as_tensor(data.load(folder)["train"].faces)[:, None]
    torch.manual_seed(SEED)
    rng = Generator().manual_seed(SEED)
    network = RollNet().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), LR, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, STEPS)
    start, smoothed_loss = time.time(), 0.0
    for step in range(STEPS):
        indices = torch.randint(len(faces), (BATCH,), generator=rng)
        degrees = (torch.rand(BATCH, generator=rng) - 0.5) * 360
        is_upright = torch.rand(BATCH, generator=rng) < UPRIGHT_FRACTION
        degrees = torch.where(is_upright, degrees * UPRIGHT_DEGREES / 180, degrees)
        radians = degrees * math.pi / 180
        target = torch.stack([radians.cos(), radians.sin()], 1)
        # bfloat16 is faster than float32 only on CPUs with AMX.
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_amx_tile_supported()):
            direction = network(augment(faces[indices], degrees, rng)).float()
        loss = F.mse_loss(direction, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        smoothed_loss = 0.99 * smoothed_loss + 0.01 * loss.item()
        if (step + 1) % 500 == 0:
            elapsed = time.time() - start
            print(f"step {step + 1}  loss {smoothed_loss:.4f}  {elapsed:.0f} s", flush=True)
    export(network, out)


def export(network: RollNet, out: Path) -> None:
    """Write a trained network to an ONNX file."""
    network.eval()
    network.to(memory_format=torch.contiguous_format)
    example = torch.zeros(2, 1, SIDE, SIDE, dtype=torch.uint8)
    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        network, (example,), dynamo=True, input_names=["faces"], output_names=["direction"],
        dynamic_shapes=({0: batch},), opset_version=18,
    )  # fmt: skip
    save(program.model_proto, out)
    parameters = sum(p.numel() for p in network.parameters())
    print(f"{out}: {out.stat().st_size} bytes, {parameters} parameters")


def save(model: onnx.ModelProto, out: Path) -> None:
    """Write a network with a model card and without the metadata that torch adds."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del model.graph.value_info[:], model.metadata_props[:], model.graph.metadata_props[:]
    about = {
        "mien.card": json.dumps({
            "what": "cosine and sine of a head's roll, clockwise, from a gray face of 48 pixels",
            "data": "FER2013 Training, rotated at random", "seed": SEED, "steps": STEPS,
            "made_by": "benchmarks/pose.py train", "results": "results/pose.json",
        }),
    }  # fmt: skip
    onnx.helper.set_model_props(model, about)
    onnx.save(model, out)
