import re
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mien.classification.model_spec import ModelSpec
from mien.errors import UserError
from mien.lab import calibration, export, models
from mien.lab.config import RECIPES, Config
from mien.lab.heads import LOGIT_COUNT
from mien.labels import EMOTIONS
from mien.registry import names
from tests.paths import ROOT

EVERY = models.available()


def built(name: str, channels: int = 1, dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return models.build(name, channels=channels, classes=LOGIT_COUNT, dropout=dropout)


def sketch(name: str, channels: int = 1) -> nn.Module:
    """A network without weights: made at once, and good for counting and shapes."""
    with torch.device("meta"):
        return built(name, channels)


def cost(name: str) -> tuple[int, int]:
    """Multiply-adds on a face, and parameters."""
    network = sketch(name)
    return models.multiply_adds(network, 48), models.count_parameters(network)


COST = {name: cost(name) for name in EVERY}
LIGHT = [name for name, (work, size) in COST.items() if work < 60e6 and size < 30e6]
FIRST = [next(n for n in EVERY if n.startswith(f"{family}-")) for family in names(models.REGISTRY)]
HUGE = [name for name, (work, size) in COST.items() if work > 2e9 or size > 30e6]
SWEPT = [name for name in EVERY if name in LIGHT or (name in FIRST and name not in HUGE)]
"""What is trained here: all that is light, and of each family the first if it is not huge."""

EXPORTED = {
    "hybrid-slim-flatten": 40,
    "sequential-full": 40,
    "vgg19-bn": 44,
}
"""What becomes a model file here, and its window: each kind of layer at least once."""


def test_available_models_are_sorted_by_family():
    assert "resnet-32" in EVERY
    assert EVERY
    assert all("-" in name for name in EVERY)


@pytest.mark.parametrize("name", sorted(set(EVERY) - set(SWEPT)))
@torch.no_grad()
def test_large_models_accept_any_input_size(name):
    for channels, side in ((1, 40), (3, 44)):
        model = sketch(name, channels).eval()
        assert model(torch.zeros(2, channels, side, side, device="meta")).shape == (2, 15)


def test_every_family_is_trained_in_the_tests():
    assert {name.partition("-")[0] for name in SWEPT} == set(names(models.REGISTRY))


@pytest.mark.parametrize("name", SWEPT)
@pytest.mark.parametrize(("channels", "side"), [(1, 44), (3, 48)])
def test_every_model_returns_logits(name, channels, side):
    model = built(name, channels).eval()
    with torch.no_grad():
        answers = model(torch.randn(3, channels, side, side))
        alone = model(torch.zeros(1, channels, side, side))
    assert answers.shape == (3, 15)
    assert alone.shape == (1, 15)
    assert answers.isfinite().all()
    assert alone.isfinite().all()


@pytest.mark.parametrize("name", SWEPT)
def test_every_parameter_gets_a_gradient(name):
    model = built(name)
    # The last norm of a block may start at zero, and then lets nothing through: wake it up.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    answers = model(torch.randn(4, 1, 48, 48))
    (answers.square().sum() + getattr(model, "auxiliary", 0.0)).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not silent


@pytest.mark.parametrize("name", SWEPT)
def test_one_step_lowers_the_loss(name):
    model = built(name)
    faces, labels = torch.randn(8, 1, 40, 40), torch.arange(8) % 7
    # Through norms over only eight faces a gradient can be hundreds long: its signs must do.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    before = F.cross_entropy(model(faces), labels)
    before.backward()
    optimizer.step()
    assert F.cross_entropy(model(faces), labels) < before


@pytest.mark.parametrize("name", LIGHT)
def test_every_model_trains_in_bfloat16(name):
    model = built(name)
    with torch.autocast("cpu", torch.bfloat16):
        answers = model(torch.randn(4, 1, 40, 40))
    loss = F.cross_entropy(answers.float(), torch.arange(4)) + getattr(model, "auxiliary", 0.0)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), EXPORTED.items())
def test_a_model_file_matches_the_network(name, side):
    network = built(name).to(memory_format=torch.contiguous_format)
    # A cold softmax, so that differences in the logits of a new network show.
    whole = export.ExportedNetwork(
        network, {"labels": calibration.identity(7, 0.1)}, 0.0, side
    ).eval()
    proto = export.to_onnx(whole, ModelSpec(EMOTIONS, 48, 1))
    export.check_against_torch(proto, whole, 1, 1e-5)


@pytest.mark.parametrize("name", LIGHT)
def test_in_evaluation_faces_are_independent(name):
    model = built(name, dropout=0.5).eval()
    faces = torch.randn(4, 1, 40, 40)
    with torch.no_grad():
        assert torch.allclose(model(faces)[1:2], model(faces[1:2]), atol=1e-4)


@pytest.mark.parametrize("name", LIGHT)
def test_initial_weights_depend_on_the_global_seed(name):
    one, other = built(name).state_dict(), built(name).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_dropout_is_active_in_training_only():
    model, faces = built("resnet-8", dropout=0.5), torch.randn(4, 1, 40, 40)
    assert not torch.equal(model(faces), model(faces))
    model.eval()
    assert torch.equal(model(faces), model(faces))


def test_the_default_model_has_the_documented_size():
    model = built(RECIPES["default"].model)
    assert models.count_parameters(model) == pytest.approx(2.94e6, rel=0.01)
    work = models.multiply_adds(model, 48)
    assert work < 100e6
    assert work == pytest.approx(99.6e6, rel=0.001)


def test_a_family_alone_means_its_first_variant():
    plain, named = built("resnet"), built("resnet-32")
    assert plain.state_dict().keys() == named.state_dict().keys()
    assert all(
        p.shape == q.shape for p, q in zip(plain.parameters(), named.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet-33", "Did you mean 'resnet-32'?"),
        ("resent-32", "Did you mean 'resnet-32'?"),
        ("vit", "model 'vit'"),
        ("", "resnet"),
        ("_samples", "resnet"),
    ],
)
def test_an_unknown_model_is_an_error_with_a_suggestion(name, said):
    with pytest.raises(UserError) as error:
        models.build(name, channels=1, classes=7)
    assert said in str(error.value)


def test_one_class_is_an_error():
    with pytest.raises(UserError, match="at least 2"):
        models.build("resnet-8", channels=1, classes=1)


def test_the_docs_list_every_field_recipe_and_model():
    page = (ROOT / "docs" / "training.md").read_text()
    named = set(re.findall("`([^`]*)`", page))
    assert {field.name for field in fields(Config)} <= named
    assert set(RECIPES) <= named
    assert set(models.available()) <= named
