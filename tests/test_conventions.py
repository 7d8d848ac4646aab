"""Conventions of this project that no linter checks."""

import ast
import pkgutil
import re
import subprocess
import sys

import av
import numpy as np
import pytest
from PIL import Image

import mien
from tests.paths import ROOT
from tests.server.serving import write_video

CODE_BLOCKS = [
    (page, number, code)
    for page in ("README.md", "docs/python.md")
    for number, code in enumerate(
        re.findall(
            r"^```python\n(.*?)^```",
            (ROOT / page).read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
    )
]

MODULES = ["mien", *(module.name for module in pkgutil.walk_packages(mien.__path__, "mien.")
           if not module.name.startswith(("mien.lab", "mien.__main__")))]  # fmt: skip
"""The modules outside the laboratory, except the entry point."""

SOURCES = sorted((ROOT / "src" / "mien").rglob("*.py"))


def run(*command):
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


IMPORT_EACH_ALONE = """
import importlib, sys

for name in {modules}:
    for imported in [other for other in sys.modules if other.split(".")[0] == "mien"]:
        del sys.modules[imported]
    importlib.import_module(name)
    heavy = {{"torch", "matplotlib", "sklearn", "timm"}} & sys.modules.keys()
    assert not heavy, f"{{name}} imports {{heavy}}"
"""


def test_each_module_outside_the_lab_imports_alone_and_without_libraries_of_the_lab():
    process = run(sys.executable, "-c", IMPORT_EACH_ALONE.format(modules=MODULES))
    assert process.returncode == 0, process.stderr


def test_analyzing_does_not_import_torch(tiny_model):
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


def test_only_the_camera_imports_opencv():
    importing = {
        path.relative_to(ROOT / "src" / "mien").as_posix()
        for path in filter(imports_opencv, SOURCES)
    }
    assert importing == {"io/camera.py"}


WITHOUT_OPENCV = """
import builtins, importlib, pathlib, pkgutil, sys

original_import = builtins.__import__

def import_except_opencv(name, globals=None, *arguments):
    if name.split(".")[0] == "cv2":
        raise ModuleNotFoundError(f"{{globals['__name__']}} imports {{name}}", name=name)
    return original_import(name, globals, *arguments)

builtins.__import__ = import_except_opencv

import mien
for module in pkgutil.walk_packages(mien.__path__, "mien."):
    if not module.name.startswith(("mien.lab", "mien.__main__")):
        importlib.import_module(module.name)

from mien import writers
analyzer = mien.Analyzer({model!r}, "whole")
assert len(analyzer.analyze({photo!r})) == 1
analyzer.explain({photo!r})
results = list(analyzer.stream({clip!r}))
assert len(results) == 5
with writers.open_writer(pathlib.Path("out.mp4")) as write:
    for result in results:
        write(result)
try:
    next(analyzer.stream("camera:0"))
except mien.UserError as error:
    print(error)
assert "cv2" not in sys.modules
"""


def test_images_and_videos_need_no_opencv(tiny_model, photo, tmp_path):
    with av.open(str(tmp_path / "clip.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        for shade in range(0, 250, 50):
            pixels = np.full((96, 96, 3), shade, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        out.mux(stream.encode())
    clip = str(tmp_path / "clip.mp4")
    code = WITHOUT_OPENCV.format(model=str(tiny_model), photo=str(photo), clip=clip)
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    assert "OpenCV" in process.stdout


def test_importing_mien_takes_less_than_0_3_seconds():
    code = "import time; t = time.perf_counter(); import mien; print(time.perf_counter() - t)"
    assert min(float(run(sys.executable, "-c", code).stdout) for _ in range(5)) < 0.3


def test_every_public_name_can_be_imported_and_no_other():
    for name in mien.__all__:
        assert getattr(mien, name) is not None
    assert dir(mien) == sorted(mien.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        mien.nonsense  # noqa: B018


def public_definitions(node):
    """Yield the public classes, functions and methods that a module or class defines."""
    for child in node.body:
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        if isinstance(child, kinds) and not child.name.startswith("_"):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from public_definitions(child)


def undocumented(path):
    """Yield the module and its public definitions that have no docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield f"{path.name}: the module"
    for definition in public_definitions(tree):
        is_forward = definition.name == "forward"  # of a network; its shapes are in a comment
        if not is_forward and not ast.get_docstring(definition):
            yield f"{path.name}: {definition.name}"


def test_every_public_object_has_a_docstring():
    assert [name for path in SOURCES for name in undocumented(path)] == []


def test_no_module_has_a_generic_name():
    banned = {"utils", "util", "common", "core", "base", "helpers"}
    assert not banned & {path.stem for path in SOURCES}


@pytest.mark.parametrize(("page", "number", "code"), CODE_BLOCKS)
def test_the_code_in_the_readme_and_the_python_docs_runs(page, number, code, tmp_path, photo):
    if "to_dataframe" in code:
        pytest.importorskip("pandas")
    (tmp_path / "images").mkdir()
    with Image.open(photo) as image:
        image.save(tmp_path / "images" / "first.png")
        image.save(tmp_path / "photo.jpg")
    write_video(tmp_path / "clip.mp4", 1)
    process = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, f"{page}, block {number}: {process.stderr}"


def test_the_published_tables_match_the_results():
    pytest.importorskip("torch", reason="some tables are computed from the networks")
    process = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert process.returncode == 0, process.stdout + process.stderr


def test_results_contain_no_absolute_paths():
    results = list((ROOT / "results").rglob("*.json"))
    assert results
    texts = {path.name: path.read_text(encoding="utf-8") for path in results}
    assert not [name for name, text in texts.items() if re.search(r'": "/\w+/', text)]
