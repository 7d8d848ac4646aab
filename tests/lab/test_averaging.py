from dataclasses import replace

import pytest
import torch

from mien.errors import UserError
from mien.lab import averaging, evaluate, runs, train, training_state
from mien.lab.config import RECIPES
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = replace(RECIPES["tiny"], batch_size=14, epochs=1)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A run, and another that went on from it."""
    folder = tmp_path_factory.mktemp("pair")
    root = tiny.write_packed(folder / "data", tiny.table(28, 14))
    first = train.fit(TINY, root, folder / "first", device="cpu")
    tuned = replace(TINY, init_from=str(first.folder), seed=1)
    return first, train.fit(tuned, root, folder / "second", device="cpu")


def weights(run):
    return runs.load_tensors(run.weights_file)


def test_the_weights_lie_between_those_of_both(pair, tmp_path):
    run = averaging.average(*pair, 0.25, tmp_path / "out")
    first, second, found = map(weights, (*pair, run))
    for name, value in found.items():
        if value.is_floating_point():
            assert torch.allclose(value, 0.75 * first[name] + 0.25 * second[name], atol=1e-6)
        else:
            assert torch.equal(value, second[name])
    assert run.about["averaged"] == {"first": 0.75, "second": 0.25}
    assert run.about["data"] == pair[1].about["data"]
    assert len(run.log()) == 1
    assert evaluate.load_network(run)(torch.zeros(2, 1, 40, 40)).shape == (2, 15)


@pytest.mark.parametrize("share", [0, 1])
def test_the_ends_are_the_runs_themselves(pair, tmp_path, share):
    run = averaging.average(*pair, share, tmp_path / "out")
    found, expected = weights(run), weights(pair[share])
    learnt = [name for name, value in expected.items() if value.is_floating_point()]
    assert all(torch.allclose(found[name], expected[name]) for name in learnt)


def test_what_cannot_be_averaged_is_refused(pair, tmp_path):
    with pytest.raises(UserError, match="from 0 to 1"):
        averaging.average(*pair, 1.5, tmp_path / "out")
    unfinished = runs.start(tmp_path / "unfinished", TINY)
    with pytest.raises(UserError, match="is not finished"):
        averaging.average(pair[0], unfinished, 0.5, tmp_path / "out")
    other = replace(TINY, model="resnet-16")
    run = runs.start(tmp_path / "other", other)
    torch.save(
        training_state.prepare(other, torch.device("cpu")).model.state_dict(), run.weights_file
    )
    with pytest.raises(UserError, match="different networks"):
        averaging.average(pair[0], run, 0.5, tmp_path / "out")
    assert not (tmp_path / "out").exists()
