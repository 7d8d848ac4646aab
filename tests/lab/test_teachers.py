"""Teachers that are prepared for inference predict the same as the trained networks."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mien.lab import models
from mien.lab.config import Config
from mien.lab.teachers import Teacher, fold_batch_norm

CPU = torch.device("cpu")
CONFIG = Config(input_size=48, precision="float32")


def network(name: str) -> nn.Module:
    """Build a network whose batch norms differ from the identity."""
    torch.manual_seed(0)
    model = models.build(name, channels=1, classes=15).eval()
    for norm in batch_norms(model):
        nn.init.normal_(norm.running_mean, std=0.1)
        nn.init.uniform_(norm.running_var, 0.8, 1.2)
        nn.init.uniform_(norm.weight, 0.8, 1.2)
        nn.init.normal_(norm.bias, std=0.1)
    return model


def batch_norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    "name", ["resnet-8", "cifarnet-slim", "vgg13-slim-bn", "hybrid-slim", "convnext-slim"]
)
def test_a_teacher_predicts_the_same_without_batch_norms(name):
    model, faces = network(name), torch.randn(3, 1, 48, 48)
    norms = len(batch_norms(model))
    teacher = Teacher(model, CONFIG, CPU)
    assert not batch_norms(teacher.network)
    assert len(batch_norms(model)) == norms
    with torch.no_grad():
        torch.testing.assert_close(teacher(faces), model(faces), atol=1e-4, rtol=1e-4)


def test_a_teacher_in_bfloat16_predicts_nearly_the_same():
    model, faces = network("cifarnet-slim"), torch.randn(3, 1, 48, 48)
    teacher = Teacher(model, replace(CONFIG, precision="bfloat16"), CPU)
    assert {weights.dtype for weights in teacher.network.parameters()} == {torch.bfloat16}
    logits = teacher(faces)
    assert logits.dtype == torch.float32
    with torch.no_grad():
        torch.testing.assert_close(logits.softmax(1), model(faces).softmax(1), atol=0.01, rtol=0)


class ReusedConvolution(nn.Module):
    """A network that uses the output of a convolution both before and after its batch norm.

    Folding the batch norm would change its result.
    """

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm = nn.Conv2d(1, 15, 3), nn.BatchNorm2d(15)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.convolution(x)
        return (self.norm(x) * x).mean((2, 3))


def test_a_batch_norm_that_cannot_be_folded_is_kept():
    model = ReusedConvolution().eval()
    nn.init.constant_(model.norm.bias, 3.0)
    result = fold_batch_norm(model, torch.randn(2, 1, 8, 8))
    assert len(batch_norms(result)) == 1
    assert result is not model
