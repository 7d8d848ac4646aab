"""The mean of the weights of two runs."""

from dataclasses import replace

import pytest
import torch

from mien.errors import UserError
from mien.lab import averaging, inference, runs, train, training_state
from mien.lab.config import RECIPES
from mien.lab.heads import LOGIT_COUNT
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run, and a second run that was initialized from the first."""
    folder = tmp_path_factory.mktemp("pair")
    root = tiny.write_packed(folder / "data", tiny.table(28, 14))
    first = train.fit(TINY, root, folder / "first", device="cpu")
    fine_tuned = replace(TINY, init_from=str(first.folder), seed=1)
    return first, train.fit(fine_tuned, root, folder / "second", device="cpu")


def weights(run):
    return runs.load_tensors(run.weights_file)


def test_weights_are_the_weighted_mean(pair, tmp_path):
    run = averaging.average(*pair, 0.25, tmp_path / "out")
    first, second, mean = map(weights, (*pair, run))
    for name, value in mean.items():
        if value.is_floating_point():
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name], atol=1e-6)
        else:
            assert torch.equal(value, second[name])
    assert run.about["averaged"] == {"first": 0.75, "second": 0.25}
    assert run.about["data"] == pair[1].about["data"]
    assert len(run.log()) == 1
    assert inference.load_network(run)(torch.zeros(2, 1, 40, 40)).shape == (2, LOGIT_COUNT)


@pytest.mark.parametrize("weight", [0, 1])
def test_a_weight_of_0_or_1_gives_one_of_the_runs(pair, tmp_path, weight):
    run = averaging.average(*pair, weight, tmp_path / "out")
    actual, expected = weights(run), weights(pair[weight])
    # The other values, counters of batches, are those of the second run.
    floating = [name for name, value in expected.items() if value.is_floating_point()]
    assert all(torch.allclose(actual[name], expected[name]) for name in floating)


def test_another_average_in_the_folder_is_an_error_and_kept(pair, tmp_path):
    run = averaging.average(*pair, 0.25, tmp_path / "out")
    before = weights(run)
    with pytest.raises(UserError, match="contains another run"):
        averaging.average(*pair, 0.5, tmp_path / "out")
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())
    averaging.average(*pair, 0.25, tmp_path / "out")  # the same average is no error


def test_an_invalid_weight_and_unsuitable_runs_are_errors(pair, tmp_path):
    with pytest.raises(UserError, match=r"--weight 1\.5"):
        averaging.average(*pair, 1.5, tmp_path / "out")
    with pytest.raises(UserError, match="have the name first"):
        averaging.average(pair[0], pair[0], 0.5, tmp_path / "out")
    unfinished = runs.create(tmp_path / "unfinished", TINY)
    with pytest.raises(UserError, match="is not finished"):
        averaging.average(pair[0], unfinished, 0.5, tmp_path / "out")
    other = replace(TINY, model="resnet-16")
    run = runs.create(tmp_path / "other", other)
    torch.save(
        training_state.create(other, torch.device("cpu")).model.state_dict(), run.weights_file
    )
    with pytest.raises(UserError, match="different networks"):
        averaging.average(pair[0], run, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
