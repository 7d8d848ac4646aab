"""The network that the paper proposes: ResNet50, MobileNetV2 and a CNN with attention in parallel.

Paper: Abdulkadir et al. 2025, "Evaluating Facial Emotional Proportion Based on Computer Vision
Technique", https://doi.org/10.18178/joig.13.5.469-475.

Branches: ResNet50 (He et al. 2016, https://arxiv.org/abs/1512.03385) and MobileNetV2 (Sandler et
al. 2018, https://arxiv.org/abs/1801.04381), both from timm, and a CNN of our own with the attention
of Woo et al. 2018, https://arxiv.org/abs/1807.06521.

The source states: the three branches; "concatenating the flattened outputs of each network,
followed by dense classification layers"; dropout and batch norm, with an ablation of both without
numbers. It does not state depths, widths, input size or initial weights.

Claims on FER2013: 96 % training accuracy and 91 % validation accuracy, without a split or a
confusion matrix.

Our choices:

- `gap`, the first variant, uses global average pooling per branch. `flatten` follows the wording of
  the paper and has 16 M more weights in the first dense layer; feature maps of smaller inputs are
  resized by adaptive pooling.
- ResNet50 and MobileNetV2 are made for 224 pixels and would reduce 48 pixels to a map of 2 x 2. We
  set the stride of their last strided stage to 1, so that the map is 3 x 3. This costs 24 M
  multiply-adds instead of 16 M in MobileNetV2, and 281 M instead of 209 M in ResNet50. The usual
  alternatives cost more: 54 M with a stem of stride 1 in MobileNetV2, 731 M without max pooling in
  ResNet50. All ImageNet weights remain usable.
- The CNN has three stages, 32, 64 and 128 wide, of two [convolution, batch norm, ReLU], CBAM with
  reduction 8, and max pooling. Its last map is 6 x 6.
- The head has dense layers of 512 and 256 with batch norm and ReLU. The probability of dropout is
  `dropout` after the first and 0.6 x `dropout` after the second (0.5 and 0.3 in the recipes).
- `no-norm` has no batch norm in the CNN and the head; ResNet50 and MobileNetV2 keep theirs.
- `slim`, for CPUs: ResNet50 with a quarter of its widths (the stem keeps 64), MobileNetV2 with 0.35
  of its widths, a CNN 16, 32 and 64 wide, and a head of 128 and 64.

Accuracy on PublicTest's labels: `gap` 64.9 % after 39 epochs (results/full-hybrid.json); `slim`
58.6 % after 25 epochs (results/slim-hybrid.json).

At 48 pixels, 1 channel and 7 classes, in millions. The last two columns are for `slim` (the slim
`gap`) and the `slim-...` variants:

| variant                | parameters | multiply-adds | slim: parameters | slim: multiply-adds |
|------------------------|-----------:|--------------:|-----------------:|--------------------:|
| `gap`, `slim`          |      27.92 |           393 |             2.20 |                  46 |
| `flatten`              |      43.85 |           409 |             4.32 |                  48 |
| `no-cbam`              |      27.92 |           393 |             2.20 |                  46 |
| `no-norm`              |      27.92 |           393 |             2.20 |                  46 |
| `resnet50`             |      24.68 |           283 |             1.56 |                  19 |
| `mobilenetv2`          |       3.01 |            25 |             0.57 |                   5 |
| `cnn`                  |       0.49 |            86 |             0.09 |                  22 |
| `resnet50-mobilenetv2` |      27.56 |           307 |             2.12 |                  24 |
| `resnet50-cnn`         |      25.04 |           369 |             1.64 |                  41 |
| `mobilenetv2-cnn`      |       3.37 |           111 |             0.65 |                  27 |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab.models._cbam import CBAM

MAP_SIZES = {"resnet50": 3, "mobilenetv2": 3, "cnn": 6}
"""Branch -> width and height of its last feature map for faces of 48 pixels."""


@dataclass(frozen=True)
class Parts:
    """The components of a variant.

    Attributes:
        branches: Names of the branches.
        flatten: Flatten the last maps of the branches instead of global average pooling.
        attention: Whether the CNN has CBAM.
        norm: Whether the CNN and the head have batch norm.
        slim: Use the small widths.
    """

    branches: tuple[str, ...] = tuple(MAP_SIZES)
    flatten: bool = False
    attention: bool = True
    norm: bool = True
    slim: bool = False


def _variants() -> dict[str, Parts]:
    full = {
        "gap": Parts(),
        "flatten": Parts(flatten=True),
        "no-cbam": Parts(attention=False),
        "no-norm": Parts(norm=False),
    }
    subsets = [names for count in (1, 2) for names in combinations(MAP_SIZES, count)]
    full |= {"-".join(names): Parts(branches=names) for names in subsets}
    slim = {
        "slim" if name == "gap" else f"slim-{name}": replace(parts, slim=True)
        for name, parts in full.items()
    }
    return full | slim


VARIANTS = _variants()
"""Variant -> its components."""

_ABLATIONS = {
    "no CBAM": "no-cbam", "no batch norm": "no-norm", "flattened": "flatten",
    "no CNN": "resnet50-mobilenetv2", "no MobileNetV2": "resnet50-cnn",
    "no ResNet50": "mobilenetv2-cnn", "ResNet50 alone": "resnet50",
    "MobileNetV2 alone": "mobilenetv2", "CNN alone": "cnn",
}  # fmt: skip

ABLATIONS = {"gap": _ABLATIONS, "slim": {text: f"slim-{name}" for text, name in _ABLATIONS.items()}}
"""Variant -> description of an ablation -> variant with that ablation."""


class Hybrid(nn.Module):
    """Branches with the same input, and a head on their concatenated features."""

    def __init__(self, branches: dict[str, nn.Module], head: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleDict(branches)
        self.head = head

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.head(torch.cat([branch(x) for branch in self.branches.values()], 1))


def branch(name: str, channels: int, parts: Parts, pretrained: bool) -> tuple[nn.Module, int]:
    """A branch, (N, channels, side, side) -> (N, width, h, w), and its output width."""
    if name == "resnet50":
        return resnet50(channels, parts.slim, pretrained)
    if name == "mobilenetv2":
        return mobilenetv2(channels, parts.slim, pretrained)
    return cnn(channels, parts)


def resnet50(channels: int, slim: bool, pretrained: bool) -> tuple[nn.Module, int]:
    """ResNet50 of timm with stride 1 in the last stage, and its output width."""
    import timm

    widths = {"channels": (16, 32, 64, 128)} if slim else {}
    model = timm.create_model(
        "resnet50", pretrained, in_chans=channels, num_classes=0, global_pool="", **widths
    )
    first_block = model.layer4[0]  # of the last stage; its other blocks have stride 1
    first_block.conv2.stride = first_block.downsample[0].stride = (1, 1)
    return model, model.num_features


def mobilenetv2(channels: int, slim: bool, pretrained: bool) -> tuple[nn.Module, int]:
    """MobileNetV2 of timm with stride 1 in the last strided stage, and its output width."""
    import timm

    name = "mobilenetv2_035" if slim else "mobilenetv2_100"
    model = timm.create_model(name, pretrained, in_chans=channels, num_classes=0, global_pool="")
    model.blocks[5][0].conv_dw.stride = (1, 1)  # stage 6 of 7 is the last strided one
    return model, model.num_features


def cnn(channels: int, parts: Parts) -> tuple[nn.Module, int]:
    """The CNN with three stages of two convolutions and attention, and its output width."""
    layers = nn.Sequential()
    for width in (16, 32, 64) if parts.slim else (32, 64, 128):
        for _ in range(2):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not parts.norm))
            if parts.norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU())
            channels = width
        if parts.attention:
            layers.append(CBAM(width))
        layers.append(nn.MaxPool2d(2))
    # Not for the convolutions inside CBAM: such large weights would saturate its sigmoids.
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layers, width


def head(features: int, classes: int, dropout: float, parts: Parts) -> nn.Module:
    """Two dense layers and the logits: (N, features) -> (N, classes)."""
    layers = nn.Sequential()
    first, second = (128, 64) if parts.slim else (512, 256)
    for width, probability in ((first, dropout), (second, 0.6 * dropout)):
        layers.append(nn.Linear(features, width, bias=not parts.norm))
        if parts.norm:
            layers.append(nn.BatchNorm1d(width))
        layers.extend([nn.ReLU(), nn.Dropout(probability)])
        features = width
    return layers.append(nn.Linear(features, classes))


def build(
    variant: str, *, channels: int, classes: int, dropout: float, pretrained: bool = False
) -> nn.Module:
    """Build a variant; with `pretrained`, the branches from timm have ImageNet weights."""
    parts = VARIANTS[variant]
    if pretrained and (parts.slim or parts.branches == ("cnn",)):
        raise UserError(f"hybrid-{variant} has no pretrained weights. Use a full-size variant with "
                        "resnet50 or mobilenetv2.")  # fmt: skip
    branches: dict[str, nn.Module] = {}
    features = 0
    for name in parts.branches:
        body, width = branch(name, channels, parts, pretrained)
        side = MAP_SIZES[name] if parts.flatten else 1
        branches[name] = nn.Sequential(body, nn.AdaptiveAvgPool2d(side), nn.Flatten())
        features += width * side**2
    return Hybrid(branches, head(features, classes, dropout, parts))
