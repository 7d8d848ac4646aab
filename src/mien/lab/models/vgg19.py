"""VGG19 without its last pooling: the first model of the paper.

Paper: Abdulkadir et al. 2025, "Evaluating Facial Emotional Proportion Based on Computer Vision
Technique", https://doi.org/10.18178/joig.13.5.469-475; VGG19 is by Simonyan & Zisserman 2015,
https://arxiv.org/abs/1409.1556.

The source states: "VGG19", 25 epochs, and 66.68 % on a validation set.

Our choices:

- VGG19 up to its sixteenth convolution (block5_conv4, a feature map of 3 x 3 x 512), then global
  average pooling, dropout and one linear layer. This is the network of a public notebook with the
  same number of faces per class as the paper's Table II, and the same number of epochs.
- `plain` has no batch norm, as in the notebook, which uses ImageNet weights. Such a deep network is
  hard to train from scratch without batch norm, so `bn`, with batch norm, is the first variant.
- `slim` and `slim-plain` have a quarter of the widths, for CPUs.

Accuracy: `bn` 68.5 % after 25 epochs with protocol `random10` (results/full-vgg19.json); `slim`
60.5 % on PublicTest's labels after 10 epochs (results/leaderboard).

At 48 pixels, 1 channel and 7 classes:

| variant      | parameters | multiply-adds |
|--------------|-----------:|--------------:|
| `bn`         |    20.04 M |         893 M |
| `plain`      |    20.03 M |         893 M |
| `slim`       |     1.26 M |          56 M |
| `slim-plain` |     1.25 M |          56 M |
"""

from __future__ import annotations

from torch import Tensor, nn

from mien.errors import UserError

VARIANTS = {
    "bn": (64, True),
    "plain": (64, False),
    "slim": (16, True),
    "slim-plain": (16, False),
}
"""Width of the first block, and whether there is batch norm."""

ABLATIONS = {"bn": {"no batch norm": "plain"}, "slim": {"no batch norm": "slim-plain"}}
"""Variant -> description of an ablation -> variant with that ablation."""

BLOCKS = ((1, 2), (2, 2), (4, 4), (8, 4), (8, 4))
"""Per block: width relative to the first block, and number of convolutions."""


class VGG(nn.Module):
    """Five blocks of 3 x 3 convolutions with max pooling between them, and a linear layer."""

    def __init__(self, width: int, norm: bool, channels: int, classes: int, dropout: float) -> None:
        super().__init__()
        # A flat sequence, with biases even before batch norm, has the keys of timm's weights.
        self.features = nn.Sequential()
        for number, (factor, depth) in enumerate(BLOCKS):
            if number:
                self.features.append(nn.MaxPool2d(2))
            for _ in range(depth):
                self.features.append(nn.Conv2d(channels, width * factor, 3, padding=1))
                if norm:
                    self.features.append(nn.BatchNorm2d(width * factor))
                self.features.append(nn.ReLU())
                channels = width * factor
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:  # (N, channels, side, side) -> (N, classes) logits
        return self.head(self.dropout(self.features(x).mean((2, 3))))


def build(
    variant: str, *, channels: int, classes: int, dropout: float, pretrained: bool = False
) -> nn.Module:
    """Build a variant; with `pretrained`, its convolutions have ImageNet weights."""
    width, norm = VARIANTS[variant]
    model = VGG(width, norm, channels, classes, dropout)
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if pretrained:
        if width != 64:
            raise UserError(f"vgg19-{variant} has no pretrained weights. Use vgg19-bn or "
                            "vgg19-plain.")  # fmt: skip
        model.features.load_state_dict(imagenet_features(norm, channels))
    return model


def imagenet_features(norm: bool, channels: int) -> dict[str, Tensor]:
    """The ImageNet weights of `features` from timm, which downloads them if needed.

    For one channel, the kernels of the first layer are summed over the colors. A gray face then has
    the same features as in the network with three channels, where it is repeated in each channel.
    """
    import timm

    weights = timm.create_model("vgg19_bn" if norm else "vgg19", pretrained=True).state_dict()
    prefix = "features."
    features = {key.removeprefix(prefix): w for key, w in weights.items() if key.startswith(prefix)}
    if channels == 1:
        features["0.weight"] = features["0.weight"].sum(1, keepdim=True)
    return features
