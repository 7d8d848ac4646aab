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


def test_a_new_run_holds_its_config_and_where_it_was_made(tmp_path):
    run = runs.start(tmp_path / "deep" / "run", TINY)
    assert run.config == TINY
    assert not run.finished
    assert run.log() == []
    about = runs.read_json(run.about_file)
    assert about["versions"]["mien"] == mien.__version__
    assert {"python", "torch", "numpy", "onnxruntime"} <= set(about["versions"])
    assert re.search(r"\d cores?$", about["machine"])
    assert sorted(p.name for p in run.folder.iterdir()) == ["about.json", "config.json"]


def test_the_versions_are_found_without_an_import():
    code = (
        "import sys; from mien.lab import runs; print(runs.about()['versions']['onnxruntime']);"
        "print([name for name in ('torch', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, imported = done.stdout.splitlines()
    assert version == onnxruntime.__version__
    assert imported == "[]"


def test_an_empty_folder_will_do(tmp_path):
    assert runs.start(tmp_path, TINY).folder == tmp_path


def test_the_same_config_goes_on_and_keeps_what_is_there(tmp_path):
    run = runs.start(tmp_path / "run", TINY)
    before = run.about_file.read_bytes()
    run.log_file.write_text('{"epoch": 1}\n')
    again = runs.start(tmp_path / "run", TINY)
    assert again == run
    assert again.log() == [{"epoch": 1}]
    assert run.about_file.read_bytes() == before


CLAIMS = """
import sys, time
from mien.lab import runs
from mien.lab.config import RECIPES
from mien.onnx_runtime import onnxruntime
try:
    with runs.locked(sys.argv[1]):
        runs.start(sys.argv[1], RECIPES["tiny"])
        print("mine", flush=True)
        sys.stdin.read()
except runs.Busy:
    print("busy", flush=True)
"""


def test_of_several_that_start_the_same_run_at_once_one_gets_it(tmp_path):
    several = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMS, tmp_path / "run"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    said = [process.stdout.readline().strip() for process in several]
    for process in several:
        process.communicate()
    assert sorted(said) == ["busy", "busy", "mine"]


def test_a_drive_that_knows_no_locks_is_trained_on_all_the_same(tmp_path, monkeypatch):
    def cannot(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", cannot)
    with runs.locked(tmp_path / "run"):
        pass


def test_another_config_is_refused(tmp_path):
    runs.start(tmp_path / "run", TINY)
    with pytest.raises(UserError, match="holds a run of another config"):
        runs.start(tmp_path / "run", replace(TINY, seed=1))


def test_somebodys_files_are_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="is not a run folder and not empty"):
        runs.start(tmp_path, TINY)
    with pytest.raises(UserError, match="is not a run folder"), runs.locked(tmp_path):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "left", [["about.json"], [".about.x1y2z3.json"], ["about.json", ".config.x1y2z3.json"]]
)
def test_a_start_that_was_killed_halfway_can_be_made_again(tmp_path, left):
    whole = runs.start(tmp_path / "whole", TINY)
    half = tmp_path / "half"
    half.mkdir()
    for name in left:
        source = whole.config_file if "config" in name else whole.about_file
        (half / name).write_bytes(b"{" if name.startswith(".") else source.read_bytes())
    run = runs.start(half, TINY)
    assert run.config == TINY
    assert "machine" in runs.read_json(run.about_file)


def test_what_is_no_run_folder_gets_one_sentence(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=r"is not a run folder: it has no config\.json\.$"):
            runs.open_run(folder)


def test_a_damaged_config_gets_one_sentence(tmp_path):
    run = runs.start(tmp_path, TINY)
    run.config_file.write_text('{"epochs": ')
    with pytest.raises(UserError, match=r"config\.json is not JSON\.$"):
        runs.start(tmp_path, TINY)
    run.config_file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"config\.json is not JSON\.$"):
        _ = runs.open_run(tmp_path).config


def test_the_log_is_read_up_to_a_half_written_line(tmp_path):
    run = runs.start(tmp_path, TINY)
    run.log_file.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epo')
    assert run.log() == [{"epoch": 1}, {"epoch": 2}]
    runs.write_log(run, [{"epoch": 1}, {"epoch": 2}, {"epoch": 3}])
    assert [entry["epoch"] for entry in run.log()] == [1, 2, 3]


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "value.json"
    runs.write_json(path, {"a": [1, 2.5, None]})
    assert runs.read_json(path) == {"a": [1, 2.5, None]}
    for wrong in (float("nan"), {1, 2}):
        with pytest.raises((ValueError, TypeError)):
            runs.write_json(path, {"a": wrong})
    assert json.loads(path.read_text()) == {"a": [1, 2.5, None]}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]
    with pytest.raises(UserError, match="does not exist"):
        runs.read_json(tmp_path / "other.json")


def test_predictions_come_back_as_they_went(tmp_path):
    run = runs.start(tmp_path, TINY)
    arrays = {"rows": np.arange(3), "votes": np.eye(3, 8, dtype=np.float32)}
    runs.save_predictions(run, arrays, {"tta": "none"})
    with np.load(run.predictions_file) as saved:
        assert sorted(saved) == ["rows", "votes"]
        assert all(np.array_equal(saved[name], arrays[name]) for name in arrays)
    assert runs.read_json(run.metrics_file) == {"tta": "none"}


def test_a_run_goes_on_only_with_its_data(tmp_path):
    runs.start(tmp_path, TINY, {"data": {"sha256": {"train": "a"}}})
    runs.start(tmp_path, TINY, {"data": {"sha256": {"train": "a"}}})
    with pytest.raises(UserError, match="a run on other data"):
        runs.start(tmp_path, TINY, {"data": {"sha256": {"train": "b"}}})


def test_outside_git_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "PACKAGE", tmp_path)
    assert runs.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runs.commit() is None
    assert runs.about()["commit"] is None
    monkeypatch.setenv("MIEN_COMMIT", "0123456789ab")
    assert runs.about()["commit"] == "0123456789ab"


def test_a_commit_is_dirty_if_the_source_is_changed(tmp_path, monkeypatch):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=tmp_path,
                       check=True, capture_output=True)  # fmt: skip

    package = tmp_path / "src"
    package.mkdir()
    (package / "a.py").write_text("1")
    git("init")
    git("add", ".")
    git("commit", "-m", "x")
    monkeypatch.setattr(runs, "PACKAGE", package)
    clean = runs.commit()
    assert len(clean) == 12
    (tmp_path / "result.json").write_text("{}")
    assert runs.commit() == clean
    (package / "a.py").write_text("2")
    assert runs.commit() == clean + "-dirty"


def test_what_is_damaged_gets_one_sentence(tmp_path):
    run = runs.start(tmp_path / "run", TINY)
    for path, read in (
        (run.predictions_file, runs.load_predictions),
        (run.weights_file, lambda run: runs.load_tensors(run.weights_file)),
    ):
        for content in (b"", b"PK\x03\x04junk", b"text"):
            path.write_bytes(content)
            with pytest.raises(UserError, match="is damaged"):
                read(run)


def test_a_file_or_a_place_that_cannot_be_written_is_no_run_folder(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="is a file"):
        runs.start(tmp_path / "file", TINY)
    with pytest.raises(UserError, match="Cannot write"):
        runs.start(tmp_path / "file" / "run", TINY)


def test_what_differs_is_named(tmp_path):
    runs.start(tmp_path / "run", TINY)
    with pytest.raises(UserError, match=r"another config \(epochs=2, not 9; seed=0, not 4\)"):
        runs.start(tmp_path / "run", replace(TINY, epochs=9, seed=4))


def test_a_folder_of_runs_names_them(tmp_path):
    for name in ("fold-0", "fold-1"):
        runs.start(tmp_path / name, TINY)
    with pytest.raises(UserError, match="The runs in it are fold-0, fold-1"):
        runs.open_run(tmp_path)
