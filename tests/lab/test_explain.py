"""Saliency maps: Grad-CAM and spatial attention."""

import numpy as np
import pytest
import torch
from torch import nn

from mien.lab import explain, models
from tests.synthetic import tiny


class CornerNet(nn.Module):
    """Logit 0 is the brightness of the top left corner, logit 1 that of the bottom right corner."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        maps = self.conv(x).relu()
        return torch.stack([maps[:, 0, :8, :8].mean((1, 2)), maps[:, 1, -8:, -8:].mean((1, 2))], 1)


def test_grad_cam_is_positive_where_pixels_determine_the_logit():
    faces = np.zeros((2, 48, 48), np.uint8)
    faces[:, :8, :8] = faces[:, -8:, -8:] = 255
    maps = explain.grad_cam(CornerNet(), faces, np.array([0, 1]), input_size=48)
    assert maps.shape == (2, 48, 48)
    assert (maps >= 0).all()
    assert maps[0, :8, :8].min() > 0
    assert maps[1, -8:, -8:].min() > 0
    assert maps[:, 20:30, 20:30].max() == 0


@pytest.mark.parametrize(
    "name", ["resnet-8", "hybrid-slim", "vgg19-slim", "sequential-slim", "jaiswal-slim"]
)
def test_every_kind_of_network_has_a_grad_cam(name):
    torch.manual_seed(0)
    model = models.build(name, channels=1, classes=15)
    # Weights that are initialized to zero would block the gradients.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    maps = explain.grad_cam(model, tiny.samples(3).faces, np.arange(3), input_size=44)
    assert maps.shape[0] == 3
    assert maps.shape[1] > 1
    assert np.isfinite(maps).all()
    assert maps.any()
    assert not any(layer._forward_hooks for layer in model.modules())


def test_spatial_attention_has_a_map_per_layer_and_is_empty_without_such_layers():
    model = models.build("hybrid-slim", channels=1, classes=15)
    maps = explain.spatial_attention(model, tiny.samples(3).faces, input_size=48)
    assert [m.shape for m in maps] == [(3, 48, 48), (3, 24, 24), (3, 12, 12)]
    assert all(m.min() >= 0 and m.max() <= 1 for m in maps)
    plain = models.build("resnet-8", channels=1, classes=15)
    assert explain.spatial_attention(plain, tiny.samples(3).faces, input_size=48) == []
