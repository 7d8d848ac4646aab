"""Run the command line in a process in which some packages cannot be imported."""

import subprocess
import sys

CODE = """
import sys

class HideModules:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {packages}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, HideModules())
from mien.cli import main
main()
"""

LAB_PACKAGES = ("torch", "torchvision", "timm", "onnx", "onnxscript", "sklearn", "filelock")
"""Packages of the extra "lab" that are not in the extra "report"."""


def run_mien_without(packages, *arguments, cwd):
    """Run `mien` in the folder `cwd` without these packages; return exit code, stdout, stderr."""
    code = CODE.format(packages=packages)
    process = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return process.returncode, process.stdout, process.stderr
