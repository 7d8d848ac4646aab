"""How fast networks train on this machine: steps launched one by one, and as a CUDA graph.

    python benchmarks/training_speed.py --data fer2013/ cifarnet-18:256 resnet-32-deep:256

A network's name is followed by the faces in a batch. Prints a Markdown table and a line of JSON.
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

sys.path.insert(0, str(Path(__file__).parent.parent / "src"))

import torch

from mien.lab import batches, config, data, lr_schedule, models, train, training_state
from mien.lab.config import Config
from mien.lab.training_step import Step


def prepared(wanted: Config, samples: data.Samples, device: torch.device) -> Step:
    """A step of that recipe, ready for its first epoch."""
    faces = batches.on_device(samples, wanted, device)
    state = training_state.prepare(wanted, device)
    step = Step(state.model, state, faces, wanted, [])
    state.model.train()
    step.begin(train.planned(state, wanted, lr_schedule.NO_LIMIT, step, None))
    return step


def steps_per_second(step: Step, take: Callable[[], None], seconds: float) -> float:
    """Steps that are done, not only launched, in a second."""
    steps = len(step.plan.rates)  # type: ignore[union-attr]
    done, began = 0, time.perf_counter()
    while (spent := time.perf_counter() - began) < seconds:
        for _ in range(min(steps, 8)):
            take()
        step.number.zero_()  # the plan holds one epoch
        step.totals[0].item()  # waits
        done += min(steps, 8)
    return done / spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("networks", nargs="+", metavar="NAME:BATCH")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    torch.backends.cudnn.benchmark = True
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    samples = data.load(asked.data)["train"]
    print("\n| network | batch | ready after | faces/s, one by one | faces/s, graph |  TFLOP/s |")
    print("|---|---:|---:|---:|---:|---:|", flush=True)
    rows = []
    for name in asked.networks:
        network, _, batch = name.partition(":")
        wanted = replace(
            config.parse("default"), model=network, batch_size=int(batch or 128), input_size=48,
            initial_size=0,            cutmix=0.5, mixup=0.1, precision="auto", lr=0.01,
        )  # fmt: skip
        began = time.perf_counter()
        step = prepared(wanted, samples, device)
        ready = time.perf_counter() - began
        steps_per_second(step, step.take, asked.seconds / 4)  # warm
        plain = steps_per_second(step, step.take, asked.seconds / 2) * wanted.batch_size
        graph = (
            steps_per_second(step, step.replay, asked.seconds) * wanted.batch_size
            if step.replay
            else None
        )
        work = models.multiply_adds(step.state.average, 48) * 6 * (graph or plain) / 1e12
        rows.append({"network": network, "batch": wanted.batch_size, "plain": plain, "graph": graph,
                     "ready_seconds": ready, "tflops": work})  # fmt: skip
        shown = f"{graph:,.0f}" if graph else "none"
        print(
            f"| {network} | {wanted.batch_size} | {ready:.1f} s | {plain:,.0f} | {shown} "
            f"| {work:.0f} |",
            flush=True,
        )
        del step
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
