"""A model's name or path -> its file."""

from pathlib import Path

import pytest

from mien.classification import weights
from mien.classification.classifier import Classifier
from mien.errors import UserError


def test_packaged_models_are_known_by_name_and_private_ones_are_not():
    known = weights.models()
    assert "default" in known
    assert not [name for name in known if name.startswith("_")]
    assert weights.model("default") == known["default"]


def test_every_packaged_model_has_both_heads():
    for name, file in weights.models().items():
        if file.path.parent == weights.PACKAGED:
            classify = Classifier(file, threads=1)
            assert classify.name == name
            assert ("contempt" in classify.spec.labels) == (not name.endswith("-labels"))


def test_larger_models_of_the_repository_are_known_by_name(monkeypatch, tmp_path):
    for name in ("best.onnx", "_private.onnx"):
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(weights, "BESIDE", tmp_path)
    assert weights.model("best") == (tmp_path / "best.onnx", "")
    assert weights.model("best-labels") == (tmp_path / "best.onnx", "labels")
    assert next(iter(weights.models())) == "default"
    assert "_private" not in weights.models()
    monkeypatch.setattr(weights, "BESIDE", tmp_path / "not there")
    with pytest.raises(UserError, match="best"):
        weights.model("best")


def test_a_wrong_model_name_is_answered_with_the_nearest():
    with pytest.raises(UserError, match="Did you mean 'default'"):
        weights.model("defualt")


def test_a_model_file_must_be_there(tmp_path):
    with pytest.raises(UserError, match="There is no model file"):
        weights.model(str(tmp_path / "nowhere.onnx"))
    (tmp_path / "mine.onnx").write_bytes(b"x")
    path = tmp_path / "mine.onnx"
    assert weights.model(str(path)) == (path, "")
    assert weights.model(f"{path}:labels") == (path, "labels")
    assert weights.model(f"{path}:labels").name == "mine-labels"


def test_what_may_not_be_looked_at_is_said_in_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(Path, "is_file", lambda _: (_ for _ in ()).throw(PermissionError(13, "No")))
    with pytest.raises(UserError, match=r"m\.onnx cannot be read: No"):
        weights.model(str(tmp_path / "m.onnx"))
