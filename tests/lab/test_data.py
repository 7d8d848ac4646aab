"""The formats of datasets, and labels and shares from votes."""

import csv
import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from mien.errors import UserError
from mien.lab import data
from mien.lab.data import Samples, fer2013, has_duplicate, majority, plurality, shares
from mien.labels import EMOTIONS
from tests.paths import SHARED
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

FER2013 = SHARED / "fer2013"

needs_fer2013 = pytest.mark.skipif(not FER2013.is_dir(), reason=f"no FER2013 at {FER2013}")


def are_equal(first: dict[str, Samples], second: dict[str, Samples]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(getattr(first[name], field), getattr(second[name], field))
        for name in first
        for field in ("faces", "labels", "votes", "rows")
    )


def one_line(error: pytest.ExceptionInfo) -> str:
    """Return the message of an error, which must be one line that ends with a period."""
    message = str(error.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def deny_access(*_, **__):
    raise PermissionError(13, "Permission denied")


def read_rows(path: Path) -> list[list[str]]:
    with open(path, newline="") as file:
        return list(csv.reader(file))


def write_rows(path: Path, rows: list[list[str]]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)


# The official file


def test_the_official_file_is_loaded_completely(tmp_path):
    table = tiny.table(14, 7, 7)
    splits = data.load(tiny.write_csv(tmp_path, table))
    assert list(splits) == ["train", "val", "test"]
    for name, usage in zip(splits, tiny.USAGES, strict=True):
        in_split = np.array(table.usage) == usage
        assert np.array_equal(splits[name].faces, table.faces[in_split])
        assert np.array_equal(splits[name].labels, table.labels[in_split])
        assert np.array_equal(splits[name].votes, table.votes[in_split])
        assert np.array_equal(splits[name].rows, np.flatnonzero(in_split))
        assert splits[name].faces.dtype == splits[name].votes.dtype == np.uint8


def test_the_file_can_be_given_instead_of_its_folder(tmp_path):
    folder = tiny.write_csv(tmp_path, tiny.table())
    assert are_equal(data.load(folder / "fer2013.csv"), data.load(str(folder)))


def test_privatetest_may_be_missing(tmp_path):
    splits = data.load(tiny.write_csv(tmp_path, tiny.table(14, 7, 0)))
    assert list(splits) == ["train", "val"]
    with pytest.raises(UserError, match="'test'"):
        data.split(splits, "test")


def test_without_the_votes_file_all_votes_are_zero(tmp_path):
    splits = data.load(tiny.write_csv(tmp_path, tiny.table(), with_votes=False))
    assert not splits["train"].has_votes
    assert splits["train"].votes.shape == (28, 10)


@pytest.mark.filterwarnings("default")
def test_unexpected_numbers_of_faces_are_a_warning(tmp_path):
    tiny.write_csv(tmp_path, tiny.table())
    with pytest.warns(UserWarning, match="train is not FER2013"):
        data.load(tmp_path)


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 2, 0), (0, 2, 1)])
def test_columns_may_have_another_order_and_case(tmp_path, order):
    original = data.load(tiny.write_csv(tmp_path / "a", tiny.table()))
    header, *rows = read_rows(tmp_path / "a" / "fer2013.csv")
    header = [name.upper() for name in header]
    tiny.write_csv(tmp_path / "b", tiny.table())
    reordered = [[row[k] for k in order] for row in (header, *rows)]
    write_rows(tmp_path / "b" / "fer2013.csv", reordered)
    assert are_equal(original, data.load(tmp_path / "b"))


def test_a_file_with_another_header_is_an_error(tmp_path):
    (tmp_path / "other.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(UserError) as error:
        data.load(tmp_path / "other.csv")
    assert "'a,b,c'" in one_line(error)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, "7"),
        (0, "-1"),
        (0, "angry"),
        (1, "1 2 3"),
        (1, ""),
        (1, " ".join(["256"] * 2304)),
        (1, " ".join(["x"] * 2304)),
        (1, " ".join(["1"] * 2305)),
        (2, "Testing"),
    ],
)
@pytest.mark.parametrize("line", [2, 5])
def test_an_invalid_row_is_reported_with_its_line(tmp_path, line, column, value):
    path = tiny.write_csv(tmp_path, tiny.table(7, 0), with_votes=False) / "fer2013.csv"
    rows = read_rows(path)
    rows[line - 1][column] = value
    write_rows(path, rows)
    with pytest.raises(UserError) as error:
        data.load(path)
    assert f"{path}, line {line}," in one_line(error)
    assert [p.name for p in tmp_path.iterdir()] == ["fer2013.csv"]


def test_a_truncated_row_is_reported_with_its_line(tmp_path):
    path = tiny.write_csv(tmp_path, tiny.table(7, 0), with_votes=False) / "fer2013.csv"
    path.write_text(path.read_text()[:-3000])
    with pytest.raises(UserError, match="line 8,"):
        data.load(path)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n\x00\xff\xfe", b"emotion,pixels,Usage\n"]
)
def test_a_file_that_is_empty_or_binary_or_has_only_a_header_is_an_error(tmp_path, content):
    (tmp_path / "fer2013.csv").write_bytes(content)
    with pytest.raises(UserError) as error:
        data.load(tmp_path)
    one_line(error)


def test_an_unreadable_file_is_an_error(tmp_path, monkeypatch):
    path = tiny.write_csv(tmp_path, tiny.table(7, 0)) / "fer2013.csv"
    monkeypatch.setattr("builtins.open", deny_access)
    with pytest.raises(UserError) as error:
        fer2013.load(path)
    monkeypatch.undo()
    assert f"Cannot read {path}" in one_line(error)


def test_a_folder_whose_name_ends_in_csv_is_not_taken_for_the_file(tmp_path):
    folder = tiny.write_images(tmp_path / "faces.csv", tiny.table(7, 0))
    assert len(data.load(folder)["train"]) == 7


def test_votes_in_another_order_are_an_error(tmp_path):
    tiny.write_csv(tmp_path, tiny.table(14, 7))
    path = tmp_path / "fer2013new.csv"
    header, *rows = read_rows(path)
    write_rows(path, [header, *rows[::-1]])
    with pytest.raises(UserError, match="same rows"):
        data.load(tmp_path)


def test_missing_rows_of_votes_are_an_error(tmp_path):
    path = tiny.write_csv(tmp_path, tiny.table()) / "fer2013new.csv"
    write_rows(path, read_rows(path)[:-1])
    with pytest.raises(UserError, match="same rows"):
        data.load(tmp_path)


@pytest.mark.parametrize(
    ("damage", "expected_text"),
    [
        (lambda rows: [row[:-1] for row in rows], "NF"),
        (lambda rows: [*rows[:-1], rows[-1][:-1]], "line 43, has 11 columns"),
        (lambda rows: [*rows[:-1], [*rows[-1][:-1], "many"]], "invalid votes"),
        (lambda rows: [*rows[:-1], [*rows[-1][:-1], "-1"]], "invalid votes"),
        (lambda rows: [*rows[:-1], [*rows[-1][:-1], "300"]], "invalid votes"),
    ],
)
def test_damaged_votes_are_an_error(tmp_path, damage, expected_text):
    path = tiny.write_csv(tmp_path, tiny.table()) / "fer2013new.csv"
    write_rows(path, damage(read_rows(path)))
    with pytest.raises(UserError) as error:
        data.load(tmp_path)
    assert expected_text in one_line(error)


@pytest.mark.parametrize("name", ["fer2013.csv", "fer2013new.csv"])
def test_a_byte_order_mark_is_ignored(tmp_path, name):
    tiny.write_csv(tmp_path, tiny.table())
    expected = data.load(tmp_path)
    path = tmp_path / name
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert are_equal(data.load(tmp_path), expected)


# The cache of the official file


def caches(folder: Path) -> list[Path]:
    return sorted(folder.glob(".fer2013.*.npz"))


def test_the_parsed_file_is_cached(tmp_path, monkeypatch):
    first = data.load(tiny.write_csv(tmp_path, tiny.table()))
    (cache,) = caches(tmp_path)
    written = cache.stat().st_mtime_ns

    def fail(path):
        raise AssertionError("parsed again")

    monkeypatch.setattr(fer2013, "_parse", fail)
    assert are_equal(first, data.load(tmp_path))
    assert caches(tmp_path) == [cache]
    assert cache.stat().st_mtime_ns == written


def test_a_changed_file_is_parsed_again(tmp_path):
    data.load(tiny.write_csv(tmp_path, tiny.table(seed=1)))
    changed = tiny.table(seed=2)
    splits = data.load(tiny.write_csv(tmp_path, changed))
    assert np.array_equal(splits["train"].faces, changed.faces[:28])


def test_a_file_of_the_same_size_but_another_time_is_parsed_again(tmp_path):
    path = tiny.write_csv(tmp_path, tiny.table(), with_votes=False) / "fer2013.csv"
    data.load(path)
    rows = read_rows(path)
    before = path.stat()
    rows[1][0] = "5"
    write_rows(path, rows)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    assert data.load(path)["train"].labels[0] == 5


@pytest.mark.parametrize("end", [0, 1, 100, 5000, -1, -200])
def test_a_truncated_cache_is_rewritten(tmp_path, end):
    first = data.load(tiny.write_csv(tmp_path, tiny.table()))
    (cache,) = caches(tmp_path)
    original = cache.read_bytes()
    cache.write_bytes(original[:end])
    assert are_equal(first, data.load(tmp_path))
    assert cache.read_bytes() == original


def test_a_cache_with_a_flipped_bit_is_not_used(tmp_path):
    first = data.load(tiny.write_csv(tmp_path, tiny.table()))
    (cache,) = caches(tmp_path)
    damaged = bytearray(cache.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    cache.write_bytes(bytes(damaged))
    assert are_equal(first, data.load(tmp_path))


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX permissions")
def test_a_read_only_folder_can_be_read(tmp_path, monkeypatch):
    tiny.write_csv(tmp_path, tiny.table())
    tmp_path.chmod(0o500)
    if os.access(tmp_path, os.W_OK):  # root can write to any folder
        monkeypatch.setattr("mien.io.atomic_file.tempfile.mkstemp", deny_access)
    try:
        assert len(data.load(tmp_path)["train"]) == 28
        assert not caches(tmp_path)
    finally:
        tmp_path.chmod(0o700)


# Folders of images

SPELLINGS = {
    "plain": EMOTIONS,
    "nouns": ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"),
    "adjectives": ("Angry", "Disgusted", "Fearful", "Happy", "Sad", "Surprised", "Neutral"),
    "numbered": tuple(f"{k}_{name}" for k, name in enumerate(EMOTIONS)),
    "capitals": tuple(name.upper() for name in EMOTIONS),
}


@pytest.mark.parametrize("names", SPELLINGS.values(), ids=SPELLINGS)
def test_usual_spellings_of_emotions_are_accepted(tmp_path, names):
    table = tiny.table(14, 7)
    splits = data.load(tiny.write_images(tmp_path, table, names=names))
    assert np.bincount(splits["train"].labels).tolist() == [2] * 7
    order = np.argsort(table.labels[:14], kind="stable")
    loaded_order = np.argsort(splits["train"].labels, kind="stable")
    assert np.array_equal(splits["train"].faces[loaded_order], table.faces[:14][order])


@pytest.mark.parametrize(
    ("splits", "expected"),
    [
        ({"Training": "train", "PublicTest": "test", "PrivateTest": "test"}, (14, 0, 14)),
        ({"Training": "Training", "PublicTest": "PublicTest", "PrivateTest": "PrivateTest"},
         (14, 7, 7)),
        ({"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}, (14, 7, 7)),
        ({"Training": "", "PublicTest": "", "PrivateTest": ""}, (0, 28, 0)),
    ],
)  # fmt: skip
def test_usual_names_of_splits_are_accepted(tmp_path, splits, expected):
    loaded = data.load(tiny.write_images(tmp_path, tiny.table(14, 7, 7), splits))
    counts = tuple(len(loaded[name]) if name in loaded else 0 for name in ("train", "val", "test"))
    assert counts == expected


def test_color_images_of_other_sizes_become_gray_faces_of_48_pixels(tmp_path):
    table = tiny.table(7, 0)
    tiny.write_images(tmp_path, table, suffix=".png")
    for suffix, size, emotion in ((".jpg", 48, "sad"), (".png", 96, "happy"), (".JPG", 20, "fear")):
        color = Image.fromarray(np.full((size, size, 3), (200, 200, 200), np.uint8))
        color.save(tmp_path / "train" / emotion / f"more{suffix}")
    train = data.load(tmp_path)["train"]
    assert train.faces.shape == (10, 48, 48)
    assert np.bincount(train.labels).tolist() == [1, 1, 2, 2, 2, 1, 1]
    uniform = [face for face in train.faces if np.ptp(face) < 3]
    assert len(uniform) == 3
    assert all(abs(int(face[24, 24]) - 200) < 3 for face in uniform)


def test_other_folders_and_files_are_ignored(tmp_path):
    tiny.write_images(tmp_path, tiny.table(7, 0))
    shutil.copytree(tmp_path / "train" / "sad", tmp_path / "train" / "contempt")
    shutil.copytree(tmp_path / "train" / "sad", tmp_path / "train" / "misc")
    (tmp_path / "train" / "sad" / "notes.txt").write_text("not an image")
    with pytest.warns(UserWarning, match="ignored") as caught:
        assert len(data.load(tmp_path)["train"]) == 7
    messages = [str(warning.message) for warning in caught if "ignored" in str(warning.message)]
    assert len(messages) == 2
    for name, message in zip(("contempt", "misc"), messages, strict=True):
        assert str(tmp_path / "train" / name) in message


def test_a_damaged_image_is_an_error(tmp_path):
    tiny.write_images(tmp_path, tiny.table(7, 0))
    path = tmp_path / "train" / "sad" / "broken.png"
    path.write_bytes(b"not an image")
    with pytest.raises(UserError, match="not an image") as error:
        data.load(tmp_path)
    assert str(path) in one_line(error)


def test_images_of_16_bits_equal_those_of_8_bits(tmp_path):
    (tmp_path / "happy").mkdir()
    face = tiny.samples(1).faces[0]
    Image.fromarray(face.astype(np.uint16) * 257).save(tmp_path / "happy" / "1.png")
    assert np.array_equal(data.load(tmp_path)["val"].faces, [face])


def test_folders_of_emotions_without_images_are_an_error(tmp_path):
    (tmp_path / "happy").mkdir()
    with pytest.raises(UserError, match="no images"):
        data.load(tmp_path)


def test_an_unsupported_dataset_is_an_error(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        data.load(tmp_path / "nothing")
    (tmp_path / "readme.txt").write_text("hello")
    for path in (tmp_path, tmp_path / "readme.txt"):
        with pytest.raises(UserError, match="not a supported dataset"):
            data.load(path)


# Packed grids


def test_packed_grids_equal_the_official_file(tmp_path):
    table = tiny.table(15, 7, 4)
    packed = data.load(tiny.write_packed(tmp_path / "packed", table))
    assert are_equal(packed, data.load(tiny.write_csv(tmp_path / "csv", table)))


@pytest.mark.parametrize(
    ("column", "value"),
    [("emotion", "sad"), ("emotion", "9"), ("row", "x"), ("fear", "-3"), ("usage", "Testing")],
)
def test_a_damaged_table_of_grids_is_an_error(tmp_path, column, value):
    path = tiny.write_packed(tmp_path, tiny.table()) / "labels.csv"
    rows = read_rows(path)
    rows[3][rows[0].index(column)] = value
    write_rows(path, rows)
    with pytest.raises(UserError) as error:
        data.load(tmp_path)
    assert str(path) in one_line(error)


def test_grids_that_do_not_match_their_table_are_an_error(tmp_path):
    path = tiny.write_packed(tmp_path, tiny.table()) / "labels.csv"
    rows = read_rows(path)
    for changed in ([*rows, *rows[1:]], [*rows[:4], *rows[8:]]):
        write_rows(path, changed)
        with pytest.raises(UserError, match=f"{len(changed) - 1} rows"):
            data.load(tmp_path)


def test_a_grid_that_is_damaged_or_of_another_size_is_an_error(tmp_path):
    tiny.write_packed(tmp_path, tiny.table())
    Image.new("L", (100, 48)).save(tmp_path / "faces_01.webp")
    with pytest.raises(UserError, match="100 x 48"):
        data.load(tmp_path)
    (tmp_path / "faces_01.webp").write_bytes(b"RIFF nothing")
    with pytest.raises(UserError, match="as an image"):
        data.load(tmp_path)


def test_a_table_that_lacks_columns_is_an_error(tmp_path):
    path = tiny.write_packed(tmp_path, tiny.table()) / "labels.csv"
    write_rows(path, [row[:5] for row in read_rows(path)])
    with pytest.raises(UserError, match="NF, anger"):
        data.load(tmp_path)


# The real dataset


@pytest.fixture(scope="module")
def real_splits() -> dict[str, Samples]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # also for the one that `pytestmark` ignores
        return data.load(FER2013)


@needs_fer2013
def test_the_real_dataset_has_the_published_numbers_of_faces(real_splits):
    expected = {
        "train": (28709, [3995, 436, 4097, 7215, 4830, 3171, 4965]),
        "val": (3589, [467, 56, 496, 895, 653, 415, 607]),
        "test": (3589, [491, 55, 528, 879, 594, 416, 626]),
    }
    assert {"train", "val"} <= set(real_splits)
    for name, samples in real_splits.items():
        count, per_class = expected[name]
        assert len(samples) == count
        assert np.bincount(samples.labels).tolist() == per_class


@needs_fer2013
def test_the_real_dataset_has_the_known_majorities_and_duplicates(real_splits):
    assert (majority(real_splits["train"].votes) >= 0).sum() == 25_060
    assert (majority(real_splits["val"].votes) >= 0).sum() == 3_199
    assert has_duplicate(real_splits["val"].faces, real_splits["train"].faces).sum() == 280
    assert (real_splits["train"].votes.sum(1) == 10).mean() > 0.99


# Labels and shares from votes: angry, disgust, fear, happy, sad, surprise, neutral, contempt,
# unknown, not a face


@pytest.mark.parametrize(
    ("votes", "majority_label", "plurality_label"),
    [
        ((10, 0, 0, 0, 0, 0, 0, 0, 0, 0), 0, 0),
        ((0, 0, 0, 6, 0, 4, 0, 0, 0, 0), 3, 3),
        ((0, 0, 0, 5, 0, 5, 0, 0, 0, 0), -1, -1),
        ((0, 0, 0, 4, 3, 3, 0, 0, 0, 0), -1, 3),
        ((0, 0, 0, 5, 1, 1, 1, 1, 1, 0), 3, 3),
        ((1, 1, 1, 1, 1, 1, 1, 1, 1, 1), -1, -1),
        ((0, 0, 0, 2, 0, 0, 0, 0, 8, 0), -1, -1),
        ((2, 0, 0, 0, 0, 0, 0, 0, 0, 8), -1, -1),
        ((0, 0, 0, 0, 0, 0, 0, 9, 1, 0), 7, 7),
        ((0, 0, 0, 0, 0, 0, 0, 0, 0, 0), -1, -1),
        ((4, 0, 0, 0, 0, 0, 0, 0, 3, 1), 0, 0),
        ((4, 0, 0, 0, 0, 0, 0, 0, 4, 1), -1, -1),
    ],
)
def test_majority_and_plurality_follow_the_paper(votes, majority_label, plurality_label):
    counts = np.array([votes], np.uint8)
    assert majority(counts)[0] == majority_label
    assert plurality(counts)[0] == plurality_label


def test_shares_ignore_votes_that_are_not_emotions():
    counts = np.array([[3, 0, 0, 1, 0, 0, 4, 0, 2, 0]], np.uint8)
    assert np.allclose(shares(counts), [[3 / 8, 0, 0, 1 / 8, 0, 0, 0.5, 0]])
    assert np.allclose(shares(counts, drop_single=True), [[3 / 7, 0, 0, 0, 0, 0, 4 / 7, 0]])
    no_emotion = np.array([[0] * 8 + [9, 1]], np.uint8)
    assert not shares(no_emotion).any()


many_votes = arrays(
    np.uint8, st.tuples(st.integers(1, 20), st.just(10)), elements=st.integers(0, 30)
)


@given(many_votes)
def test_shares_sum_to_one_or_are_zero(votes):
    for drop_single in (False, True):
        result = shares(votes, drop_single=drop_single)
        min_count = 2 if drop_single else 1
        kept = np.where(votes[:, :8] >= min_count, votes[:, :8], 0)
        assert (result >= 0).all()
        assert np.allclose(result.sum(1), kept.any(1))
        assert not result[kept == 0].any()


@given(many_votes)
def test_a_majority_is_a_plurality_with_more_than_half_of_the_votes(votes):
    majorities, pluralities = majority(votes), plurality(votes)
    has_majority = majorities >= 0
    assert (majorities[has_majority] == pluralities[has_majority]).all()
    for row, label in zip(votes.astype(int), majorities, strict=True):
        kept = [n if n > 1 else 0 for n in row]
        winners = [k for k in range(8) if 2 * kept[k] > sum(kept)]
        assert label == (winners[0] if winners else -1)


@given(many_votes)
def test_a_plurality_has_more_votes_than_any_other(votes):
    for row, label in zip(votes, plurality(votes), strict=True):
        leaders = [k for k in range(10) if row[k] == row.max()]
        assert label == (leaders[0] if len(leaders) == 1 and leaders[0] < 8 else -1)


@given(many_votes, st.permutations(range(8)))
def test_permuting_the_emotions_permutes_the_labels(votes, order):
    permuted = votes.copy()
    permuted[:, :8] = votes[:, order]
    for method in (majority, plurality):
        labels = method(permuted)
        restored = np.where(labels >= 0, np.array(order)[labels], -1)
        assert np.array_equal(restored, method(votes))


def test_faces_that_differ_in_one_pixel_are_not_duplicates():
    faces = tiny.samples(6).faces
    others = faces[[4, 1]].copy()
    others[1, 0, 0] ^= 1
    assert has_duplicate(faces, others).tolist() == [False, False, False, False, True, False]


def test_samples_of_different_lengths_are_an_error():
    samples = tiny.samples(14)
    with pytest.raises(ValueError, match="length"):
        Samples(samples.faces, samples.labels[:3], samples.votes, samples.rows)


def test_votes_are_pooled_over_duplicates():
    samples = tiny.samples(14)
    samples.faces[5] = samples.faces[2]
    pooled = data.pooled_votes(samples)
    both = samples.votes[2].astype(int) + samples.votes[5]
    assert np.array_equal(pooled[2], both)
    assert np.array_equal(pooled[5], both)
    rest = np.setdiff1d(np.arange(14), [2, 5])
    assert np.array_equal(pooled[rest], samples.votes[rest])


def test_select_keeps_the_arrays_aligned():
    samples = tiny.samples(14)
    selected = samples.select(samples.labels == 3)
    assert selected.rows.tolist() == [3, 10]
    assert np.array_equal(selected.faces, samples.faces[[3, 10]])
