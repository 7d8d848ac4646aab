"""Conventions that no linter checks; the linters themselves are `make lint`."""

import ast
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

import mien
from mien import registry
from tests.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LIGHT = ["mien", "mien.cli", "mien.analyzer", "mien.writers", "mien.visualization.terminal",
         "mien.client", "mien.server.app", "mien.server.server",
         *(f"mien.cli.{name}" for name in registry.names("mien.cli"))]  # fmt: skip

SOURCES = sorted((ROOT / "src" / "mien").rglob("*.py"))


def run(*words):
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", LIGHT)
def test_the_light_path_is_free_of_torch(module):
    heavy = ("torch", "matplotlib", "sklearn", "timm")
    code = f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])"
    assert run(sys.executable, "-c", code).stdout.strip() == "[]"


def test_an_analyzer_at_work_is_free_of_torch(tiny_model):
    code = (
        "import sys, numpy, mien;"
        f"mien.Analyzer({str(tiny_model)!r}, 'whole').analyze(numpy.zeros((9, 9, 3), 'uint8'));"
        "print('torch' in sys.modules)"
    )
    assert run(sys.executable, "-c", code).stdout.strip() == "False"


def imports_opencv(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] == "cv2" for name in names):
            return True
    return False


def test_only_a_camera_imports_opencv():
    found = {
        path.relative_to(ROOT / "src" / "mien").as_posix()
        for path in filter(imports_opencv, SOURCES)
    }
    assert found == {"io/camera.py"}


WITHOUT_OPENCV = """
import builtins, importlib, pathlib, pkgutil, sys

ordinary = builtins.__import__

def without_opencv(name, names=None, *more):
    if name.split(".")[0] == "cv2":
        raise ModuleNotFoundError(f"{{names['__name__']}} imports {{name}}", name=name)
    return ordinary(name, names, *more)

builtins.__import__ = without_opencv

import mien
for module in pkgutil.walk_packages(mien.__path__, "mien."):
    if not module.name.startswith(("mien.lab", "mien.__main__")):
        importlib.import_module(module.name)

from mien import writers
analyzer = mien.Analyzer({model!r}, "whole")
assert len(analyzer.analyze({photo!r})) == 1
analyzer.explain({photo!r})
with writers.to(pathlib.Path("out.mp4")) as write:
    frames = [write(result) for result in analyzer.stream({clip!r})]
assert len(frames) == 5
try:
    next(analyzer.stream("camera:0"))
except mien.UserError as error:
    print(error)
assert "cv2" not in sys.modules
"""


def test_pictures_and_videos_need_no_opencv(tiny_model, photo, tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for shade in range(0, 250, 50):
            pixels = np.full((96, 96, 3), shade, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    clip = str(tmp_path / "clip.mp4")
    code = WITHOUT_OPENCV.format(model=str(tiny_model), photo=str(photo), clip=clip)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "A camera needs OpenCV: in mien's folder, pip install '.[camera]'.\n"


def test_importing_mien_is_quick():
    code = (
        "import time; began = time.perf_counter(); import mien;print(time.perf_counter() - began)"
    )
    assert min(float(run(sys.executable, "-c", code).stdout) for _ in range(5)) < 0.3


def test_every_public_name_can_be_had_and_no_other():
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    assert dir(mien) == sorted(mien.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        mien.nonsense  # noqa: B018


def undocumented(path):
    def public(node):
        return not node.name.startswith("_")

    def inside(node, nested):
        for child in ast.iter_child_nodes(node):
            kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
            if isinstance(child, kinds) and public(child) and not nested:
                if not ast.get_docstring(child):
                    yield f"{path.name}: {child.name}"
                yield from inside(child, isinstance(child, ast.FunctionDef))

    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield f"{path.name}: the module"
    if "models" not in path.parts:
        yield from inside(tree, False)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_public_says_what_it_is(path):
    assert list(undocumented(path)) == []


def test_every_light_module_can_be_imported_alone():
    found = pkgutil.walk_packages(mien.__path__, "mien.")
    light = [m.name for m in found if ".lab" not in m.name and m.name != "mien.__main__"]
    assert len(light) > 20
    for name in light:
        assert inspect.getdoc(importlib.import_module(name))


def test_no_module_is_called_after_nothing():
    banned = {"utils", "util", "common", "core", "base", "helpers"}
    assert not banned & {path.stem for path in SOURCES}


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_the_readme_does_what_it_shows(number, tmp_path, photo, monkeypatch):
    (tmp_path / "holiday").mkdir()
    with Image.open(photo) as image:
        image.save(tmp_path / "holiday" / "beach.png")
        for name in set(re.findall(r"[\w-]+\.(?:jpg|png|webp|gif)", BLOCKS[number])):
            image.save(tmp_path / name)
    done = subprocess.run(
        [sys.executable, "-c", BLOCKS[number]],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_published_tables_are_what_the_results_say():
    pytest.importorskip("torch", reason="some tables come from the networks themselves")
    done = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "results").rglob("*.json")), ids=lambda p: p.stem)
def test_a_result_does_not_say_where_its_runs_lay(path):
    assert not re.search(r'": "/\w+/', path.read_text(encoding="utf-8"))
