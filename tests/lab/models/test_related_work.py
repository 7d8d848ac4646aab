"""The architecture of six networks of related work."""

from itertools import accumulate

import pytest
import timm
import torch
from torch import nn

from mien.lab import models
from mien.lab.models import clcm, xception
from tests.lab.models.networks import built, dropout_probabilities, layers, uninitialized


def count_like_keras(model: nn.Module) -> int:
    """Number of parameters, including running means and running variances."""
    return sum(t.numel() for key, t in model.state_dict().items() if "num_batches" not in key)


def map_sizes(model: nn.Module, kind: type, side: int) -> list[tuple[int, int]]:
    """Width of the map before and after each layer of a type, for a face of `side` pixels."""
    widths: list[tuple[int, int]] = []
    hooks = [
        layer.register_forward_hook(lambda _, x, y: widths.append((x[0].shape[-1], y.shape[-1])))
        for layer in layers(model, kind)
    ]
    with torch.no_grad():
        model(torch.zeros(1, 1, side, side))
    for hook in hooks:
        hook.remove()
    return widths


# Jaiswal


@pytest.mark.parametrize(
    ("variant", "kernels"), [("full", [3, 5]), ("same", [3, 3]), ("single", [3])]
)
def test_the_branches_of_jaiswal_have_the_kernel_sizes_of_the_variant(variant, kernels):
    branches = uninitialized(f"jaiswal-{variant}").branches
    sizes = [{layer.kernel_size for layer in layers(branch, nn.Conv2d)} for branch in branches]
    assert sizes == [{(k, k)} for k in kernels]
    assert all(branch(torch.zeros(1, 1, 48, 48)).shape == (1, 128 * 6 * 6) for branch in branches)


def test_both_branches_affect_the_logits():
    model, faces = built("jaiswal-slim"), torch.randn(2, 1, 44, 44)
    with torch.no_grad():
        before = model(faces)
        for branch in model.branches:
            saved = [p.clone() for p in branch.parameters()]
            for parameter in branch.parameters():
                parameter.zero_()
            assert not torch.allclose(model(faces), before)
            for parameter, value in zip(branch.parameters(), saved, strict=True):
                parameter.copy_(value)
        assert torch.equal(model(faces), before)


def test_equal_branches_have_different_initial_weights():
    first, second = built("jaiswal-slim-same").branches
    assert not torch.equal(first[0].weight, second[0].weight)


# Kedari and Li


def test_kedari_has_the_parameters_of_the_public_code():
    model = uninitialized("kedari-full")
    assert count_like_keras(model) == models.count_parameters(model) == 2_345_607
    assert not layers(model, nn.BatchNorm2d)


def test_li_has_the_parameters_of_the_notebook_without_biases_before_norms():
    biases = 64 + 128 + 512 + 512 + 256 + 512
    assert count_like_keras(uninitialized("li-full")) == 4_478_727 - biases


def test_kedari_has_three_dropout_layers_and_li_six_with_equal_probabilities():
    probabilities = {
        name: dropout_probabilities(uninitialized(name, dropout=0.5))
        for name in ("kedari-slim", "li-slim")
    }
    assert probabilities == {"kedari-slim": [0.25, 0.25, 0.5], "li-slim": [0.5] * 6}


@pytest.mark.parametrize(
    ("name", "side", "last"),
    [("kedari-slim", 48, 4), ("kedari-slim", 40, 3), ("li-slim", 48, 3), ("li-slim", 40, 2)],
)
def test_the_last_map_is_resized_to_its_size_for_48_pixels(name, side, last):
    resized = {"kedari": 4, "li": 3}[name.split("-")[0]]
    assert map_sizes(uninitialized(name), nn.AdaptiveAvgPool2d, side) == [(last, resized)]


# Mini-Xception


def test_xception_has_the_58_423_parameters_of_the_public_code():
    model = uninitialized("xception-mini")
    assert count_like_keras(model) == 58_423
    assert not layers(model, nn.Linear)


def test_the_3_x_3_convolutions_of_xception_blocks_are_depthwise():
    model = uninitialized("xception-mini")
    convolutions = [c for c in layers(model.blocks, nn.Conv2d) if c.kernel_size == (3, 3)]
    assert len(convolutions) == 8
    assert all(c.groups == c.in_channels == c.out_channels for c in convolutions)
    assert [c.groups for c in layers(model.stem, nn.Conv2d)] == [1, 1]
    assert model.maps.groups == 1


def test_a_block_of_xception_halves_the_resolution():
    model = uninitialized("xception-mini")
    assert map_sizes(model, xception.Block, 48) == [(44, 22), (22, 11), (11, 6), (6, 3)]


def test_a_block_of_xception_has_a_shortcut_except_in_plain():
    with torch.no_grad():
        for name, has_shortcut in (("xception-mini", True), ("xception-plain", False)):
            block = built(name).blocks[0]
            block.body[-2].weight.zero_()  # the last batch norm, so that only the shortcut is left
            assert bool(block(torch.randn(1, 8, 12, 12)).any()) == has_shortcut


# CLCM


def test_clcm_has_the_parameters_of_mobilenetv2_with_seven_classes():
    model, expected = uninitialized("clcm-full", channels=3), timm.create_model("mobilenetv2_100")
    expected.reset_classifier(7)
    assert [p.shape for p in model.parameters()] == [p.shape for p in expected.parameters()]
    assert count_like_keras(model) == 2_266_951


@pytest.mark.parametrize(
    ("variant", "sides"),
    [("full", [48, 24, 12, 6, 6, 3, 3]), ("shrunk", [24, 12, 6, 3, 3, 3, 3])],
)
def test_clcm_ends_at_three_by_three(variant, sides):
    after = [
        side for _, side in map_sizes(uninitialized(f"clcm-{variant}"), clcm.InvertedResidual, 48)
    ]
    ends = accumulate(depth for _, _, depth in clcm.STAGES)
    assert [after[end - 1] for end in ends] == sides


def test_clcm_projections_have_no_activation():
    for block in layers(uninitialized("clcm-slim"), clcm.InvertedResidual):
        assert isinstance(block.body[-1], nn.BatchNorm2d)
        assert block.body[-2].out_channels < block.body[-2].in_channels


def test_a_new_block_of_clcm_with_a_shortcut_is_the_identity():
    blocks = layers(built("clcm-slim"), clcm.InvertedResidual)
    maps = torch.randn(1, 16, 6, 6)
    assert sum(block.shortcut for block in blocks) == 10  # all but the first of each stage
    assert blocks[2].shortcut
    assert torch.equal(blocks[2](maps), maps)


@pytest.mark.parametrize(("width", "rounded"), [(3.0, 8), (8.0, 8), (12.0, 16), (80.0, 80)])
def test_widths_are_multiples_of_eight(width, rounded):
    assert clcm.round_width(width) == rounded


# Nathani


def test_the_modified_vgg16_is_deeper_and_wider():
    architectures = {}
    for variant in ("vgg16", "modified"):
        model = uninitialized(f"nathani-{variant}")
        dense = [layer.out_features for layer in layers(model, nn.Linear)]
        convolutions, poolings = layers(model, nn.Conv2d), layers(model, nn.MaxPool2d)
        architectures[variant] = len(convolutions), len(poolings), dense
    assert architectures == {"vgg16": (13, 4, [512, 512, 7]), "modified": (15, 4, [1024, 1024, 7])}


@pytest.mark.parametrize("side", [24, 44, 48])
def test_nathani_ends_with_global_max_pooling(side):
    last = {24: 1, 44: 2, 48: 3}[side]
    assert map_sizes(uninitialized("nathani-slim"), nn.AdaptiveMaxPool2d, side) == [(last, 1)]
