"""The example of docs/add-a-model.md."""

import re
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mien.lab import leaderboard, models
from tests.lab.models.networks import assert_costs_are_documented
from tests.paths import ROOT
from tests.synthetic import tiny

NAME = "example"

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)


@pytest.fixture
def example_model(tmp_path):
    """Add the model file in the docs to the registry of models."""
    text = (ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / f"{NAME}.py").write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    models.__path__.append(str(folder))
    yield
    models.__path__.remove(str(folder))
    sys.modules.pop(f"{models.REGISTRY}.{NAME}", None)


@pytest.mark.slow
@pytest.mark.usefixtures("example_model")
def test_the_example_in_the_docs_adds_a_model(mien, tmp_path):
    assert {"example-small", "example-wide"} <= set(models.available())
    assert_costs_are_documented(NAME)
    small = models.build(NAME, channels=1, classes=7)
    for side in (24, 44, 48):
        assert small(torch.zeros(2, 1, side, side)).shape == (2, 7)

    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    run, results = tmp_path / "run", tmp_path / "results"
    quick = ("--set", f"model={NAME}", "--set", "epochs=1", "--set", "batch_size=14")
    for arguments in (
        ("train", "common", *quick, "--data", data, "--out", run),
        ("evaluate", run, "--data", data, "--out", results / f"{NAME}-seed0.json"),
        ("leaderboard", results, "--out", tmp_path / "page"),
        ("export", run, tmp_path / "example.onnx"),
    ):
        code, out, err = mien(*arguments)
        assert code == 0, out + err
    (row,) = leaderboard.read_rows(results)
    assert row.model == f"{NAME}-small"
    face = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    Image.fromarray(face).save(tmp_path / "face.png")
    code, out, _ = mien("analyze", tmp_path / "face.png", "--model", tmp_path / "example.onnx",
                        "--detector", "whole", "--json")  # fmt: skip
    assert code == 0
    assert '"model": "example"' in out
