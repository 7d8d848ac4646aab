"""Run the command line in a process in which some libraries cannot be imported."""

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

LAB_PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "sklearn")
"""Packages of the extra "lab" that are not in the extra "report"."""


def mien(*arguments, cwd, missing=LAB_PACKAGES):
    """Run `mien` without the packages `missing`; return exit code, stdout and stderr."""
    code = CODE.format(missing=missing)
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return process.returncode, process.stdout, process.stderr
