"""The architecture of ResEmoteNet, and of networks that the paper does not cite."""

import pytest
import torch
from timm.models import resnet as timm_resnet
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab import models
from mien.lab.heads import LOGIT_COUNT
from mien.lab.models import convnext, pramerdorfer, resemotenet, rmn
from mien.lab.models._basicblock import BasicBlock
from tests.lab.models.networks import (
    assert_model_file_matches,
    built,
    dropout_probabilities,
    layers,
)


def meta_input(side: int) -> Tensor:
    return torch.empty(1, 1, side, side, device="meta")


def set_equal_weights(ours: nn.Module, theirs: nn.Module) -> None:
    """Give two networks with the same order of layers the same random weights."""
    torch.manual_seed(1)
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    with torch.no_grad():
        for p, q in pairs:
            assert p.shape == q.shape
            p.copy_(torch.randn_like(p) / max(1, p[0].numel()) ** 0.5)
            q.copy_(p)


@pytest.mark.slow
def test_a_model_file_resizes_crops_and_pads_like_the_network():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 8, 2),  # 43 pixels, an odd size, which `Mask` crops and `Downsample` pads
        rmn.Mask(8, 2),
        convnext.Downsample(8),
        convnext.Block(16, 0.0),
        resemotenet.ResEmoteNet(resemotenet.Parts(side=64, width=16), 16, LOGIT_COUNT, 0.5),
    )
    assert_model_file_matches(network, 44)


@pytest.mark.parametrize(
    ("name", "ablated"),
    [
        (name, ablated)
        for name in models.available()
        if name.startswith(("resemotenet-", "rmn-", "vgg13-"))
        for ablated in models.ablations(name).values()
    ],
)
def test_ablated_parts_have_parameters(name, ablated):
    whole, smaller = built(name, device="meta"), built(ablated, device="meta")
    assert models.count_parameters(smaller) < models.count_parameters(whole)


# The residual block


def test_a_strided_block_on_a_1x1_map_has_correct_gradients_in_bfloat16():
    gradients = {}
    for bfloat16 in (False, True):
        for seed in range(8):
            torch.manual_seed(seed)
            block = BasicBlock(64, 128, stride=2)
            x = torch.randn(32, 64, 1, 1)
            with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
                block(x).float().square().sum().backward()
            gradients[bfloat16, seed] = block.conv1.weight.grad
    # On a 1 x 1 map, all weights of a kernel but the central one multiply padding only.
    outside_center = torch.ones(3, 3, dtype=torch.bool)
    outside_center[1, 1] = False
    for seed in range(8):
        exact, rounded = gradients[False, seed], gradients[True, seed]
        assert rounded.isfinite().all()
        assert (exact - rounded).norm() < 0.2 * exact.norm()
        assert not rounded[..., outside_center].any()


# CifarNet


def test_cifarnet_is_resnet18_with_another_stem():
    ours = built("cifarnet-18")
    theirs = timm_resnet.ResNet(
        timm_resnet.BasicBlock, [2, 2, 2, 2], num_classes=7, in_chans=1
    ).eval()
    theirs.conv1, theirs.maxpool = nn.Conv2d(1, 64, 3, 1, 1, bias=False), nn.Identity()
    set_equal_weights(ours, theirs)
    faces = torch.randn(2, 1, 44, 44)
    with torch.no_grad():
        assert torch.allclose(ours(faces), theirs(faces), rtol=1e-3, atol=1e-3)
    # The name does not count the convolutions of three shortcuts.
    assert len(layers(ours, nn.Conv2d, nn.Linear)) == 18 + 3


def test_cifarnet_keeps_the_resolution_until_its_second_stage():
    model, sides = built("cifarnet-18", device="meta"), []
    for stage in model.stages:
        stage.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[2]))
    model(meta_input(48))
    assert sides == [48, 24, 12, 6]


# ResEmoteNet


def test_resemotenet_has_the_size_and_cost_of_the_authors_network():
    model = built("resemotenet-full", channels=3, device="meta")
    assert models.count_parameters(model) / 1e6 == pytest.approx(80.24, abs=0.005)
    assert models.multiply_adds(model, 64, channels=3) / 1e6 == pytest.approx(337, abs=0.5)


@pytest.mark.parametrize(("name", "resized"), [("resemotenet-full", 64), ("resemotenet-slim", 40)])
def test_resemotenet_resizes_inputs_and_ends_at_one_position(name, resized):
    model, shapes = built(name, device="meta"), []
    model.features.register_forward_hook(
        lambda _, inputs, output: shapes.append(inputs[0].shape[2])
    )
    model.blocks.register_forward_hook(lambda _, inputs, output: shapes.append(output.shape[2]))
    model(meta_input(40))
    assert shapes == [resized, 1]


def test_resemotenet_has_the_authors_dropout():
    assert dropout_probabilities(built("resemotenet-slim", dropout=0.5)) == pytest.approx(
        [0.2] * 2 + [0.5] * 3
    )


def test_squeeze_and_excitation_weights_are_from_0_to_1():
    torch.manual_seed(0)
    layer, x = resemotenet.SqueezeExcitation(32), torch.rand(2, 32, 5, 5) + 1
    weights = layer(x) / x
    assert torch.allclose(weights, weights.mean((2, 3), keepdim=True).expand_as(x), atol=1e-5)
    assert ((weights > 0) & (weights < 1)).all()


def test_squeeze_and_excitation_has_reduction_16_and_is_absent_in_no_se():
    assert resemotenet.SqueezeExcitation(32).down.out_features == 2
    kind = resemotenet.SqueezeExcitation
    assert len(layers(built("resemotenet-full", device="meta"), kind)) == 1
    assert len(layers(built("resemotenet-no-se", device="meta"), kind)) == 0


# VGG13


@pytest.mark.parametrize(("variant", "resized", "last"), [("full", 64, 4), ("slim", 48, 3)])
def test_vgg13_has_ten_convolutions_and_three_dense_layers(variant, resized, last):
    model, shapes = built(f"vgg13-{variant}", device="meta"), []
    assert (len(layers(model, nn.Conv2d)), len(layers(model, nn.Linear))) == (10, 3)
    assert len(layers(model, nn.BatchNorm2d)) == 0
    assert len(layers(built("vgg13-bn", device="meta"), nn.BatchNorm2d)) == 10
    *_, pool = model.features
    for layer in (model.features, pool):
        layer.register_forward_hook(lambda _, inputs, output: shapes.append(inputs[0].shape[2]))
    model(meta_input(48))
    assert shapes == [last, resized]  # `pool` is the last layer of `features`, which ends after it


def test_vgg13_has_the_authors_dropout():
    assert dropout_probabilities(built("vgg13-slim", dropout=0.5)) == [0.25] * 4 + [0.5] * 2


# The residual masking network


def test_counting_shortcuts_twice_gives_the_cited_size_of_rmn():
    model = built("rmn-full", channels=3, device="meta")
    once = models.count_parameters(model)
    blocks = layers(model.masks, BasicBlock)
    twice = once + sum(models.count_parameters(block.shortcut) for block in blocks)
    assert once / 1e6 == pytest.approx(137.8, abs=0.05)
    assert twice / 1e6 == pytest.approx(142.9, abs=0.05)


def test_the_smallest_map_of_every_u_net_has_six_pixels():
    model, smallest, sides = built("rmn-full", device="meta"), [], []
    for mask in model.masks:
        mask.down[-1].register_forward_hook(
            lambda _, inputs, output: smallest.append(output.shape[1:])
        )
        mask.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[2]))
    model(meta_input(48))
    assert sides == [48, 24, 12, 6]
    assert smallest == [(1024, 6, 6)] * 4
    assert [len(mask.down) for mask in model.masks] == [4, 3, 2, 1]


@pytest.mark.parametrize("side", [12, 11])
def test_a_mask_sums_to_one_over_channels(side):
    torch.manual_seed(0)
    mask = rmn.Mask(8, 3)
    with torch.no_grad():
        weights = mask(torch.randn(2, 8, side, side))
    assert weights.shape == (2, 8, side, side)
    assert (weights >= 0).all()
    assert torch.allclose(weights.sum(1), torch.ones(2, side, side))
    assert weights.std() > 0


def test_zero_masks_give_the_plain_resnet():
    masked, plain = built("rmn-slim"), built("rmn-slim-no-masks")
    plain.load_state_dict({k: v for k, v in masked.state_dict().items() if "masks" not in k})
    faces = torch.randn(2, 1, 44, 44)
    with torch.no_grad():
        assert not torch.allclose(masked(faces), plain(faces), atol=1e-5)
        for mask in masked.masks:
            mask.register_forward_hook(lambda _, inputs, output: output * 0)
        assert torch.allclose(masked(faces), plain(faces), atol=1e-5)


def test_upsampling_equals_a_transposed_convolution():
    torch.manual_seed(0)
    layer, x = rmn.Upsample(3).eval(), torch.randn(2, 6, 4, 5)
    kernel = layer.conv.weight.reshape(3, 2, 2, 6).permute(3, 0, 1, 2)
    expected = F.relu(layer.norm(F.conv_transpose2d(x, kernel, stride=2)))
    with torch.no_grad():
        assert torch.allclose(layer(x), expected, atol=1e-5)


# The three networks of Pramerdorfer & Kampel


@pytest.mark.parametrize(("variant", "depth", "millions"), [
    ("vgg", 10, 1.8), ("inception", 16, 1.5), ("resnet", 33, 5.3), ("slim", 10, 1.0),
])  # fmt: skip
def test_pramerdorfer_networks_have_the_stated_depth_and_size(variant, depth, millions):
    model = built(f"pramerdorfer-{variant}", device="meta")
    assert round(models.count_parameters(model) / 1e6, 1) == millions
    modules = len(layers(model, pramerdorfer.Inception))
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    spatial = [layer for layer in convolutions if layer.kernel_size != (1, 1)]
    # An Inception module is two layers deep. It happens to have two of these convolutions as well,
    # 3 x 3 and 5 x 5 in parallel, so that their number gives the depth of all networks.
    assert len(spatial) + len(layers(model, nn.Linear)) == depth
    assert modules == (7 if variant == "inception" else 0)


def test_an_inception_module_has_four_paths():
    torch.manual_seed(0)
    module, x = pramerdorfer.Inception(16, 32).eval(), torch.zeros(1, 16, 9, 9)
    receptive_fields = []
    with torch.no_grad():
        for parameter in module.parameters():  # so that no ReLU blocks the change
            parameter.abs_()
    for path in module.paths:
        blank = path(x)
        x[0, :, 4, 4] = 1
        receptive_fields.append(int((path(x) != blank).any(1)[0].any(0).sum()))
        x[0, :, 4, 4] = 0
    assert [path(x).shape[1] for path in module.paths] == [8, 16, 4, 4]
    assert receptive_fields == [1, 3, 5, 3]


# ConvNeXt


@pytest.mark.parametrize(("variant", "patch"), [("slim", 2), ("atto-4", 4)])
def test_convnext_matches_timm_with_patches_of_the_same_size(variant, patch):
    width, depths, _ = convnext.VARIANTS[variant]
    ours = built(f"convnext-{variant}")
    dims = tuple(width * 2**stage for stage in range(4))
    theirs = ConvNeXt(in_chans=1, num_classes=7, depths=depths, dims=dims).eval()
    theirs.stem[0] = nn.Conv2d(1, width, patch, patch)
    set_equal_weights(ours, theirs)
    faces = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours(faces), theirs(faces), rtol=1e-3, atol=1e-4)


def test_convnext_pads_maps_of_odd_size():
    torch.manual_seed(0)
    layer, x = convnext.Downsample(4).eval(), torch.randn(1, 4, 5, 5)
    changed = x.clone()
    changed[0, :, 4, 4] += torch.randn(4)
    with torch.no_grad():
        assert layer(x).shape == (1, 8, 3, 3)
        assert (layer(x) != layer(changed)).any()


def test_the_rate_of_stochastic_depth_rises_to_the_last_block():
    model = built("convnext-slim", dropout=0.3)
    rates = [layer.drop_rate for layer in model.modules() if isinstance(layer, convnext.Block)]
    assert rates == sorted(rates)
    assert (len(rates), rates[0], rates[-1]) == (12, 0.0, pytest.approx(0.3))


def test_stochastic_depth_drops_blocks_per_face_and_rescales():
    torch.manual_seed(0)
    block, x = convnext.Block(4, 0.25), torch.randn(400, 4, 3, 3)
    nn.init.ones_(block.scale)
    with torch.no_grad():
        residual = block(x) - x
        expected = block.eval()(x) - x
    dropped = (residual == 0).flatten(1).all(1)
    assert 0.15 < dropped.float().mean() < 0.35
    assert torch.allclose(residual[~dropped], expected[~dropped] / 0.75, atol=1e-5)
