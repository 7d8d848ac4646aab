"""The commands for training and evaluation."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from mien.cli import _training_log
from mien.lab import evaluate, train
from tests.synthetic import tiny

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

SMALL_BATCH = ("--set", "batch_size=14")
SMALL = (*SMALL_BATCH, "--set", "epochs=1")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tiny.write_packed(tmp_path_factory.mktemp("data"), tiny.table(42, 21))


@pytest.fixture(autouse=True)
def plain_and_fast(monkeypatch):
    """Print lines of 160 characters without colors; resample only twice."""
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(evaluate, "evaluate", partial(evaluate.evaluate, resamples=2))


def test_training_prints_lines_if_standard_error_is_no_terminal(mien, root, tmp_path, monkeypatch):
    monkeypatch.setattr(_training_log, "SECONDS_BETWEEN_LINES", 0.0)
    command = ("train", "tiny", "--data", root, "--out", tmp_path / "run", *SMALL_BATCH)
    code, out, err = mien(*command, "--set", "epochs=2")
    assert code == 0
    assert out.splitlines() == [str(tmp_path / "run")]
    assert "tiny: epoch 1 of 2, step 1 of 3" in err
    assert re.search(r"tiny: epoch 2 of 2, loss \d.\d+, training accuracy [\d.]+ %, .*left", err)


@pytest.mark.skipif(os.name == "nt", reason="needs signals of POSIX")
def test_a_training_ended_by_sigterm_is_resumed_without_leftovers(mien, root, tmp_path):
    run = tmp_path / "run"
    command = ("train", "tiny", "--data", root, "--out", run, *SMALL_BATCH, "--set", "epochs=15")
    process = subprocess.Popen([sys.executable, "-m", "mien", *map(str, command)],
                               stderr=subprocess.PIPE, text=True)  # fmt: skip
    while process.poll() is None and not (run / "log.jsonl").exists():
        time.sleep(0.005)
    (run / ".mien-abcd1234.pt").touch()  # as if an earlier process was killed
    process.terminate()
    err = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + signal.SIGTERM
    assert "resume" in err
    assert "Traceback" not in err
    assert mien(*command)[0] == 0
    assert (run / "weights.pt").exists()
    assert not list(run.glob(".mien-*"))


def test_crossval_prints_folds_and_mean(mien, root, tmp_path):
    command = ("crossval", "tiny", "--data", root, "--out", tmp_path, "--folds", 2, *SMALL)
    code, out, err = mien(*command)
    assert (code, err) == (0, "")
    assert [line.split()[0] for line in out.splitlines() if line.startswith("fold-")] == [
        "fold-0", "fold-1",
    ]  # fmt: skip
    assert "mean" in out
    assert "held-out" in out
    assert json.loads((tmp_path / "crossval.json").read_text())["kind"] == "crossval"


def test_crossval_uses_the_changed_config(mien, root, tmp_path):
    command = ("crossval", "tiny", "--data", root, "--out", tmp_path, *SMALL)
    code, out, err = mien(*command, "--set", "folds=2", "--set", "protocol=leaky-kfold")
    assert code == 0
    assert "leaky-kfold" in err
    assert json.loads((tmp_path / "crossval.json").read_text())["protocol"] == "leaky-kfold"
    assert [line.split()[0] for line in out.splitlines() if line.startswith("fold-")] == [
        "fold-0", "fold-1",
    ]  # fmt: skip


def test_ablate_prints_each_case(mien, root, tmp_path):
    command = ("ablate", "tiny", "--data", root, "--out", tmp_path, *SMALL)
    code, out, err = mien(*command, "--change", "no flip: flip=no rotation=0")
    assert (code, err) == (0, "")
    assert "baseline" in out
    assert "no flip" in out
    cases = json.loads((tmp_path / "ablation.json").read_text())["cases"]
    assert cases["no flip"]["changes"] == ["flip=no", "rotation=0"]


def test_a_report_of_two_runs_needs_an_output_folder(mien, root, tmp_path):
    for seed in (0, 1):
        out = tmp_path / f"run{seed}"
        assert (
            mien("train", "tiny", "--data", root, "--out", out, *SMALL, "--set", f"seed={seed}")[0]
            == 0
        )
        assert mien("evaluate", out, "--data", root)[0] == 0
    code, report, err = mien("report", tmp_path / "run0")
    assert (code, err) == (0, "")
    assert report.strip() == str(tmp_path / "run0" / "report.html")
    both = (tmp_path / "run0", tmp_path / "run1")
    assert mien("report", *both)[0] == 2
    assert mien("report", *both, "--out", tmp_path / "both")[0] == 0
    assert "run1" in (tmp_path / "both" / "report.md").read_text()


def test_fig1_needs_no_training(mien, root, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train_epoch", None)  # an error if called
    code, out, err = mien("reproduce", "fig1", "--data", root, "--out", tmp_path)
    assert (code, err) == (0, "")
    assert out.strip() == str(tmp_path / "fig1.html")
    assert (tmp_path / "figures" / "faces.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "expected_text"),
    [
        (["crossval", "tiny", "--protocol", "official"], "has no folds"),
        (["crossval", "tiny", "--folds", "1"], "folds is 1"),
        (["ablate", "tiny", "--change", "no flip"], "NAME: FIELD=VALUE"),
        (["ablate", "tiny", "--change", "x: flipp=no"], "'flip'"),
        (["reproduce", "fig10"], "Did you mean 'fig1'?"),
        (["train", "tiny", "--set", "protocol=kfolds"], "'kfold'"),
        (["train", "tiny", "--set", "init_from=nowhere"], "nowhere is not a run folder"),
    ],
)
def test_user_errors_are_one_line(mien, root, tmp_path, arguments, expected_text):
    code, _, err = mien(*arguments, "--data", root, "--out", tmp_path / "out")
    assert code == 2
    assert expected_text in err
    assert len(err.strip().splitlines()) == 1


def test_a_report_of_an_unevaluated_run_is_an_error(mien, root, tmp_path):
    assert mien("train", "tiny", "--data", root, "--out", tmp_path / "run", *SMALL)[0] == 0
    code, _, err = mien("report", tmp_path / "run")
    assert code == 2
    assert "mien evaluate" in err
