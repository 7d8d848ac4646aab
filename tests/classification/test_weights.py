"""Finding model files by name or path."""

from pathlib import Path

import pytest

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.errors import UserError


def test_files_that_begin_with_an_underscore_are_not_listed():
    packaged = weights.models()
    assert "default" in packaged
    assert not [name for name in packaged if name.startswith("_")]
    assert weights.model("default") == packaged["default"]


def test_every_packaged_model_has_both_heads():
    for name, file in weights.models().items():
        if file.path.parent == weights.PACKAGE_FOLDER:
            classify = Classifier(file, threads=1)
            assert classify.name == name
            assert ("contempt" in classify.spec.labels) == (not name.endswith("-labels"))


def test_models_of_the_repository_are_listed(monkeypatch, tmp_path):
    for name in ("best.onnx", "_private.onnx"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(weights, "REPOSITORY_FOLDER", tmp_path)
    assert weights.model("best") == (tmp_path / "best.onnx", "")
    assert weights.model("best-labels") == (tmp_path / "best.onnx", "labels")
    assert next(iter(weights.models())) == "default"
    assert "_private" not in weights.models()
    monkeypatch.setattr(weights, "REPOSITORY_FOLDER", tmp_path / "missing")
    with pytest.raises(UserError, match="best"):
        weights.model("best")


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'default'"):
        weights.model("defualt")


def test_a_path_selects_a_file_and_a_head(tmp_path):
    with pytest.raises(UserError, match=r"nowhere\.onnx"):
        weights.model(str(tmp_path / "nowhere.onnx"))
    (tmp_path / "mine.onnx").write_bytes(b"x")
    path = tmp_path / "mine.onnx"
    assert weights.model(str(path)) == (path, "")
    assert weights.model(f"{path}:labels") == (path, "labels")
    assert weights.model(f"{path}:labels").name == "mine-labels"


def test_an_unreadable_file_is_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "is_file", lambda _: (_ for _ in ()).throw(PermissionError(13, "No")))
    with pytest.raises(UserError, match=r"m\.onnx: No"):
        weights.model(str(tmp_path / "m.onnx"))
