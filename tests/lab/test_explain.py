"""Where a network looks, on networks that look where we know."""

import numpy as np
import pytest
import torch
from torch import nn

from mien.lab import explain, models
from tests.synthetic import tiny


class Corner(nn.Module):
    """Answers 0 for brightness in the left upper corner, and 1 for it in the right lower one."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        maps = self.conv(x).relu()
        return torch.stack([maps[:, 0, :8, :8].mean((1, 2)), maps[:, 1, -8:, -8:].mean((1, 2))], 1)


def test_grad_cam_is_bright_where_the_answer_comes_from():
    faces = np.full((2, 48, 48), 0, np.uint8)
    faces[:, :8, :8] = faces[:, -8:, -8:] = 255
    found = explain.grad_cam(Corner(), faces, np.array([0, 1]), side=48)
    assert found.shape == (2, 48, 48)
    assert (found >= 0).all()
    assert found[0, :8, :8].min() > 0
    assert found[0, 20:30, 20:30].max() == 0


@pytest.mark.parametrize(
    "name", ["resnet-8", "hybrid-slim", "vgg19-slim", "sequential-slim", "jaiswal-slim"]
)
def test_every_kind_of_network_has_a_map(name):
    torch.manual_seed(0)
    model = models.build(name, channels=1, classes=15)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    found = explain.grad_cam(model, tiny.samples(3).faces, np.arange(3), side=44)
    assert found.shape[0] == 3
    assert found.shape[1] > 1
    assert np.isfinite(found).all()
    assert found.any()
    assert not any(layer._forward_hooks for layer in model.modules())


def test_attention_is_there_where_the_network_has_it():
    model = models.build("hybrid-slim", channels=1, classes=15)
    maps = explain.attention(model, tiny.samples(3).faces, side=48)
    assert [m.shape for m in maps] == [(3, 48, 48), (3, 24, 24), (3, 12, 12)]
    assert all(m.min() >= 0 and m.max() <= 1 for m in maps)
    plain = models.build("resnet-8", channels=1, classes=15)
    assert explain.attention(plain, tiny.samples(3).faces, side=48) == []
