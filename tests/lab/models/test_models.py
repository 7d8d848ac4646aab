"""Properties of all networks."""

import re
from dataclasses import fields

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mien.errors import UserError
from mien.lab import models
from mien.lab.config import RECIPES, Config
from mien.registry import names
from tests.lab.models.networks import (
    assert_costs_are_documented,
    assert_model_file_matches,
    built,
)
from tests.paths import ROOT

ALL_NAMES = models.available()


def cost(name: str) -> tuple[int, int]:
    """Return the multiply-adds for a face of 48 x 48 pixels, and the number of parameters."""
    network = built(name, device="meta")
    return models.multiply_adds(network, 48), models.count_parameters(network)


COST = {name: cost(name) for name in ALL_NAMES}
LIGHT = [
    name
    for name, (multiply_adds, parameters) in COST.items()
    if multiply_adds < 60e6 and parameters < 30e6
]
"""Models that take a fraction of a second per training step on a CPU."""

HUGE = [
    name
    for name, (multiply_adds, parameters) in COST.items()
    if multiply_adds > 2e9 or parameters > 30e6
]
"""Models that are too slow or too large to be trained in the tests."""

FIRST_VARIANTS = [models.full_name(family) for family in names(models.REGISTRY)]
TRAINED = [
    name for name in ALL_NAMES if name in LIGHT or (name in FIRST_VARIANTS and name not in HUGE)
]
"""Models that are trained in the tests: all light ones, and the first of each family that is not
huge."""

EXPORTED = {
    "hybrid-slim-flatten": 40,
    "sequential-full": 40,
    "vgg19-bn": 44,
}
"""Model -> input size, for the models that are exported here.

Together with those in `test_multi_stage` and `test_reference_networks`, they have all layers whose
export could fail."""


def test_names_of_models_have_family_and_variant():
    assert "resnet-32" in ALL_NAMES
    assert all("-" in name for name in ALL_NAMES)


@pytest.mark.parametrize("name", ALL_NAMES)
def test_every_model_accepts_one_or_three_channels_and_sides_from_24_to_48_pixels(name):
    for channels, side in ((1, 24), (3, 41)):  # `COST` has run all models with 48 pixels
        model = built(name, channels, device="meta")
        assert model(torch.empty(2, channels, side, side, device="meta")).shape == (2, 7)


@pytest.mark.parametrize("family", names(models.REGISTRY))
def test_ablations_are_other_models_of_the_family(family):
    variants = {name for name in ALL_NAMES if name.startswith(f"{family}-")}
    for name in variants:
        assert set(models.ablations(name).values()) <= variants - {name}


@pytest.mark.parametrize("family", names(models.REGISTRY))
def test_the_docstring_states_parameters_and_multiply_adds(family):
    assert_costs_are_documented(family)


def test_counting_multiply_adds_does_not_change_the_model():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(64, 5))
    model.train()
    assert models.multiply_adds(model, 4, channels=3) == 3 * 9 * 4 * 16 + 64 * 5
    assert models.count_parameters(model) == 3 * 9 * 4 + 4 + 64 * 5 + 5
    assert model.training
    assert not any(layer._forward_hooks for layer in model.modules())


def test_a_grouped_convolution_multiplies_only_the_channels_of_each_group():
    layer = nn.Conv2d(4, 8, 3, padding=1, groups=4)
    assert models.multiply_adds(layer, 10, channels=4) == 8 * 9 * 10 * 10


def test_every_family_is_trained_in_the_tests():
    assert {name.partition("-")[0] for name in TRAINED} == set(names(models.REGISTRY))


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize(("channels", "side"), [(1, 44), (3, 48)])
def test_logits_of_one_and_of_several_faces_are_finite(name, channels, side):
    model = built(name, channels)
    with torch.no_grad():
        logits = model(torch.randn(3, channels, side, side))
        logits_of_single_face = model(torch.zeros(1, channels, side, side))
    assert logits.shape == (3, 7)
    assert logits_of_single_face.shape == (1, 7)
    assert logits.isfinite().all()
    assert logits_of_single_face.isfinite().all()


@pytest.mark.parametrize("name", TRAINED)
def test_every_parameter_gets_a_gradient(name):
    model = built(name, training=True)
    # If the last batch norm of a block is initialized to zero, the layers before it get no
    # gradients. So all parameters are changed.
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    logits = model(torch.randn(4, 1, 48, 48))
    (logits.square().sum() + getattr(model, "auxiliary", 0.0)).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


@pytest.mark.parametrize("name", TRAINED)
def test_one_step_lowers_the_loss(name):
    model = built(name, training=True)
    faces, labels = torch.randn(8, 1, 40, 40), torch.arange(8) % 7
    # With batch norms over only eight faces, gradients can be very large. The first step of AdamW
    # depends only on their signs.
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    before = F.cross_entropy(model(faces), labels)
    before.backward()
    optimizer.step()
    assert F.cross_entropy(model(faces), labels) < before


@pytest.mark.parametrize("name", LIGHT)
def test_gradients_in_bfloat16_are_finite(name):
    model = built(name, training=True)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(4, 1, 40, 40))
    loss = F.cross_entropy(logits.float(), torch.arange(4)) + getattr(model, "auxiliary", 0.0)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), EXPORTED.items())
def test_a_model_file_matches_the_network(name, side):
    assert_model_file_matches(built(name), side)


@pytest.mark.parametrize("name", LIGHT)
def test_outputs_in_evaluation_mode_do_not_depend_on_the_other_faces_of_a_batch(name):
    model = built(name, dropout=0.5)
    faces = torch.randn(4, 1, 40, 40)
    with torch.no_grad():
        assert torch.allclose(model(faces)[1:2], model(faces[1:2]), atol=1e-4)


@pytest.mark.parametrize("name", LIGHT)
def test_equal_seeds_give_equal_initial_weights(name):
    first, second = built(name).state_dict(), built(name).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_dropout_is_active_only_in_training_mode():
    model, faces = built("resnet-8", dropout=0.5, training=True), torch.randn(4, 1, 40, 40)
    assert not torch.equal(model(faces), model(faces))
    model.eval()
    assert torch.equal(model(faces), model(faces))


def test_the_model_card_states_the_size_of_the_default_model():
    multiply_adds, parameters = (count / 1e6 for count in COST[RECIPES["default"].model])
    size = f"{parameters:.1f} M parameters, {multiply_adds:.0f} M multiply-adds per face"
    assert size in (ROOT / "docs" / "model-card.md").read_text(encoding="utf-8")


def test_a_name_without_a_variant_selects_the_first_variant():
    family, first = built("resnet"), built("resnet-32")
    assert family.state_dict().keys() == first.state_dict().keys()
    assert all(
        p.shape == q.shape for p, q in zip(family.parameters(), first.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet-33", "Did you mean 'resnet-32'"),
        ("resent-32", "Did you mean 'resnet-32'"),
        ("vit", "resnet-32, "),
        ("", "resnet-32, "),
        ("_cbam", "resnet-32, "),
    ],
)
def test_an_unknown_model_is_an_error_with_a_suggestion_or_the_known_models(name, expected):
    with pytest.raises(UserError) as error:
        models.build(name, channels=1, classes=7)
    assert expected in str(error.value)


def test_one_class_is_an_error():
    with pytest.raises(UserError, match="at least 2"):
        models.build("resnet-8", channels=1, classes=1)


def test_the_docs_list_every_field_recipe_and_model():
    page = (ROOT / "docs" / "training.md").read_text()
    code = set(re.findall("`([^`]*)`", page))
    assert {field.name for field in fields(Config)} <= code
    assert set(RECIPES) <= code
    assert set(models.available()) <= code
