"""The architecture of networks with several stages: FERC, Salagean's CNN and Faster R-CNN."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.lab.models import ferc, rcnn, salagean
from tests.lab.models.networks import assert_model_file_matches, built, layers, uninitialized

SMALL = ["ferc-full", "salagean-slim", "rcnn-slim"]


@pytest.mark.parametrize("name", SMALL)
def test_small_and_odd_inputs_can_be_trained_on(name):
    for side in (24, 41):
        model = built(name, training=True)
        logits = model(torch.randn(4, 1, side, side))
        (logits.square().sum() + getattr(model, "auxiliary", 0.0)).backward()
        assert logits.shape == (4, 7)
        assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_model_file_matches_the_network(name):
    model = built(name, training=True)
    model(torch.randn(8, 1, 40, 40))  # so that batch norms have running statistics
    assert_model_file_matches(model, 40)


@pytest.mark.parametrize("name", ["ferc-full", "rcnn-slim"])
def test_the_auxiliary_loss_exists_in_training_only(name):
    model, faces = built(name, training=True), torch.randn(4, 1, 40, 40)
    assert model.auxiliary == 0.0
    model(faces)
    assert model.auxiliary.shape == ()
    assert model.auxiliary > 0
    model.eval()
    model(faces)
    assert model.auxiliary == 0.0
    assert isinstance(model.auxiliary, float)


# FERC


def ellipse(center_x: float, center_y: float, half_width: float, side: int = 48) -> Tensor:
    """The mask of an ellipse: (1, 1, side, side), 0 or 1; coordinates are from -1 to 1."""
    aspect = 1.35  # height / width, between the two aspects of `ferc.Ellipses`
    points = (torch.arange(side) + 0.5) / side * 2 - 1
    x, y = (points - center_x) / half_width, (points[:, None] - center_y) / (half_width * aspect)
    return (x**2 + y**2 < 1)[None, None].float()


@pytest.mark.parametrize("center_x", [-0.2, 0.0, 0.2])
@pytest.mark.parametrize("half_width", [0.58, 0.84])
@pytest.mark.parametrize("brightness", [2.0, -2.0])
def test_the_target_of_the_mask_is_the_ellipse_in_the_image(center_x, half_width, brightness):
    truth = ellipse(center_x, 0.05, half_width)
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    image = F.interpolate(brightness * truth + 0.3 * noise, (ferc.GRID, ferc.GRID), mode="bilinear")
    target = ferc.Ellipses()(image)
    predicted = F.interpolate(target, (48, 48), mode="bilinear") > 0.5
    iou = (predicted & (truth > 0.5)).sum() / (predicted | (truth > 0.5)).sum()
    assert iou > 0.85


def test_the_target_of_an_empty_image_is_central():
    target = ferc.Ellipses()(torch.zeros(1, 1, ferc.GRID, ferc.GRID))[0, 0]
    assert torch.allclose(target, target.flip(1), atol=1e-4)
    assert target[12, 12] > 0.95
    assert target[0, 0] < 0.05


def test_the_mask_learns_its_target_and_removes_the_background():
    model = built("ferc-full", training=True)
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    faces = torch.cat([ellipse(x, 0.0, 0.6) for x in (-0.2, 0.0, 0.2)]).repeat(4, 1, 1, 1)
    faces = 2 * faces - 1 + 0.2 * torch.randn(faces.shape, generator=rng)
    losses = []
    for _ in range(40):
        model(faces)
        losses.append(model.auxiliary.item())
        optimizer.zero_grad()
        model.auxiliary.backward()
        optimizer.step()
    assert np.mean(losses[-3:]) < 0.6 * np.mean(losses[:3])
    model.eval()
    masked = []
    model.features[0].register_forward_pre_hook(lambda _, inputs: masked.append(inputs[0]))
    model(faces)
    mask = (masked[0] / faces).clamp(0, 1)
    assert mask[:, :, 24, 24].mean() > 0.8
    assert mask[:, :, 0, 0].mean() < 0.3


def test_ferc_has_two_stages_of_four_layers_with_four_filters_and_a_vector_of_24():
    model = uninitialized("ferc-full")
    for stage in (model.mask, model.features):
        convolutions = [m for m in layers(stage, nn.Conv2d) if m.kernel_size == (3, 3)]
        assert [layer.out_channels for layer in convolutions] == [4] * 4
    assert model.head.in_features == ferc.VECTOR_SIZE == 24
    assert uninitialized("ferc-no-mask").mask is None


def test_the_hough_transform_of_ferc_is_not_saved_with_the_weights():
    assert not [name for name in uninitialized("ferc-full").state_dict() if "ellipses" in name]


def test_the_receptive_field_of_the_mask_covers_nearly_the_height_of_the_image():
    mask = built("ferc-full").mask
    faces = torch.randn(1, 1, ferc.GRID, ferc.GRID, requires_grad=True)
    mask(faces)[0, 0, 12, 12].backward()
    rows = faces.grad[0, 0].abs().sum(1) > 0
    assert rows.sum() >= 22  # of 24; ReLUs may block the gradient of some


# Salagean


def test_a_symmetric_face_is_unchanged_for_any_midline():
    half = torch.randn(2, 1, 48, 21, generator=torch.Generator().manual_seed(0))
    face = torch.cat([half, half.flip(3)], 3)  # 42 wide
    for left in (0, 3, 6):  # the midline is left of the center, at the center, right of it
        shifted = F.pad(face, (left, 6 - left, 0, 0), mode="replicate")
        result = salagean.Symmetry()(shifted)
        assert (result - shifted).abs().max() < 1e-3


def test_the_symmetry_layer_removes_low_frequencies_and_half_of_the_high_ones():
    face = torch.zeros(1, 1, 48, 48)
    face[:, :, 14:18, 12:18] = face[:, :, 14:18, 30:36] = -2.0  # two eyes
    side_light = torch.linspace(-1, 1, 48).expand(1, 1, 48, 48)
    mouth = torch.zeros_like(face)
    mouth[:, :, 34:36, 30:36] = -2.0  # on the right side only
    symmetry = salagean.Symmetry()
    lit = symmetry(face + side_light)
    asymmetry_before = (side_light - side_light.flip(3)).abs().mean()
    assert (lit - lit.flip(3)).abs().mean() < 0.25 * asymmetry_before
    crooked = symmetry(face + mouth)
    asymmetry = (crooked - crooked.flip(3))[:, :, 34:36, 30:36].mean()
    assert -1.4 < asymmetry < -0.7  # about half of the -2 before


def test_the_symmetry_layer_commutes_with_flipping_and_treats_faces_separately():
    faces = torch.randn(3, 1, 44, 44, generator=torch.Generator().manual_seed(0))
    symmetry = salagean.Symmetry()
    assert torch.allclose(symmetry(faces.flip(3)), symmetry(faces).flip(3), atol=1e-5)
    assert torch.allclose(symmetry(faces)[1:2], symmetry(faces[1:2]), atol=1e-5)


def test_the_head_of_salagean_has_the_means_of_all_blocks_as_input():
    assert uninitialized("salagean-full").head[0].in_features == 32 + 64 + 128 + 256


def test_the_symmetry_layer_has_no_weights_and_is_absent_in_no_symmetry():
    symmetry = uninitialized("salagean-full").symmetry
    assert isinstance(symmetry, salagean.Symmetry)
    assert not list(symmetry.parameters())
    assert isinstance(uninitialized("salagean-no-symmetry").symmetry, nn.Identity)


# Faster R-CNN


def test_rcnn_has_thirteen_convolutions_a_3_x_3_map_and_two_dense_layers():
    model = uninitialized("rcnn-full")
    assert len(layers(model.features, nn.Conv2d)) == 13
    for side in (33, 40, 44, 48):
        assert model.features(torch.zeros(1, 1, side, side)).shape == (1, 512, 3, 3)
    assert [layer.out_features for layer in layers(model.dense, nn.Linear)] == [4096, 4096]


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (3, 3), (5, 4), (7, 7), (9, 8)])
def test_pooling_equals_roi_max_pooling_of_the_whole_image(size):
    from torchvision.ops import roi_pool

    maps = torch.randn(2, 3, *size)
    # The right and lower ends of a box are inside it.
    box = torch.tensor([[0.0, 0.0, size[1] - 1, size[0] - 1]])
    assert torch.equal(rcnn.roi_pool_image(maps), roi_pool(maps, [box, box], rcnn.CELLS))
    assert torch.equal(rcnn.roi_pool_image(maps), F.adaptive_max_pool2d(maps, rcnn.CELLS))


def test_the_proposal_loss_matches_torchvision():
    from torchvision.models.detection.image_list import ImageList

    model, faces = built("rcnn-slim", training=True), torch.randn(3, 1, 48, 48)
    with torch.no_grad():
        maps = model.features(faces)
        boxes = [{"boxes": torch.tensor([[0.0, 0.0, 48.0, 48.0]])}] * 3
        _, losses = model.rpn(ImageList(faces, [(48, 48)] * 3), {"0": maps}, boxes)
        ours = rcnn.proposal_loss(model.rpn, maps, 48)
    assert torch.allclose(ours, sum(losses.values()), atol=1e-6)


def test_proposals_learn_that_the_box_is_the_whole_image():
    model, faces = built("rcnn-slim", training=True), torch.randn(4, 1, 48, 48)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(12):
        model(faces)
        losses.append(model.auxiliary.item())
        optimizer.zero_grad()
        model.auxiliary.backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]


@pytest.fixture(scope="module")
def detector():
    """A network, and the detector that is made from it."""
    model = built("rcnn-slim")
    return model, rcnn.detector(model, side=96)


def test_a_detector_shares_modules_with_the_network(detector):
    model, faster_rcnn = detector
    shared = {id(p) for p in [*model.features.parameters(), *model.rpn.parameters()]}
    shared |= {id(p) for p in model.dense.parameters()}
    assert shared < {id(p) for p in faster_rcnn.parameters()}


def test_a_detector_returns_losses_or_boxes(detector):
    _, faster_rcnn = detector
    images = list(torch.randn(2, 1, 96, 96))
    targets = [
        {"boxes": torch.tensor([[8.0, 8.0, 60.0, 60.0]]), "labels": torch.tensor([k])}
        for k in (1, 7)
    ]
    losses = faster_rcnn.train()(images, targets)
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in faster_rcnn.parameters())
    with torch.no_grad():
        detections = faster_rcnn.eval()(images)
    assert [set(of_image) for of_image in detections] == [{"boxes", "labels", "scores"}] * 2
