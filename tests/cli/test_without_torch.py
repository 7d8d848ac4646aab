"""Commands that read results need the extra "report", but not torch."""

import json

import pytest

from tests.cli import without
from tests.paths import ROOT

BOARD = ROOT / "results" / "leaderboard"
NEEDS_TORCH = "mien: This needs torch: in mien's folder, pip install '.[lab]'.\n"


def test_the_leaderboard_needs_no_torch(tmp_path):
    pytest.importorskip("matplotlib")
    code, out, err = without.mien("leaderboard", BOARD, "--out", "board", cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "vgg19-slim" in out
    assert "resnet-32-deep" in (tmp_path / "board" / "leaderboard.html").read_text()
    assert (tmp_path / "board" / "figures" / "accuracy-by-cost.svg").exists()


def test_a_network_named_by_family_needs_torch(tmp_path):
    pytest.importorskip("matplotlib")
    result = json.loads((BOARD / "vgg19-slim-seed0.json").read_text())
    result["provenance"]["config"]["model"] = "vgg19"
    (tmp_path / "one.json").write_text(json.dumps(result))
    assert without.mien("leaderboard", ".", cwd=tmp_path) == (2, "", NEEDS_TORCH)


def test_a_missing_library_names_the_extra(tmp_path):
    code, out, err = without.mien("leaderboard", BOARD, cwd=tmp_path, missing=("matplotlib",))
    assert (code, out) == (2, "")
    assert err == "mien: This needs matplotlib: in mien's folder, pip install '.[report]'.\n"


@pytest.mark.parametrize("command", ["evaluate x --data y", "train default --data y --out z"])
def test_a_command_that_needs_torch_names_the_extra(command, tmp_path):
    assert without.mien(*command.split(), cwd=tmp_path) == (2, "", NEEDS_TORCH)
