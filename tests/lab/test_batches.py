from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from mien.lab import augmentation, batches
from mien.lab.augmentation import Draws
from mien.lab.batches import Batch
from mien.lab.config import Config
from mien.lab.data import shares
from tests.synthetic import tiny

STILL = Config(
    batch_size=12, input_size=44, flip=False, rotation=0, scale=0, translate=0,
    brightness_contrast=0, random_erasing=0, mixup=0, cutmix=0
)  # fmt: skip
BUSY = replace(Config(), batch_size=12, mixup=0.4, cutmix=0.4)
CPU = torch.device("cpu")


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def drawn(count: int, seed: int = 0, **known: Tensor) -> Draws:
    """The random numbers of one step over so many faces."""
    config = replace(STILL, batch_size=count, input_size=48, seed=seed)
    draws = augmentation.draw(config, count, 0, CPU).at(torch.tensor([0]))
    return replace(draws, **known)


def placed(count: int = 40, config: Config = STILL) -> Batch:
    return batches.on_device(tiny.samples(count), config, CPU)


def parts(batch: Batch) -> list[Tensor]:
    return [getattr(batch, name) for name in batch.__slots__]


def same(one: Batch, other: Batch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(parts(one), parts(other), strict=True))


def epoch(config: Config, number: int = 0, **share) -> list[Batch]:
    return list(augmentation.epoch(placed(config=config), config, number, **share))


def marked(count: int, config: Config) -> Batch:
    """Data in which every pixel of a face is the face's number."""
    faces = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 48, 48)
    return replace(placed(count, config), faces=faces)


def numbers(batch: Batch) -> list[int]:
    """Which faces of `marked` a batch shows."""
    return (batch.faces[:, 0, 5, 5] * batches.SPREAD + batches.MEAN).round().int().tolist()


# What is dealt


def test_the_device_holds_what_the_samples_say():
    samples = tiny.samples(21)
    samples.labels[3] = -1
    samples.votes[4] = 0
    samples.votes[5] = [2, 0, 0, 2, 0, 0, 1, 0, 4, 1]
    data = batches.on_device(samples, STILL, CPU)
    assert data.faces.dtype == torch.uint8
    assert data.faces.shape == (21, 1, 48, 48)
    assert data.labels.argmax(1)[:3].tolist() == [0, 1, 2]
    assert not data.labels[3].any()
    assert data.label_weights.tolist() == [1.0] * 3 + [0.0] + [1.0] * 17
    assert np.array_equal(data.votes.numpy(), shares(samples.votes))
    assert data.vote_weights[4] == 0
    assert data.vote_weights[5] == 0.5
    assert not data.votes[4].any()
    assert data.votes[5].tolist() == pytest.approx([0.4, 0, 0, 0.4, 0, 0, 0.2, 0])


def test_lonely_votes_are_dropped_if_the_config_says_so():
    samples = tiny.samples(7)
    data = batches.on_device(samples, replace(STILL, drop_single_votes=True), CPU)
    assert np.array_equal(data.votes.numpy(), shares(samples.votes, drop_single=True))


def test_class_weights_make_every_emotion_count_alike_and_the_mean_stay_one():
    samples = tiny.samples(28).take(np.r_[0:28, 3, 10, 17, 3, 3])
    data = batches.on_device(samples, replace(STILL, class_weights=True), CPU)
    totals = (data.label_weights[:, None] * data.labels).sum(0)
    assert torch.allclose(totals, torch.full((7,), len(samples) / 7))
    assert data.label_weights.mean().item() == pytest.approx(1)


def test_standardised_faces_of_fer2013_have_mean_zero_and_spread_one():
    assert batches.standardise(torch.tensor([129.5, 194.5])).tolist() == [0, 1]
    assert batches.standardise(torch.tensor([0], dtype=torch.uint8)).dtype == torch.float32


def test_without_augmentation_a_batch_is_the_central_window_pixel_for_pixel():
    data = placed()
    seen = torch.cat([batch.faces for batch in epoch(STILL)])
    windows = batches.standardise(data.faces[:, :, 2:46, 2:46])
    for face in seen:
        assert (face == windows).all((1, 2, 3)).any()
    assert seen.shape == (36, 1, 44, 44)


@pytest.mark.parametrize("side", [48, 47, 40, 1])
def test_the_window_is_central_whatever_its_side(side):
    faces = torch.arange(48 * 48).reshape(1, 1, 48, 48)
    found = batches.window(faces, side)
    start = (48 - side) // 2
    assert torch.equal(found, faces[:, :, start : start + side, start : start + side])


def test_the_same_seed_and_epoch_give_the_same_batches():
    assert all(map(same, epoch(BUSY), epoch(BUSY)))


@pytest.mark.parametrize("other", [(BUSY, 1), (replace(BUSY, seed=1), 0)])
def test_another_epoch_or_seed_gives_other_batches(other):
    assert not any(map(same, epoch(BUSY), epoch(*other)))


def test_the_global_generator_plays_no_part_and_is_left_alone():
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = epoch(BUSY)
    assert torch.equal(before, torch.random.get_rng_state())
    torch.manual_seed(2)
    assert all(map(same, first, epoch(BUSY)))


def test_an_epoch_shown_again_looks_the_same_but_for_its_other_domains():
    config = replace(BUSY, seed=3)
    again = epoch(config, 5, shown=(BUSY.seed, 0))
    assert all(map(same, epoch(BUSY, 0), again))
    other = replace(config, domain_randomization=1.0)
    one, two = epoch(other, 5, shown=(0, 0))[0], epoch(other, 6, shown=(0, 0))[0]
    assert torch.equal(one.labels, two.labels)
    assert not torch.equal(one.faces, two.faces)


@pytest.mark.parametrize("world", [1, 2, 3, 5])
@pytest.mark.parametrize("count", [7, 12, 40, 48])
def test_a_face_comes_at_most_once_an_epoch_and_processes_share_evenly(world, count):
    draws = augmentation.draw(STILL, count, 0, CPU, world=world)
    steps, batch = draws.faces.shape
    assert steps == batches.steps_per_epoch(count, STILL)
    assert batch == batches.faces_per_step(count, STILL, world)
    assert batch % world == 0
    seen = draws.faces.flatten().tolist()
    assert len(seen) == len(set(seen))
    assert all(sorted(row) == list(range(batch)) for row in draws.partners.tolist())


def test_the_numbers_of_a_step_are_those_of_its_place():
    draws = augmentation.draw(BUSY, 40, 2, CPU)
    step = draws.at(torch.tensor([2]))
    assert torch.equal(step.faces, draws.faces[2])
    assert torch.equal(step.move, draws.move[2])
    assert step.coin == draws.coin[2]
    assert torch.equal(step.noise, draws.noise[draws.partners[2]])


def test_over_the_epochs_every_face_has_its_turn_and_its_own_targets():
    data = marked(40, STILL)
    data = replace(data, votes=torch.arange(40.0)[:, None].expand(-1, 8))
    seen = set()
    for number in range(12):
        for batch in augmentation.epoch(data, STILL, number):
            assert numbers(batch) == batch.votes[:, 0].int().tolist()
            seen.update(numbers(batch))
    assert seen == set(range(40))


def test_three_channels_are_the_grey_one_three_times():
    batch = epoch(replace(BUSY, channels=3, mixup=0.0, cutmix=0.0))[0]
    assert batch.faces.shape == (12, 3, 44, 44)
    assert torch.equal(batch.faces[:, :1].expand(-1, 3, -1, -1), batch.faces)


# Moving


@pytest.mark.parametrize("side", [48, 44, 40])
def test_flipping_alone_gives_the_window_or_its_mirror_image(side):
    faces = batches.standardise(placed().faces)
    moved = augmentation.move(
        faces, uniform(5, 40), replace(STILL, input_size=side, flip=True), side
    )
    straight = batches.window(faces, side)
    plain = torch.isclose(moved, straight, atol=1e-4).all((1, 2, 3))
    mirrored = torch.isclose(moved, straight.flip(3), atol=1e-4).all((1, 2, 3))
    assert (plain ^ mirrored).all()
    assert 10 <= plain.sum() <= 30


@pytest.mark.parametrize(
    ("each_way", "side"),
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
def test_moving_is_the_affine_map_it_says(each_way, side):
    """each_way: turn, zoom, right, down, mirror, from -1 to 1."""
    config = replace(STILL, input_size=side, flip=True, rotation=20.0, scale=0.25, translate=0.1)
    picture = np.float32(cv2.GaussianBlur(tiny.samples(1).faces[0], (0, 0), 2))
    known = (torch.tensor(each_way)[:, None] + 1) / 2
    found = augmentation.move(torch.tensor(picture)[None, None], known, config, config.input_size)
    moved = found[0, 0].numpy()
    # The same in pixels and by another hand: output pixel -> input pixel, both from the centre.
    turn, zoom = np.radians(20) * each_way[0], 1.25 ** each_way[1]
    mirror = np.diag([-1.0 if each_way[4] < 0 else 1.0, 1.0])
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = mirror @ rotation / zoom
    shift = 48 * 0.1 * np.array(each_way[2:4])
    offset = np.full(2, 23.5) + shift - linear @ np.full(2, (side - 1) / 2)
    expected = cv2.warpAffine(
        picture,
        np.column_stack([linear, offset]),
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inner = slice(6, -6)
    assert np.abs(moved - expected)[inner, inner].max() < 1.0  # OpenCV rounds to 1/32 pixel


def test_moves_stay_within_what_the_config_allows():
    spot = torch.zeros(400, 1, 48, 48)
    spot[:, :, 23:25, 23:25] = 1
    config = replace(STILL, input_size=48, translate=0.125)
    moved = augmentation.move(spot, uniform(5, 400), config, config.input_size)[:, 0]
    axis = torch.arange(48) - 23.5
    mass = moved.sum((1, 2))
    right, down = (moved.sum(1) * axis).sum(1) / mass, (moved.sum(2) * axis).sum(1) / mass
    for found in (right, down):
        assert found.abs().max() <= 6.01
        assert found.abs().max() > 5.5
        assert found.mean().abs() < 0.6


# Growing


@pytest.mark.parametrize(("first", "side", "epochs"), [(28, 44, 60), (32, 48, 3), (20, 45, 9)])
def test_the_faces_grow_from_the_first_size_to_the_window_over_two_thirds(first, side, epochs):
    config = replace(STILL, initial_size=first, input_size=side, epochs=epochs)
    sizes = [batches.size_in(config, number) for number in range(epochs)]
    assert sizes[0] == first
    assert sizes == sorted(sizes)
    assert all(size == side for size in sizes[round(epochs * 2 / 3) - 1 :])
    assert all(size % 4 == 0 for size in sizes if size < side)
    assert epoch(replace(config, flip=True))[0].faces.shape[-2:] == (first, first)


def test_without_a_first_size_the_faces_never_shrink():
    assert {batches.size_in(replace(STILL, input_size=44), number) for number in range(60)} == {44}


def test_a_shrunk_face_is_the_same_window_on_fewer_pixels():
    picture = np.float32(cv2.GaussianBlur(tiny.samples(1).faces[0], (0, 0), 2))
    face, still = torch.tensor(picture)[None, None], replace(STILL, input_size=44)
    shrunk = augmentation.move(face, uniform(5, 1), still, 22)
    expected = cv2.resize(picture[2:46, 2:46], (22, 22), interpolation=cv2.INTER_LINEAR)
    assert np.abs(shrunk[0, 0].numpy() - expected)[2:-2, 2:-2].max() < 1.0


# Light and erasing


def test_light_is_one_line_per_face_within_its_bounds():
    faces = batches.standardise(placed().faces)
    lit = augmentation.light(faces, uniform(2, 40), 0.3)
    for before, after in zip(faces, lit, strict=True):
        slope, shift = np.polyfit(before.flatten().numpy(), after.flatten().numpy(), 1)
        assert 0.699 <= slope <= 1.301
        assert abs(shift) <= 0.301
        assert np.allclose(before * slope + shift, after, atol=1e-4)
    assert augmentation.light(faces, uniform(2, 40), 0.0) is faces


def test_erasing_touches_one_rectangle_only():
    faces = torch.full((200, 1, 44, 44), 7.0)
    erased = augmentation.erase(faces, uniform(5, 200), torch.randn(faces.shape), 1.0)
    for face in erased[:, 0]:
        touched = face != 7
        rows, columns = touched.any(1).nonzero()[:, 0], touched.any(0).nonzero()[:, 0]
        box = touched[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert box.all()
        assert 0.01 < touched.float().mean() < 0.24
    noise = erased[erased != 7]
    assert noise.mean().abs() < 0.02
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_erasing_happens_as_often_as_asked():
    faces = torch.full((2000, 1, 12, 12), 7.0)
    noise = torch.zeros(faces.shape)
    erased = augmentation.erase(faces, uniform(5, 2000), noise, 0.25)
    share = (erased != 7).any((1, 2, 3)).float().mean()
    assert share.item() == pytest.approx(0.25, abs=0.03)
    assert augmentation.erase(faces, uniform(5, 2000), noise, 0.0) is faces


def test_rectangles_have_the_areas_asked_for():
    masks = augmentation.rectangles(uniform(4, 500), 0.1, 0.3, 100, 100)
    areas = masks.float().mean((1, 2, 3))
    assert masks.shape == (500, 1, 100, 100)
    assert areas.min() > 0.08
    assert areas.max() < 0.32
    assert areas.mean().item() == pytest.approx(0.2, abs=0.01)


# Mixing


def mixable(count: int = 24) -> Batch:
    samples = tiny.samples(count)
    samples.votes[::3] = 0
    samples.labels[1] = -1
    data = batches.on_device(samples, STILL, CPU)
    weights = data.vote_weights.float()
    return replace(data, faces=batches.standardise(data.faces), vote_weights=weights)


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize("seed", range(5))
def test_mixed_targets_stay_distributions_and_weights_shares(mixup, cutmix, seed):
    batch = mixable()
    mixed = augmentation.mix(batch, drawn(24, seed), mixup, cutmix)
    for targets, weights in (
        (mixed.labels, mixed.label_weights),
        (mixed.votes, mixed.vote_weights),
    ):
        assert (targets >= 0).all()
        assert (weights >= 0).all()
        assert (weights <= 1 + 1e-6).all()
        counting = weights > 1e-6
        assert torch.allclose(targets[counting].sum(1), torch.ones(()), atol=1e-4)
        assert not targets[weights == 0].any()


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0)])
def test_a_row_without_votes_adds_none(mixup, cutmix):
    """Whatever is mixed in, a face's targets are its own where the other has nothing to say."""
    batch = mixable()
    mixed = augmentation.mix(batch, drawn(24, 3), mixup, cutmix)
    silent = batch.vote_weights == 0
    changed = (mixed.faces != batch.faces).any((1, 2, 3))
    untouched = torch.isclose(mixed.votes, batch.votes, atol=1e-5).all(1)
    lighter = mixed.vote_weights < batch.vote_weights - 1e-6
    assert changed.any()
    # A voted face mixed with a silent one: same shares, less weight.
    assert (untouched & lighter & ~silent).any()
    # A silent one mixed with a voted one: the other's shares, not a flatter copy of them.
    spoken = silent & (mixed.vote_weights > 0)
    assert spoken.any()
    for row in mixed.votes[spoken]:
        assert torch.isclose(row, batch.votes, atol=1e-5).all(1).any()


def test_mixup_blends_faces_and_targets_by_one_share():
    batch = mixable()
    flat = (torch.arange(24) % 7).float()[:, None, None, None].expand(-1, 1, 8, 8)
    eye = torch.eye(7)[torch.arange(24) % 7]
    batch = replace(batch, faces=flat, labels=eye, label_weights=torch.ones(24))
    mixed = augmentation.mix(batch, drawn(24, mixup=torch.tensor(0.3)), 1.0, 0.0)
    mean_class = (mixed.labels * torch.arange(7.0)).sum(1)
    assert torch.allclose(mixed.faces[:, 0, 0, 0], mean_class, atol=1e-5)


def test_cutmix_weighs_targets_by_the_area_that_is_left():
    batch = mixable()
    flat = (torch.arange(24) % 7).float()[:, None, None, None].expand(-1, 1, 44, 44)
    eye = torch.eye(7)[torch.arange(24) % 7]
    batch = replace(batch, faces=flat, labels=eye, label_weights=torch.ones(24))
    mixed = augmentation.mix(batch, drawn(24), 0.0, 1.0)
    mean_class = (mixed.labels * torch.arange(7.0)).sum(1)
    assert torch.allclose(mixed.faces.mean((1, 2, 3)), mean_class, atol=1e-4)
    own = (mixed.faces == flat).float().mean((1, 2, 3))
    assert own.min() >= 0.35


def test_mixing_happens_as_often_as_asked():
    batch = mixable(6)
    draws = drawn(6, partners=torch.arange(6).roll(1), mixup=torch.tensor(0.4))
    coins = torch.linspace(0, 0.999, 200)
    mixed = [augmentation.mix(batch, replace(draws, coin=coin), 0.3, 0.2) for coin in coins]
    blended = np.array([torch.equal(m.faces, 0.4 * batch.faces + 0.6 * batch.faces[draws.partners])
                        for m in mixed])  # fmt: skip
    untouched = np.array([torch.equal(m.faces, batch.faces) for m in mixed])
    assert blended.mean() == pytest.approx(0.3, abs=0.01)
    assert untouched.mean() == pytest.approx(0.5, abs=0.01)
    plain = mixed[-1]
    assert torch.allclose(plain.votes[plain.vote_weights > 0], batch.votes[batch.vote_weights > 0])
    assert torch.equal(plain.label_weights, batch.label_weights)
    assert augmentation.mix(batch, draws, 0.0, 0.0) is batch


def test_mixup_shares_have_the_mean_and_variance_of_their_distribution():
    draws = augmentation.draw(replace(STILL, batch_size=2), 8000, 0, CPU)
    shares = draws.mixup.numpy()
    alpha = augmentation.MIXUP_ALPHA
    assert ((shares >= 0) & (shares <= 1)).all()
    assert shares.mean() == pytest.approx(0.5, abs=0.03)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)


# Other domains


def test_other_domains_change_the_chosen_faces_alone_and_keep_their_range():
    faces = batches.standardise(torch.as_tensor(tiny.samples(64).faces)[:, None])
    assert augmentation.other_domains(faces, uniform(6, 64), 0.0) is faces
    changed = augmentation.other_domains(faces, uniform(6, 64), 0.5)
    moved = (changed != faces).flatten(1).any(1).float().mean()
    assert 0.3 < moved < 0.7
    grey = changed * batches.SPREAD + batches.MEAN
    assert grey.min() > -0.01
    assert grey.max() < 255.01


def test_a_blur_keeps_the_mean_and_a_sharp_one_changes_nothing():
    faces = torch.rand(3, 1, 40, 40)
    assert torch.allclose(augmentation.blurred(faces, torch.full((3,), 0.1)), faces, atol=1e-5)
    flat = torch.full((2, 1, 40, 40), 0.25)
    blurred = augmentation.blurred(flat, torch.tensor([0.5, 1.5]))
    assert torch.allclose(blurred, flat, atol=1e-6)
