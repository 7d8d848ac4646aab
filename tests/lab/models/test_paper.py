"""The architecture of the three networks of the paper."""

from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from mien.errors import UserError
from mien.lab import models
from mien.lab.models import _cbam, hybrid
from tests.lab.models.networks import built, dropout_probabilities, layers, uninitialized

# VGG19 and Sequential


def test_vgg19_has_sixteen_convolutions_four_poolings_and_one_linear_layer():
    model = uninitialized("vgg19-bn")
    assert len(layers(model, nn.Conv2d)) == len(layers(model, nn.BatchNorm2d)) == 16
    assert (len(layers(model, nn.MaxPool2d)), len(layers(model, nn.Linear))) == (4, 1)
    assert model.features(torch.zeros(1, 1, 48, 48)).shape == (1, 512, 3, 3)


@pytest.mark.parametrize(
    ("name", "plain_name"),
    [
        ("vgg19-bn", "vgg19-plain"),
        ("vgg19-slim", "vgg19-slim-plain"),
        ("sequential-full", "sequential-plain"),
        ("sequential-slim", "sequential-slim-plain"),
    ],
)
def test_plain_differs_by_batch_norm_only(name, plain_name):
    normalized, plain = uninitialized(name), uninitialized(plain_name)
    norms = nn.BatchNorm1d, nn.BatchNorm2d
    assert len(layers(plain, *norms)) == 0
    # After every layer but the one that computes the logits.
    assert len(layers(normalized, *norms)) == len(layers(normalized, nn.Conv2d, nn.Linear)) - 1
    assert models.multiply_adds(plain, 48) == models.multiply_adds(normalized, 48)


def test_sequential_has_half_the_dropout_after_blocks():
    model = built("sequential-slim", dropout=0.5)
    assert dropout_probabilities(model) == [0.25] * 3 + [0.5] * 3


@pytest.mark.parametrize("side", [42, 44, 48])
def test_sequential_does_not_resize_the_last_map_of_faces_of_42_pixels_or_more(side):
    shapes = []
    model = uninitialized("sequential-slim")
    (pool,) = layers(model, nn.AdaptiveAvgPool2d)
    pool.register_forward_hook(
        lambda _, inputs, output: shapes.append((inputs[0].shape, output.shape))
    )
    model(torch.zeros(1, 1, side, side))
    assert shapes == [((1, 16, 5, 5), (1, 16, 5, 5))]


# ImageNet weights


@pytest.mark.parametrize(
    "name",
    ["resnet-32", "sequential-full", "vgg19-slim", "vgg19-slim-plain", "hybrid-slim", "hybrid-cnn"],
)
def test_missing_pretrained_weights_are_an_error(name):
    with pytest.raises(UserError, match="no pretrained weights"):
        models.build(name, channels=1, classes=7, pretrained=True)


@pytest.fixture
def imagenet(monkeypatch) -> dict[str, Tensor]:
    """Replace the weights that timm downloads for VGG19 by random ones.

    They are in the returned dictionary after a network was built.
    """
    create, state = timm.create_model, {}

    def create_without_download(name: str, pretrained: bool) -> SimpleNamespace:
        assert pretrained
        with torch.device("meta"):
            empty = create(name).state_dict()
        rng = torch.Generator().manual_seed(1)
        for key, weights in empty.items():
            if key.startswith("features."):
                state[key] = 0.1 * torch.rand(weights.shape, generator=rng)
        return SimpleNamespace(state_dict=lambda: {**empty, **state})

    monkeypatch.setattr(timm, "create_model", create_without_download)
    return state


@pytest.mark.parametrize("variant", ["bn", "plain"])
def test_vgg19_loads_all_imagenet_features(imagenet, variant):
    model = models.build(f"vgg19-{variant}", channels=3, classes=7, pretrained=True)
    ours = model.features.state_dict(prefix="features.")
    assert ours.keys() == imagenet.keys()
    floating = [key for key in ours if ours[key].is_floating_point()]
    # Per convolution, weights and biases; per batch norm, also a running mean and variance.
    assert len(floating) == {"bn": 16 * (2 + 4), "plain": 16 * 2}[variant]
    assert all(torch.equal(ours[key], imagenet[key]) for key in floating)


def test_the_first_layer_of_one_channel_vgg19_equals_that_of_three_equal_channels(imagenet):
    gray, color = (
        models.build("vgg19-bn", channels=channels, classes=7, pretrained=True).eval()
        for channels in (1, 3)
    )
    faces = torch.randn(2, 1, 40, 40)
    with torch.no_grad():
        actual, expected = gray.features[0](faces), color.features[0](faces.expand(-1, 3, -1, -1))
    assert torch.allclose(actual, expected, atol=1e-5)
    assert actual.any()


def test_the_full_hybrid_loads_both_backbones_from_timm(monkeypatch):
    create, calls = timm.create_model, []

    def record(name: str, pretrained: bool, **options) -> nn.Module:
        calls.append((name, pretrained))
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", record)
    with torch.device("meta"):
        models.build("hybrid-gap", channels=1, classes=7, pretrained=True)
        models.build("hybrid-mobilenetv2-cnn", channels=1, classes=7)
    assert calls == [("resnet50", True), ("mobilenetv2_100", True), ("mobilenetv2_100", False)]


# The hybrid


@pytest.mark.parametrize("variant", hybrid.VARIANTS)
def test_a_hybrid_has_the_branches_of_its_name(variant):
    in_name = [branch for branch in ("resnet50", "mobilenetv2", "cnn") if branch in variant]
    branches = uninitialized(f"hybrid-{variant}").branches
    assert list(branches) == (in_name or ["resnet50", "mobilenetv2", "cnn"])
    # timm's MobileNetV2 is an instance of its class EfficientNet.
    types = {"resnet50": "ResNet", "mobilenetv2": "EfficientNet", "cnn": "Sequential"}
    assert all(type(branches[name][0]).__name__ == types[name] for name in branches)


@pytest.mark.parametrize("name", ["hybrid-gap", "hybrid-slim"])
def test_branches_end_at_the_expected_map_size(name):
    model = uninitialized(name)
    for branch, (body, *_) in model.branches.items():
        side = hybrid.MAP_SIZES[branch]
        assert body(torch.zeros(1, 1, 48, 48)).shape[2:] == (side, side)


def test_flatten_keeps_positions_and_gap_averages_them():
    faces = torch.randn(2, 1, 48, 48)
    flat, gap = built("hybrid-slim-flatten"), built("hybrid-slim")
    with torch.no_grad():
        for branch, (body, *_) in flat.branches.items():
            maps = body(faces)
            gap.branches[branch][0].load_state_dict(body.state_dict())
            assert torch.equal(flat.branches[branch](faces), maps.flatten(1))
            assert torch.allclose(gap.branches[branch](faces), maps.mean((2, 3)), atol=1e-5)


def test_gradients_reach_every_branch():
    model = built("hybrid-slim", training=True)
    model(torch.randn(8, 1, 48, 48)).square().sum().backward()
    for branch in model.branches.values():
        first, *_ = layers(branch, nn.Conv2d)
        assert first.weight.grad.any()


def test_the_name_of_a_family_has_the_ablations_of_its_first_variant():
    assert models.ablations("hybrid") == models.ablations("hybrid-gap") != {}


@pytest.mark.parametrize("branch", hybrid.MAP_SIZES)
def test_every_branch_affects_the_logits(branch):
    model, faces = built("hybrid-slim"), torch.randn(2, 1, 48, 48)
    with torch.no_grad():
        logits = model(faces)
        model.branches[branch].register_forward_hook(lambda _, inputs, output: output * 0)
        assert not torch.allclose(model(faces), logits, atol=1e-5)


def test_no_cbam_and_no_norm_affect_the_cnn_and_head_only():
    norms = nn.BatchNorm1d, nn.BatchNorm2d
    variants = [uninitialized(f"hybrid-{name}") for name in ("gap", "no-cbam", "no-norm")]
    assert [len(layers(m, _cbam.CBAM)) for m in variants] == [3, 0, 3]
    assert [len(layers(m.branches["cnn"], *norms)) for m in variants] == [6, 6, 0]
    assert [len(layers(m.head, *norms)) for m in variants] == [2, 2, 0]
    # ResNet50 has 53 batch norms: 49 in its stem and blocks, and 4 in shortcuts.
    assert [len(layers(m.branches["resnet50"], *norms)) for m in variants] == [53, 53, 53]


def test_the_second_dropout_of_the_hybrid_is_lower():
    head = built("hybrid-slim-cnn", dropout=0.5).head
    assert dropout_probabilities(head) == pytest.approx([0.5, 0.3])


# Attention


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def parameters(module: nn.Module) -> dict[str, np.ndarray]:
    return {name: weights.detach().double().numpy() for name, weights in module.named_parameters()}


def channel_weights(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Woo et al., equation 2: (N, C, H, W) -> (N, C)."""

    def perceptron(v: np.ndarray) -> np.ndarray:
        hidden = np.maximum(0, v @ w["shared.0.weight"][:, :, 0, 0].T + w["shared.0.bias"])
        return hidden @ w["shared.2.weight"][:, :, 0, 0].T + w["shared.2.bias"]

    return sigmoid(perceptron(x.mean((2, 3))) + perceptron(x.max((2, 3))))


def spatial_weights(x: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """Woo et al., equation 3: (N, C, H, W) -> (N, H, W)."""
    height, width = x.shape[2:]
    maps = np.pad(np.stack([x.mean(1), x.max(1)], 1), ((0, 0), (0, 0), (3, 3), (3, 3)))
    total = np.full((len(x), height, width), w["conv.bias"][0])
    for down in range(7):
        for right in range(7):
            window = maps[:, :, down : down + height, right : right + width]
            total += np.einsum("nchw,c->nhw", window, w["conv.weight"][0, :, down, right])
    return sigmoid(total)


def test_cbam_matches_the_formulas_of_the_paper():
    torch.manual_seed(0)
    layer = _cbam.CBAM(16)
    x = torch.randn(3, 16, 9, 11)
    features = x.double().numpy()
    by_channel = features * channel_weights(features, parameters(layer.channel))[:, :, None, None]
    expected = by_channel * spatial_weights(by_channel, parameters(layer.spatial))[:, None]
    with torch.no_grad():
        assert np.allclose(layer(x).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("width", "hidden"), [(128, 16), (64, 8), (32, 4), (16, 4)])
def test_cbam_has_a_reduction_of_eight_and_at_least_four_hidden_units(width, hidden):
    assert _cbam.ChannelAttention(width).shared[0].out_channels == hidden


def test_initial_attention_of_cbam_is_near_one_half():
    """With initial weights as large as those of other convolutions, it would be near 0 or 1."""
    faces = torch.randn(8, 1, 48, 48)
    for seed in range(3):
        torch.manual_seed(seed)
        model, attention = models.build("hybrid-cnn", channels=1, classes=7), []
        for layer in layers(model, _cbam.ChannelAttention, _cbam.SpatialAttention):
            layer.register_forward_hook(
                lambda _, inputs, output, attention=attention: attention.append(output)
            )
        with torch.no_grad():
            model(faces)
        assert len(attention) == 6
        assert all(0.2 < weights.mean() < 0.8 for weights in attention)


def test_hooks_can_read_the_attention():
    model, faces, maps = built("hybrid-slim-cnn"), torch.randn(3, 1, 48, 48), []
    for layer in layers(model, _cbam.SpatialAttention):
        layer.register_forward_hook(lambda _, inputs, output: maps.append(output))
    with torch.no_grad():
        model(faces)
    assert [attention.shape for attention in maps] == [(3, 1, s, s) for s in (48, 24, 12)]
    assert all((attention >= 0).all() and (attention <= 1).all() for attention in maps)
    assert all(attention.std() > 0 for attention in maps)
