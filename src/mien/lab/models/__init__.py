"""Models: one module per family of networks, with `VARIANTS`, `build` and perhaps `ABLATIONS`."""

from __future__ import annotations

import inspect
from typing import Any, cast

import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.registry import load_module, names, unknown_name_error

REGISTRY = __name__


def available() -> list[str]:
    """The names of all models, `FAMILY-VARIANT`, sorted by family."""
    return [
        f"{family}-{variant}"
        for family in names(REGISTRY)
        for variant in load_module(REGISTRY, family).VARIANTS
    ]


def full_name(name: str) -> str:
    """Append the first variant to the name of a family; other names are unchanged."""
    if "-" in name or name not in names(REGISTRY):
        return name
    return f"{name}-{next(iter(load_module(REGISTRY, name).VARIANTS))}"


def build(
    name: str, *, channels: int, classes: int, dropout: float = 0.0, pretrained: bool = False
) -> nn.Module:
    """Build a network with new weights.

    A network may have an additional loss, its scalar attribute `auxiliary`. Each forward pass in
    training mode sets it, and the training adds it to its loss.

    Args:
        name: `"FAMILY-VARIANT"`, such as `"resnet-32"`, or a family for its first variant.
        channels: 1 or 3.
        classes: Number of logits, at least 2.
        dropout: Probability of dropout, 0 to 1; where it applies depends on the family.
        pretrained: Use ImageNet weights, which are downloaded once.

    Returns:
        A module: (N, channels, H, W) standardized float32 -> (N, classes) logits. Its memory
        format is `channels_last`, in which convolutions are faster.

    Raises:
        UserError: Unknown name, fewer than two classes, or pretrained weights that do not exist or
            cannot be downloaded.

    Example:
        ```python
        network = build("resnet-32", channels=1, classes=7)
        ```
    """
    family, _, variant = full_name(name).partition("-")
    if family not in names(REGISTRY):
        raise unknown_name_error("model", name, available())
    module = load_module(REGISTRY, family)
    if variant not in module.VARIANTS:
        raise unknown_name_error("model", name, available())
    if classes < 2:
        raise UserError(f"classes is {classes}. It must be at least 2.")
    options: dict[str, Any] = {"channels": channels, "classes": classes, "dropout": dropout}
    if pretrained:
        if "pretrained" not in inspect.signature(module.build).parameters:
            raise UserError(f"{family} has no pretrained weights. Use --set pretrained=no.")
        options["pretrained"] = True
    try:
        network = module.build(variant, **options)
    except OSError as error:
        if not pretrained:
            raise
        reason = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UserError(
            f"Cannot download the pretrained weights of {name}: {reason}. Check the internet "
            "connection, or use --set pretrained=no."
        ) from None
    return network.to(memory_format=torch.channels_last)


def ablations(name: str) -> dict[str, str]:
    """The ablations of a network: description -> name of the ablated network.

    They are the entry of its variant in the `ABLATIONS` of its family; empty if there is none.
    """
    family, _, variant = full_name(name).partition("-")
    of_family = getattr(load_module(REGISTRY, family), "ABLATIONS", {})
    ablated = of_family.get(variant, {})
    return {description: f"{family}-{other}" for description, other in ablated.items()}


def count_parameters(model: nn.Module) -> int:
    """The number of parameters, without the running statistics of batch norms."""
    return sum(parameter.numel() for parameter in model.parameters())


@torch.no_grad()
def multiply_adds(model: nn.Module, size: int, channels: int = 1) -> int:
    """Multiply-adds of convolutions and linear layers for one face of `size` x `size` pixels."""
    total = 0

    def count(layer: nn.Module, _: tuple, output: Tensor) -> None:
        nonlocal total
        # Each value of the output is a sum of products with the weights of one output channel.
        total += output[0].numel() * cast("Tensor", layer.weight)[0].numel()

    layers = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    was_training = model.training
    model.eval()(next(model.parameters()).new_zeros(1, channels, size, size))
    model.train(was_training)
    for hook in hooks:
        hook.remove()
    return total
