"""Batches of a dataset on the device, and their augmentation."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mien.lab import augmentation, batches
from mien.lab.augmentation import AugmentationParameters
from mien.lab.batches import Batch
from mien.lab.config import Config
from mien.lab.data import shares
from tests.synthetic import tiny

PLAIN = Config(
    batch_size=12, input_size=44, flip=False, rotation=0, scale=0, translate=0,
    brightness_contrast=0, random_erasing=0, mixup=0, cutmix=0
)  # fmt: skip
"""A config without augmentation."""

MIXED = replace(Config(), batch_size=12, mixup=0.4, cutmix=0.4)
"""A config with the default augmentation, mixup and CutMix."""

CPU = torch.device("cpu")


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def step_parameters(count: int, seed: int = 0, **changes: Tensor) -> AugmentationParameters:
    """The augmentation parameters of one step."""
    config = replace(PLAIN, batch_size=count, input_size=48, seed=seed)
    parameters = augmentation.sample(config, count, 0, CPU).at(torch.tensor([0]))
    return replace(parameters, **changes)


def on_device(count: int = 40, config: Config = PLAIN) -> Batch:
    """A synthetic dataset on the device."""
    return batches.to_device(tiny.samples(count), config, CPU)


def tensors(batch: Batch) -> list[Tensor]:
    return [getattr(batch, name) for name in batch.__slots__]


def equal(first: Batch, second: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))


def epoch(config: Config, number: int = 0, **options) -> list[Batch]:
    """The augmented batches of an epoch of `on_device`."""
    return list(augmentation.augmented_batches(on_device(config=config), config, number, **options))


def numbered(count: int, config: Config) -> Batch:
    """A dataset in which the value of each pixel is the index of its face."""
    faces = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 48, 48)
    return replace(on_device(count, config), faces=faces)


def face_indices(batch: Batch) -> list[int]:
    """The dataset indices of the faces of a batch from `numbered`."""
    return (batch.faces[:, 0, 5, 5] * batches.STD + batches.MEAN).round().int().tolist()


# The dataset on the device, and sampling


def test_the_dataset_on_the_device_has_the_targets_of_the_samples():
    samples = tiny.samples(21)
    samples.labels[3] = -1
    samples.votes[4] = 0
    samples.votes[5] = [2, 0, 0, 2, 0, 0, 1, 0, 4, 1]
    data = batches.to_device(samples, PLAIN, CPU)
    assert data.faces.dtype == torch.uint8
    assert data.faces.shape == (21, 1, 48, 48)
    assert data.labels.argmax(1)[:3].tolist() == [0, 1, 2]
    assert not data.labels[3].any()
    assert data.label_weights.tolist() == [1.0] * 3 + [0.0] + [1.0] * 17
    assert np.array_equal(data.votes.numpy(), shares(samples.votes))
    assert data.vote_weights[4] == 0
    assert data.vote_weights[5] == 0.5  # half of its ten votes are for emotions
    assert not data.votes[4].any()
    assert data.votes[5].tolist() == pytest.approx([0.4, 0, 0, 0.4, 0, 0, 0.2, 0])


def test_single_votes_can_be_dropped():
    samples = tiny.samples(7)
    data = batches.to_device(samples, replace(PLAIN, drop_single_votes=True), CPU)
    assert np.array_equal(data.votes.numpy(), shares(samples.votes, drop_single=True))


def test_the_votes_of_duplicates_can_be_pooled():
    samples = tiny.samples(7)
    samples.faces[5] = samples.faces[2]
    plain, pooled = (
        batches.to_device(samples, replace(PLAIN, pool_votes=pool), CPU).votes
        for pool in (False, True)
    )
    assert not torch.equal(plain[2], plain[5])
    assert torch.equal(pooled[2], pooled[5])


def test_class_weights_give_each_emotion_the_same_total_weight_and_have_mean_one():
    samples = tiny.samples(28).select(np.r_[0:28, 3, 10, 17, 3, 3])  # five more happy faces
    data = batches.to_device(samples, replace(PLAIN, class_weights=True), CPU)
    totals = (data.label_weights[:, None] * data.labels).sum(0)
    assert torch.allclose(totals, torch.full((7,), len(samples) / 7))
    assert data.label_weights.mean().item() == pytest.approx(1)


def test_standardize_subtracts_the_dataset_mean_and_divides_by_the_standard_deviation():
    assert batches.standardize(torch.tensor([129.5, 194.5])).tolist() == [0, 1]
    assert batches.standardize(torch.tensor([0], dtype=torch.uint8)).dtype == torch.float32


def test_without_augmentation_a_batch_is_exactly_the_central_crop():
    data = on_device()
    faces = torch.cat([batch.faces for batch in epoch(PLAIN)])
    crops = batches.standardize(data.faces[:, :, 2:46, 2:46])
    for face in faces:
        assert (face == crops).all((1, 2, 3)).any()
    assert faces.shape == (36, 1, 44, 44)


@pytest.mark.parametrize("side", [48, 47, 40, 1])
def test_the_crop_is_central_for_any_size(side):
    faces = torch.arange(48 * 48).reshape(1, 1, 48, 48)
    crop = batches.center_crop(faces, side)
    start = (48 - side) // 2
    assert torch.equal(crop, faces[:, :, start : start + side, start : start + side])


def test_the_same_seed_and_epoch_give_the_same_batches():
    assert all(map(equal, epoch(MIXED), epoch(MIXED)))


@pytest.mark.parametrize("other", [(MIXED, 1), (replace(MIXED, seed=1), 0)])
def test_another_epoch_or_seed_gives_other_batches(other):
    assert not any(map(equal, epoch(MIXED), epoch(*other)))


def test_the_global_generator_is_not_used():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = epoch(MIXED)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert all(map(equal, first, epoch(MIXED)))


def test_a_repeated_epoch_differs_in_domain_randomization_only():
    config = replace(MIXED, seed=3)
    repeated = epoch(config, 5, repeat=(MIXED.seed, 0))
    assert all(map(equal, epoch(MIXED, 0), repeated))
    randomized = replace(config, domain_randomization=1.0)
    first, second = (epoch(randomized, number, repeat=(0, 0))[0] for number in (5, 6))
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.faces, second.faces)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [7, 12, 40, 48])
def test_a_face_occurs_at_most_once_per_epoch_and_batches_divide_evenly(world_size, count):
    parameters = augmentation.sample(PLAIN, count, 0, CPU, world_size=world_size)
    steps, batch = parameters.indices.shape
    assert steps == batches.steps_per_epoch(count, PLAIN)
    assert batch == batches.faces_per_step(count, PLAIN, world_size)
    assert batch % world_size == 0
    indices = parameters.indices.flatten().tolist()
    assert len(indices) == len(set(indices))
    assert all(sorted(row) == list(range(batch)) for row in parameters.partners.tolist())


def test_at_selects_the_parameters_of_a_step():
    parameters = augmentation.sample(MIXED, 40, 2, CPU)
    step = parameters.at(torch.tensor([2]))
    assert torch.equal(step.indices, parameters.indices[2])
    assert torch.equal(step.affine, parameters.affine[2])
    assert step.mix_choice == parameters.mix_choice[2]
    assert torch.equal(step.noise, parameters.noise[parameters.partners[2]])


def test_every_face_occurs_in_some_epoch_with_its_own_targets():
    data = numbered(40, PLAIN)
    data = replace(data, votes=torch.arange(40.0)[:, None].expand(-1, 8))
    occurring = set()
    for number in range(12):
        for batch in augmentation.augmented_batches(data, PLAIN, number):
            assert face_indices(batch) == batch.votes[:, 0].int().tolist()
            occurring.update(face_indices(batch))
    assert occurring == set(range(40))


def test_three_channels_repeat_the_gray_one():
    batch = epoch(replace(MIXED, channels=3, mixup=0.0, cutmix=0.0))[0]
    assert batch.faces.shape == (12, 3, 44, 44)
    assert torch.equal(batch.faces[:, :1].expand(-1, 3, -1, -1), batch.faces)


# Affine augmentation


@pytest.mark.parametrize("side", [48, 44, 40])
def test_flipping_alone_gives_the_crop_or_its_mirror_image(side):
    faces = batches.standardize(on_device().faces)
    moved = augmentation.affine(
        faces, uniform(5, 40), replace(PLAIN, input_size=side, flip=True), side
    )
    crop = batches.center_crop(faces, side)
    plain = torch.isclose(moved, crop, atol=1e-4).all((1, 2, 3))
    mirrored = torch.isclose(moved, crop.flip(3), atol=1e-4).all((1, 2, 3))
    assert (plain ^ mirrored).all()
    assert 10 <= plain.sum() <= 30


@pytest.mark.parametrize(
    ("signed", "side"),
    [
        ([1, 0, 0, 0, 1], 48),
        ([-1, 0, 0, 0, 1], 44),
        ([0, 1, 0, 0, 1], 44),
        ([0, -1, 0, 0, 1], 44),
        ([0, 0, 1, 0, 1], 44),
        ([0, 0, 0, -0.5, 1], 44),
        ([0.7, -0.4, 0.3, 0.2, 1], 40),
        ([0.7, 0.6, 0.3, -0.8, -1], 40),
    ],
)
def test_affine_matches_opencv(signed, side):
    """Compare with OpenCV for one set of random numbers.

    `signed` has the angle, the zoom, the shift of the sampling window to the right and down, and
    the flip, each from -1 to 1. A positive shift moves the content of the source image to the left
    or up.
    """
    config = replace(PLAIN, input_size=side, flip=True, rotation=20.0, scale=0.25, translate=0.1)
    image = np.float32(cv2.GaussianBlur(tiny.samples(1).faces[0], (0, 0), 2))
    parameters = (torch.tensor(signed)[:, None] + 1) / 2
    faces = torch.tensor(image)[None, None]
    moved = augmentation.affine(faces, parameters, config, config.input_size)[0, 0].numpy()
    # The same map in pixels, from output to input, relative to the center.
    angle, zoom = np.radians(20) * signed[0], 1.25 ** signed[1]
    flip = np.diag([-1.0 if signed[4] < 0 else 1.0, 1.0])
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = flip @ rotation / zoom
    shift = 48 * 0.1 * np.array(signed[2:4])
    offset = np.full(2, 23.5) + shift - linear @ np.full(2, (side - 1) / 2)
    expected = cv2.warpAffine(
        image,
        np.column_stack([linear, offset]),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inner = slice(6, -6)
    assert np.abs(moved - expected)[inner, inner].max() < 1.0  # OpenCV rounds to 1/32 pixel


def test_translations_stay_within_their_limit():
    spot = torch.zeros(400, 1, 48, 48)
    spot[:, :, 23:25, 23:25] = 1
    config = replace(PLAIN, input_size=48, translate=0.125)
    moved = augmentation.affine(spot, uniform(5, 400), config, config.input_size)[:, 0]
    axis = torch.arange(48) - 23.5
    mass = moved.sum((1, 2))
    right, down = (moved.sum(1) * axis).sum(1) / mass, (moved.sum(2) * axis).sum(1) / mass
    for distance in (right, down):
        assert distance.abs().max() <= 6.01  # 0.125 of 48 pixels
        assert distance.abs().max() > 5.5
        assert distance.mean().abs() < 0.6


# Progressive resizing


@pytest.mark.parametrize(("first", "side", "epochs"), [(28, 44, 60), (32, 48, 3), (20, 45, 9)])
def test_faces_grow_to_the_input_size_over_two_thirds_of_the_epochs(first, side, epochs):
    config = replace(PLAIN, initial_size=first, input_size=side, epochs=epochs)
    sizes = [batches.face_size(config, number) for number in range(epochs)]
    assert sizes[0] == first
    assert sizes == sorted(sizes)
    assert all(size == side for size in sizes[round(epochs * 2 / 3) - 1 :])
    assert all(size % 4 == 0 for size in sizes if size < side)
    assert epoch(replace(config, flip=True))[0].faces.shape[-2:] == (first, first)


def test_without_an_initial_size_every_epoch_uses_the_input_size():
    assert {batches.face_size(replace(PLAIN, input_size=44), number) for number in range(60)} == {
        44
    }


def test_a_smaller_face_is_the_resized_crop():
    image = np.float32(cv2.GaussianBlur(tiny.samples(1).faces[0], (0, 0), 2))
    face, config = torch.tensor(image)[None, None], replace(PLAIN, input_size=44)
    shrunk = augmentation.affine(face, uniform(5, 1), config, 22)
    expected = cv2.resize(image[2:46, 2:46], (22, 22), interpolation=cv2.INTER_LINEAR)
    assert np.abs(shrunk[0, 0].numpy() - expected)[2:-2, 2:-2].max() < 1.0


# Brightness, contrast and random erasing


def test_brightness_and_contrast_are_a_bounded_linear_map_per_face():
    faces = batches.standardize(on_device().faces)
    changed = augmentation.brightness_contrast(faces, uniform(2, 40), 0.3)
    for before, after in zip(faces, changed, strict=True):
        slope, shift = np.polyfit(before.flatten().numpy(), after.flatten().numpy(), 1)
        assert 0.699 <= slope <= 1.301
        assert abs(shift) <= 0.301
        assert np.allclose(before * slope + shift, after, atol=1e-4)
    assert augmentation.brightness_contrast(faces, uniform(2, 40), 0.0) is faces


def test_erasing_fills_one_rectangle():
    faces = torch.full((200, 1, 44, 44), 7.0)
    erased = augmentation.random_erasing(faces, uniform(5, 200), torch.randn(faces.shape), 1.0)
    for face in erased[:, 0]:
        is_erased = face != 7
        rows, columns = is_erased.any(1).nonzero()[:, 0], is_erased.any(0).nonzero()[:, 0]
        box = is_erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        # 0.02 to 0.2 before rounding to pixels.
        assert 0.01 < is_erased.float().mean() < 0.24
    noise = erased[erased != 7]
    assert noise.mean().abs() < 0.02
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_erasing_has_the_given_probability():
    faces = torch.full((2000, 1, 12, 12), 7.0)
    noise = torch.zeros(faces.shape)
    erased = augmentation.random_erasing(faces, uniform(5, 2000), noise, 0.25)
    fraction_erased = (erased != 7).any((1, 2, 3)).float().mean()
    assert fraction_erased.item() == pytest.approx(0.25, abs=0.03)
    assert augmentation.random_erasing(faces, uniform(5, 2000), noise, 0.0) is faces


def test_rectangles_have_areas_within_the_limits():
    masks = augmentation.random_rectangles(uniform(4, 500), 0.1, 0.3, 100, 100)
    areas = masks.float().mean((1, 2, 3))
    assert masks.shape == (500, 1, 100, 100)
    assert areas.min() > 0.08
    assert areas.max() < 0.32
    assert areas.mean().item() == pytest.approx(0.2, abs=0.01)


# Mixup and CutMix


def mixable(count: int = 24) -> Batch:
    """Standardized faces, some of them without votes and one without a label."""
    samples = tiny.samples(count)
    samples.votes[::3] = 0
    samples.labels[1] = -1
    data = batches.to_device(samples, PLAIN, CPU)
    return replace(data, faces=batches.standardize(data.faces))


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("seed", range(5))
def test_mixed_targets_are_distributions_with_weights_up_to_one(mixup, cutmix, seed):
    batch = mixable()
    mixed = augmentation.mixup_cutmix(batch, step_parameters(24, seed), mixup, cutmix)
    for targets, weights in (
        (mixed.labels, mixed.label_weights),
        (mixed.votes, mixed.vote_weights),
    ):
        assert (targets >= 0).all()
        assert (weights >= 0).all()
        assert (weights <= 1 + 1e-6).all()
        has_weight = weights > 1e-6
        assert torch.allclose(targets[has_weight].sum(1), torch.ones(()), atol=1e-4)
        assert not targets[weights == 0].any()


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_face_without_votes_does_not_change_the_votes_of_its_partner(mixup, cutmix):
    batch = mixable()
    mixed = augmentation.mixup_cutmix(batch, step_parameters(24, 3), mixup, cutmix)
    has_no_votes = batch.vote_weights == 0
    is_mixed = (mixed.faces != batch.faces).any((1, 2, 3))
    has_same_shares = torch.isclose(mixed.votes, batch.votes, atol=1e-5).all(1)
    has_less_weight = mixed.vote_weights < batch.vote_weights - 1e-6
    assert is_mixed.any()
    # A face with votes and a partner without: the shares of the face, with less weight.
    assert (has_same_shares & has_less_weight & ~has_no_votes).any()
    # A face without votes and a partner with votes: exactly the shares of the partner.
    has_votes_of_partner = has_no_votes & (mixed.vote_weights > 0)
    assert has_votes_of_partner.any()
    for votes in mixed.votes[has_votes_of_partner]:
        assert torch.isclose(votes, batch.votes, atol=1e-5).all(1).any()


def test_mixup_mixes_faces_and_targets_with_the_same_weight():
    batch = mixable()
    flat = (torch.arange(24) % 7).float()[:, None, None, None].expand(-1, 1, 8, 8)
    eye = torch.eye(7)[torch.arange(24) % 7]
    batch = replace(batch, faces=flat, labels=eye, label_weights=torch.ones(24))
    mixed = augmentation.mixup_cutmix(batch, step_parameters(24, mixup=torch.tensor(0.3)), 1.0, 0.0)
    mean_class = (mixed.labels * torch.arange(7.0)).sum(1)
    assert torch.allclose(mixed.faces[:, 0, 0, 0], mean_class, atol=1e-5)


def test_cutmix_weights_targets_by_area():
    batch = mixable()
    flat = (torch.arange(24) % 7).float()[:, None, None, None].expand(-1, 1, 44, 44)
    eye = torch.eye(7)[torch.arange(24) % 7]
    batch = replace(batch, faces=flat, labels=eye, label_weights=torch.ones(24))
    mixed = augmentation.mixup_cutmix(batch, step_parameters(24), 0.0, 1.0)
    mean_class = (mixed.labels * torch.arange(7.0)).sum(1)
    assert torch.allclose(mixed.faces.mean((1, 2, 3)), mean_class, atol=1e-4)
    own = (mixed.faces == flat).float().mean((1, 2, 3))
    assert own.min() >= 0.35  # a rectangle has up to 60 % of the area, before rounding to pixels


def test_mixing_has_the_given_probabilities():
    batch = mixable(6)
    parameters = step_parameters(6, partners=torch.arange(6).roll(1), mixup=torch.tensor(0.4))
    choices = torch.linspace(0, 0.999, 200)
    mixed = [
        augmentation.mixup_cutmix(batch, replace(parameters, mix_choice=choice), 0.3, 0.2)
        for choice in choices
    ]
    expected = 0.4 * batch.faces + 0.6 * batch.faces[parameters.partners]
    blended = np.array([torch.equal(m.faces, expected) for m in mixed])
    untouched = np.array([torch.equal(m.faces, batch.faces) for m in mixed])
    assert blended.mean() == pytest.approx(0.3, abs=0.01)
    assert untouched.mean() == pytest.approx(0.5, abs=0.01)
    plain = mixed[-1]
    assert torch.allclose(plain.votes[plain.vote_weights > 0], batch.votes[batch.vote_weights > 0])
    assert torch.equal(plain.label_weights, batch.label_weights)
    assert augmentation.mixup_cutmix(batch, parameters, 0.0, 0.0) is batch


def test_mixup_weights_have_the_mean_and_variance_of_the_beta_distribution():
    parameters = augmentation.sample(replace(PLAIN, batch_size=2), 8000, 0, CPU)
    weights = parameters.mixup.numpy()
    alpha = augmentation.MIXUP_ALPHA
    assert ((weights >= 0) & (weights <= 1)).all()
    assert weights.mean() == pytest.approx(0.5, abs=0.03)
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


# Domain randomization


def test_domain_randomization_changes_selected_faces_and_keeps_pixels_in_range():
    faces = batches.standardize(torch.as_tensor(tiny.samples(64).faces)[:, None])
    assert augmentation.domain_randomization(faces, uniform(6, 64), 0.0) is faces
    changed = augmentation.domain_randomization(faces, uniform(6, 64), 0.5)
    fraction_changed = (changed != faces).flatten(1).any(1).float().mean()
    assert 0.3 < fraction_changed < 0.7
    gray = changed * batches.STD + batches.MEAN
    assert gray.min() > -0.01
    assert gray.max() < 255.01


def test_a_blur_of_small_sigma_or_of_a_flat_face_changes_nothing():
    faces = torch.rand(3, 1, 40, 40)
    assert torch.allclose(
        augmentation.gaussian_blur(faces, torch.full((3,), 0.1)), faces, atol=1e-5
    )
    flat = torch.full((2, 1, 40, 40), 0.25)
    blurred = augmentation.gaussian_blur(flat, torch.tensor([0.5, 1.5]))
    assert torch.allclose(blurred, flat, atol=1e-6)
