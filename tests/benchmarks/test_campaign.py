"""benchmarks/campaign.py with a tiny queue, also on a machine with few packages installed."""

import json
import os
import subprocess
import sys
from itertools import pairwise

import pytest
import torch

from benchmarks import campaign, training_archive, training_queue
from mien.lab import evaluate, models, runs
from mien.lab.config import parse
from tests.paths import ROOT
from tests.synthetic import tiny

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings(tiny.NOT_OFFICIAL)]

TINY = "--set batch_size=14 --set model=resnet-8"
DISTILL = (
    "mien distill tiny --set batch_size=14 --set cutmix=0.5 --epochs 1 --data DATA "
    "--out runs/logits"
)
QUEUE = f"""
| purpose | command | minutes |
|---|---|---:|
| a teacher | `mien train tiny {TINY} --set epochs=1 --data DATA --out runs/one` | 1 |
| a teacher that fails | `mien train tiny --set model=nothing --data DATA --out runs/two` | 1 |
| teacher logits | `{DISTILL} --teacher runs/one --teacher runs/two` | 1 |
| a student | `mien train tiny {TINY} --set cutmix=0.5 --set epochs=2 --set teacher_logits=runs/logits --set teachers=runs/one,runs/two --set teacher_weight=0.5 --data DATA --out runs/student` | 1 |
| long | `mien train tiny {TINY} --set epochs=99999 --set lr_schedule=constant --data DATA --out runs/long` | 0.3 |
| no time | `mien train tiny {TINY} --set epochs=2 --data DATA --out runs/never` | 0.1 |
"""  # noqa: E501

HIDE_PACKAGES = """
import sys
from importlib.machinery import PathFinder
HIDDEN = {"av", "click", "cv2", "jinja2", "matplotlib", "onnx", "onnxruntime", "pyarrow", "rich",
          "scipy"}
class HidingFinder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.split(".")[0] in HIDDEN:
            return None
        return super().find_spec(name, path, target)
sys.meta_path[:] = [HidingFinder if finder is PathFinder else finder for finder in sys.meta_path]
"""
"""A sitecustomize.py that hides the packages that training does not need."""


def test_the_queue_of_the_repository_can_be_parsed():
    tasks = training_queue.parse_queue(campaign.QUEUE.read_text(encoding="utf-8"))
    assert tasks
    assert len({task.name for task in tasks}) == len(tasks)
    for task in tasks:
        assert parse(task.arguments[1], _changes(task)).model in models.available()
        assert task.minutes > 0


def _changes(task):
    return [value for option, value in pairwise(task.arguments) if option == "--set"]


def test_a_campaign_needs_few_packages_and_archives_each_result_once(tmp_path):
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    copy, out = tmp_path / "copy", tmp_path / "out"
    training_archive.export_code(copy)
    # Without the packaged models, which have more than 4 MB.
    assert sum(path.stat().st_size for path in copy.rglob("*")) < 4_000_000
    (tmp_path / "queue.md").write_text(QUEUE)
    (tmp_path / "sitecustomize.py").write_text(HIDE_PACKAGES)
    environment = os.environ | {
        "PYTHONPATH": str(tmp_path),
        "OMP_NUM_THREADS": "1",
        "MIEN_COMMIT": "x",
    }
    command = [sys.executable, copy / "benchmarks" / "campaign.py", "--data", data, "--out", out,
               "--queue", tmp_path / "queue.md"]  # fmt: skip

    def run(*options):
        return subprocess.run([*command, *options], env=environment, capture_output=True, text=True)

    process = run("--minutes", "10", "--parallel", "2", "--archive", tmp_path / "archive")
    logs = "".join(path.read_text() for path in out.glob("*.txt"))
    assert process.returncode == 0, process.stderr + logs
    lines = process.stdout.splitlines()
    finished = [line.split()[2] for line in lines if line.endswith(": finished")]
    expected = ["logits-one-two:", "long:", "one:", "student:"]
    assert sorted(finished) == expected, process.stdout + logs
    assert [line.split()[1] for line in lines if "pending:" in line] == ["two", "never"]
    packed = out / "packed"
    assert json.loads((packed / "student" / "config.json").read_text())["teachers"] == [
        str(out / "one")
    ]
    # `long` reached its time limit. On a busy machine, it has only a few epochs.
    assert 0 < len(runs.open_run(packed / "long").log()) < 99_999

    subprocess.run([*command, "--extract", tmp_path / "archive", "--out", tmp_path / "models"],
                   check=True)  # fmt: skip
    result = evaluate.evaluate(tmp_path / "models" / "long", data, resamples=1)
    assert "labels" in result["heads"]
    assert runs.open_run(tmp_path / "models" / "one").config.model == "resnet-8"
    dry_run = subprocess.run(
        [*command, "--dry-run", "--out", tmp_path / "models"], capture_output=True, text=True
    )
    assert dry_run.stdout.count("pending: ") == 2

    second = run("--minutes", "10", "--archive", tmp_path / "more")
    assert ": finished" not in second.stdout
    subprocess.run([*command, "--extract", tmp_path / "more", "--out", tmp_path / "other"],
                   check=True)  # fmt: skip
    assert not (tmp_path / "other" / "one").exists()  # the first archive has it


def test_weights_are_packed_before_the_evaluation(tmp_path, monkeypatch):
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluate, "load_or_evaluate", stop)
    arguments = "train tiny --set batch_size=14 --set epochs=1 --set model=resnet-8 --out runs/x"
    with pytest.raises(KeyboardInterrupt):
        campaign.run_task(arguments.split(), "x", data, tmp_path, 60)
    packed = tmp_path / "packed" / "x"
    assert torch.load(packed / "weights.pt", weights_only=True)
    assert not (packed / "metrics.json").exists()


def test_stopped_tasks_are_resumed_first(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # more threads are slow on a busy machine
    data = tiny.write_packed(tmp_path / "data", tiny.table(28, 21))
    arguments = (
        "train tiny --set batch_size=14 --set epochs=400 --set model=resnet-8 --data D --out runs/x"
    )
    tasks = [training_queue.Task("y", tuple(arguments.replace("/x", "/y").split()), 15)]
    tasks.append(training_queue.Task("x", tuple(arguments.split()), 15))
    log = tmp_path / "x" / "log.jsonl"
    # A busy machine needs more seconds to start. The limit grows slowly, so that it is reached
    # before the last epoch.
    for seconds in range(6, 91, 6):
        campaign.Campaign(tasks[1:], data, tmp_path).run(seconds / 60, total_minutes=15)
        if log.exists():
            break
    assert training_queue.pending_tasks(tasks, tmp_path) == tasks[::-1]
    assert 0 < len(runs.open_run(tmp_path / "x").log()) < 400
    (tmp_path / "x" / ".mien-part.jsonl").touch()  # a task that runs may remove it at any time
    names = training_archive.write_archive(tasks, tmp_path, tmp_path / "archive")
    assert {"x/checkpoint.pt", "x/log.jsonl"} <= set(names)
    assert not any(".mien-" in name for name in names)
    campaign.Campaign(tasks[1:], data, tmp_path).run(15)
    assert training_queue.pending_tasks(tasks, tmp_path) == tasks[:1]
    assert len(runs.open_run(tmp_path / "x").log()) == 400


def test_an_archive_has_results_first_and_as_many_weights_as_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(training_archive, "PART_BYTES", 4000)
    monkeypatch.setattr(training_archive, "MAX_ARCHIVE_BYTES", 20_000)
    tasks = [training_queue.Task("", ("train", "x", "--out", f"runs/{name}"), 1) for name in "abc"]
    for name, width in (("a", 60), ("b", 50), ("c", 70)):
        folder = tmp_path / name
        folder.mkdir()
        weights = {"a": torch.randn(40, width), "norm": torch.randn(50), "count": torch.tensor(3)}
        torch.save(weights, folder / "weights.pt")
        (folder / "metrics.json").write_text(name)
        training_archive.pack_run(folder, tmp_path / "packed" / name)
    names = training_archive.write_archive(tasks, tmp_path, tmp_path / "archive")
    # Of the weights, `b` is smallest; after it, neither of the others fits.
    assert names == ["a/metrics.json", "b/metrics.json", "c/metrics.json", "b/weights.pt"]
    assert all(path.stat().st_size <= 4000 for path in (tmp_path / "archive").iterdir())
    training_archive.extract_archive(tmp_path / "archive", tmp_path / "models")
    assert (tmp_path / "models" / "a" / "metrics.json").read_text() == "a"
    extracted = torch.load(tmp_path / "models" / "b" / "weights.pt", weights_only=True)
    original = torch.load(tmp_path / "b" / "weights.pt", weights_only=True)
    assert torch.equal(extracted["a"], original["a"].half())
    assert torch.equal(extracted["norm"], original["norm"])  # one dimension: not rounded
    assert extracted["count"] == 3


def test_files_of_an_unfinished_task_are_archived_again_when_it_is_finished(tmp_path):
    tasks = [training_queue.Task("", ("train", "x", "--out", "runs/a"), 1)]
    run, archive = tmp_path / "a", tmp_path / "archive"
    run.mkdir()
    (run / "checkpoint.pt").touch()
    (run / "log.jsonl").write_text("one epoch")
    names = training_archive.write_archive(tasks, tmp_path, archive)
    assert names == ["a/log.jsonl", "a/checkpoint.pt"]
    training_archive.add_archived_names(names, tmp_path)

    (run / "checkpoint.pt").unlink()
    (run / "log.jsonl").write_text("two epochs")
    (run / "metrics.json").touch()
    training_archive.pack_run(run, tmp_path / "packed" / "a")
    names = training_archive.write_archive(tasks, tmp_path, archive)
    assert sorted(names) == ["a/log.jsonl", "a/metrics.json"]
    training_archive.add_archived_names(names, tmp_path)
    assert training_archive.write_archive(tasks, tmp_path, archive) == []


def test_a_task_starts_after_its_dependencies_finished_or_failed(tmp_path):
    tasks = training_queue.parse_queue(QUEUE)
    one, two, logits, student, *_ = tasks
    assert logits.dependencies == ["one", "two"]
    assert student.dependencies == ["logits", "one", "two"]
    assert logits.lost_runs == ["one", "two"]

    def finish(task):
        path = tmp_path / "packed" / task.name / training_queue.RESULT_FILES[task.command]
        path.parent.mkdir(parents=True)
        path.touch()

    assert training_queue.next_ready([logits], tasks, tmp_path, []) is None
    finish(one)
    assert training_queue.next_ready([logits], tasks, tmp_path, []) is None
    assert training_queue.next_ready([logits], tasks, tmp_path, [two]) == logits
    assert training_queue.next_ready([student], tasks, tmp_path, [two]) is None
    finish(logits)
    assert training_queue.next_ready([student], tasks, tmp_path, [two]) == student
    reduced = student.without_runs(["two"])
    assert reduced.dependencies == ["logits", "one"]
    assert parse("tiny", _changes(reduced)).teachers == ("runs/one",)
    assert logits.without_runs(["one", "two"]).dependencies == []
    assert training_queue.missing_runs(student, tasks, tmp_path) == []
    assert training_queue.missing_runs(student, [logits, student, two], tmp_path) == ["one"]
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "weights.pt").touch()
    assert training_queue.missing_runs(student, [logits, student, two], tmp_path) == []


def test_a_training_waits_only_for_the_logits_of_its_own_teachers(tmp_path):
    commands = [
        "distill tiny --teacher runs/old --out runs/logits",
        "train tiny --set teacher_logits=runs/logits --set teachers=runs/old --out runs/new",
        "distill tiny --teacher runs/new --out runs/logits",
        "train tiny --set teacher_logits=runs/logits --set teachers=runs/old,runs/new --out runs/s",
    ]
    tasks = training_queue.parse_queue(
        "\n".join(f"| a | `mien {command}` | 1 |" for command in commands)
    )
    needed = [[tasks.index(other) for other in tasks if training_queue.needs(task, other)]
              for task in tasks]  # fmt: skip
    assert needed == [[], [0], [1], [0, 1, 2]]


def test_campaign_needs_data_commit_and_gpu(tmp_path):
    command = [sys.executable, ROOT / "benchmarks" / "campaign.py", "--out", tmp_path / "out"]
    for options, expected_text in (([], "--data"), (["--data", tmp_path, "--gpu"], "GPU")):
        if "--gpu" in options and torch.cuda.is_available():
            continue
        environment = os.environ | {"MIEN_COMMIT": "x"}
        process = subprocess.run(
            [*command, *options], capture_output=True, text=True, env=environment
        )
        assert (process.returncode, expected_text in process.stderr) == (2, True), process.stderr
    environment = {k: v for k, v in os.environ.items() if k != "MIEN_COMMIT"} | {"GIT_DIR": "/none"}
    command += ["--data", tmp_path]
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (process.returncode, "MIEN_COMMIT" in process.stderr) == (2, True), process.stderr
    assert not (tmp_path / "out").exists()


def test_the_log_of_a_failed_task_is_printed(tmp_path, capfd, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    task = training_queue.Task("x", ("train", "tiny", "--out", "runs/x"), 1)
    campaign.Campaign([task], data=tmp_path, out=tmp_path).run(2)  # an empty folder is no dataset
    output = capfd.readouterr().out
    assert "x: failed" in output
    assert "not a supported dataset" in output
