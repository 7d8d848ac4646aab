"""The models: one readable file per family, each with its `VARIANTS` and its `build`."""

from __future__ import annotations

import inspect
from typing import cast

import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.registry import load_module, names, unknown_name_error

REGISTRY = __name__


def available() -> list[str]:
    """Every name that `build` takes: `family-variant`, sorted by family."""
    return [
        f"{family}-{v}"
        for family in names(REGISTRY)
        for v in load_module(REGISTRY, family).VARIANTS
    ]


def full_name(name: str) -> str:
    """A network's name in full: a family alone means its first variant. Unknown ones stay."""
    if "-" in name or name not in names(REGISTRY):
        return name
    return f"{name}-{next(iter(load_module(REGISTRY, name).VARIANTS))}"


def build(
    name: str, *, channels: int, classes: int, dropout: float = 0.0, pretrained: bool = False
) -> nn.Module:
    """A new network: (N, channels, side, side) standardised float -> (N, classes) logits.

    `name` is `"family-variant"` (`"resnet-32"`) or a family alone, as `whole` reads it.
    Weights come from torch's global generator or, if `pretrained`, from ImageNet as far as the
    network is a known one. A network may leave a loss of its own (a scalar) as `auxiliary` after a
    forward pass in training, which is added to the others. Raises `UserError` for an unknown name,
    or one without such weights.
    """
    family, _, variant = full_name(name).partition("-")
    if family not in names(REGISTRY):
        raise unknown_name_error("model", name, available())
    module = load_module(REGISTRY, family)
    if variant not in module.VARIANTS:
        raise unknown_name_error("model", name, available())
    if classes < 2:
        raise UserError(f"A model needs at least 2 classes, not {classes}.")
    if not pretrained:
        return module.build(variant, channels=channels, classes=classes, dropout=dropout)
    if "pretrained" not in inspect.signature(module.build).parameters:
        raise UserError(f"There are no pretrained weights for {family}; train it from scratch.")
    try:
        return module.build(
            variant, channels=channels, classes=classes, dropout=dropout, pretrained=True
        )
    except OSError as error:
        why = type(error).__name__
        raise UserError(f"The pretrained weights of {name} could not be had ({why}).") from None


def ablations(name: str) -> dict[str, str]:
    """What a network can do without, in words, and the name of the network that does.

    A family may offer them as `ABLATIONS`, from variant to words to variant; most have none.
    """
    family, _, variant = full_name(name).partition("-")
    offered = getattr(load_module(REGISTRY, family), "ABLATIONS", {})
    return {words: f"{family}-{other}" for words, other in offered.get(variant, {}).items()}


def count_parameters(model: nn.Module) -> int:
    """The number of weights that training can change."""
    return sum(weights.numel() for weights in model.parameters())


@torch.no_grad()
def multiply_adds(model: nn.Module, side: int, channels: int = 1) -> int:
    """The multiply-adds of all convolutions and linear layers for one face of `side` pixels."""
    total = 0

    def count(layer: nn.Module, _: tuple, out: Tensor) -> None:
        nonlocal total
        total += cast("Tensor", layer.weight)[0].numel() * out[0].numel()

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    model.eval()(next(model.parameters()).new_zeros(1, channels, side, side))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
