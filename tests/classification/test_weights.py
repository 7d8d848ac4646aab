"""Finding model files by name or path."""

from pathlib import Path

import pytest

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.errors import UserError


def test_the_default_model_is_listed_first():
    name, file = next(iter(weights.models().items()))
    assert name == "default"
    assert weights.model("default") == file


def test_every_packaged_model_has_both_heads():
    packaged = {
        name: file
        for name, file in weights.models().items()
        if file.path.parent == weights.PACKAGE_FOLDER
    }
    for name, file in packaged.items():
        classify = Classifier(file, threads=1)
        assert classify.name == name
        is_labels_head = name.endswith("-labels")
        assert is_labels_head or f"{name}-labels" in packaged
        assert ("contempt" in classify.spec.labels) == (not is_labels_head)


def test_models_of_the_repository_are_listed_without_those_with_an_underscore(
    monkeypatch, tmp_path
):
    for name in ("best.onnx", "_private.onnx"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(weights, "REPOSITORY_FOLDER", tmp_path)
    assert weights.model("best") == (tmp_path / "best.onnx", "")
    assert weights.model("best-labels") == (tmp_path / "best.onnx", "labels")
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
    def is_file(_):
        raise PermissionError(13, "No")

    monkeypatch.setattr(Path, "is_file", is_file)
    with pytest.raises(UserError, match=r"m\.onnx: No"):
        weights.model(str(tmp_path / "m.onnx"))
