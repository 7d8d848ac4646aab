"""Run the command line in a process without some libraries."""

import subprocess
import sys

CODE = """
import sys

class HideModules:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {missing}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, HideModules())
from mien.cli import main
main()
"""

TORCH = ("torch", "torchvision", "timm", "onnx", "onnxscript", "sklearn")
"""Packages of the extra "lab" that are not in the extra "report"."""


def mien(*arguments, cwd, missing=TORCH):
    """Run `mien` without the packages `missing`; exit code, stdout and stderr."""
    code = CODE.format(missing=missing)
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout, done.stderr
