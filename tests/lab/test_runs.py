"""Run folders: creation, locking, and files that are damaged."""

import errno
import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

import mien
from mien.errors import UserError
from mien.lab import runs
from mien.lab.config import RECIPES
from mien.onnx_runtime import onnxruntime

TINY = RECIPES["tiny"]


def test_a_new_run_has_its_config_and_environment(tmp_path):
    run = runs.create(tmp_path / "deep" / "run", TINY)
    assert run.config == TINY
    assert not run.finished
    assert run.log() == []
    about = runs.read_json(run.about_file)
    assert about["versions"]["mien"] == mien.__version__
    assert {"python", "torch", "numpy", "onnxruntime"} <= set(about["versions"])
    assert re.search(r"\d cores?$", about["machine"])
    assert sorted(p.name for p in run.folder.iterdir()) == ["about.json", "config.json"]


def test_versions_are_read_without_imports():
    code = (
        "import sys; from mien.lab import runs;"
        "print(runs.environment()['versions']['onnxruntime']);"
        "print([name for name in ('torch', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, imported = done.stdout.splitlines()
    assert version == onnxruntime.__version__
    assert imported == "[]"


def test_a_run_can_be_created_in_an_empty_folder(tmp_path):
    assert runs.create(tmp_path, TINY).folder == tmp_path


def test_creating_again_with_the_same_config_resumes(tmp_path):
    run = runs.create(tmp_path / "run", TINY)
    before = run.about_file.read_bytes()
    run.log_file.write_text('{"epoch": 1}\n')
    again = runs.create(tmp_path / "run", TINY)
    assert again == run
    assert again.log() == [{"epoch": 1}]
    assert run.about_file.read_bytes() == before


LOCKING = """
import sys, time
from mien.lab import runs
from mien.lab.config import RECIPES
try:
    with runs.locked(sys.argv[1]):
        runs.create(sys.argv[1], RECIPES["tiny"])
        print("locked", flush=True)
        sys.stdin.read()
except runs.RunLocked:
    print("busy", flush=True)
"""


def test_only_one_process_gets_the_lock(tmp_path):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", LOCKING, tmp_path / "run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    output = [process.stdout.readline().strip() for process in started]
    for process in started:
        process.communicate()
    assert sorted(output) == ["busy", "busy", "locked"]


def test_a_file_system_without_locks_can_be_used(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", fail)
    with runs.locked(tmp_path / "run"):
        pass


def test_another_config_is_an_error(tmp_path):
    runs.create(tmp_path / "run", TINY)
    with pytest.raises(UserError, match="another config"):
        runs.create(tmp_path / "run", replace(TINY, seed=1))


def test_a_folder_with_other_files_is_an_error_and_unchanged(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        runs.create(tmp_path, TINY)
    with pytest.raises(UserError, match="not a run folder"), runs.locked(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "partial", [["about.json"], [".mien-x1y2z3.json"], ["about.json", ".mien-x1y2z3.json"]]
)
def test_a_partially_created_run_can_be_created_again(tmp_path, partial):
    whole = runs.create(tmp_path / "whole", TINY)
    half = tmp_path / "half"
    half.mkdir()
    for name in partial:
        is_temporary = name.startswith(".mien-")
        (half / name).write_bytes(b"{" if is_temporary else whole.about_file.read_bytes())
    run = runs.create(half, TINY)
    assert run.config == TINY
    assert "machine" in runs.read_json(run.about_file)


def test_another_folder_is_not_a_run(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"no config\.json"):
            runs.open_run(folder)


def test_a_damaged_config_is_an_error(tmp_path):
    run = runs.create(tmp_path, TINY)
    run.config_file.write_text('{"epochs": ')
    with pytest.raises(UserError, match=r"config\.json"):
        runs.create(tmp_path, TINY)
    run.config_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"config\.json"):
        _ = runs.open_run(tmp_path).config


def test_a_partial_last_line_of_the_log_is_ignored(tmp_path):
    run = runs.create(tmp_path, TINY)
    run.log_file.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert run.log() == [{"epoch": 1}, {"epoch": 2}]
    runs.write_log(run, [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}])
    assert [entry["epoch"] for entry in run.log()] == [1, 2, 3]


@pytest.mark.parametrize("line", ["9" * 5000, "[" * 100_000], ids=["digits", "nesting"])
def test_the_log_ends_before_a_line_that_exceeds_the_limits_of_python(tmp_path, line):
    run = runs.create(tmp_path, TINY)
    run.log_file.write_text('{"epoch": 1}\n' + line + '\n{"epoch": 2}\n')
    assert run.log() == [{"epoch": 1}]


def test_json_is_written_atomically(tmp_path):
    path = tmp_path / "value.json"
    runs.write_json(path, {"a": [1, 2.5, None]})
    assert runs.read_json(path) == {"a": [1, 2.5, None]}
    for invalid in (float("nan"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            runs.write_json(path, {"a": invalid})
    assert json.loads(path.read_text()) == {"a": [1, 2.5, None]}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]
    with pytest.raises(UserError, match="does not exist"):
        runs.read_json(tmp_path / "other.json")


def test_predictions_survive_saving(tmp_path):
    run = runs.create(tmp_path, TINY)
    arrays = {"rows": np.arange(3), "votes": np.eye(3, 8, dtype=np.float32)}
    runs.save_predictions(run, arrays, {"tta": "none"})
    with np.load(run.predictions_file) as saved:
        assert sorted(saved) == ["rows", "votes"]
        assert all(np.array_equal(saved[name], arrays[name]) for name in arrays)
    assert runs.read_json(run.metrics_file) == {"tta": "none"}


def test_a_run_resumes_with_the_same_data_only(tmp_path):
    runs.create(tmp_path, TINY, {"data": {"sha256": {"train": "a"}}})
    runs.create(tmp_path, TINY, {"data": {"sha256": {"train": "a"}}})
    with pytest.raises(UserError, match="other data"):
        runs.create(tmp_path, TINY, {"data": {"sha256": {"train": "b"}}})


def test_there_is_no_commit_outside_git(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PACKAGE", tmp_path)
    assert runs.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))  # where git is not found
    assert runs.commit() is None
    assert runs.environment()["commit"] is None
    monkeypatch.setenv("MIEN_COMMIT", "0123456789ab")
    assert runs.environment()["commit"] == "0123456789ab"


def git(folder, *words):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=folder,
                   check=True, capture_output=True)  # fmt: skip


def test_the_commit_of_a_repository_that_ignores_the_package_does_not_count(tmp_path, monkeypatch):
    package = tmp_path / "venv" / "mien"
    package.mkdir(parents=True)
    (package / "a.py").write_text("1")
    (tmp_path / ".gitignore").write_text("venv")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    monkeypatch.setattr(runs, "PACKAGE", package)
    assert runs.commit() is None


def test_a_commit_is_dirty_if_the_source_has_changes(tmp_path, monkeypatch):
    package = tmp_path / "src"
    package.mkdir()
    (package / "a.py").write_text("1")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "x")
    monkeypatch.setattr(runs, "PACKAGE", package)
    clean = runs.commit()
    assert len(clean) == 12
    (tmp_path / "result.json").write_text("{}")
    assert runs.commit() == clean
    (package / "a.py").write_text("2")
    assert runs.commit() == clean + "-dirty"


def test_damaged_files_are_an_error(tmp_path):
    run = runs.create(tmp_path / "run", TINY)
    for path, read in (
        (run.predictions_file, runs.load_predictions),
        (run.weights_file, lambda run: runs.load_tensors(run.weights_file)),
    ):
        for content in (b"", b"PK\x03\x04junk", b"text"):
            path.write_bytes(content)
            with pytest.raises(UserError, match="is damaged"):
                read(run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", '{"lr": "fast"}'),
        ("config.json", '{"epochs": 1e400}'),
        ("config.json", "[]"),
        ("about.json", '{"heads": "votes"}'),
        ("about.json", '{"data": 5}'),
        ("about.json", "[" * 100_000),
        ("log.jsonl", '{"epoch": "one", "loss": 1.0}'),
        ("log.jsonl", '{"epoch": 2, "loss": 1.0}\n{"epoch": 1, "loss": 1.0}'),
        ("log.jsonl", "5"),
        ("metrics.json", '{"heads": []}'),
        ("metrics.json", "null"),
    ],
)
def test_wrong_values_in_a_run_folder_are_an_error_of_one_short_line(tmp_path, name, content):
    run = runs.create(tmp_path / "run", TINY)
    (run.folder / name).write_text(content)
    with pytest.raises(UserError, match=re.escape(name)) as error:
        _ = run.config, run.about, run.log(), run.result()
    assert len(str(error.value)) < 500
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("array", [np.full((3, 8), np.nan), np.zeros((3, 4)), np.array(["a"])])
def test_wrong_predictions_are_an_error(tmp_path, array):
    run = runs.create(tmp_path / "run", TINY)
    np.savez(run.predictions_file, truth=np.zeros(3, int), raters=np.zeros((3, 10)), votes=array)
    with pytest.raises(UserError, match="is damaged"):
        runs.load_predictions(run)


def test_a_file_or_an_unwritable_folder_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        runs.create(tmp_path / "file", TINY)
    with pytest.raises(UserError, match="Cannot write"):
        runs.create(tmp_path / "file" / "run", TINY)


def test_differing_fields_are_named(tmp_path):
    runs.create(tmp_path / "run", TINY)
    with pytest.raises(UserError, match=r"epochs=2.* 9.*seed=0.* 4"):
        runs.create(tmp_path / "run", replace(TINY, epochs=9, seed=4))


def test_a_folder_of_runs_names_them(tmp_path):
    for name in ("fold-0", "fold-1"):
        runs.create(tmp_path / name, TINY)
    with pytest.raises(UserError, match="fold-0, fold-1"):
        runs.open_run(tmp_path)
