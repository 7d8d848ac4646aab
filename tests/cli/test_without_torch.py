"""Commands that need the extra "report" but not torch, and errors about missing libraries."""

import json

import pytest
from PIL import Image

from tests.cli.missing_packages import LAB_PACKAGES, run_mien_without
from tests.paths import ROOT

LEADERBOARD = ROOT / "results" / "leaderboard"


def assert_names_the_extra(result, library, extra):
    """Assert that a command failed with one line that names a missing library and its extra."""
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert library in err
    assert f"pip install '.[{extra}]'" in err


def test_the_leaderboard_needs_no_torch(tmp_path):
    pytest.importorskip("matplotlib")
    command = ("leaderboard", LEADERBOARD, "--out", "board")
    code, out, err = run_mien_without(LAB_PACKAGES, *command, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "vgg19-slim" in out
    assert "resnet-32-deep" in (tmp_path / "board" / "leaderboard.html").read_text()
    assert (tmp_path / "board" / "figures" / "accuracy-by-cost.svg").exists()


def test_the_leaderboard_needs_torch_for_a_model_without_variant(tmp_path):
    pytest.importorskip("matplotlib")
    scores = json.loads((LEADERBOARD / "vgg19-slim-seed0.json").read_text())
    # The variants of a family are in a module that imports torch.
    scores["provenance"]["config"]["model"] = "vgg19"
    (tmp_path / "vgg19.json").write_text(json.dumps(scores))
    result = run_mien_without(LAB_PACKAGES, "leaderboard", ".", cwd=tmp_path)
    assert_names_the_extra(result, "torch", "lab")


def test_a_missing_library_names_the_extra(tmp_path):
    result = run_mien_without(["matplotlib"], "leaderboard", LEADERBOARD, cwd=tmp_path)
    assert_names_the_extra(result, "matplotlib", "report")


def test_images_are_evaluated_without_torch(tmp_path, tiny_model):
    folder = tmp_path / "images" / "happy"
    folder.mkdir(parents=True)
    Image.new("RGB", (64, 64), "white").save(folder / "1.png")
    command = ("evaluate", tiny_model, "--data", "images", "--detector", "whole", "--out", "r.json")
    code, out, err = run_mien_without(LAB_PACKAGES, *command, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "recall" in out
    assert json.loads((tmp_path / "r.json").read_text())["scores"]["faces"] == 1


@pytest.mark.parametrize("command", ["evaluate x --data y", "train default --data y --out z"])
def test_a_command_that_needs_torch_names_the_extra(command, tmp_path):
    result = run_mien_without(LAB_PACKAGES, *command.split(), cwd=tmp_path)
    assert_names_the_extra(result, "torch", "lab")
