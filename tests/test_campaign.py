"""The campaign, end to end on a tiny list, as a machine would run it that has little installed."""

import json
import os
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
import tiny
import torch
from conftest import ROOT

from mien.lab import evaluate, models, runs
from mien.lab.heads import CLASSES
from mien.lab.recipe import parse

sys.path.insert(0, str(ROOT / "benchmarks"))
import campaign

pytestmark = pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)

TINY = "--set batch=14 --set epochs=1 --set model=resnet-8"
LIST = f"""
| for | command | CPU | GPU |
|---|---|---:|---:|
| a teacher | `mien train tiny {TINY} --data DATA --out runs/one` | 1 | 0.1 |
| its pupil | `mien train tiny {TINY} --set teachers=runs/one --set teacher_weight=0.5 --data DATA --out runs/two` | 1 | 1 |
| folds | `mien crossval tiny {TINY} --folds 2 --data DATA --out runs/folds` | 2 | 1 |
| far too long | `mien train tiny --set epochs=100000 --data DATA --out runs/long` | 9999 | 900 |
"""  # noqa: E501

BARE = """
import sys
from importlib.machinery import PathFinder
class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in {"cv2", "onnx", "onnxruntime", "av", "click", "rich", "pyarrow"}:
            return None
        return super().find_spec(name, path, target)
sys.meta_path[:] = [Bare if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""What a machine lacks that has only what trains."""


def test_the_list_of_the_repository_can_be_read():
    tasks = campaign.read(campaign.LIST.read_text(encoding="utf-8"))
    assert tasks
    assert len({task.name for task in tasks}) == len(tasks)
    for task in tasks:
        assert parse(task.words[1], _changes(task)).model in models.available()


def _changes(task):
    return [after for word, after in pairwise(task.words) if word == "--set"]


def test_a_tiny_campaign_on_a_bare_machine(tmp_path):
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    copy, out = tmp_path / "copy", tmp_path / "out"
    for name in ("src", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "list.md").write_text(LIST)
    (tmp_path / "sitecustomize.py").write_text(BARE)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "MIEN_COMMIT": "x",
    }
    command = [sys.executable, copy / "benchmarks" / "campaign.py", "--data", data, "--out", out,
               "--list", tmp_path / "list.md"]  # fmt: skip

    def run(*more):
        return subprocess.run([*command, *more], env=environment, capture_output=True, text=True)

    said = run("--minutes", "10", "--parcel", tmp_path / "home")
    logs = "".join(path.read_text() for path in out.glob("*.txt"))
    assert said.returncode == 0, said.stderr + logs
    assert "long:" not in said.stdout.replace("left: long", "")
    assert [line for line in said.stdout.splitlines() if line.endswith("done")] == [
        "one: done", "two: done", "folds: done"
    ], logs  # fmt: skip
    assert said.stdout.splitlines()[-1].startswith("left: long")

    packed = out / "packed"
    assert json.loads((packed / "folds" / "crossval.json").read_text())["kind"] == "crossval"
    assert (packed / "folds" / "fold-1" / "metrics.json").exists()
    subprocess.run([*command, "--unpack", tmp_path / "home", "--out", tmp_path / "models"],
                   check=True)  # fmt: skip
    result = evaluate.evaluate(tmp_path / "models" / "two", data, resamples=1)
    assert "labels" in result["heads"]
    assert runs.open_run(tmp_path / "models" / "one").recipe.model == "resnet-8"
    known = subprocess.run([*command, "--left", "--out", tmp_path / "models"], capture_output=True)
    assert known.stdout.decode().count("left: ") == 1

    again = run("--minutes", "10")
    assert "done" not in again.stdout


def test_what_is_stopped_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for a busy core wait long
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    words = "train tiny --set batch=14 --set epochs=150 --set model=resnet-8 --data D --out runs/x"
    tasks = [campaign.Task("x", tuple(words.split()), 0.01, 0.01)]
    campaign.run(tasks, data, tmp_path, 8 / 60)
    assert campaign.left(tasks, tmp_path) == tasks
    before = len(runs.open_run(tmp_path / "x").log())
    assert before < 150
    campaign.run(tasks, data, tmp_path, 15)
    assert campaign.left(tasks, tmp_path) == []


def test_a_parcel_holds_results_first_and_as_many_weights_as_it_can(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(campaign, "PIECE", 4000)
    monkeypatch.setattr(campaign, "MOST", 20_000)
    tasks = [campaign.Task("", ("train", "x", "--out", f"runs/{name}"), 1, 1) for name in "ab"]
    weights = {"a": torch.randn(40, 50), "norm": torch.randn(50), "count": torch.tensor(3)}
    for name in "ab":
        folder = tmp_path / name
        folder.mkdir()
        torch.save(weights, folder / "weights.pt")
        (folder / "metrics.json").write_text(name)
        campaign.pack(folder, tmp_path / "packed" / name)
    campaign.parcel(tasks, tmp_path, tmp_path / "home")
    assert "no room for packed/b/weights.pt" in capsys.readouterr().out
    assert all(path.stat().st_size <= 4000 for path in (tmp_path / "home").iterdir())
    campaign.unpack(tmp_path / "home", tmp_path / "models")
    assert (tmp_path / "models" / "b" / "metrics.json").read_text() == "b"
    assert not (tmp_path / "models" / "b" / "weights.pt").exists()
    found = torch.load(tmp_path / "models" / "a" / "weights.pt", weights_only=True)
    assert torch.equal(found["a"], weights["a"].half())
    assert torch.equal(found["norm"], weights["norm"])
    assert found["count"] == 3


def test_a_dash_is_not_for_that_machine():
    (task,) = campaign.read("| x | `mien train tiny --out runs/x` | 5 | - |")
    assert (task.cpu, task.gpu) == (5, float("inf"))
    end = time.monotonic() + 6000
    assert campaign._fitting([task], end, True, Path("none")) is None
    assert campaign._fitting([task], end, False, Path("none")) == task


def test_pupils_wait_for_their_teachers(tmp_path):
    tasks = campaign.read(campaign.LIST.read_text(encoding="utf-8"))
    pupil = next(task for task in tasks if task.name == "pupil-seed0")
    assert len(pupil.needs) == 4
    assert set(pupil.needs) < {task.name for task in tasks}
    end = time.monotonic() + 6e6
    assert campaign._fitting([pupil], end, False, tmp_path) is None
    for name in pupil.needs:
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.pt").touch()
    assert campaign._fitting([pupil], end, False, tmp_path) == pupil


def test_teachers_fit_one_parcel_and_one_lease():
    tasks = campaign.read(campaign.LIST.read_text(encoding="utf-8"))
    teachers = [task for task in tasks if task.name.startswith("teacher-")]
    names = [parse(task.words[1], _changes(task)).model for task in teachers]
    with torch.device("meta"):
        networks = [models.build(name, channels=1, classes=CLASSES) for name in names]
    assert sum(2 * models.parameters(network) for network in networks) < campaign.MOST
    pupils = [task for task in tasks if task.name.startswith("pupil-")]
    assert sum(task.gpu for task in teachers) + pupils[0].gpu < 25


def test_what_could_not_be_published_or_not_in_time_is_not_begun(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "campaign.py", "--out", tmp_path / "out"]
    for more, says in (([], "--data is needed"), (["--data", tmp_path, "--gpu"], "no GPU")):
        if "--gpu" in more and torch.cuda.is_available():
            continue
        environment = os.environ | {"MIEN_COMMIT": "x"}
        said = subprocess.run([*command, *more], capture_output=True, text=True, env=environment)
        assert (said.returncode, says in said.stderr) == (2, True), said.stderr
    environment = {k: v for k, v in os.environ.items() if k != "MIEN_COMMIT"} | {"GIT_DIR": "/none"}
    command += ["--data", tmp_path]
    said = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (said.returncode, "set MIEN_COMMIT" in said.stderr) == (2, True), said.stderr
    assert not (tmp_path / "out").exists()


def test_a_failure_is_told_where_it_is_seen(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = ("train", "tiny", "--set", "model=nothing", "--out", "runs/x")
    campaign.run([campaign.Task("x", words, 1, 1)], tmp_path, tmp_path, 1)
    said = capfd.readouterr().out
    assert "x: failed" in said
    assert "No model is called" in said or "UserError" in said
