"""The campaign, end to end on a tiny list, as a machine would run it that has little installed."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from benchmarks import campaign
from mien.lab import evaluate, models, runs
from mien.lab.config import parse
from tests.paths import ROOT
from tests.synthetic import tiny

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)]

TINY = "--set batch_size=14 --set model=resnet-8"
DISTILL = (
    "mien distill tiny --set batch_size=14 --set cutmix=0.5 --epochs 1 --data DATA "
    "--out runs/answers"
)
LIST = f"""
| for | command | minutes |
|---|---|---:|
| a teacher | `mien train tiny {TINY} --set epochs=1 --data DATA --out runs/one` | 1 |
| a teacher that fails | `mien train tiny --set model=nothing --data DATA --out runs/two` | 1 |
| answers | `{DISTILL} --teacher runs/one --teacher runs/two` | 1 |
| a student | `mien train tiny {TINY} --set cutmix=0.5 --set epochs=2 --set teacher_logits=runs/answers --set teachers=runs/one,runs/two --set teacher_weight=0.5 --data DATA --out runs/student` | 1 |
| long | `mien train tiny {TINY} --set epochs=99999 --set lr_schedule=constant --data DATA --out runs/long` | 0.3 |
| no time | `mien train tiny {TINY} --set epochs=2 --data DATA --out runs/never` | 0.1 |
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
        assert 0 < task.minutes <= 15


def _changes(task):
    return [after for word, after in pairwise(task.words) if word == "--set"]


def test_a_tiny_campaign_on_a_bare_machine(tmp_path, monkeypatch):
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    copy, out = tmp_path / "copy", tmp_path / "out"
    campaign.export(copy)
    assert sum(path.stat().st_size for path in copy.rglob("*")) < 4_000_000
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

    said = run("--minutes", "10", "--beside", "2", "--parcel", tmp_path / "home")
    logs = "".join(path.read_text() for path in out.glob("*.txt"))
    assert said.returncode == 0, said.stderr + logs
    done = [line.split()[2] for line in said.stdout.splitlines() if line.endswith(": done")]
    assert sorted(done) == ["answers-one-two:", "long:", "one:", "student:"], said.stdout + logs
    assert [line.split()[1] for line in said.stdout.splitlines() if "left:" in line] == [
        "two", "never"
    ]  # fmt: skip
    packed = out / "packed"
    assert json.loads((packed / "student" / "config.json").read_text())["teachers"] == [
        str(out / "one")
    ]
    rates = [entry["lr"] for entry in runs.open_run(packed / "long").log()]
    assert len(rates) < 99_999
    assert rates[-1] < rates[0]

    subprocess.run([*command, "--unpack", tmp_path / "home", "--out", tmp_path / "models"],
                   check=True)  # fmt: skip
    result = evaluate.evaluate(tmp_path / "models" / "long", data, resamples=1)
    assert "labels" in result["heads"]
    assert runs.open_run(tmp_path / "models" / "one").config.model == "resnet-8"
    known = subprocess.run([*command, "--left", "--out", tmp_path / "models"], capture_output=True)
    assert known.stdout.decode().count("left: ") == 2

    again = run("--minutes", "10", "--parcel", tmp_path / "more")
    assert ": done" not in again.stdout
    subprocess.run([*command, "--unpack", tmp_path / "more", "--out", tmp_path / "other"],
                   check=True)  # fmt: skip
    assert not (tmp_path / "other" / "one").exists()  # it was sent before


def test_what_is_stopped_goes_on_and_comes_first(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that wait for a busy core wait long
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    words = (
        "train tiny --set batch_size=14 --set epochs=400 --set model=resnet-8 --data D --out runs/x"
    )
    tasks = [campaign.Task("y", tuple(words.replace("/x", "/y").split()), 15)]
    tasks.append(campaign.Task("x", tuple(words.split()), 15))
    log = tmp_path / "x" / "log.jsonl"
    for seconds in (6, 6, 12, 24):  # a busy machine needs some of it to start
        campaign.run(tasks[1:], data, tmp_path, seconds / 60, lease=15)
        if log.exists():
            break
    assert campaign.left(tasks, tmp_path) == tasks[::-1]
    assert 0 < len(runs.open_run(tmp_path / "x").log()) < 400
    names = campaign.parcel(tasks, tmp_path, tmp_path / "home")
    assert "x/checkpoint.pt" in names
    campaign.run(tasks[1:], data, tmp_path, 15)
    assert campaign.left(tasks, tmp_path) == tasks[:1]
    assert len(runs.open_run(tmp_path / "x").log()) == 400


def test_a_parcel_holds_results_first_and_as_many_weights_as_it_can(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "PIECE", 4000)
    monkeypatch.setattr(campaign, "MOST", 20_000)
    tasks = [campaign.Task("", ("train", "x", "--out", f"runs/{name}"), 1) for name in "abc"]
    for name, width in (("a", 60), ("b", 50), ("c", 70)):
        folder = tmp_path / name
        folder.mkdir()
        weights = {"a": torch.randn(40, width), "norm": torch.randn(50), "count": torch.tensor(3)}
        torch.save(weights, folder / "weights.pt")
        (folder / "metrics.json").write_text(name)
        campaign.pack(folder, tmp_path / "packed" / name)
    names = campaign.parcel(tasks, tmp_path, tmp_path / "home")
    assert names == ["a/metrics.json", "b/metrics.json", "c/metrics.json", "b/weights.pt"]
    assert all(path.stat().st_size <= 4000 for path in (tmp_path / "home").iterdir())
    campaign.unpack(tmp_path / "home", tmp_path / "models")
    assert (tmp_path / "models" / "a" / "metrics.json").read_text() == "a"
    found = torch.load(tmp_path / "models" / "b" / "weights.pt", weights_only=True)
    packed = torch.load(tmp_path / "b" / "weights.pt", weights_only=True)
    assert torch.equal(found["a"], packed["a"].half())
    assert torch.equal(found["norm"], packed["norm"])
    assert found["count"] == 3


def test_a_task_waits_for_what_it_names_unless_that_failed(tmp_path):
    tasks = campaign.read(LIST)
    one, two, answers, student, *_ = tasks
    assert answers.needs == ["one", "two"]
    assert student.needs == ["answers", "one", "two"]
    assert answers.gives == ["one", "two"]

    def finish(task):
        path = tmp_path / "packed" / task.name / campaign.RESULTS[task.verb]
        path.parent.mkdir(parents=True)
        path.touch()

    assert campaign._ready([answers], tasks, tmp_path, []) is None
    finish(one)
    assert campaign._ready([answers], tasks, tmp_path, []) is None
    assert campaign._ready([answers], tasks, tmp_path, [two]) == answers
    assert campaign._ready([student], tasks, tmp_path, [two]) is None
    finish(answers)
    assert campaign._ready([student], tasks, tmp_path, [two]) == student
    rest = student.without(["two"])
    assert rest.needs == ["answers", "one"]
    assert parse("tiny", _changes(rest)).teachers == ("runs/one",)
    assert answers.without(["one", "two"]).needs == []
    assert campaign._missing(student, tasks, tmp_path) == []
    assert campaign._missing(student, [answers, student, two], tmp_path) == ["one"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "weights.pt").touch()
    assert campaign._missing(student, [answers, student, two], tmp_path) == []


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
    campaign.run([campaign.Task("x", words, 1)], tmp_path, tmp_path, 2)
    said = capfd.readouterr().out
    assert "x: failed" in said
    assert "Unknown model" in said or "UserError" in said
