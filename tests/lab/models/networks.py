"""Networks for the tests of `mien.lab.models`."""

import re

import pytest
import torch
from torch import nn

from mien.classification.model_spec import ModelSpec
from mien.lab import calibration, export, models
from mien.labels import EMOTIONS
from mien.registry import load_module


def built(
    name: str,
    channels: int = 1,
    dropout: float = 0.0,
    *,
    training: bool = False,
    device: str = "cpu",
) -> nn.Module:
    """Build a network for seven classes with the weights of seed 0.

    On the device "meta" it has shapes but no values, which is fast at any size.
    """
    torch.manual_seed(0)
    with torch.device(device):
        network = models.build(name, channels=channels, classes=7, dropout=dropout)
    return network.train(training)


def uninitialized(name: str, channels: int = 1, dropout: float = 0.0) -> nn.Module:
    """Build a network with arbitrary weights, which is faster than random ones."""
    return built(name, channels, dropout, device="meta").to_empty(device="cpu")


def layers(network: nn.Module, *kinds: type) -> list:
    """The layers of these types, in their order."""
    return [layer for layer in network.modules() if isinstance(layer, kinds)]


def dropout_probabilities(network: nn.Module) -> list[float]:
    """The probability of each dropout layer, in their order."""
    return [layer.p for layer in layers(network, nn.Dropout)]


def documented_costs(family: str) -> dict[str, tuple[str, str]]:
    """Variant -> millions of parameters and of multiply-adds in the docstring of its family."""
    costs: dict[str, tuple[str, str]] = {}
    docstring = load_module(models.REGISTRY, family).__doc__
    # The first cell of a row has the variant in backticks.
    for first_cell, cells in re.findall(r"^\| (`.*?) *\|(.*)", docstring, re.MULTILINE):
        variant, *slim_variant = re.findall("`([^`]+)`", first_cell)
        parameters, multiply_adds, *slim_costs = re.findall(r"[\d.]+", cells)
        costs[variant] = parameters, multiply_adds
        if slim_costs:  # a row of hybrid has two variants, of which the second may be unnamed
            (slim_name,) = slim_variant or [f"slim-{variant}"]
            costs[slim_name] = tuple(slim_costs)
    return costs


def assert_costs_are_documented(family: str) -> None:
    """Assert that the docstring of a family states the cost of each variant, rounded correctly."""
    costs = documented_costs(family)
    assert set(costs) == set(load_module(models.REGISTRY, family).VARIANTS)
    for variant, documented in costs.items():
        network = built(f"{family}-{variant}", device="meta")
        actual = models.count_parameters(network), models.multiply_adds(network, 48)
        for number, text in zip(actual, documented, strict=True):
            rounding = 0.5 * 10 ** -len(text.partition(".")[2])
            # 1 % more for the rounding errors of floats.
            assert number / 1e6 == pytest.approx(float(text), abs=1.01 * rounding), variant


def assert_model_file_matches(network: nn.Module, input_size: int) -> None:
    """Assert that the exported graph of a network has the same probabilities as the network."""
    # Logits of a new network are small. Multiplied by 10, their differences are visible in the
    # probabilities.
    scaling = calibration.VectorScaling(factors=(10.0,) * 7, shifts=(0.0,) * 7)
    exported = export.ExportedNetwork(
        network.to(memory_format=torch.contiguous_format),  # as `export.export` does
        {"labels": scaling}, label_head_weight=0.0, input_size=input_size,
    ).eval()  # fmt: skip
    proto = export.to_onnx(exported, ModelSpec(EMOTIONS, side=48, channels=1))
    export.check_against_torch(proto, exported, channels=1, tolerance=1e-5)
