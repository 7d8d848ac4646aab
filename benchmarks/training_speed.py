"""Measure the training speed of networks with eager execution and with CUDA graphs.

    python benchmarks/training_speed.py --data fer2013/ cifarnet-18:256 resnet-32-deep:256

Each argument is the name of a network and a batch size, 128 by default. Prints a Markdown table and
a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

# The exported code (`campaign.py --export-code`) is not installed.
sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import torch

from mien.lab import batches, data, lr_schedule, models, train, training_state
from mien.lab.config import Config, parse
from mien.lab.training_step import Step


def create_step(config: Config, samples: data.Samples, device: torch.device) -> Step:
    """Create the training step of a network with random weights, ready for its first epoch."""
    faces = batches.to_device(samples, config, device)
    state = training_state.create(config, device)
    step = Step(state.model, state, faces, config, [])
    state.model.train()
    step.start_epoch(train.epoch_inputs(state, config, lr_schedule.NO_LIMIT, step, None))
    return step


def steps_per_second(step: Step, run: Callable[[], None], seconds: float) -> float:
    """Measure the steps per second of a function that runs one step.

    Args:
        step: The step.
        run: `step.run_eager` or `step.replay`.
        seconds: Duration of the measurement.
    """
    # Steps are asynchronous, so several are started before each wait. The inputs cover one epoch,
    # which may have fewer than eight steps.
    steps_per_wait = min(len(step.inputs.lrs), 8)  # type: ignore[union-attr]
    completed, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        for _ in range(steps_per_wait):
            run()
        step.index.zero_()  # starts the epoch again
        step.totals[0].item()  # waits for the device
        completed += steps_per_wait
    return completed / elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="NAME:BATCH")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--seconds", type=float, default=3.0,
        help="duration of the measurement with CUDA graphs; half of it for eager execution",
    )  # fmt: skip
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples = data.load(args.data)["train"]
    print("\n| network | batch | ready after | faces/s, eager | faces/s, graph |  TFLOP/s |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    rows = []
    for name in args.networks:
        network, _, batch = name.partition(":")
        config = replace(
            parse("default"), model=network, batch_size=int(batch or 128), input_size=48,
            initial_size=0, cutmix=0.5, mixup=0.1, precision="auto", lr=0.01,
        )  # fmt: skip
        start = time.perf_counter()
        step = create_step(config, samples, device)
        ready = time.perf_counter() - start
        steps_per_second(step, step.run_eager, args.seconds / 4)  # warmup
        eager = steps_per_second(step, step.run_eager, args.seconds / 2) * config.batch_size
        graph = (
            steps_per_second(step, step.replay, args.seconds) * config.batch_size
            if step.replay
            else None
        )
        forward = models.multiply_adds(step.state.ema_model, 48)
        # A multiply-add is two operations; the backward pass has twice as many as the forward pass.
        tflops = 6 * forward * (graph or eager) / 1e12
        rows.append({"network": network, "batch": config.batch_size, "eager": eager, "graph": graph,
                     "ready_seconds": ready, "tflops": tflops})  # fmt: skip
        graph_cell = f"{graph:,.0f}" if graph else "none"
        print(
            f"| {network} | {config.batch_size} | {ready:.1f} s | {eager:,.0f} | {graph_cell} "
            f"| {tflops:.0f} |",
            flush=True,
        )
        del step
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
